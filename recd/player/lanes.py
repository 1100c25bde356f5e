"""One stream, or the marks, as a cursor that goes forward and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recd_client.errors import RecdError

from ..reader import ArrayStream, Block, Mark, VideoStream
from ..reader.problems import tell
from .event import MARK, Event
from .laps import Laps, ends_lap, mark_index

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
    """The samples of a stream; in memory is one block of them.

    Parameters
    ----------
    stream : ArrayStream or VideoStream
    laps : Laps
    marks : list of Mark
        Those of the recording: a sample stands behind those that it was written behind.
    order : int
    """

    def __init__(
        self, stream: ArrayStream | VideoStream, laps: Laps, marks: Sequence[Mark], order: int
    ) -> None:
        super().__init__(order)
        self.stream = stream
        self._laps = laps
        self._times = laps.times[stream.name]
        known = [(n, mark_index(self._times, m)) for n, m in enumerate(marks)]
        told = [(n, at) for n, at in known if at is not None]
        #: Where marks stand: index of the sample behind each, and their count up to it.
        self._marked = np.maximum.accumulate(np.array([at for _, at in told], np.int64))
        self._passed = np.array([0, *(n + 1 for n, _ in told)], np.int64)
        self.cursor = 0
        self._end = self._times.count
        self._start, self._keys = 0, list[Key]()
        self._block: Block | None = None
        self._ahead: Iterator[Block] | None = None
        self._ahead_at = -1

    # --- the cursor ----------------------------------------------------------------------------------
    def head(self) -> Key | None:
        """See :class:`Lane`."""
        return self._key(self.cursor) if self.cursor < self._end else None

    def tail(self) -> Key | None:
        """See :class:`Lane`."""
        return self._key(self.cursor - 1) if self.cursor > 0 else None

    def retreat(self) -> None:
        """See :class:`Lane`."""
        self.cursor -= 1

    def seek(self, lap: int, key: float) -> None:
        """See :class:`Lane`."""
        self.cursor = 0
        if self._end and self._load(self._times.block_before(lap, key)):
            self.cursor = self._start + bisect_left(self._keys, (lap, key))

    def advance(self) -> Event:
        """See :class:`Lane`."""
        index, self.cursor = self.cursor, self.cursor + 1
        key = self._key(index)
        assert key is not None
        position = self._laps.position(key[0], key[1])
        block, row = self._block, index - self._start
        name = self.stream.name
        if block is None:  # a video
            clocks = self._clocks
            return Event(
                float(clocks[0][index]), name, position, lambda: self.stream[index],
                *(int(c[index]) for c in clocks[1:]),
            )  # fmt: skip
        return Event(
            float(block.t[row]), name, position, lambda: self._sample(block, row),
            int(block.seq[row]), int(block.step[row]), int(block.mono_ns[row]),
        )  # fmt: skip

    # --- blocks --------------------------------------------------------------------------------------
    def _key(self, index: int) -> Key | None:
        if not self._start <= index < self._start + len(self._keys) and not self._load(
            self._times.block_of(index)
        ):
            return None
        return self._keys[index - self._start]

    def _load(self, number: int) -> bool:
        """Have a block in memory; what cannot be read is told, and the stream ends there."""
        start, stop = (int(n) for n in self._times.blocks[number : number + 2])
        if isinstance(self.stream, VideoStream):
            t = self.stream.t
        else:
            try:
                self._block = self._read(self.stream, start, stop)
            except RecdError as e:
                tell(self.stream.problems, f"stream {self.stream.name!r} ends before sample {start}: {e.what}")
                self._end, self.cursor = start, min(self.cursor, start)
                return False
            t = self._block.t
        laps, keys = self._times.keys(start, t, self._times.before(number))
        passed = self._passed[np.searchsorted(self._marked, np.arange(start, stop), "right")].tolist()
        begins = self._laps.begins
        self._start = start
        self._keys = [
            (lap, max(key, begins[lap]), n, self.order)
            for lap, key, n in zip(laps, keys.tolist(), passed, strict=True)
        ]
        return True

    def _read(self, stream: ArrayStream, start: int, stop: int) -> Block:
        """The samples from ``start`` to ``stop``: by the reader that goes on, if it is just there."""
        if self._ahead is None or self._ahead_at != start:
            rows = int(np.diff(self._times.blocks).max())
            self._ahead = stream.batches(rows=rows, start=start)
        self._ahead_at = stop
        block = next(self._ahead, None)
        if block is None or block.count != stop - start:
            self._ahead = None
            found = 0 if block is None else block.count
            raise RecdError(f"{found} samples were found from {start} on, expected {stop - start}")
        return block

    def _sample(self, block: Block, row: int) -> Any:
        if self.stream.schema.bare:
            return block[self.stream.fields[0]][row]
        return {name: column[row] for name, column in block.items()}

    @property
    def _clocks(self) -> tuple[Any, ...]:
        if self._frame_clocks is None:
            s = self.stream
            self._frame_clocks = s.t, s.seq, s.step, s.mono_ns
        return self._frame_clocks

    _frame_clocks: tuple[Any, ...] | None = None


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
            at = math.inf if ends_lap(laps, mark) else mark.t if math.isfinite(mark.t) else -math.inf
            key = max(at, key, laps.begins[lap]) if lap == before else max(at, laps.begins[lap])
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
