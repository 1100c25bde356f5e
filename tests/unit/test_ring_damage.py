"""Both ends trust nothing that they find in shared memory: what cannot be is refused, with a reason."""

from __future__ import annotations

import zlib

import pytest

from backends import Ends
from recd_client import layout, records
from recd_client.errors import RingDamagedError
from recd_client.segment import format_segment
from rings import MIN_CAPACITY, new_memory, payload_of, published, put, taken

#: Payload of a record of exactly 1 KiB.
KIB_PAYLOAD = 1024 - layout.HEADER_BYTES


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
def test_an_impossible_head_is_refused(ends: Ends, head: int, why: str) -> None:
    """A head that went backwards, is not aligned or runs more than a lap ahead sets the ring aside."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    put(producer, b"")
    put(producer, b"")
    consumer.head()
    consumer.free(64)
    set_word(memory, "head", head)
    with pytest.raises(RingDamagedError, match=f"head {head} is impossible"):
        consumer.head()


def test_a_head_exactly_one_lap_ahead_is_possible(ends: Ends) -> None:
    """The range check refuses nothing that a producer may do."""
    memory = new_memory()
    consumer = ends.consumer(memory)
    consumer.free(64)
    set_word(memory, "head", 64 + MIN_CAPACITY)
    assert consumer.head() == 64 + MIN_CAPACITY


def test_a_successor_that_is_behind_the_ring_refuses_it(ends: Ends) -> None:
    """A consumer told to begin more than a lap behind does not read what is there now."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    for _ in range(40):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    with pytest.raises(RingDamagedError):
        ends.consumer(memory, 1024).head()


def test_leftovers_of_an_earlier_lap_are_no_records(ends: Ends) -> None:
    """Nothing is zeroed, yet a head that is too large finds no record: leftovers carry another position."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    for _ in range(20):
        put(producer, bytes(KIB_PAYLOAD))
        taken(consumer)
    set_word(memory, "head", producer.head + 1024)
    region = consumer.region(consumer.position, consumer.head())
    with pytest.raises(RingDamagedError, match="no valid record header"):
        list(records.split(region, consumer.position, 1024, KIB_PAYLOAD))


def test_nothing_the_consumer_wrote_is_read_back(ends: Ends) -> None:
    """Whoever overwrites the consumer's page confuses only the producer's idea of room."""
    memory = new_memory()
    producer, consumer = ends.producer(memory), ends.consumer(memory)
    put(producer, payload_of(0, 100))
    memory[layout.CONSUMER_OFFSET : layout.DATA_OFFSET] = b"\xff" * layout.PAGE_BYTES
    assert [r.payload for r in published(consumer)] == [payload_of(0, 100)]


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"version_major": 2}, "ring layout 2.1"),
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
def test_a_geometry_that_does_not_fit_this_code_is_refused(
    ends: Ends, geometry: dict[str, int], message: str
) -> None:
    """Another version, an unknown incompatible flag or contradicting sizes: both ends say so and stay out."""
    memory = new_memory(**geometry)
    for end in ends:
        with pytest.raises(RingDamagedError, match=message) as caught:
            end(memory)
        assert caught.value.do


@pytest.mark.parametrize("capacity", [0, 64, MIN_CAPACITY - 64, MIN_CAPACITY + 32, 2**63])
def test_a_capacity_that_no_ring_has_is_refused(ends: Ends, capacity: int) -> None:
    """Too small, not aligned or beyond the memory: nobody touches a ring of that capacity."""
    memory = bytearray(layout.segment_bytes(2 * MIN_CAPACITY))
    format_segment(memory, capacity_bytes=capacity)
    for end in ends:
        with pytest.raises(RingDamagedError, match="contradict"):
            end(memory)


@pytest.mark.parametrize("size", [0, 1, layout.PAGE_BYTES, layout.DATA_OFFSET - 1])
def test_memory_that_is_too_small_for_the_pages_is_refused(ends: Ends, size: int) -> None:
    """A truncated segment is an error before anything in it is read."""
    for end in ends:
        with pytest.raises(RingDamagedError, match="no finished ring"):
            end(bytearray(new_memory()[:size]))


def test_memory_that_is_smaller_than_its_capacity_is_refused(ends: Ends) -> None:
    """A segment truncated in its data area is an error, not a crash later."""
    with pytest.raises(RingDamagedError, match="contradict"):
        ends.consumer(new_memory()[:-64])


def test_a_ring_that_is_not_ready_is_refused(ends: Ends) -> None:
    """Whoever died while making a ring left none."""
    memory = new_memory()
    memory[layout.READY_OFFSET] = 0
    with pytest.raises(RingDamagedError, match="no finished ring"):
        ends.producer(memory)


def test_a_later_minor_version_is_read(ends: Ends) -> None:
    """What a later minor version adds (fields, words, compatible flags) does not disturb this one."""
    memory = new_memory(version_minor=7, compatible_flags=0b101)
    page = bytearray(memory[: layout.READY_OFFSET])
    page[layout.GEOMETRY.size : layout.GEOMETRY.size + 8] = b"newfield"
    last = layout.TABLE_OFFSET + 8 * len(layout.FIELD_IDS)
    page[last : last + 8] = (99).to_bytes(4, "little") + (4600).to_bytes(4, "little")
    crc = layout.GEOMETRY_CRC_OFFSET
    page[crc : crc + 4] = zlib.crc32(page[:crc]).to_bytes(4, "little")
    memory[: len(page)] = page
    put(ends.producer(memory), b"hello")
    assert [r.payload for r in published(ends.consumer(memory))] == [b"hello"]
