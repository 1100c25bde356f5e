"""When a stream could not be stored, and why: for the manifest, and for a log that is not flooded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client import layout, process, shm
from recd_client.errors import RingDamagedError
from recd_client.ring import RingConsumer

#: So many are kept, the newest; all are counted.
MOST: Final = 100
#: Trouble that comes back so soon for the same reason is the same stall.
_SAME_NS: Final = 1_000_000_000
#: A reason is told again in the log after so long.
_TELL_AGAIN_NS: Final = 60_000_000_000


def tell_rings(tag: str, session: str, reason: str) -> None:
    """Leave word in the rings of a session that no worker serves, for the client's ``stats``: nothing is stored."""
    for path in shm.SHM_DIR.glob(f"{shm.PREFIX}-{tag}-{session}-*"):
        try:
            segment = shm.Segment.open(f"/{path.name}")
        except (FileNotFoundError, RingDamagedError):
            continue
        with suppress(RingDamagedError):
            ring = RingConsumer(segment.memory)
            served = process.start_ticks(ring.word("worker_pid"))
            if not served and ring.word("consumer_state") in (
                layout.CONSUMER_RUNNING,
                layout.CONSUMER_STALLED,
            ):
                ring.set_word("consumer_state", layout.CONSUMER_STALLED)
                ring.set_error(reason)
            ring.release()
        segment.close()


class Stalls:
    """The stalls of one stream; survives its worker, except for those that it has not come out of.

    Parameters
    ----------
    path : Path
        Written when a stall ends.
    now_ns, wall_ns : callable
        Monotonic clock, and that of the wall.
    """

    def __init__(
        self, path: Path, now_ns: Callable[[], int], wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._path = path
        self._now_ns = now_ns
        self._wall_ns = wall_ns
        self._ended_ns = 0
        self.count = 0
        self._newest: list[dict[str, Any]] = []
        self._told: dict[str, int] = {}
        try:
            state = json.loads(path.read_bytes())
            self.count, self._newest = int(state["count"]), list(state["newest"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # there was none, or it tells of none that can be read

    def begin(self, reason: str) -> bool:
        """The stream is stalled; whether that is news, to be logged."""
        now = self._now_ns()
        last = self._newest[-1] if self._newest else None
        if last is not None and (
            last["end_wall_ns"] is None or (last["reason"] == reason and now - self._ended_ns < _SAME_NS)
        ):
            last["end_wall_ns"] = None
        else:
            self.count += 1
            stall = {"reason": reason, "begin_wall_ns": self._wall_ns(), "end_wall_ns": None}
            self._newest = [*self._newest[1 - MOST :], stall]
        news = now - self._told.get(reason, now - _TELL_AGAIN_NS) >= _TELL_AGAIN_NS
        if news:
            self._told = {**dict([*self._told.items()][-MOST:]), reason: now}
        return news

    def end(self) -> None:
        """The stream is stored again."""
        if self._newest and self._newest[-1]["end_wall_ns"] is None:
            self._newest[-1]["end_wall_ns"], self._ended_ns = self._wall_ns(), self._now_ns()
            temporary = self._path.with_name(f".{self._path.name}")
            try:
                temporary.write_text(json.dumps(self.to_json()))
                temporary.replace(self._path)
            except OSError:
                return  # full again: the next one is written with it

    def to_json(self) -> dict[str, Any]:
        """For the manifest: how many there were, and the newest of them."""
        return {"count": self.count, "newest": self._newest}
