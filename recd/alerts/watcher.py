"""Watches the recordings of a daemon, those that run and those that begin, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from .clerk import Clerk
from .rule import Firing, Rule
from .session import SessionWatch

#: Between two looks.
LOOK_S: Final = 0.05
_PATIENT_ANSWERS: Final = 4


class Watcher:
    """Rules over all recordings, or over those of a name.

    Parameters
    ----------
    clerk : Clerk
    rules : sequence of Rule
    name : str or None
        Name or id of the recordings that are watched; None: all.
    tell : callable
        Is given a line for people, of what is not as it should be.
    """

    def __init__(
        self, clerk: Clerk, rules: Sequence[Rule], name: str | None, tell: Callable[[str], object]
    ) -> None:
        self._clerk = clerk
        self._rules = rules
        self._name = name
        self._tell = tell
        self._answer = 0
        self._connected = True
        self._idle = False
        self._sessions: dict[str, SessionWatch] = {}
        self._told: set[tuple[str, str]] = set()

    def look(self) -> list[Firing]:
        """Look at all that has come since the last look.

        Raises
        ------
        OptionError
            A condition names a field that is nowhere, or makes no sense there.
        """
        self._follow()
        fired = [firing for watch in self._sessions.values() for firing in watch.look()]
        self._check()
        return fired

    def _follow(self) -> None:
        """Take up the recordings that the daemon tells of, and let go of those that have ended."""
        if self._connected != self._clerk.connected:
            self._connected = self._clerk.connected
            self._tell("recd answers again" if self._connected else "recd does not answer; waiting for it")
        if self._clerk.sessions is None or self._clerk.asked == self._answer:
            return
        first, self._answer = not self._answer, self._clerk.asked
        there = {
            str(told["session"]): told
            for told in self._clerk.sessions
            if self._name in (None, told["name"], told["session"])
        }
        for gone in set(self._sessions) - set(there):
            self._sessions[gone].look()  # what it tells could not be marked any more
            self._sessions.pop(gone).close()
        for session, told in there.items():
            if session not in self._sessions:
                watch = SessionWatch(told, self._rules, self._tell, from_start=not first)
                self._sessions[session] = watch
            self._sessions[session].update(told)
            self._tell_waiting(self._sessions[session])
        if not there and not self._idle:
            named = "" if self._name is None else f" called {self._name!r}"
            self._tell(f"no recording{named} runs; waiting for one")
        self._idle = not there

    def _tell_waiting(self, watch: SessionWatch) -> None:
        if watch.updates < _PATIENT_ANSWERS:  # its streams begin just now
            return
        for stream in watch.waits_for:
            if (watch.session, stream) not in self._told:
                self._told.add((watch.session, stream))
                there = ", ".join(watch.streams) or "none yet"
                self._tell(f"waiting for stream {stream!r} of {watch.run}; its streams: {there}")

    def _check(self) -> None:
        """A condition that fits none of the recordings is a mistake; one that only fits some is told."""
        for i, rule in enumerate(self._rules):
            tried = [
                w for w in self._sessions.values() if w.watches[i].error or rule.condition.stream in w.eyes
            ]
            wrong = [w for w in tried if w.watches[i].error]
            for watch in wrong:
                error = watch.watches[i].error
                if len(wrong) == len(tried) and error is not None:
                    raise error
                if (watch.session, rule.condition.text) not in self._told:
                    self._told.add((watch.session, rule.condition.text))
                    self._tell(f"{watch.run}: {error.what if error else ''}; it is not watched there")

    def close(self) -> None:
        """Let go of everything."""
        for watch in self._sessions.values():
            watch.close()
