"""How many frames of a growing MP4 can be decoded, read from the boxes that are wholly on disk.

While ffmpeg writes, the file is::

    ftyp  free  moov  mdat  moof mdat  moof mdat  moof mdat ...
                │     │     └──┴─ one fragment per frame: its `trun` counts the samples of its mdat
                │     └──────── samples of the first fragment
                └────────────── has a sample table (`stsz`) that counts *these*: adding up only the
                                fragments' headers would miss them

On a clean end ffmpeg appends a second ``moov``, the table of *all* samples, in one piece and only then
turns the first ``free`` into an ``mdat`` that spans everything before it: killed at any point, the
file is either a fragmented one or a plain one. Where the muxer lacks that (``hybrid_fragmented``), the
first ``moov`` has no samples, all come in fragments, and the file stays a fragmented one.

A fragment counts when its ``mdat`` is there to the last byte: what lies behind that is cut off by
:func:`cut` before anything else reads the file, since a decoder would conceal, not refuse, half a frame.

Layout of boxes: ISO/IEC 14496-12.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIZE_TYPE: Final = struct.Struct(">I4s")
_LARGE_SIZE: Final = struct.Struct(">Q")
_U32: Final = struct.Struct(">I")
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
#: A sample table has 4 to 8 bytes per frame in three places: 10^7 frames fit; more is no moov of ours.
_MAX_TABLE_BYTES: Final = 256 << 20


class SampleCounter:
    """Counts the frames of one MP4 while another process writes it; each call reads only what is new.

    Parameters
    ----------
    path : Path
        The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._position = 0
        self._announced = 0
        self._tables = 0
        #: Frames that can be decoded from the first :attr:`end_bytes` bytes.
        self.samples = 0
        #: End of the last box that was wholly there and made these frames decodable.
        self.end_bytes = 0
        #: Whether fragments were seen; a plain file has none outside its one large ``mdat``.
        self.fragments = 0

    def count(self) -> int:
        """The number of frames that can be decoded from the file as it is now."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
        size_bytes = os.fstat(self._fd).st_size
        while box := _box_at(self._fd, self._position, size_bytes):
            kind, body, end = box
            self._take(kind, body, end)
            self._position = end
        return self.samples

    def _take(self, kind: bytes, body: int, end: int) -> None:
        if kind == b"moov":
            self._tables += 1
            content = _read(self._fd, body, end)
            samples = sum(_U32.unpack_from(b, 8)[0] for b in _find(content, b"stsz"))
            if self._tables == 1 and _first_chunk(content) >= body:
                self._announced = samples  # its mdat comes next
            else:
                self.samples, self._announced, self.end_bytes = samples, 0, end
        elif kind == b"moof":
            self.fragments += 1
            content = _read(self._fd, body, end)
            self._announced = sum(_U32.unpack_from(b, 4)[0] for b in _find(content, b"trun"))
        elif kind == b"mdat" and self._tables:
            self.samples += self._announced
            self._announced, self.end_bytes = 0, end

    def sync(self) -> None:
        """What was counted so far is on the disk and survives a loss of power."""
        if self._fd >= 0:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file; the counts stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def cut(path: Path) -> int:
    """The file ends with its last whole frame; returns the number of its frames.

    For a piece whose ffmpeg was killed. A finished file is left as it is.
    """
    counter = SampleCounter(path)
    try:
        frames = counter.count()
        if path.stat().st_size > counter.end_bytes:
            os.truncate(path, counter.end_bytes)
    finally:
        counter.close()
    return frames


def is_plain(path: Path) -> bool:
    """Whether the file has one table of all samples: an ordinary MP4, complete."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes, position, kinds = os.fstat(fd).st_size, 0, []
        while box := _box_at(fd, position, size_bytes):
            kind, _, position = box
            if kind == b"moof":
                return False
            kinds.append(kind)
        return position == size_bytes and b"moov" in kinds and b"mdat" in kinds
    finally:
        os.close(fd)


def _box_at(fd: int, position: int, size_bytes: int) -> tuple[bytes, int, int] | None:
    """(type, start of body, end) of the box at ``position`` if it is wholly within the file."""
    head = os.pread(fd, 16, position)
    if len(head) < 8:
        return None
    length, kind = _SIZE_TYPE.unpack_from(head)
    header = 8
    if length == 1 and len(head) == 16:
        length, header = _LARGE_SIZE.unpack_from(head, 8)[0], 16
    if length < header or position + length > size_bytes:
        return None
    return kind, position + header, position + length


def _read(fd: int, start: int, end: int) -> bytes:
    return os.pread(fd, min(end - start, _MAX_TABLE_BYTES), start)


def _find(content: bytes, wanted: bytes) -> Iterator[bytes]:
    """Bodies of all boxes of one type, however deep they lie in containers."""
    at = 0
    while at + 8 <= len(content):
        length, kind = _SIZE_TYPE.unpack_from(content, at)
        if length < 8 or at + length > len(content):
            return
        body = content[at + 8 : at + length]
        if kind == wanted:
            yield body
        elif kind in _CONTAINERS:
            yield from _find(body, wanted)
        at += length


def _first_chunk(moov: bytes) -> int:
    """Where the samples of this table begin in the file; 0 if it has none."""
    for kind, width in ((b"stco", ">I"), (b"co64", ">Q")):
        for body in _find(moov, kind):
            if _U32.unpack_from(body, 4)[0]:
                return int(struct.unpack_from(width, body, 8)[0])
    return 0
