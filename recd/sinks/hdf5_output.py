"""The file that HDF5 writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Output:
    """A file that never fails, for HDF5; its first error is raised when it is left.

    HDF5 that cannot write what it holds (the disk is full) does not end well: its close raises errors
    without a number, and in old versions the process crashes. So it writes here, is told that all is
    well, and can close. It also leaves the descriptor close-on-exec, which HDF5's own files are not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        #: Bytes that HDF5 is given in place of others: where it would put them is noted, no more.
        self.placeholder: NDArray[Any] | None = None
        self.places: list[int] = []

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def check(self) -> None:
        """Raise what went wrong, with the number and the name of the file."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            self._error = self._error or e

    def put(self, data: memoryview, offset: int) -> None:
        """Write past HDF5, once it has let go of the file."""
        while data:
            done = os.pwrite(self._file.fileno(), data, offset)
            data, offset = data[done:], offset + done

    # What HDF5 calls:

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()

    def readinto(self, data: memoryview) -> int:
        """Fill ``data``; with zeros where nothing was written."""
        view = memoryview(data)  # h5py's own kind of memoryview lacks slice assignment in old versions
        done = 0
        with self._noting():
            done = self._file.readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)

    def write(self, data: memoryview) -> int:
        """Write all of ``data``, or note why not."""
        if self.placeholder is not None and _same_memory(data, self.placeholder):
            self.places.append(self._file.tell())
            return len(data)
        rest = memoryview(data)
        with self._noting():
            while rest:
                rest = rest[self._file.write(rest) :]
        return len(data)

    def truncate(self, size_bytes: int) -> int:
        """Set the length, or note why not."""
        with self._noting():
            self._file.truncate(size_bytes)
        return size_bytes

    def flush(self) -> None:
        """Nothing is held back."""


def _same_memory(data: memoryview, array: NDArray[Any]) -> bool:
    return len(data) == array.nbytes and np.frombuffer(data, np.uint8).ctypes.data == array.ctypes.data
