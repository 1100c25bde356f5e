"""Recordings to convert, and what was written into them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recd_client import DataLossWarning, HDF5File, NPZFile, Ragged, Recorder, VideoFile
from recordings import numbered, stopped, worker_of
from sink_samples import Samples, Values, fields, of_extremes

#: A field of each kind and dtype that can be recorded.
EVERYTHING = fields(
    flag=("fixed", "|b1", ()),
    flags=("fixed", "|b1", (3,)),
    **{f"i{8 * n}": ("fixed", f"<i{n}" if n > 1 else "|i1", (2,)) for n in (1, 2, 4, 8)},
    **{f"u{8 * n}": ("fixed", f"<u{n}" if n > 1 else "|u1", (2,)) for n in (1, 2, 4, 8)},
    half=("fixed", "<f2", (4,)),
    single=("fixed", "<f4", (2, 3)),
    double=("fixed", "<f8", ()),
    nothing=("fixed", "<f8", (0,)),
    points=("ragged", "<f4", (3,)),
    ids=("ragged", "<i8", ()),
    text=("string", "|u1", ()),
)
#: Samples that are written; of the second episode one is lost.
COUNT = 60
RESETS = (0, 20, 40)
DT = 0.25


@dataclass
class Written:
    """A recording, and what its stream ``all`` was given and has kept."""

    directory: Path
    samples: Samples
    #: Numbers of the samples that were kept.
    kept: list[int] = field(default_factory=list)

    @property
    def values(self) -> Values:
        """Of the samples that were kept."""
        return {name: [column[i] for i in self.kept] for name, column in self.samples.values.items()}

    def episode(self, i: int) -> int:
        """The episode that a sample is in."""
        return sum(i >= reset for reset in RESETS[1:])


def record_everything(directory: Path) -> Written:
    """A recording of three episodes with every kind of value, and a gap."""
    made = Written(directory, of_extremes(EVERYTHING, COUNT))
    like: dict[str, Any] = {f.name: made.samples.values[f.name][0] for f in EVERYTHING.fields}
    like |= {"points": Ragged((3,), "float32"), "ids": Ragged((), "int64"), "text": ""}
    with Recorder("walk", dir=directory, dt=DT, metadata={"seed": 7, "env": {"name": "Walk"}}) as rec:
        stream = rec.stream(
            "all", HDF5File("all.h5"), like=like, units={"double": "rad", "single": "m"}, buffer_bytes=65536
        )
        for i in range(COUNT):
            if i in RESETS[1:]:
                rec.reset()
            value = {name: column[i] for name, column in made.samples.values.items()}
            if i == 30:
                with stopped(worker_of(rec)):  # until there is no room: these are no samples of ours
                    while stream.write(value, t=i * DT):
                        made.kept.append(i)
                rec.flush()
            else:
                assert stream.write(value, t=i * DT)
                made.kept.append(i)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            rec.close()
    return made


def record_walk(
    directory: Path, *, episodes: int = 3, steps: int = 40, video: bool = True, seed: int = 0
) -> dict[str, list[np.ndarray]]:
    """A recording with states, actions, rewards and a camera at half the rate; what was written, by episode."""
    rng = np.random.default_rng(seed)
    written: dict[str, list[np.ndarray]] = {"qpos": [], "ctrl": [], "reward": []}
    with Recorder("walk", dir=directory, dt=0.02, metadata={"robot": "walker", "task": "walk"}) as rec:
        state = rec.stream("state", NPZFile("state.npz"), units={"qpos": "rad"})
        front = rec.stream("front", VideoFile("front.mp4", fps=25)) if video else None
        shown = 0
        for episode in range(episodes):
            if episode:
                rec.reset()
            qpos, ctrl = rng.normal(size=(steps, 3)), rng.normal(size=(steps, 2)).astype(np.float32)
            for i in range(steps):
                state.write({"qpos": qpos[i], "ctrl": ctrl[i], "reward": float(i)}, t=i * 0.02)
                if front is not None and i % 2 == 0:
                    front.write(numbered(shown), t=i * 0.02)
                    shown += 1
            rec.mark("end", success=episode != 1)
            for name, values in (("qpos", qpos), ("ctrl", ctrl), ("reward", np.arange(float(steps)))):
                written[name].append(values)
    return written


def lines_of(text: str) -> Iterator[str]:
    """Lines without spaces at their ends, and without empty ones."""
    return (line.rstrip() for line in text.splitlines() if line.strip())
