"""From taps to what pages show: one channel per stream that anybody looks at, shared by all who do.

A channel begins with what the ring still holds. What the log holds beyond comes from behind, a moment later.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import RecdError

from ..batch import Event
from ..session import SessionStore
from ..taps.stream import Live, StreamTap
from .fields import PICTURE, Columns, kind_of
from .older import Older, Readers
from .trail import Trail

#: What one look takes at most of a stream of numbers.
_LIMIT_BYTES: Final = 8 << 20
#: Two looks are so far apart at least: pages that ask at the same time see the same.
_LOOK_S: Final = 0.008
#: A channel that nobody looked at for so long is closed.
_IDLE_S: Final = 60.0
_EVENTS: Final = 1000


class Frame(NamedTuple):
    """The newest picture of a field."""

    seq: int
    t: float
    pixels: NDArray[Any]


class Channel:
    """What is known of one stream since somebody first looked at it, and what its ring and log still held then.

    Parameters
    ----------
    live : Live
    wall_offset_s : float
        What to add to the monotonic clock for Unix time.
    readers : Readers
        Who reads the log.

    Raises
    ------
    NoSuchSessionError, RingDamagedError
        See :class:`~recd.taps.stream.StreamTap`.
    """

    def __init__(self, live: Live, wall_offset_s: float, readers: Readers) -> None:
        self.live = live
        self._tap = StreamTap(live)
        self._readers = readers
        self._older: Older | None = None
        schema = self._tap.schema
        self.columns = Columns(schema)
        self._pictures = [f.name for f in schema.fields if kind_of(f) == PICTURE]
        self.trail = Trail(self.columns.count)
        self.frames: dict[str, Frame] = {}
        #: The newest ones, each with its number in the order in which they became known.
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        #: Events that were ever seen.
        self.told = 0
        self._outside_n = -1  # the newest mark from outside that is told
        self._wall_offset_s = wall_offset_s
        self._looked_s = self.wanted_s = 0.0
        self.ended = False

    def look(self) -> None:
        """Take in what is new."""
        now = time.monotonic()
        self.wanted_s = now
        self._take_older()
        if now - self._looked_s < _LOOK_S or self.ended:
            return
        first = self._looked_s == 0
        self._looked_s = now
        ended = self._tap.ended  # asked before the last look, so that nothing stays behind
        if not self._tap.moved and not first and not ended:
            return
        only_pictures = not self.columns.count
        limit_bytes = None if first else _LIMIT_BYTES
        taken = self._tap.newest(1) if only_pictures else self._tap.take(limit_bytes)
        for batch in taken.batches:
            wall = batch.mono_ns / 1e9 + self._wall_offset_s
            if self.columns.count:
                self.trail.add(batch.t.copy(), wall, batch.seq.astype(np.int64), self.columns.table(batch))
        if taken.batches:
            batch = taken.batches[-1]
            for name in self._pictures:
                self.frames[name] = Frame(int(batch.seq[-1]), float(batch.t[-1]), batch.fixed(name)[-1])
        for event in taken.events:
            self._tell(event)
        self.ended = ended
        if first and self.columns.count:
            self._read_log(taken.begin)

    def _read_log(self, before: int) -> None:
        log = SessionStore(self.live.directory, self.live.session).stream_path(self.live.stream) / "log"
        self._older = Older(log, self._tap.schema, before, self.trail.room_before, self._wall_offset_s)
        self._readers.read(self._older)

    @property
    def reads_back(self) -> bool:
        """Whether older samples may still come out of the log."""
        return self._older is not None and not (self._older.done and not self._older.found)

    def _take_older(self) -> None:
        while self._older is not None and self._older.found:
            found = self._older.found.popleft()
            if found.rows is not None:
                self.trail.add_before(found.rows, found.epoch_seq)
            room = _EVENTS - len(self.events)
            for event in found.events[max(len(found.events) - room, 0) :]:
                self._tell(event)

    def set_marks(self, marks: list[dict[str, Any]]) -> None:
        """Take in the marks from outside, as the daemon's status has them."""
        for mark in marks:
            wall = mark["wall_ns"] / 1e9
            oldest = self.trail.oldest("wall")
            if mark["n"] <= self._outside_n or oldest is None:
                continue
            if wall < oldest[0] and self.reads_back:
                return  # its sample may yet be found
            self._outside_n = mark["n"]
            nearest_t, seq = self.trail.at(wall) or (0.0, 0)
            self._add(
                {
                    "kind": "alert" if mark.get("source") == "alert" else "outside",
                    "seq": seq,
                    "sim": nearest_t if mark.get("t") is None else mark["t"],
                    "wall": wall,
                    "mark": mark["n"],
                    "label": mark["label"],
                    "fields": mark.get("fields") or {},
                }
            )

    def _add(self, told: dict[str, Any]) -> None:
        self.told += 1
        self.events.append({"n": self.told, **told})

    def _tell(self, event: Event) -> None:
        wall = event.mono_ns / 1e9 + self._wall_offset_s
        told: dict[str, Any] = {"kind": event.kind, "seq": event.seq, "sim": event.t, "wall": wall}
        if event.kind == "mark":
            told |= {"label": event.data.get("label", ""), "fields": event.data.get("fields") or {}}
        else:
            losses = event.data.get("losses") or ()
            told["lost"] = sum(int(loss.get("count", 0)) for loss in losses)
            # Where the first and the last one that is missing would stand.
            for key, pick, name in (("from", min, "first"), ("to", max, "last")):
                sim = pick((loss[f"t_{name}"] for loss in losses), default=None)
                mono_ns = pick((loss[f"mono_{name}_ns"] for loss in losses), default=None)
                told[key] = {
                    "sim": sim,
                    "wall": None if mono_ns is None else mono_ns / 1e9 + self._wall_offset_s,
                }
        self._add(told)

    def close(self) -> None:
        """Let go of the ring, and of the log."""
        if self._older is not None:
            self._readers.forget(self._older)
        self._tap.close()


class Channels:
    """The channels that are open, by ``SESSION/STREAM``."""

    def __init__(self) -> None:
        self._open: dict[str, Channel] = {}
        self.live: dict[str, Live] = {}
        #: By session.
        self._marks: dict[str, list[dict[str, Any]]] = {}
        self._readers = Readers()
        self._wall_offset_s = time.time() - time.monotonic()

    def set_live(self, streams: list[Live], marks: dict[str, list[dict[str, Any]]]) -> None:
        """These are the streams that are being recorded now, and the newest marks from outside of their sessions."""
        self._marks = marks
        self.live = {f"{s.session}/{s.stream}": s for s in streams}
        self.tidy()

    def tidy(self) -> bool:
        """Let go of what nobody has looked at for a minute; whether any channel is left."""
        now = time.monotonic()
        for name, channel in list(self._open.items()):
            if now - channel.wanted_s > _IDLE_S:
                self._drop(name)
        return bool(self._open)

    def get(self, name: str) -> Channel | None:
        """The stream's channel after a look at the ring; None for one that cannot be looked at."""
        channel = self._open.get(name)
        if channel is None:
            live = self.live.get(name)
            if live is None:
                return None
            try:
                channel = Channel(live, self._wall_offset_s, self._readers)
            except RecdError:  # it has just ended, or its ring is set aside: the status tells
                return None
            self._open[name] = channel
        channel.look()
        channel.set_marks(self._marks.get(channel.live.session, []))
        return channel

    def _drop(self, name: str) -> None:
        channel = self._open.pop(name, None)
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Let go of all rings."""
        for name in list(self._open):
            self._drop(name)
        self._readers.close()
