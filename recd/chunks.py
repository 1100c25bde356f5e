"""The bytes of a log: records as they stand in the ring, in checksummed chunks.

::

    chunk header, 128 bytes, little-endian
    | crc32 u32        of the rest of this header                                          |
    | magic u32        "RLOG"                                                              |
    | version u16, flags u16 (1: contains LOSS, MARK or CLOSE)                             |
    | body_crc32 u32   of the records                                                      |
    | body_bytes u64                                                                       |
    | begin u64, end u64   ring positions; the end includes padding, which is not stored   |
    | first_seq u64, next_seq u64                                                          |
    | samples u32, backward_times u32, nan_times u32, reserved u32                         |
    | t_first f64, t_last f64, mono_first_ns u64, mono_last_ns u64                         |
    | step_first i64, step_last i64                                                        |
    | payload_bytes u64   of the samples, without headers and padding                      |

Positions make a chunk prove its place, checksums its content.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from recd_client import layout, records
from recd_client.errors import LogDamagedError, RingDamagedError
from recd_client.schema import Schema

from .batch import RESET, Batch, Event, batch_of_records, batch_of_run

MAGIC: Final = 0x474F4C52  # b"RLOG"
VERSION: Final = 1
HAS_CONTROL: Final = 1
_HEADER: Final = struct.Struct("<IHHIQQQQQIIIIddQQqqQ")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _CRC.size + _HEADER.size
_MOST_U64: Final = (1 << 64) - 1


@dataclass(frozen=True)
class ChunkInfo:
    """What a chunk's header tells; fields as in the module head."""

    flags: int
    body_crc32: int
    body_bytes: int
    begin: int
    end: int
    first_seq: int
    next_seq: int
    samples: int
    backward_times: int
    nan_times: int
    t_first: float
    t_last: float
    mono_first_ns: int
    mono_last_ns: int
    step_first: int
    step_last: int
    payload_bytes: int = 0

    @property
    def is_loss(self) -> bool:
        """Whether its samples were given up (:mod:`recd.dropping`): it only tells their numbers."""
        return self.samples == 0 and self.next_seq > self.first_seq

    def pack(self) -> bytes:
        """The header's bytes."""
        v = tuple(vars(self).values())  # astuple would copy each of them, deeply
        body = _HEADER.pack(MAGIC, VERSION, *v[:10], 0, *v[10:])
        return _CRC.pack(zlib.crc32(body)) + body

    @classmethod
    def unpack(cls, raw: bytes) -> ChunkInfo | None:
        """The header in ``raw``, None if it is none."""
        if len(raw) < HEADER_BYTES or _CRC.unpack_from(raw)[0] != zlib.crc32(raw[4:HEADER_BYTES]):
            return None
        magic, version, *v = _HEADER.unpack_from(raw, 4)
        if magic != MAGIC or version != VERSION:
            return None
        return cls(*v[:10], *v[11:])


def describe(
    schema: Schema, region: memoryview, begin: int, next_seq: int, last_t: float, limit_bytes: int
) -> tuple[ChunkInfo, float, RingDamagedError | None]:
    """The header for the good records at the start of a ring's ``region``, and what is known behind them.

    Parameters
    ----------
    region : memoryview
        Unbroken, from position ``begin`` on.
    next_seq : int
        Number behind the newest sample so far.
    last_t : float, s
        Its time; NaN when time may begin anew.
    limit_bytes : int
        The chunk ends behind the record that reaches so many.

    Returns
    -------
    info : ChunkInfo
        ``body_bytes`` is 0 if there was nothing but padding.
    last_t : float, s
        The same for the chunk that follows.
    damage : RingDamagedError or None
        What ended the good records, if they did not end by themselves.
    """
    flags = samples = backward = nans = payload = size = end = 0
    first_seq, damage = next_seq, None
    first: Any = None
    last: Any = np.zeros((), layout.HEADER_DTYPE)
    last["t"] = last_t
    try:
        for item in records.split(
            region, begin, schema.stride_bytes, schema.payload_bytes, limit_bytes=limit_bytes
        ):
            end = item.offset + item.size
            if isinstance(item, records.Control):
                if item.kind != layout.PAD:
                    flags, size = flags | HAS_CONTROL, end
                    if event_of(item).data.get("label") == RESET:
                        last_t = math.nan
                continue
            size = end
            strides = (item.stride_bytes or item.size,)
            heads: Any = np.ndarray((item.count,), layout.HEADER_DTYPE, region, item.offset, strides)
            times = heads["t"][~np.isnan(heads["t"])]
            nans += item.count - len(times)
            if len(times):
                backward += int(times[0] < last_t) + int(np.count_nonzero(times[1:] < times[:-1]))
                last_t = float(times[-1])
            if first is None:
                first, first_seq = heads[0].copy(), item.first_seq
            last = heads[-1].copy()
            samples += item.count
            payload += int(heads["length"].sum(dtype=np.uint64))
            next_seq = min(item.first_seq + item.count, _MOST_U64)
    except RingDamagedError as e:
        damage = e
    head = last if first is None else first
    info = ChunkInfo(
        flags, zlib.crc32(region[:size]), size, begin, begin + end, first_seq, next_seq,
        samples, backward, nans, float(head["t"]), float(last["t"]),
        int(head["mono_ns"]), int(last["mono_ns"]), int(head["step"]), int(last["step"]), payload,
    )  # fmt: skip
    return info, last_t, damage


class Chunk:
    """One chunk of the log; its records are read and proved when they are first asked for."""

    def __init__(self, info: ChunkInfo, fd: int, offset: int) -> None:
        self.info = info
        self._fd = fd
        #: Where its header stands in its segment.
        self.offset = offset
        self._body: memoryview | None = None
        #: Memory for the records, of their size; None: their own.
        self.read_into: memoryview | None = None

    def body(self) -> memoryview:
        """The records.

        Raises
        ------
        LogDamagedError
            The bytes on the disk are not those that were written.
        """
        if self._body is None:
            raw = self.read_into
            if raw is None:
                raw = np.empty(self.info.body_bytes, np.uint8).data  # not zeroed first
            got = 0
            while got < len(raw):
                try:
                    n = os.preadv(self._fd, [raw[got:]], self.offset + HEADER_BYTES + got)
                except OSError as e:
                    if e.errno != errno.EIO:
                        raise
                    break  # what the disk cannot read is damaged
                if n == 0:
                    break
                got += n
            if got < len(raw) or zlib.crc32(raw) != self.info.body_crc32:
                raise LogDamagedError(
                    f"log chunk at position {self.info.begin} is damaged", "see: recd verify on the directory"
                )
            self._body = raw
        return self._body

    def adopt(self, body: memoryview) -> None:
        """These are the records: somebody has read and proved them."""
        self._body = body

    def is_whole(self) -> bool:
        """Whether :meth:`body` gives the records."""
        try:
            self.body()
        except LogDamagedError:
            return False
        return True

    def items(
        self,
        schema: Schema,
        begin: int = 0,
        end: int | None = None,
        limit_bytes: int | None = None,
    ) -> Iterator[Item]:
        """Samples and events from position ``begin`` to ``end``.

        ``begin`` and ``end`` are record boundaries. ``limit_bytes`` stops behind the record that
        reaches it. Behind the chunk's last record stands the chunk's end, padding included.

        Raises
        ------
        LogDamagedError
            The bytes are not those that were written, or a sample contradicts itself.
        """
        info = self.info
        start = max(begin - info.begin, 0)
        stop, behind = info.body_bytes, info.end
        if end is not None and end - info.begin < stop:
            stop, behind = max(end - info.begin, start), end
        return split_items(schema, self.body()[start:stop], info.begin + start, behind, limit_bytes)

    def events(self, schema: Schema) -> Iterator[Event]:
        """What stands between the samples; these are not looked at."""
        for record in _records(schema, self.body(), self.info.begin):
            if isinstance(record, records.Control) and record.kind != layout.PAD:
                yield event_of(record)

    def behind(self, position: int, count: int) -> int:
        """The position behind the ``count`` records from ``position`` on."""
        body, base = self.body(), self.info.begin
        for _ in range(count):
            position += records.one(body, position - base, position, False).size
        return position


class Item(NamedTuple):
    """Samples or an event, and the ring positions at and behind it."""

    what: Batch | Event
    begin: int
    behind: int


def split_items(
    schema: Schema, body: memoryview, base: int, behind: int, limit_bytes: int | None = None
) -> Iterator[Item]:
    """Samples and events of records that were proved as a whole.

    Parameters
    ----------
    body : memoryview
        Whole records; the first stands at position ``base``.
    behind : int
        What the last one's ``behind`` is to be: the position behind it, or behind padding that follows.
    limit_bytes : int, optional
        Stop behind the record that reaches so many.

    Raises
    ------
    LogDamagedError
        A sample contradicts itself.
    """
    singles: list[int] = []  # offsets of samples of varying size, to be gathered

    def item(what: Batch | Event, offset: int, offset_behind: int) -> Item:
        return Item(what, base + offset, behind if offset_behind == len(body) else base + offset_behind)

    at = 0
    for record in _records(schema, body, base, limit_bytes):
        single = isinstance(record, records.Run) and not record.stride_bytes
        if singles and not single:
            yield item(batch_of_records(schema, body, singles), singles[0], at)
            singles = []
        at = record.offset + record.size
        if isinstance(record, records.Control):
            if record.kind != layout.PAD:
                yield item(event_of(record), record.offset, at)
        elif single:
            singles.append(record.offset)
        else:
            yield item(batch_of_run(schema, body, record.offset, record.count), record.offset, at)
    if singles:
        yield item(batch_of_records(schema, body, singles), singles[0], at)


def _records(
    schema: Schema, body: memoryview, begin: int, limit_bytes: int | None = None
) -> Iterator[records.Run | records.Control]:
    """The records of a region whose checksum was proved as a whole."""
    try:
        yield from records.split(
            body, begin, schema.stride_bytes, schema.payload_bytes, prove=False, limit_bytes=limit_bytes
        )
    except RingDamagedError as e:
        raise LogDamagedError(e.what, e.do) from None


def event_of(control: records.Control) -> Event:
    """The event that a control record tells; whatever is in its payload, as the client wrote it."""
    kind = {layout.MARK: "mark", layout.LOSS: "loss"}.get(control.kind, "close")
    payload = control.payload
    if kind == "mark":
        data = _mark(payload)
    elif kind == "loss":
        data = {"losses": _losses(payload)}
    else:
        payload = payload.ljust(layout.CLOSE_PREFIX.size, b"\0")
        next_seq, marks_lost = layout.CLOSE_PREFIX.unpack_from(payload)
        losses = _losses(payload[layout.CLOSE_PREFIX.size :])
        data = {"next_seq": next_seq, "marks_lost": marks_lost, "losses": losses}
    return Event(kind, control.position, control.seq, control.t, control.step, control.mono_ns, data)


def _mark(payload: bytes) -> dict[str, Any]:
    if len(payload) <= layout.MAX_MARK_BYTES:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            data = json.loads(payload)
            return {"label": str(data["label"]), "fields": dict(data["fields"])}
    return {"label": "recd.unreadable", "fields": {}}


def _losses(payload: bytes) -> list[dict[str, object]]:
    out = []
    for at in range(0, len(payload) - layout.LOSS_ENTRY.size + 1, layout.LOSS_ENTRY.size):
        entry = dict(zip(layout.LOSS_ENTRY_NAMES, layout.LOSS_ENTRY.unpack_from(payload, at), strict=True))
        code = int(entry["cause"])
        entry["cause"] = layout.ALL_CAUSES[code] if code < len(layout.ALL_CAUSES) else "unknown"
        out.append(entry)
    return out
