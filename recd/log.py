"""The append-only log of one stream: a directory of segment files, each a row of chunks.

A segment is named by the ring position of its first chunk (16 hex digits). After a kill the log ends
behind its last whole chunk (:mod:`recd.chunks`), and that is where the ring is read on.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recd_client.schema import Schema

from .batch import Batch
from .chunks import HEADER_BYTES, Chunk, ChunkInfo
from .durable import sync_directory as sync_directory

#: When a segment is full and the next one begins.
SEGMENT_BYTES: Final = 64 << 20


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
    segment_bytes : int, optional
        When a segment is full; at most, and by default, :data:`SEGMENT_BYTES`.
    """

    def __init__(self, directory: Path, segment_bytes: int | None = None) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._segment_bytes = min(SEGMENT_BYTES, segment_bytes or SEGMENT_BYTES)
        self._fd = -1
        #: The newest chunk; None while the log is empty.
        self.last: ChunkInfo | None = None
        self._begins = segments(directory)
        self._sizes = {b: segment_path(directory, b).stat().st_size for b in self._begins}
        while self._begins and not self._recover(self._begins[-1]):
            begin = self._begins.pop()
            del self._sizes[begin]
            segment_path(directory, begin).unlink()
        # Segments that may not be on the disk yet: also those of the worker before.
        self._unsynced = set(self._begins)
        self._distrusted: set[int] = set()

    def _recover(self, begin: int) -> bool:
        """Cut what follows the last whole chunk of the newest segment; whether there is one."""
        path, size = segment_path(self.directory, begin), 0
        for info, offset in _scan(path):
            self.last, size = info, offset + HEADER_BYTES + info.body_bytes
        if size:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            os.ftruncate(self._fd, size)
            self._sizes[begin] = size
        return size > 0

    @property
    def end(self) -> int:
        """Ring position behind the newest chunk, 0 while the log is empty."""
        return self.last.end if self.last else 0

    @property
    def bytes(self) -> int:
        """Size of all segments."""
        return sum(self._sizes.values())

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
        at = self._sizes[self._begins[-1]] if self._fd >= 0 else 0
        if self._fd < 0 or (at and at + size > self._segment_bytes):
            self._roll(info.begin)
            at = 0
        try:
            head = info.pack()
            done = os.pwritev(self._fd, [head, body], at)
            while done < size:  # a short write: once more for the rest, or for the reason
                rest: memoryview | bytes = head[done:] if done < HEADER_BYTES else body[done - HEADER_BYTES :]
                done += os.pwrite(self._fd, rest, at + done)
        except OSError:
            # The cut can fail too; then the torn chunk's checksum keeps readers off it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, at)
            raise
        begin = self._begins[-1]
        self._sizes[begin] = at + size
        self._unsynced.add(begin)
        self.last = info

    def _roll(self, begin: int) -> None:
        """Begin a new segment. The one before is left to :meth:`sync`: 64 MiB would hold up the ring."""
        path = segment_path(self.directory, begin)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.close()
        self._fd = fd
        self._begins.append(begin)
        self._sizes[begin] = 0

    def sync(self) -> None:
        """Make everything appended so far durable.

        Once ``fdatasync`` failed, the kernel may have dropped what it could not write, and would report
        success the next time: so that segment is not asked again, but written again, to a new file.

        Raises
        ------
        OSError
            Neither worked.
        """
        if not self._unsynced:
            return
        for begin in sorted(self._unsynced):
            if begin not in self._distrusted:
                try:
                    _fdatasync(segment_path(self.directory, begin))
                except OSError:
                    self._distrusted.add(begin)
            if begin in self._distrusted:
                self._replace(begin)
            self._unsynced.discard(begin)
        sync_directory(self.directory)

    def _replace(self, begin: int) -> None:
        """Put a synced copy in a segment's place; readers may go on with the old file: it grows no more."""
        path = segment_path(self.directory, begin)
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        _fdatasync(copy)
        os.rename(copy, path)
        self._distrusted.discard(begin)
        if begin == self._begins[-1]:
            self.close()  # the next chunk begins a new segment

    def trim(self, position: int) -> None:
        """Delete the segments that lie wholly before ``position``; the last one always stays."""
        while self.has_before(position):
            begin = self._begins.pop(0)
            segment_path(self.directory, begin).unlink(missing_ok=True)
            del self._sizes[begin]
            self._unsynced.discard(begin)
            self._distrusted.discard(begin)

    def has_before(self, position: int) -> bool:
        """Whether :meth:`trim` would delete anything."""
        return len(self._begins) > 1 and self._begins[1] <= position

    def close(self) -> None:
        """Let go of the files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _fdatasync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


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
        """The next chunk, None when there is none yet; it can be read until this is called again."""
        while True:
            info = self._header()
            if info is None:
                following = self._following()
                if following is None:
                    return None
                info = self._header()  # once more: it may have come before the next segment began
                if info is None:
                    self._open(following)
                    continue
            if self.end is not None and info.begin >= self.end:
                return None
            offset = self._offset
            self._offset += HEADER_BYTES + info.body_bytes
            if info.end > self.position:
                return Chunk(info, self._fd, offset)

    def _header(self) -> ChunkInfo | None:
        return None if self._fd < 0 else ChunkInfo.unpack(os.pread(self._fd, HEADER_BYTES, self._offset))

    def _following(self) -> int | None:
        """The segment to be read next; None when the current one is the last."""
        begins = segments(self.directory)
        if self._begin is None:
            at = max(bisect.bisect_right(begins, self.position) - 1, 0)
        else:
            at = bisect.bisect_right(begins, self._begin)
        return begins[at] if at < len(begins) else None

    def _open(self, begin: int) -> None:
        fd = os.open(segment_path(self.directory, begin), os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._fd, self._begin, self._offset = fd, begin, 0

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
