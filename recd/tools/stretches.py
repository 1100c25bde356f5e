"""Samples of a stream that lie one behind the other in one of its files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import RecdError

from ..reader import ArrayStream, Run, Stream, VideoStream
from ..video.files import describe

_ROWS: Final = 1 << 16
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Time, step, monotonic time and number of a sample; -1 where unknown.
End = tuple[float, int, int, int]


@dataclass(frozen=True)
class Look:
    """The clocks of some samples that lie one behind the other.

    Parameters
    ----------
    start : int
        Index of the first one in its stream.
    t, wall : ndarray, (n,) float64, s
    seq, step, mono_ns : ndarray, (n,) int64
        As of :class:`recd.reader.Stream`: -1 and NaN where unknown.
    """

    start: int
    t: Floats
    wall: Floats
    seq: Ints
    step: Ints
    mono_ns: Ints

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice) -> Look:
        start = self.start + rows.start
        return Look(start, self.t[rows], self.wall[rows], self.seq[rows], self.step[rows], self.mono_ns[rows])


def looks(stream: Stream, start: int = 0, stop: int | None = None) -> Iterator[Look]:
    """The clocks of a stream's samples, some at a time: of an array stream in constant memory."""
    if isinstance(stream, ArrayStream):
        for b in stream.batches(_ROWS, fields=[], start=start, stop=stop):
            yield Look(b.start, b.t, b.wall, b.seq, b.step, b.mono_ns)
        return
    whole = Look(0, stream.t, stream.wall, stream.seq, stream.step, stream.mono_ns)
    yield whole[start : len(stream) if stop is None else stop]


@dataclass(frozen=True)
class Axis:
    """Where the clocks of a recording lie on those of the one that is made of it.

    Parameters
    ----------
    offset_s : float, s
        Is added to stream time.
    offset_ns : int
        Is added to monotonic time.
    opened_ns, origin_ns : int, ns
        Monotonic time of the begin of the recording, on its own clock, and of the one that is made, on that one's.
    """

    offset_s: float = 0.0
    offset_ns: int = 0
    opened_ns: int = 0
    origin_ns: int = 0

    def t(self, t: Floats, mono_ns: Ints) -> Floats:
        """Stream time. What was made of monotonic time is made of it anew, so that it can be proved again."""
        if not self.offset_s:
            return t
        made = (mono_ns >= 0) & ((mono_ns - self.opened_ns) * 1e-9 == t)
        return np.where(made, (mono_ns + self.offset_ns - self.origin_ns) * 1e-9, t + self.offset_s)

    def mono(self, mono_ns: Ints) -> Ints:
        """Monotonic time."""
        return np.where(mono_ns < 0, mono_ns, mono_ns + self.offset_ns)


@dataclass
class Tally:
    """What is counted of samples; ``first`` and ``last`` are ``(t, step, mono_ns, seq)``."""

    first: End | None = None
    last: End | None = None
    backward: int = 0
    nan: int = 0

    def add(self, look: Look, axis: Axis) -> None:
        """Count the next samples."""
        t = axis.t(look.t, look.mono_ns)
        mono = axis.mono(look.mono_ns)
        ends = [(float(t[i]), int(look.step[i]), int(mono[i]), int(look.seq[i])) for i in (0, -1)]
        if self.last is not None:
            self.backward += bool(t[0] < self.last[0])
        self.first = self.first or ends[0]
        self.last = ends[1]
        self.backward += int(np.count_nonzero(t[1:] < t[:-1]))
        self.nan += int(np.count_nonzero(np.isnan(t)))

    def join(self, other: Tally) -> None:
        """Count what another one has counted behind this."""
        if other.first is None or other.last is None:
            return
        self.backward += other.backward + (self.last is not None and other.first[0] < self.last[0])
        self.nan += other.nan
        self.first, self.last = self.first or other.first, other.last


@dataclass(frozen=True)
class Stretch:
    """Samples that lie one behind the other, in one part of their stream.

    Parameters
    ----------
    run : Run
    stream : ArrayStream or VideoStream
        As it is read.
    start, stop : int
        Indices of its samples.
    part : int
        The part that they lie in.
    axis : Axis
    tally : Tally
        On that axis; the numbers are the stream's own.
    seq_shift : int
        Is added to the numbers.
    """

    run: Run
    stream: ArrayStream | VideoStream
    start: int
    stop: int
    part: int
    axis: Axis = Axis()
    tally: Tally = field(default_factory=Tally)
    seq_shift: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def first_seq(self) -> int:
        """Number of its first sample."""
        assert self.tally.first is not None
        return self.tally.first[3] + self.seq_shift

    @property
    def next_seq(self) -> int:
        """Number behind its last sample."""
        assert self.tally.last is not None
        return self.tally.last[3] + self.seq_shift + 1

    def written(self) -> list[tuple[int, int]]:
        """Numbers and monotonic times of some of its samples, as its recording's line tells them."""
        stream, first, last = self.stream, self.tally.first, self.tally.last
        if not isinstance(stream, ArrayStream) or stream.line is None or "seq" not in stream.known:
            return []
        if first is None or last is None:
            return []
        points = stream.line.within(first[3], last[3])
        return [(seq + self.seq_shift, ns + self.axis.offset_ns) for seq, ns in points]


def everything(look: Look) -> NDArray[np.bool_]:
    """All samples are wanted."""
    return np.ones(len(look), np.bool_)


def stretches(
    run: Run,
    stream: ArrayStream | VideoStream,
    wanted: Callable[[Look], NDArray[np.bool_]] = everything,
    axis: Axis = Axis(),
) -> list[Stretch]:
    """The wanted samples of a stream, in order. Neither a part's end nor an unwanted sample lies in a stretch."""
    begins = np.array([part.start for part in stream.parts], np.int64)
    found: list[Stretch] = []
    for look in looks(stream):
        mask = wanted(look)
        inner = begins[(begins > look.start) & (begins < look.start + len(look))] - look.start
        cuts = np.union1d(np.flatnonzero(np.diff(mask)) + 1, inner)
        edges = [0, *cuts.tolist(), len(look)]
        for a, b in itertools.pairwise(edges):
            if a == b or not mask[a]:
                continue
            start, stop = look.start + a, look.start + b
            part = int(np.searchsorted(begins, start, "right")) - 1
            if found and found[-1].stop == start and found[-1].part == part:
                found[-1] = replace(found[-1], stop=stop)
            else:
                found.append(Stretch(run, stream, start, stop, part, axis, Tally()))
            found[-1].tally.add(look[a:b], axis)
    _complete(found, stream, axis)
    return found


def _complete(found: list[Stretch], stream: Stream, axis: Axis) -> None:
    """A manifest tells step and monotonic time of the first and last sample also where no file tells them."""
    told = stream._data.told
    if found and found[0].start == 0:
        found[0].tally.first = _told(found[0].tally.first, told, "first", axis)
    if found and found[-1].stop == len(stream):
        found[-1].tally.last = _told(found[-1].tally.last, told, "last", axis)


def _told(end: End | None, told: Mapping[str, Any], which: str, axis: Axis) -> End | None:
    if end is None or told.get("samples") is None:
        return end
    t, step, mono, seq = end
    told_step, told_mono = told.get(f"step_{which}"), told.get(f"mono_{which}_ns")
    if step < 0 and told_step is not None:
        step = int(told_step)
    if mono < 0 and told_mono is not None:
        mono = int(told_mono) + axis.offset_ns
    return t, step, mono, seq


def readable(found: list[Stretch], problems: list[str]) -> list[Stretch]:
    """Those of which the file can be read: a film is opened late, so one that was changed is looked at here."""
    wrong: dict[int, str] = {}
    for part in {s.part for s in found if isinstance(s.stream, VideoStream)}:
        told, film = _film(found[0], part)
        if not told.intact:
            try:
                describe(film.path)
            except RecdError as e:
                wrong[part] = e.what
    problems += wrong.values()
    return [stretch for stretch in found if stretch.part not in wrong]


def _film(stretch: Stretch, part: int) -> Any:
    assert isinstance(stretch.stream, VideoStream)
    return stretch.stream._films[part]


def views(stream: Any) -> list[ArrayStream | VideoStream]:
    """The ways in which a stream was recorded: its arrays, and each of its videos."""
    if isinstance(stream, VideoStream):
        return [*stream.videos, *([stream.arrays] if stream.arrays is not None else [])]
    return [stream]
