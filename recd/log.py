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
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from recd_client.schema import Schema

from .ahead import read_ahead
from .batch import Batch
from .chunks import Chunk
from .scan import Found, find, header_at

#: Read at a time by the thread that reads ahead: a handful of chunks, as waking a thread takes its time.
_STRETCH_BYTES: Final = 4 << 20


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
            self.offset = found.behind
            if info.begin < self._behind:  # it stands there twice: a disk may do that
                continue
            self._behind = info.end
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
        """The samples from the first to the last; damaged chunks are passed over.

        A batch is there until the next one is asked for.
        """
        with contextlib.closing(read_ahead(self._stretches())) as stretches:
            for chunk in itertools.chain.from_iterable(stretches):
                for item in chunk.items(self.schema, self.begin, self.end):
                    if isinstance(item.what, Batch):
                        yield item.what

    def _stretches(self) -> Generator[list[Chunk], None, None]:
        """Every chunk that is whole, its records read and proved; some megabytes at a time.

        They are read into memory that is used again, for the stretch after the next one: what the system
        gives anew, it clears first, and that takes longer than reading.
        """
        rooms = itertools.cycle([np.empty(_STRETCH_BYTES, np.uint8).data for _ in range(2)])
        reader = LogReader(self.directory, self.begin, self.end)
        stretch: list[Chunk] = []
        room = next(rooms)
        try:
            while (chunk := reader.next()) is not None:
                size_bytes = chunk.info.body_bytes
                if size_bytes > len(room):
                    yield stretch
                    stretch, room = [], next(rooms)
                if size_bytes <= len(room):
                    chunk.read_into, room = room[:size_bytes], room[size_bytes:]
                if chunk.is_whole():
                    stretch.append(chunk)
            yield stretch
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
