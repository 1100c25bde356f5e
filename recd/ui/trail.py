"""What a viewer may scroll back to: a stream's newest samples as they are, older ones as lowest and highest values.

Bounded in memory, however long one looks. Lives in the server of the page; nobody who records knows of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .decimate import Floats

#: Memory of one stream's samples; of what has become old, a quarter as much again.
RECENT_BYTES: Final = 16 << 20
#: So many old samples become two rows.
_GROUP: Final = 16
_X = {"sim": 0, "wall": 1}


class Rows(NamedTuple):
    """Samples, or extremes of some, in order.

    Parameters
    ----------
    x : ndarray, (n, 2), s
        Stream time, and time on the wall (Unix).
    seq : ndarray, (n,) int64
        Number of the sample, or of one of those that the row stands for.
    y : ndarray, (n, lines)
    """

    x: Floats
    seq: NDArray[np.int64]
    y: Floats

    def part(self, rows: slice) -> Rows:
        """Some of them; views."""
        return Rows(self.x[rows], self.seq[rows], self.y[rows])


class Trail:
    """The history of a stream's numbers.

    Parameters
    ----------
    lines : int
        Numbers of one sample.
    recent_bytes : int
        Memory of the samples that are kept as they are.
    """

    def __init__(self, lines: int, recent_bytes: int = RECENT_BYTES) -> None:
        self.lines = lines
        rows = max(recent_bytes // (8 * (lines + 3)), 4 * _GROUP)
        self._recent = _Filling(lines, rows)
        self._old = _Filling(lines, max(rows // 4, 2 * _GROUP))
        #: Number of the first sample since stream time last went back: what is older has no place on its axis.
        self.epoch_seq = 0
        #: Rows that were ever added.
        self.added = 0
        self._last_t = -np.inf
        self._last_seq = -1

    def __len__(self) -> int:
        return self._recent.count + self._old.count

    def add(self, t: Floats, wall: Floats, seq: NDArray[np.int64], y: Floats) -> None:
        """Samples came, in order; where numbers are missing between them, the lines are broken.

        Parameters
        ----------
        t, wall : ndarray, (n,), s
        seq : ndarray, (n,)
        y : ndarray, (n, lines)
        """
        if not len(t):
            return
        before_t = np.concatenate([[self._last_t], t[:-1]])
        back = np.flatnonzero(t < before_t)
        if len(back):
            self.epoch_seq = int(seq[back[-1]])
        before_seq = np.concatenate([[self._last_seq], seq[:-1]])
        holes = np.flatnonzero((seq > before_seq + 1) & (before_seq >= 0))
        self._last_t, self._last_seq = float(t[-1]), int(seq[-1])
        x = np.stack([t, wall], 1)
        if len(holes):
            y = np.insert(y, holes, np.nan, 0)
            x, seq = np.insert(x, holes, x[holes], 0), np.insert(seq, holes, seq[holes], 0)
        self.added += len(x)
        rows = Rows(x, seq, y)
        step = self._recent.room // 2
        for i in range(0, len(x), step):
            part = rows.part(slice(i, i + step))
            if self._recent.count + len(part.x) > self._recent.room:
                self._age(self._recent.count // 2 // _GROUP * _GROUP)
            self._recent.add(part)

    def _age(self, count: int) -> None:
        """The oldest samples become extremes."""
        if self._old.count + 2 * count // _GROUP > self._old.room:
            older = self._old.take(self._old.count // 4 * 4)
            rest = self._old.take(self._old.count)
            self._old.add(_extremes(older, 4))
            self._old.add(rest)
        self._old.add(_extremes(self._recent.take(count), _GROUP))

    def newest(self, clock: str) -> float | None:
        """Time of the newest sample; None without one."""
        return float(self._recent.rows.x[-1, _X[clock]]) if self._recent.count else None

    def between(self, clock: str, begin: float, end: float) -> tuple[Floats, Floats]:
        """Times and values from ``begin`` to ``end`` and of one neighbour on either side, to draw lines to the edges.

        Returns
        -------
        x : ndarray, (n,), s
            Ascending.
        y : ndarray, (n, lines)
        """
        xs, ys = [], []
        for part in (self._old.rows, self._recent.rows):
            if clock == "sim":
                part = part.part(slice(int(np.searchsorted(part.seq, self.epoch_seq)), None))
            x = part.x[:, _X[clock]]
            first = max(int(np.searchsorted(x, begin, "left")) - 1, 0)
            last = int(np.searchsorted(x, end, "right")) + 1
            xs.append(x[first:last])
            ys.append(part.y[first:last])
        if len(xs[0]) and len(xs[1]) and xs[1][0] <= begin:  # the recent ones reach as far
            return xs[1], ys[1]
        return np.concatenate(xs), np.concatenate(ys)


class _Filling:
    """Rows in one piece of memory: added behind, taken in front."""

    def __init__(self, lines: int, room: int) -> None:
        self.room = room
        self._lines = lines
        self._memory = _empty(lines, min(room, 1024))
        self.count = 0

    @property
    def rows(self) -> Rows:
        return self._memory.part(slice(self.count))

    def add(self, rows: Rows) -> None:
        end = self.count + len(rows.x)
        have = len(self._memory.x)
        if end > have:
            grown = _empty(self._lines, max(2 * have, end))
            for old, new in zip(self.rows, grown, strict=True):
                new[: self.count] = old
            self._memory = grown
        for into, values in zip(self._memory, rows, strict=True):
            into[self.count : end] = values
        self.count = end

    def take(self, count: int) -> Rows:
        """The first rows, which are no longer in here."""
        taken = Rows(*(part[:count].copy() for part in self._memory))
        for part in self._memory:
            part[: self.count - count] = part[count : self.count].copy()
        self.count -= count
        return taken


def _empty(lines: int, count: int) -> Rows:
    return Rows(np.empty((count, 2)), np.empty(count, np.int64), np.empty((count, lines)))


def _extremes(rows: Rows, group: int) -> Rows:
    """Two rows for each group: the lowest values at its first time, the highest at its last, or the other way round."""
    x = rows.x.reshape(-1, group, 2)
    seq = rows.seq.reshape(-1, group)
    y = rows.y.reshape(-1, group, rows.y.shape[1])
    low: Floats = np.fmin.reduce(y, 1)
    high: Floats = np.fmax.reduce(y, 1)
    rising = y[:, -1] >= y[:, 0]
    first, second = np.where(rising, low, high), np.where(rising, high, low)
    return Rows(
        np.stack([x[:, 0], x[:, -1]], 1).reshape(-1, 2),
        np.stack([seq[:, 0], seq[:, -1]], 1).ravel(),
        np.stack([first, second], 1).reshape(-1, y.shape[2]),
    )
