"""How a session begins: what is asked for is checked, and its first worker started."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final

from recd_client import process
from recd_client.control import is_session_id, new_session_id
from recd_client.errors import LimitError, NoSuchSessionError, OptionError, ProtocolError, WorkerError

from . import __version__, index
from .adoption import Adoption
from .guests import consent
from .limits import SESSION_DESCRIPTORS, Limits, check_descriptors
from .nursery import Nursery
from .registry import MAIN_GROUP, Registry, Session
from .server import Connection

_DURABILITY: Final = ("process", "interval", "strict")
_OVERWRITE: Final = ("error", "replace", "number")


class Opening:
    """Begins sessions, and finds those that were begun; used in the supervisor's loop.

    Parameters
    ----------
    runtime : Path
        The runtime directory.
    limits : Limits
    registry : Registry
    nursery : Nursery
    adoption : Adoption
    """

    def __init__(
        self, runtime: Path, limits: Limits, registry: Registry, nursery: Nursery, adoption: Adoption
    ) -> None:
        self._runtime = runtime
        self._limits = limits
        self._registry = registry
        self._nursery = nursery
        self._adoption = adoption

    async def open(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Begin a session; once its worker has, or one was begun under that id, tell where it records.

        Raises
        ------
        RecdError
            What is wrong with the request, or which limit is reached; nothing is left behind.
        """
        if self._nursery.closed:
            raise LimitError("the daemon is stopping: no new sessions", "try again in a moment")
        session_id = request.get("session") or new_session_id()
        if not is_session_id(session_id):
            raise ProtocolError(f"session {session_id!r}: no name for a session", "update recd-client")
        if (directory := await self._begun(session_id)) is not None:
            return _answer(session_id, directory)
        there = sum(not session.ended for session in self._registry.sessions.values())
        self._limits.check("sessions", there, 1, "recordings", "end some: recd status")
        self._limits.check_metadata(request.get("metadata"))
        check_descriptors(SESSION_DESCRIPTORS, "a recording")
        for field, allowed in (("durability", _DURABILITY), ("overwrite", _OVERWRITE)):
            if request.get(field) not in allowed:
                raise OptionError(f"{field}={request.get(field)!r}: expected one of {allowed}", "correct it")
        if request.get("alerts"):
            from .alerts import admission  # most recordings have none

            admission.check(request["alerts"], session_allows=request.get("allow_code") is True)
        if connection.pid <= 0:
            raise WorkerError(
                "the daemon cannot see your process (another PID namespace?)", "run both in one"
            )
        name = str(request["name"])
        directory = _run_directory(name, request.get("directory"), Path(str(request["cwd"])), session_id)
        ticks = process.start_ticks(connection.pid)
        spec = {
            **{k: request.get(k) for k in ("dt", "metadata", "durability", "overwrite", "spool_limit_bytes",
                                           "allow_code", "code", "clocks", "cwd", "alerts")},
            "session": session_id,
            "name": name,
            "client_pid": connection.pid,
            "client_ticks": ticks,
            "directory": str(directory),
            "runtime_dir": str(self._runtime),
            "boot_id": process.boot_id().hex(),
            "recd": __version__,
        }  # fmt: skip
        session = Session(session_id, name, directory, connection.pid, ticks, time.time())
        self._registry.sessions[session_id] = session
        session.opened = asyncio.get_running_loop().create_future()
        self._nursery.start(session, session.group(MAIN_GROUP), spec)
        await session.opened
        return _answer(session_id, directory)

    async def resume(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Find a session that was begun; tell where it records.

        Raises
        ------
        NoSuchSessionError
            There is none.
        """
        session_id = str(request["session"])
        directory = await self._begun(session_id)
        if directory is None:
            raise NoSuchSessionError(f"no session {session_id} here", "see: recd ls")
        return _answer(session_id, directory)

    async def _begun(self, session_id: str) -> Path | None:
        """Where a session records that was begun, here or by a daemon before; None if none was."""
        session = self._registry.sessions.get(session_id)
        if session is None:
            for entry in index.read_all():
                if entry.get("session") == session_id:
                    if entry.get("state") != "live":
                        return Path(str(entry["directory"]))
                    session = self._adoption.adopt_one(session_id, Path(str(entry["directory"])))
        if session is not None and session.opened is not None:
            await asyncio.shield(session.opened)
        return None if session is None else session.directory


def _answer(session_id: str, directory: Path) -> dict[str, Any]:
    """What a client is told of a session that was begun."""
    return {"session": session_id, "directory": str(directory), "allow_code": consent.given()}


def _run_directory(name: str, given: Any, cwd: Path, session_id: str) -> Path:
    """The absolute run directory; a new one per run unless the user gave one, or the session has one already."""
    if given is not None:
        return Path(os.path.normpath(cwd / str(given)))
    stamp = f"{session_id.split('-')[0]}Z"
    base = directory = cwd / "recordings" / name / stamp
    n = 0
    while directory.exists() and not (directory / ".recd" / session_id).exists():
        n += 1
        directory = base.with_name(f"{stamp}-{n}")
    return directory
