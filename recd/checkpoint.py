"""Small state that survives a kill between any two system calls.

A file of three slots, each written with one ``pwrite``; of those that are whole, the newest counts. (The
double-buffered superblock of many file systems, with a slot more.) ::

    slot, 4096 bytes: | crc32 u32 | length u32 | generation u64 | JSON | zeros |

What is written is never the newest slot, which stands if a kill tears the write; and never the one that was
synced last: of the others, a loss of power may leave anything.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .durable import Syncer

_SLOT_BYTES: Final = 4096
_SLOTS: Final = 3
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
        #: Generation in each slot.
        self._slots = [0] * _SLOTS
        self._durable = (
            -1
        )  # the slot that was synced last; after loading, nothing better is known than the newest
        self._choosing = threading.Lock()

    def load(self) -> dict[str, Any] | None:
        """The newest whole state, None if there is none."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        best: dict[str, Any] | None = None
        synced = self._slots[self._durable] if self._durable >= 0 else 0
        self._generation, self._last, self._slots, self._durable = 0, None, [0] * _SLOTS, -1
        for number in range(_SLOTS):
            slot = raw[number * _SLOT_BYTES : (number + 1) * _SLOT_BYTES]
            if len(slot) < _HEAD.size:
                continue
            crc, length, generation = _HEAD.unpack_from(slot)
            body = slot[_HEAD.size : _HEAD.size + length]
            if len(body) < length or zlib.crc32(slot[4 : _HEAD.size] + body) != crc:
                continue
            self._slots[number] = generation
            if generation > self._generation:
                self._generation, self._last, self._durable, best = generation, body, number, json.loads(body)
        if synced in self._slots[:] and synced:  # loaded again: what was synced is still known
            self._durable = self._slots.index(synced)
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
        with self._choosing:
            taken = (self._durable, self._newest)
            number = min((n for n in range(_SLOTS) if n not in taken), key=self._slots.__getitem__)
            self._slots[number] = 0  # until it is whole
            if os.pwrite(self._fd, slot, number * _SLOT_BYTES) < len(slot):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._slots[number] = generation
            self._generation, self._last = generation, body

    @property
    def _newest(self) -> int:
        return self._slots.index(self._generation) if self._generation else -1

    def sync(self) -> None:
        """Make the newest state durable; also what a worker before has written."""
        with self._synced():
            if self.syncer.sync():
                self.close()

    def sync_in_place(self) -> None:
        """Make the newest state durable; from any thread."""
        with self._synced():
            self.syncer.sync_in_place()

    @contextmanager
    def _synced(self) -> Iterator[None]:
        with self._choosing:
            number, generation = self._newest, self._generation
        yield
        with self._choosing:
            if self._slots[number] == generation:  # else two saves came in between, and it was written over
                self._durable = number

    @property
    def deleted(self) -> bool:
        """Whether somebody has deleted the file since it was opened."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
