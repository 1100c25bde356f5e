"""A guest's own side: what runs in the child process until its worker hangs up."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, Protocol

from .wire import Wire

_PR_SET_PDEATHSIG: Final = 1


class Handler(Protocol):
    """Answers the requests of a worker."""

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """The answer, of what JSON can hold; whatever this raises is the answer too."""
        ...

    def leave(self) -> None:
        """The worker hung up."""
        ...


def main(fd: int, nice: int, parent: int, program: str) -> None:
    """Be the guest of a worker: answer what comes over the socket ``fd``, until it closes."""
    _die_with(parent)
    os.nice(nice)
    # Python puts the current directory first on its path, which a guest may change and user code looks into.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", "/")]
    module, _, factory = program.partition(":")
    make: Callable[[], Handler] = getattr(importlib.import_module(module), factory)
    serve(Wire(socket.socket(fileno=fd)), make())


def serve(wire: Wire, handler: Handler) -> None:
    """Answer requests until the other side hangs up."""
    while (message := wire.receive()) is not None:
        header, raw = message
        try:
            answer = handler.handle(str(header.get("op")), header, raw) or {}
        except BaseException as e:  # user code may raise anything, SystemExit too
            answer = {"error": {"what": what(e), "trace": trace(e)}}
            del e
        wire.send(answer)
    handler.leave()


def what(error: BaseException) -> str:
    """Class and message of an exception, in a line."""
    return "".join(traceback.format_exception_only(error)).strip()


def trace(error: BaseException) -> str:
    """The traceback of an exception, without recd's own frames at its beginning, and those of an import."""
    tb, ours = error.__traceback__, os.path.dirname(__file__)
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if os.path.dirname(file) != ours and not file.startswith(("<frozen importlib", importlib.__file__)):
            break
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb)).strip()


def _die_with(parent: int) -> None:
    """Ask the kernel for a SIGKILL when the worker dies, also if it did just now."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
