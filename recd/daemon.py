"""The daemon as a process: its one lock, its surroundings, and the supervisor in it until it is stopped."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
import time
from typing import Final

from . import paths
from .guests import consent
from .limits import Limits, raise_descriptors
from .notify import Notifier
from .supervisor import Supervisor

_STAND_BY_S: Final = 0.5


def _taken(lock: int) -> bool:
    """Whether this process holds the daemon's lock now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(*, ready_fd: int | None, allow_code: bool = False) -> int:
    """Be the daemon of this runtime directory until stopped; the foreground body of ``recd start``.

    Writes ``ready`` to ``ready_fd`` once the socket answers, or ``running <pid>`` when another daemon
    holds the lock; a service manager's daemon waits for that one to end, and takes over. Does not return
    to a caller that has threads or children to look after: the process is the daemon.
    """
    runtime = paths.ensure_runtime_dir()
    limits = Limits.of()
    raise_descriptors()

    def tell(message: str) -> None:
        if ready_fd is not None:
            os.write(ready_fd, message.encode() + b"\n")
            os.close(ready_fd)

    notifier = Notifier()
    lock = os.open(paths.lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while not _taken(lock):
        pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "0"
        if not notifier:
            tell(f"running {pid}")
            return 0
        notifier.tell(READY=1, WATCHDOG=1, STATUS=f"waiting for recd (pid {pid}), started elsewhere, to end")
        time.sleep(_STAND_BY_S)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    logging.basicConfig(
        level=os.environ.get("RECD_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s supervisor: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    os.environ["RECD_RUNTIME_DIR"] = str(runtime)
    consent.give(allow_code)
    os.environ["RECD_SERVICE"] = "1" if notifier else ""  # who replaces a dead supervisor, see recd.link
    # Workers move bytes; a pool of BLAS threads per worker would only cost memory and wake-ups.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

    async def serve() -> None:
        await Supervisor(runtime, notifier, limits).run(lambda: tell("ready"))

    asyncio.run(serve())
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # workers that outlive their deadline must not hold the daemon's exit up
