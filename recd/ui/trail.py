"""What a viewer may scroll back to: a stream's newest samples as they are, older ones as lowest and highest values.

Stretches, one behind the other, the newest last; all are bounded, however long one looks:

- ``before``: what the log still held when somebody first looked, in groups of one size; it comes from the newest on,
  while what follows is shown already.
- ``coarse``: what came since and is long past, in groups of one size, which doubles when there is no room left. The
  last group is not full yet: what it will be of is kept apart.
- ``fine``: what came before that, in groups of 16 samples.
- ``recent``: samples as they were written.

Lives in the server of the page; nobody who records knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .decimate import Floats
from .rows import Filling, Rows, extremes, joined, with_holes

#: Memory of one stream's samples, and of what its log held before; the other stretches take a quarter of it each.
RECENT_BYTES: Final = 16 << 20
#: So many old samples become two rows.
_GROUP: Final = 16
_X = {"sim": 0, "wall": 1}


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
        #: Rows that may come from behind.
        self.room_before = rows
        old = max(rows // 4, 2 * _GROUP)
        self._before = Rows.empty(lines, 0)
        self._coarse = Filling(lines, old)
        self._fine = Filling(lines, old)
        self._recent = Filling(lines, rows)
        self._last_group = Rows.empty(lines, 0)
        #: Samples that two coarse rows stand for.
        self._coarse_samples = 4 * _GROUP
        #: Number of the first sample since stream time last went back: what is older has no place on its axis.
        self.epoch_seq = 0
        #: Rows that were ever added, and how often older ones came.
        self.added = self.grown = 0
        self._last_t = -np.inf
        self._last_seq = -1

    def __len__(self) -> int:
        return sum(len(part.x) for part in self._parts())

    def _parts(self) -> tuple[Rows, ...]:
        """The stretches, the newest first."""
        return self._recent.rows, self._fine.rows, self._last_group, self._coarse.rows, self._before

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
        back = np.flatnonzero(t < np.concatenate([[self._last_t], t[:-1]]))
        if len(back):
            self.epoch_seq = int(seq[back[-1]])
        rows = with_holes(Rows(np.stack([t, wall], 1), seq, y), self._last_seq)
        self._last_t, self._last_seq = float(t[-1]), int(seq[-1])
        self.added += len(rows.x)
        step = self._recent.room // 2
        for i in range(0, len(rows.x), step):
            part = rows.part(slice(i, i + step))
            if self._recent.count + len(part.x) > self._recent.room:
                self._age(self._recent.count // 2 // _GROUP * _GROUP)
            self._recent.add(part)

    def _age(self, count: int) -> None:
        """The oldest samples become extremes, and the oldest extremes those of more samples."""
        if self._fine.count + 2 * count // _GROUP > self._fine.room:
            self._coarsen(self._fine.take(self._fine.count // 2))
        older = self._recent.take(count)
        self._fine.add(extremes(older, np.arange(count) // _GROUP))

    def _coarsen(self, rows: Rows) -> None:
        rows = joined([self._last_group, rows])
        number = rows.seq // self._coarse_samples
        last = int(np.searchsorted(number, number[-1]))
        older, rest = extremes(rows.part(slice(last)), number[:last]), rows.part(slice(last, None))
        while self._coarse.count + len(older.x) > self._coarse.room:
            self._coarse_samples *= 2
            older = joined([self._coarse.take(self._coarse.count), older])
            older = extremes(older, older.seq // self._coarse_samples)
        self._coarse.add(older)
        self._last_group = extremes(rest, rest.seq // (self._coarse_samples // 8))

    def add_before(self, rows: Rows, epoch_seq: int | None) -> None:
        """Older rows than any were found; as many in all as :attr:`room_before` has place for, and few more.

        Parameters
        ----------
        epoch_seq : int, optional
            Where stream time last went back among them.
        """
        self._before = joined([rows, self._before])
        self.epoch_seq = max(self.epoch_seq, epoch_seq or 0)
        self.grown += 1

    # --- what is there -----------------------------------------------------------------------------
    def newest(self, clock: str) -> float | None:
        """Time of the newest sample; None without one."""
        return float(self._recent.rows.x[-1, _X[clock]]) if self._recent.count else None

    def oldest(self, clock: str) -> tuple[float, int] | None:
        """Time and number of the oldest sample on that clock's axis; None without one."""
        parts = list(self._on_axis(clock))
        return (float(parts[-1].x[0, _X[clock]]), int(parts[-1].seq[0])) if parts else None

    def at(self, wall: float) -> tuple[float, int] | None:
        """Time and number of the sample, or of one of those that a row stands for, nearest to a time on the wall."""
        nearest = None
        for part in self._on_axis("wall"):
            i = min(int(np.searchsorted(part.x[:, 1], wall)), len(part.x) - 1)
            if i > 0 and wall - part.x[i - 1, 1] < part.x[i, 1] - wall:
                i -= 1
            if nearest is None or abs(part.x[i, 1] - wall) < abs(nearest[0] - wall):
                nearest = part.x[i, 1], float(part.x[i, 0]), int(part.seq[i])
        return nearest and nearest[1:]

    def between(self, clock: str, begin: float, end: float) -> tuple[Floats, Floats]:
        """Times and values from ``begin`` to ``end`` and of one neighbour on either side, to draw lines to the edges.

        Returns
        -------
        x : ndarray, (n,), s
            Ascending.
        y : ndarray, (n, lines)
        """
        found: list[Rows] = []
        for part in self._on_axis(clock):
            x = part.x[:, _X[clock]]
            first = int(np.searchsorted(x, begin, "left")) - 1
            last = int(np.searchsorted(x, end, "right")) + 1
            if last <= len(x):  # its neighbour behind is the nearest
                found.clear()
            found.insert(0, part.part(slice(max(first, 0), last)))
            if first >= 0:
                break  # it reaches as far back
        rows = joined(found or [Rows.empty(self.lines, 0)])
        return rows.x[:, _X[clock]], rows.y

    def _on_axis(self, clock: str) -> Iterator[Rows]:
        """The stretches that are not empty, the newest first; in stream time, what came since it last went back."""
        for part in self._parts():
            if clock == "sim" and len(part.x) and part.seq[0] < self.epoch_seq:
                part = part.part(slice(int(np.searchsorted(part.seq, self.epoch_seq)), None))
            if len(part.x):
                yield part
