"""What a daemon holds: counted before and after many deaths, to find what was not given back."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from killing import daemon_pid
from recd_client.control import Caller
from recd_client.shm import PREFIX, SHM_DIR, runtime_tag
from support import processes_of, wait_until

#: Threads that wait for files (``asyncio.to_thread``): they come with use, and stay.
_POOL = 8


@dataclass(frozen=True)
class Census:
    """Everything that can leak.

    Parameters
    ----------
    shared : tuple of str
        Names in ``/dev/shm``.
    descriptors : tuple of str
        What the supervisor has open, without the numbers that tell one socket from the next.
    threads : int
        Of the supervisor.
    processes : tuple of str
        Who belongs to the runtime directory, zombies among them.
    """

    shared: tuple[str, ...]
    descriptors: tuple[str, ...]
    threads: int
    processes: tuple[str, ...]

    def more_than(self, before: Census) -> list[str]:
        """What is there that was not there before; of threads, more than the pool may have."""
        new = Counter((*self.shared, *self.descriptors, *self.processes))
        new.subtract((*before.shared, *before.descriptors, *before.processes))
        threads = max(self.threads - max(before.threads, _POOL), 0)
        return [*new.elements(), *["thread"] * threads]

    @classmethod
    def of(cls, runtime: Path, daemon: int) -> Census:
        """Count now."""
        opened = sorted(_descriptor(f) for f in Path(f"/proc/{daemon}/fd").iterdir())
        tasks = len(os.listdir(f"/proc/{daemon}/task"))
        commands = sorted(c for pid, c in processes_of(runtime).items() if pid != os.getpid())
        return cls(shared_names(runtime), tuple(opened), tasks, (*map(_kind, commands), *zombies(daemon)))

    @classmethod
    def when_idle(cls, runtime: Path) -> Census:
        """Count once the daemon has no session, and nothing changes any more."""
        wait_until(lambda: not _sessions(runtime))
        daemon, found = daemon_pid(runtime), [cls.of(runtime, daemon_pid(runtime))]

        def settled() -> bool:
            time.sleep(0.05)
            found.append(cls.of(runtime, daemon))
            return found[-1] == found[-2]

        wait_until(settled)
        return found[-1]


def leaks_since(before: Census, runtime: Path) -> list[str]:
    """What is left over for good; waits for what is only on its way out."""
    with suppress(TimeoutError):
        wait_until(lambda: not _sessions(runtime))
    if sessions := _sessions(runtime):
        return [f"session {session}" for session in sessions]
    daemon, left = daemon_pid(runtime), ["nobody looked yet"]

    def gone() -> bool:
        left[:] = Census.of(runtime, daemon).more_than(before)
        return not left

    with suppress(TimeoutError):
        wait_until(gone)
    return left


def shared_names(runtime: Path) -> tuple[str, ...]:
    """Rings and doorbells of this runtime directory."""
    return tuple(sorted(p.name for p in SHM_DIR.glob(f"*{PREFIX}-{runtime_tag(runtime)}-*")))


def zombies(daemon: int) -> Iterator[str]:
    """Dead children that the daemon's processes did not collect."""
    ours = {daemon}
    for _ in range(3):  # children of children: the fork server's workers
        ours |= {pid for pid, parent, _ in _table() if parent in ours}
    return iter(
        sorted(f"zombie {name}" for pid, _, name in _table() if pid in ours and name.startswith("Z "))
    )


def _table() -> list[tuple[int, int, str]]:
    """Pid, parent, and state with name of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        found.append(
            (int(path.parent.name), int(parent), f"{state} {text[text.index('(') : text.rindex(')')]}")
        )
    return found


def _descriptor(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:  # the listing's own
        return ""
    return target.split(":[")[0]


def _kind(command: str) -> str:
    for word in ("forkserver", "resource_tracker", "ffmpeg", "recd start"):
        if word in command:
            return word
    return command


def _sessions(runtime: Path) -> list[str]:
    caller = Caller(runtime / "recd.sock", role="cli")
    try:
        return [s["session"] for s in caller.call("status")["sessions"]]
    finally:
        caller.close()
