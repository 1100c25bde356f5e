"""The bytes of a ring: where everything stands, that nothing overlaps, and that damage shows."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd_client import layout
from recd_client.errors import RingDamagedError
from recd_client.segment import read_geometry
from rings import MIN_CAPACITY, new_memory

WORD = 8
LINE = 64
PAGE = 4096

#: Layout 1.0 as it was released: name, id in the field-offset table, offset. Never edit a line of it: a
#: change here is a new version of the layout (a new field takes a new id, in a new table).
WORDS_1_0 = {
    "head": (1, 4096),
    "intent_end": (2, 4160),
    "next_seq": (3, 4224),
    "lost_full_count": (4, 4288),
    "lost_full_bytes": (5, 4296),
    "lost_too_large_count": (6, 4304),
    "lost_too_large_bytes": (7, 4312),
    "lost_timeout_count": (8, 4320),
    "lost_timeout_bytes": (9, 4328),
    "lost_interrupted_count": (10, 4336),
    "lost_interrupted_bytes": (11, 4344),
    "blocked_ns": (12, 4352),
    "rung_ticket": (13, 4416),
    "producer_state": (14, 4480),
    "skipped": (15, 4544),
    "marks_lost": (16, 4552),
    "free_pos": (17, 8192),
    "durable_seq": (18, 8256),
    "sleep_ticket": (19, 8320),
    "epoch": (20, 8384),
    "worker_pid": (21, 8448),
    "consumer_state": (22, 8512),
    "error": (23, 8520),
    "spooled_bytes": (24, 8576),
    "lost_dropped_oldest_count": (25, 8584),
}
#: What 1.1 added.
WORDS_1_1 = {"stop_asked": (26, 8592), "stop_at": (27, 8600)}
GEOMETRY_1_0 = {
    "magic": 0, "endian": 8, "version_major": 16, "version_minor": 20, "incompatible_flags": 24,
    "compatible_flags": 32, "header_bytes": 40, "capacity_bytes": 48, "data_offset": 56, "align_bytes": 64,
    "max_record_bytes": 72, "control_reserve_bytes": 80, "policy": 88, "producer_pid": 96,
    "producer_start_ticks": 104, "ring_id": 112, "boot_id": 128,
}  # fmt: skip
HEADER_1_0 = {
    "crc": 0, "magic": 4, "position": 8, "seq": 16, "length": 24, "type": 28, "flags": 30, "t": 32,
    "step": 40, "mono_ns": 48, "extra": 56,
}  # fmt: skip
TABLE, CRC, READY = 512, 4080, 4088

WORDS = {**layout.PRODUCER, **layout.CONSUMER}
U64 = st.integers(0, 2**64 - 1)


def extent(name: str) -> range:
    """The bytes of a word."""
    return range(WORDS[name], WORDS[name] + (layout.ERROR_BYTES if name == "error" else WORD))


def flipped(memory: bytes | bytearray, bit: int) -> bytearray:
    """A copy with one bit changed."""
    copy = bytearray(memory)
    copy[bit // 8] ^= 1 << bit % 8
    return copy


def test_the_words_stand_where_their_versions_put_them() -> None:
    """A released offset never moves, and an id never changes its meaning, unless the version says so."""
    assert (layout.VERSION_MAJOR, layout.VERSION_MINOR) == (1, 1)
    assert {name: (layout.FIELD_IDS[name], WORDS[name]) for name in WORDS} == {**WORDS_1_0, **WORDS_1_1}


def test_the_geometry_stands_where_version_1_0_put_it() -> None:
    """Every field of the geometry page is found at its released offset, with its neighbours untouched."""
    page = layout.pack_geometry(
        **{n: bytes([i]) * 16 if n.endswith("_id") else i for i, n in enumerate(GEOMETRY_1_0, 1)}
    )
    ends = [*list(GEOMETRY_1_0.values())[1:], layout.GEOMETRY.size]
    for i, ((name, begin), end) in enumerate(zip(GEOMETRY_1_0.items(), ends, strict=True), 1):
        expected = bytes([i]) * 16 if name.endswith("_id") else i.to_bytes(end - begin, "little")
        assert page[begin:end] == expected, name


def test_the_record_header_stands_where_version_1_0_put_it() -> None:
    """Every field of a record header has its released offset, and header and dtype are one and the same."""
    fields = layout.HEADER_DTYPE.fields
    assert fields is not None
    assert {name: at[1] for name, at in fields.items()} == HEADER_1_0
    assert layout.HEADER_DTYPE.itemsize == layout.HEADER_SEAL.size == layout.HEADER_BYTES == LINE


def test_the_header_dtype_reads_what_the_struct_writes() -> None:
    """Each value packed by the producer comes back under its name, extremes included."""
    values = (0x44434552, 2**64 - 1, 2**63, 2**32 - 1, 2**16 - 1, 5, -1.5e300, -(2**63), 2**64 - 2, 7)
    raw = layout.HEADER_SEAL.pack(0xDEADBEEF, layout.HEADER_BODY.pack(*values))
    header = np.frombuffer(raw, layout.HEADER_DTYPE)[0]
    assert header.item() == (0xDEADBEEF, *values)


def test_every_word_is_aligned_and_within_one_line() -> None:
    """An aligned 8-byte store is the only atomic one; none may touch two cache lines."""
    for name in WORDS:
        assert WORDS[name] % WORD == 0, name
        assert extent(name).start // LINE == extent(name)[-1] // LINE, name


def test_no_two_words_overlap() -> None:
    """Every word has bytes of its own."""
    spans = sorted((extent(name).start, extent(name).stop) for name in WORDS)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    "name", ["head", "intent_end", "next_seq", "free_pos", "sleep_ticket", "rung_ticket"]
)
def test_a_word_that_changes_with_each_record_or_sleep_has_a_line_of_its_own(name: str) -> None:
    """The two sides do not fight over a cache line on the hot path."""
    line = WORDS[name] // LINE
    assert [other for other in WORDS if WORDS[other] // LINE == line] == [name]


def test_the_two_sides_never_write_to_the_same_page() -> None:
    """Geometry, producer, consumer and data have pages of their own, in this order, without a gap."""
    assert {WORDS[n] // PAGE for n in layout.PRODUCER} == {1}
    assert {WORDS[n] // PAGE for n in layout.CONSUMER} == {2}
    assert layout.DATA_OFFSET == 3 * PAGE
    assert layout.DATA_OFFSET % layout.ALIGN_BYTES == 0


def test_every_cause_of_loss_has_its_two_words_side_by_side() -> None:
    """The producer finds a cause's bytes one word behind its count."""
    for cause in layout.CAUSES:
        assert layout.PRODUCER[f"lost_{cause}_bytes"] == layout.PRODUCER[f"lost_{cause}_count"] + WORD


def test_the_field_offset_table_names_every_word() -> None:
    """A reader of a later version finds each word of this one by its id, in the page itself."""
    page = bytes(new_memory())[:PAGE]
    pairs = struct.iter_unpack("<II", page[TABLE:CRC])
    assert {i: offset for i, offset in pairs if i} == {
        layout.FIELD_IDS[name]: offset for name, offset in WORDS.items()
    }


def test_the_checksum_covers_all_before_it_and_ready_is_last() -> None:
    """Checksum and ready stand at the page's end, where later versions leave them."""
    page = bytes(new_memory())[:PAGE]
    assert int.from_bytes(page[CRC : CRC + 4], "little") == zlib.crc32(page[:CRC])
    assert int.from_bytes(page[READY:], "little") == 1
    assert (layout.GEOMETRY_CRC_OFFSET, layout.READY_OFFSET) == (CRC, READY)


@settings(deadline=None, max_examples=50)
@given(
    lines=st.integers(MIN_CAPACITY // LINE, 2 * MIN_CAPACITY // LINE),
    values=st.fixed_dictionaries(
        {
            "compatible_flags": U64,
            "policy": st.integers(0, 2),
            "producer_pid": U64,
            "producer_start_ticks": U64,
            "ring_id": st.binary(min_size=16, max_size=16),
            "boot_id": st.binary(min_size=16, max_size=16),
        }
    ),
)
def test_what_the_geometry_says_is_read_back(lines: int, values: dict[str, object]) -> None:
    """Every value given at creation comes back, and sizes follow from the capacity."""
    capacity = lines * LINE
    geometry = read_geometry(memoryview(new_memory(capacity, **values)))
    assert geometry.items() >= values.items()
    assert geometry["capacity_bytes"] == capacity
    assert geometry["max_record_bytes"] == capacity // 4 // LINE * LINE
    assert (geometry["version_major"], geometry["version_minor"]) == (1, 1)


def test_each_flipped_bit_of_the_geometry_page_is_noticed() -> None:
    """No single bit of geometry, table, checksum or ready can change unseen."""
    memory = new_memory(producer_pid=1234, ring_id=b"ring", boot_id=b"boot")
    meaning = [*range(CRC + 4), *range(READY, PAGE)]  # four bytes lie between checksum and ready
    undetected = []
    for bit in (8 * byte + i for byte in meaning for i in range(8)):
        damaged = flipped(memory[: layout.DATA_OFFSET + MIN_CAPACITY], bit)
        try:
            read_geometry(memoryview(damaged))
        except RingDamagedError:
            continue
        undetected.append(bit)
    assert undetected == []


@pytest.mark.parametrize("payload_bytes", [0, 1, 63, 64, 65, 400, 921_600])
def test_a_record_takes_whole_lines(payload_bytes: int) -> None:
    """A record's size is the least multiple of the alignment that holds header and payload."""
    size = layout.record_bytes(payload_bytes)
    assert size % layout.ALIGN_BYTES == 0
    assert 0 <= size - layout.HEADER_BYTES - payload_bytes < layout.ALIGN_BYTES


def test_losses_of_every_cause_fit_into_one_record() -> None:
    """A LOSS or CLOSE record can tell about all causes at once, in an entry whose fields all have names."""
    assert len(layout.LOSS_ENTRY_NAMES) == len(layout.LOSS_ENTRY.unpack(bytes(layout.LOSS_ENTRY.size)))
    most = layout.CLOSE_PREFIX.size + len(layout.CAUSES) * layout.LOSS_ENTRY.size
    assert layout.record_bytes(most) <= layout.max_record_bytes(layout.MIN_CAPACITY_BYTES)


def test_magic_numbers_can_be_read_in_a_dump() -> None:
    """A hex dump of a ring shows what it is."""
    assert bytes(new_memory())[:8] == b"RECDRING"
    assert struct.pack("<I", layout.MAGIC_RECORD) == b"RECD"
