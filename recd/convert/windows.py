"""Some samples of a stream at a time, in rising order, as quickly as its files give them and in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..reader import ArrayStream, Block


class Window:
    """Samples that are asked for from front to back; what lies behind the latest ones is let go of.

    Parameters
    ----------
    stream : ArrayStream
    fields : sequence of str
    start, stop : int
        No sample before or behind these will be asked for.
    """

    def __init__(self, stream: ArrayStream, fields: Sequence[str], start: int, stop: int) -> None:
        self._blocks = stream.batches(fields=list(fields), start=start, stop=stop)
        self._held: list[Block] = []
        self._fields = fields
        #: The first sample that each field may still be asked for.
        self._needed = dict.fromkeys(fields, start)
        self._end = start

    def take(self, field: str, index: NDArray[np.int64]) -> NDArray[Any]:
        """The rows of a field at these indices: at least one, never falling, from call to call neither."""
        begin, end = int(index[0]), int(index[-1]) + 1
        while self._end < end:
            block = next(self._blocks)
            self._held.append(block)
            self._end = block.start + block.count
        rows = self._between(field, begin, end)
        self._needed[field] = begin
        self._forget(min(self._needed.values()))
        index = index - begin
        return rows if np.array_equal(index, np.arange(len(rows))) else rows[index]

    def _between(self, field: str, begin: int, end: int) -> NDArray[Any]:
        found = [
            np.asarray(block[field])[max(begin - block.start, 0) : end - block.start]
            for block in self._held
            if block.start < end and block.start + block.count > begin
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _forget(self, before: int) -> None:
        while len(self._held) > 1 and self._held[0].start + self._held[0].count <= before:
            self._held.pop(0)
