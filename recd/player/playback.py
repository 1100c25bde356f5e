"""Playing: a timeline, given event by event as each is due, and what one may do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from recd_client.errors import OptionError, RecdError

from .event import MARK, Event
from .pacer import Pacer, Pacing
from .timeline import Timeline

#: How often commands are looked for while nothing is waited for.
_LOOK_S: Final = 0.05


class Waiting(Protocol):
    """How a playback waits."""

    def wait(self, timeout_s: float | None) -> None:
        """Return after so many seconds, or as soon as a command came; None: only then."""
        ...

    def wake(self) -> None:
        """A command came, perhaps from another thread."""
        ...


class Sleep:
    """Waits for time, or a command of another thread."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def wait(self, timeout_s: float | None) -> None:
        """See :class:`Waiting`."""
        self._woken.wait(timeout_s)
        self._woken.clear()

    def wake(self) -> None:
        """See :class:`Waiting`."""
        self._woken.set()


class Playback:
    """An iterator over the events of a recording, each when it is due: ``for t, name, value in playback``.

    Its methods may be called from other threads than the one that iterates. Positions are seconds: stream time,
    and behind a reset with which that began anew, seconds that follow the episode before.

    Parameters
    ----------
    timeline : Timeline
    pacer : Pacer
    start, stop : float, s, optional
        Positions from and up to which is played; default: all.
    loop : bool
        Begin anew at the end.
    delay_s : float
        Begin so late.
    marks : bool
        Give marks, too.
    waiting : Waiting, optional
    on_rewind : callable, optional
        Called when playing goes on at another place.

    Raises
    ------
    OptionError
        ``start`` and ``stop`` leave nothing to play.
    """

    def __init__(
        self,
        timeline: Timeline,
        pacer: Pacer,
        *,
        start: float | None = None,
        stop: float | None = None,
        loop: bool = False,
        delay_s: float = 0.0,
        marks: bool = True,
        waiting: Waiting | None = None,
        on_rewind: Callable[[], None] = lambda: None,
    ) -> None:
        self.timeline = timeline
        self.pacer = pacer
        self.start = timeline.start if start is None else start
        self.stop = timeline.end if stop is None else stop
        if not self.start <= self.stop or self.start > timeline.end or self.stop < timeline.start:
            raise OptionError(
                f"nothing to play from {self.start:g} s to {self.stop:g} s: the recording goes from "
                f"{timeline.start:g} s to {timeline.end:g} s",
                "choose a start before the end of that, and a stop behind the start",
            )
        self.loop = loop
        self._marks = marks
        self._waiting = waiting or Sleep()
        self._on_rewind = on_rewind
        self._lock = threading.RLock()
        self._steps = self._backs = 0
        self._ended = False
        self._looked = pacer.clock()
        #: At the end: stand still there, instead of ending.
        self.holds = False
        #: Events given so far: samples by stream, and marks.
        self.given: dict[str, int] = dict.fromkeys(timeline.streams, 0)
        #: The next event, which was read before it is due.
        self._ready: Event | None = None
        self._delay_s: float | None = delay_s
        self._not_before = 0.0
        timeline.seek(self.start)
        pacer.move(self.start)

    # --- iteration -----------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._delay_s is not None:
            self._begin(self._delay_s)
        while True:
            with self._lock:
                if self._ended:
                    raise StopIteration
                now = self.pacer.clock()
                wait_s = self._until_next(now)
                if wait_s is not None and wait_s <= 0 and now - self._looked < _LOOK_S:
                    event = self._take()
                    if event is not None:
                        return event
                    continue
                if self._ready is None and not self._backs:
                    self._ready = self._read()  # so that reading it makes nobody late
                    if self._ready is not None and wait_s != 0.0:
                        continue
            self._looked = now
            self._waiting.wait(wait_s if wait_s is None else max(wait_s, 0.0))

    def _begin(self, delay_s: float) -> None:
        """The time begins with the first call, once the first event was read."""
        with self._lock:
            self._delay_s = None
            self._ready = self._read()
            self.pacer.move(self.start, delay_s)
            self._not_before = self.pacer.clock() + delay_s

    def _until_next(self, now: float) -> float | None:
        """Seconds until something is to be done; None: nothing is, without a command."""
        if self._steps or self._backs:
            return 0.0
        at = self._next_position
        due = self.pacer.due(self.stop if at is None else at)
        if due is None:
            return None
        return max(due, self._not_before) - now

    def _take(self) -> Event | None:
        """What is to be given now; None: look again."""
        if self._backs:
            self._step_back()
        stepping, self._steps = self._steps > 0, max(self._steps - 1, 0)
        event, self._ready = self._ready or self._read(), None
        if event is None:
            if not stepping:
                self._at_end()
            return None
        if event.name != MARK:
            self.given[event.name] += 1
        self.pacer.took(event.position)
        return event

    def _read(self) -> Event | None:
        """The next event that is to be given, with its value; None at the end."""
        while (at := self.timeline.peek()) is not None and at <= self.stop:
            event = self.timeline.next()
            assert event is not None
            if event.name == MARK and not self._marks:
                continue
            try:
                _ = event.value
            except RecdError as e:
                self.timeline.cut(event, e.what)
                continue
            return event
        return None

    @property
    def _next_position(self) -> float | None:
        """Where the next event to be played stands; None: there is none."""
        if self._ready is not None:
            return self._ready.position
        at = self.timeline.peek()
        return None if at is None or at > self.stop else at

    def _at_end(self) -> None:
        if self.loop:
            self._move(self.start)
            return
        if self.holds:
            self.pause()
        self._ended = not self.holds

    def _move(self, position: float) -> None:
        """Go on from another position."""
        self.timeline.seek(position)
        self._ready = None
        self.pacer.move(position)
        self._on_rewind()

    def _step_back(self) -> None:
        """Have the event before the last one follow; at the begin the first one."""
        self._backs -= 1
        for _ in range(2 if self._ready is None else 3):
            if not self._back():
                break
        self._ready = self._read()
        if self._ready is not None:
            self.pacer.move(self._ready.position)
            self._on_rewind()

    def _back(self) -> bool:
        """Move back over one event that is to be given; whether there is one."""
        while self.timeline.back():
            at = self.timeline.peek()
            if at is not None and at < self.start:
                self.timeline.next()
                return False
            if self._marks or not self.timeline.mark_is_next:
                return True
        return False

    # --- where ---------------------------------------------------------------------------------------
    @property
    def position(self) -> float:
        """Where playing is, s."""
        with self._lock:
            at = self._next_position
            return min(self.pacer.position(self.stop if at is None else at), self.stop)

    @property
    def ended(self) -> bool:
        """Whether nothing follows any more."""
        return self._ended

    @property
    def at_end(self) -> bool:
        """Whether the last event of the recording was given."""
        return self._ready is None and self.timeline.peek() is None

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self.pacer.paused

    @property
    def rate(self) -> float:
        """Seconds of the recording per second; may be set. 0: as fast as it is taken."""
        return self.pacer.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        with self._lock:
            self.pacer.set_rate(rate, self.position)
        self._waiting.wake()

    @property
    def pacing(self) -> Pacing:
        """How late events were given."""
        return self.pacer.summary

    @property
    def problems(self) -> list[str]:
        """What cannot be read, as far as it was met."""
        return self.timeline.problems

    # --- commands ------------------------------------------------------------------------------------
    def pause(self) -> None:
        """Stand still."""
        with self._lock:
            if not self.paused:
                self.pacer.pause(self.position)

    def resume(self) -> None:
        """Go on from there; nothing is made up for."""
        with self._lock:
            self.pacer.resume()
        self._waiting.wake()

    def step(self) -> None:
        """Give the next event, and stand still."""
        with self._lock:
            self.pause()
            self._steps += 1
        self._waiting.wake()

    def back(self) -> None:
        """Give the event before the last one again, and stand still."""
        with self._lock:
            self.pause()
            self._backs += 1
        self._waiting.wake()

    def seek(self, position: float) -> None:
        """Go on from another position; one outside of what is played counts as its begin or end."""
        with self._lock:
            self._delay_s = None
            self._not_before = self.pacer.clock()
            self._move(min(max(position, self.start), self.stop))
        self._waiting.wake()

    def close(self) -> None:
        """End; the iteration stops."""
        with self._lock:
            self._ended = True
        self._waiting.wake()
