"""The watcher of a recording that asked for alerts: a guest of its main worker, which ends with it.

It looks through taps, and asks the daemon, as ``recd watch`` does. Killed or stopped, nothing is missing but alerts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..session import read_json
from .clerk import Clerk
from .commands import TIMEOUT_S, Commands
from .rule import Rule
from .session import SessionWatch

_ASK_EVERY_S: Final = 0.2
_LOOK_S: Final = 0.05
#: How long one question of the worker is worked on.
_TURN_S: Final = 0.1
#: How often is written down what a successor must know, while nothing happens.
_REMEMBER_S: Final = 0.5


class AlertGuest:
    """Answers ``begin`` once, and then ``look`` again and again: each looks for a while, and tells how it stands."""

    def __init__(self) -> None:
        self._watching: _Watching | None = None

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """The answer to the worker."""
        if op == "begin":
            self._watching = _Watching(header)
            return None
        assert self._watching is not None
        return self._watching.look(last=header["last"], last_s=header["last_s"])

    def leave(self) -> None:
        """The worker hung up."""
        if self._watching is not None:
            self._watching.commands.stop()


class _Watching:
    """One recording is watched.

    Parameters
    ----------
    told : dict
        By the worker: ``session``, ``alerts``, ``socket``, ``memory``.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        session = told["session"]
        self._memory = Path(told["memory"])
        self._remembered: dict[str, Any] = {}
        with suppress(ValueError, OSError):
            self._remembered = read_json(self._memory) or {}
        self._remember_s = 0.0
        self._asked = 0
        rules = [Rule.from_json(alert) for alert in told["alerts"]]
        self._watch = SessionWatch(session, rules, _tell, from_start=True, memory=self._remembered)
        self._clerk = Clerk(Path(told["socket"]), _ASK_EVERY_S, _tell, session["session"])
        self.commands = Commands(TIMEOUT_S, _tell, Path(session["directory"]))

    def look(self, *, last: bool, last_s: float) -> dict[str, Any]:
        """Look for a while; the last time until all streams are over, marks are set and commands have ended."""
        end_s = time.monotonic() + (last_s if last else _TURN_S)
        while True:
            self._turn()
            busy = self.commands.step()
            left_s = end_s - time.monotonic()
            if left_s <= 0 or (last and not busy and not self._watch.eyes and self._clerk.idle):
                break
            time.sleep(min(_LOOK_S, left_s))
        if last:
            self.commands.stop()
        alerts = [self._told(i) for i in range(len(self._watch.watches))]
        return {"streams": self._watch.streams, "alerts": alerts}

    def _turn(self) -> None:
        watch, clerk = self._watch, self._clerk
        if clerk.asked != self._asked and clerk.sessions is not None:
            self._asked = clerk.asked
            for told in clerk.sessions:
                if told["session"] == watch.session:
                    watch.update(told)
        if clerk.idle and time.monotonic() >= self._remember_s:
            self._remember()
        for firing in watch.look():
            mark = firing.mark()
            if (
                firing.seq is not None and not firing.rule.condition.timed
            ):  # a successor may meet the same sample
                mark["key"] = f"own-{firing.place}-{firing.seq}"
            clerk.set_mark(mark)
            self.commands.add(firing)
            self._remember_s = 0.0

    def _remember(self) -> None:
        """Write down what a successor must know; only once all marks are set: until then it is to set them again."""
        self._remember_s = time.monotonic() + _REMEMBER_S
        memory = json.dumps(self._watch.memory)
        if memory == json.dumps(self._remembered):
            return
        temporary = self._memory.with_name(f".{self._memory.name}.new")
        with suppress(OSError):  # the disk is full: a successor would tell some things again
            temporary.write_text(memory)
            os.replace(temporary, self._memory)
            self._remembered = json.loads(memory)

    def _told(self, i: int) -> dict[str, Any]:
        """How one alert stands."""
        watch = self._watch.watches[i]
        waits = [s for s in self._watch.waits_for if s in watch.rule.condition.streams]
        state, reason = "watching", ""
        if watch.error is not None:
            state, reason = "failed", f"{watch.error.what}\n  -> {watch.error.do}"
        elif waits:
            state, reason = "waiting", f"stream {waits[0]!r} has not begun"
        eye = self._watch.eyes.get(watch.rule.condition.stream or "")
        skipped = 0 if eye is None else eye.skipped
        return {"state": state, "reason": reason, "fired": watch.fired, "skipped": skipped}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
