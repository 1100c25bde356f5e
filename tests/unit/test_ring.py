"""Both ends of a ring over plain memory: what is published, what is lost, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Ends
from recd_client import layout
from recd_client.ring import RingProducer
from recd_client.segment import read_error
from rings import (
    CLOSE,
    DATA,
    LOSS,
    MARK,
    MIN_CAPACITY,
    PAD,
    closing,
    fill,
    new_memory,
    payload_of,
    published,
    put,
    record,
    taken,
)

RESERVE = layout.CONTROL_RESERVE_BYTES
#: Payload of a record of exactly 1 KiB: 16 make a lap of the smallest ring, 12 fill it.
KIB_PAYLOAD = 1024 - layout.HEADER_BYTES


class Bell:
    """A doorbell that counts."""

    def __init__(self) -> None:
        self.posts = 0

    def __call__(self) -> None:
        self.posts += 1


# --- publishing ---------------------------------------------------------------------------------------


def test_a_record_arrives_as_it_was_published(ends: Ends) -> None:
    """Every word of the header and every byte of the payload reach the consumer."""
    producer, consumer = ends.pair()
    assert put(producer, b"first", 0.5, 7, 11)
    assert put(producer, b"second" * 100, math.inf, -(2**63), 2**64 - 1)
    assert [(r.kind, r.seq, r.t, r.step, r.mono_ns, r.payload) for r in published(consumer)] == [
        (DATA, 0, 0.5, 7, 11, b"first"),
        (DATA, 1, math.inf, -(2**63), 2**64 - 1, b"second" * 100),
    ]


def test_a_record_has_the_bytes_that_the_contract_draws(ends: Ends) -> None:
    """The producer writes what an independent reading of ring.md writes."""
    producer, consumer = ends.pair()
    put(producer, payload_of(0, 100), 1.5, 3, 4)
    expected = record(DATA, 0, 0, payload_of(0, 100), t=1.5, step=3, mono_ns=4)
    assert bytes(consumer.data[: len(expected)]) == expected


def test_nothing_is_seen_before_it_is_published(ends: Ends) -> None:
    """A reservation is announced in intent_end and invisible to the consumer until its commit."""
    producer, consumer = ends.pair()
    producer.reserve(1024)
    assert (consumer.head(), consumer.word("intent_end"), consumer.word("next_seq")) == (0, 1024, 0)
    producer.publish(1024, KIB_PAYLOAD, 0.0, 0, 0)
    assert (consumer.head(), consumer.word("intent_end"), consumer.word("next_seq")) == (1024, 1024, 1)


def test_an_aborted_reservation_leaves_no_trace(ends: Ends) -> None:
    """An abort takes no number and no room: the next record stands where the aborted one would have."""
    producer, consumer = ends.pair()
    offset = producer.reserve(1024)
    producer.abort()
    assert (consumer.word("intent_end"), consumer.word("next_seq")) == (0, 0)
    assert producer.reserve(512) == offset
    producer.publish(512, 400, 0.0, 0, 0)
    assert [(r.position, r.seq) for r in published(consumer)] == [(0, 0)]


def test_after_an_exception_the_words_are_believed(ends: Ends) -> None:
    """Made whole, a producer goes on at the published head, whatever it was about to write."""
    producer, consumer = ends.pair()
    put(producer, b"before")
    producer.reserve(1024)
    producer.resync()
    assert consumer.word("intent_end") == consumer.word("head") == 128
    put(producer, b"after")
    assert [(r.position, r.seq, r.payload) for r in published(consumer)] == [
        (0, 0, b"before"),
        (128, 1, b"after"),
    ]


def test_reading_frees_nothing_and_freeing_is_what_makes_room(ends: Ends) -> None:
    """The read position and the free position are two things."""
    producer, consumer = ends.pair()
    fill(producer)
    published(consumer)
    assert producer.reserve(1024) == -1
    consumer.free(consumer.position)
    assert producer.reserve(1024) >= 0


def test_a_record_at_the_end_of_a_lap_may_fill_it_exactly(ends: Ends) -> None:
    """A record that just fits before the end needs no padding, and the next begins the next lap."""
    producer, consumer = ends.pair()
    for lap in range(4):
        for i in range(16):
            assert put(producer, payload_of(i, KIB_PAYLOAD))
            (found,) = taken(consumer)
            assert found.position == lap * MIN_CAPACITY + i * 1024


def test_padding_fills_the_end_of_a_lap(ends: Ends) -> None:
    """A record that does not fit before the end is preceded by a PAD up to the end, never split."""
    producer, consumer = ends.pair()
    for _ in range(11):
        put(producer, bytes(KIB_PAYLOAD))
    taken(consumer)
    for size in (2048, 2048, 2048):
        assert put(producer, payload_of(1, size - layout.HEADER_BYTES))
    assert [(r.kind, r.position % MIN_CAPACITY, r.size) for r in published(consumer)] == [
        (DATA, 11 * 1024, 2048),
        (DATA, 13 * 1024, 2048),
        (PAD, 15 * 1024, 1024),
        (DATA, 0, 2048),
    ]


@settings(deadline=None, max_examples=40)
@given(
    lines=st.integers(MIN_CAPACITY // 64, MIN_CAPACITY // 64 + 100),
    sizes=st.lists(st.integers(0, 100_000), min_size=1, max_size=8),
)
def test_any_capacity_carries_any_size_up_to_its_largest(ends: Ends, lines: int, sizes: list[int]) -> None:
    """Whatever the capacity and the mix of sizes, an empty ring takes every record whole, lap after lap."""
    producer, consumer = ends.pair(64 * lines)
    largest = producer.max_record_bytes - layout.HEADER_BYTES
    sizes = [0, largest, *(min(size, largest) for size in sizes)]
    for seq in range(10 * len(sizes)):
        payload = payload_of(seq, sizes[seq % len(sizes)])
        assert put(producer, payload)
        found = published(consumer)
        assert [(r.seq, r.payload) for r in found if r.kind == DATA] == [(seq, payload)]
        for r in found:
            assert r.position % producer.capacity_bytes + r.size <= producer.capacity_bytes
        consumer.free(consumer.position)


def test_a_later_producer_goes_on_where_the_words_stand(ends: Ends) -> None:
    """A second handle on the same memory continues positions and numbers."""
    memory = new_memory()
    first = ends.producer(memory)
    put(first, b"a")
    first.release()
    put(ends.producer(memory), b"b")
    assert [(r.position, r.seq, r.payload) for r in published(ends.consumer(memory))] == [
        (0, 0, b"a"),
        (128, 1, b"b"),
    ]


def test_a_consumer_may_begin_behind_what_is_safe(ends: Ends) -> None:
    """A successor that is told where its predecessor's work ends reads exactly the rest."""
    memory = new_memory()
    producer, first = ends.producer(memory), ends.consumer(memory)
    for seq in range(5):
        put(producer, payload_of(seq, 100))
    position = [r.position for r in published(first)][3]
    assert [r.seq for r in published(ends.consumer(memory, position))] == [3, 4]


# --- full ---------------------------------------------------------------------------------------------


def test_a_full_ring_refuses_and_changes_nothing_that_is_read(ends: Ends) -> None:
    """Refused, the producer leaves head, intent and data as they are, until memory is freed."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    fill(producer, KIB_PAYLOAD)
    before = bytes(memory)
    assert producer.reserve(1024) == -1
    assert bytes(memory) == before
    published(consumer)
    consumer.free(1024)
    assert producer.reserve(128) >= 0


def test_samples_never_use_the_reserve(ends: Ends) -> None:
    """However full of samples, a ring keeps the reserve free for losses, marks and the close."""
    producer, consumer = ends.pair()
    assert fill(producer, KIB_PAYLOAD) == (MIN_CAPACITY - RESERVE) // 1024
    assert consumer.head() <= MIN_CAPACITY - RESERVE
    assert producer.mark("still here", {}, 0.0, 0, 0)
    assert [r.kind for r in published(consumer)][-2:] == [LOSS, MARK]


@settings(deadline=None, max_examples=60)
@given(
    start=st.integers(0, MIN_CAPACITY // 64 - 1),
    payload=st.integers(0, 2000),
    label=st.integers(0, layout.MAX_MARK_BYTES - 25),
    causes=st.sets(st.sampled_from(layout.CAUSES)),
)
def test_the_close_fits_into_a_ring_full_of_samples_losses_and_marks(
    ends: Ends, start: int, payload: int, label: int, causes: set[str]
) -> None:
    """Wherever the lap ends, marks stop in time for the close to find room, with all its losses."""
    producer, consumer = ends.pair()
    for _ in range(start):  # 64-byte records move the place where the lap ends
        put(producer, b"")
        taken(consumer)
    fill(producer, payload)
    marks = 0
    while producer.mark("m" * label, {}, 0.0, 0, 0):
        marks += 1
    for cause in causes:
        producer.lose(cause, 1, 0.0, 0)
    producer.close(0.0, 0, 0)
    *before, close = taken(consumer)
    assert close.kind == CLOSE
    next_seq, marks_lost, told = closing(close.payload)
    assert (next_seq, marks_lost) == (producer.next_seq, 1)
    assert {loss.cause for loss in told} == causes
    assert [r.kind for r in before].count(MARK) == marks


# --- waking up ----------------------------------------------------------------------------------------


def test_nobody_rings_for_a_consumer_that_is_awake(ends: Ends) -> None:
    """Up to half full, samples and marks for a consumer that polls cost no doorbell."""
    memory, bell = new_memory(), Bell()
    producer = ends.producer(memory, bell)
    for _ in range(7):
        put(producer, bytes(KIB_PAYLOAD))
    producer.mark("quiet", {}, 0.0, 0, 0)
    assert bell.posts == 0


@pytest.mark.parametrize(
    "act",
    [lambda p: put(p, b""), lambda p: p.mark("m", {}, 0.0, 0, 0)],
    ids=["sample", "mark"],
)
def test_a_sleeper_is_woken_once(ends: Ends, act: Callable[[RingProducer], object]) -> None:
    """Each announced sleep gets exactly one post, however much is published."""
    memory, bell = new_memory(), Bell()
    producer, consumer = ends.producer(memory, bell), ends.consumer(memory)
    for sleeps in range(1, 4):
        consumer.announce_sleep()
        act(producer)
        act(producer)
        assert bell.posts == sleeps


def test_a_full_ring_wakes_a_sleeper_once(ends: Ends) -> None:
    """A producer that only loses still wakes the consumer that could help, and only once."""
    memory, bell = new_memory(), Bell()
    producer, consumer = ends.producer(memory, bell), ends.consumer(memory)
    fill(producer)
    consumer.announce_sleep()
    before = bell.posts
    for _ in range(5):
        assert not put(producer, bytes(1000))
    assert bell.posts == before + 1


def test_half_full_rings_once_until_it_has_been_drained_below(ends: Ends) -> None:
    """At half full the doorbell rings although nobody said to sleep, and again only after a drain."""
    memory, bell = new_memory(), Bell()
    producer, consumer = ends.producer(memory, bell), ends.consumer(memory)
    posts = []
    for lap in range(3):
        for _ in range(12):
            assert put(producer, bytes(KIB_PAYLOAD))
            posts.append(bell.posts - lap)
        taken(consumer)
    assert posts == 3 * [*8 * [0], *4 * [1]]


def test_close_and_flush_always_ring(ends: Ends) -> None:
    """The end, and whoever waits for a flush, wake the consumer in any case."""
    memory, bell = new_memory(), Bell()
    producer = ends.producer(memory, bell)
    producer.ring_doorbell()
    producer.ring_doorbell()
    producer.close(0.0, 0, 0)
    assert bell.posts == 3


def test_a_consumer_sleeps_only_if_nothing_was_published(ends: Ends) -> None:
    """It announces the sleep first and looks once more; news in between keep it awake."""
    producer, consumer = ends.pair()
    waits: list[float] = []
    consumer.head()
    consumer.sleep(waits.append, 0.05)
    assert waits == [0.05]
    put(producer, b"")
    consumer.sleep(waits.append, 0.05)
    assert waits == [0.05]
    assert consumer.word("sleep_ticket") == 2


def test_news_are_what_was_published_since_the_head_was_read(ends: Ends) -> None:
    """A look that costs one load tells whether there is anything new, without trusting the word."""
    producer, consumer = ends.pair()
    assert not consumer.has_news()
    put(producer, b"")
    assert consumer.has_news()
    consumer.head()
    assert not consumer.has_news()


def test_a_consumer_that_announces_its_sleep_behind_the_news_is_not_forgotten(ends: Ends) -> None:
    """A record published just before the ticket grew is seen by the second look, so no post is needed."""
    memory, bell = new_memory(), Bell()
    producer, consumer = ends.producer(memory, bell), ends.consumer(memory)
    consumer.head()
    put(producer, b"")
    consumer.announce_sleep()
    assert bell.posts == 0
    assert consumer.has_news()


# --- what the consumer says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "read"),
    [("", ""), ("ENOSPC", "ENOSPC"), ("x" * 55, "x" * 55), ("y" * 99, "y" * 55), ("größe", "gr??e")],
)
def test_the_consumer_leaves_a_short_reason(ends: Ends, code: str, read: str) -> None:
    """The client reads why its stream stalls; long or foreign text is cut and replaced, never spilled."""
    memory = new_memory()
    consumer = ends.consumer(memory)
    consumer.set_word("spooled_bytes", 77)
    consumer.set_error("something longer before")
    consumer.set_error(code)
    assert read_error(memoryview(memory)) == read
    assert consumer.word("spooled_bytes") == 77


def test_what_is_published_at_the_consumers_page_is_seen_by_the_producer(ends: Ends) -> None:
    """Durable number, epoch, state and worker reach the client by their names."""
    producer, consumer = ends.pair()
    names = [n for n in layout.CONSUMER if n not in ("error", "free_pos", "sleep_ticket")]
    for value, name in enumerate(names, 1):
        consumer.set_word(name, value)
    assert [producer.word(name) for name in names] == [*range(1, len(names) + 1)]


def test_released_ends_let_go_of_the_memory(ends: Ends) -> None:
    """After release nothing keeps the segment from being unmapped."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    put(producer, b"")
    published(consumer)
    producer.release()
    consumer.release()
    memory.clear()  # a BufferError while any view is alive
    assert memory == b""
