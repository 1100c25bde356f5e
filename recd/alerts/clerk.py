"""A watcher's word with the daemon: what is recorded, and marks; in a thread of its own.

Whoever looks at samples never waits for an answer. A daemon that is away is waited for.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError, RecdError

from .. import __version__

_ANSWER_S: Final = 5.0
#: Marks that wait for a daemon; more are given up.
_MOST_WAITING: Final = 256


class Clerk:
    """Asks the daemon for its sessions, again and again, and sets marks.

    Parameters
    ----------
    socket : Path
        The daemon's.
    every_s : float
        How often it asks.
    tell : callable
        Is given a line for people.
    session : str, optional
        The only session that is asked about.

    Attributes
    ----------
    sessions : list of dict, or None
        As the daemon last told; None before it was reached.
    connected : bool
        Whether it answers.
    asked : int
        How often it has answered.
    """

    def __init__(
        self, socket: Path, every_s: float, tell: Callable[[str], object], session: str | None = None
    ) -> None:
        self.sessions: list[dict[str, Any]] | None = None
        self.connected = True
        self.asked = 0
        self._socket = socket
        self._every_s = every_s
        self._tell = tell
        self._asks = {} if session is None else {"session": session}
        self._caller: Caller | None = None
        self._marks: queue.Queue[dict[str, Any]] = queue.Queue(_MOST_WAITING)
        self._unset = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)
        self._thread.start()

    def set_mark(self, mark: dict[str, Any]) -> None:
        """Have a mark set, once the daemon can be reached."""
        try:
            # With a key: one that is asked for again, as no answer came, is not set twice.
            self._marks.put_nowait({"key": os.urandom(8).hex(), **mark})
        except queue.Full:
            self._unset += 1
            if self._unset == 1:
                self._tell("marks cannot be set: too many wait for the daemon")

    def finish(self, timeout_s: float) -> None:
        """Wait until all marks are set, or the time is over; nothing is asked any more."""
        end_s = time.monotonic() + timeout_s
        while not self.idle and time.monotonic() < end_s and self._thread.is_alive():
            time.sleep(0.005)
        self._over.set()

    @property
    def idle(self) -> bool:
        """Whether no mark waits."""
        return not self._marks.unfinished_tasks

    # --- its thread ----------------------------------------------------------------------------------
    def _run(self) -> None:
        due_s = 0.0
        while not self._over.is_set():
            now_s = time.monotonic()
            if now_s >= due_s:
                due_s = now_s + self._every_s
                answer = self._ask("status", self._asks)
                if answer is not None:
                    self.sessions = answer["sessions"]
                    self.asked += 1
            try:
                mark = self._marks.get(timeout=max(due_s - time.monotonic(), 0.0))
            except queue.Empty:
                continue
            while not self._over.is_set() and self._ask("mark", mark) is None:
                self._over.wait(self._every_s)
            self._marks.task_done()
        if self._caller is not None:
            self._caller.close()

    def _ask(self, op: str, members: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None if there is nobody who could give one. A refusal is told."""
        try:
            if self._caller is None:
                self._caller = Caller(self._socket, role="cli", version=__version__)
            answer = self._caller.call(op, _ANSWER_S, members)
        except DaemonNotRunningError:
            self._lose()
            return None
        except RecdError as e:
            self._tell(f"mark {members['label']!r} is not set: {e.what}" if op == "mark" else str(e))
            return {} if op == "mark" else None
        except OSError:
            self._lose()
            return None
        self.connected = True
        return answer

    def _lose(self) -> None:
        if self._caller is not None:
            with suppress(OSError):
                self._caller.close()
        self._caller = None
        self.connected = False
