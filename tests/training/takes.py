"""Recordings for tests of training sets, and what a set of them must hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd.converter import Converted, convert
from recd_client import NPZFile, Recorder, VideoFile

LENGTHS = (7, 30, 65)
#: Numbers of steps whose pictures are not recorded; what was seen before holds.
UNSEEN = (12, 13, 50)
DT = 0.02
SIZE = (48, 64)
#: A bound for tests that hang: libraries that load torch take their time on a machine under load.
PATIENCE_S = 600.0


def record(top: Path) -> Path:
    """The directory of a recording of three episodes, the second of which failed.

    Streams: ``state`` (arrays, an image, a text), ``front`` (one film, pictures missing), ``side`` (one film) and
    ``wrist`` (a film for each episode).
    """
    with Recorder("walk", dir=top, dt=DT) as rec:
        state = rec.stream("state", NPZFile("state.npz"), units={"qpos": "rad"})
        front = rec.stream("front", VideoFile("front.mp4", fps=1 / DT, codec_options={"g": 12}))
        side = rec.stream("side", VideoFile("side.mp4", fps=1 / DT, codec_options={"g": 12}))
        wrist = rec.stream("wrist", VideoFile("wrist.mp4", fps=1 / DT, save_on_reset=True))
        k = 0
        for episode, length in enumerate(LENGTHS):
            if episode:
                rec.reset()
            for _ in range(length):
                state.write(sample(k), t=k * DT)
                if k not in UNSEEN:
                    front.write(picture(k), t=k * DT)
                side.write(picture(k), t=k * DT)
                wrist.write(255 - picture(k), t=k * DT)
                k += 1
            rec.mark("end", success=episode != 1, task=f"task {episode % 2}")
    return top


def sample(k: int) -> dict[str, Any]:
    """What is recorded of step ``k`` as arrays."""
    rng = np.random.default_rng(k)
    return {
        "qpos": rng.normal(size=3).astype(np.float32), "grid": rng.normal(size=(2, 3)).astype(np.float32),
        "cube": rng.integers(0, 9, (2, 2, 2)), "contact": bool(k % 3),
        "thumb": rng.integers(0, 255, (16, 20, 3), np.uint8),
        "ctrl": rng.normal(size=2).astype(np.float32), "reward": float(k) / 4, "word": f"word {k}",
    }  # fmt: skip


def picture(k: int) -> NDArray[np.uint8]:
    """What the camera sees at step ``k``: gray, brighter from step to step."""
    return np.full((*SIZE, 3), 20 + 2 * k, np.uint8)


def seen(k: int) -> int:
    """The step whose picture shows at step ``k``."""
    while k in UNSEEN:
        k -= 1
    return k


def steps_of(episode: int) -> range:
    """The steps of an episode."""
    begin = sum(LENGTHS[:episode])
    return range(begin, begin + LENGTHS[episode])


def column(name: str, steps: Any) -> NDArray[Any]:
    """What was recorded under a name, by step."""
    return np.array([sample(k)[name] for k in steps])


def converted(source: Any, out: Path, to: str, target: dict[str, Any] | None = None, **how: Any) -> Converted:
    """Convert with the guessed map, and choices of the format."""
    if target:
        how["map"] = _guessed(source, out, target)
    return convert(source, out, to=to, **how)


def _guessed(source: Path, out: Path, target: dict[str, Any]) -> Any:
    from dataclasses import replace

    import recd
    from recd.converter.guess import guess

    with recd.open(source) as run:
        return replace(guess(run), target=target)


def run_in(name: str, program: str, *arguments: object, home: Path) -> None:
    """Run a program of this directory in the environment of a library."""
    done = subprocess.run(
        [os.environ[f"RECD_{name.upper()}"], str(Path(__file__).parent / program), *map(str, arguments)],
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "HOME": str(home), "HF_HOME": str(home),
             "HF_HUB_OFFLINE": "1", "MINARI_DATASETS_PATH": str(home)},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=home,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def copy(source: Path, to: Path) -> Path:
    """A copy of a dataset, to be changed."""
    shutil.copytree(source, to)
    return to


def json_of(path: Path) -> Any:
    """What a file of JSON holds."""
    return json.loads(path.read_text())
