"""Both ends of a ring over plain memory: what is published, what is lost, what is refused."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd_client import layout, records
from recd_client.errors import RecordTooLargeError, RingDamagedError
from recd_client.ring import RingConsumer, RingProducer, format_segment, read_error
from rings import (
    CLOSE,
    DATA,
    LOSS,
    MARK,
    MIN_CAPACITY,
    PAD,
    Loss,
    closing,
    fill,
    losses,
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


def pair(capacity_bytes: int = MIN_CAPACITY) -> tuple[RingProducer, RingConsumer]:
    """Both ends of a new ring."""
    memory = new_memory(capacity_bytes)
    return RingProducer(memory), RingConsumer(memory)


# --- publishing ---------------------------------------------------------------------------------------


def test_a_record_arrives_as_it_was_published() -> None:
    """Every word of the header and every byte of the payload reach the consumer."""
    producer, consumer = pair()
    assert put(producer, b"first", 0.5, 7, 11)
    assert put(producer, b"second" * 100, math.inf, -(2**63), 2**64 - 1)
    assert [(r.kind, r.seq, r.t, r.step, r.mono_ns, r.payload) for r in published(consumer)] == [
        (DATA, 0, 0.5, 7, 11, b"first"),
        (DATA, 1, math.inf, -(2**63), 2**64 - 1, b"second" * 100),
    ]


def test_a_record_has_the_bytes_that_the_contract_draws() -> None:
    """The producer writes what an independent reading of ring.md writes."""
    producer, consumer = pair()
    put(producer, payload_of(0, 100), 1.5, 3, 4)
    expected = record(DATA, 0, 0, payload_of(0, 100), t=1.5, step=3, mono_ns=4)
    assert bytes(consumer.data[: len(expected)]) == expected


def test_nothing_is_seen_before_it_is_published() -> None:
    """A reservation is announced in intent_end and invisible to the consumer until its commit."""
    producer, consumer = pair()
    producer.reserve(1024)
    assert (consumer.head(), consumer.word("intent_end"), consumer.word("next_seq")) == (0, 1024, 0)
    producer.publish(1024, KIB_PAYLOAD, 0.0, 0, 0)
    assert (consumer.head(), consumer.word("intent_end"), consumer.word("next_seq")) == (1024, 1024, 1)


def test_an_aborted_reservation_leaves_no_trace() -> None:
    """An abort takes no number and no room: the next record stands where the aborted one would have."""
    producer, consumer = pair()
    offset = producer.reserve(1024)
    producer.abort()
    assert (consumer.word("intent_end"), consumer.word("next_seq")) == (0, 0)
    assert producer.reserve(512) == offset
    producer.publish(512, 400, 0.0, 0, 0)
    assert [(r.position, r.seq) for r in published(consumer)] == [(0, 0)]


def test_reading_frees_nothing_and_freeing_is_what_makes_room() -> None:
    """The read position and the free position are two things."""
    producer, consumer = pair()
    fill(producer)
    published(consumer)
    assert producer.reserve(1024) == -1
    consumer.free(consumer.position)
    assert producer.reserve(1024) >= 0


def test_a_record_at_the_end_of_a_lap_may_fill_it_exactly() -> None:
    """A record that just fits before the end needs no padding, and the next begins the next lap."""
    producer, consumer = pair()
    for lap in range(4):
        for i in range(16):
            assert put(producer, payload_of(i, KIB_PAYLOAD))
            (found,) = taken(consumer)
            assert found.position == lap * MIN_CAPACITY + i * 1024


def test_padding_fills_the_end_of_a_lap() -> None:
    """A record that does not fit before the end is preceded by a PAD up to the end, never split."""
    producer, consumer = pair()
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
def test_any_capacity_carries_any_size_up_to_its_largest(lines: int, sizes: list[int]) -> None:
    """Whatever the capacity and the mix of sizes, an empty ring takes every record whole, lap after lap."""
    producer, consumer = pair(64 * lines)
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


def test_a_later_producer_goes_on_where_the_words_stand() -> None:
    """A second handle on the same memory continues positions and numbers."""
    memory = new_memory()
    first = RingProducer(memory)
    put(first, b"a")
    first.release()
    put(RingProducer(memory), b"b")
    assert [(r.position, r.seq, r.payload) for r in published(RingConsumer(memory))] == [(0, 0, b"a"), (128, 1, b"b")]


def test_a_consumer_may_begin_behind_what_is_safe() -> None:
    """A successor that is told where its predecessor's work ends reads exactly the rest."""
    memory = new_memory()
    producer, first = RingProducer(memory), RingConsumer(memory)
    for seq in range(5):
        put(producer, payload_of(seq, 100))
    position = [r.position for r in published(first)][3]
    assert [r.seq for r in published(RingConsumer(memory, position))] == [3, 4]


# --- full ---------------------------------------------------------------------------------------------


def test_a_full_ring_refuses_and_changes_nothing_that_is_read() -> None:
    """Refused, the producer leaves head, intent and data as they are, until memory is freed."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    fill(producer, KIB_PAYLOAD)
    before = bytes(memory)
    assert producer.reserve(1024) == -1
    assert bytes(memory) == before
    published(consumer)
    consumer.free(1024)
    assert producer.reserve(128) >= 0


def test_samples_never_use_the_reserve() -> None:
    """However full of samples, a ring keeps the reserve free for losses, marks and the close."""
    producer, consumer = pair()
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
    start: int, payload: int, label: int, causes: set[str]
) -> None:
    """Wherever the lap ends, marks stop in time for the close to find room behind them, with all its losses."""
    producer, consumer = pair()
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


# --- losses -------------------------------------------------------------------------------------------


def test_a_lost_sample_takes_a_number_and_is_counted_by_its_cause() -> None:
    """Each cause has its count and bytes in shared memory, at once."""
    producer, consumer = pair()
    for n, cause in enumerate(layout.CAUSES, 1):
        for _ in range(n):
            producer.lose(cause, 100 * n, 0.0, 0)
    assert producer.lost() == dict(zip(layout.CAUSES, (1, 2, 3, 4), strict=True))
    assert [consumer.word(f"lost_{c}_bytes") for c in layout.CAUSES] == [100, 400, 900, 1600]
    assert consumer.word("next_seq") == 10


def test_a_loss_is_told_just_before_the_next_record() -> None:
    """The LOSS record says first and last number, count, bytes and times, and stands right before the sample."""
    producer, consumer = pair()
    put(producer, b"before")
    producer.lose("full", 10, 1.0, 100)
    producer.lose("full", 20, 2.0, 200)
    producer.lose("full", 30, math.nan, 300)
    put(producer, b"after", 4.0, 4, 400)
    first, loss, last = published(consumer)
    assert (first.kind, first.seq, last.kind, last.seq) == (DATA, 0, DATA, 4)
    assert (loss.kind, loss.seq, loss.mono_ns) == (LOSS, 4, 300)
    (told,) = losses(loss.payload)
    assert told[:6] == ("full", 1, 3, 3, 60, 1.0)
    assert math.isnan(told.t_last)
    assert told[7:] == (100, 300)


def test_losses_of_several_causes_are_told_together() -> None:
    """One LOSS record has an entry per cause, and its own times are those of the last loss."""
    producer, consumer = pair()
    producer.lose("interrupted", 5, 9.0, 90)
    producer.lose("full", 1, 10.0, 100)
    producer.lose("interrupted", 7, 11.0, 110)
    put(producer, b"")
    loss, _ = published(consumer)
    assert (loss.t, loss.mono_ns) == (11.0, 110)
    assert losses(loss.payload) == [
        Loss("full", 1, 1, 1, 1, 10.0, 10.0, 100, 100),
        Loss("interrupted", 0, 2, 2, 12, 9.0, 11.0, 90, 110),
    ]


def test_a_loss_is_told_once() -> None:
    """What one LOSS record told, neither the next one nor the close tells again."""
    producer, consumer = pair()
    producer.lose("full", 1, 0.0, 0)
    put(producer, b"")
    put(producer, b"")
    producer.lose("timeout", 2, 0.0, 0)
    put(producer, b"")
    producer.close(0.0, 0, 0)
    found = published(consumer)
    assert [r.kind for r in found] == [LOSS, DATA, DATA, LOSS, DATA, CLOSE]
    assert [loss.cause for r in found if r.kind == LOSS for loss in losses(r.payload)] == ["full", "timeout"]
    assert closing(found[-1].payload) == (5, 0, [])


def test_a_mark_is_preceded_by_the_losses_before_it() -> None:
    """A gap stands on the timeline where it happened: before the mark that came after it."""
    producer, consumer = pair()
    producer.lose("full", 1, 0.0, 0)
    producer.mark("reset", {}, 0.0, 0, 0)
    put(producer, b"")
    assert [r.kind for r in published(consumer)] == [LOSS, MARK, DATA]


def test_a_loss_goes_across_the_end_of_a_lap_with_its_sample() -> None:
    """Padding comes before the loss, so that loss and sample stay together."""
    producer, consumer = pair()
    for _ in range(15):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    put(producer, bytes(KIB_PAYLOAD - 128))
    producer.lose("full", 1, 0.0, 0)
    put(producer, b"")
    assert [r.kind for r in published(consumer)] == [DATA, PAD, LOSS, DATA]


def test_the_close_tells_the_losses_that_no_record_told() -> None:
    """Losses at the very end are not forgotten: the close carries them."""
    producer, consumer = pair()
    attempts = fill(producer) + 1
    producer.lose("full", 50, 2.0, 3)
    producer.close(9.0, 99, 999)
    close = published(consumer)[-1]
    assert (close.kind, close.seq, close.t, close.step, close.mono_ns) == (CLOSE, attempts + 1, 9.0, 99, 999)
    told = Loss("full", attempts - 1, attempts, 2, 1050, 0.0, 2.0, 0, 3)
    assert closing(close.payload) == (attempts + 1, 0, [told])
    assert consumer.word("producer_state") == layout.PRODUCER_CLOSED


def test_every_attempt_is_published_or_counted() -> None:
    """Attempts equal samples that arrived plus losses by cause, whatever comes in between."""
    producer, consumer = pair()
    arrived = 0
    for n in range(200):
        put(producer, payload_of(n, 37 * n % 900))
        if n % 50 == 49:
            arrived += sum(r.kind == DATA for r in taken(consumer))
    producer.close(0.0, 0, 0)
    arrived += sum(r.kind == DATA for r in taken(consumer))
    assert producer.lost()["full"] > 0
    assert producer.next_seq == arrived + sum(producer.lost().values()) == 200


# --- the timeline -------------------------------------------------------------------------------------


def test_a_mark_stands_where_it_happened_and_takes_no_number() -> None:
    """A mark lies between the samples around it, with label and fields; numbers go on across it."""
    producer, consumer = pair()
    put(producer, b"")
    assert producer.mark("größer", {"envs_idx": [1, 2], "x": None}, 0.5, 6, 7)
    put(producer, b"")
    before, mark, after = published(consumer)
    assert (before.seq, mark.seq, after.seq) == (0, 1, 1)
    assert (mark.kind, mark.t, mark.step, mark.mono_ns) == (MARK, 0.5, 6, 7)
    assert mark.payload == b'{"label":"gr\\u00f6\\u00dfer","fields":{"envs_idx":[1,2],"x":null}}'


def test_a_mark_may_have_the_size_that_the_contract_allows_and_no_more() -> None:
    """The largest mark arrives; one byte more is an error that names both sizes, and publishes nothing."""
    producer, consumer = pair()
    frame = len('{"label":"","fields":{}}')
    assert producer.mark("x" * (layout.MAX_MARK_BYTES - frame), {}, 0.0, 0, 0)
    with pytest.raises(RecordTooLargeError, match=r"takes 1025 bytes, at most 1024") as caught:
        producer.mark("x" * (layout.MAX_MARK_BYTES - frame + 1), {}, 0.0, 0, 0)
    assert caught.value.do
    assert [len(r.payload) for r in published(consumer)] == [layout.MAX_MARK_BYTES]


def test_a_mark_that_finds_no_room_is_counted() -> None:
    """Even the reserve ends: then a mark is refused and counted, and the close says how many were."""
    producer, consumer = pair()
    fill(producer)
    while producer.mark("m" * 900, {}, 0.0, 0, 0):
        pass
    assert not producer.mark("m" * 900, {}, 0.0, 0, 0)
    assert consumer.word("marks_lost") == 2
    producer.close(0.0, 0, 0)
    assert closing(published(consumer)[-1].payload)[1] == 2


def test_skipped_samples_and_blocked_time_are_counted() -> None:
    """What was not due, and how long a caller waited, is visible from outside."""
    producer, consumer = pair()
    producer.count_skipped()
    producer.count_skipped(4)
    producer.add_blocked_ns(30)
    producer.add_blocked_ns(12)
    assert (consumer.word("skipped"), consumer.word("blocked_ns"), consumer.word("next_seq")) == (5, 42, 0)
    assert producer.word("skipped") == 5


# --- waking up ----------------------------------------------------------------------------------------


def test_nobody_rings_for_a_consumer_that_is_awake() -> None:
    """Up to half full, samples and marks for a consumer that polls cost no doorbell."""
    memory, bell = new_memory(), Bell()
    producer = RingProducer(memory, bell)
    for _ in range(7):
        put(producer, bytes(KIB_PAYLOAD))
    producer.mark("quiet", {}, 0.0, 0, 0)
    assert bell.posts == 0


@pytest.mark.parametrize(
    "act",
    [lambda p: put(p, b""), lambda p: p.mark("m", {}, 0.0, 0, 0)],
    ids=["sample", "mark"],
)
def test_a_sleeper_is_woken_once(act: Callable[[RingProducer], object]) -> None:
    """Each announced sleep gets exactly one post, however much is published."""
    memory, bell = new_memory(), Bell()
    producer, consumer = RingProducer(memory, bell), RingConsumer(memory)
    for sleeps in range(1, 4):
        consumer.announce_sleep()
        act(producer)
        act(producer)
        assert bell.posts == sleeps


def test_a_full_ring_wakes_a_sleeper_once() -> None:
    """A producer that only loses still wakes the consumer that could help, and only once."""
    memory, bell = new_memory(), Bell()
    producer, consumer = RingProducer(memory, bell), RingConsumer(memory)
    fill(producer)
    consumer.announce_sleep()
    before = bell.posts
    for _ in range(5):
        assert not put(producer, bytes(1000))
    assert bell.posts == before + 1


def test_half_full_rings_once_until_it_has_been_drained_below() -> None:
    """At half full the doorbell rings although nobody said to sleep, and again only after a drain."""
    memory, bell = new_memory(), Bell()
    producer, consumer = RingProducer(memory, bell), RingConsumer(memory)
    posts = []
    for lap in range(3):
        for _ in range(12):
            assert put(producer, bytes(KIB_PAYLOAD))
            posts.append(bell.posts - lap)
        taken(consumer)
    assert posts == 3 * [*8 * [0], *4 * [1]]


def test_close_and_flush_always_ring() -> None:
    """The end, and whoever waits for a flush, wake the consumer in any case."""
    memory, bell = new_memory(), Bell()
    producer = RingProducer(memory, bell)
    producer.ring_doorbell()
    producer.ring_doorbell()
    producer.close(0.0, 0, 0)
    assert bell.posts == 3


def test_a_consumer_sleeps_only_if_nothing_was_published() -> None:
    """It announces the sleep first and looks once more; news in between keep it awake."""
    producer, consumer = pair()
    waits: list[float] = []
    consumer.head()
    consumer.sleep(waits.append, 0.05)
    assert waits == [0.05]
    put(producer, b"")
    consumer.sleep(waits.append, 0.05)
    assert waits == [0.05]
    assert consumer.word("sleep_ticket") == 2


def test_news_are_what_was_published_since_the_head_was_read() -> None:
    """A look that costs one load tells whether there is anything new, without trusting the word."""
    producer, consumer = pair()
    assert not consumer.has_news()
    put(producer, b"")
    assert consumer.has_news()
    consumer.head()
    assert not consumer.has_news()


def test_a_consumer_that_announces_its_sleep_behind_the_news_is_not_forgotten() -> None:
    """A record published just before the ticket grew is seen by the second look, so no post is needed."""
    memory, bell = new_memory(), Bell()
    producer, consumer = RingProducer(memory, bell), RingConsumer(memory)
    consumer.head()
    put(producer, b"")
    consumer.announce_sleep()
    assert bell.posts == 0
    assert consumer.has_news()


# --- nothing in shared memory is trusted --------------------------------------------------------------


def set_word(memory: bytearray, name: str, value: int) -> None:
    """Overwrite a word from outside."""
    at = layout.PRODUCER[name]
    memory[at : at + 8] = value.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (64, "backwards"),
        (128 + 1, "not aligned"),
        (128 + 32, "not aligned"),
        (64 + MIN_CAPACITY + 64, "more than a lap ahead"),
        (2**64 - 64, "absurd"),
    ],
)
def test_an_impossible_head_is_refused(head: int, why: str) -> None:
    """A head that went backwards, is not aligned or runs more than a lap ahead sets the ring aside."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    put(producer, b"")
    put(producer, b"")
    consumer.head()
    consumer.free(64)
    set_word(memory, "head", head)
    with pytest.raises(RingDamagedError, match=f"head {head} is impossible"):
        consumer.head()


def test_a_head_exactly_one_lap_ahead_is_possible() -> None:
    """The range check refuses nothing that a producer may do."""
    memory = new_memory()
    consumer = RingConsumer(memory)
    consumer.free(64)
    set_word(memory, "head", 64 + MIN_CAPACITY)
    assert consumer.head() == 64 + MIN_CAPACITY


def test_a_successor_that_is_behind_the_ring_refuses_it() -> None:
    """A consumer told to begin where the producer has been already, a lap ago, does not read what is there now."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    for _ in range(40):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    with pytest.raises(RingDamagedError):
        RingConsumer(memory, 1024).head()


def test_leftovers_of_an_earlier_lap_are_no_records() -> None:
    """Nothing is zeroed, yet a head that is too large finds no record: leftovers carry another position."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    for _ in range(20):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    set_word(memory, "head", producer.head + 1024)
    region = consumer.region(consumer.position, consumer.head())
    with pytest.raises(RingDamagedError, match="no valid record header"):
        list(records.split(region, consumer.position, 1024, KIB_PAYLOAD))


def test_nothing_the_consumer_wrote_is_read_back() -> None:
    """Whoever overwrites the consumer's page confuses only the producer's idea of room."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    put(producer, payload_of(0, 100))
    memory[layout.CONSUMER_OFFSET : layout.DATA_OFFSET] = b"\xff" * layout.PAGE_BYTES
    assert [r.payload for r in published(consumer)] == [payload_of(0, 100)]


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"version_major": 2}, "ring layout 2.0"),
        ({"version_major": 0, "version_minor": 9}, "ring layout 0.9"),
        ({"incompatible_flags": 1 << 40}, "flags 0x10000000000"),
        ({"magic": 1}, "geometry page is damaged"),
        ({"endian": 0x0807060504030201}, "contradict"),
        ({"header_bytes": 128}, "contradict"),
        ({"data_offset": 4096}, "contradict"),
        ({"align_bytes": 8}, "contradict"),
        ({"control_reserve_bytes": 0}, "contradict"),
        ({"max_record_bytes": MIN_CAPACITY // 4 + 64}, "contradict"),
        ({"max_record_bytes": 0}, "contradict"),
    ],
)
def test_a_geometry_that_does_not_fit_this_code_is_refused(geometry: dict[str, int], message: str) -> None:
    """Another version, an unknown incompatible flag or contradicting sizes: both ends say so and stay out."""
    memory = new_memory(**geometry)
    for end in (RingProducer, RingConsumer):
        with pytest.raises(RingDamagedError, match=message) as caught:
            end(memory)
        assert caught.value.do


@pytest.mark.parametrize("capacity", [0, 64, MIN_CAPACITY - 64, MIN_CAPACITY + 32, 2**63])
def test_a_capacity_that_no_ring_has_is_refused(capacity: int) -> None:
    """Too small, not aligned or beyond the memory: nobody touches a ring of that capacity."""
    memory = bytearray(layout.segment_bytes(2 * MIN_CAPACITY))
    format_segment(memory, capacity_bytes=capacity)
    for end in (RingProducer, RingConsumer):
        with pytest.raises(RingDamagedError, match="contradict"):
            end(memory)


@pytest.mark.parametrize("size", [0, 1, layout.PAGE_BYTES, layout.DATA_OFFSET - 1])
def test_memory_that_is_too_small_for_the_pages_is_refused(size: int) -> None:
    """A truncated segment is an error before anything in it is read."""
    for end in (RingProducer, RingConsumer):
        with pytest.raises(RingDamagedError, match="no finished ring"):
            end(bytearray(new_memory()[:size]))


def test_memory_that_is_smaller_than_its_capacity_is_refused() -> None:
    """A segment truncated in its data area is an error, not a crash later."""
    with pytest.raises(RingDamagedError, match="contradict"):
        RingConsumer(new_memory()[:-64])


def test_a_ring_that_is_not_ready_is_refused() -> None:
    """Whoever died while making a ring left none."""
    memory = new_memory()
    memory[layout.READY_OFFSET] = 0
    with pytest.raises(RingDamagedError, match="no finished ring"):
        RingProducer(memory)


def test_a_later_minor_version_is_read() -> None:
    """What a later minor version adds (fields, words, compatible flags) does not disturb this one."""
    memory = new_memory(version_minor=7, compatible_flags=0b101)
    page = bytearray(memory[: layout.READY_OFFSET])
    page[layout.GEOMETRY.size : layout.GEOMETRY.size + 8] = b"newfield"
    last = layout.TABLE_OFFSET + 8 * len(layout.FIELD_IDS)
    page[last : last + 8] = (99).to_bytes(4, "little") + (4600).to_bytes(4, "little")
    crc = layout.GEOMETRY_CRC_OFFSET
    page[crc : crc + 4] = zlib.crc32(page[:crc]).to_bytes(4, "little")
    memory[: len(page)] = page
    put(RingProducer(memory), b"hello")
    assert [r.payload for r in published(RingConsumer(memory))] == [b"hello"]


# --- what the consumer says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "read"),
    [("", ""), ("ENOSPC", "ENOSPC"), ("x" * 55, "x" * 55), ("y" * 99, "y" * 55), ("größe", "gr??e")],
)
def test_the_consumer_leaves_a_short_reason(code: str, read: str) -> None:
    """The client reads why its stream stalls; long or foreign text is cut and replaced, never spilled."""
    memory = new_memory()
    consumer = RingConsumer(memory)
    consumer.set_word("spooled_bytes", 77)
    consumer.set_error("something longer before")
    consumer.set_error(code)
    assert read_error(memoryview(memory)) == read
    assert consumer.word("spooled_bytes") == 77


def test_what_is_published_at_the_consumers_page_is_seen_by_the_producer() -> None:
    """Durable number, epoch, state and worker reach the client by their names."""
    producer, consumer = pair()
    names = [n for n in layout.CONSUMER if n not in ("error", "free_pos", "sleep_ticket")]
    for value, name in enumerate(names, 1):
        consumer.set_word(name, value)
    assert [producer.word(name) for name in names] == [*range(1, len(names) + 1)]


def test_released_ends_let_go_of_the_memory() -> None:
    """After release nothing keeps the segment from being unmapped."""
    memory = new_memory()
    producer, consumer = RingProducer(memory), RingConsumer(memory)
    put(producer, b"")
    published(consumer)
    producer.release()
    consumer.release()
    memory.clear()  # a BufferError while any view is alive
    assert memory == b""
