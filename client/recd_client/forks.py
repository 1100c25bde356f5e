"""What happens to handles when a process forks, and when it ends.

A forked child inherits the memory of rings and a copy of the control connection, but owns neither: it
must not write, ring, close a session or finish a file. So every handle is told, once, in the child;
looking at the process id in each call would cost a system call per sample.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Protocol

#: How long the recorders that a program left open may take, together, when it ends.
EXIT_BUDGET_S = 5.0


class _Handle(Protocol):
    def after_fork(self) -> None: ...


class _Closable(Protocol):
    def close(self, timeout: float | None = None) -> object: ...


_handles: weakref.WeakSet[_Handle] = weakref.WeakSet()
#: Strong: a recorder that nobody refers to any more is still to be closed.
_open: dict[int, _Closable] = {}


def track(handle: _Handle) -> None:
    """Have ``handle.after_fork()`` called in each child that is forked from now on."""
    _handles.add(handle)


def close_at_exit(recorder: _Closable) -> None:
    """Have the recorder closed when the program ends."""
    _open[id(recorder)] = recorder


def closed(recorder: _Closable) -> None:
    """Undo :func:`close_at_exit`."""
    _open.pop(id(recorder), None)


def _in_child() -> None:
    _open.clear()
    for handle in list(_handles):
        handle.after_fork()


def _at_exit() -> None:
    deadline_s = time.monotonic() + EXIT_BUDGET_S
    for recorder in list(_open.values()):
        recorder.close(timeout=max(0.0, deadline_s - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
