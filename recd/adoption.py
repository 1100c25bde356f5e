"""Sessions that a supervisor did not begin: it knows them again from their files, once these are there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

from recd_client.errors import NoSuchSessionError, RecdError

from . import index, marks
from .nursery import Nursery
from .registry import MAIN_GROUP, Registry, Session

#: How often a session is looked for whose directory is away: not mounted yet, or moved.
_LOOK_FOR_S: Final = 2.0

log = logging.getLogger(__name__)


class Adoption:
    """Takes up unfinished sessions; used in the supervisor's loop.

    Parameters
    ----------
    runtime : Path
        The runtime directory, whose sessions are meant.
    registry : Registry
    nursery : Nursery
    """

    def __init__(self, runtime: Path, registry: Registry, nursery: Nursery) -> None:
        self._runtime = runtime
        self._registry = registry
        self._nursery = nursery
        #: Index entries of unfinished sessions that could not be taken up yet, and why.
        self._away: dict[str, dict[str, Any]] = {}

    def status(self) -> list[dict[str, Any]]:
        """For ``recd status``: those that could not be taken up yet."""
        return [_away_status(entry) for entry in self._away.values()]

    def load(self, session_id: str, directory: Path) -> Session:
        """Know a session again from its files."""
        from .session import SessionStore

        store = SessionStore(directory, session_id)
        if not store.spec:
            raise NoSuchSessionError(f"no session {session_id} in {directory}", "see: recd ls")
        spec = store.spec
        session = Session(
            session_id,
            str(spec["name"]),
            directory,
            int(spec["client_pid"]),
            int(spec["client_ticks"]),
            float(spec["clocks"]["wall_ns"]) / 1e9,
        )
        session.closing = store.closing
        for stream in store.streams():
            session.streams[stream["stream"]] = stream["group"]
            if store.result(stream["stream"]) is None:
                session.group(stream["group"])
        session.group(MAIN_GROUP)
        self._registry.sessions[session_id] = session
        return session

    def begin(self) -> None:
        """Take up every session of this runtime directory that is not finished; if its directory is away, later."""
        for entry in index.read_all():
            if entry.get("state") == "live" and entry.get("runtime_dir") == str(self._runtime):
                self._away[str(entry["session"])] = entry
        self._adopt_away()

    def _adopt_away(self) -> None:
        """Take up those that are there by now."""
        if self._nursery.closed:
            return
        for session_id, entry in list(self._away.items()):
            self.adopt_one(session_id, Path(str(entry["directory"])))
            if not index.path_of(session_id).exists():  # nobody wants it any more
                self._away.pop(session_id, None)
        if self._away:
            asyncio.get_running_loop().call_later(_LOOK_FOR_S, self._adopt_away)

    def _is_away(self, session_id: str, why: str) -> None:
        """A session cannot be taken up: told once in the log, and in the status until it can."""
        entry = self._away.get(session_id, {})
        if entry.get("why") != why:
            log.warning("session %s cannot be taken up: %s", session_id, why)
        entry["why"] = why

    def adopt_one(self, session_id: str, directory: Path) -> Session | None:
        """Take up one session, if it is there; None if not, or if it has ended."""
        known = self._registry.sessions.get(session_id)
        if known is not None:
            self._away.pop(session_id, None)
            return known
        try:
            session = self.load(session_id, directory)
        except NoSuchSessionError as e:
            from .manifest import has_ended
            from .session import SessionStore

            if has_ended(SessionStore(directory, session_id)):
                self._away.pop(session_id, None)
            else:
                self._is_away(session_id, e.what)
            return None
        except (RecdError, OSError, KeyError, ValueError) as e:
            self._is_away(session_id, str(e))
            return None
        self._away.pop(session_id, None)
        log.info("session %s: taking it up in %s", session_id, directory)
        for group in list(session.groups.values()):
            # A worker that outlived the last supervisor still holds the lock; then this one leaves.
            self._nursery.start(session, group)
        return session


def _away_status(entry: dict[str, Any]) -> dict[str, Any]:
    """What is known of an unfinished session that could not be taken up yet."""
    forget = (
        f"bring its directory back; or, if it was deleted, forget it: rm {index.path_of(entry['session'])}"
    )
    return {
        "session": entry["session"],
        "name": str(entry.get("name")),
        "directory": entry["directory"],
        "state": "failed",
        "reason": f"{entry.get('why')}\n  -> {forget}",
        "client": {"pid": 0, "alive": False},
        "started_unix_s": float(entry.get("started_unix_s") or 0.0),
        "streams": [],
        **marks.NO_STATUS,
    }
