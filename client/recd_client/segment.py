"""A segment but for its records: its geometry page, its words by name, and what both backends do with them.

The bytes are described in :mod:`recd_client.layout`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from . import layout
from .errors import RecordTooLargeError, RingDamagedError

_BLOCKED: Final = layout.PRODUCER["blocked_ns"] // 8
_SKIPPED: Final = layout.PRODUCER["skipped"] // 8
_LOST: Final = {c: layout.PRODUCER[f"lost_{c}_count"] // 8 for c in layout.CAUSES}


# --- words -----------------------------------------------------------------------------------------


def read_word(words: memoryview, name: str) -> int:
    """The word ``name`` of either page."""
    at = layout.PRODUCER.get(name)
    return int(words[(layout.CONSUMER[name] if at is None else at) // 8])


def read_error(buffer: memoryview) -> str:
    """The consumer's short reason, ``""`` if there is none."""
    at = layout.CONSUMER["error"]
    return bytes(buffer[at : at + layout.ERROR_BYTES]).rstrip(b"\0").decode("ascii", "replace")


class ProducerWords:
    """What both backends' producers do with the words of the segment, one by one."""

    buffer: memoryview
    _words: memoryview

    def count_skipped(self, count: int = 1) -> None:
        """Count samples that were not due or fell into a pause."""
        self._words[_SKIPPED] += count

    def add_blocked_ns(self, ns: int) -> None:
        """Count time that a ``block`` policy made the caller wait."""
        self._words[_BLOCKED] += ns

    def word(self, name: str) -> int:
        """Any word of either page by its name in :mod:`recd_client.layout`."""
        return read_word(self._words, name)

    def lost(self) -> dict[str, int]:
        """Samples lost so far, by cause."""
        return {c: self._words[at] for c, at in _LOST.items()}

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped."""
        self._words.release()
        self.buffer.release()


class ConsumerWords:
    """What both backends' consumers do with the words and bytes of the segment."""

    buffer: memoryview
    data: memoryview
    capacity_bytes: int
    _words: memoryview

    def region(self, position: int, head: int) -> memoryview:
        """The unbroken bytes from ``position`` to ``head``, or to the lap's end if that comes first."""
        offset = position % self.capacity_bytes
        n = min(head - position, self.capacity_bytes - offset)
        return self.data[offset : offset + n]

    def word(self, name: str) -> int:
        """Any word of either page by its name in :mod:`recd_client.layout`."""
        return read_word(self._words, name)

    def set_word(self, name: str, value: int) -> None:
        """Set a word of the consumer page."""
        self._words[layout.CONSUMER[name] // 8] = value

    def set_error(self, code: str) -> None:
        """Leave a short reason for the client's ``stats``."""
        at = layout.CONSUMER["error"]
        text = code.encode("ascii", "replace")[: layout.ERROR_BYTES - 1]
        self.buffer[at : at + layout.ERROR_BYTES] = text.ljust(layout.ERROR_BYTES, b"\0")

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped."""
        self._words.release()
        self.data.release()
        self.buffer.release()


# --- geometry --------------------------------------------------------------------------------------


def format_segment(buffer: Any, **geometry: Any) -> None:
    """Write the geometry of a new ring into zeroed memory, ``ready`` last.

    ``geometry`` gives ``capacity_bytes`` and whatever else of ``layout.GEOMETRY_NAMES`` is known.
    """
    view = memoryview(buffer).cast("B")
    capacity = int(geometry["capacity_bytes"])
    values = {
        **layout.GEOMETRY_CONSTANTS,
        "version_major": layout.VERSION_MAJOR,
        "version_minor": layout.VERSION_MINOR,
        "incompatible_flags": 0,
        "compatible_flags": 0,
        "max_record_bytes": layout.max_record_bytes(capacity),
        "policy": 0,
        "producer_pid": 0,
        "producer_start_ticks": 0,
        "ring_id": b"",
        "boot_id": b"",
        **geometry,
    }
    page = layout.pack_geometry(**values)
    view[: len(page)] = page
    layout.READY.pack_into(view, layout.READY_OFFSET, 1)


def read_geometry(buffer: memoryview) -> dict[str, Any]:
    """The geometry page, proved whole, of a version that this code understands and matching the buffer.

    Raises
    ------
    RingDamagedError
        Not a ring, not ready, checksum wrong, or sizes that contradict each other.
    """
    if len(buffer) < layout.DATA_OFFSET or layout.READY.unpack_from(buffer, layout.READY_OFFSET) != (1,):
        raise RingDamagedError("the segment is no finished ring", "it was set aside; record anew")
    page = buffer[: layout.PAGE_BYTES]
    values = dict(zip(layout.GEOMETRY_NAMES, layout.GEOMETRY.unpack_from(page), strict=True))
    if values["magic"] != layout.MAGIC_SEGMENT or not layout.is_whole(page):
        raise RingDamagedError("the ring's geometry page is damaged", "it was set aside; record anew")
    if values["version_major"] != layout.VERSION_MAJOR or values["incompatible_flags"]:
        raise RingDamagedError(
            f"ring layout {values['version_major']}.{values['version_minor']} with flags "
            f"{values['incompatible_flags']:#x}; this recd reads {layout.VERSION_MAJOR}.x",
            "install the same recd and recd-client version on both sides",
        )
    capacity = values["capacity_bytes"]
    if (
        any(values[name] != value for name, value in layout.GEOMETRY_CONSTANTS.items())
        or capacity % layout.ALIGN_BYTES
        or capacity < layout.MIN_CAPACITY_BYTES
        or len(buffer) < layout.segment_bytes(capacity)
        or not layout.HEADER_BYTES <= values["max_record_bytes"] <= capacity // 4
    ):
        raise RingDamagedError(f"the ring's sizes contradict each other: {values}", "it was set aside")
    return values


# --- what both backends say ------------------------------------------------------------------------


def mark_payload(label: str, fields: dict[str, Any]) -> bytes:
    """An event as JSON.

    Raises
    ------
    RecordTooLargeError
        It takes more than ``layout.MAX_MARK_BYTES`` bytes.
    """
    payload = json.dumps({"label": label, "fields": fields}, separators=(",", ":")).encode()
    if len(payload) > layout.MAX_MARK_BYTES:
        raise RecordTooLargeError(
            f"mark {label!r} takes {len(payload)} bytes, at most {layout.MAX_MARK_BYTES} are allowed",
            "record large values as a stream",
        )
    return payload


def impossible_head(head: int, before: int, free_position: int, capacity_bytes: int) -> RingDamagedError:
    """The error for a head that no producer can have left there."""
    return RingDamagedError(
        f"head {head} is impossible after {before} with {free_position} freed "
        f"and a capacity of {capacity_bytes}",
        "the producer's memory was overwritten; what was read before is safe",
    )
