"""Recordings into other formats: how fast, beside a plain copy of the same numbers, and in how much memory."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import h5py
import numpy as np

from recd.converter import convert
from recd_client import HDF5File, Recorder, VideoFile

from . import convert_training, convert_viewers
from .daemon import Bench
from .results import Bar, Table
from .timing import in_turns

#: Of the speed of a plain copy, and of a film's own time.
LEAST_SHARE: Final = 0.5
LEAST_REAL_TIME: Final = 20.0
#: How much more memory ten times the data may take; where buffers are not full at first, as much as they hold.
FLAT_MIB: Final = 32.0
QUICK_MIB: Final = 128.0
_FPS: Final = 50
#: By format: suffix, libraries, and what a few lines with its library do with arrays in memory, if that is a peer.
_FORMATS: Final[dict[str, tuple[str, tuple[str, ...], Callable[[dict[str, Any], Path], None] | None]]] = {}


def peer(name: str, suffix: str, *libraries: str) -> Callable[[Any], Any]:
    """Declares a plain copy into a format."""

    def declare(copy: Callable[[dict[str, Any], Path], None]) -> Callable[[dict[str, Any], Path], None]:
        _FORMATS[name] = suffix, libraries, copy
        return copy

    return declare


@peer("npz", ".npz")
def _npz(arrays: dict[str, Any], path: Path) -> None:
    np.savez(path, **arrays)


@peer("hdf5", ".h5")
def _hdf5(arrays: dict[str, Any], path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)


@peer("parquet", ".parquet", "pyarrow")
def _parquet(arrays: dict[str, Any], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {}
    for name, values in arrays.items():
        flat = values.reshape(len(values), -1)
        columns |= {f"{name}_{i}": flat[:, i] for i in range(flat.shape[1])}
    parquet.write_table(pa.table(columns), path, use_dictionary=False)


_FORMATS["csv"] = ".csv", (), None
_FORMATS["zarr"] = ".zarr", ("zarr",), None


def measure(bench: Bench) -> Iterator[Table]:
    """States, films, memory, training sets, viewers' files."""
    yield _states(bench)
    yield _films(bench)
    yield _memory(bench)
    yield from convert_training.measure(bench)
    yield from convert_viewers.measure(bench)


def _states(bench: Bench) -> Table:
    count, rounds = bench.size(1_000_000, 100_000), bench.size(3, 1)
    table = Table("Conversion of states", ("MB/s", "plain MB/s", "of plain"), key="convert.states")
    table.notes.append(
        f"{count:,} samples of 25 and 20 float64 and 6 float32, recorded to HDF5; medians of {rounds}. Plain: "
        "read with h5py, written from memory with the format's library, synced as recd does."
    )
    source = _recorded(bench.new_directory(), count)
    size_bytes = (source / "state.h5").stat().st_size
    seen: dict[tuple[str, str], list[float]] = {}
    there = [name for name, (_, libraries, _) in _FORMATS.items() if _installed(table, name, libraries)]
    for name in in_turns(rounds, there):
        suffix, _, copy = _FORMATS[name]
        out = bench.new_directory()
        began = time.perf_counter()
        convert(source, out / f"state{suffix}", to=name)
        seen.setdefault((name, "recd"), []).append(time.perf_counter() - began)
        if copy is not None:
            began = time.perf_counter()
            with h5py.File(source / "state.h5") as file:
                copy({key: values[:] for key, values in file.items()}, out / f"plain{suffix}")
            with (out / f"plain{suffix}").open("rb+") as made:
                os.fsync(made.fileno())
            seen.setdefault((name, "plain"), []).append(time.perf_counter() - began)
    for name in there:
        speed = size_bytes / 1e6 / median(seen[name, "recd"])
        if (name, "plain") not in seen:
            table.add(name, speed, None, None)
            continue
        plain = size_bytes / 1e6 / median(seen[name, "plain"])
        table.add(name, speed, plain, speed / plain, bar=Bar(speed / plain, LEAST_SHARE, at_least=True))
    return table


def _recorded(directory: Path, count: int) -> Path:
    rng = np.random.default_rng(3)
    qpos, qvel = rng.normal(size=(256, 25)), rng.normal(size=(256, 20))
    ctrl = rng.normal(size=(256, 6)).astype(np.float32)
    with Recorder("convert", dir=directory, dt=0.001) as rec:
        stream = rec.stream("state", HDF5File("state.h5"), overflow="block")
        for i in range(count):
            k = i % 256
            stream.write({"qpos": qpos[k] + i, "qvel": qvel[k], "ctrl": ctrl[k]})
    return directory


def _films(bench: Bench) -> Table:
    frames = bench.size(1500, 500)
    table = Table("Re-wrapping of a film", ("s", "times real time"), key="convert.films")
    table.notes.append(f"{frames} frames of 640x480 at {_FPS} per second, from MP4 to MP4.")
    source = bench.new_directory()
    texture = np.random.default_rng(0).integers(0, 64, (480, 640, 3), np.uint8)
    with Recorder("film", dir=source) as rec:
        film = rec.stream("front", VideoFile("front.mp4", fps=_FPS), overflow="block")
        for i in range(frames):
            if i == frames // 4 + 1:
                rec.reset()
            film.write(np.roll(texture, i, 1), t=i / _FPS)
    between = "a stretch that begins between keyframes: up to the next one encoded"
    for what, episodes, length in (
        ("the whole film", None, frames),
        (between, "1", frames - frames // 4 - 1),
    ):
        took = []
        for _ in range(bench.size(3, 1)):
            began = time.perf_counter()
            convert(source, bench.new_directory() / "a.mp4", to="mp4", episodes=episodes)
            took.append(time.perf_counter() - began)
        times = length / _FPS / median(took)
        bar = None if episodes else Bar(times, LEAST_REAL_TIME, at_least=True)
        table.add(what, median(took), times, bar=bar)
    return table


def _memory(bench: Bench) -> Table:
    count = bench.size(400_000, 50_000)
    table = Table(
        "Memory of a conversion", ("MiB", "MiB, ten times the data", "MiB more"), key="convert.memory"
    )
    table.notes.append(
        f"Peak of a process that converts {count:,} of these samples, and of one that converts ten times as many."
    )
    few, many = _recorded(bench.new_directory(), count), _recorded(bench.new_directory(), 10 * count)
    limit = bench.size(FLAT_MIB, QUICK_MIB)
    for name, (suffix, libraries, _) in _FORMATS.items():
        if _installed(table, name, libraries):
            peaks = [_peak_mib(source, bench.new_directory() / f"a{suffix}", name) for source in (few, many)]
            table.add(name, *peaks, peaks[1] - peaks[0], bar=Bar(peaks[1] - peaks[0], limit, " MiB"))
    return table


def _peak_mib(source: Path, out: Path, form: str) -> float:
    code = (
        "import sys\nfrom recd.converter import convert\nconvert(sys.argv[1], sys.argv[2], to=sys.argv[3])\n"
        # The kernel's count for the program alone; getrusage begins with what its parent had.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, out, form], capture_output=True, text=True, check=True
    )
    return float(done.stdout) / 1024


def _installed(table: Table, name: str, libraries: tuple[str, ...]) -> bool:
    missing = [library for library in libraries if importlib.util.find_spec(library) is None]
    note = f"not measured: {name}, {', '.join(missing)} is not installed"
    if missing and note not in table.notes:
        table.notes.append(note)
    return not missing
