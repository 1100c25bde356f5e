"""How many frames of a growing file can be decoded, read from the elements that are wholly on disk.

**MP4** (ISO/IEC 14496-12). While ffmpeg writes, the file is::

    ftyp  free  moov  mdat  moof mdat  moof mdat  moof mdat ...
                │     │     └──┴─ one fragment per frame: its `trun` counts the samples of its mdat
                │     └──────── samples of the first fragment
                └────────────── has a table (`stsz`) that counts *these*: adding up only the
                                fragments' headers would miss them

On a clean end ffmpeg appends a second ``moov``, the table of *all* samples, and only then turns the second
``free`` of ``ftyp free free moov`` into an ``mdat`` that spans everything before that table: killed at any
point, the file is either a fragmented one or a plain one. Where the muxer lacks that
(``hybrid_fragmented``), the first ``moov`` has no samples, and the file stays a fragmented one.

**Matroska** (RFC 9559). One ``Cluster`` per frame, written when the next frame comes; at the end ``Cues``,
the index.

What lies behind the last whole element is cut off by :func:`cut` before anything else reads the file of an
ffmpeg that was killed: ffmpeg conceals half a frame, and refuses a whole file that ends within a ``moof``.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

_U32: Final = struct.Struct(">I")
_SIZE_TYPE: Final = struct.Struct(">I4s")
#: Tables have some 20 bytes per frame: 10^7 frames fit. More is none of ours, and nothing reads it whole.
_MOST_TABLE_BYTES: Final = 256 << 20


class FrameCounter(ABC):
    """Counts the frames of one file while another process writes it; each call reads only what is new.

    Parameters
    ----------
    path : Path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._position = 0
        #: Frames that can be decoded from the first :attr:`end_bytes` bytes.
        self.frames = 0
        #: Where the last whole element ends that needs nothing behind it.
        self.end_bytes = 0
        #: Whether the file has an index of all its frames, as an ffmpeg that was not killed leaves it.
        self.complete = False

    def count(self) -> int:
        """The number of frames that can be decoded from the file as it is now."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
        size_bytes = os.fstat(self._fd).st_size
        while (end := self._take(self._position, size_bytes)) is not None:
            self._position = end
        return self.frames

    @abstractmethod
    def _take(self, position: int, size_bytes: int) -> int | None:
        """Count the element at ``position`` and return its end; None if it is not wholly there."""

    def close(self) -> None:
        """Let go of the file; the counts stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._fd, min(end - start, _MOST_TABLE_BYTES), start)


class MP4Counter(FrameCounter):
    """Counts the samples of an MP4 or MOV file with one video track."""

    _PARENTS: ClassVar = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._announced = 0
        self._tables = 0
        self._fragments = 0

    def _take(self, position: int, size_bytes: int) -> int | None:
        head = os.pread(self._fd, 16, position)
        if len(head) < 8:
            return None
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        header = 8
        if length == 1 and len(head) == 16:
            length, header = int.from_bytes(head[8:], "big"), 16
        body, end = position + header, position + length
        if length < header or end > size_bytes:
            return None
        if kind == b"moov":
            self._take_table(self._read(body, end), body, end)
        elif kind == b"moof":
            self._fragments += 1
            self.complete = False
            self._announced = sum(
                _U32.unpack_from(b, 4)[0] for b in self._find(self._read(body, end), b"trun")
            )
        elif kind == b"mdat" and self._tables:
            self.frames += self._announced
            self._announced, self.end_bytes = 0, end
        return end

    def _take_table(self, content: bytes, body: int, end: int) -> None:
        self._tables += 1
        samples = sum(_U32.unpack_from(b, 8)[0] for b in self._find(content, b"stsz"))
        if self._tables == 1 and self._first_chunk(content) >= body:
            self._announced = samples  # its mdat comes next
        elif self._tables == 1 and samples == 0:
            self.end_bytes = end  # all frames will come in fragments, if any come
        else:
            self.frames, self._announced, self.end_bytes = samples, 0, end
            self.complete = self._fragments == 0

    def _find(self, content: bytes, wanted: bytes) -> Iterator[bytes]:
        """Bodies of all boxes of one type, however deep they lie."""
        at = 0
        while at + 8 <= len(content):
            length, kind = _SIZE_TYPE.unpack_from(content, at)
            if length < 8 or at + length > len(content):
                return
            body = content[at + 8 : at + length]
            if kind == wanted:
                yield body
            elif kind in self._PARENTS:
                yield from self._find(body, wanted)
            at += length

    def _first_chunk(self, moov: bytes) -> int:
        """Where the samples of this table begin in the file; 0 if it has none."""
        for kind, width in ((b"stco", ">I"), (b"co64", ">Q")):
            for body in self._find(moov, kind):
                if _U32.unpack_from(body, 4)[0]:
                    return int(struct.unpack_from(width, body, 8)[0])
        return 0


class MatroskaCounter(FrameCounter):
    """Counts the blocks of a Matroska file with one video track."""

    _SEGMENT: ClassVar = 0x18538067
    _CLUSTER: ClassVar = 0x1F43B675
    _CUES: ClassVar = 0x1C53BB6B
    _BLOCKS: ClassVar = frozenset({0xA3, 0xA0})  # SimpleBlock, BlockGroup

    def _take(self, position: int, size_bytes: int) -> int | None:
        element = _ebml(os.pread(self._fd, 16, position), 0)
        if element is None:
            return None
        kind, header, length = element
        if kind == self._SEGMENT:
            return position + header  # holds all the others
        body, end = position + header, position + header + length
        if end > size_bytes:
            return None
        if kind == self._CLUSTER:
            self.frames += self._blocks(self._read(body, end))
        self.complete = kind == self._CUES or (self.complete and kind != self._CLUSTER)
        self.end_bytes = end
        return end

    def _blocks(self, content: bytes) -> int:
        at = count = 0
        while (element := _ebml(content[at : at + 16], 0)) is not None:
            kind, header, length = element
            count += kind in self._BLOCKS
            at += header + length
        return count


def _ebml(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(id, bytes of the header, bytes of the body) of the EBML element at ``at``; None if there is none."""
    if at >= len(data) or not data[at]:
        return None
    id_bytes = 9 - data[at].bit_length()
    at_size = at + id_bytes
    if at_size >= len(data) or not data[at_size]:
        return None
    size_bytes = 9 - data[at_size].bit_length()
    if at_size + size_bytes > len(data):
        return None
    value = int.from_bytes(data[at_size : at_size + size_bytes], "big") & ((1 << 7 * size_bytes) - 1)
    return int.from_bytes(data[at:at_size], "big"), id_bytes + size_bytes, value


def counter_of(path: Path, suffix: str = "") -> FrameCounter:
    """A counter for the format that ``suffix``, or else the file's own, stands for."""
    return MatroskaCounter(path) if (suffix or path.suffix) == ".mkv" else MP4Counter(path)


def count_listed(path: Path, suffix: str = "") -> int:
    """The number of frames that the file's structure has, without decoding."""
    counter = counter_of(path, suffix)
    try:
        return counter.count()
    finally:
        counter.close()


def cut(path: Path) -> int:
    """The file ends with its last whole frame; returns the number of its frames.

    For a piece whose ffmpeg has ended, however it ended. A complete file is left as it is.
    """
    counter = counter_of(path)
    try:
        frames = counter.count()
        if path.stat().st_size > counter.end_bytes:
            os.truncate(path, counter.end_bytes)
    finally:
        counter.close()
    return frames


def is_complete(path: Path) -> bool:
    """Whether the file has an index of all its frames; if not, :func:`~recd.video.files.join` makes one."""
    counter = counter_of(path)
    try:
        counter.count()
    finally:
        counter.close()
    return counter.complete
