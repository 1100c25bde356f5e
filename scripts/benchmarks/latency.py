"""What must be waited for: starting, declaring, importing, closing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client import CSVFile, NPZFile, Recorder, SinkOptions, VideoFile

from .daemon import Bench, other_runtime
from .results import Bar, Table
from .timing import seconds

#: Run in a fresh interpreter: seconds that recd's names add to numpy's import.
_IMPORT: Final = """
import time, numpy
start = time.perf_counter()
from recd_client import CSVFile, Recorder, VideoFile
print(time.perf_counter() - start)
"""


def measure(bench: Bench) -> Iterator[Table]:
    """All of them in one table."""
    table = Table("Waiting", ("median ms", "least ms", "most ms"))
    times = bench.size(20, 8)
    _add(table, "Recorder() that starts the daemon", _cold(bench, times // 2), limit_ms=1500)
    warm, declare, close = _warm(bench, times)
    _add(table, "Recorder() on a running daemon", warm)
    _add(table, "rec.stream(like=...): 50 float64 to CSV and NPZ", declare["state"], limit_ms=60)
    _add(table, "rec.stream(like=...): 640x480x3 to MP4", declare["film"], limit_ms=60)
    _add(table, "close() after 1,000 samples to CSV and NPZ and 10 frames to MP4", close)
    _add(
        table,
        "from recd_client import Recorder, CSVFile, VideoFile, beside numpy",
        _imports(times),
        limit_ms=20,
    )
    yield table


def _add(table: Table, label: str, took_s: Sequence[float], *, limit_ms: float | None = None) -> None:
    median, least, most = (1e3 * float(f(took_s)) for f in (np.median, np.min, np.max))
    bar = None if limit_ms is None else Bar(median, limit_ms, " ms")
    table.add(label, median, least, most, bar=bar)


def _cold(bench: Bench, times: int) -> list[float]:
    """Seconds of recorders each of which finds no daemon."""
    took = []
    for n in range(times):
        with other_runtime(bench.directory / f"cold{n}"):
            rec, took_s = _open(bench)
            took.append(took_s)
            rec.close()
    return took


def _open(bench: Bench) -> tuple[Recorder, float]:
    """A recorder, and the seconds that it took."""
    where = bench.new_directory()
    start = time.perf_counter()
    rec = Recorder(dir=where)
    return rec, time.perf_counter() - start


def _warm(bench: Bench, times: int) -> tuple[list[float], dict[str, list[float]], list[float]]:
    """Seconds of recorders, of stream declarations and of closes on a daemon that runs."""
    state, frame = np.zeros(50), np.zeros((480, 640, 3), np.uint8)
    warm: list[float] = []
    declare: dict[str, list[float]] = {"state": [], "film": []}
    close: list[float] = []
    for _ in range(times):
        rec, took_s = _open(bench)
        warm.append(took_s)
        files = CSVFile("state.csv"), NPZFile("state.npz")
        declare["state"].append(_declare(rec, "state", files, state))
        declare["film"].append(_declare(rec, "film", [VideoFile("film.mp4", fps=60)], frame))
        for n in range(1000):
            rec.log("state", state)
            if n % 100 == 0:
                rec.log("film", frame)
        rec.flush()
        close.append(seconds(rec.close))
    return warm, declare, close


def _declare(rec: Recorder, name: str, files: Sequence[SinkOptions], like: NDArray[Any]) -> float:
    """Seconds until the stream is there."""
    start = time.perf_counter()
    rec.stream(name, *files, like=like)
    return time.perf_counter() - start


def _imports(times: int) -> list[float]:
    """Seconds of the import, its byte code being there (which an installation sees to)."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    took = []
    for _ in range(times + 1):
        command = [sys.executable, "-c", _IMPORT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        took.append(float(done.stdout))
    return took[1:]
