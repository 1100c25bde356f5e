"""The hot path: one stream's end of its ring, for any number of threads of one process.

Calls are serialised by a lock that its owner may take again; whoever holds it and finds the writer busy
has interrupted itself (a signal handler, a write inside a claim) and is refused. Whatever interrupts a
write, the ring stays whole: an attempt ends published, lost and counted, or, when the sample itself was
bad, as if it had not been made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from . import forks, layout
from .clock import Clock, Gate
from .errors import (
    ClosedError,
    ForkedHandleError,
    RecdError,
    RecordTooLargeError,
    ReentrantWriteError,
    SchemaError,
)
from .sample import Plan, VaryingPlan

if TYPE_CHECKING:
    from .ring import RingProducer

IDLE, BUSY, CLOSED, FORKED = range(4)

_FIRST_PAUSE_S: Final = 50e-6
_LONGEST_PAUSE_S: Final = 5e-3
#: How often a blocked write looks whether anybody is left who could make room.
_LOOK_EVERY_S: Final = 0.25


def refusal(what: str, state: int) -> RecdError:
    """The error for using a handle in a state that forbids it."""
    if state == FORKED:
        return ForkedHandleError(
            f"{what} belongs to the process that opened it, not to this one, which was forked from it",
            "open a Recorder of its own in this process",
        )
    if state == CLOSED:
        return ClosedError(f"{what} is closed", "write before close, or open a new one")
    return ReentrantWriteError(
        f"{what} is in the middle of a write that this call interrupted",
        "do not write to it from a signal handler or inside its claim",
    )


class WriterRules:
    """Copies samples into a ring: all but the shortest way there, and what both backends share.

    Parameters
    ----------
    name : str
        Of the stream, for messages.
    producer : RingProducer
    plan : FixedPlan or VaryingPlan
    clock : Clock
        Shared by the streams of a recorder.
    gate : Gate, optional
        Thins the stream out.
    block : bool
        Wait for room instead of dropping the sample.
    timeout_s : float, optional
        How long to wait for room; None: as long as somebody is there to make some.
    is_gone : callable
        Whether nobody is there any more.
    """

    _lock: AbstractContextManager[Any]
    _state: int
    _paused: bool
    _calls: int
    #: Payload bytes published so far.
    payload_bytes_total: int

    def __init__(
        self,
        name: str,
        producer: RingProducer,
        plan: Plan,
        clock: Clock,
        *,
        gate: Gate | None = None,
        block: bool = False,
        timeout_s: float | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.producer = producer
        self._name = name
        self._plan = plan
        self._encode = plan.encode
        self._payload_bytes = plan.payload_bytes
        self._record_bytes = layout.record_bytes(plan.payload_bytes)
        #: Every sample has this size, and it fits: nothing to measure.
        self._plain = not plan.varying and self._record_bytes <= producer.max_record_bytes
        self._clock = clock
        self._gate = gate
        self._paused = False
        #: Some samples are not wanted: there is a gate, or a pause.
        self._selective = gate is not None
        self._block = block
        self._timeout_s = timeout_s
        self._is_gone = is_gone
        self._calls = 0
        self._state = IDLE
        self.payload_bytes_total = 0
        forks.track(self)

    # --- samples -----------------------------------------------------------------------------------
    def write_any(self, data: Any, t: float | None = None, step: int | None = None) -> bool:
        """Copy a sample into the ring; False only if it was lost (see :meth:`Stream.write`)."""
        with self._lock:
            if self._state:
                raise refusal(f"stream {self._name!r}", self._state)
            producer = self.producer
            seq = producer.next_seq
            payload_bytes = mono_ns = 0
            # Python runs signal handlers behind calls only: none can come between this and the try
            self._state = BUSY
            try:
                mono_ns = monotonic_ns()
                calls = self._calls
                self._calls = calls + 1
                clock = self._clock
                if type(t) is float and step is None:  # what resolve does for most calls, at half the cost
                    clock.last_t = t
                    clock.last_step = step = clock.step
                else:
                    t, step = clock.resolve(t, step, calls, mono_ns)
                if self._selective and not self._is_wanted(t):
                    producer.count_skipped()
                    return True
                if self._plain:
                    size, payload_bytes = self._record_bytes, self._payload_bytes
                else:
                    data, payload_bytes = self._plan.prepare(data)
                    size = self._measured(payload_bytes, t, mono_ns)
                offset = producer.reserve(size)
                if offset < 0:
                    if self._plain:
                        self._plan.prepare(data)  # a bad sample is an error, no loss
                    offset, cause = self._wait_for_room(size)
                    if offset < 0:
                        producer.lose(cause, payload_bytes, t, mono_ns)
                        return False
                self._encode(offset, data)
                if self._state == FORKED:  # meanwhile; this is the child, the ring the parent's
                    raise refusal(f"stream {self._name!r}", FORKED)
                producer.publish(size, payload_bytes, t, step, mono_ns)
                self.payload_bytes_total += payload_bytes
                return True
            except SchemaError as e:
                producer.abort()
                raise SchemaError(f"stream {self._name!r}: {e.what}", e.do) from None
            except BaseException:
                if self._state == FORKED:
                    raise
                producer.recover(seq, payload_bytes, t if isinstance(t, float) else 0.0, mono_ns)
                raise
            finally:
                if self._state == BUSY:  # else this is a forked child
                    self._state = IDLE

    def _lose_interrupted(self, t: float | None, step: int | None) -> None:
        """Count a sample that was interrupted while it was looked at, before it had a place in the ring."""
        mono_ns = monotonic_ns()
        at, _ = self._clock.resolve(
            t, step, self._calls, mono_ns
        )  # (an impossible time is an error, no loss)
        self._calls += 1
        self.producer.lose("interrupted", self._payload_bytes, at, mono_ns)

    @contextmanager
    def claim_any(self, t: float | None = None, step: int | None = None) -> Iterator[Any]:
        """Hand out a record's memory, to be filled in place (see :meth:`Stream.claim`)."""
        plan = self._plan
        if isinstance(plan, VaryingPlan):
            raise self._no_claim()
        # not _exclusive: a generator within a generator would cost another microsecond
        with self._lock:
            if self._state:
                raise refusal(f"stream {self._name!r}", self._state)
            producer = self.producer
            seq, committing = producer.next_seq, False
            self._state = BUSY
            try:
                mono_ns = monotonic_ns()
                calls = self._calls
                self._calls = calls + 1
                at, number = self._clock.resolve(t, step, calls, mono_ns)
                wanted = not self._selective or self._is_wanted(at)
                offset, cause, size = -1, "", self._record_bytes
                if wanted:
                    self._measured(self._payload_bytes, at, mono_ns)
                    offset, cause = producer.reserve(size), "full"
                    if offset < 0:
                        offset, cause = self._wait_for_room(size)
                yield plan.scratch() if offset < 0 else plan.claim(offset)
                if self._state == FORKED:  # inside the block; this is the child, the ring the parent's
                    raise refusal(f"stream {self._name!r}", FORKED)
                committing = True
                if offset >= 0:
                    producer.publish(size, self._payload_bytes, at, number, mono_ns)
                    self.payload_bytes_total += self._payload_bytes
                elif wanted:
                    producer.lose(cause, self._payload_bytes, at, mono_ns)
                else:
                    producer.count_skipped()
            except BaseException:
                if committing:
                    producer.recover(seq, self._payload_bytes, at, mono_ns)
                elif self._state != FORKED:
                    producer.resync()
                raise
            finally:
                if self._state == BUSY:
                    self._state = IDLE

    def would_take(self, t: float | None, step: int | None) -> bool:
        """Whether a sample is due, although the stream has ended."""
        at, _ = self._clock.resolve(t, step, self._calls, monotonic_ns())
        self._calls += 1
        return self._is_wanted(at)

    def scratch(self) -> Any:
        """Memory for a sample that is thrown away, as :meth:`claim` hands it out.

        Raises
        ------
        SchemaError
            The size of samples is not known before.
        """
        if isinstance(self._plan, VaryingPlan):
            raise self._no_claim()
        return self._plan.scratch()

    def _no_claim(self) -> SchemaError:
        return SchemaError(
            f"stream {self._name!r} has ragged or string fields, whose size is not known before",
            "use write, or record them as a stream of their own",
        )

    def _is_wanted(self, t: float) -> bool:
        return not self._paused and (self._gate is None or self._gate.is_due(t))

    def _measured(self, payload_bytes: int, t: float, mono_ns: int) -> int:
        """The record's size; one that no ring of this size takes is counted and an error."""
        size = layout.record_bytes(payload_bytes)
        producer = self.producer
        if size > producer.max_record_bytes:
            producer.lose("too_large", payload_bytes, t, mono_ns)
            raise RecordTooLargeError(
                f"stream {self._name!r}: a sample of {payload_bytes} bytes; its ring of "
                f"{producer.capacity_bytes} bytes takes records of at most {producer.max_record_bytes}",
                f"pass buffer_bytes={4 * size + layout.CONTROL_RESERVE_BYTES} or more to stream()",
            )
        return size

    def _wait_for_room(self, size: int) -> tuple[int, str]:
        """A record's place once there is room, or -1 and the cause of its loss."""
        if not self._block:
            return -1, "full"
        producer, began_ns = self.producer, monotonic_ns()
        deadline_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        pause_s, look_s = _FIRST_PAUSE_S, time.monotonic()
        try:
            while self._block:  # until close() wants the ring
                now_s = time.monotonic()
                if deadline_s is not None and now_s >= deadline_s:
                    return -1, "timeout"
                if now_s >= look_s:
                    if self._is_gone():
                        break
                    look_s = now_s + _LOOK_EVERY_S
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                offset = producer.reserve(size)
                if offset >= 0:
                    return offset, ""
            return -1, "full"
        finally:
            producer.add_blocked_ns(monotonic_ns() - began_ns)

    # --- the timeline ------------------------------------------------------------------------------
    @contextmanager
    def _exclusive(self) -> Iterator[RingProducer]:
        """The ring, for anything but the plain write; whole again whatever happens."""
        with self._lock:
            if self._state:
                raise refusal(f"stream {self._name!r}", self._state)
            self._state = BUSY
            try:
                yield self.producer
            except BaseException:
                if self._state == BUSY:
                    self.producer.resync()
                raise
            finally:
                if self._state == BUSY:  # else this is a forked child
                    self._state = IDLE

    def mark(self, label: str, fields: dict[str, Any], t: float, step: int, mono_ns: int) -> bool:
        """Publish an event behind the samples so far; False if even the reserve is full."""
        with self._exclusive() as producer:
            return producer.mark(label, fields, t, step, mono_ns)

    def skip(self, count: int) -> None:
        """Count calls that were skipped before the ring was there."""
        with self._exclusive() as producer:
            self._calls += count
            producer.count_skipped(count)

    def lose(self, cause: str, t: float) -> None:
        """Count a sample that was lost before it came here (a replay tells again what was lost then)."""
        with self._exclusive() as producer:
            self._calls += 1
            producer.lose(cause, self._payload_bytes, t, monotonic_ns())

    def restart_gate(self) -> None:
        """Make the next sample due (after a reset)."""
        with self._exclusive():
            if self._gate is not None:
                self._gate.restart()

    def set_paused(self, paused: bool) -> bool:
        """Skip samples, or take them again; whether that is a change."""
        with self._exclusive():
            changed = paused != self._paused
            self._paused = paused
            self._selective = paused or self._gate is not None
        return changed

    def close(self, t: float, step: int, mono_ns: int) -> None:
        """Publish the end; every later call is refused, and a write that waits for room gives up."""
        self._block = False
        with self._lock:
            with self._exclusive() as producer:
                if producer.word("producer_state") != layout.PRODUCER_CLOSED:  # else interrupted behind it
                    producer.close(t, step, mono_ns)
            self._state = CLOSED

    def release(self) -> None:
        """Let go of the ring's memory; only after :meth:`close`."""
        with self._lock:
            self._state = max(self._state, CLOSED)
            del self._plan, self._encode
            self.producer.release()

    def _forget_owner(self) -> None:
        """A thread that is not in this process may hold the lock."""
        raise NotImplementedError

    def after_fork(self) -> None:
        """In a forked child: refuse everything, and touch nothing that the parent uses."""
        self._forget_owner()
        self._state = FORKED


class Writer(WriterRules):
    """The pure-Python writer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = threading.RLock()
        super().__init__(*args, **kwargs)

    write = WriterRules.write_any
    claim = WriterRules.claim_any

    def _forget_owner(self) -> None:
        self._lock = threading.RLock()
