"""The keys of a terminal, read as they are pressed; the terminal is as before whatever ends the program.

While keys are read the terminal neither waits for whole lines nor shows what is typed; Ctrl-C and Ctrl-Z work as
ever. Who is killed cannot clean up: so a shell beside this process waits for its end, and then does.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

SPACE, RIGHT, LEFT, UP, DOWN = "space", "right", "left", "up", "down"
PAGE_UP, PAGE_DOWN, HOME = "page up", "page down", "home"
_SEQUENCES: Final = {
    b" ": SPACE,
    **{b"\x1b" + lead + end: key for lead in (b"[", b"O") for end, key in (
        (b"A", UP), (b"B", DOWN), (b"C", RIGHT), (b"D", LEFT), (b"H", HOME))},
    b"\x1b[1~": HOME, b"\x1b[7~": HOME, b"\x1b[5~": PAGE_UP, b"\x1b[6~": PAGE_DOWN,
}  # fmt: skip
#: One key: an escape sequence, or a character.
_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|[^\x1b]", re.DOTALL)
#: A sequence of which the rest is still to come.
_PART: Final = re.compile(rb"\x1b([\[O][0-9;]*)?\Z")
#: Waits until its stdin ends, which it does with us whatever we die of; "done" says that nothing is left to do.
#: What somebody else has set meanwhile, a shell that waits for its next line, is left as it is.
_GUARD: Final = """trap '' HUP INT QUIT TERM TSTP TTIN TTOU
read -r word
[ "$word" = done ] || [ "$(stty -F "$1" -g)" != "$2" ] || stty -F "$1" "$3"
"""


class Keys:
    """Calls a function for each key, while it waits.

    Parameters
    ----------
    press : callable
        Gets the key: one of this module's names, or the character.
    fd : int
        The terminal.
    """

    def __init__(self, press: Callable[[str], None], fd: int = 0) -> None:
        self._press = press
        self._fd = fd
        self._rest = b""
        self._saved: list[Any] = []
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._guard: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}

    # --- waiting -------------------------------------------------------------------------------------
    def wait(self, timeout_s: float | None) -> bool:
        """Return after so many seconds; true as soon as a key was pressed or :meth:`wake` called."""
        ready, _, _ = select.select([self._fd, self._woken], [], [], timeout_s)
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._fd in ready:
            raw = os.read(self._fd, 1024)
            if not raw:  # the terminal is gone
                self._press("q")
            for key in self._split(raw):
                self._press(key)
        return bool(ready)

    def wake(self) -> None:
        """End a wait, from a signal handler or another thread."""
        with suppress(BlockingIOError, OSError):
            os.write(self._wake, b"x")

    def _split(self, raw: bytes) -> list[str]:
        raw, keys = self._rest + raw, []
        part = _PART.search(raw)
        self._rest = part[0] if part else b""
        for found in _KEY.finditer(raw, 0, len(raw) - len(self._rest)):
            keys.append(_SEQUENCES.get(found[0]) or found[0].decode("utf-8", "replace"))
        return keys

    # --- the terminal --------------------------------------------------------------------------------
    @staticmethod
    def are_there(fd: int = 0) -> bool:
        """Whether there is a terminal whose keys are meant for this process."""
        try:
            return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:
            return False

    def __enter__(self) -> Keys:
        self._saved = termios.tcgetattr(self._fd)
        before = self._described()
        self._listen()
        self._guard = self._guarded(self._described(), before)
        for number, handler in ((signal.SIGTSTP, self._stop), (signal.SIGCONT, self._go_on)):
            self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._restore()
        if self._guard is not None:
            self._guard.communicate(b"done\n")
        os.close(self._woken)
        os.close(self._wake)

    def _listen(self) -> None:
        """Have each key at once, and unseen."""
        mode = termios.tcgetattr(self._fd)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)

    def _restore(self) -> None:
        with suppress(termios.error, OSError):  # the terminal is gone
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the terminal is the shell's again."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        """The shell gave the terminal back; or it did not (``bg``), and keys are not meant for us."""
        if self.are_there(self._fd):
            self._listen()
        self.wake()

    # --- when we are killed --------------------------------------------------------------------------
    def _described(self) -> str:
        """The terminal's settings, as ``stty`` takes them again; empty where there is none."""
        with suppress(OSError):
            done = subprocess.run(["stty", "-g"], stdin=self._fd, capture_output=True, text=True)
            return done.stdout.strip()
        return ""

    def _guarded(self, now: str, before: str) -> subprocess.Popen[bytes] | None:
        if not now or not before:
            return None
        command = ["/bin/sh", "-c", _GUARD, "sh", os.ttyname(self._fd), now, before]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
