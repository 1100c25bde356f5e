"""Recordings into the files of viewers: samples per second, beside the libraries' own loops."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import h5py
import numpy as np

from recd.converter import convert
from recd_client import HDF5File, Recorder

from .daemon import Bench
from .results import Bar, Table
from .timing import in_turns

#: Samples per second into MCAP.
LEAST_SAMPLES: Final = 150_000.0
_DEFINITION: Final = b"float64[7] qpos\nfloat64[6] qvel\n"


def measure(bench: Bench) -> Iterator[Table]:
    """Small samples, the hard case: a message is a message."""
    count, rounds = bench.size(1_000_000, 100_000), bench.size(3, 1)
    table = Table("Conversion for viewers", ("samples/s",), key="convert.viewers")
    table.notes.append(
        f"{count:,} samples of 7 and 6 float64, recorded to HDF5; medians of {rounds}. Plain: read with h5py, and the "
        "bytes of each row handed to the library as a message, with its own compression."
    )
    source = _recorded(bench.new_directory(), count)
    first = _recorded(bench.new_directory(), 100)
    ways: dict[str, Callable[[Path, Path], Any]] = {}
    for to, library in (("mcap", "foxglove"), ("rrd", "rerun")):
        if _installed(table, to, library):
            ways[f"{to}: recd"] = lambda source, out, to=to: convert(source, out / f"a.{to}", to=to)
    if _installed(table, "plain mcap", "mcap"):
        ways["mcap: plain loop with mcap"] = lambda source, out: _plain(source / "state.h5", out / "b.mcap")
    for way in ways.values():
        way(first, bench.new_directory())  # what is imported and looked for once
    seen: dict[str, list[float]] = {}
    for name in in_turns(rounds, [*ways]):
        out = bench.new_directory()
        began = time.perf_counter()
        ways[name](source, out)
        seen.setdefault(name, []).append(time.perf_counter() - began)
    for name in ways:
        speed = count / median(seen[name])
        bar = Bar(speed, LEAST_SAMPLES, "/s", at_least=True) if name == "mcap: recd" else None
        table.add(name, speed, bar=bar)
    yield table


def _recorded(directory: Path, count: int) -> Path:
    rng = np.random.default_rng(3)
    qpos, qvel = rng.normal(size=(256, 7)), rng.normal(size=(256, 6))
    with Recorder("viewers", dir=directory, dt=0.001) as rec:
        stream = rec.stream("state", HDF5File("state.h5"), overflow="block")
        for i in range(count):
            stream.write({"qpos": qpos[i % 256] + i, "qvel": qvel[i % 256]})
    return directory


def _plain(source: Path, out: Path) -> None:
    from mcap.writer import Writer

    with h5py.File(source) as file, out.open("wb") as made:
        writer = Writer(made)
        writer.start()
        schema = writer.register_schema("bench/Sample", "ros2msg", _DEFINITION)
        channel = writer.register_channel("/state", "cdr", schema)
        times = (file["timestamp"][:] * 1e9).astype(np.int64).tolist()
        rows = np.concatenate([file["qpos"][:], file["qvel"][:]], 1)
        for i, time_ns in enumerate(times):
            writer.add_message(channel, time_ns, b"\0\1\0\0" + rows[i].tobytes(), time_ns, i)
        writer.finish()


def _installed(table: Table, what: str, library: str) -> bool:
    found = importlib.util.find_spec(library) is not None
    if not found:
        table.notes.append(f"not measured: {what}, {library} is not installed")
    return found
