"""Some samples of a stream at a time, in rising order, as quickly as its files give them and in constant memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ..reader import Block, Lists

if TYPE_CHECKING:
    from ..reader import ArrayStream

#: So many samples are rather passed over than that a file is read from another place on.
_NEAR: Final = 1 << 16


def reach(stream: ArrayStream) -> int:
    """How many samples are rather passed over than that its files are read from another place on.

    What is compressed as a whole, and text, can be read from the front alone.
    """
    return sys.maxsize if stream.source.startswith(("npz", "csv")) else _NEAR


def cut(block: Block, start: int, stop: int) -> Block:
    """The samples of a block from index ``start`` to ``stop`` of the stream; both lie in it."""
    first, last = start - block.start, stop - block.start
    if (first, last) == (0, block.count):
        return block
    made = Block()
    for name, values in block.items():
        if isinstance(values, Lists):
            offsets = values.offsets[first : last + 1]
            made[name] = Lists(values.values[offsets[0] : offsets[-1]], offsets - offsets[0])
        else:
            made[name] = values[first:last]
    made.start = start
    for clock in ("t", "seq", "step", "mono_ns", "wall"):
        setattr(made, clock, getattr(block, clock)[first:last])
    return made


class Window:
    """Samples that are asked for from front to back; what lies behind the latest ones is let go of.

    Parameters
    ----------
    stream : ArrayStream
    fields : sequence of str
    start : int
        No sample before will be asked for.
    """

    def __init__(self, stream: ArrayStream, fields: Sequence[str], start: int) -> None:
        self._stream = stream
        self._blocks = stream.batches(fields=list(fields), start=start)
        self._held: list[Block] = []
        #: The first sample that each field may still be asked for.
        self._needed = dict.fromkeys(fields, start)
        self._end = start

    def move(self, start: int) -> bool:
        """Nothing before ``start`` will be asked for any more; False if that cannot be, or lies too far ahead."""
        if not min(self._needed.values()) <= start <= self._end + reach(self._stream):
            return False
        self._needed = dict.fromkeys(self._needed, start)
        return True

    def take(self, field: str, index: NDArray[np.int64]) -> NDArray[Any]:
        """The rows of a field at these indices: at least one, never falling, from call to call neither.

        Raises
        ------
        OutputError
            They cannot be read: the file is damaged there.
        """
        begin, end = int(index[0]), int(index[-1]) + 1
        while self._end < end:
            self._held.append(self._next(end))
            self._end = self._held[-1].start + self._held[-1].count
            if self._end <= min(self._needed.values()):
                self._held.pop()
        rows = self._between(field, begin, end)
        self._needed[field] = begin
        self._forget(min(self._needed.values()))
        index = index - begin
        return rows if np.array_equal(index, np.arange(len(rows))) else rows[index]

    def _next(self, end: int) -> Block:
        block = next(self._blocks, None)
        if block is None:
            raise OutputError(
                f"stream {self._stream.name!r}: sample {end - 1} of {len(self._stream)} cannot be read",
                "look closer with: recd verify; leave its episode out with --episodes",
            )
        return block

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


class Windows:
    """The windows of a conversion, kept from episode to episode: a file is read once, not once for each."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str, tuple[str, ...], str], Window] = {}

    def at(self, run: Any, stream: str, fields: Sequence[str], start: int, use: str = "") -> Window:
        """A window of some fields that shows samples from ``start`` on; for each use one that is its own."""
        key = id(run), stream, tuple(fields), use
        found = self._open.get(key)
        if found is None or not found.move(start):
            found = self._open[key] = Window(run[stream], fields, start)
        return found
