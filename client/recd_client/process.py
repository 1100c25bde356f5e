"""Who a process is: a pid is reused, a pid with its start time is not."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if there is no such process (or a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = stat[stat.rindex(b")") + 2 :].split()  # a name may hold anything, blanks and brackets too
    return 0 if fields[0] in b"ZX" else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether the very process that started at ``ticks`` still runs."""
    return pid > 0 and ticks != 0 and start_ticks(pid) == ticks


class Watch:
    """Tells, as often as it is asked and for next to nothing, whether that very process still runs."""

    def __init__(self, pid: int, ticks: int) -> None:
        self._who = (pid, ticks)
        self._poll: select.poll | None = None
        self._fd = -1
        with suppress(OSError):
            self._fd = os.pidfd_open(pid)
            # Only now: the descriptor stands for whoever has the number, and from here on for nobody else.
            if is_alive(pid, ticks):
                self._poll = select.poll()
                self._poll.register(self._fd, select.POLLIN)

    def is_alive(self) -> bool:
        """Whether it runs."""
        if self._poll is None:
            return is_alive(*self._who)
        return not self._poll.poll(0)

    def close(self) -> None:
        """Let go of the process's descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._poll = -1, None


def boot_id() -> bytes:
    """16 bytes that change with each boot of the machine (zeros where the kernel does not tell)."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except OSError:
        return bytes(16)


def runtime_dir() -> Path:
    """Where the daemon's socket, lock and log live: ``RECD_RUNTIME_DIR``, else per user."""
    given = os.environ.get("RECD_RUNTIME_DIR")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.access(base, os.W_OK):
        return Path(base) / "recd"
    import tempfile

    return Path(tempfile.gettempdir()) / f"recd-{os.getuid()}"


def socket_path() -> Path:
    """The daemon's control socket."""
    return runtime_dir() / "recd.sock"
