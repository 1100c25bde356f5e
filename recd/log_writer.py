"""Appends to the log of one stream, and makes what was appended durable; reading it: :mod:`recd.log`."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from .chunks import HEADER_BYTES, ChunkInfo
from .durable import replace_by_copy, sync_directory, sync_file
from .log import segment_path, segments
from .scan import header_at, is_torn, scan

#: When a segment is full and the next one begins.
SEGMENT_BYTES: Final = 64 << 20

_COPY_BYTES: Final = 1 << 20

log = logging.getLogger(__name__)


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
        # Segments of which something, or the name, may not be on the disk yet: also those of the worker before.
        self._unsynced, self._unnamed = set(self._begins), set(self._begins)
        self._distrusted: set[int] = set()
        self._syncing = threading.Lock()

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
        if self._begins[-1:] != [
            begin
        ]:  # else nothing could be written to it, and then a copy took its place
            self._begins.append(begin)
        self._sizes[begin] = 0
        self._unnamed.add(begin)

    @property
    def is_synced(self) -> bool:
        """Whether a sync would find nothing to do."""
        return not (self._unsynced or self._unnamed or self._distrusted)

    def sync(self) -> None:
        """Make everything appended so far durable.

        Once ``fdatasync`` failed, the kernel may have dropped what it could not write, and would report
        success the next time: so that segment is not asked again, but written again, to a new file.

        Raises
        ------
        OSError
            Neither worked.
        """
        with self._syncing:
            self._sync_segments()
            for begin in sorted(self._distrusted):
                self._replace(begin)
            self._sync_names()

    def sync_in_place(self) -> None:
        """Make everything appended so far durable, from another thread than the one that appends meanwhile.

        Raises
        ------
        OSError
            It is not; only :meth:`sync` helps.
        """
        with self._syncing:
            self._sync_segments()
            if self._distrusted:
                raise OSError(errno.EIO, "a sync failed", str(self.directory))
            self._sync_names()

    def _sync_segments(self) -> None:
        for begin in sorted(self._unsynced - self._distrusted):
            self._unsynced.discard(begin)  # first: what is appended from here on needs the next sync
            try:
                sync_file(segment_path(self.directory, begin))
            except OSError:
                self._distrusted.add(begin)
        self._distrusted.intersection_update(self._begins)  # the others were trimmed

    def _sync_names(self) -> None:
        names = self._unnamed & {*self._begins}
        if not names:
            return
        try:
            sync_directory(self.directory)
        except OSError:
            self._distrusted |= names
            raise
        self._unnamed -= names

    def _replace(self, begin: int) -> None:
        """Put a synced copy in a segment's place; readers may go on with the old file: it grows no more."""
        replace_by_copy(segment_path(self.directory, begin))
        self._unnamed.add(begin)
        self._unsynced.discard(begin)
        self._distrusted.discard(begin)
        if begin == self._begins[-1]:
            self.close()  # the next chunk begins a new segment

    def trim(self, position: int) -> None:
        """Delete the segments that lie wholly before ``position``; the last one always stays."""
        while self.has_before(position):
            begin = self._begins.pop(0)
            segment_path(self.directory, begin).unlink(missing_ok=True)
            del self._sizes[begin]
            for marked in (self._unsynced, self._unnamed, self._distrusted):
                marked.discard(begin)

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
        self._unnamed.add(begin)

    def has_before(self, position: int) -> bool:
        """Whether :meth:`trim` would delete anything."""
        return len(self._begins) > 1 and self._begins[1] <= position

    def close(self) -> None:
        """Let go of the files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
