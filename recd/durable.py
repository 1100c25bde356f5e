"""Files and names that survive a loss of power.

An ``fsync`` of a file makes its content durable, not its name: that stands in the directory, and the
directory's own name in the one above. Once an ``fsync`` failed, the kernel may have dropped what it could
not write, and would report success the next time: such a file is not asked again, but copied to a new one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Final, Protocol

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


def make_directories(path: Path, mode: int = 0o777) -> None:
    """The directory is there, and so it is after a loss of power, with all that were made above it.

    Raises
    ------
    FileExistsError
        Something of that name is there that is no directory.
    """
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


def sync_file(path: Path) -> None:
    """What is in the file is durable."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def rename_new(source: Path, target: Path) -> None:
    """The file has another name, under which there was none: at no moment one that comes in between is replaced.

    Where the file system (or the C library) cannot promise that, only one that is there already is safe.

    Raises
    ------
    FileExistsError
        There is one.
    """
    code = errno.ENOSYS
    if hasattr(_libc, "renameat2"):
        names = os.fsencode(source), os.fsencode(target)
        if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), str(target))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def renew(path: Path) -> None:
    """A synced copy is in the file's place, with its name; whoever has the old one open keeps that."""
    replace_by_copy(path)
    sync_directory(path.parent)


def replace_by_copy(path: Path) -> None:
    """A synced copy is in the file's place; its name is still to be synced."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copyfile(path, copy)
    sync_file(copy)
    os.rename(copy, path)


class CanSync(Protocol):
    """A file, or a log."""

    def sync_in_place(self) -> None:
        """It is durable as it was when this was called; from any thread."""


class Syncer:
    """Makes one file durable, and its name; one thread at a time, so that none believes what another was refused.

    Parameters
    ----------
    path : Path
        Need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Whether an ``fsync`` failed, and the file was not replaced since.
        self.distrusted = False
        self._named = False
        self._syncing = threading.Lock()

    def sync(self) -> bool:
        """The file, if there is one, is durable; whether it is a new one, so that it must be opened again.

        Raises
        ------
        OSError
            It is not; the next call puts a copy in its place.
        """
        with self._syncing:
            if not self.distrusted or not self.path.exists():
                self._sync()
                return False
            renew(self.path)
            self.distrusted, self._named = False, True
            return True

    def sync_in_place(self) -> None:
        """The file, if there is one, is durable and still the same, so that another thread may write to it.

        Raises
        ------
        OSError
            It is not; only :meth:`sync` helps.
        """
        with self._syncing:
            if self.distrusted:
                raise OSError(errno.EIO, "a sync failed before", str(self.path))
            self._sync()

    def _sync(self) -> None:
        try:
            sync_file(self.path)
            if not self._named:
                sync_directory(self.path.parent)
                self._named = True
        except FileNotFoundError:
            return
        except OSError:
            self.distrusted = True
            raise


def sync_directory(path: Path) -> None:
    """Make renames, new and deleted names in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
