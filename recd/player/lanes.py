"""One stream, or the marks, as a cursor that goes forward and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recd_client.errors import OutputError, RecdError

from ..reader import ArrayStream, Block, Mark, VideoStream
from ..reader.problems import tell
from .event import MARK, Event
from .laps import Laps, mark_index
from .times import Floats, Times

#: Lap, key, number of the marks before it, and place of the lane: the order in which all is played.
Key = tuple[int, float, int, int]


class Lane(ABC):
    """A cursor between two events.

    Parameters
    ----------
    order : int
        Who goes first where all else is equal.
    """

    def __init__(self, order: int) -> None:
        self.order = order

    @abstractmethod
    def head(self) -> Key | None:
        """The key of the event behind the cursor; None at the end."""

    @abstractmethod
    def tail(self) -> Key | None:
        """The key of the event before the cursor; None at the begin."""

    @abstractmethod
    def advance(self) -> Event:
        """The event behind the cursor, which moves over it."""

    @abstractmethod
    def retreat(self) -> None:
        """Move the cursor back over the event before it."""

    @abstractmethod
    def seek(self, lap: int, key: float) -> None:
        """Move the cursor before the first event that stands there or behind."""


class StreamLane(Lane):
    """The samples of a stream, of which one block is in memory.

    Parameters
    ----------
    times : Times
    laps : Laps
    marks : list of Mark
        Those of the recording: a sample stands behind those that it was written behind.
    order : int
    """

    def __init__(self, times: Times, laps: Laps, marks: Sequence[Mark], order: int) -> None:
        super().__init__(order)
        self._times = times
        self._laps = laps
        places = ((n, mark_index(times, mark)) for n, mark in enumerate(marks))
        told = [(n, at) for n, at in places if at is not None]
        #: Where marks stand: index of the sample behind each, and their count up to it.
        self._marked = np.maximum.accumulate(np.array([at for _, at in told], np.int64))
        self._passed = np.array([0, *(n + 1 for n, _ in told)], np.int64)
        self._cursor = 0
        self._end = times.count
        #: Blocks, by number.
        self._unreadable: set[int] = set()
        #: Index of the first sample in memory, and the keys of all of them.
        self._start, self._keys = 0, list[Key]()

    def head(self) -> Key | None:
        """See :class:`Lane`; the cursor is moved over what cannot be read."""
        while self._cursor < self._end:
            if (key := self._key(self._cursor)) is not None:
                return key
            self._cursor = int(self._times.blocks[self._times.block_of(self._cursor) + 1])
        return None

    def tail(self) -> Key | None:
        """See :class:`Lane`; the cursor is moved over what cannot be read."""
        while self._cursor > 0:
            if (key := self._key(self._cursor - 1)) is not None:
                return key
            self._cursor = int(self._times.blocks[self._times.block_of(self._cursor - 1)])
        return None

    def retreat(self) -> None:
        """See :class:`Lane`."""
        self._cursor -= 1

    def seek(self, lap: int, key: float) -> None:
        """See :class:`Lane`."""
        if self._end:
            block = self._times.block_before(lap, key)
            self._cursor = int(self._times.blocks[block])
            if self._load(block):
                self._cursor += bisect_left(self._keys, (lap, key))

    def cut(self) -> None:
        """The sample before the cursor, and what is behind it, is not there."""
        self._cursor = self._end = max(self._cursor - 1, 0)

    def advance(self) -> Event:
        """See :class:`Lane`."""
        index = self._cursor
        lap, key, *_ = self._keys[index - self._start]  # head() was asked for it
        self._cursor += 1
        return self._event(index, self._laps.position(lap, key))

    def _key(self, index: int) -> Key | None:
        here = self._start <= index < self._start + len(self._keys)
        if not here and not self._load(self._times.block_of(index)):
            return None
        return self._keys[index - self._start]

    def _load(self, number: int) -> bool:
        """Have a block in memory; False, and told, if it cannot be read."""
        start, stop = (int(n) for n in self._times.blocks[number : number + 2])
        if number in self._unreadable:
            return False
        try:
            t = self._read(start, stop)
        except RecdError as e:
            stream = self._times.stream
            tell(
                stream.problems,
                f"stream {stream.name!r}: samples {start} to {stop - 1} cannot be read: {e.what}",
            )
            self._unreadable.add(number)
            return False
        laps, keys = self._times.keys(start, t, self._times.before(number))
        passed = self._passed[np.searchsorted(self._marked, np.arange(start, stop), "right")].tolist()
        begins = self._laps.begins
        self._start = start
        self._keys = [
            (lap, max(key, begins[lap]), n, self.order)
            for lap, key, n in zip(laps, keys.tolist(), passed, strict=True)
        ]
        return True

    @abstractmethod
    def _read(self, start: int, stop: int) -> Floats:
        """Have the samples from ``start`` to ``stop`` in memory; returns their times."""

    @abstractmethod
    def _event(self, index: int, position: float) -> Event:
        """One of the samples in memory."""


class ArrayLane(StreamLane):
    """A stream of arrays."""

    def __init__(self, stream: ArrayStream, laps: Laps, marks: Sequence[Mark], order: int) -> None:
        super().__init__(laps.times[stream.name], laps, marks, order)
        self._stream = stream
        self._bare = stream.schema.bare
        self._rows = int(np.diff(self._times.blocks).max(initial=1))
        self._block = Block()
        self._ahead: Iterator[Block] = iter(())
        self._ahead_at = -1

    def _read(self, start: int, stop: int) -> Floats:
        if self._ahead_at != start:  # else the reader that goes on is just there
            self._ahead = self._stream.batches(rows=self._rows, start=start, stop=self._end)
        self._ahead_at = -1
        block = next(self._ahead, None)
        if block is None or block.count != stop - start:
            found = 0 if block is None else block.count
            raise OutputError(f"{found} samples are there where {stop - start} should be", "see: recd verify")
        self._block, self._ahead_at = block, stop
        return block.t

    def _event(self, index: int, position: float) -> Event:
        block, row = self._block, index - self._start
        return Event(
            float(block.t[row]), self._stream.name, position, lambda: self._value(block, row),
            int(block.seq[row]), int(block.step[row]), int(block.mono_ns[row]),
        )  # fmt: skip

    def _value(self, block: Block, row: int) -> Any:
        sample = {name: column[row] for name, column in block.items()}
        return sample.popitem()[1] if self._bare else sample


class VideoLane(StreamLane):
    """A stream of pictures; each is decoded when it is given."""

    def __init__(self, stream: VideoStream, laps: Laps, marks: Sequence[Mark], order: int) -> None:
        super().__init__(laps.times[stream.name], laps, marks, order)
        self._stream = stream
        self._clocks = stream.t, stream.seq, stream.step, stream.mono_ns

    def _read(self, start: int, stop: int) -> Floats:
        return self._clocks[0][start:stop]

    def _event(self, index: int, position: float) -> Event:
        t, seq, step, mono_ns = (clock[index].item() for clock in self._clocks)
        return Event(t, self._stream.name, position, lambda: self._stream[index], seq, step, mono_ns)


class MarkLane(Lane):
    """What happened on the timeline."""

    def __init__(self, marks: Sequence[Mark], laps: Laps) -> None:
        super().__init__(-1)
        self._marks = marks
        self._laps = laps
        self._keys: list[Key] = []
        lap, key = 0, -math.inf
        for n, mark in enumerate(marks):
            before, lap = lap, laps.lap_of(mark, lap)
            key = max(key if lap == before else -math.inf, laps.key_of(mark, lap))
            self._keys.append((lap, key, n + 1, self.order))
        self._keys.sort()
        self._cursor = 0

    def head(self) -> Key | None:
        """See :class:`Lane`."""
        return self._keys[self._cursor] if self._cursor < len(self._keys) else None

    def tail(self) -> Key | None:
        """See :class:`Lane`."""
        return self._keys[self._cursor - 1] if self._cursor else None

    def advance(self) -> Event:
        """See :class:`Lane`."""
        lap, key, number, _ = self._keys[self._cursor]
        self._cursor += 1
        mark = self._marks[number - 1]
        position = self._laps.position(lap, key)
        return Event(mark.t, MARK, position, lambda: mark, -1, mark.step, mark.mono_ns)

    def retreat(self) -> None:
        """See :class:`Lane`."""
        self._cursor -= 1

    def seek(self, lap: int, key: float) -> None:
        """See :class:`Lane`."""
        self._cursor = bisect_left(self._keys, (lap, key))
