"""Where a recording begins anew: from one whole reset to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..batch import RESET
from .data import Mark
from .stream import Stream

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True)
class Episode:
    """What lies between two whole resets.

    Parameters
    ----------
    index : int
        From 0 on.
    ranges : dict
        Stream to the slice of its samples; an empty one where it has none.
    t0, t1 : float or None, s
        First and last time of any stream.
    mono_ns : (int or None, int or None)
        Monotonic time of the resets at its begin and end; None at the recording's ends.
    success : bool or None
        From a mark with a field ``success`` in it; None where no mark tells.
    metadata : dict
        Fields of the marks within that are no resets, later ones first.
    marks : list of Mark
        Those within.
    """

    run: Run = field(repr=False)
    index: int
    ranges: Mapping[str, slice]
    t0: float | None
    t1: float | None
    mono_ns: tuple[int | None, int | None]
    success: bool | None
    metadata: Mapping[str, Any]
    marks: list[Mark]

    def __getitem__(self, stream: str) -> slice:
        return self.ranges[stream]

    def count(self, stream: str) -> int:
        """Number of a stream's samples in it."""
        span = self.ranges[stream]
        return int(span.stop - span.start)

    def at(self, t: float, method: str = "previous", tolerance: float | None = None) -> dict[str, Any]:
        """As :meth:`Run.at`, of the samples of this episode alone."""
        return {
            name: stream.at(t, method, tolerance, self.ranges[name])
            for name, stream in self.run.streams.items()
        }


def is_whole(mark: Mark) -> bool:
    """Whether a mark is a reset of everything."""
    return mark.label == RESET and mark.fields.get("envs_idx") is None


def episodes_of(run: Run) -> list[Episode]:
    """The episodes of all streams together.

    A reset that stands in some streams only, though others went on before and behind it (an environment that is
    recorded beside others), is no boundary for the run. A last episode without a sample is not given.
    """
    resets = [m for m in run.marks if is_whole(m)]
    cuts = {name: _cuts(stream, resets) for name, stream in run.streams.items()}
    found = []
    for k in range(len(resets) + 1):
        ranges = {name: slice(*at[k : k + 2]) for name, at in cuts.items()}
        found.append(
            (ranges, resets[k - 1].mono_ns if k else None, resets[k].mono_ns if k < len(resets) else None)
        )
    while found and all(span.start == span.stop for span in found[-1][0].values()):
        found.pop()
    return [_episode(run, k, *each) for k, each in enumerate(found)]


def _cuts(stream: Stream, resets: list[Mark]) -> list[int]:
    """Indices of a stream's samples at which episodes begin, and its length."""
    seq = stream.seq if len(stream) else np.empty(0, np.int64)
    at = [0]
    for mark in resets:
        if stream.name in mark.seq and "seq" in stream.known:
            at.append(int(np.searchsorted(seq, mark.seq[stream.name])))
        else:
            at.append(at[-1])
    return [*at, len(stream)]


def _episode(
    run: Run, index: int, ranges: dict[str, slice], begin_ns: int | None, end_ns: int | None
) -> Episode:
    times = [run.streams[name].t[span] for name, span in ranges.items() if span.stop > span.start]
    low = [float(np.nanmin(t)) for t in times if not np.isnan(t).all()]
    high = [float(np.nanmax(t)) for t in times if not np.isnan(t).all()]
    marks = [
        m for m in run.marks
        if m.label != RESET and (begin_ns is None or m.mono_ns >= begin_ns) and (end_ns is None or m.mono_ns < end_ns)
    ]  # fmt: skip
    metadata = {key: value for m in marks for key, value in m.fields.items()}
    success = metadata.get("success")
    return Episode(
        run, index, ranges, min(low, default=None), max(high, default=None), (begin_ns, end_ns),
        None if success is None else bool(success), metadata, marks,
    )  # fmt: skip
