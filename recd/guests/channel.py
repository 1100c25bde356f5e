"""Requests to one guest, asked one after the other in a thread, so that the worker's loop never waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ..finisher import Finisher, Job
from .host import Guest, GuestDiedError

_JOIN_S: Final = 1.0
#: What a guest may take to end by itself, once it has nothing more to do.
_LEAVE_S: Final = 5.0

Done = Callable[[dict[str, Any]], object]


def _nothing(answer: dict[str, Any]) -> None:
    """Nobody waits for this answer."""


@dataclass
class _Request:
    op: str
    size_bytes: int
    job: Job
    done: Done


class Channel:
    """The requests that wait for one guest, in order; used by the worker's loop thread.

    The first one starts it. After an error nothing is asked any more.

    Parameters
    ----------
    start : callable
        Gives the guest; called in the channel's thread, which lives as long as the channel.
    wake : callable
        Called from that thread after each answer.
    """

    def __init__(self, start: Callable[[], Guest], wake: Callable[[], object]) -> None:
        self._start = start
        self._thread = Finisher(wake)
        self._waiting: deque[_Request] = deque()
        self._guest: Guest | None = None
        self._starting = threading.Lock()
        self._broken = self._closed = False
        #: Answers so far.
        self.answered = 0
        #: Bytes of the requests that are not answered yet.
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._waiting)

    @property
    def doing(self) -> str:
        """What the guest is asked to do now; empty if it has nothing to do."""
        return self._waiting[0].op if self._waiting else ""

    @property
    def pid(self) -> int:
        """The guest's process id; 0 while there is none."""
        return 0 if self._guest is None else self._guest.pid

    def put(self, op: str, done: Done = _nothing, buffers: Sequence[memoryview] = (), **fields: Any) -> None:
        """Ask once everything before is answered; ``done`` is called by :meth:`collect` with the answer."""
        size = sum(len(b) for b in buffers)
        job = self._thread.submit(partial(self._ask, op, buffers, fields))
        self._waiting.append(_Request(op, size, job, done))
        self.waiting_bytes += size

    def leave(self) -> None:
        """Let the guest end in its own way, which is soon; counted like a request."""
        self._waiting.append(_Request("exit", 0, self._thread.submit(self._let_go), _nothing))

    def _ask(
        self, op: str, buffers: Sequence[memoryview], fields: dict[str, Any], job: Job
    ) -> dict[str, Any]:
        if self._broken:
            raise GuestDiedError("nothing is asked any more")
        try:
            if self._guest is None:
                guest = self._start()
                with self._starting:
                    if self._closed:
                        guest.close()
                        raise GuestDiedError("was given up while it started")
                    self._guest = guest
            return self._guest.ask(op, buffers, **fields)
        except BaseException:
            self._broken = True
            raise

    def _let_go(self, job: Job) -> dict[str, Any]:
        guest = self._guest
        if guest is not None:
            if not self._broken:
                guest.leave(_LEAVE_S)
            with self._starting:
                self._guest = None
            guest.close()
        return {}

    def collect(self) -> bool:
        """Call what waits for the answers that have come; whether any had.

        Raises
        ------
        GuestFailedError, GuestDiedError
            See :meth:`Guest.ask`; the requests behind are not asked any more.
        OSError
            It could not be started; likewise.
        """
        did = False
        while self._waiting and self._waiting[0].job.done.is_set():
            request = self._waiting.popleft()
            self.waiting_bytes -= request.size_bytes
            if request.job.error is not None:
                raise request.job.error
            self.answered += 1
            request.done(request.job.result)
            did = True
        return did

    def wait(self, timeout_s: float) -> bool:
        """Wait for the answer to the oldest request, if there is one; whether it came."""
        return not self._waiting or self._waiting[0].job.done.wait(timeout_s)

    def close(self) -> None:
        """The guest is gone, whatever it was doing."""
        with self._starting:
            self._broken = self._closed = True
            guest, self._guest = self._guest, None
        if guest is not None:
            guest.kill()
        self._thread.stop(_JOIN_S)
        if guest is not None:
            guest.close()
        self._waiting.clear()
        self.waiting_bytes = 0
