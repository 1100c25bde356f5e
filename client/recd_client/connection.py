"""A session's connection to the daemon: control calls that survive the daemon's death."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any, Final

from . import forks, launch
from .control import Caller, new_session_id
from .errors import DaemonNotRunningError

_REPLY_TIMEOUT_S: Final = 30.0
#: A session is asked for so often, if one daemon after the other dies over it.
_OPEN_TRIES: Final = 3
#: One long poll: short, so that a dead daemon is noticed and Ctrl-C works.
_SLICE_S: Final = 1.0
#: Beyond its slice, how long the answer to a long poll may take.
_GRACE_S: Final = 5.0
#: Waiting without a timeout ends when nothing has moved for so long.
STALL_S: Final = 60.0
#: How long nobody may answer before a wait gives up: a worker starts a new supervisor within a second.
REVIVAL_S: Final = 10.0
_PAUSE_S: Final = 0.05


class Connection:
    """One session at the daemon; any thread may call, one at a time.

    Parameters
    ----------
    path : Path
        The daemon's socket.
    autostart : bool
        Whether a daemon may be started where a call allows it.
    """

    def __init__(self, path: Path, *, autostart: bool) -> None:
        self.path = path
        self.session = ""
        self._autostart = autostart
        self._lock = threading.RLock()
        self._caller: Caller | None = None
        forks.track(self)

    def open(self, **fields: Any) -> dict[str, Any]:
        """Begin the session; starts a daemon if need be and allowed.

        Raises
        ------
        RecdError
            No daemon, or it refuses; nothing stays open.
        """
        # The name is ours: a daemon that is asked again, or the next one, knows a session that was begun already.
        members = {"session": new_session_id(), **fields}
        deadline_s = time.monotonic() + _REPLY_TIMEOUT_S
        for tries_left in reversed(range(_OPEN_TRIES)):
            caller = launch.connect(self.path, autostart=self._autostart)
            try:
                reply = caller.call("open", max(deadline_s - time.monotonic(), _PAUSE_S), members)
                break
            except DaemonNotRunningError:
                if not tries_left or time.monotonic() >= deadline_s:
                    raise
            except BaseException:
                caller.close()
                raise
        self._caller = caller
        self.session = str(reply["session"])
        return reply

    def call(
        self,
        op: str,
        reply_timeout_s: float = _REPLY_TIMEOUT_S,
        *,
        may_start: bool = True,
        revives: bool = False,
        **fields: Any,
    ) -> dict[str, Any]:
        """Ask about this session; reconnects once (to a new daemon, if one may be started) and asks again.

        With ``revives`` it waits a while for the daemon that the session's worker starts when it has none.

        Raises
        ------
        DaemonNotRunningError
            Nobody answers, or not in time.
        RecdError
            What the daemon answered.
        """
        members = {"session": self.session, **fields}
        deadline_s = time.monotonic() + reply_timeout_s
        with self._lock:
            if self._caller is not None:
                try:
                    return self._caller.call(op, reply_timeout_s, members)
                except DaemonNotRunningError:
                    self._caller = None
                    if time.monotonic() >= deadline_s:
                        raise
            revived_s = min(deadline_s, time.monotonic() + REVIVAL_S)
            while True:
                left_s = max(deadline_s - time.monotonic(), _PAUSE_S)
                try:
                    return self._reconnected(left_s, may_start).call(op, left_s, members)
                except DaemonNotRunningError:
                    if not revives or time.monotonic() >= revived_s:
                        raise
                time.sleep(_PAUSE_S)

    def _reconnected(self, timeout_s: float, may_start: bool) -> Caller:
        caller = launch.connect(self.path, autostart=self._autostart and may_start, timeout_s=timeout_s)
        try:
            caller.call("resume", timeout_s, {"session": self.session})
        except BaseException:
            caller.close()
            raise
        self._caller = caller
        return caller

    def wait(self, op: str, timeout_s: float | None, **fields: Any) -> dict[str, Any] | None:
        """Ask again and again until the answer is ``done``; None when it is not in time.

        Without a timeout, "in time" is as long as ``progress`` grows.

        Raises
        ------
        DaemonNotRunningError
            Nobody has answered for a while, and no daemon may be started.
        RecdError
            What the daemon answered.
        """
        begin_s = answered_s = moved_s = time.monotonic()
        end_s = math.inf if timeout_s is None else begin_s + timeout_s
        progress = -1
        while True:
            asked_s = time.monotonic()
            left_s = max(0.0, end_s - asked_s)
            slice_s = min(_SLICE_S, left_s)
            grace_s = min(_GRACE_S, max(slice_s, left_s - slice_s) + _PAUSE_S)
            try:
                reply = self.call(op, slice_s + grace_s, timeout_s=slice_s, **fields)
                if reply.get("done"):
                    return reply
                answered_s = now_s = time.monotonic()
                if int(reply.get("progress") or 0) > progress:
                    progress, moved_s = int(reply.get("progress") or 0), now_s
            except DaemonNotRunningError:
                now_s = time.monotonic()
                if now_s - answered_s > REVIVAL_S:
                    raise
            if now_s >= end_s or now_s - moved_s > STALL_S:
                return None
            if now_s - asked_s < _PAUSE_S:  # an answer that did not wait, or none
                time.sleep(_PAUSE_S)

    def hung_up(self) -> bool:
        """Whether the daemon's end of the connection is closed; never blocks."""
        caller = self._caller
        return caller is None or caller.hung_up()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._caller is not None:
                self._caller.close()
                self._caller = None

    def after_fork(self) -> None:
        """In a forked child: give up the copy of the connection, which would keep it open for the daemon."""
        self._lock = threading.RLock()
        if self._caller is not None:
            self._caller.close()
            self._caller = None
