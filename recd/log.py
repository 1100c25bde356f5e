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

from recd_client.errors import LogDamagedError
from recd_client.schema import Schema

from .batch import Batch
from .chunks import HEADER_BYTES, Chunk, ChunkInfo

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
