"""A file that is being built is hashed, and brought to the disk, while it is written."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future
from types import TracebackType
from typing import Final, NamedTuple

from ..ahead import Helpers

#: Hashed, and synced, at a time: files below the first need no threads.
_HASH_BYTES: Final = 4 << 20
_SYNC_BYTES: Final = 64 << 20
_READ_BYTES: Final = 256 << 10


class Digest(NamedTuple):
    """What the manifest says of a file's content."""

    sha256: str
    size_bytes: int


class Settling:
    """Follows the writer of a file: what it says it will not touch again is read back, hashed and synced.

    A sync that fails on the way fails the whole file: the kernel may report it only once.

    Parameters
    ----------
    fd : int
        Open for reading too; not closed here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sha = hashlib.sha256()
        self._hashed = self._synced = 0
        self._hashes: list[Future[None]] = []
        self._sync: Future[None] | None = None
        self._hasher, self._syncer = Helpers(1), Helpers(1)

    def __enter__(self) -> Settling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hasher.__exit__()
        self._syncer.__exit__()

    def settle(self, end: int) -> None:
        """Everything before ``end`` stays as it is.

        Raises
        ------
        OSError
            What was written before could not be read back, or not synced.
        """
        if end - self._hashed >= _HASH_BYTES:
            self._hashes.append(self._hasher.submit(self._hash, self._hashed, end))
            self._hashed = end
        if end - self._synced >= _SYNC_BYTES and (self._sync is None or self._sync.done()):
            self._wait()
            self._sync, self._synced = self._syncer.submit(os.fdatasync, self._fd), end

    def finish(self) -> Digest:
        """The whole file stays as it is: it is durable, and this is its digest.

        Raises
        ------
        OSError
            See :meth:`settle`.
        """
        size_bytes = os.fstat(self._fd).st_size
        rest = size_bytes - self._hashed
        if rest >= _HASH_BYTES or self._hashes:
            self._hashes.append(self._hasher.submit(self._hash, self._hashed, size_bytes))
        else:
            self._hash(self._hashed, size_bytes)
        self._wait()
        os.fsync(self._fd)
        for hashed in self._hashes:
            hashed.result()
        return Digest(self._sha.hexdigest(), size_bytes)

    def _wait(self) -> None:
        if self._sync is not None:
            self._sync.result()

    def _hash(self, begin: int, end: int) -> None:
        block = memoryview(bytearray(_READ_BYTES))
        while begin < end:
            got = os.preadv(self._fd, [block[: end - begin]], begin)
            if not got:
                raise EOFError(f"{end - begin} bytes are missing")  # somebody else cut the file
            self._sha.update(block[:got])
            begin += got
