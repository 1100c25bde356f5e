"""Helpers for tests: waiting for a condition, and finding the processes of a runtime directory."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from recd_client.process import start_ticks

T = TypeVar("T")

#: In front of what runs in a process of its own (``python -c``): the modules beside this one are found.
FIND = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"


def wait_until(condition: Callable[[], T], *, timeout_s: float = 60.0) -> T:
    """Poll until ``condition`` returns something true, and return that.

    Asking takes half of a core at most: what is waited for may need it, as when all processes are looked at each time.

    Raises
    ------
    TimeoutError
        It did not within ``timeout_s``: a bound for tests that hang, not a promise about speed.
    """
    deadline = time.monotonic() + timeout_s
    asked = time.thread_time()
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {getattr(condition, '__qualname__', condition)}")
        time.sleep(max(time.thread_time() - asked, 0.005))
        asked = time.thread_time()
    return found


def readable(file: IO[Any], timeout_s: float = 0.0) -> bool:
    """Whether there is something to read. Not by ``select``, which takes no descriptor beyond 1,023."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(timeout_s * 1e3))


def processes_of(runtime: Path) -> dict[int, str]:
    """Living processes with this runtime directory in their environment: pid and command line."""
    wanted = f"RECD_RUNTIME_DIR={runtime}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = wanted in (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # another user's, or gone by now
            continue
        if ours and start_ticks(int(process.name)):
            found[int(process.name)] = command.strip()
    return found


def exit_code_of_child(do: Callable[[], None]) -> int:
    """Fork, run ``do`` in the child, and return its exit code: 0 if it returned, 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
