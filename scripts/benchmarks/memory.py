"""Whether processes grow as a recording goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from recd_client import CSVFile, NullSink, Recorder, Stream, VideoFile

from .daemon import Bench, children, producer, resident_kib, supervisor_pid
from .results import Bar, Table

_LOOKS: Final = 20
#: The first looks see caches and pools fill that are as large for ten samples as for a billion.
_WARM: Final = 5
#: What the allocator's own coming and going may look like.
FLAT_KIB: Final = 1024


def measure(bench: Bench) -> Iterator[Table]:
    """States and frames."""
    table = Table("Resident memory", ("MiB at the end", "growth KiB", "slope bytes/sample"))
    samples, frames = bench.size(1_000_000, 200_000), bench.size(10_000, 5_000)
    table.notes.append(
        f"Over {samples:,} samples of 50 float64 to CSV, then {frames:,} frames of 64x48x3 to MP4; looked at "
        f"{_LOOKS} times. Without the first {_WARM} looks: growth from the median of the next {_WARM} to "
        f"that of the last {_WARM}; slope by least squares."
    )
    state, frame = np.random.default_rng(5).standard_normal(50), np.zeros((48, 64, 3), np.uint8)
    with Recorder("memory", dir=bench.new_directory(), dt=0.001) as rec:
        stream = rec.stream("state", CSVFile("state.csv"), NullSink(), like=state, overflow="block")
        _watch(table, "samples", stream, lambda i: stream.write(state, i * 0.001), samples, rec)
    with Recorder("memory", dir=bench.new_directory(), dt=0.001) as rec:
        film = rec.stream("film", VideoFile("film.mp4", fps=60), like=frame, overflow="block")
        _watch(table, "frames", film, lambda i: film.write(frame, i * 0.001), frames, rec)
    yield table


def _watch(
    table: Table, what: str, stream: Stream, write: Callable[[int], object], count: int, rec: Recorder
) -> None:
    """Write ``count`` samples, looking at every process now and then."""
    write(0)
    rec.flush()
    worker = producer(stream).word("worker_pid")
    fixed = {"simulation": os.getpid(), "supervisor": supervisor_pid(), "worker": worker}
    seen: dict[str, list[int]] = {}
    step = count // _LOOKS
    for look in range(_LOOKS):
        for i in range(look * step, (look + 1) * step):
            write(i)
        rec.flush()
        for name, pid in [*fixed.items(), *(("ffmpeg", pid) for pid in children(worker))]:
            seen.setdefault(name, []).append(resident_kib(pid))
    for name, kib in seen.items():
        settled = np.array(kib[_WARM:], float)
        slope = np.polyfit(np.arange(len(settled)) * step, settled * 1024, 1)[0]
        early, late = np.median(settled[:_WARM]), np.median(settled[-_WARM:])
        growth = float(late - early)
        table.add(f"{what}: {name}", late / 1024, growth, float(slope), bar=Bar(growth, FLAT_KIB, " KiB"))
