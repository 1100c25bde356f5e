"""Proving and splitting a region of records; serves the ring's consumer and the log's reader.

Headers of a run of equal-sized samples are proved together with numpy. CRC-32 is affine over
GF(2): the checksum of a 60-byte body is a constant xored with one table entry per byte (the
byte-sliced form of the table method), so a long run costs 60 gathers. How long a run is shows in
steps that grow: a region of many short ones costs no more than it has records.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import layout
from .errors import RingDamagedError
from .native import extension


@dataclass(frozen=True)
class Run:
    """``count`` DATA records one behind the other, from ``offset`` of the region.

    ``stride_bytes`` is 0 for a single record of variable size; then ``size`` is its extent.
    """

    offset: int
    size: int
    count: int
    stride_bytes: int
    first_seq: int


@dataclass(frozen=True)
class Control:
    """One LOSS, MARK, CLOSE or PAD record."""

    offset: int
    size: int
    kind: int
    position: int
    seq: int
    payload: bytes
    t: float
    step: int
    mono_ns: int


#: Up to as many headers are quicker one by one (60 gathers: 70 µs; one checksum: 0.3 µs).
_FEW: Final = 128
_FIRST_LOOK: Final = 32
_WORD: Final = (1 << 64) - 1


@functools.cache
def _crc_tables() -> tuple[int, NDArray[np.uint32]]:
    body = layout.HEADER_BODY.size
    zero = zlib.crc32(bytes(body))
    table = np.zeros((body, 256), np.uint32)
    for i in range(body):
        one = bytearray(body)
        for b in range(256):
            one[i] = b
            table[i, b] = zlib.crc32(one) ^ zero
    return zero, table


def header_crcs(headers: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Checksums of the bodies of ``(n, 64)`` uint8 headers, as ``(n,)`` uint32."""
    if len(headers) <= _FEW:
        size, raw = layout.HEADER_BODY.size, headers[:, layout.HEADER_BODY_OFFSET :].tobytes()
        return np.array([zlib.crc32(raw[i : i + size]) for i in range(0, len(raw), size)], np.uint32)
    zero, table = _crc_tables()
    out = np.full(len(headers), zero, np.uint32)
    for i in range(layout.HEADER_BODY.size):
        out ^= table[i].take(headers[:, layout.HEADER_BODY_OFFSET + i])
    return out


def split(
    region: memoryview,
    position: int,
    stride_bytes: int,
    payload_bytes: int,
    *,
    prove: bool = True,
    limit_bytes: int | None = None,
) -> Iterator[Run | Control]:
    """Walk the records of ``region``, whose first byte stands at ``position``.

    Parameters
    ----------
    stride_bytes, payload_bytes : int
        Of a sample; a stride of 0 means that samples vary in size.
    prove : bool
        Whether to check the header checksums (not needed under a checksum of the whole region).
    limit_bytes : int, optional
        Stop behind the record that reaches this many bytes; default: at the region's end.

    Raises
    ------
    RingDamagedError
        A header is not what must stand there; what was yielded before is good.
    """
    at, end = 0, len(region)
    limit = end if limit_bytes is None else min(limit_bytes, end)
    while at < limit:
        if stride_bytes:
            most = min((end - at) // stride_bytes, -(-(limit - at) // stride_bytes))
            run = _run(region, at, position + at, most, stride_bytes, payload_bytes, prove)
            if run is not None:
                yield run
                at += run.size
                continue
        record = one(region, at, position + at, prove)
        if stride_bytes and isinstance(record, Run):
            raise RingDamagedError(
                f"a sample at position {position + at} takes {record.size} bytes, this stream's "
                f"take {stride_bytes}",
                "the rest of this ring was set aside",
            )
        yield record
        at += record.size


def _run(
    region: memoryview, at: int, position: int, most: int, stride: int, payload_bytes: int, prove: bool
) -> Run | None:
    """The good DATA records of this size that stand from ``at`` on without a gap, up to ``most``."""
    if most == 0:
        return None
    if extension is not None:
        count, first = extension.run(region, at, position, most, stride, payload_bytes, prove)
        return Run(at, count * stride, count, stride, first) if count else None
    return _run_by_numpy(region, at, position, most, stride, payload_bytes, prove)


def _run_by_numpy(
    region: memoryview, at: int, position: int, most: int, stride: int, payload_bytes: int, prove: bool
) -> Run | None:
    heads: NDArray[Any] = np.ndarray(
        (most,), layout.HEADER_DTYPE, buffer=region, offset=at, strides=(stride,)
    )
    if heads["type"][0] != layout.DATA:
        return None
    first_seq = int(heads["seq"][0])
    n, look = 0, _FIRST_LOOK
    while n < most:
        some = heads[n : n + look]
        good = _good(some, position + n * stride, stride, first_seq + n, payload_bytes, prove)
        n += good
        if good < len(some):
            break
        look *= 4
    return Run(at, n * stride, n, stride, first_seq) if n else None


def _good(heads: NDArray[Any], position: int, stride: int, seq: int, payload_bytes: int, prove: bool) -> int:
    """How many of ``heads``, from the first on, are what must stand there."""
    index = np.arange(len(heads), dtype=np.uint64)
    # a lie may go on beyond the largest number; that is no reason to fall over it
    good = heads["position"] == np.uint64(position & _WORD) + index * np.uint64(stride)
    good &= heads["seq"] == np.uint64(seq & _WORD) + index
    good &= heads["type"] == layout.DATA
    good &= heads["length"] == payload_bytes
    good &= heads["magic"] == layout.MAGIC_RECORD
    n = len(heads) if good.all() else int(good.argmin())
    if prove and n:
        same = header_crcs(heads[:n, np.newaxis].view(np.uint8)) == heads["crc"][:n]
        n = n if same.all() else int(same.argmin())
    return n


def one(region: memoryview, at: int, position: int, prove: bool) -> Run | Control:
    """The record at ``at`` of ``region``, which must stand at ``position``.

    Raises
    ------
    RingDamagedError
        There is no valid header, or the record is longer than the region.
    """
    if len(region) - at < layout.HEADER_BYTES:
        raise RingDamagedError(f"half a header at position {position}", "the rest was set aside")
    raw = bytes(region[at : at + layout.HEADER_BYTES])
    crc, body = layout.HEADER_SEAL.unpack(raw)
    magic, pos, seq, length, kind, _flags, t, step, mono_ns, _extra = layout.HEADER_BODY.unpack(body)
    size = layout.record_bytes(length)
    if (
        magic != layout.MAGIC_RECORD
        or pos != position
        or not _may_have(kind, length)
        or size > len(region) - at
        or (prove and crc != zlib.crc32(body))
    ):
        raise RingDamagedError(
            f"no valid record header at position {position}", "the rest of this ring was set aside"
        )
    if kind == layout.DATA:
        return Run(at, size, 1, 0, seq)
    start = at + layout.HEADER_BYTES
    payload = b"" if kind == layout.PAD else bytes(region[start : start + length])
    return Control(at, size, kind, pos, seq, payload, t, step, mono_ns)


def _may_have(kind: int, length: int) -> bool:
    """Whether there is such a type of record, with payloads of this length."""
    if kind in (layout.DATA, layout.PAD):
        return True
    if kind == layout.MARK:
        return length <= layout.MAX_MARK_BYTES
    losses = length - layout.CLOSE_PREFIX.size if kind == layout.CLOSE else length
    return kind in (layout.LOSS, layout.CLOSE) and losses >= 0 and losses % layout.LOSS_ENTRY.size == 0
