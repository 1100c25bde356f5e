"""All streams of a recording as one timeline, which is read as it is played, forward and back."""

from __future__ import annotations

import heapq

from recd_client.errors import OutputError, RecdError

from ..reader import ArrayStream, Run, VideoStream
from ..reader.problems import tell
from .event import Event
from .lanes import ArrayLane, Key, Lane, MarkLane, StreamLane, VideoLane
from .laps import laps_of


class Timeline:
    """Samples and marks in the order of their times; of each stream in the order in which they were written.

    A cursor stands between two events. Where times are equal, streams go in the given order, and a mark behind
    the samples that were written before it.

    Parameters
    ----------
    run : Run
    streams : dict
        Name to stream; those that cannot be read are passed over, and named in :attr:`problems`.

    Raises
    ------
    OutputError
        None of them has a sample.
    """

    def __init__(self, run: Run, streams: dict[str, ArrayStream | VideoStream]) -> None:
        self.run = run
        readable = {name: s for name, s in streams.items() if _count(s)}
        self._laps = laps_of(run, readable)
        self.streams = {name: s for name, s in readable.items() if self._laps.times[name].count}
        if not self.streams:
            raise OutputError(
                f"{run.path} holds no sample of {', '.join(streams) or 'any stream'}"
                + "".join(f"; {p}" for p in run.problems),
                "look closer with: recd info, recd verify",
            )
        marks = run.marks
        self._lanes: list[Lane] = []
        for n, stream in enumerate(self.streams.values()):
            if isinstance(stream, VideoStream):
                self._lanes.append(VideoLane(stream, self._laps, marks, n))
            else:
                self._lanes.append(ArrayLane(stream, self._laps, marks, n))
        self._lanes.append(MarkLane(marks, self._laps))
        self._heap: list[tuple[Key, int]] = []
        self._sort()

    @property
    def start(self) -> float:
        """Position of the first sample, s."""
        return self._laps.start

    @property
    def end(self) -> float:
        """Position of the last sample, s."""
        return self._laps.end

    @property
    def problems(self) -> list[str]:
        """What cannot be read, as far as it was met."""
        return self.run.problems

    def peek(self) -> float | None:
        """Position of the event behind the cursor; None at the end."""
        if not self._heap:
            return None
        lap, key, *_ = self._heap[0][0]
        return self._laps.position(lap, key)

    @property
    def mark_is_next(self) -> bool:
        """Whether the event behind the cursor is a mark."""
        return bool(self._heap) and self._heap[0][1] == len(self._lanes) - 1

    def next(self) -> Event | None:
        """The event behind the cursor, which moves over it; None at the end."""
        if not self._heap:
            return None
        number = self._heap[0][1]
        event = self._lanes[number].advance()
        key = self._lanes[number].head()
        if key is None:
            heapq.heappop(self._heap)
        else:
            heapq.heapreplace(self._heap, (key, number))
        return event

    def back(self) -> bool:
        """Move the cursor back over the event before it; whether there is one."""
        tails = [(key, n) for n, lane in enumerate(self._lanes) if (key := lane.tail()) is not None]
        if not tails:
            return False
        self._lanes[max(tails)[1]].retreat()
        self._sort()
        return True

    def seek(self, position: float) -> None:
        """Move the cursor before the first event at or behind a position."""
        place = self._laps.place(position)
        for lane in self._lanes:
            lane.seek(*place)
        self._sort()
        while (at := self.peek()) is not None and at < position:
            self.next()

    def cut(self, event: Event, reason: str) -> None:
        """The event that was just given has no value: its stream ends before it, and it is named."""
        stream, lane = self.streams[event.name], self._lanes[[*self.streams].index(event.name)]
        assert isinstance(lane, StreamLane)
        tell(stream.problems, f"stream {event.name!r} ends before t = {event.t:.6g}: {reason}")
        lane.cut()
        self._sort()

    def _sort(self) -> None:
        self._heap = [(key, n) for n, lane in enumerate(self._lanes) if (key := lane.head()) is not None]
        heapq.heapify(self._heap)


def _count(stream: ArrayStream | VideoStream) -> int:
    """Its samples; none of one that cannot be read, which is told."""
    try:
        return len(stream)
    except RecdError as e:
        tell(stream.problems, e.what)
        return 0
