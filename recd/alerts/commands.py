"""Commands that alerts run: one at a time, each for a bounded time; what becomes of them stops nobody."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from .rule import Firing

TIMEOUT_S: Final = 60.0
#: So many wait for their turn; more are left out, which is told.
_MOST_WAITING: Final = 16
_PR_SET_PDEATHSIG: Final = 1
_LOOK_S: Final = 0.02
_STDERR: Final = 2

_libc = ctypes.CDLL(None)


class Commands:
    """Runs the commands of firings; used by one thread, which calls :meth:`step` now and then.

    What they print goes to standard error.

    Parameters
    ----------
    timeout_s : float
        One that runs longer is killed, with all processes of its group.
    tell : callable
        Is given a line for people, of what went wrong.
    directory : Path, optional
        In which they run; default: this process's.
    """

    def __init__(
        self, timeout_s: float, tell: Callable[[str], object], directory: Path | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._tell = tell
        self._directory = directory
        self._waiting: deque[Firing] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._command = ""
        self._end_s = 0.0

    def add(self, firing: Firing) -> None:
        """Run the firing's command, if it has one, once those before it have ended."""
        if firing.rule.command is None:
            return
        if len(self._waiting) == _MOST_WAITING:
            self._tell(f"command {firing.rule.command!r} is left out: {_MOST_WAITING} wait already")
            return
        self._waiting.append(firing)
        self.step()

    def step(self) -> bool:
        """Look after the one that runs, and start the next; whether there is anything left to do."""
        if self._process is not None:
            code = self._process.poll()
            if code is None and time.monotonic() < self._end_s:
                return True
            if code is None:
                self._tell(
                    f"command {self._command!r} was killed: it ran for more than {self._timeout_s:g} s"
                )
                self._kill()
            elif code:
                how = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
                self._tell(f"command {self._command!r} failed: {how}")
            self._process = None
        while self._process is None and self._waiting:
            self._start(self._waiting.popleft())
        return self._process is not None

    def finish(self, over: Callable[[], bool]) -> None:
        """Wait until all have ended, each within its time, or until ``over()``."""
        while self.step() and not over():
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Nothing runs any more."""
        self._waiting.clear()
        self._kill()
        self._process = None

    def _start(self, firing: Firing) -> None:
        self._command = str(firing.rule.command)
        try:
            self._process = subprocess.Popen(
                self._command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                cwd=self._directory,
                env={**os.environ, **firing.environment()},
                start_new_session=True,  # so that it can be killed with all that it starts
                preexec_fn=_die_with_parent,
            )
        except OSError as e:
            self._tell(f"command {self._command!r} cannot be started: {e.strerror or e}")
        self._end_s = time.monotonic() + self._timeout_s

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
