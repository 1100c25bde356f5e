"""Faults for tests: death or an error at the N-th system call, and what runs jobs without a thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recd import parts
from recd.finisher import Finisher, Job

#: What changes files, or makes changes durable.
CALLS = (
    "open", "pwrite", "pwritev", "write", "ftruncate", "truncate", "rename", "unlink", "fsync", "fdatasync",
    "rename_new",
)  # fmt: skip
_WRITES = ("pwrite", "pwritev", "write")


class Killed(BaseException):
    """The process ends here; nothing in the code under test may catch this."""


@dataclass
class Fault:
    """A fault to come: at which call, counted from 1, and how many there were so far."""

    at: int
    count: int = 0

    @property
    def struck(self) -> bool:
        """Whether it came."""
        return 0 < self.at <= self.count


@contextmanager
def fault(
    at: int,
    error: BaseException,
    *,
    torn: bool = False,
    lasts: bool = False,
    calls: tuple[str, ...] = CALLS,
) -> Iterator[Fault]:
    """The ``at``-th call from now on fails (0: none does).

    Parameters
    ----------
    torn : bool
        If it is a write, half of it is done.
    lasts : bool
        Every later call fails as well, as after a death or while a disk is full.
    """
    state = Fault(at)

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            state.count += 1
            if state.count == at or (lasts and state.struck):
                if torn and state.count == at and name in _WRITES:
                    fd, data, *where = args
                    raw = b"".join(map(bytes, data)) if name == "pwritev" else bytes(data)
                    write = os.write if not where else os_pwrite
                    write(fd, raw[: len(raw) // 2], *where)
                raise error
            return real(*args, **kwargs)

        return call

    os_pwrite = os.pwrite
    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            owner: Any = parts if name == "rename_new" else os
            patch.setattr(owner, name, wrap(name, getattr(owner, name)))
        yield state


@contextmanager
def death(at: int, *, torn: bool = False) -> Iterator[Fault]:
    """The process dies before its ``at``-th call from now on (0: it lives), or in the middle of it."""
    with fault(at, Killed(), torn=torn, lasts=True) as state:
        try:
            yield state
        except Killed:
            return


@contextmanager
def closed_behind(directory: Path) -> Iterator[None]:
    """Close what was opened below ``directory`` in here and stayed open: a death that is only played closes nothing.

    Descriptors from ``os.open`` alone, which is how recd opens what it writes: whoever owns a file object closes it.
    """
    opened: set[int] = set()
    real_open, real_close = os.open, os.close

    def opens(*args: Any, **kwargs: Any) -> int:
        fd = real_open(*args, **kwargs)
        opened.add(fd)
        return fd

    def closes(fd: int) -> None:
        opened.discard(fd)
        real_close(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opens)
        patch.setattr(os, "close", closes)
        try:
            yield
        finally:
            for fd in opened:
                with suppress(OSError):  # it is closed, in another way
                    if Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(directory):
                        real_close(fd)


class InlineFinisher(Finisher):
    """Runs jobs when the test says so, in its own thread."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.jobs: deque[Job] = deque()

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue ``work``."""
        job = Job(work)
        self.jobs.append(job)
        return job

    def step(self) -> bool:
        """Run the next job, if there is one."""
        if not self.jobs:
            return False
        job = self.jobs.popleft()
        job.run()
        if isinstance(job.error, Killed):
            raise job.error
        return True


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def __call__(self) -> int:
        """The time, in nanoseconds."""
        return self.ns

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.ns += int(seconds * 1e9)
