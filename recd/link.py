"""A worker's connection to the supervisor: never blocks the loop, comes back by itself.

The supervisor asks, the worker answers; what the worker tells of its own accord (``join``, ``ended``)
goes the same way. A worker that has lost its supervisor goes on draining, and after a while starts a
new one; the daemon's own lock keeps it single.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recd_client.control import LENGTH, MAX_MESSAGE_BYTES, Caller, decode, encode
from recd_client.errors import RecdError

from .guests import consent

_RETRY_S: Final = 0.2
_START_AFTER_S: Final = 0.6
#: Where a service manager replaces a dead supervisor; one that a worker starts would be in its way.
_START_AFTER_SERVICE_S: Final = 10.0

log = logging.getLogger(__name__)


class NoLink:
    """Stands in for a supervisor when a worker works on its own: nobody asks, nobody listens."""

    def requests(self) -> Iterator[dict[str, Any]]:
        """None, ever."""
        return iter(())

    def send(self, message: dict[str, Any]) -> None:
        """Nobody hears it."""

    def leave(self, timeout_s: float) -> None:
        """Nobody waits."""

    def wait_hung_up(self, timeout_s: float) -> None:
        """Nobody hangs up."""


class Link:
    """Messages from and to the supervisor; used by the worker's loop thread only.

    Parameters
    ----------
    socket_path : Path
    version : str
    join : dict
        What this worker is: sent after each (re)connection.
    """

    def __init__(self, socket_path: Path, version: str, join: dict[str, Any]) -> None:
        self._path = socket_path
        self._version = version
        self._join = join
        self._socket: socket.socket | None = None
        self._inbox = bytearray()
        self._lost_at: float | None = None
        self._tried_at = 0.0
        self._starter: subprocess.Popen[bytes] | None = None
        self._start_after_s = _START_AFTER_SERVICE_S if os.environ.get("RECD_SERVICE") else _START_AFTER_S

    @property
    def connected(self) -> bool:
        """Whether a supervisor is there."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect and say who this is.

        Raises
        ------
        RecdError
            No supervisor answers, or it does not want this worker.
        """
        caller = Caller(self._path, role="worker", version=self._version)
        try:
            caller.call("join", timeout_s=10.0, **self._join)
        except BaseException:
            caller.close()
            raise
        self._socket = caller.detach()
        self._socket.setblocking(False)
        self._inbox.clear()
        self._lost_at = None

    def join(self) -> None:
        """Connect; if the supervisor died meanwhile, go on without one as after any of its deaths."""
        try:
            self.connect()
        except (RecdError, OSError) as e:
            log.warning("no supervisor yet: %s", e)
            self._lost_at = time.monotonic()

    def requests(self) -> Iterator[dict[str, Any]]:
        """What the supervisor has asked since the last call."""
        if self._socket is None:
            self._come_back()
            if self._socket is None:
                return
        try:
            while chunk := self._socket.recv(1 << 16):
                self._inbox += chunk
            self._lose()
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
        while len(self._inbox) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._inbox)
            if length > MAX_MESSAGE_BYTES:
                self._lose()
                return
            if len(self._inbox) < LENGTH.size + length:
                return
            body = bytes(self._inbox[LENGTH.size : LENGTH.size + length])
            del self._inbox[: LENGTH.size + length]
            yield decode(body)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; one that a dead supervisor cannot take is dropped, its asker is gone too."""
        if self._socket is None:
            return
        try:
            self._socket.setblocking(True)
            self._socket.settimeout(1.0)
            self._socket.sendall(encode(message))
            self._socket.setblocking(False)
        except OSError:
            self._lose()

    def leave(self, timeout_s: float) -> None:
        """Tell the supervisor that all is finished, and wait until it knows: else it sees a death."""
        self.send({"op": "ended"})
        self.wait_hung_up(timeout_s)

    def wait_hung_up(self, timeout_s: float) -> None:
        """Wait until the supervisor, which has understood everything, hangs up."""
        if self._socket is None:
            return
        try:
            self._socket.setblocking(True)
            self._socket.settimeout(timeout_s)
            while self._socket.recv(1 << 16):
                continue
        except OSError:
            log.warning("the supervisor did not acknowledge the end")
        self.close()

    def fileno(self) -> int:
        """The connection's descriptor, -1 when there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _lose(self) -> None:
        self.close()
        self._lost_at = time.monotonic()
        log.warning("lost the supervisor; going on without it")

    def _come_back(self) -> None:
        """Try to reach a supervisor again, now and then; start one when none comes."""
        now = time.monotonic()
        if now - self._tried_at < _RETRY_S:
            return
        self._tried_at = now
        if self._starter is not None and self._starter.poll() is not None:
            self._starter = None
        try:
            self.connect()
            log.info("joined the supervisor again")
        except (RecdError, OSError):
            overdue = self._lost_at is not None and now - self._lost_at > self._start_after_s
            if overdue and self._starter is None and self._path.parent.is_dir():
                log.warning("starting a new supervisor")
                self._starter = subprocess.Popen(
                    [sys.executable, "-m", "recd", "start", *(["--allow-code"] if consent.given() else [])],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "RECD_RUNTIME_DIR": str(self._path.parent)},
                    start_new_session=True,
                )
