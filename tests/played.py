"""Recordings in memory, for tests of what plays them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recd.reader import Mark, Run
from recd.reader.data import PartData, RunData, StreamData
from recd.reader.tables import Rows, Table
from recd_client.errors import OutputError
from recd_client.schema import Field, Schema

BARE = Schema((Field("data", "<i8"),), bare=True)


class MemoryTable(Table):
    """Samples in memory, numbered from 0 on: the value of each is its number."""

    kind: ClassVar = "memory"
    #: Most samples that were read in one go, of all tables.
    most_rows: ClassVar = 0
    has_clocks: ClassVar = True

    def __init__(self, t: Sequence[float], missing: Collection[int] = ()) -> None:
        super().__init__(Path("memory"), BARE)
        self._t = np.array(t, np.float64)
        self._missing = missing

    @property
    def count(self) -> int:
        return len(self._t)

    def rows(self, name: str, start: int, stop: int) -> Rows:
        MemoryTable.most_rows = max(MemoryTable.most_rows, stop - start)
        if any(start <= n < stop for n in self._missing):
            raise OutputError("the disk is gone", "")
        return self._t[start:stop] if name == "timestamp" else np.arange(start, stop)

    def clock(self, name: str, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(start, stop) if name == "seq" else np.full(stop - start, -1)


def run_of(
    streams: Mapping[str, Sequence[float]],
    marks: Sequence[Mark] = (),
    told: bool = False,
    missing: Collection[int] = (),
) -> Run:
    """A recording of streams with samples at these times; ``told``: as a manifest of ascending times tells it."""

    def opens(t: Sequence[float]) -> Callable[[Schema | None], Table]:
        return lambda schema: MemoryTable(t, missing)

    data = [
        StreamData(
            name, BARE, {"hdf5": [PartData(Path("memory"), "memory", samples=len(t), open_table=opens(t))]}
        )
        for name, t in streams.items()
    ]
    ascends = {name: {"backward_times": 0, "nan_times": 0} for name in streams if told}
    manifest = {"streams": ascends} if told else {"streams": {}} if marks else {}
    return Run(RunData(Path("memory"), data, manifest, marks=list(marks)))
