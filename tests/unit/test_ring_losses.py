"""What is lost is counted by cause and told once, where it happened; marks and the close find room for it."""

from __future__ import annotations

import math

import pytest

from backends import Ends
from recd_client import layout
from recd_client.errors import RecordTooLargeError
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
    payload_of,
    published,
    put,
    taken,
)

#: Payload of a record of exactly 1 KiB.
KIB_PAYLOAD = 1024 - layout.HEADER_BYTES


# --- losses -------------------------------------------------------------------------------------------


def test_a_lost_sample_takes_a_number_and_is_counted_by_its_cause(ends: Ends) -> None:
    """Each cause has its count and bytes in shared memory, at once."""
    producer, consumer = ends.pair()
    for n, cause in enumerate(layout.CAUSES, 1):
        for _ in range(n):
            producer.lose(cause, 100 * n, 0.0, 0)
    assert producer.lost() == dict(zip(layout.CAUSES, (1, 2, 3, 4), strict=True))
    assert [consumer.word(f"lost_{c}_bytes") for c in layout.CAUSES] == [100, 400, 900, 1600]
    assert consumer.word("next_seq") == 10


def test_a_loss_is_told_just_before_the_next_record(ends: Ends) -> None:
    """The LOSS record has first and last number, count, bytes and times, right before the sample."""
    producer, consumer = ends.pair()
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


def test_losses_of_several_causes_are_told_together(ends: Ends) -> None:
    """One LOSS record has an entry per cause, and its own times are those of the last loss."""
    producer, consumer = ends.pair()
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


def test_a_loss_is_told_once(ends: Ends) -> None:
    """What one LOSS record told, neither the next one nor the close tells again."""
    producer, consumer = ends.pair()
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


def test_a_mark_is_preceded_by_the_losses_before_it(ends: Ends) -> None:
    """A gap stands on the timeline where it happened: before the mark that came after it."""
    producer, consumer = ends.pair()
    producer.lose("full", 1, 0.0, 0)
    producer.mark("reset", {}, 0.0, 0, 0)
    put(producer, b"")
    assert [r.kind for r in published(consumer)] == [LOSS, MARK, DATA]


def test_a_loss_goes_across_the_end_of_a_lap_with_its_sample(ends: Ends) -> None:
    """Padding comes before the loss, so that loss and sample stay together."""
    producer, consumer = ends.pair()
    for _ in range(15):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    put(producer, bytes(KIB_PAYLOAD - 128))
    producer.lose("full", 1, 0.0, 0)
    put(producer, b"")
    assert [r.kind for r in published(consumer)] == [DATA, PAD, LOSS, DATA]


def test_a_loss_and_its_sample_may_fill_a_lap_exactly(ends: Ends) -> None:
    """Where both just fit before the end there is nothing to pad."""
    producer, consumer = ends.pair()
    for _ in range(15):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    producer.lose("full", 1, 0.0, 0)
    put(producer, bytes(KIB_PAYLOAD - 192))
    put(producer, b"")
    found = published(consumer)
    assert [(r.kind, r.position % MIN_CAPACITY, r.size) for r in found] == [
        (LOSS, 15 * 1024, 192),
        (DATA, 15 * 1024 + 192, 832),
        (DATA, 0, 64),
    ]


def test_a_loss_behind_a_sample_that_filled_its_lap_begins_the_next_lap(ends: Ends) -> None:
    """Told right at the end of a lap, a loss stands at the beginning of the memory, not behind it."""
    producer, consumer = ends.pair()
    for _ in range(16):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    producer.lose("full", 1, 0.0, 0)
    put(producer, b"next")
    assert [(r.kind, r.position) for r in published(consumer)] == [
        (LOSS, MIN_CAPACITY),
        (DATA, MIN_CAPACITY + 192),
    ]


def test_a_lost_attempt_gives_its_reservation_back(ends: Ends) -> None:
    """Nothing is announced any more once the attempt that had a place is counted as lost."""
    producer, consumer = ends.pair()
    producer.reserve(1024)
    producer.lose("interrupted", KIB_PAYLOAD, 0.0, 0)
    assert consumer.word("intent_end") == consumer.head() == 0


def test_the_close_tells_the_losses_that_no_record_told(ends: Ends) -> None:
    """Losses at the very end are not forgotten: the close carries them."""
    producer, consumer = ends.pair()
    attempts = fill(producer) + 1
    producer.lose("full", 50, 2.0, 3)
    producer.close(9.0, 99, 999)
    close = published(consumer)[-1]
    assert (close.kind, close.seq, close.t, close.step, close.mono_ns) == (CLOSE, attempts + 1, 9.0, 99, 999)
    told = Loss("full", attempts - 1, attempts, 2, 1050, 0.0, 2.0, 0, 3)
    assert closing(close.payload) == (attempts + 1, 0, [told])
    assert consumer.word("producer_state") == layout.PRODUCER_CLOSED


def test_every_attempt_is_published_or_counted(ends: Ends) -> None:
    """Attempts equal samples that arrived plus losses by cause, whatever comes in between."""
    producer, consumer = ends.pair()
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


def test_a_mark_stands_where_it_happened_and_takes_no_number(ends: Ends) -> None:
    """A mark lies between the samples around it, with label and fields; numbers go on across it."""
    producer, consumer = ends.pair()
    put(producer, b"")
    assert producer.mark("größer", {"envs_idx": [1, 2], "x": None}, 0.5, 6, 7)
    put(producer, b"")
    before, mark, after = published(consumer)
    assert (before.seq, mark.seq, after.seq) == (0, 1, 1)
    assert (mark.kind, mark.t, mark.step, mark.mono_ns) == (MARK, 0.5, 6, 7)
    assert mark.payload == b'{"label":"gr\\u00f6\\u00dfer","fields":{"envs_idx":[1,2],"x":null}}'


def test_a_mark_may_have_the_size_that_the_contract_allows_and_no_more(ends: Ends) -> None:
    """The largest mark arrives; one byte more is an error that names both sizes, and publishes nothing."""
    producer, consumer = ends.pair()
    frame = len('{"label":"","fields":{}}')
    assert producer.mark("x" * (layout.MAX_MARK_BYTES - frame), {}, 0.0, 0, 0)
    with pytest.raises(RecordTooLargeError, match=r"takes 1025 bytes, at most 1024") as caught:
        producer.mark("x" * (layout.MAX_MARK_BYTES - frame + 1), {}, 0.0, 0, 0)
    assert caught.value.do
    assert [len(r.payload) for r in published(consumer)] == [layout.MAX_MARK_BYTES]


def test_a_mark_that_finds_no_room_is_counted(ends: Ends) -> None:
    """Even the reserve ends: then a mark is refused and counted, and the close says how many were."""
    producer, consumer = ends.pair()
    fill(producer)
    while producer.mark("m" * 900, {}, 0.0, 0, 0):
        pass
    assert not producer.mark("m" * 900, {}, 0.0, 0, 0)
    assert consumer.word("marks_lost") == 2
    producer.close(0.0, 0, 0)
    assert closing(published(consumer)[-1].payload)[1] == 2


def test_skipped_samples_and_blocked_time_are_counted(ends: Ends) -> None:
    """What was not due, and how long a caller waited, is visible from outside."""
    producer, consumer = ends.pair()
    producer.count_skipped()
    producer.count_skipped(4)
    producer.add_blocked_ns(30)
    producer.add_blocked_ns(12)
    assert (consumer.word("skipped"), consumer.word("blocked_ns"), consumer.word("next_seq")) == (5, 42, 0)
    assert producer.word("skipped") == 5
