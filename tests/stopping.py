"""Kill sweeps of recordings that somebody stops from outside: :mod:`sweeping` with a simulation that is told to end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from recd_client import layout
from recd_client.schema import Schema
from recordings import manifest_of
from sweeping import SMALL, Actor, Body, Script, Take

#: How a simulation takes a stop: its next call ends the stream, it makes no call any more, or it never looks.
OBEYS, SILENT, DEAF = "obeys", "silent", "deaf"
#: Who tells the workers: somebody asks them, or it stands in the session's directory.
ASKED, NOTED = "asked", "noted"


class StoppedActor(Actor):
    """One that has its session stopped at a place of its script, and then obeys, or not."""

    def __init__(self, *arguments: Any, take: StoppedTake, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.take = take
        #: What was done, one by one, each with the end of what was published then.
        self.done: list[tuple[str, int]] = []
        self.is_stopped = False

    def _do(self, what: str) -> None:
        if what == "stop":
            self.take.stop()
            self.is_stopped = True
            self.called_off = self.take.how == SILENT
            return
        super()._do(what)
        self.done.append((what, self.producer.head))
        if self.is_stopped:
            time.sleep(0.0005)  # so that the stop comes amid its samples, whoever is quicker
        self._look()

    def _look(self) -> None:
        """End the stream, if that is asked for and this is one that obeys."""
        if self.take.how == OBEYS and self.producer.word("stop_asked") and not self.called_off:
            self.producer.close(0.0, 0, 0)
            self.called_off = True

    def _wait_for_room(self) -> None:
        while not (self._has_room() or self.called_off):
            self._look()
            if self.producer.word("stop_asked") == layout.STOP_CUT:
                self.called_off = True  # nobody makes room any more
            time.sleep(0.0002)

    def _end(self) -> None:
        """The script is over before the stop came through: as without one."""
        if self.take.how == OBEYS:
            self.producer.close(0.0, 0, 0)


class StoppedTake(Take):
    """A recording that is stopped at ``("stop",)`` in its script.

    Parameters
    ----------
    how : str
        :data:`OBEYS`, :data:`SILENT` or :data:`DEAF`.
    by : str
        :data:`ASKED` or :data:`NOTED`.
    """

    def __init__(self, *arguments: Any, how: str, by: str, **named: Any) -> None:
        self.how, self.by = how, by
        super().__init__(*arguments, **named)
        self.asked = Path(f"{self.directory}.asked")

    def new_actor(self, schema: Schema, *, closes: bool, body: Body) -> Actor:
        """See :class:`Take`."""
        return StoppedActor(schema, self.segment, self.script, closes=closes, body=body, take=self)

    def request(self) -> dict[str, Any]:
        """See :class:`Take`."""
        constants = {**SMALL, "recd.worker:_DELETED_EVERY_NS": 1_000_000}
        if self.how != OBEYS:
            constants["recd.stopping:OBEY_NS"] = 20_000_000
        return {"constants": constants, "asked": str(self.asked)}

    def stop(self) -> None:
        """Have it stopped; of a film, the session's main worker, which comes later, has noted it."""
        if self.by == NOTED or self.film:
            self.store.put_stopped("recd stop")
        if self.by == ASKED:
            self.asked.touch()

    def check(self) -> None:
        """What was published before the end, or the cut, is in the files, once; the manifest tells of the stop."""
        actor = self.actor
        assert isinstance(actor, StoppedActor)
        cut = actor.producer.word("stop_asked") == layout.STOP_CUT
        end = actor.producer.word("stop_at") if cut else actor.producer.head
        assert cut == (self.how != OBEYS), self._said()
        self.script = _together([what for what, position in actor.done if position <= end])
        super().check()
        manifest = manifest_of(self.directory)
        assert manifest["stopped"]["by"] == "recd stop"
        assert (manifest["state"], manifest["streams"]["s"]["state"]) == ("complete", "complete"), (
            self._said()
        )
        assert not self.asked.exists()

    def close(self) -> None:
        """See :class:`Take`."""
        super().close()
        self.asked.unlink(missing_ok=True)


def _together(done: list[str]) -> Script:
    """As a script."""
    return [(what,) for what in done]
