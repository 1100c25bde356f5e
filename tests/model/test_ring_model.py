"""The ring against a plain list: whatever the two sides do, order, numbers and losses come out right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from backends import Ends
from recd_client import layout, records
from rings import (
    CAUSES,
    CLOSE,
    DATA,
    LOSS,
    MARK,
    MIN_CAPACITY,
    Loss,
    Record,
    closing,
    losses,
    new_memory,
    padded,
    parse,
    payload_of,
)


class Expected(NamedTuple):
    """A record that the consumer must find, in this order."""

    kind: int
    seq: int
    payload: bytes | None = None
    losses: tuple[Loss, ...] = ()


@dataclass
class Model:
    """What a list would hold."""

    records: list[Expected] = field(default_factory=list)
    pending: dict[str, Loss] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    lost_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    attempts: int = 0
    published: int = 0
    marks_lost: int = 0

    def tell(self) -> None:
        """Publish what was lost since it was last told."""
        if self.pending:
            self.records.append(Expected(LOSS, self.attempts, losses=self.told()))
            self.pending.clear()

    def told(self) -> tuple[Loss, ...]:
        return tuple(self.pending[cause] for cause in CAUSES if cause in self.pending)

    def lose(self, cause: str, size: int, t: float, mono_ns: int) -> None:
        first = self.pending.get(cause, Loss(cause, self.attempts, 0, 0, 0, t, t, mono_ns, mono_ns))
        self.pending[cause] = first._replace(
            last_seq=self.attempts, samples=first.samples + 1, size_bytes=first.size_bytes + size,
            t_last=t, mono_last_ns=mono_ns,
        )  # fmt: skip
        self.lost[cause] += 1
        self.lost_bytes[cause] += size
        self.attempts += 1


class RingMachine(RuleBasedStateMachine):
    """A producer and a consumer that may die, on one ring, beside a list."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self.ends = ends

    @initialize(lines=st.integers(0, 64), fixed=st.none() | st.integers(0, 500), begin=st.integers(0, 600))
    def open(self, lines: int, fixed: int | None, begin: int) -> None:
        self.memory = new_memory(MIN_CAPACITY + 64 * lines)
        self.producer = self.ends.producer(self.memory)
        self.consumer = self.ends.consumer(self.memory)
        self.fixed = fixed
        self.model = Model()
        self.clock = 0
        #: Index of the first record that is not read.
        self.read = 0
        #: What is read and not freed: each record's end, and the index behind it.
        self.not_free: list[tuple[int, int]] = []
        self.freed = 0
        for _ in range(begin):  # anywhere in the first laps
            self._write(0)
            self.drain()

    # --- the producer ------------------------------------------------------------------------------
    def _payload(self, size: int) -> bytes:
        return payload_of(self.model.attempts, size if self.fixed is None else self.fixed)

    def _now(self) -> tuple[float, int]:
        self.clock += 1
        return self.clock / 8, self.clock

    def _reserve(self, size: int) -> int:
        """A place if the record fits behind what must precede it, else -1, and nothing changes."""
        producer, head = self.producer, self.producer.head
        end = self.consumer.free_position + producer.capacity_bytes - layout.CONTROL_RESERVE_BYTES
        need = size + (padded(64 + 72 * len(self.model.pending)) if self.model.pending else 0)
        left = producer.capacity_bytes - head % producer.capacity_bytes
        if need > left:
            need += left
        offset = producer.reserve(size)
        assert (offset >= 0) == (head + need <= end)
        assert producer.head == (head + need - size if offset >= 0 else head)
        if offset >= 0:
            self.model.tell()
        return offset

    @rule(sizes=st.lists(st.integers(0, 300) | st.integers(0, 4000), min_size=1, max_size=40))
    def write(self, sizes: list[int]) -> None:
        """Samples, dropped when full."""
        for size in sizes:
            self._write(size)

    @rule(size=st.integers(0, 4000))
    def fill(self, size: int) -> None:
        """Samples until the first is dropped."""
        lost = self.model.lost["full"]
        while self.model.lost["full"] == lost:
            self._write(size)

    def _write(self, size: int) -> None:
        payload, (t, mono_ns) = self._payload(size), self._now()
        size = layout.record_bytes(len(payload))
        offset = self._reserve(size)
        if offset < 0:
            self.producer.lose("full", len(payload), t, mono_ns)
            self.model.lose("full", len(payload), t, mono_ns)
            return
        self.memory[offset + 64 : offset + 64 + len(payload)] = payload
        self.producer.publish(size, len(payload), t, self.clock, mono_ns)
        self.model.records.append(Expected(DATA, self.model.attempts, payload))
        self.model.attempts += 1
        self.model.published += 1

    @rule(size=st.integers(0, 4000), reached=st.floats(0, 1), failed=st.booleans())
    def write_half(self, size: int, reached: float, failed: bool) -> None:
        """A sample that is given back after part of it was copied, or interrupted there."""
        payload, (t, mono_ns) = self._payload(size), self._now()
        seq, offset = self.producer.next_seq, self._reserve(layout.record_bytes(len(payload)))
        if offset < 0:
            return
        half = int(reached * len(payload))
        self.memory[offset + 64 : offset + 64 + half] = bytes(half)
        if not failed:
            self.producer.abort()
            return
        assert not self.producer.recover(seq, len(payload), t, mono_ns)
        self.model.lose("interrupted", len(payload), t, mono_ns)

    @rule(cause=st.sampled_from(CAUSES), size=st.integers(0, 10**9))
    def lose(self, cause: str, size: int) -> None:
        """A sample that is lost before it got to the ring."""
        t, mono_ns = self._now()
        self.producer.lose(cause, size, t, mono_ns)
        self.model.lose(cause, size, t, mono_ns)

    @rule(size=st.integers(0, 900), count=st.integers(1, 12))
    def mark(self, size: int, count: int) -> None:
        """Events, which may use the reserve."""
        for _ in range(count):
            t, mono_ns = self._now()
            label = "m" * size
            if self.producer.mark(label, {}, t, 0, mono_ns):
                self.model.tell()
                payload = f'{{"label":"{label}","fields":{{}}}}'.encode()
                self.model.records.append(Expected(MARK, self.model.attempts, payload))
            else:
                self.model.marks_lost += 1

    def _close(self) -> None:
        t, mono_ns = self._now()
        self.producer.close(t, 0, mono_ns)
        self.model.records.append(Expected(CLOSE, self.model.attempts, losses=self.model.told()))
        self.model.pending.clear()

    # --- the consumer ------------------------------------------------------------------------------
    @rule()
    def drain(self) -> None:
        """Read and free everything."""
        while self.consumer.position < self.consumer.head():
            self.consume(1 << 20)
        self.free(1.0)

    @rule(limit=st.integers(1, 10_000))
    def consume(self, limit: int) -> None:
        """Read records up to a limit of bytes, as a worker does."""
        consumer = self.consumer
        region = consumer.region(consumer.position, consumer.head())
        stride = 0 if self.fixed is None else layout.record_bytes(self.fixed)
        begin, size = consumer.position, 0
        for item in records.split(region, begin, stride, self.fixed or 0, limit_bytes=limit):
            size = item.offset + item.size
        for found in parse(region[:size], begin):
            self._take(found)
        consumer.position += size

    def _take(self, found: Record) -> None:
        assert found.position % self.producer.capacity_bytes + found.size <= self.producer.capacity_bytes
        if found.kind:  # no padding
            expected = self.model.records[self.read]
            assert (found.kind, found.seq) == (expected.kind, expected.seq)
            if found.kind == LOSS:
                assert tuple(losses(found.payload)) == expected.losses
            elif found.kind == CLOSE:
                next_seq, marks_lost, told = closing(found.payload)
                assert (next_seq, marks_lost) == (self.model.attempts, self.model.marks_lost)
                assert tuple(told) == expected.losses
            else:
                assert found.payload == expected.payload
            self.read += 1
        self.not_free.append((found.position + found.size, self.read))

    @rule(share=st.floats(0, 1))
    def free(self, share: float) -> None:
        """Give memory back up to some record that was read."""
        n = round(share * len(self.not_free))
        if n:
            position, self.freed = self.not_free[n - 1]
            self.consumer.free(position)
            del self.not_free[:n]

    @rule()
    def die(self) -> None:
        """The consumer dies; its successor goes on at the last place that was safe."""
        self.consumer = self.ends.consumer(self.memory, self.consumer.free_position)
        self.read = self.freed
        self.not_free.clear()

    @rule()
    def sleep(self) -> None:
        """The consumer goes to sleep, unless there is news."""
        self.consumer.sleep(lambda _: None, 0.05)

    # --- what always holds -------------------------------------------------------------------------
    @invariant()
    def nothing_is_unaccounted_for(self) -> None:
        """Attempts equal what was published plus what was lost by cause, in shared memory too."""
        if not hasattr(self, "producer"):
            return
        word, model = self.consumer.word, self.model
        assert word("next_seq") == model.attempts == model.published + sum(model.lost.values())
        for cause in CAUSES:
            assert word(f"lost_{cause}_count") == model.lost[cause]
            assert word(f"lost_{cause}_bytes") == model.lost_bytes[cause]
        assert word("marks_lost") == model.marks_lost
        assert word("intent_end") == word("head") == self.producer.head

    def teardown(self) -> None:
        """The close finds room in any ring; then everything that was published is there, once."""
        if not hasattr(self, "producer"):
            return
        self._close()
        self.drain()
        assert self.read == len(self.model.records)


def test_the_ring_is_a_list(ends: Ends) -> None:
    """Order is kept, nothing comes twice, and attempts are what was published plus what was lost."""
    how_long = settings(deadline=None, max_examples=80, stateful_step_count=50)
    run_state_machine_as_test(lambda: RingMachine(ends), settings=how_long)  # type: ignore[no-untyped-call]
