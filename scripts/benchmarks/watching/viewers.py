"""Viewers as people start them, each a process of its own: pages, ``recd tail``, ``recd top``."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..timing import wait_until

_PAGE: Final = Path(__file__).parents[1] / "programs" / "page_viewer.py"
_ROWS, _COLUMNS = 50, 120
_PATIENCE_S: Final = 30.0


def recd(*arguments: str) -> list[str]:
    """A command line of recd's, for the daemon of this benchmark."""
    return [*shlex.split(os.environ["RECD_COMMAND"]), *arguments]


def maps_a_ring(pid: int) -> bool:
    """Whether a process looks into some stream's shared memory."""
    try:
        return "/dev/shm/recd-" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


class Viewer:
    """A process that looks, until it is ended."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process
        self.pid = process.pid

    def ready(self) -> None:
        """It sees something.

        Raises
        ------
        TimeoutError
            It does not.
        """
        wait_until(lambda: maps_a_ring(self.pid), _PATIENCE_S)

    def stop(self) -> None:
        """It stands still from now on, wherever it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def close(self) -> None:
        """It is gone, whether it stood still or not."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()


def tail(stream: str) -> Viewer:
    """``recd tail --follow``, whose output goes nowhere."""
    command = recd("tail", stream, "--follow", "--format", "csv")
    return Viewer(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


class PageServer(Viewer):
    """``recd ui``."""

    def __init__(self) -> None:
        super().__init__(
            subprocess.Popen(recd("ui", "--port", "0", "--json"), stdout=subprocess.PIPE, text=True)
        )
        told, out = "", self.process.stdout
        while out is not None and not told.endswith("}\n"):
            line = out.readline()
            if not line:
                raise RuntimeError("recd ui ended: is the extra `ui` installed?")
            told += line
        #: Of the page, with the token.
        self.url = str(json.loads(told)["url"])

    def close(self) -> None:
        """It has ended."""
        self.process.terminate()
        self.process.communicate()


class PageViewer(Viewer):
    """What a browser's page does, without drawing; see ``programs/page_viewer.py``.

    Parameters
    ----------
    server : PageServer
    series : int
        Lines that it shows, of the streams that begin first.
    cameras : int
    session : str
        Whose; empty for any.
    """

    def __init__(self, server: PageServer, *, series: int, cameras: int, session: str = "") -> None:
        command = [sys.executable, str(_PAGE), server.url, str(series), str(cameras), session]
        super().__init__(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def ready(self) -> None:
        """Everything that it asked for has come once."""
        out = self.process.stdout
        if out is None or out.readline() != "seen\n":
            raise RuntimeError("a page was not sent what it asked for")


class Top(Viewer):
    """``recd top`` on a terminal."""

    def __init__(self) -> None:
        self._master, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        super().__init__(
            subprocess.Popen(
                recd("top"), stdin=far, stdout=far, stderr=far, env=environment, start_new_session=True
            )
        )
        os.close(far)
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the terminal is closed
            while chunk := os.read(self._master, 1 << 16):
                self._said = (self._said + chunk)[-(1 << 16) :]

    def ready(self) -> None:
        """It shows streams."""
        wait_until(lambda: b"samples/s" in self._said, _PATIENCE_S, pause_s=0.02)

    def close(self) -> None:
        """It is gone, and so is its terminal."""
        super().close()
        self._reader.join()
        os.close(self._master)
