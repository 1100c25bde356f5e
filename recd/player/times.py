"""Where a stream's samples stand: block by block, in laps, with a key that never falls within a lap.

A recording may go through the same stream time again and again: once per episode. A *lap* is a stretch in which
it does so once. Within one, a sample's *key* is the latest time up to it: where time goes back a little, or is no
number, a sample stands right behind the one before, as it was written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import RecdError

from ..reader import ArrayStream, VideoStream
from ..reader.problems import tell
from ..reader.tables import row_bytes
from ..sinks.names import TIMESTAMP

Floats = NDArray[np.float64]
#: Samples that are read in one go: so many bytes, or so many of them.
BLOCK_BYTES: Final = 1 << 20
BLOCK_ROWS: Final = 4096
_SCAN_ROWS: Final = 1 << 16
#: Where a stream has more laps, one pass over its times is quicker than a look at each begin and end.
_FEW_LAPS: Final = 32


def finite(t: Floats) -> Floats:
    """The times, with minus infinity for those that say nothing."""
    return np.where(np.isfinite(t), t, -np.inf)


class Times:
    """The times of one stream.

    Parameters
    ----------
    stream : ArrayStream or VideoStream
    begins : list of int, optional
        Index at which each lap begins, and behind the last one the count; None: told by the times themselves. A lap
        begins where time falls back by more than half of what the one before has lasted.
    told : dict
        What the manifest tells of the stream; may be empty.

    Attributes
    ----------
    count : int
    begins : list of int
    low, high : list of float, s
        Least and greatest time by lap; infinite where it has none.
    """

    def __init__(
        self, stream: ArrayStream | VideoStream, begins: Sequence[int] | None, told: dict[str, Any]
    ) -> None:
        self.stream = stream
        self.count = len(stream)
        #: Where each block begins, and behind the last one the count.
        self.blocks = _grid(stream, self.count)
        ascending = told.get("backward_times") == 0 and told.get("nan_times") == 0
        self.begins = [0, self.count] if begins is None else list(begins)
        #: By block: the key of its first sample, and the latest time of its lap before it.
        self._firsts: dict[int, float] = {}
        self._befores: dict[int, float] = {}
        self.low: list[float] = []
        self.high: list[float] = []
        few = len(self.begins) <= _FEW_LAPS + 1
        if not (isinstance(stream, ArrayStream) and ascending and few and self._look()):
            self._scan(given=begins is not None)

    # --- asked by a lane ---------------------------------------------------------------------------
    def before(self, block: int) -> float:
        """The latest time before a block, within the lap that it begins in."""
        return self._befores.get(block, -np.inf)

    def lap_of(self, index: int) -> int:
        """The lap of a sample."""
        return bisect_left(self.begins, index + 1, 1, len(self.begins) - 1) - 1

    def block_of(self, index: int) -> int:
        """The block of a sample."""
        return int(np.searchsorted(self.blocks, index, "right")) - 1

    def block_before(self, lap: int, key: float) -> int:
        """The block with the last sample below ``(lap, key)``; the first one if there is none."""
        behind = bisect_left(range(len(self.blocks) - 1), (lap, key), key=self._first)
        return max(behind - 1, 0)

    def keys(self, start: int, t: Floats, before: float) -> tuple[list[int], Floats]:
        """Laps and keys of samples from ``start`` on, whose times these are."""
        return _keys(self.begins, start, finite(t), before)

    def _first(self, block: int) -> tuple[int, float]:
        index = int(self.blocks[block])
        if block not in self._firsts:
            t = self.at(index, np.nan)
            before = -np.inf if block == 0 or not np.isnan(t) else self._first(block - 1)[1]
            self._firsts[block] = before if np.isnan(t) else t
        return self.lap_of(index), self._firsts[block]

    # --- read --------------------------------------------------------------------------------------
    def at(self, index: int, instead: float) -> float:
        """The time of one sample, or, if it is none or cannot be read, something else."""
        try:
            return self._at(index, instead)
        except RecdError:  # told when it is to be played
            return instead

    def _at(self, index: int, instead: float) -> float:
        if isinstance(self.stream, VideoStream):
            t = float(self.stream.t[index])
        else:
            t = float(np.asarray(self.stream._rows(TIMESTAMP, index, index + 1))[0])
        return t if np.isfinite(t) else instead

    def _look(self) -> bool:
        """Times that only ascend are told by those at begins and ends; False if one of them cannot be read."""
        spans = list(zip(self.begins, self.begins[1:], strict=False))
        try:
            self.low = [self._at(a, np.inf) if a < b else np.inf for a, b in spans]
            self.high = [self._at(b - 1, -np.inf) if a < b else -np.inf for a, b in spans]
        except RecdError:
            return False
        return True

    def _chunks(self) -> Iterator[Floats]:
        """All times; where they cannot be read, the stream ends."""
        if isinstance(self.stream, VideoStream):
            yield self.stream.t
            return
        found = 0
        for rows in (_SCAN_ROWS, 1):  # up to the very last one that can be read
            try:
                for block in self.stream.batches(rows=rows, fields=[], start=found):
                    found += block.count
                    yield np.asarray(block.t, np.float64)
                return
            except RecdError as e:
                reason = e.what
        tell(self.stream.problems, f"stream {self.stream.name!r}: no times from sample {found} on: {reason}")
        self.count = found
        self.blocks = np.array([*self.blocks[self.blocks < found], found])

    def _scan(self, *, given: bool) -> None:
        """One pass over all times, of which a little is kept per block."""
        laps = [0] if not given else self.begins[:-1]
        low, high = [np.inf] * len(laps), [-np.inf] * len(laps)
        start, before = 0, -np.inf
        for t in self._chunks():
            usable = finite(t)
            if not given:
                _find_laps(laps, low, high, start, usable)
            self.begins = [*laps, self.count]
            numbers, keys = _keys(self.begins, start, usable, before)
            if given:
                _widen(low, high, np.array(numbers), usable)
            end = start + len(t)
            for block in range(*np.searchsorted(self.blocks[:-1], [start, end])):
                at = int(self.blocks[block]) - start
                same = at > 0 and numbers[at - 1] == numbers[at]
                carried = at == 0 and start > 0 and self.lap_of(start - 1) == numbers[0]
                self._befores[block] = float(keys[at - 1]) if same else before if carried else -np.inf
                self._firsts[block] = float(keys[at])
            if len(t):
                start, before = end, float(keys[-1])
        self.begins = [min(at, self.count) for at in [*laps, self.count]]
        self.low, self.high = low, high


def _grid(stream: ArrayStream | VideoStream, count: int) -> NDArray[np.int64]:
    """Where blocks begin: none reaches over the end of a file."""
    if isinstance(stream, VideoStream):
        return np.array([0, count] if count else [0])
    rows = min(max(BLOCK_BYTES // max(row_bytes(stream.schema), 1), 1), BLOCK_ROWS)
    begins = [np.arange(part.start, part.stop, rows, dtype=np.int64) for part in stream.parts]
    return np.concatenate([*begins, [count]])


def _keys(begins: list[int], start: int, t: Floats, before: float) -> tuple[list[int], Floats]:
    """Laps and keys of samples from ``start`` on; ``before`` is the latest time before them in the first one's lap."""
    end, keys = start + len(t), t.copy()
    first = bisect_left(begins, start + 1, 1, len(begins) - 1) - 1
    numbers: list[int] = []
    lap, at = first, start
    while at < end:
        stop = min(begins[lap + 1], end)
        if stop > at:
            part = keys[at - start : stop - start]
            if lap == first and at == start and start > begins[lap]:
                part[0] = max(part[0], before)
            np.maximum.accumulate(part, out=part)
            numbers += [lap] * (stop - at)
        at, lap = max(at, stop), lap + 1
    return numbers, keys


def _find_laps(laps: list[int], low: list[float], high: list[float], start: int, t: Floats) -> None:
    """Note where laps begin among these times, and what they reach from and to."""
    at = 0
    for fall in [*(np.flatnonzero(t[1:] < t[:-1]) + 1).tolist(), len(t)]:
        known = t[at:fall][np.isfinite(t[at:fall])]
        if len(known) and known[0] <= low[-1] + (high[-1] - low[-1]) / 2 and known[0] < high[-1]:
            laps.append(start + at)
            low.append(np.inf)
            high.append(-np.inf)
        if len(known):
            low[-1], high[-1] = min(low[-1], float(known.min())), max(high[-1], float(known.max()))
        at = fall


def _widen(low: list[float], high: list[float], numbers: NDArray[np.int64], t: Floats) -> None:
    known = np.isfinite(t)
    for lap in np.unique(numbers):
        part = t[(numbers == lap) & known]
        if len(part):
            low[lap], high[lap] = min(low[lap], float(part.min())), max(high[lap], float(part.max()))
