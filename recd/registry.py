"""What the supervisor knows: sessions and the workers that serve them. Plain state, no input or output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recd_client.errors import ClosedError, NoSuchSessionError, WorkerError

#: The group whose worker also keeps the session; each stream with a video has a group of its own.
MAIN_GROUP: Final = "main"
#: Exit code of a worker that found its group served by another.
EXIT_LOCKED: Final = 75
#: Exit code of a worker whose disk lets it not begin, as it has said; that may be over in a moment.
EXIT_LATER: Final = 76
#: A worker that dies so often within the window is not started again for a while.
_CRASHES: Final = 5
_CRASH_WINDOW_S: Final = 10.0
#: When it is tried again: what killed it may be over, as a want of memory is.
RETRY_FAILED_S: Final = 30.0
#: How long after its timeout the answer to a poll may come.
_GRACE_S: Final = 0.1
#: How long a worker that is being started may take to join.
_START_S: Final = 2.0


def over(session: str) -> ClosedError:
    """The error for whoever wants more of a session that has ended."""
    return ClosedError(
        f"recording {session} has ended: it was closed, or stopped by recd stop or recd top",
        "open a new Recorder",
    )


class WorkerGoneError(Exception):
    """The worker died before it answered; ask its successor."""


@dataclass
class WorkerHandle:
    """One joined worker: how to ask it, and what is still unanswered."""

    group: str
    pid: int
    send: Callable[[dict[str, Any]], None]
    ring: Callable[[], object]
    hang_up: Callable[[], object]
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    next_id: int = 0

    async def ask(self, op: str, /, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its reply, as it came."""
        self.next_id += 1
        own_id = self.next_id  # others ask meanwhile
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting[own_id] = future
        self.send({"id": own_id, "op": op, **fields})
        self.ring()
        try:
            return await future
        finally:
            self.waiting.pop(own_id, None)

    def answered(self, reply: dict[str, Any]) -> None:
        """A reply came in."""
        future = self.waiting.pop(int(reply.get("id") or 0), None)
        if future is not None and not future.done():
            future.set_result(reply)

    def gone(self) -> None:
        """The worker is gone: whoever waits must ask its successor."""
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(WorkerGoneError())
        self.waiting.clear()


class Group:
    """The one worker of a session's group, through its deaths and successors."""

    def __init__(self, name: str, session: str = "") -> None:
        self.name = name
        self.session = session
        self.handle: WorkerHandle | None = None
        self.ended = False
        self.failed: str = ""
        self.joined = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=_CRASHES)

    def join(self, handle: WorkerHandle) -> None:
        """A worker serves this group from now on."""
        self.handle = handle
        self.failed = ""
        self.joined.set()

    def leave(self, pid: int) -> None:
        """The worker of that pid is gone."""
        if self.handle is not None and self.handle.pid == pid:
            self.handle.gone()
            self.handle = None
            if not self.ended:
                self.joined.clear()

    def end(self) -> None:
        """Everything of this group is finished; its worker leaves."""
        self.ended = True
        if self.handle is not None:
            self.handle.gone()
        self.joined.set()

    def may_restart(self) -> bool:
        """Count a death; False when there were too many of late."""
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == _CRASHES and now - self._deaths[0] < _CRASH_WINDOW_S:
            self.fail(
                f"its worker died {_CRASHES} times within {_CRASH_WINDOW_S:.0f} s; "
                f"the next try is {RETRY_FAILED_S:.0f} s later"
            )
            return False
        return True

    def fail(self, why: str) -> None:
        """It has no worker for now: whoever asks is told."""
        self.failed = why
        self.joined.set()

    def try_again(self) -> None:
        """It is given another chance: whoever asks waits for its worker again."""
        self.failed = ""
        self.joined.clear()

    async def stop(self, deadline_s: float) -> str:
        """Ask the worker to put everything away; why it could not finish, ``""`` if it did."""
        with contextlib.suppress(asyncio.TimeoutError):  # one that is only starting must not outlive us
            await asyncio.wait_for(self.joined.wait(), min(deadline_s, _START_S))
        handle = self.handle
        if handle is None:
            return self.failed or "it had no worker"
        try:
            reply = await asyncio.wait_for(handle.ask("stop", deadline_s=deadline_s), deadline_s + 5.0)
            handle.hang_up()  # it waits for this: else its death could be seen before its words
        except WorkerGoneError:
            return "its worker died"
        except asyncio.TimeoutError:
            return "its worker does not answer"
        return "" if reply.get("finished") else str(reply.get("why") or reply.get("error"))

    async def poll(self, op: str, timeout_s: float, /, **fields: Any) -> dict[str, Any]:
        """Ask what the worker answers once it is so, or at its timeout; a hung one's answer is ``not done``.

        Raises
        ------
        WorkerError
            No worker serves the group.
        """
        question = self.ask(op, timeout_s + 2 * _GRACE_S, timeout_s=timeout_s, **fields)
        try:
            return await asyncio.wait_for(question, timeout_s + _GRACE_S)
        except asyncio.TimeoutError:
            return {"ok": True, "done": False, "progress": 0}

    async def ask(self, op: str, within_s: float = 20.0, /, **fields: Any) -> dict[str, Any]:
        """Ask the group's worker, or its successor if it dies meanwhile; the reply as it came.

        Raises
        ------
        ClosedError
            Everything of the group is finished.
        WorkerError
            No worker serves the group, or none answered in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            try:
                await asyncio.wait_for(self.joined.wait(), max(deadline - time.monotonic(), 0.01))
                if self.ended:
                    raise over(self.session)
                if self.failed:
                    raise WorkerError(
                        f"group {self.name}: {self.failed}", "see: recd status, and the daemon's log"
                    )
                if self.handle is None:  # it joined, and died before this went on
                    continue
                return await asyncio.wait_for(
                    self.handle.ask(op, **fields), max(deadline - time.monotonic(), 0.01)
                )
            except WorkerGoneError:
                continue
            except asyncio.TimeoutError:
                raise WorkerError(
                    f"group {self.name}: the worker did not answer {op!r} within {within_s:.0f} s",
                    "see: recd status",
                ) from None


@dataclass
class Session:
    """One recording."""

    session: str
    name: str
    directory: Path
    client_pid: int
    client_ticks: int
    started_unix_s: float
    groups: dict[str, Group] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)  # stream -> group
    closing: bool = False
    #: Done when the session's worker has begun it; None for a session that was taken up.
    opened: asyncio.Future[None] | None = None

    def group(self, name: str) -> Group:
        """The group of that name, made if need be."""
        return self.groups.setdefault(name, Group(name, self.session))

    @property
    def ended(self) -> bool:
        """Whether everything in it is finished."""
        return all(group.ended for group in self.groups.values())

    def group_of(self, stream: Any) -> Group:
        """The group that serves a stream."""
        group = self.streams.get(str(stream))
        if group is None:
            raise NoSuchSessionError(f"session {self.session} has no stream {stream!r}", "attach it first")
        return self.group(group)


class Registry:
    """All sessions of this daemon."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}

    def forget(self, session: Session) -> None:
        """The session has ended, or never began."""
        self.sessions.pop(session.session, None)

    def find(self, session: Any) -> Session:
        """The session of that id.

        Raises
        ------
        NoSuchSessionError
            There is none.
        """
        found = self.sessions.get(str(session))
        if found is None:
            raise NoSuchSessionError(f"no session {session!r} here", "see: recd ls")
        return found
