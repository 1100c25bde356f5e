"""Splitting a region of records: fast for runs, exact for everything, and refusing whatever is not whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import EACH
from recd_client import layout, native, records
from recd_client.errors import RingDamagedError
from rings import CLOSE, DATA, LOSS, MARK, PAD, Record, padded, parse, payload_of, record

#: Of a fixed sample: 72 bytes take a record of 192.
PAYLOAD, STRIDE = 72, 192
START = 3 * 2**40
#: As long as a sample: only its type tells a record of losses from one.
LOSSES = bytes(layout.LOSS_ENTRY.size)
ENDING = bytes(layout.CLOSE_PREFIX.size + layout.LOSS_ENTRY.size)

Item = records.Run | records.Control


@pytest.fixture(scope="module", params=EACH, autouse=True)
def prover(request: pytest.FixtureRequest) -> Iterator[str]:
    """Everything here holds for the runs that numpy proves and for those that C proves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "extension", native.extension if request.param == "native" else None)
        yield request.param


def build(items: Iterable[tuple[int, int, bytes]], position: int = START) -> bytes:
    """A region of records given as (kind, number, payload); PAD as (kind, number, zeros)."""
    out = b""
    for kind, seq, payload in items:
        out += record(
            kind, position + len(out), seq, payload, t=seq / 10, step=-(seq % 1000), mono_ns=seq % 1000
        )
    return out


def sample(seq: int) -> tuple[int, int, bytes]:
    """A sample of the fixed size, for ``build``."""
    return DATA, seq, payload_of(seq, PAYLOAD)


def found(region: bytes, items: Iterable[Item], position: int = START) -> list[Record]:
    """What ``split`` yielded, one record each, read at the places that it gave."""
    out = []
    for item in items:
        if isinstance(item, records.Control):
            (one,) = parse(region[item.offset : item.offset + item.size], position + item.offset)
            said = Record(
                item.kind, item.position, item.size, item.seq, item.t, item.step, item.mono_ns, item.payload
            )
            assert said == one
            out.append(one)
            continue
        members = list(parse(region[item.offset : item.offset + item.size], position + item.offset))
        assert item.count == len(members)
        assert [m.seq for m in members] == [item.first_seq + i for i in range(item.count)]
        assert item.stride_bytes in (0, members[0].size)
        assert item.stride_bytes or item.count == 1
        out += members
    return out


def split(region: bytes, stride: int = STRIDE, payload: int = PAYLOAD, **options: object) -> list[Item]:
    """All items of a region that begins at START."""
    return list(records.split(memoryview(region), START, stride, payload, **options))  # type: ignore[arg-type]


# --- strategies ---------------------------------------------------------------------------------------

controls = st.sampled_from(
    [(LOSS, LOSSES), (MARK, b'{"label":"x","fields":{}}'), (CLOSE, ENDING), (PAD, bytes(64))]
)


@st.composite
def regions(draw: st.DrawFn, fixed: bool) -> bytes:
    """Records as a producer leaves them: samples with rising numbers, gaps, and control records between."""
    items: list[tuple[int, int, bytes]] = []
    seq = draw(st.integers(0, 2**63))
    for _ in range(draw(st.integers(0, 8))):
        for _ in range(draw(st.integers(0, 6))):
            size = PAYLOAD if fixed else draw(st.integers(0, 300))
            items.append((DATA, seq, payload_of(seq, size)))
            seq += 1
        if draw(st.booleans()):
            kind, payload = draw(controls)
            items.append((kind, seq, payload))
        seq += draw(st.sampled_from([0, 1, 5]))
    return build(items)


# --- checksums ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5) | st.integers(100, 300), st.integers(0, 2**32 - 1))
def test_vectorised_checksums_are_zlibs(count: int, seed: int) -> None:
    """The checksums of few or many headers at once equal those of the standard library, one by one."""
    headers = np.random.default_rng(seed).integers(0, 256, (count, layout.HEADER_BYTES), np.uint8)
    expected = [zlib.crc32(bytes(header[4:])) for header in headers]
    assert records.header_crcs(headers).tolist() == expected


@pytest.mark.parametrize("count", [50, 500])
def test_checksums_of_strided_headers_are_zlibs(count: int) -> None:
    """Headers may lie at a stride, as in a region, without being gathered first."""
    raw = np.random.default_rng(1).integers(0, 256, (count, STRIDE), np.uint8)
    expected = [zlib.crc32(bytes(row[4:64])) for row in raw]
    assert records.header_crcs(raw[:, :64]).tolist() == expected


# --- splitting ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(regions(fixed=True), st.booleans())
def test_fixed_samples_are_split_as_by_a_naive_parser(region: bytes, prove: bool) -> None:
    """Runs and controls of a stream of fixed size are the records that a plain loop finds, in order."""
    assert found(region, split(region, prove=prove)) == list(parse(region, START))


@settings(deadline=None, max_examples=100)
@given(regions(fixed=False), st.booleans())
def test_varying_samples_are_split_as_by_a_naive_parser(region: bytes, prove: bool) -> None:
    """Samples of any size come one by one, exactly as a plain loop finds them."""
    items = split(region, 0, 0, prove=prove)
    assert found(region, items) == list(parse(region, START))
    assert all(item.stride_bytes == 0 for item in items if isinstance(item, records.Run))


@settings(deadline=None, max_examples=60)
@given(regions(fixed=True))
def test_runs_are_as_long_as_they_can_be(region: bytes) -> None:
    """Samples with consecutive numbers come as one run; only a gap or another record ends it."""
    expected, key, last = [], 0, None
    for r in parse(region, START):
        key += last is None or r.kind != DATA or last.kind != DATA or r.seq != last.seq + 1
        expected.append(key)
        last = r
    lengths = [len(list(group)) for _, group in groupby(expected)]
    assert [item.count if isinstance(item, records.Run) else 1 for item in split(region)] == lengths


@settings(deadline=None, max_examples=100)
@given(st.data(), st.booleans())
def test_a_limit_stops_behind_the_record_that_reaches_it(data: st.DataObject, fixed: bool) -> None:
    """With a limit the same records come, up to and including the one that reaches it."""
    region = data.draw(regions(fixed))
    limit = data.draw(st.integers(0, len(region) + 100))
    items = split(region, STRIDE if fixed else 0, limit_bytes=limit)
    assert found(region, items) == list(parse(region, START, limit))


def many(count: int) -> bytearray:
    """A region of that many samples without payload."""
    region = bytearray(count * 64)
    heads = np.frombuffer(region, layout.HEADER_DTYPE)
    heads["magic"], heads["type"] = layout.MAGIC_RECORD, DATA
    heads["position"] = START + 64 * np.arange(count)
    heads["seq"] = np.arange(count)
    heads["crc"] = records.header_crcs(np.frombuffer(region, np.uint8).reshape(count, 64))
    return region


def test_a_region_of_nothing_but_samples_is_one_run() -> None:
    """However many samples follow each other, they come together."""
    region = many(20_000)
    assert split(bytes(region), 64, 0) == [records.Run(0, len(region), 20_000, 64, 0)]


@pytest.mark.parametrize("at", [1, 31, 32, 33, 159, 160, 161, 1999])
def test_a_run_ends_exactly_before_the_damage(at: int) -> None:
    """In a long run too, every sample before the damaged one is delivered, and none behind it."""
    region = many(2000)
    region[64 * at + 33] ^= 1
    items = records.split(memoryview(region), START, 64, 0)
    assert next(items) == records.Run(0, 64 * at, at, 64, 0)
    with pytest.raises(RingDamagedError, match=f"position {START + 64 * at}"):
        next(items)


@pytest.mark.parametrize("at", [1, 31, 32, 33, 159, 160, 161, 1999])
def test_a_run_ends_exactly_before_a_gap(at: int) -> None:
    """In a long run too, a jump of the numbers begins the next run."""
    region = many(2000)
    heads = np.frombuffer(region, layout.HEADER_DTYPE)
    heads["seq"][at:] += 5
    heads["crc"] = records.header_crcs(np.frombuffer(region, np.uint8).reshape(-1, 64))
    assert split(bytes(region), 64, 0) == [
        records.Run(0, 64 * at, at, 64, 0),
        records.Run(64 * at, 64 * (2000 - at), 2000 - at, 64, at + 5),
    ]


def test_an_empty_region_has_no_records() -> None:
    """Nothing in, nothing out."""
    assert split(b"") == []


# --- damage -------------------------------------------------------------------------------------------

SMALL = [
    *map(sample, (5, 6, 7)),
    (LOSS, 9, LOSSES),
    sample(9),
    (MARK, 10, b'{"label":"m","fields":{}}'),
    sample(10),
    (CLOSE, 11, ENDING),
]


def until_damage(region: bytes | bytearray, stride: int = STRIDE) -> list[Item]:
    """What is delivered of a damaged region before the error."""
    delivered, items = [], records.split(memoryview(region), START, stride, PAYLOAD)
    try:
        for item in items:
            delivered.append(item)
    except RingDamagedError:
        return delivered
    pytest.fail("no damage was found")


@pytest.mark.parametrize("stride", [STRIDE, 0])
def test_every_flipped_bit_of_a_header_is_noticed(stride: int) -> None:
    """No single bit of any header can change unseen; what came before the damage is delivered."""
    region = build(SMALL)
    whole = list(parse(region, START))
    for number, one in enumerate(whole):
        for bit in range(8 * layout.HEADER_BYTES):
            damaged = bytearray(region)
            damaged[one.position - START + bit // 8] ^= 1 << bit % 8
            delivered = until_damage(damaged, stride)
            assert found(bytes(damaged), delivered) == whole[:number]


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_a_region_that_ends_within_a_record_is_refused(cut: int) -> None:
    """Half a record at the end is damage, wherever the cut is; the records before it are delivered."""
    region = build([sample(1), sample(2)])[:-cut]
    delivered = until_damage(region)
    assert [r.seq for r in found(region, delivered)] == [1, 2][: len(region) // STRIDE]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (3, b""),
        (6, b""),
        (LOSS, bytes(layout.LOSS_ENTRY.size - 1)),
        (LOSS, bytes(layout.LOSS_ENTRY.size + 8)),
        (CLOSE, bytes(layout.CLOSE_PREFIX.size - 1)),
        (CLOSE, bytes(layout.CLOSE_PREFIX.size + 8)),
        (MARK, bytes(layout.MAX_MARK_BYTES + 1)),
    ],
)
def test_a_record_that_nobody_publishes_is_refused(kind: int, payload: bytes) -> None:
    """A sealed header of an unknown type, or with a length that its type never has, is damage."""
    region = build([(kind, 0, payload)])
    with pytest.raises(RingDamagedError, match=f"position {START}"):
        split(region)


@pytest.mark.parametrize("size", [0, PAYLOAD - 1, PAYLOAD + 1, 2 * PAYLOAD])
def test_a_sample_of_another_size_is_refused_in_a_stream_of_fixed_size(size: int) -> None:
    """A sealed sample whose length contradicts the schema never reaches a sink."""
    region = build([sample(1), (DATA, 2, bytes(size)), sample(3)])
    assert [r.seq for r in found(region, until_damage(region))] == [1]


def test_a_record_of_another_position_is_refused() -> None:
    """A whole record of an earlier lap proves itself to be one."""
    with pytest.raises(RingDamagedError, match="no valid record header"):
        list(records.split(memoryview(build([sample(0)], START)), START + 2**20, STRIDE, PAYLOAD))


@pytest.mark.parametrize("stride", [STRIDE, 0])
@pytest.mark.parametrize(("field", "value"), [("magic", 0), ("position", START), ("type", 3)])
def test_a_sealed_header_that_does_not_belong_there_is_refused(field: str, value: int, stride: int) -> None:
    """Magic, position and type are proved beside the checksum, in a run as well as alone."""
    region = bytearray(build([sample(1), sample(2), sample(3)]))
    head = np.frombuffer(region, layout.HEADER_DTYPE, 1, STRIDE)
    head[field] = value
    head["crc"] = zlib.crc32(region[STRIDE + 4 : STRIDE + 64])
    assert [r.seq for r in found(bytes(region), until_damage(region, stride))] == [1]


def contained(region: bytes | bytearray, items: Iterable[Item]) -> None:
    """Items lie one behind the other within the region."""
    at = 0
    for item in items:
        assert (item.offset, item.size % 64) == (at, 0)
        at += item.size
    assert at <= len(region)


@settings(deadline=None, max_examples=200)
@given(
    region=st.binary(max_size=1000),
    position=st.integers(0, 2**64 - 1),
    stride=st.sampled_from([0, 64, 128, 192]),
    prove=st.booleans(),
    limit=st.none() | st.integers(0, 1000),
)
def test_garbage_raises_nothing_but_damage(
    region: bytes, position: int, stride: int, prove: bool, limit: int | None
) -> None:
    """Random bytes never crash or hang the reader, whatever it expects there."""
    items = records.split(memoryview(region), position, stride, stride - 64, prove=prove, limit_bytes=limit)
    try:
        contained(region, items)
    except RingDamagedError:
        return
    assert limit == 0 or not region


@settings(deadline=None, max_examples=300)
@given(st.data(), st.booleans(), st.booleans())
def test_a_sealed_lie_raises_nothing_but_damage(data: st.DataObject, fixed: bool, prove: bool) -> None:
    """Headers changed at will and sealed again are delivered within bounds or refused, nothing else."""
    region = bytearray(data.draw(regions(fixed).filter(len)))
    places = [r.position - START for r in parse(region, START)]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places))
        field = data.draw(st.sampled_from(layout.HEADER_DTYPE.names or ()))
        header = np.frombuffer(region, layout.HEADER_DTYPE, 1, at)
        size = header.dtype[field].itemsize
        value = data.draw(st.integers(0, 70) | st.integers(0, 2 ** (8 * size) - 1))
        offset = layout.HEADER_DTYPE.fields[field][1]  # type: ignore[index]
        region[at + offset : at + offset + size] = value.to_bytes(size, "little")
        region[at : at + 4] = zlib.crc32(region[at + 4 : at + 64]).to_bytes(4, "little")
    with suppress(RingDamagedError):
        contained(region, records.split(memoryview(region), START, STRIDE * fixed, PAYLOAD, prove=prove))


@pytest.mark.requires("native")
@settings(deadline=None, max_examples=500)
@given(st.data(), st.booleans(), st.booleans())
def test_both_provers_find_the_same_run(data: st.DataObject, prove: bool, seal: bool) -> None:
    """However a region is damaged or lies, numpy and C agree on how many samples stand there, and which."""
    count, begin = data.draw(st.integers(1, 200)), data.draw(st.integers(0, 2**64 - 1))
    position = data.draw(st.sampled_from([0, START, 2**64 - 2 * STRIDE]))
    region = bytearray(
        b"".join(
            record(DATA, (position + i * STRIDE) % 2**64, (begin + i) % 2**64, bytes(PAYLOAD))
            for i in range(count)
        )
    )
    for _ in range(data.draw(st.integers(0, 2))):
        at = STRIDE * data.draw(st.integers(0, count - 1))
        region[at + data.draw(st.integers(0, layout.HEADER_BYTES - 1))] ^= 1 << data.draw(st.integers(0, 7))
        if seal:
            region[at : at + 4] = zlib.crc32(region[at + 4 : at + 64]).to_bytes(4, "little")
    first = STRIDE * data.draw(st.integers(0, count - 1))
    most = data.draw(st.integers(1, count - first // STRIDE))
    where = (memoryview(region), first, (position + first) % 2**64, most, STRIDE, PAYLOAD, prove)
    number, seq = native.extension.run(*where)
    expected = records.Run(first, number * STRIDE, number, STRIDE, seq) if number else None
    assert records._run_by_numpy(*where) == expected


@pytest.mark.requires("native")
@pytest.mark.parametrize(
    ("at", "most", "stride"), [(0, 4, 192), (577, 0, 192), (64, 3, 192), (0, 9, 64), (0, 1, 63), (0, 1, 0)]
)
def test_a_run_beyond_its_region_is_refused(at: int, most: int, stride: int) -> None:
    """C never looks behind the memory that it was given."""
    with pytest.raises(ValueError, match="beyond the region"):
        native.extension.run(memoryview(bytes(3 * STRIDE - 32)), at, 0, most, stride, PAYLOAD, True)


def test_a_length_beyond_the_region_allocates_nothing() -> None:
    """A header that claims 4 GiB is refused by its region's end, before any byte of the claim is touched."""
    lie = record(DATA, START, 0, b"", length=2**32 - 1)
    assert padded(64 + 2**32 - 1) > len(lie)
    for stride in (0, STRIDE):
        with pytest.raises(RingDamagedError):
            split(lie.ljust(4096, b"\0"), stride)
