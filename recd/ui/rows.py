"""Rows of a trail: samples, or the extremes of some, and memory that they fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .decimate import Floats, group_starts


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

    @classmethod
    def empty(cls, lines: int, count: int) -> Rows:
        """Memory for so many rows."""
        return cls(np.empty((count, 2)), np.empty(count, np.int64), np.empty((count, lines)))

    def part(self, rows: slice) -> Rows:
        """Some of them; views."""
        return Rows(self.x[rows], self.seq[rows], self.y[rows])


def joined(parts: Sequence[Rows]) -> Rows:
    """All of them, one behind the other; at least one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def with_holes(rows: Rows, last_seq: int) -> Rows:
    """The samples, with a row of NaN where numbers are missing between them, or after ``last_seq`` (-1: unknown)."""
    before = np.concatenate([[last_seq], rows.seq[:-1]])
    holes = np.flatnonzero((rows.seq > before + 1) & (before >= 0))
    if not len(holes):
        return rows
    x, seq, y = rows
    return Rows(
        np.insert(x, holes, x[holes], 0), np.insert(seq, holes, seq[holes], 0), np.insert(y, holes, np.nan, 0)
    )


def extremes(rows: Rows, number: NDArray[np.int64]) -> Rows:
    """Two rows for each group: the lowest values at its first time, the highest at its last, or reversed.

    They stand in the order in which the line went. A group of one row stays one. Rows without any value, which break
    the lines, are groups of their own.

    Parameters
    ----------
    number : ndarray, (n,)
        Of each row's group, ascending.
    """
    if not len(rows.x):
        return rows
    starts = group_starts(number, rows.y)
    ends = np.append(starts[1:], len(number)) - 1
    low, high = np.fmin.reduceat(rows.y, starts), np.fmax.reduceat(rows.y, starts)
    rising = rows.y[ends] >= rows.y[starts]
    keep = np.ones(2 * len(starts), bool)
    keep[1::2] = ends > starts
    places = np.stack([starts, ends], 1).ravel()[keep]
    y = np.stack([np.where(rising, low, high), np.where(rising, high, low)], 1)
    return Rows(rows.x[places], rows.seq[places], y.reshape(-1, rows.y.shape[1])[keep])


class Filling:
    """Rows in one piece of memory: added behind, taken in front."""

    def __init__(self, lines: int, room: int) -> None:
        self.room = room
        self._lines = lines
        self._memory = Rows.empty(lines, min(room, 1024))
        self.count = 0

    @property
    def rows(self) -> Rows:
        """What is there; views, until the next change."""
        return self._memory.part(slice(self.count))

    def add(self, rows: Rows) -> None:
        """Put rows behind the others."""
        end = self.count + len(rows.x)
        have = len(self._memory.x)
        if end > have:
            grown = Rows.empty(self._lines, max(2 * have, end))
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
