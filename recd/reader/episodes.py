"""Where a recording begins anew: from one whole reset to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from recd_client.errors import NoSuchNameError

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
    mono_ns : (int or None, int or None)
        Monotonic time of the resets at its begin and its end; None at the recording's own.
    marks : list of Mark
        Those within, without resets.
    opened_by : Mark or None
        The reset that it begins with.
    """

    run: Run = field(repr=False)
    index: int
    ranges: Mapping[str, slice]
    mono_ns: tuple[int | None, int | None]
    marks: list[Mark]
    opened_by: Mark | None = field(default=None, repr=False)

    def __getitem__(self, stream: str) -> slice:
        """The slice of a stream's samples."""
        try:
            return self.ranges[stream]
        except KeyError:
            raise NoSuchNameError(
                f"episode {self.index} has no stream {stream!r}, only {', '.join(self.ranges)}",
                "use one of these",
            ) from None

    def count(self, stream: str) -> int:
        """Number of a stream's samples in it."""
        span = self[stream]
        return int(span.stop - span.start)

    @cached_property
    def _times(self) -> tuple[float | None, float | None]:
        held = [(name, span) for name, span in self.ranges.items() if span.start < span.stop]
        spans = [self.run.streams[name].t[span] for name, span in held]
        timed = [t[~np.isnan(t)] for t in spans]
        low = [float(t.min()) for t in timed if len(t)]
        high = [float(t.max()) for t in timed if len(t)]
        return min(low, default=None), max(high, default=None)

    @property
    def t0(self) -> float | None:
        """First time of any stream in it, s; None if it has none."""
        return self._times[0]

    @property
    def t1(self) -> float | None:
        """Last time of any stream in it, s; None if it has none."""
        return self._times[1]

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """Fields of the reset that it begins with and of the marks within, of two of a name the later one."""
        begin = (
            {}
            if self.opened_by is None
            else {k: v for k, v in self.opened_by.fields.items() if k != "envs_idx"}
        )
        return {**begin, **{key: value for mark in self.marks for key, value in mark.fields.items()}}

    @property
    def success(self) -> bool | None:
        """The field ``success`` of a mark within, or whether one is called so; None where no mark tells."""
        if any(mark.label == "success" and "success" not in mark.fields for mark in self.marks):
            return True
        told = next(
            (mark.fields["success"] for mark in reversed(self.marks) if "success" in mark.fields), None
        )
        return None if told is None else bool(told)

    def at(self, t: float, method: str = "previous", tolerance: float | None = None) -> dict[str, Any]:
        """As :meth:`Run.at`, of the samples of this episode alone."""
        streams = self.run.streams
        return {
            name: streams[name].at(t, method, tolerance, span) if span.start < span.stop else None
            for name, span in self.ranges.items()
        }


def is_whole(mark: Mark) -> bool:
    """Whether a mark is a reset of everything."""
    return mark.label == RESET and mark.fields.get("envs_idx") is None


def episodes_of(run: Run, name: str | None) -> list[Episode]:
    """The episodes of all streams together, or of one alone."""
    streams = dict(run.streams) if name is None else {name: run[name]}
    lengths = {key: len(stream) if name or stream.readable else 0 for key, stream in streams.items()}
    resets = [m for m in run.marks if is_whole(m)]
    if name is not None:
        resets = [m for m in resets if name in m.seq]
    else:
        resets = [m for m in resets if not any(_passes_by(stream, m) for stream in streams.values())]
    cuts = {key: _cuts(stream, resets, lengths[key]) for key, stream in streams.items()}
    if not run.session and not resets:  # files alone: their parts are all that is known
        parts = {key: stream.parts if lengths[key] else [] for key, stream in streams.items()}
        cuts = {key: [*(part.start for part in parts[key]), length] for key, length in lengths.items()}
    most = max(map(len, cuts.values()), default=1)
    found = []
    for k in range(most - 1):
        ranges = {key: slice(*(at + [lengths[key]] * most)[k : k + 2]) for key, at in cuts.items()}
        begin = resets[k - 1] if 0 < k <= len(resets) else None
        found.append((ranges, begin, resets[k] if k < len(resets) else None))
    # Between two resets without a sample, or before one that opens the recording, nothing happened.
    found = [each for each in found if any(span.start < span.stop for span in each[0].values())]
    return [_episode(run, k, name, *each) for k, each in enumerate(found)]


def _passes_by(stream: Stream, mark: Mark) -> bool:
    """Whether a stream went on before and behind a mark that does not stand in it."""
    first, last = stream._data.told.get("mono_first_ns"), stream._data.told.get("mono_last_ns")
    if stream.name in mark.seq or not mark.seq or first is None or last is None:
        return False
    return bool(first < mark.mono_ns < last)


def _cuts(stream: Stream, resets: list[Mark], length: int) -> list[int]:
    """Indices of a stream's samples at which episodes begin, and its length."""
    at = [0]
    for mark in resets:
        if stream.name in mark.seq and length:
            at.append(max(at[-1], stream.index_of_seq(mark.seq[stream.name])))
        else:  # it began behind the reset, or had ended
            last = stream._data.told.get("mono_last_ns")
            at.append(length if last is not None and last < mark.mono_ns else at[-1])
    return [*at, length]


def _episode(
    run: Run, index: int, name: str | None, ranges: dict[str, slice], begin: Mark | None, end: Mark | None
) -> Episode:
    low, high = (None if mark is None else mark.mono_ns for mark in (begin, end))
    marks = [
        m for m in run.marks
        if m.label != RESET and (name is None or not m.seq or name in m.seq)
        and (low is None or m.mono_ns >= low) and (high is None or m.mono_ns < high)
    ]  # fmt: skip
    return Episode(run, index, ranges, (low, high), marks, begin)
