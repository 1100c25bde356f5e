"""The supervisor: one process per user that knows the sessions and keeps their workers alive.

It routes requests to workers, starts them from a warm fork server, notices their death by pidfd, and
never touches a sample or waits for a file. It can die: workers go on without it, and join its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from recd_client import process, shm
from recd_client.control import PROTOCOL_MAJOR, PROTOCOL_MINOR
from recd_client.errors import (
    ClosedError,
    NoSuchSessionError,
    ProtocolError,
    WorkerError,
    from_wire,
)

from . import __version__, index, marks
from .adoption import Adoption
from .guests import consent
from .limits import Limits
from .notify import Notifier
from .nursery import Nursery
from .opening import Opening
from .registry import MAIN_GROUP, Registry, Session, WorkerHandle, over
from .server import Connection, Server

#: What SIGTERM gives the workers; ``recd stop`` says it itself.
STOP_DEADLINE_S: Final = 10.0
#: What the daemon may take beyond a deadline, at most.
STOP_GRACE_S: Final = 15.0
_MAX_POLL_S: Final = 5.0
_STATUS_TIMEOUT_S: Final = 2.0
#: What the marks of all sessions may take of the answer to ``status``, the newest of each.
_MARKS_BYTES: Final = 1 << 20
_STOP_SESSION_TIMEOUT_S: Final = 5.0
#: An attach waits no longer than this for the worker of a new video.
_WORKER_UP_S: Final = 1.0

log = logging.getLogger(__name__)


class Supervisor:
    """The control plane; everything runs in one asyncio loop.

    Parameters
    ----------
    runtime : Path
        The runtime directory, ours alone.
    notifier : Notifier
        The service manager's ear.
    limits : Limits
    """

    def __init__(self, runtime: Path, notifier: Notifier, limits: Limits) -> None:
        self.runtime = runtime
        self.notifier = notifier
        self.limits = limits
        self._attaching = 0
        self.registry = Registry()
        self.server = Server(runtime / "recd.sock", self.handle, limits)
        self.started_unix_s = time.time()
        self.nursery = Nursery(runtime, self.registry)
        self.adoption = Adoption(runtime, self.registry, self.nursery)
        self.opening = Opening(runtime, limits, self.registry, self.nursery, self.adoption)
        self._tasks: set[asyncio.Task[Any]] = set()

    def _join(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """A worker says whom it serves; from now on its connection is its voice."""
        session_id, group_name = str(request["session"]), str(request["group"])
        session = self.registry.sessions.get(session_id)
        fresh = session is None
        if "error" in request:
            error = from_wire(request["error"])
            if session is not None and session.opened is not None and not session.opened.done():
                session.opened.set_exception(error)
                self.registry.forget(session)
            elif session is not None:
                session.group(group_name).fail(error.what)
            return {}
        if session is None:
            session = self.adoption.load(session_id, Path(str(request["directory"])))
        group = session.group(group_name)
        bell = _bell(str(request["doorbell"]))
        handle = WorkerHandle(group_name, connection.pid, connection.send, bell, connection.close)
        group.join(handle)

        def message(received: dict[str, Any]) -> None:
            if received.get("op") == "ended":
                group.end()
                connection.close()
            else:
                handle.answered(received)

        connection.on_message = message
        if session.closing:  # the worker before may have died before it heard of it
            handle.send({"id": 0, "op": "close"})
        self.nursery.adopt(session, group, connection.pid)
        if session.opened is not None and not session.opened.done():
            session.opened.set_result(None)
        if fresh:
            log.info("session %s: worker of group %s joined again", session_id, group_name)
        return {}

    # --- requests --------------------------------------------------------------------------------
    async def handle(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of a client, the command line or a worker."""
        op = str(request.get("op"))
        if op == "join":
            return self._join(connection, request)
        operation: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
            "open": self.opening.open,
            "resume": self.opening.resume,
            "attach": self._attach,
            "flush": self._flush,
            "taken": self._taken,
            "close_stream": self._close_stream,
            "close": self._close,
            "stop_session": self._stop_session,
            "mark": self._mark,
            "status": self._status,
            "stop": self._stop,
        }
        if op not in operation:
            raise ProtocolError(f"unknown operation {op!r}", "update recd: client and daemon differ")
        return await operation[op](connection, request)

    async def _attach(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        session = self._find(request)
        if request["stream"] not in session.streams:
            there = self._attaching + sum(len(s.streams) for s in self.registry.sessions.values())
            self.limits.check("streams", there, 1, "streams of all recordings", "end recordings")
        self._attaching += 1
        try:
            reply = _unpack(await session.group(MAIN_GROUP).ask("attach", **_fields(request)))
        finally:
            self._attaching -= 1
        group_name = str(reply["group"])
        session.streams[str(request["stream"])] = group_name
        if group_name != MAIN_GROUP and group_name not in session.groups:
            group = session.group(group_name)
            self.nursery.start(session, group)
            # The ring is there, but a loop that runs faster than time fills it before the worker is up.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(group.joined.wait(), _WORKER_UP_S)
        return reply

    def _find(self, request: dict[str, Any]) -> Session:
        """The session that is meant.

        Raises
        ------
        ClosedError
            It has ended, maybe unknown to its client: it was stopped from outside.
        NoSuchSessionError
            There was none.
        """
        session_id = str(request["session"])
        session = self.registry.sessions.get(session_id)
        if session is not None and not session.group(MAIN_GROUP).ended:
            return session
        if session is not None or any(entry["session"] == session_id for entry in index.read_all()):
            raise over(session_id)
        return self.registry.find(session_id)

    async def _flush(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        try:
            session = self._find(request)
        except ClosedError:  # all that it had is in its files
            return {"done": True, "progress": 0}
        groups: dict[str, dict[str, int]] = {}
        for stream, head in request["heads"].items():
            group = session.streams.get(stream)
            if group is not None and not session.group(group).ended:
                groups.setdefault(group, {})[stream] = head
        timeout_s, durable = _poll_s(request), bool(request.get("durable"))
        replies = await _of_those_left(
            session.group(g).poll("flush", timeout_s, heads=heads, durable=durable)
            for g, heads in groups.items()
        )
        return _merge([_unpack(r) for r in replies])

    async def _taken(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        asked = {k: request[k] for k in ("stream", "sink", "position")}
        try:
            group = self._find(request).group_of(request["stream"])
            return _unpack(await group.poll("taken", _poll_s(request), **asked))
        except ClosedError:
            return {"done": True}

    async def _close_stream(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        session = self._find(request)
        return _unpack(await session.group_of(request["stream"]).ask("close_stream", **_fields(request)))

    async def _close(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        session = self.registry.sessions.get(str(request["session"]))
        if session is None or session.group(MAIN_GROUP).ended:
            return {"done": True, "progress": 0, "summary": await _summary(str(request["session"]))}
        session.closing = True
        timeout_s = _poll_s(request)
        groups = [g for g in session.groups.values() if not g.ended]
        replies = await asyncio.gather(*(g.poll("close", timeout_s) for g in groups), return_exceptions=True)
        if session.group(MAIN_GROUP).ended:
            return {"done": True, "progress": 0, "summary": await _summary(session.session)}
        progress = 0
        for group, reply in zip(groups, replies, strict=True):
            if isinstance(reply, BaseException):
                if group.ended:
                    continue
                raise reply
            reply = _unpack(reply)
            if reply["done"]:
                return reply
            progress += int(reply["progress"])
        return {"done": False, "progress": progress, "summary": None}

    async def _stop_session(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Somebody who is not its client ends a session: what was written is kept, its files are finished."""
        session = self.registry.find(request["session"])
        groups = [g for g in session.groups.values() if not g.ended]
        main = [g for g in groups if g.name == MAIN_GROUP]
        # The main worker writes it down: should this process die now, the others find it there.
        for those in (main, [g for g in groups if g not in main]):
            questions = (g.ask("stop_session", _STOP_SESSION_TIMEOUT_S, by=request.get("by")) for g in those)
            for reply in await _of_those_left(questions):
                _unpack(reply)
            session.closing = True
        log.info("session %s: stopped from outside", session.session)
        return {"session": session.session, "name": session.name, "directory": str(session.directory)}

    async def _mark(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Somebody who is not its client puts an event on a session's timeline."""
        # With a key: the successor of a worker that dies meanwhile is asked the same, and must not set it twice.
        asked = {"key": os.urandom(8).hex(), **_fields(request)}
        return _unpack(await self._find(request).group(MAIN_GROUP).ask("mark", **asked))

    async def _status(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("session")
        sessions = await asyncio.gather(
            *(
                self._session_status(s)
                for s in list(self.registry.sessions.values())
                if wanted in (None, s.session)
            )
        )
        return {
            "daemon": {
                "pid": os.getpid(),
                "version": __version__,
                "protocol": [PROTOCOL_MAJOR, PROTOCOL_MINOR],
                "runtime_dir": str(self.runtime),
                "started_unix_s": self.started_unix_s,
                "limits": asdict(self.limits),
                "allow_code": consent.given(),
            },
            "sessions": [
                {**s, "marks": marks.that_fit(s["marks"], _MARKS_BYTES // len(sessions))} for s in sessions
            ]
            + self.adoption.status(),
        }

    async def _session_status(self, session: Session) -> dict[str, Any]:
        alive = process.is_alive(session.client_pid, session.client_ticks)
        state, reason = "recording" if alive else "client died, finishing", ""
        if session.closing:
            state = "finishing"
        streams: list[dict[str, Any]] = []
        told_marks = marks.NO_STATUS
        for group in list(session.groups.values()):
            if group.ended:
                continue
            try:
                told = await group.ask("status", _STATUS_TIMEOUT_S)
                streams += told["streams"]
                if group.name == MAIN_GROUP:
                    told_marks = {key: told[key] for key in marks.NO_STATUS}
            except ClosedError:  # meanwhile
                continue
            except (WorkerError, KeyError) as e:
                state, reason = "failed" if group.failed else "stalled", str(e).split("\n")[0]
        troubled = [s for s in streams if s["state"] in ("stalled", "damaged", "failed")]
        if troubled and not reason:
            state, reason = troubled[0]["state"], f"stream {troubled[0]['stream']}: {troubled[0]['reason']}"
        return {
            "session": session.session,
            "name": session.name,
            "directory": str(session.directory),
            "state": state,
            "reason": reason,
            "client": {"pid": session.client_pid, "alive": alive},
            "started_unix_s": session.started_unix_s,
            "streams": streams,
            **told_marks,
        }

    # --- the end -----------------------------------------------------------------------------------
    async def _stop(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        given = request.get("deadline_s")
        outcome = await self.stop_workers(STOP_DEADLINE_S if given is None else float(given))
        asyncio.get_running_loop().call_later(0.05, self.stopped.set)
        return outcome

    async def stop_workers(self, deadline_s: float) -> dict[str, Any]:
        """Ask all workers to put everything away; tells what they could not finish."""
        self.nursery.closed = True
        extend_us = int((deadline_s + STOP_GRACE_S) * 1e6)
        self.notifier.tell(STOPPING=1, EXTEND_TIMEOUT_USEC=extend_us)
        finished: list[str] = []
        unfinished: list[dict[str, str]] = []

        async def stop_one(session: Session) -> None:
            groups = [g for g in session.groups.values() if not g.ended]
            why = [w for w in await asyncio.gather(*(g.stop(deadline_s) for g in groups)) if w]
            if why:
                unfinished.append(
                    {"session": session.session, "directory": str(session.directory), "why": why[0]}
                )
            else:
                finished.append(session.session)

        await asyncio.gather(*(stop_one(s) for s in list(self.registry.sessions.values())))
        return {"finished": finished, "unfinished": unfinished}

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until stopped."""
        self.stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self._on_signal)
        await self.server.start()
        ready()
        self.notifier.tell(READY=1, STATUS=self._summary())
        self._in_background(self.notifier.keep_telling(self._summary))
        log.info("recd %s is ready, pid %d, socket %s", __version__, os.getpid(), self.runtime / "recd.sock")
        self.nursery.warm_up()
        self.adoption.begin()
        await self.stopped.wait()
        await self.server.stop()
        log.info("stopped")

    def _on_signal(self) -> None:
        if self.nursery.closed:
            return

        async def stop() -> None:
            outcome = await self.stop_workers(STOP_DEADLINE_S)
            for entry in outcome["unfinished"]:
                log.warning("left for the next start: %s", entry)
            self.stopped.set()

        self._in_background(stop())

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # the loop itself would let it be collected
        task.add_done_callback(self._tasks.discard)

    def _summary(self) -> str:
        """How it stands, in a line."""
        doing = "finishing" if self.nursery.closed else "recording"
        return f"{doing} {len(self.registry.sessions)} sessions"


def _bell(name: str) -> Callable[[], object]:
    """How to wake a worker; nothing once its doorbell is gone."""
    try:
        return shm.Doorbell(name).ring
    except FileNotFoundError:
        return lambda: None


def _fields(request: dict[str, Any]) -> dict[str, Any]:
    """A client's request without its envelope, to be handed on."""
    return {k: v for k, v in request.items() if k not in ("id", "op", "session")}


def _poll_s(request: dict[str, Any]) -> float:
    return min(max(float(request.get("timeout_s") or 0.0), 0.0), _MAX_POLL_S)


def _unpack(reply: dict[str, Any]) -> dict[str, Any]:
    """A worker's reply without its envelope; its error is raised here."""
    if not reply.get("ok"):
        raise from_wire(reply.get("error") or {})
    return {k: v for k, v in reply.items() if k not in ("id", "ok")}


async def _of_those_left(questions: Iterable[Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The answers of groups to which there still is something to say."""
    replies = await asyncio.gather(*questions, return_exceptions=True)
    told: list[dict[str, Any]] = []
    for reply in replies:
        if isinstance(reply, dict):
            told.append(reply)
        elif not isinstance(reply, ClosedError):
            raise reply
    return told


def _merge(replies: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "done": all(r.get("done") for r in replies),
        "progress": sum(int(r.get("progress") or 0) for r in replies),
    }


async def _summary(session_id: str) -> dict[str, Any]:
    """Summary of a session that has ended, from its manifest."""

    def read() -> dict[str, Any]:
        from .manifest import manifest_path, summary_of
        from .session import read_json

        for entry in index.read_all():
            if entry.get("session") == session_id:
                path = manifest_path(Path(str(entry["directory"])), session_id)
                manifest = read_json(path)
                if manifest is not None:
                    return summary_of(manifest, path)
        raise NoSuchSessionError(f"no session {session_id} here", "see: recd ls --all")

    return await asyncio.to_thread(read)
