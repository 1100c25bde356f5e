"""Helpers for tests of the ring: rings in plain memory, and a second implementation of its format."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from recd_client import layout, records
from recd_client.ring import RingConsumer, RingProducer
from recd_client.segment import format_segment

MIN_CAPACITY = layout.MIN_CAPACITY_BYTES
PAD, DATA, LOSS, MARK, CLOSE = 0, 1, 2, 4, 5
_HEADER = struct.Struct("<IIQQIHHdqQQ")
_MAGIC = int.from_bytes(b"RECD", "little")
_LOSS = struct.Struct("<QQQQQddQQ")
CAUSES = ("full", "too_large", "timeout", "interrupted")


class Record(NamedTuple):
    """A record as ring.md describes it."""

    kind: int
    position: int
    size: int
    seq: int
    t: float
    step: int
    mono_ns: int
    payload: bytes


class Loss(NamedTuple):
    """What one cause took since the last LOSS record."""

    cause: str
    first_seq: int
    last_seq: int
    samples: int
    size_bytes: int
    t_first: float
    t_last: float
    mono_first_ns: int
    mono_last_ns: int


def padded(size: int) -> int:
    """The size in whole lines."""
    return -(-size // 64) * 64


def record(
    kind: int,
    position: int,
    seq: int = 0,
    payload: bytes = b"",
    *,
    t: float = 0.0,
    step: int = 0,
    mono_ns: int = 0,
    length: int | None = None,
) -> bytes:
    """The bytes of a record, padding included; ``length`` lies about the payload."""
    length = len(payload) if length is None else length
    head = _HEADER.pack(0, _MAGIC, position, seq, length, kind, 0, t, step, mono_ns, 0)
    sealed = struct.pack("<I", zlib.crc32(head[4:])) + head[4:] + payload
    return sealed.ljust(padded(len(sealed)), b"\0")


def parse(
    region: bytes | bytearray | memoryview, position: int, limit_bytes: int | None = None
) -> Iterator[Record]:
    """Every record of ``region``, one by one; a ValueError for what is none."""
    at, limit = 0, len(region) if limit_bytes is None else limit_bytes
    while at < min(limit, len(region)):
        head = bytes(region[at : at + 64])
        if len(head) < 64:
            raise ValueError(f"half a header at {position + at}")
        crc, magic, where, seq, length, kind, _, t, step, mono_ns, _ = _HEADER.unpack(head)
        size = padded(64 + length)
        if (magic, where, crc) != (_MAGIC, position + at, zlib.crc32(head[4:])) or at + size > len(region):
            raise ValueError(f"no record at {position + at}")
        payload = b"" if kind == PAD else bytes(region[at + 64 : at + 64 + length])
        yield Record(kind, where, size, seq, t, step, mono_ns, payload)
        at += size


def losses(payload: bytes) -> list[Loss]:
    """The entries of a LOSS record, or of what follows the first two words of a CLOSE."""
    return [Loss(CAUSES[code], *rest) for code, *rest in _LOSS.iter_unpack(payload)]


def closing(payload: bytes) -> tuple[int, int, list[Loss]]:
    """What a CLOSE record tells: the next number, the marks lost, the losses not told before."""
    next_seq, marks_lost = struct.unpack_from("<QQ", payload)
    return next_seq, marks_lost, losses(payload[16:])


def new_memory(capacity_bytes: int = MIN_CAPACITY, **geometry: object) -> bytearray:
    """A formatted ring in plain memory."""
    memory = bytearray(layout.segment_bytes(capacity_bytes))
    format_segment(memory, capacity_bytes=capacity_bytes, **geometry)
    return memory


def payload_of(seq: int, size: int) -> bytes:
    """A payload that tells its number all over."""
    return (seq.to_bytes(8, "little") * (size // 8 + 1))[:size]


def put(producer: RingProducer, payload: bytes, t: float = 0.0, step: int = 0, mono_ns: int = 0) -> bool:
    """One attempt as a writer makes it with a policy of dropping; whether it went in."""
    size = layout.record_bytes(len(payload))
    offset = producer.reserve(size)
    if offset < 0:
        producer.lose("full", len(payload), t, mono_ns)
        return False
    start = offset + layout.HEADER_BYTES
    producer.buffer[start : start + len(payload)] = payload
    producer.publish(size, len(payload), t, step, mono_ns)
    return True


def fill(producer: RingProducer, payload_bytes: int = 1000) -> int:
    """Write until the ring is full (that attempt is lost); how many went in."""
    n = 0
    while put(producer, payload_of(producer.next_seq, payload_bytes)):
        n += 1
    return n


def published(consumer: RingConsumer) -> list[Record]:
    """All that was published and not read, PAD included; moves the read position, frees nothing."""
    head = consumer.head()
    found: list[Record] = []
    while consumer.position < head:
        region = consumer.region(consumer.position, head)
        found += parse(region, consumer.position)
        # the real reader sees the same
        items = list(records.split(region, consumer.position, 0, 0))
        sizes = [item.size for item in items]
        assert sizes == [r.size for r in parse(region, consumer.position)]
        consumer.position += len(region)
    return found


def taken(consumer: RingConsumer) -> list[Record]:
    """All that was published and not read, without PAD; frees it."""
    found = [r for r in published(consumer) if r.kind != PAD]
    consumer.free(consumer.position)
    return found
