"""Where views come from: the daemon, asked again and again, whether it is there or not."""

from __future__ import annotations

import time
from typing import Any

from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError, RecdError

from ..cli._common import ANSWER_TIMEOUT_S, connect
from .disks import Disks
from .rates import View, Watch


class Source:
    """Asks the daemon; used by one thread at a time."""

    def __init__(self) -> None:
        self._caller: Caller | None = None
        self._watch = Watch(Disks())

    def look(self) -> View:
        """How everything is now.

        Raises
        ------
        RecdError
            No daemon answers, or not as it should.
        """
        answer = self.call("status")
        return self._watch.answered(answer, time.monotonic())

    def look_or_say(self) -> View:
        """How everything is now, or that no daemon answers."""
        try:
            return self.look()
        except RecdError as e:
            return self._watch.silent(str(e), time.monotonic())

    def call(self, op: str, **members: Any) -> dict[str, Any]:
        """Ask anything; over a new connection if the old one is gone."""
        fresh = self._caller is None
        try:
            if self._caller is None:
                self._caller = connect()
            return self._caller.call(op, ANSWER_TIMEOUT_S, members)
        except DaemonNotRunningError:
            self.close()
            if fresh:
                raise
        return self.call(op, **members)  # it may have been replaced

    def close(self) -> None:
        """Hang up."""
        if self._caller is not None:
            self._caller.close()
            self._caller = None
