"""A tap beside a ring: what it gives is what was written, and neither side of the ring notices it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import EACH, backend
from recd.taps.ring import RingTap
from recd_client import layout
from recd_client.ring import RingConsumer
from recd_client.schema import FIXED, Schema
from recd_client.shm import Doorbell, Segment
from ring_program import words_of
from rings import MIN_CAPACITY
from sink_samples import fields
from streams import FRAMES, PLAIN, VARYING, Feed, numbers_in

PROGRAM = Path(__file__).parents[1] / "ring_program.py"
SCHEMAS = {"plain": PLAIN, "varying": VARYING, "frames": FRAMES}
#: Words of a sample of the producer in a process of its own.
WORDS = 20


def pair(schema: Schema) -> tuple[Feed, RingConsumer, RingTap]:
    """A ring with its producer, its consumer, and a tap that cannot write to it."""
    feed = Feed(schema)
    return feed, RingConsumer(feed.memory), RingTap(memoryview(feed.memory).toreadonly(), schema)


def drain(consumer: RingConsumer) -> None:
    """Give the producer all its room back."""
    consumer.position = consumer.head()
    consumer.free(consumer.position)


# --- against what is known to have been written -------------------------------------------------------

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(st.just("drain"), st.just(0)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("take"), st.sampled_from([0, 200, 2_000, 1 << 20])),
        st.tuples(st.just("newest"), st.integers(1, 40)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("kind", SCHEMAS)
@given(operations=OPERATIONS)
def test_whatever_happens_a_tap_gives_the_newest_samples_whole_and_in_order(
    kind: str, operations: list[tuple[str, int]]
) -> None:
    """Each sample once and in order, up to the newest; what is not given is admitted as skipped."""
    feed, consumer, tap = pair(SCHEMAS[kind])
    seen = 0  # samples that had been written when the tap was asked last
    for what, amount in operations:
        if what == "write":
            feed.write(amount)
        elif what == "drain":
            drain(consumer)
        elif what == "lose":
            feed.lose(amount)
        elif what == "mark":
            feed.mark("event")
        elif what == "take":
            taken = tap.take(amount)
            numbers, new = numbers_in(taken.batches), feed.written[seen:]
            assert numbers == new[len(new) - len(numbers) :]
            assert taken.skipped or numbers == new
            seen = len(feed.written)
        else:
            numbers = numbers_in(tap.newest(amount).batches)
            room = MIN_CAPACITY * 3 // 4 // layout.record_bytes(960 if kind == "frames" else 300) // 2
            assert numbers == feed.written[len(feed.written) - len(numbers) :]
            assert len(numbers) >= min(amount, room, len(feed.written) - len(feed.lost))
            seen = len(feed.written)


def test_the_newest_frame_is_there_behind_any_number_of_marks() -> None:
    """Control records behind the newest sample do not hide it."""
    feed, consumer, tap = pair(FRAMES)
    feed.write(20)
    drain(consumer)
    feed.write(1)
    while feed.producer.head % MIN_CAPACITY < MIN_CAPACITY - 2_000:
        feed.mark("event", text="x" * 600)
    assert numbers_in(tap.newest(1).batches) == [feed.written[-1]]


def test_events_come_with_the_samples() -> None:
    """A tap sees marks, losses and the end of the stream."""
    feed, _, tap = pair(PLAIN)
    feed.write(3)
    feed.mark("grasped", hand="left")
    feed.lose(2)
    feed.write(1)
    feed.close()
    taken = tap.take()
    assert [e.kind for e in taken.events] == ["mark", "loss", "close"]
    assert taken.events[0].data == {"label": "grasped", "fields": {"hand": "left"}}
    assert taken.events[1].data["losses"][0]["count"] == 2


def test_what_is_given_is_a_copy() -> None:
    """Samples stay as they were while the producer writes over their place in the ring."""
    feed, consumer, tap = pair(PLAIN)
    feed.write(50)
    taken = tap.newest(10)
    for _ in range(20):
        drain(consumer)
        feed.write(60)
    assert numbers_in(taken.batches) == list(range(40, 50))


def test_what_is_being_written_over_is_not_believed() -> None:
    """A copy counts only from where the write that is under way cannot have reached."""
    feed, consumer, tap = pair(PLAIN)
    feed.write(100)
    drain(consumer)
    while feed.head < MIN_CAPACITY + MIN_CAPACITY // 2:
        feed.write(1)
        drain(consumer)
    feed.memory[layout.PRODUCER["intent_end"] : layout.PRODUCER["intent_end"] + 8] = (
        feed.head + MIN_CAPACITY // 4
    ).to_bytes(8, "little")
    oldest = feed.head + MIN_CAPACITY // 4 + layout.max_record_bytes(MIN_CAPACITY) - MIN_CAPACITY
    taken = tap.take()
    assert taken.skipped
    positions = (MIN_CAPACITY * 3 // 2 - oldest) // 128
    assert positions - 2 <= len(taken) <= positions


def test_nonsense_in_the_ring_is_skipped() -> None:
    """A head that lies, and garbage where records should be, give nothing, and no error."""
    feed, _, tap = pair(PLAIN)
    feed.write(10)
    feed.memory[layout.DATA_OFFSET : layout.DATA_OFFSET + 3 * 128] = b"\xa5" * 384
    taken = tap.take()
    assert taken.skipped
    assert numbers_in(taken.batches) == list(range(3, 10))
    feed.memory[layout.PRODUCER["head"] : layout.PRODUCER["head"] + 8] = (1 << 62).to_bytes(8, "little")
    assert len(tap.take()) == 0


# --- beside a producer in a process of its own --------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_a_producer_at_full_speed_never_tears_a_sample_for_a_tap(name: str) -> None:
    """Beside both sides at work, every sample that a tap gives is whole, and their numbers only grow."""
    ring = f"/recd-test-{uuid4().hex}"
    segment, bell = Segment.create(ring, MIN_CAPACITY, {}), Doorbell(ring, create=True)
    consumer = backend(name).RingConsumer(segment.memory)
    tap = RingTap(memoryview(segment.memory).toreadonly(), fields(x=(FIXED, "<u8", (WORDS,))))
    command = [sys.executable, str(PROGRAM), ring, ring, "60000", str(WORDS), "wait"]
    newest, looks, samples = -1, 0, 0
    try:
        with subprocess.Popen(command, env={**os.environ, "RECD_BACKEND": name}) as producer:
            while producer.poll() is None or consumer.position < consumer.head():
                consumer.position = consumer.head()
                consumer.free(consumer.position)
                taken = tap.take(MIN_CAPACITY if looks % 2 else 2_000)
                looks += len(taken) > 0
                for batch in taken.batches:
                    numbers = batch.seq.astype(np.int64)
                    assert numbers[0] > newest
                    assert (np.diff(numbers) == 1).all()
                    newest = int(numbers[-1])
                    assert (batch.fixed("x") == (numbers[:, None] << 16) + np.arange(WORDS)).all()
                    assert (batch.step == numbers).all()
                    samples += len(batch)
        assert words_of(59_999, WORDS)[1] == (59_999 << 16) + 1
        assert newest == 59_999
        assert looks > 10
        assert samples > 1000
        tap.close()
        consumer.release()
        assert segment.close()
    finally:
        segment.unlink()
        bell.unlink()
        bell.close()
