"""Which number each sample has, where the files do not hold it: what was counted, less what was lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .data import Gap

UNKNOWN = -1


class Numbering:
    """Numbers of ``count`` samples, as stretches without a gap; in memory for the gaps only.

    Parameters
    ----------
    firsts : ndarray, (stretches,) int64
        Number of each stretch's first sample.
    begins : ndarray, (stretches + 1,) int64
        Index of the same; the last one is the count.
    """

    def __init__(self, firsts: NDArray[np.int64], begins: NDArray[np.int64], *, exact: bool = True) -> None:
        self._firsts = firsts
        self._begins = begins
        self.exact = exact

    @classmethod
    def unknown(cls, count: int) -> Numbering:
        """Nobody knows; every number is -1."""
        return cls(np.zeros(0, np.int64), np.array([count]), exact=False)

    @classmethod
    def between(cls, first_seq: int, next_seq: int, gaps: Sequence[Gap], count: int) -> Numbering:
        """Those from ``first_seq`` on that no gap takes, if that makes exactly ``count``; else unknown."""
        firsts, ends, at = [], [], first_seq
        for gap in sorted(gaps, key=lambda g: g.first_seq):
            if gap.first_seq > at:
                firsts.append(at)
                ends.append(min(gap.first_seq, next_seq))
            at = max(at, gap.last_seq + 1)
            if at >= next_seq:
                break
        if at < next_seq:
            firsts.append(at)
            ends.append(next_seq)
        lengths = np.array(ends, np.int64) - np.array(firsts, np.int64)
        if (lengths < 0).any():
            return cls.unknown(count)
        if int(lengths.sum()) != count:
            return cls.unknown(count)
        return cls(np.array(firsts, np.int64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Numbers of the samples from ``start`` to ``stop``."""
        index = np.arange(start, stop, dtype=np.int64)
        if not self.exact:
            return np.full(len(index), UNKNOWN)
        at = np.searchsorted(self._begins, index, "right") - 1
        return np.asarray(self._firsts[at] + index - self._begins[at], np.int64)

    def part(self, start: int, stop: int) -> Numbering:
        """The numbering of the samples from ``start`` to ``stop`` alone."""
        if not self.exact:
            return Numbering.unknown(stop - start)
        return _Shifted(self, start)


class _Shifted(Numbering):
    """A numbering, seen from one of its samples on."""

    def __init__(self, whole: Numbering, start: int) -> None:
        super().__init__(whole._firsts, whole._begins)
        self._start = start

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """See :class:`Numbering`."""
        return super().read(self._start + start, self._start + stop)
