"""Finding the chunks of a segment file that may be damaged: the next one that proves itself.

A header proves itself by its checksum; found by searching, it also needs a body whose checksum holds, as a
sample may contain anything, the bytes of a log too.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from recd_client import layout

from .chunks import HEADER_BYTES, MAGIC, ChunkInfo

_MAGIC: Final = MAGIC.to_bytes(4, "little")
_MAGIC_OFFSET: Final = 4
_BLOCK_BYTES: Final = 1 << 20
#: Smallest stretch that a disk fails to read.
_SECTOR_BYTES: Final = 4096


class Found(NamedTuple):
    """A chunk in a segment file."""

    offset: int
    info: ChunkInfo

    @property
    def behind(self) -> int:
        """Offset behind it."""
        return self.offset + HEADER_BYTES + self.info.body_bytes


def read_at(fd: int, size_bytes: int, offset: int) -> bytes:
    """The bytes there, as many as there are; none where the disk cannot read them."""
    try:
        return os.pread(fd, size_bytes, offset)
    except OSError as e:
        if e.errno != errno.EIO:
            raise
        return b""


def header_at(fd: int, offset: int) -> ChunkInfo | None:
    """The header that stands there, if one does."""
    return ChunkInfo.unpack(read_at(fd, HEADER_BYTES, offset))


def whole_at(fd: int, offset: int) -> Found | None:
    """The chunk that stands there, if its header and its body prove themselves."""
    info = header_at(fd, offset)
    if info is None or offset + HEADER_BYTES + info.body_bytes > os.fstat(fd).st_size:
        return None
    body = read_at(fd, info.body_bytes, offset + HEADER_BYTES)
    return Found(offset, info) if zlib.crc32(body) == info.body_crc32 else None


def find(fd: int, offset: int, position: int) -> Found | None:
    """The first whole chunk behind ``offset`` whose records stand at or behind ring position ``position``."""
    damaged = header_at(fd, offset)
    # Where a header is sound, its body is not searched.
    at = offset + layout.ALIGN_BYTES if damaged is None else Found(offset, damaged).behind
    size_bytes = os.fstat(fd).st_size
    while at + HEADER_BYTES <= size_bytes:
        sector = _SECTOR_BYTES - at % _SECTOR_BYTES
        block = read_at(fd, _BLOCK_BYTES, at) or read_at(fd, sector, at)
        if not block:
            at += sector
            continue
        hit = block.find(_MAGIC)
        while hit >= 0:
            start = at + hit - _MAGIC_OFFSET
            if start % layout.ALIGN_BYTES == 0:
                found = whole_at(fd, start)
                if found is not None and found.info.begin >= position:
                    return found
            hit = block.find(_MAGIC, hit + 1)
        # A header stands on a line of its own: its magic is never cut by a block's end.
        at += max(len(block) // layout.ALIGN_BYTES, 1) * layout.ALIGN_BYTES
    return None


def scan(fd: int, position: int) -> Iterator[Found]:
    """Every whole chunk of a segment that begins at ``position``, in order."""
    offset = 0
    while (found := whole_at(fd, offset) or find(fd, offset, position)) is not None:
        yield found
        offset, position = found.behind, found.info.end


def is_torn(fd: int, offset: int) -> bool:
    """Whether one append that was cut short explains everything behind ``offset``: nothing else is there."""
    rest = os.fstat(fd).st_size - offset
    info = header_at(fd, offset)
    if rest < HEADER_BYTES or info is not None:
        return info is None or rest < HEADER_BYTES + info.body_bytes
    # A loss of power leaves zeros where a file had grown already.
    blocks = range(offset, offset + rest, _BLOCK_BYTES)
    return not any(read_at(fd, _BLOCK_BYTES, at).strip(b"\0") for at in blocks)
