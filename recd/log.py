"""The append-only log of one stream: ring records as they stand, in checksummed chunks.

A directory of segment files, named by the ring position of their first chunk (16 hex digits). A
segment is a row of chunks, each a 128-byte header and the records::

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

Positions make a chunk prove its place, checksums its content: after a kill the log ends behind its
last whole chunk, and that is where the ring is read on.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from recd_client import layout, records
from recd_client.errors import LogDamagedError, RingDamagedError
from recd_client.schema import Schema

from .batch import Batch, Event, batch_of_records, batch_of_run

MAGIC: Final = 0x474F4C52  # b"RLOG"
VERSION: Final = 1
HAS_CONTROL: Final = 1
SEGMENT_BYTES: Final = 64 << 20
_HEADER: Final = struct.Struct("<IHHIQQQQQIIIIddQQqq")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = 128


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

    def pack(self) -> bytes:
        """The header's bytes."""
        v = astuple(self)
        body = _HEADER.pack(MAGIC, VERSION, v[0], *v[1:10], 0, *v[10:])
        body = body.ljust(HEADER_BYTES - 4, b"\0")
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




def segments(directory: Path) -> list[int]:
    """First positions of the log's segments, in order."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(n[:-4], 16) for n in names if n.endswith(".log") and len(n) == 20)


def segment_path(directory: Path, begin: int) -> Path:
    """File of the segment that begins at this position."""
    return directory / f"{begin:016x}.log"


class LogWriter:
    """Appends chunks; held by the one worker that holds the group's lock.

    Opening an existing log cuts what a kill left half-written behind the last whole chunk.

    Parameters
    ----------
    directory : Path
        Made if need be.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._fd = -1
        self._size = 0
        #: The newest chunk; None while the log is empty.
        self.last: ChunkInfo | None = None
        self.bytes = 0
        self._unsynced = False
        self._begins = segments(directory)
        self._sizes = {b: segment_path(directory, b).stat().st_size for b in self._begins}
        if self._begins:
            self._recover()

    def _recover(self) -> None:
        """Find the end of the last whole chunk and cut what follows it."""
        while self._begins:
            begin = self._begins[-1]
            path = segment_path(self.directory, begin)
            last, size = None, 0
            for info, offset in _scan(path):
                last, size = info, offset + HEADER_BYTES + info.body_bytes
            if last is not None:
                self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                os.ftruncate(self._fd, size)
                self._size = self._sizes[begin] = size
                self.last = last
                break
            path.unlink()
            self._begins.pop()
            del self._sizes[begin]
        self.bytes = sum(self._sizes.values())

    @property
    def end(self) -> int:
        """Ring position behind the newest chunk, 0 while the log is empty."""
        return self.last.end if self.last else 0

    @property
    def segment_count(self) -> int:
        """Number of segment files."""
        return len(self._begins)

    def append(self, info: ChunkInfo, body: memoryview) -> None:
        """Add a chunk with one system call.

        Raises
        ------
        OSError
            It could not be written whole (disk full, ...); the log is as it was before.
        """
        size = HEADER_BYTES + len(body)
        if self._fd < 0 or self._size + size > SEGMENT_BYTES and self._size > 0:
            self._roll(info.begin)
        try:
            head = info.pack()
            done = os.pwritev(self._fd, [head, body], self._size)
            while done < size:  # a short write: once more for the rest, or for the reason
                rest: memoryview | bytes = head[done:] if done < HEADER_BYTES else body[done - HEADER_BYTES :]
                done += os.pwrite(self._fd, rest, self._size + done)
        except OSError:
            # The cut can fail too; then the torn chunk's checksum keeps readers off it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += size
        self._sizes[self._begins[-1]] = self._size
        self.bytes += size
        self.last = info
        self._unsynced = True

    def _roll(self, begin: int) -> None:
        fd = os.open(
            segment_path(self.directory, begin), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        if self._fd >= 0:
            os.fdatasync(self._fd)
            os.close(self._fd)
        self._fd, self._size = fd, 0
        if not self._begins or self._begins[-1] != begin:
            self._begins.append(begin)
        self._sizes[begin] = 0

    def sync(self) -> None:
        """Make everything appended so far durable."""
        if self._unsynced:
            self._unsynced = False
            os.fdatasync(self._fd)
            sync_directory(self.directory)

    def trim(self, position: int) -> None:
        """Delete the segments that lie wholly before ``position``; the last one always stays."""
        while len(self._begins) > 1 and self._begins[1] <= position:
            begin = self._begins.pop(0)
            segment_path(self.directory, begin).unlink(missing_ok=True)
            self.bytes -= self._sizes.pop(begin)

    def close(self) -> None:
        """Let go of the files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _scan(path: Path) -> Iterator[tuple[ChunkInfo, int]]:
    """The whole chunks at the start of a segment file and their offsets, checksums proved."""
    with open(path, "rb") as f:
        offset = 0
        while True:
            info = ChunkInfo.unpack(f.read(HEADER_BYTES))
            if info is None:
                return
            body = f.read(info.body_bytes)
            if len(body) < info.body_bytes or zlib.crc32(body) != info.body_crc32:
                return
            yield info, offset
            offset += HEADER_BYTES + info.body_bytes


class Chunk:
    """One chunk of the log; its records are read and proved when they are first asked for."""

    def __init__(self, info: ChunkInfo, fd: int, offset: int) -> None:
        self.info = info
        self._fd = fd
        self._offset = offset + HEADER_BYTES
        self._body: memoryview | None = None

    def body(self) -> memoryview:
        """The records.

        Raises
        ------
        LogDamagedError
            The bytes on the disk are not those that were written.
        """
        if self._body is None:
            raw = bytearray(self.info.body_bytes)
            got = 0
            while got < len(raw):
                n = os.preadv(self._fd, [memoryview(raw)[got:]], self._offset + got)
                if n == 0:
                    break
                got += n
            if got < len(raw) or zlib.crc32(raw) != self.info.body_crc32:
                raise LogDamagedError(
                    f"log chunk at position {self.info.begin} is damaged", "see: recd info on the directory"
                )
            self._body = memoryview(raw)
        return self._body

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
        """
        info = self.info
        start = max(begin - info.begin, 0)
        stop, behind = info.body_bytes, info.end
        if end is not None and end - info.begin < stop:
            stop, behind = max(end - info.begin, start), end
        yield from items_of(
            schema,
            self.body()[start:stop],
            info.begin + start,
            behind,
            prove=False,
            limit_bytes=limit_bytes,
        )


class Item(NamedTuple):
    """Samples or an event, and the ring positions at and behind it."""

    what: Batch | Event
    begin: int
    behind: int


def items_of(
    schema: Schema,
    body: memoryview,
    begin: int,
    end: int,
    *,
    prove: bool,
    limit_bytes: int | None = None,
) -> Iterator[Item]:
    """Samples and events of a region of records that begins at ``begin`` and ends before ``end``."""
    singles: list[int] = []

    def behind(offset: int) -> int:
        return end if offset == len(body) else begin + offset

    def gathered(offset: int) -> Item:
        return Item(batch_of_records(schema, body, singles), begin + singles[0], behind(offset))

    try:
        at = 0
        for item in records.split(
            body, begin, schema.stride_bytes, schema.payload_bytes, prove=prove, limit_bytes=limit_bytes
        ):
            at = item.offset
            if isinstance(item, records.Run):
                if item.stride_bytes:
                    batch = batch_of_run(schema, body, item.offset, item.count)
                    yield Item(batch, begin + at, behind(at + item.size))
                else:
                    singles.append(item.offset)
                at += item.size
                continue
            if singles:
                yield gathered(at)
                singles.clear()
            at += item.size
            if item.kind != layout.PAD:
                yield Item(event_of(item), begin + item.offset, behind(at))
        if singles:
            yield gathered(at)
    except RingDamagedError as e:
        raise LogDamagedError(e.what, e.do) from None


def event_of(control: records.Control) -> Event:
    """The event that a control record tells."""
    kind, data = "mark", {}
    if control.kind == layout.MARK:
        import json

        try:
            data = json.loads(control.payload)
            data = {"label": str(data["label"]), "fields": dict(data["fields"])}
        except (ValueError, KeyError, TypeError):
            data = {"label": "recd.unreadable", "fields": {}}
    else:
        kind = "loss" if control.kind == layout.LOSS else "close"
        at = 0
        if kind == "close":
            next_seq, marks_lost = layout.CLOSE_PREFIX.unpack_from(control.payload)
            data = {"next_seq": next_seq, "marks_lost": marks_lost}
            at = layout.CLOSE_PREFIX.size
        data["losses"] = _losses(control.payload[at:])
    return Event(kind, control.position, control.seq, control.t, control.step, control.mono_ns, data)


def _losses(payload: bytes) -> list[dict[str, object]]:
    out = []
    for at in range(0, len(payload) - layout.LOSS_ENTRY.size + 1, layout.LOSS_ENTRY.size):
        entry = dict(zip(layout.LOSS_ENTRY_NAMES, layout.LOSS_ENTRY.unpack_from(payload, at), strict=True))
        code = int(entry["cause"])
        entry["cause"] = layout.CAUSES[code] if code < len(layout.CAUSES) else "unknown"
        out.append(entry)
    return out


class LogReader:
    """Reads a log's chunks from a position on, at its own pace; may run beside the writer.

    Parameters
    ----------
    directory : Path
    position : int
        Chunks that end at or before it are passed over.
    end : int, optional
        Chunks that begin at or after it are not returned.
    """

    def __init__(self, directory: Path, position: int = 0, end: int | None = None) -> None:
        self.directory = directory
        self.position = position
        self.end = end
        self._begin: int | None = None
        self._fd = -1
        self._offset = 0

    def next(self) -> Chunk | None:
        """The next chunk, None when there is none yet."""
        while True:
            if self._fd < 0 and not self._open_segment():
                return None
            info = ChunkInfo.unpack(os.pread(self._fd, HEADER_BYTES, self._offset))
            if info is None:
                if not self._open_segment():
                    return None
                continue
            if self.end is not None and info.begin >= self.end:
                return None
            offset = self._offset
            self._offset += HEADER_BYTES + info.body_bytes
            if info.end > self.position:
                return Chunk(info, self._fd, offset)

    def _open_segment(self) -> bool:
        """Go to the next segment; False when the current one is the last."""
        begins = segments(self.directory)
        if self._begin is None:
            at = max(bisect.bisect_right(begins, self.position) - 1, 0)
        else:
            at = bisect.bisect_right(begins, self._begin)
        if at >= len(begins):
            return False
        self.close()
        self._begin = begins[at]
        self._fd = os.open(segment_path(self.directory, begins[at]), os.O_RDONLY | os.O_CLOEXEC)
        self._offset = 0
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LogSource:
    """The samples of a stretch of a log, as :class:`~recd.batch.Source`.

    Parameters
    ----------
    begin, end : int
        Ring positions of the stretch.
    count : int
        Samples in it.
    """

    def __init__(self, directory: Path, schema: Schema, begin: int, end: int, count: int) -> None:
        self.directory = directory
        self.schema = schema
        self.begin = begin
        self.end = end
        self.count = count

    def batches(self) -> Iterator[Batch]:
        """The samples from the first to the last."""
        reader = LogReader(self.directory, self.begin, self.end)
        try:
            while (chunk := reader.next()) is not None:
                for item in chunk.items(self.schema, self.begin, self.end):
                    if isinstance(item.what, Batch):
                        yield item.what
        finally:
            reader.close()


def sync_directory(path: Path) -> None:
    """Make renames, new and deleted names in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
