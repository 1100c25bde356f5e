"""One record after the other, by position: from the ring while it holds them, else from the log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recd_client import layout, records
from recd_client.backend import RingConsumer
from recd_client.errors import LogDamagedError, RingDamagedError

from .batch import Event
from .chunks import Chunk, event_of
from .log import LogReader


@dataclass(frozen=True)
class Frame:
    """One sample's record. The payload is a view: it is valid while the source's owner keeps it ``busy``."""

    begin: int
    behind: int
    seq: int
    t: float
    step: int
    mono_ns: int
    payload: memoryview


class Shelf:
    """The newest chunks of a log that were read and proved, for several who read it at about the same pace.

    Parameters
    ----------
    most_bytes : int
        Of records; the newest chunk is kept, however large.
    """

    def __init__(self, most_bytes: int = 0) -> None:
        self._most_bytes = most_bytes
        self._bodies: dict[tuple[int, int], memoryview] = {}
        self._bytes = 0

    def lend(self, chunk: Chunk) -> None:
        """The chunk needs not be read, if it was lately."""
        body = self._bodies.get((chunk.info.begin, chunk.info.body_crc32))
        if body is not None:
            chunk.adopt(body)

    def keep(self, chunk: Chunk) -> None:
        """Have a chunk that is whole ready for the others, instead of the oldest ones."""
        key = (chunk.info.begin, chunk.info.body_crc32)
        if key in self._bodies:
            return
        self._bodies[key] = chunk.body()
        self._bytes += chunk.info.body_bytes
        while self._bytes > self._most_bytes and len(self._bodies) > 1:
            self._bytes -= self._bodies.pop(next(iter(self._bodies))).nbytes


class RecordSource:
    """Finds the record at a position.

    Parameters
    ----------
    log_directory : Path
    shelf : Shelf
        Shared by all that read this log.
    """

    def __init__(self, log_directory: Path, shelf: Shelf) -> None:
        self._directory = log_directory
        self._shelf = shelf
        #: The ring, for a track that frees only what its runner has done with; else None.
        self.ring: RingConsumer | None = None
        self._reader: LogReader | None = None
        #: The first chunk that ends behind the position that was sought.
        self._chunk: Chunk | None = None
        self._sought = 0
        #: Whether damage was met; to be cleared by whoever tells of it.
        self.damaged = False

    def get(self, position: int, end: int) -> tuple[Frame | Event | None, int]:
        """The record at ``position`` (None for padding) and the position behind it; ``position < end``.

        Raises
        ------
        LogDamagedError
            Neither ring nor log has a valid record there, although the log is whole.
        """
        ring = self.ring
        if ring is not None:
            if position >= ring.free_position:
                return _record(ring.region(position, end), 0, position)
            end = min(end, ring.free_position)
        chunk = self._chunk
        if chunk is None or not self._sought <= position < chunk.info.end:
            chunk = self._seek(position)
        if chunk is None:
            return None, end  # padding, what was done with before, or deleted on purpose: its loss is told
        info = chunk.info
        if position < info.begin:
            return None, min(info.begin, end)
        if position - info.begin >= info.body_bytes:
            return None, min(info.end, end)
        if not chunk.is_whole():  # the numbers of what follows tell what is missing
            self.damaged = True
            return None, min(info.end, end)
        self._shelf.keep(chunk)
        what, behind = _record(chunk.body(), position - info.begin, position)
        return what, min(behind, info.end)  # a loss that stands for little is longer than what it replaces

    def _seek(self, position: int) -> Chunk | None:
        """The first chunk that ends behind ``position``."""
        if self._reader is None or position < self._sought:
            self.close()
            self._reader = LogReader(self._directory, position)
        self._reader.position = self._sought = position
        self._chunk = self._reader.next()
        if self._chunk is not None:
            self._shelf.lend(self._chunk)
        self.damaged |= self._reader.damaged
        return self._chunk

    def close(self) -> None:
        """Let go of the log."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._chunk = None


def _record(region: memoryview, at: int, position: int) -> tuple[Frame | Event | None, int]:
    try:
        item = records.one(region, at, position, True)
    except RingDamagedError as e:
        raise LogDamagedError(e.what, e.do) from None
    behind = position + item.size
    if isinstance(item, records.Control):
        return (None if item.kind == layout.PAD else event_of(item)), behind
    raw = bytes(region[at : at + layout.HEADER_BYTES])
    _, _, seq, length, _, _, t, step, mono_ns, _ = layout.HEADER_BODY.unpack(raw[4:])
    start = at + layout.HEADER_BYTES
    return Frame(position, behind, seq, t, step, mono_ns, region[start : start + length]), behind
