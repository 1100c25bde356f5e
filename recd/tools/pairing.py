"""Which samples of two streams belong together: those of one number, so that a loss shifts nothing; or of one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..reader import ArrayStream, Block, VideoStream
from ..reader.column import Lists

NUMBER: Final = "number"
PLACE: Final = "place"
ALIGNMENTS: Final = (NUMBER, PLACE)
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where samples are that are compared, in the first of two streams.

    Parameters
    ----------
    index, seq : ndarray, (n,) int64
        The number is -1 where unknown.
    t : ndarray, (n,) float64, s
    """

    index: Ints
    seq: Ints
    t: NDArray[np.float64]


@dataclass
class Pairing:
    """How the samples of two streams belong together, and what only one of them has.

    Parameters
    ----------
    by_number : bool
        Else by place.
    lengths : tuple of int
        Samples of each.
    common : int
        Samples that both have; known once all were gone through.
    lone : list of int or None
        Number of the first sample that only the first stream has, and only the second; None: there is none.
    """

    by_number: bool
    lengths: tuple[int, int]
    common: int = 0
    lone: list[int | None] = field(default_factory=lambda: [None, None])

    def match(self, a: Ints, b: Ints) -> tuple[Ints, Ints]:
        """Indices of what belongs together, of samples with these numbers, which ascend."""
        if self.by_number:
            _, p, q = np.intersect1d(a, b, assume_unique=True, return_indices=True)
            for side, (numbers, found) in enumerate(((a, p), (b, q))):
                self._miss(side, np.delete(numbers, found))
        else:
            p = q = np.arange(min(len(a), len(b)))
        self.common += len(p)
        return p, q

    def _miss(self, side: int, numbers: Ints) -> None:
        """Only one stream has samples of these numbers."""
        if len(numbers) and self.lone[side] is None:
            self.lone[side] = int(numbers[0])

    def blocks(
        self, a: ArrayStream, b: ArrayStream, fields: list[str]
    ) -> Iterator[tuple[Block, Block, Places]]:
        """The samples that both streams have, some at a time, side by side."""
        stop = None if self.by_number else min(len(a), len(b))
        ones, twos = (stream.batches(fields=fields, stop=stop) for stream in (a, b))
        one, two = next(ones, None), next(twos, None)
        while one is not None and two is not None:
            if self.by_number:
                last = min(one.seq[-1], two.seq[-1])
                m, n = (int(np.searchsorted(block.seq, last, "right")) for block in (one, two))
            else:
                m = n = min(one.count, two.count)
            p, q = self.match(one.seq[:m], two.seq[:n])
            if len(p):
                left, right = _rows(one, p), _rows(two, q)
                yield left, right, Places(one.start + p, left.seq, left.t)
            one = _rows(one, np.arange(m, one.count)) if m < one.count else next(ones, None)
            two = _rows(two, np.arange(n, two.count)) if n < two.count else next(twos, None)
        for side, block in enumerate((one, two)):
            if self.by_number and block is not None:
                self._miss(side, block.seq)

    @property
    def told(self) -> str:
        """What only one of the streams has, for people; empty: nothing."""
        a, b = self.lengths
        only = [
            f"{total - self.common} only in the {which}, from number {number} on"
            for total, which, number in zip((a, b), ("first", "second"), self.lone, strict=True)
            if number is not None
        ]
        if not only and a == b:
            return ""
        return f"{a} samples against {b}{': ' if only else ''}{'; '.join(only)}"


def pairing_of(a: Any, b: Any, align: str) -> Pairing:
    """By number where that is wanted, both streams know the numbers of their samples, and these overlap."""
    lengths = len(a), len(b)
    if align == PLACE or "seq" not in a.known & b.known or not all(lengths):
        return Pairing(False, lengths)
    (a0, a1), (b0, b1) = (_ends(stream) for stream in (a, b))
    return Pairing(a0 <= b1 and b0 <= a1, lengths)


def _ends(stream: ArrayStream | VideoStream) -> tuple[int, int]:
    """Number of the first and of the last sample."""
    if isinstance(stream, VideoStream):
        return int(stream.seq[0]), int(stream.seq[-1])
    ends = (next(stream.batches(rows=1, fields=[], start=at)) for at in (0, len(stream) - 1))
    first, last = (int(block.seq[0]) for block in ends)
    return first, last


def _rows(block: Block, index: Ints) -> Block:
    """Some samples of a block, in order."""
    start, stop = (int(index[0]), int(index[-1]) + 1) if len(index) else (0, 0)
    if (start, stop) == (0, block.count) and len(index) == block.count:
        return block
    rows: Any = slice(start, stop) if stop - start == len(index) else index
    found = Block()
    for name, values in block.items():
        if isinstance(values, Lists):
            lengths = np.diff(values.offsets)[rows]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(values.offsets.dtype)
            inner = np.arange(offsets[-1]) + np.repeat(values.offsets[:-1][rows] - offsets[:-1], lengths)
            found[name] = Lists(values.values[inner], offsets)
        else:
            found[name] = values[rows]
    found.start = block.start + start
    for name in ("t", "seq", "step", "mono_ns", "wall"):
        setattr(found, name, getattr(block, name)[rows])
    return found
