"""Small state that survives a kill between any two system calls.

A file of two slots, written in turn with one ``pwrite`` each: a torn write spoils only the newer
slot, and the older one still stands. (The double-buffered superblock of many file systems.) ::

    slot, 4096 bytes: | crc32 u32 | length u32 | generation u64 | JSON | zeros |
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from .durable import Syncer

_SLOT_BYTES: Final = 4096
_HEAD: Final = struct.Struct("<IIQ")


class Checkpoint:
    """The newest state that :meth:`save` was given; one writer, the worker that holds the group's lock.

    Parameters
    ----------
    path : Path
        Made on the first save.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self.syncer = Syncer(path)
        self._generation = 0
        self._last: bytes | None = None

    def load(self) -> dict[str, Any] | None:
        """The newest whole state, None if there is none."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        best: dict[str, Any] | None = None
        self._generation, self._last = 0, None
        for at in (0, _SLOT_BYTES):
            slot = raw[at : at + _SLOT_BYTES]
            if len(slot) < _HEAD.size:
                continue
            crc, length, generation = _HEAD.unpack_from(slot)
            body = slot[_HEAD.size : _HEAD.size + length]
            whole = len(body) == length and zlib.crc32(slot[4 : _HEAD.size] + body) == crc
            if whole and generation > self._generation:
                self._generation, self._last, best = generation, body, json.loads(body)
        return best

    def save(self, state: dict[str, Any]) -> None:
        """Keep ``state`` with one system call; none when it did not change.

        Raises
        ------
        OSError
            It could not be written whole (disk full, ...); the state before still stands.
        """
        body = json.dumps(state, separators=(",", ":")).encode()
        if body == self._last:
            return
        if len(body) > _SLOT_BYTES - _HEAD.size:
            raise ValueError(f"checkpoint of {len(body)} bytes for {self.path}")
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        generation = self._generation + 1
        rest = struct.pack("<IQ", len(body), generation) + body
        slot = struct.pack("<I", zlib.crc32(rest)) + rest
        if os.pwrite(self._fd, slot, generation % 2 * _SLOT_BYTES) < len(slot):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._generation, self._last = generation, body

    def sync(self) -> None:
        """Make the newest state durable; also what a worker before has written."""
        if self.syncer.sync():
            self.close()

    @property
    def deleted(self) -> bool:
        """Whether somebody has deleted the file since it was opened."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
