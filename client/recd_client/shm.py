"""Named shared-memory segments and semaphores; the only importer of ``posix_ipc``.

Names: ``/recd-<runtime>-<session>-<stream>`` for rings, ``/recd-<runtime>-<session>-<group>`` for
doorbells; ``<runtime>`` is a hash of the runtime directory's device and inode, so that daemons side
by side never touch each other's.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

try:
    import posix_ipc
except ImportError:  # pragma: no cover - other platforms: the import works, the Recorder says what is missing
    posix_ipc = None

from . import layout
from .errors import RingDamagedError, SharedMemoryFullError, UnsupportedPlatformError

PREFIX: Final = "recd"
SHM_DIR: Final = Path("/dev/shm")
_NO_ROOM: Final = (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG)


def check_platform() -> None:
    """Raise a clear error where recording cannot work."""
    import sys

    missing = [
        what
        for what, present in (
            ("Linux", sys.platform == "linux"),
            ("the package posix_ipc", posix_ipc is not None),
            ("pidfd (Linux 5.3)", hasattr(os, "pidfd_open")),
            ("a little-endian machine", sys.byteorder == "little"),
        )
        if not present
    ]
    if missing:
        raise UnsupportedPlatformError(
            f"recording needs {', '.join(missing)}", "run the simulation on Linux, in a container if need be"
        )


def runtime_tag(runtime: Path) -> str:
    """Eight hex digits that tell this runtime directory from any other on the machine."""
    st = runtime.stat()
    return f"{crc32(f'{st.st_dev}:{st.st_ino}'.encode()):08x}"


class Segment:
    """A mapped ring segment; :meth:`close` unmaps, :meth:`unlink` removes the name."""

    def __init__(self, name: str, memory: mmap.mmap) -> None:
        self.name = name
        self.memory = memory

    @classmethod
    def create(cls, name: str, capacity_bytes: int, geometry: dict[str, Any]) -> Segment:
        """Make the segment, whole or not at all.

        Raises
        ------
        SharedMemoryFullError
            /dev/shm lacks the room; names needed and available bytes. Nothing is left behind.
        FileExistsError
            There is a segment of that name; it stays as it is.
        """
        from .segment import format_segment

        size = layout.segment_bytes(capacity_bytes)
        try:
            shm = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600)
        except posix_ipc.ExistentialError:
            raise FileExistsError(errno.EEXIST, "shared memory of that name exists", name) from None
        try:
            _allocate(shm.fd, size)
            memory = mmap.mmap(shm.fd, size)  # of which this process writes one page: the others fill it
            format_segment(memory, capacity_bytes=capacity_bytes, **geometry)
        except BaseException:
            posix_ipc.unlink_shared_memory(name)
            raise
        finally:
            shm.close_fd()
        return cls(name, memory)

    @classmethod
    def open(cls, name: str, *, read_only: bool = False) -> Segment:
        """Map an existing segment; ``read_only``: for those who only look on.

        Raises
        ------
        FileNotFoundError
            It is gone.
        RingDamagedError
            It is too small to be a ring.
        """
        try:
            shm = posix_ipc.SharedMemory(name, read_only=read_only)
        except posix_ipc.ExistentialError:
            raise FileNotFoundError(errno.ENOENT, "no such shared memory", name) from None
        try:
            size = os.fstat(shm.fd).st_size
            if size < layout.DATA_OFFSET + layout.MIN_CAPACITY_BYTES:
                raise RingDamagedError(f"segment {name} has only {size} bytes", "it was set aside")
            return cls(name, _map(shm.fd, size, read_only))
        finally:
            shm.close_fd()

    def close(self) -> bool:
        """Unmap; False while somebody still holds a view (a claimed array), then call again."""
        try:
            self.memory.close()
        except BufferError:
            return False
        return True

    def unlink(self) -> None:
        """Remove the name; whoever has it mapped keeps the memory."""
        unlink_segment(self.name)


def _allocate(fd: int, size: int) -> None:
    """Take the memory now: a clear error here, or a SIGBUS for whoever touches it later."""
    try:
        os.posix_fallocate(fd, 0, size)
    except (OSError, OverflowError) as e:
        if isinstance(e, OSError) and e.errno not in _NO_ROOM:
            raise
        raise SharedMemoryFullError(
            f"/dev/shm has no room for a ring: {size} bytes needed, {available_bytes()} available",
            "enlarge /dev/shm (docker: --shm-size=1g), or pass a smaller buffer_bytes",
        ) from None


def _map(fd: int, size: int, read_only: bool) -> mmap.mmap:
    # MAP_POPULATE: the first lap through untouched pages costs six times the copy
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | (0 if read_only else mmap.PROT_WRITE))


def unlink_segment(name: str) -> None:
    """Remove a segment's name if it is there."""
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        return


def unlink_session(tag: str, session: str) -> None:
    """Remove every name of a session that is over, whoever made it."""
    for path in SHM_DIR.glob(f"*{PREFIX}-{tag}-{session}-*"):
        if path.name.startswith("sem."):
            unlink_semaphore(f"/{path.name[4:]}")
        else:
            unlink_segment(f"/{path.name}")


def available_bytes() -> int:
    """Free bytes of /dev/shm."""
    st = os.statvfs(SHM_DIR)
    return st.f_bavail * st.f_frsize


def taken_bytes(prefix: str) -> int:
    """Bytes of all segments whose names begin so; those of semaphores begin otherwise."""
    total = 0
    with os.scandir(SHM_DIR) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue
    return total


class Doorbell:
    """A named semaphore that wakes one worker."""

    def __init__(self, name: str, *, create: bool = False) -> None:
        self.name = name
        flags = posix_ipc.O_CREAT if create else 0
        try:
            self._semaphore = posix_ipc.Semaphore(name, flags, mode=0o600, initial_value=0)
        except posix_ipc.ExistentialError:
            raise FileNotFoundError(errno.ENOENT, "no such semaphore", name) from None
        #: Wakes the worker; never blocks.
        self.ring: Callable[[], object] = self._semaphore.release

    def ring_if_open(self) -> None:
        """Wake the worker, unless another thread has let go of the bell."""
        with suppress(posix_ipc.ExistentialError):
            self._semaphore.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait until rung; swallows all rings so far. False after ``timeout_s``, or when a signal came."""
        try:
            self._semaphore.acquire(timeout_s)
        except (posix_ipc.BusyError, posix_ipc.SignalError):
            return False
        try:
            while True:
                self._semaphore.acquire(0)
        except (posix_ipc.BusyError, posix_ipc.SignalError):
            return True

    def close(self) -> None:
        """Let go of it."""
        self._semaphore.close()

    def unlink(self) -> None:
        """Remove the name if it is there."""
        unlink_semaphore(self.name)


def unlink_semaphore(name: str) -> None:
    """Remove a semaphore's name if it is there."""
    try:
        posix_ipc.unlink_semaphore(name)
    except posix_ipc.ExistentialError:
        return
