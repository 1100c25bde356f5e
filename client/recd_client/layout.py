"""The shared-memory contract: every offset, derived from the field before and checked at import.

One segment per stream, one producer, one consumer::

    offset 0                    4096                 8192                 12288
    +---------------------------+--------------------+--------------------+---------------------+
    | geometry                  | producer page      | consumer page      | data area           |
    | written once, by the      | written by the     | written by the     | capacity bytes      |
    | daemon; `ready` last      | client only        | daemon only        | written by client   |
    +---------------------------+--------------------+--------------------+---------------------+

A *position* is an absolute byte count since the ring was made; it only grows, and its place in the
data area is ``position % capacity``. A record is a 64-byte header and its payload, padded to 64
bytes; it never wraps (a PAD record fills the end of a lap)::

    record header, 64 bytes, little-endian
    0      4      8          16    24        28     30     32   40     48        56       64
    | crc  | magic| position | seq | payload | type | flags| t  | step | mono_ns | extra  |
    | u32  | u32  | u64      | u64 | u32     | u16  | u16  | f64| i64  | u64     | u64    |
      crc32 of bytes 4..64

Commit rule: the producer writes ``intent_end``, then payload, then header, and last ``head``.
``head`` is the one and only commit. Killed anywhere, it leaves ``head`` old or new, and what it was
writing lies between ``head`` and ``intent_end``.

Words that change sit on a 64-byte line each, so that the two sides do not fight over a cache line.
They are native-endian, 8-aligned u64: only such stores are atomic.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np

MAGIC_SEGMENT: Final = 0x474E495244434552  # b"RECDRING" read as a little-endian u64
MAGIC_RECORD: Final = 0x44434552  # b"RECD"
VERSION_MAJOR: Final = 1
VERSION_MINOR: Final = 1  # 1.1: stop_asked, stop_at; in a ring of 1.0 they read as 0, nobody asks
ENDIAN_TAG: Final = 0x0102030405060708

PAGE_BYTES: Final = 4096
LINE_BYTES: Final = 64
ALIGN_BYTES: Final = 64
HEADER_BYTES: Final = 64
#: Kept free of samples, so that a loss, a mark and the close always find room in a full ring.
CONTROL_RESERVE_BYTES: Final = 4096
MIN_CAPACITY_BYTES: Final = 4 * CONTROL_RESERVE_BYTES

# Record types.
PAD: Final = 0
DATA: Final = 1
LOSS: Final = 2
MARK: Final = 4
CLOSE: Final = 5

# Causes of loss, in the order of their words in the producer page.
CAUSES: Final = ("full", "too_large", "timeout", "interrupted")
#: Causes of loss behind the ring, which its consumer counts.
WORKER_CAUSES: Final = ("dropped_oldest",)
#: A LOSS record's ``cause`` is a place in here.
ALL_CAUSES: Final = (*CAUSES, *WORKER_CAUSES)

# Producer states.
PRODUCER_OPEN: Final = 1
PRODUCER_CLOSED: Final = 2

# Whether somebody wants the stream to end (the `stop_asked` word): the producer then closes it at its next call.
STOP_ASKED: Final = 1
STOP_CUT: Final = 2  # it did not in time: what it publishes from `stop_at` on is recorded nowhere

#: The consumer's reason, with the NUL at its end.
ERROR_BYTES: Final = 56

# Consumer states (the `state` word of the consumer page).
CONSUMER_RUNNING: Final = 1
CONSUMER_STALLED: Final = 2  # it is alive but cannot store: disk full, directory gone
CONSUMER_POISONED: Final = 3  # it set this ring aside
CONSUMER_FAILED: Final = 4  # it stores, but gave up one of the stream's files


def _offsets(fields: list[tuple[str, int]], start: int) -> tuple[dict[str, int], int]:
    """Place fields one behind the other; returns their offsets and the end."""
    out, at = {}, start
    for name, size in fields:
        out[name] = at
        at += size
    return out, at


GEOMETRY_OFFSET: Final = 0
PRODUCER_OFFSET: Final = PAGE_BYTES
CONSUMER_OFFSET: Final = 2 * PAGE_BYTES
DATA_OFFSET: Final = 3 * PAGE_BYTES

# --- geometry page: one packed struct, the table of words, their CRC, `ready` last ---------------
_GEOMETRY_FIELDS: Final = [
    ("magic", "Q"),
    ("endian", "Q"),
    ("version_major", "I"),
    ("version_minor", "I"),
    ("incompatible_flags", "Q"),
    ("compatible_flags", "Q"),
    ("header_bytes", "Q"),
    ("capacity_bytes", "Q"),
    ("data_offset", "Q"),
    ("align_bytes", "Q"),
    ("max_record_bytes", "Q"),
    ("control_reserve_bytes", "Q"),
    ("policy", "Q"),
    ("producer_pid", "Q"),
    ("producer_start_ticks", "Q"),
    ("ring_id", "16s"),
    ("boot_id", "16s"),
]
GEOMETRY: Final = struct.Struct("<" + "".join(f for _, f in _GEOMETRY_FIELDS))
GEOMETRY_NAMES: Final = tuple(n for n, _ in _GEOMETRY_FIELDS)

#: What every ring of this major version says; the code relies on these as constants.
GEOMETRY_CONSTANTS: Final = {
    "magic": MAGIC_SEGMENT,
    "endian": ENDIAN_TAG,
    "header_bytes": HEADER_BYTES,
    "data_offset": DATA_OFFSET,
    "align_bytes": ALIGN_BYTES,
    "control_reserve_bytes": CONTROL_RESERVE_BYTES,
}

POLICIES: Final = ("drop_newest", "block", "drop_oldest")

# --- words: (name, bytes); a word that changes on its own has a line of its own ----------------
_PRODUCER_FIELDS: Final = [
    ("head", LINE_BYTES),  # end of what is published; only grows; THE commit
    ("intent_end", LINE_BYTES),  # end of what is being written; equals head when idle
    ("next_seq", LINE_BYTES),  # the number of the next DATA attempt
    *[(f"lost_{c}_{u}", 8) for c in CAUSES for u in ("count", "bytes")],  # one line of eight words
    ("blocked_ns", LINE_BYTES),
    ("rung_ticket", LINE_BYTES),
    ("producer_state", LINE_BYTES),
    ("skipped", 8),  # samples that were not due or fell into a pause
    ("marks_lost", 8),  # marks that found no room even in the reserve
]
_CONSUMER_FIELDS: Final = [
    ("free_pos", LINE_BYTES),  # the producer may overwrite what lies before
    ("durable_seq", LINE_BYTES),  # samples numbered below are safe at the session's durability
    ("sleep_ticket", LINE_BYTES),  # incremented before each sleep: one doorbell per ticket
    ("epoch", LINE_BYTES),  # incremented by each worker that takes the ring
    ("worker_pid", LINE_BYTES),
    ("consumer_state", 8),
    ("error", ERROR_BYTES),  # a short ASCII code of why; NUL-padded
    ("spooled_bytes", 8),  # bytes of this stream that wait in its log
    ("lost_dropped_oldest_count", 8),  # samples that were published, and deleted in the log to make room
    ("stop_asked", 8),
    ("stop_at", 8),
]

PRODUCER, _producer_end = _offsets(_PRODUCER_FIELDS, PRODUCER_OFFSET)
CONSUMER, _consumer_end = _offsets(_CONSUMER_FIELDS, CONSUMER_OFFSET)

#: Table of (id, offset) pairs: a later version finds an earlier one's words by it.
TABLE_OFFSET: Final = GEOMETRY_OFFSET + 512
READY: Final = struct.Struct("<Q")
READY_OFFSET: Final = PRODUCER_OFFSET - READY.size
_CRC: Final = struct.Struct("<I")
#: Of all before it, whatever a later minor version puts there.
GEOMETRY_CRC_OFFSET: Final = READY_OFFSET - 8

#: The ids of the field-offset table never change meaning; a new field takes a new id, at the end.
FIELD_IDS: Final = {
    name: i
    for i, name in enumerate(
        [
            *[n for n, _ in _PRODUCER_FIELDS],
            *[n for n, _ in _CONSUMER_FIELDS],
        ],
        start=1,
    )
}
_TABLE: Final = struct.Struct("<II")

# --- record header ----------------------------------------------------------------------------
_HEADER_FIELDS: Final = [
    ("crc", "<u4"),
    ("magic", "<u4"),
    ("position", "<u8"),
    ("seq", "<u8"),
    ("length", "<u4"),
    ("type", "<u2"),
    ("flags", "<u2"),
    ("t", "<f8"),
    ("step", "<i8"),
    ("mono_ns", "<u8"),
    ("extra", "<u8"),
]
_CODES: Final = {"<u2": "H", "<u4": "I", "<u8": "Q", "<i8": "q", "<f8": "d"}
HEADER_DTYPE: Final = np.dtype(_HEADER_FIELDS)
#: All but the checksum.
HEADER_BODY: Final = struct.Struct("<" + "".join(_CODES[f] for _, f in _HEADER_FIELDS[1:]))
HEADER_SEAL: Final = struct.Struct(f"<I{HEADER_BODY.size}s")
#: Where the checksum's cover begins.
HEADER_BODY_OFFSET: Final = HEADER_SEAL.size - HEADER_BODY.size

# --- payloads of control records ----------------------------------------------------------------
#: One entry per cause that lost something since the last LOSS record.
LOSS_ENTRY: Final = struct.Struct("<QQQQQddQQ")
LOSS_ENTRY_NAMES: Final = (
    "cause", "first_seq", "last_seq", "count", "bytes", "t_first", "t_last", "mono_first_ns", "mono_last_ns",
)  # fmt: skip
#: CLOSE: the producer's `next_seq` and marks lost, then the loss entries that no LOSS record told.
CLOSE_PREFIX: Final = struct.Struct("<QQ")
MAX_MARK_BYTES: Final = 1024


def record_bytes(payload_bytes: int) -> int:
    """Bytes that a record with this payload takes in the ring."""
    return (HEADER_BYTES + payload_bytes + ALIGN_BYTES - 1) // ALIGN_BYTES * ALIGN_BYTES


def max_record_bytes(capacity_bytes: int) -> int:
    """The largest record that a ring of this capacity takes: a quarter of it."""
    return capacity_bytes // 4 // ALIGN_BYTES * ALIGN_BYTES


def segment_bytes(capacity_bytes: int) -> int:
    """Bytes of the whole segment for a data area of ``capacity_bytes``."""
    return DATA_OFFSET + capacity_bytes


def pack_geometry(**values: Any) -> bytes:
    """The geometry page up to, not including, ``ready``."""
    body = GEOMETRY.pack(*(values[n] for n in GEOMETRY_NAMES))
    page = bytearray(READY_OFFSET)
    page[: len(body)] = body
    offsets = {**PRODUCER, **CONSUMER}
    for i, (name, field_id) in enumerate(FIELD_IDS.items()):
        _TABLE.pack_into(page, TABLE_OFFSET + i * _TABLE.size, field_id, offsets[name])
    _CRC.pack_into(page, GEOMETRY_CRC_OFFSET, zlib.crc32(page[:GEOMETRY_CRC_OFFSET]))
    return bytes(page)


def is_whole(page: bytes | bytearray | memoryview) -> bool:
    """Whether the geometry page carries the checksum of what it says."""
    (stored,) = _CRC.unpack_from(page, GEOMETRY_CRC_OFFSET)
    return bool(stored == zlib.crc32(page[:GEOMETRY_CRC_OFFSET]))


def _check() -> None:
    """Fail at import, not in the field."""
    assert HEADER_SEAL.size == HEADER_BYTES == HEADER_DTYPE.itemsize
    assert GEOMETRY_OFFSET + GEOMETRY.size <= TABLE_OFFSET
    assert TABLE_OFFSET + len(FIELD_IDS) * _TABLE.size <= GEOMETRY_CRC_OFFSET
    assert _producer_end <= CONSUMER_OFFSET
    assert _consumer_end <= DATA_OFFSET
    assert all(o % 8 == 0 for o in (*PRODUCER.values(), *CONSUMER.values(), READY_OFFSET))
    assert {o % LINE_BYTES for n, o in PRODUCER.items() if n in ("head", "intent_end", "next_seq")} == {0}
    # Marks leave a mark's size of the reserve to the close, which may need padding smaller than itself.
    close_bytes = record_bytes(CLOSE_PREFIX.size + len(CAUSES) * LOSS_ENTRY.size)
    assert 2 * close_bytes <= record_bytes(MAX_MARK_BYTES)
    assert 3 * record_bytes(MAX_MARK_BYTES) <= CONTROL_RESERVE_BYTES


_check()
