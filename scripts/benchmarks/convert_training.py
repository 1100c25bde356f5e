"""Films as a LeRobot dataset: copied, but its statistics need frames decoded; beside a decoder that does only that."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from recd.converter import convert
from recd.video import ffmpeg

from .daemon import Bench
from .decoding import FPS, NOISE, RENDERED, cpu_s, recorded
from .results import Bar, Table
from .timing import in_turns

LEAST_REAL_TIME: Final = 20.0
_RECD, _FFMPEG = "recd", "ffmpeg decodes it, into nothing"


def measure(bench: Bench) -> Iterator[Table]:
    """LeRobot."""
    frames, rounds = bench.size(3000, 1500), bench.size(9, 5)
    columns = ("times real time", "CPU s/s of film", "× ffmpeg's time", "× its CPU")
    table = Table("A film as a LeRobot dataset", columns, key="convert.lerobot")
    table.notes.append(
        f"{frames} frames of 640x480 at {FPS} per second; medians of {rounds} rounds in turns, × of each one's ratio. "
        "The film is copied; of the frames that LeRobot's statistics are made of, the others must be decoded, too, as "
        "each needs the one before. What ffmpeg needs to decode all of them is the bound. CPU: of all processes."
    )
    missing = [name for name in ("pyarrow", "PIL") if importlib.util.find_spec(name) is None]
    if missing:
        table.notes.append(f"not measured: lerobot, {', '.join(missing)} is not installed")
        yield table
        return
    for content, episodes in ((RENDERED, 1), (RENDERED, frames // 100), (NOISE, 1)):
        source = recorded(bench.new_directory(), content, frames, episodes)
        took: dict[str, list[tuple[float, float]]] = {_RECD: [], _FFMPEG: []}
        _converted(bench, source)  # libraries are imported at the first one
        for way in in_turns(rounds, list(took)):
            before_s, began_s = cpu_s(), time.perf_counter()
            if way == _RECD:
                _converted(bench, source)
            else:
                _decoded(source / "front.mp4")
            took[way].append((time.perf_counter() - began_s, cpu_s() - before_s))
        shares = [
            [ours / its for ours, its in zip(mine, others, strict=True)]
            for mine, others in zip(took[_RECD], took[_FFMPEG], strict=True)
        ]
        what = f"{content}, {f'{episodes} episodes' if episodes > 1 else 'one episode'}"
        for way, each in took.items():
            times = frames / FPS / median(wall_s for wall_s, _ in each)
            spent = median(spent_s for _, spent_s in each) * FPS / frames
            wall, cpu = (median(share[i] for share in shares) if way == _RECD else 1.0 for i in (0, 1))
            bar = Bar(times, LEAST_REAL_TIME, at_least=True) if way == _RECD else None
            table.add(f"{what}: {way}", times, spent, wall, cpu, bar=bar)
    yield table


def _converted(bench: Bench, source: Path) -> None:
    convert(source, bench.new_directory() / "set", to="lerobot")


def _decoded(path: Path) -> None:
    done = ffmpeg.run([*ffmpeg.QUIET, "-i", ffmpeg.url(path), "-map", "0:v:0", "-f", "null", "-"])
    if done.returncode:
        raise RuntimeError(f"{path}: {done.reason}")
