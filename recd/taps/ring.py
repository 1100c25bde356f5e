"""A reader of a live ring that takes no part in its protocol.

It copies the newest records, and then asks whether the producer can have overwritten any of them meanwhile: a copy
counts only from ``intent_end + max_record_bytes - capacity`` on. (The margin is for a write that was given up, which
sets ``intent_end`` back; found and verified by the model in ``tests/protocol``.) What a slow reader misses is gone for
it, and for nobody else.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recd_client import layout
from recd_client.errors import LogDamagedError
from recd_client.ring import fence
from recd_client.schema import Schema
from recd_client.segment import read_geometry, read_word

from ..batch import Batch, Event
from ..chunks import split_items

#: Where a reader begins that wants a number of samples: control records may stand behind them.
_SPARE_BYTES: Final = 2 * layout.CONTROL_RESERVE_BYTES


@dataclass
class Taken:
    """What one look at a ring gave, copied; nothing of it is shared memory.

    Parameters
    ----------
    batches : list of Batch
        The samples, in order.
    events : list of Event
        Marks, losses and the close that stood between them.
    skipped : bool
        Whether records were passed over between the look before and this one.
    begin : int
        Position of the first of the records.
    """

    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    skipped: bool = False
    begin: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.batches))


class RingTap:
    """Reads a ring's newest samples, again and again; any number of them may look at one ring.

    Parameters
    ----------
    buffer : buffer
        The whole segment; need not be writable.
    schema : Schema
        Of the ring's samples.

    Raises
    ------
    RingDamagedError
        The segment is no ring, or one of another version.
    """

    def __init__(self, buffer: Any, schema: Schema) -> None:
        self._buffer = memoryview(buffer).cast("B")
        geometry = read_geometry(self._buffer)
        self.capacity_bytes = int(geometry["capacity_bytes"])
        self.schema = schema
        self._max_record_bytes = int(geometry["max_record_bytes"])
        self._words = self._buffer[: layout.DATA_OFFSET].cast("Q")
        self._data = self._buffer[layout.DATA_OFFSET : layout.DATA_OFFSET + self.capacity_bytes]
        #: Where the next look begins.
        self.position = 0

    def word(self, name: str) -> int:
        """Any word of either page by its name in :mod:`recd_client.layout`."""
        return read_word(self._words, name)

    def take(self, limit_bytes: int | None = None) -> Taken:
        """What is new since the last call, the newest of it if that is more than ``limit_bytes``.

        The first call begins with the oldest record that is still there.
        """
        head = self._head()
        taken = self._copied(
            self.position if limit_bytes is None else max(self.position, head - limit_bytes), head
        )
        self.position = head
        return taken

    def newest(self, samples: int) -> Taken:
        """The newest samples, fewer when the ring does not hold so many; :meth:`take` goes on behind them."""
        head = self._head()
        record_bytes = self.schema.stride_bytes or layout.record_bytes(self.schema.payload_bytes)
        wanted_bytes = samples * record_bytes + _SPARE_BYTES
        while True:
            taken = self._copied(max(head - wanted_bytes, 0), head)
            if len(taken) >= samples or wanted_bytes >= min(head, self.capacity_bytes):
                break
            wanted_bytes *= 4
        self.position = head
        spare = len(taken) - samples
        while spare > 0:
            first = taken.batches.pop(0)
            if len(first) > spare:
                taken.batches.insert(0, first[spare:])
            spare -= len(first)
        return taken

    def close(self) -> None:
        """Let go of the buffer, so that it can be unmapped; its words stay as they are now."""
        words, self._words = self._words, memoryview(bytes(self._words)).cast("Q")
        words.release()
        self._data.release()
        self._buffer.release()

    # --- copying, and what of the copy counts -------------------------------------------------------
    def _head(self) -> int:
        head = self.word("head")
        fence()  # before what it says is published is looked at
        return head - head % layout.ALIGN_BYTES  # a broken client's head: proved by the records before it

    def _safe_begin(self) -> int:
        """What stands before this position may have been overwritten, or be overwritten now."""
        return self.word("intent_end") + self._max_record_bytes - self.capacity_bytes

    def _copied(self, begin: int, head: int) -> Taken:
        """The records between two positions that were whole when they were copied."""
        begin = _aligned(max(begin, self._safe_begin(), head - self.capacity_bytes, 0))
        copy = self._copy(begin, head)
        fence()  # the copy is made before it is asked what has become of its origin
        safe = _aligned(max(self._safe_begin(), begin))
        start = _first_record(copy[safe - begin :], safe)
        if start is None:
            return Taken(skipped=head > self.position, begin=head)
        records = copy[start - begin :].data
        taken = Taken(skipped=start > self.position, begin=start)
        try:
            for what in _items(self.schema, records, start, head):
                if isinstance(what, Batch):
                    taken.batches.append(what)
                else:
                    taken.events.append(what)
        except LogDamagedError:  # a broken client; its worker says so
            taken.skipped = True
        return taken

    def _copy(self, begin: int, head: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes between two positions, at most a lap apart, one behind the other."""
        copy = np.empty(max(head - begin, 0), np.uint8)
        offset = begin % self.capacity_bytes
        first = min(len(copy), self.capacity_bytes - offset)
        copy[:first] = self._data[offset : offset + first]
        copy[first:] = self._data[: len(copy) - first]
        return copy


def _items(schema: Schema, records: memoryview, begin: int, head: int) -> Iterator[Batch | Event]:
    return (item.what for item in split_items(schema, records, begin, head))


def _aligned(position: int) -> int:
    return -(-position // layout.ALIGN_BYTES) * layout.ALIGN_BYTES


def _first_record(copy: np.ndarray[Any, np.dtype[np.uint8]], position: int) -> int | None:
    """Position of the first record in a copy of a ring's bytes: a header proves itself and its place."""
    lines = copy[: len(copy) // layout.HEADER_BYTES * layout.HEADER_BYTES].view(layout.HEADER_DTYPE)
    places = np.uint64(position) + np.arange(len(lines), dtype=np.uint64) * np.uint64(layout.ALIGN_BYTES)
    likely = (lines["magic"] == layout.MAGIC_RECORD) & (lines["position"] == places)
    for i in np.flatnonzero(likely):
        head = lines[i].tobytes()
        if zlib.crc32(head[layout.HEADER_BODY_OFFSET :]) == int(lines["crc"][i]):
            return int(places[i])
    return None
