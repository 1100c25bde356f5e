"""The append-only log of one stream: a directory of segment files, each a row of chunks.

A segment is named by the ring position of its first chunk (16 hex digits). After a kill the log ends
behind its last whole chunk (:mod:`recd.chunks`), and that is where the ring is read on.

What a kill left half-written is cut off. Damage that has whole chunks behind it stays: readers pass over it
(:mod:`recd.scan`), and the jump of the samples' numbers tells how many are missing.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from recd_client.schema import Schema

from .batch import Batch
from .chunks import HEADER_BYTES, Chunk, ChunkInfo
from .durable import sync_directory
from .scan import Found, find, header_at, is_torn, scan

#: When a segment is full and the next one begins.
SEGMENT_BYTES: Final = 64 << 20

_COPY_BYTES: Final = 1 << 20

log = logging.getLogger(__name__)


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

    Opening an existing log cuts what a kill left half-written behind the last whole chunk. If more is there
    than one append can have left, a copy is put aside first, as ``<segment>-<offset>.cut``.

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
        #: The end of the log as the header of a damaged last chunk tells it; None if it was not so.
        self.cut: ChunkInfo | None = None
        self._begins = segments(directory)
        self._sizes = {b: segment_path(directory, b).stat().st_size for b in self._begins}
        while self._begins and not self._recover(self._begins[-1]):
            begin = self._begins.pop()
            del self._sizes[begin]
            segment_path(directory, begin).unlink()
        self._look_at_cuts()
        # Segments that may not be on the disk yet: also those of the worker before.
        self._unsynced = set(self._begins)
        self._distrusted: set[int] = set()

    def _recover(self, begin: int) -> bool:
        """Cut what follows the last whole chunk of the newest segment; whether there is one."""
        path, size = segment_path(self.directory, begin), 0
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for found in scan(fd, begin):
                self.last, size = found.info, found.behind
            if self._sizes[begin] > size and not is_torn(fd, size):
                self._put_aside(path, size)
            if size:
                os.ftruncate(fd, size)
                self._sizes[begin], self._fd = size, fd
        finally:
            if self._fd != fd:
                os.close(fd)
        return size > 0

    def _put_aside(self, path: Path, offset: int) -> None:
        """Keep a copy of what is about to be cut off a segment."""
        copy = path.with_name(f"{path.stem}-{offset:x}.cut")
        log.error("%s is damaged from byte %d on; what is there is kept as %s", path, offset, copy.name)
        with open(path, "rb") as source, open(copy, "wb") as target:
            source.seek(offset)
            shutil.copyfileobj(source, target, _COPY_BYTES)
            os.fsync(target.fileno())

    def _look_at_cuts(self) -> None:
        """Learn from what was put aside, now or by a worker that was killed since, where the log had ended."""
        for path in sorted(self.directory.glob("*.cut")):
            with open(path, "rb") as f:
                info = header_at(f.fileno(), 0)
            if info is not None and info.end > max(self.end, self.cut.end if self.cut else 0):
                self.cut = info

    @property
    def end(self) -> int:
        """Ring position behind the newest chunk, 0 while the log is empty."""
        return self.last.end if self.last else 0

    @property
    def begin(self) -> int:
        """Ring position of the oldest chunk that is still there, 0 while the log is empty."""
        return self._begins[0] if self._begins else 0

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

    @property
    def deleted(self) -> bool:
        """Whether somebody has deleted the segment that is written to: nobody will find what goes there."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def closed_segments(self) -> list[tuple[int, int]]:
        """First and end position of every segment but the newest."""
        return list(itertools.pairwise(self._begins))

    def substitute(self, begin: int, path: Path) -> None:
        """Put the file ``path`` in a segment's place."""
        self._sizes[begin] = path.stat().st_size
        os.rename(path, segment_path(self.directory, begin))
        self._unsynced.add(begin)

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


class LogReader:
    """Reads a log's chunks from a position on, at its own pace; may run beside the writer.

    Chunks whose header is damaged are passed over: then the one that follows begins behind the end of the
    one before, and :attr:`damaged` says so. A body proves itself when it is read.

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
        #: Whether something that no chunk explains lies before the newest chunk that was returned.
        self.damaged = False
        self._begin: int | None = None
        self._fd = -1
        #: Where in its segment the reader goes on.
        self.offset = 0
        self._behind = 0  # the end of the chunk that was seen last
        self._size = 0  # of the segment, as far as it was looked at
        self._searched = -1  # the size that it had when it was searched in vain

    def next(self) -> Chunk | None:
        """The next chunk, None when there is none yet; it can be read until this is called again."""
        self.damaged = False
        while True:
            found = self._found()
            if found is None:
                following = self._following()
                # Once more: it may have come before the next segment began.
                found = self._found() or self._search(following)
                if found is None:
                    if following is None:
                        return None
                    self._open(following)
                    continue
            offset, info = found
            if self.end is not None and info.begin >= self.end:
                return None
            self.offset, self._behind = found.behind, info.end
            if info.end > self.position:
                return Chunk(info, self._fd, offset)

    @property
    def path(self) -> Path:
        """The segment that is being read; the first one's before there was any."""
        return segment_path(self.directory, self._begin or 0)

    def _found(self) -> Found | None:
        """The chunk that stands where the one before ends; None if it is not (all) there."""
        info = None if self._fd < 0 else header_at(self._fd, self.offset)
        if info is None:
            return None
        found = Found(self.offset, info)
        if found.behind > self._size:
            self._size = os.fstat(self._fd).st_size
        return found if found.behind <= self._size else None

    def _search(self, following: int | None) -> Found | None:
        """The next chunk of this segment, behind what is none.

        At the end of the newest segment that may be one that is being written: it comes, or another one
        behind it, which proves that this one does not.
        """
        if self._fd < 0:
            return None
        size = os.fstat(self._fd).st_size
        if size <= self.offset or size == self._searched:
            return None
        found = find(self._fd, self.offset, self._behind)
        if found is not None:
            self.damaged |= found.info.begin > self._behind
        elif following is None:
            self._searched = size
        else:
            self.damaged |= following > self._behind
        return found

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
        if self._begin is None:
            self._behind = begin
        self._fd, self._begin, self.offset, self._searched = fd, begin, 0, -1
        self._size = os.fstat(fd).st_size

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Missing(NamedTuple):
    """Samples that a reader of the log did not find: numbers that it missed from ``begin`` to ``end``.

    ``seen`` tells whether damage was seen there. Else it may be that LOSS records tell of all of them.
    """

    begin: int
    end: int
    first_seq: int
    next_seq: int
    seen: bool = False


class LogSource:
    """The samples of a stretch of a log, as :class:`~recd.batch.Source`.

    Parameters
    ----------
    begin, end : int
        Ring positions of the stretch.
    count : int
        Samples in it, as far as it is known; see :meth:`prove`.
    """

    def __init__(self, directory: Path, schema: Schema, begin: int, end: int, count: int) -> None:
        self.directory = directory
        self.schema = schema
        self.begin = begin
        self.end = end
        self.count = count

    def batches(self) -> Iterator[Batch]:
        """The samples from the first to the last; damaged chunks are passed over."""
        reader = LogReader(self.directory, self.begin, self.end)
        try:
            while (chunk := reader.next()) is not None:
                if not chunk.is_whole():
                    continue
                for item in chunk.items(self.schema, self.begin, self.end):
                    if isinstance(item.what, Batch):
                        yield item.what
        finally:
            reader.close()

    def prove(self, first_seq: int, next_seq: int) -> list[Missing]:
        """:attr:`count` is what can really be read; returns where samples are missing.

        Parameters
        ----------
        first_seq, next_seq : int
            Number that the stretch begins with, and the one behind it.
        """
        missing, at, self.count = [], self.begin, 0
        reader = LogReader(self.directory, self.begin, self.end)
        try:
            while (chunk := reader.next()) is not None:
                info = chunk.info
                if info.first_seq > first_seq:
                    behind = min(info.first_seq, next_seq)
                    missing.append(Missing(at, info.begin, first_seq, behind, reader.damaged))
                    first_seq = info.first_seq
                if chunk.is_whole():
                    for item in chunk.items(self.schema, self.begin, self.end):
                        self.count += len(item.what) if isinstance(item.what, Batch) else 0
                else:
                    behind = min(info.next_seq, next_seq)
                    missing.append(Missing(max(at, info.begin), info.end, first_seq, behind, True))
                at, first_seq = info.end, max(first_seq, info.next_seq)
        finally:
            reader.close()
        if first_seq < next_seq:
            missing.append(Missing(at, self.end, first_seq, next_seq))
        return missing
