"""recd's own calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from recd.sinks.names import TIMESTAMP
from recd_client import CSVFile, HDF5File, NPZFile, NullSink, Recorder, SinkOptions, StreamSummary, VideoFile

from ..daemon import buffered_bytes, descendants, producer, supervisor_pid
from ..kinds import ARRAYS, FIELDS, FPS, FRAMES, ROWS, Kind, Sample
from ..timing import Step, wait_until
from .base import Way
from .inline import count_lines
from .video import count_frames

#: How many of the largest samples fit the ring at least.
_LEAST_RECORDS: Final = 6


class _Recd(Way):
    """A recording with one stream."""

    def __init__(self, directory: Path, kind: Kind, *, keep: bool = True, block: bool = False) -> None:
        super().__init__(directory, kind)
        self._sink = self._choose() if keep else NullSink()
        #: What recd chooses by itself is too small only where a sample is enormous
        large = kind.family == ARRAYS and kind.bytes() > 1 << 20
        self._rec = Recorder("bench", dir=directory, dt=kind.dt)
        self._stream = self._rec.stream(
            "data",
            self._sink,
            like=kind.pool()[0],
            overflow="block" if block else "drop_newest",
            buffer_bytes=_LEAST_RECORDS * (kind.bytes() + 128) if large else None,
        )
        self._ring = producer(self._stream)
        self._half_bytes = self._ring.capacity_bytes // 2
        self._summary: StreamSummary | None = None

    def _choose(self) -> SinkOptions:
        if self.kind.family == FRAMES:
            return VideoFile("data.mp4", fps=FPS)
        return HDF5File("data.h5") if self.kind.family == ARRAYS else CSVFile("data.csv")

    def capacity_bytes(self) -> int:
        """Size of the ring."""
        return int(self._ring.capacity_bytes)

    def write(self, data: Sample, t: float) -> object:
        """One sample."""
        return self._stream.write(data, t)

    def await_room(self) -> None:
        """Half the ring is free."""
        if buffered_bytes(self._stream) > self._half_bytes:
            wait_until(lambda: buffered_bytes(self._stream) <= self._half_bytes)

    def settle(self) -> None:
        """The worker has brought everything to safety."""
        self._rec.flush()

    def close(self) -> None:
        """Complete the file."""
        self._summary = self._rec.close()["data"]

    def found(self) -> int | None:
        """Samples in the file."""
        if self._summary is None or not self._summary.files:
            return None
        (path,) = self._summary.files
        return _COUNT[path.suffix](path)

    def lost(self) -> int:
        """Samples that found the ring full."""
        return self._summary.lost_total if self._summary else 0

    def helpers(self) -> list[int]:
        """The supervisor, the stream's worker, and what it started."""
        worker = self._ring.word("worker_pid")
        return [supervisor_pid(), worker, *descendants(worker)]


class RecdWrite(_Recd):
    """A stream's ``write``, called as it is."""

    name = "recd write"
    families = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """The stream's own method, without one of ours around it."""
        now, write, took = time.perf_counter_ns, self._stream.write, [0] * len(times)
        for i, t in enumerate(times):
            step()
            start = now()
            write(data, t)
            took[i] = now() - start
        return took


class RecdClaim(_Recd):
    """A stream's ``claim``, filled by the caller."""

    name = "recd claim, and copyto"
    families: ClassVar = frozenset({ROWS, ARRAYS, FRAMES})

    def _choose(self) -> SinkOptions:
        return NullSink()

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each claim, the caller's own copy included."""
        now, claim, copy, took = time.perf_counter_ns, self._stream.claim, np.copyto, [0] * len(times)
        for i, t in enumerate(times):
            step()
            start = now()
            with claim(t) as place:
                copy(place, data)
            took[i] = now() - start
        return took

    def write(self, data: Sample, t: float) -> object:
        """One sample."""
        with self._stream.claim(t) as place:
            np.copyto(place, data)
        return None


class RecdNPZ(RecdWrite):
    """As ``RecdWrite``, with another file."""

    name = "recd write, to NPZ"
    families = frozenset({ROWS, FIELDS})

    def _choose(self) -> SinkOptions:
        return NPZFile("data.npz")


class RecdHDF5(RecdWrite):
    """As ``RecdWrite``, with another file."""

    name = "recd write, to HDF5"
    families = frozenset({ROWS, FIELDS})

    def _choose(self) -> SinkOptions:
        return HDF5File("data.h5")


def _rows_of_npz(path: Path) -> int:
    with np.load(path) as file:
        return len(file[TIMESTAMP])


def _rows_of_hdf5(path: Path) -> int:
    import h5py

    with h5py.File(path) as file:
        return int(file[TIMESTAMP].shape[0])


_COUNT: Final[dict[str, Callable[[Path], int]]] = {
    ".csv": lambda path: count_lines(path) - 1,
    ".npz": _rows_of_npz,
    ".h5": _rows_of_hdf5,
    ".mp4": count_frames,
}
