"""Deflate in several threads, for :mod:`zipfile`; what does not shrink is stored.

Pieces of a megabyte are compressed each by itself and end on a byte, so they can be put one behind the
other (as pigz does). Measured per core, level 1 against level 6, which numpy takes:

==========================  ===================  ===================
what                        level 1              level 6
==========================  ===================  ===================
float64 noise               96.4 %,  41 MB/s     96.1 %,  37 MB/s
a sine with a little noise  94.9 %,  42 MB/s     94.4 %,  36 MB/s
values held for ten steps   11.3 %, 406 MB/s     10.9 %, 233 MB/s
contact flags               10.1 %, 295 MB/s      6.2 %,  53 MB/s
times                       24.4 %, 163 MB/s     29.2 %,  24 MB/s
whole numbers               27.0 %, 169 MB/s     24.4 %,  29 MB/s
==========================  ===================  ===================

So level 1 it is; and a piece whose beginning does not shrink by a tenth is stored, at 6,000 MB/s.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from concurrent.futures import Future
from typing import Final

import numpy as np

from ..ahead import Helpers

#: The most that is compressed at a time.
PIECE_BYTES: Final = 1 << 20
#: How many threads compress, at most.
THREADS: Final = min(4, os.cpu_count() or 1)
_LEVEL: Final = 1
#: By so much of its beginning a piece is judged.
_PROBE_BYTES: Final = 8 << 10
_WORTH_IT: Final = 0.9
#: Of deflate: a stored block's head (not the last one; its length and that inverted), its most bytes, and an
#: empty block that says that it is the last.
_HEAD: Final = struct.Struct("<BHH")
_BLOCK_BYTES: Final = 0xFFFF
_END: Final = b"\x03\x00"


class _Room:
    """Memory for a piece and what it becomes; used again, as what the system gives anew, it clears first."""

    def __init__(self) -> None:
        blocks = PIECE_BYTES // _BLOCK_BYTES + 1
        self._piece = np.empty(PIECE_BYTES, np.uint8).data
        self._blocks = np.empty(PIECE_BYTES + blocks * _HEAD.size, np.uint8).data
        self._size_bytes = 0

    def fill(self, data: memoryview) -> None:
        """Take a piece."""
        self._size_bytes = len(data)
        self._piece[: len(data)] = data

    def deflated(self) -> memoryview:
        """The piece as blocks of deflate; there until the next one is taken."""
        piece = self._piece[: self._size_bytes]
        if not _shrinks(piece):
            return self._stored(piece)
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return memoryview(deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH))

    def _stored(self, piece: memoryview) -> memoryview:
        end = 0
        for at in range(0, len(piece), _BLOCK_BYTES):
            block = piece[at : at + _BLOCK_BYTES]
            _HEAD.pack_into(self._blocks, end, 0, len(block), len(block) ^ 0xFFFF)
            begin, end = end + _HEAD.size, end + _HEAD.size + len(block)
            self._blocks[begin:end] = block
        return self._blocks[:end]


class Deflater:
    """Takes the place of the compressor of an entry of a :class:`zipfile.ZipFile`, and then of the next one's.

    Parameters
    ----------
    helpers : Helpers
        The threads that compress.
    """

    def __init__(self, helpers: Helpers) -> None:
        self._helpers = helpers
        self._deflating: deque[tuple[_Room, Future[memoryview]]] = deque()
        self._free: list[_Room] = []
        self._leaving: _Room | None = None

    def compress(self, data: memoryview | bytes) -> memoryview | bytes:
        """Take a piece; returns one that was taken before, to be written before the next call."""
        if self._leaving is not None:
            self._free.append(self._leaving)
            self._leaving = None
        room = self._free.pop() if self._free else _Room()
        room.fill(memoryview(data))
        self._deflating.append((room, self._helpers.submit(room.deflated)))
        if len(self._deflating) <= THREADS + 1:
            return b""
        self._leaving, deflated = self._deflating.popleft()
        return deflated.result()

    def flush(self) -> bytes:
        """The rest."""
        rest = b"".join(deflated.result() for _, deflated in self._deflating)
        self._free += [room for room, _ in self._deflating]
        self._deflating.clear()
        return rest + _END


def _shrinks(piece: memoryview) -> bool:
    """Whether compressing is worth its time."""
    probe = piece[:_PROBE_BYTES]
    return len(probe) < _PROBE_BYTES or len(zlib.compress(probe, _LEVEL)) < _WORTH_IT * len(probe)
