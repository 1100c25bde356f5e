from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recd.batch import Batch, Varying, batch_of_records, batch_of_run
from recd_client import layout
from recd_client.errors import LogDamagedError
from recd_client.schema import FIXED, RAGGED, STRING, Schema
from sink_samples import Samples, fields, of_extremes

MIXED = fields(a=(FIXED, "<f8", (2,)), b=(RAGGED, "<i4", (3,)), c=(STRING, "|u1", ()), d=(FIXED, "|b1", ()))


def records_of(
    schema: Schema, samples: list[dict[str, Any]], *, claim: int | None = None
) -> tuple[bytes, list[int]]:
    """Records as a ring holds them, and where each begins; ``claim`` is what the last one's counts say."""
    region, offsets = bytearray(), []
    for i, sample in enumerate(samples):
        struct: NDArray[Any] = np.zeros(1, schema.struct_dtype)
        behind = b""
        for f in schema.fields:
            value = sample[f.name]
            if f.kind == FIXED:
                struct[f.name][0] = value
                continue
            struct[f.name][0] = len(value) if claim is None or i < len(samples) - 1 else claim
            raw = value if isinstance(value, bytes) else value.tobytes()
            behind += raw + bytes(-len(raw) % 8)
        payload = struct.tobytes() + behind
        header = np.zeros(1, layout.HEADER_DTYPE)
        header["seq"], header["t"], header["step"], header["mono_ns"] = i, i * 0.5, i * 10, i * 1000
        header["length"], header["type"] = len(payload), layout.DATA
        offsets.append(len(region))
        region += header.tobytes() + payload
        region += bytes(layout.record_bytes(len(payload)) - layout.HEADER_BYTES - len(payload))
    return bytes(region), offsets


def mixed(count: int) -> list[dict[str, Any]]:
    """Samples of :data:`MIXED` with 0, 1, 2, ... elements."""
    return [
        {"a": [i, -i], "b": np.full((i, 3), i, "<i4"), "c": ("é" * i).encode(), "d": i % 2 == 1}
        for i in range(count)
    ]


# --- varying columns ------------------------------------------------------------------------------


def test_a_varying_column_splits_into_its_samples() -> None:
    """Each sample has its own elements, also when it has none, first, last or in the middle."""
    values = np.arange(12).reshape(6, 2)
    column = Varying(values, np.array([0, 2, 0, 3, 1, 0]))
    assert [piece.tolist() for piece in column.split()] == [
        [],
        [[0, 1], [2, 3]],
        [],
        [[4, 5], [6, 7], [8, 9]],
        [[10, 11]],
        [],
    ]


def test_a_varying_column_without_samples_splits_into_none() -> None:
    """No samples is not one empty sample."""
    empty = Varying(np.empty((0, 2)), np.empty(0, np.int64))
    assert list(empty.split()) == []
    assert empty.strings() == []


def test_strings_come_out_of_their_utf8() -> None:
    """Bytes that are no UTF-8 become replacement characters, and do not touch the neighbours."""
    raw = ["é".encode(), b"", b"\xff", b"z"]
    column = Varying(np.frombuffer(b"".join(raw), np.uint8), np.array([len(r) for r in raw]))
    assert column.strings() == ["é", "", "�", "z"]


# --- batches --------------------------------------------------------------------------------------


def test_columns_are_asked_for_by_what_they_are() -> None:
    """A fixed column is an array, a varying one is Varying; the wrong question names the right one."""
    batch = of_extremes(MIXED, 3).batch(0, 3)
    assert batch.fixed("a").shape == (3, 2)
    assert batch.varying("b").lengths.tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=r"'b' varies in size: use varying\(\)"):
        batch.fixed("b")
    with pytest.raises(TypeError, match=r"'a' has a fixed shape: use fixed\(\)"):
        batch.varying("a")


@pytest.mark.parametrize(
    "rows", [slice(0, 0), slice(0, 3), slice(2, 7), slice(7, None), slice(9, 99), slice(-3, -1), slice(5, 2)]
)
def test_a_slice_of_a_batch_has_those_samples_of_every_column(rows: slice) -> None:
    """Clocks, fixed and varying columns are cut at the same samples."""
    samples = of_extremes(MIXED, 10)
    part = samples.batch(0, 10)[rows]
    begin, end, _ = rows.indices(10)
    assert part.seq.tolist() == list(range(10))[rows]
    assert len(part) == len(part.t) == len(part.step) == len(part.mono_ns) == max(end - begin, 0)
    assert np.array_equal(part.fixed("a"), np.reshape(samples.values["a"][rows], (-1, 2)), equal_nan=True)
    assert [v.tolist() for v in part.varying("b").split()] == [v.tolist() for v in samples.values["b"][rows]]
    assert part.varying("c").strings() == samples.values["c"][rows]


# --- from records ---------------------------------------------------------------------------------


def test_a_run_of_records_is_viewed_and_not_copied() -> None:
    """Columns and clocks of samples of one size lie in the records themselves."""
    samples = of_extremes(fields(a=(FIXED, "<f8", (2,)), b=(FIXED, "|u1", ())), 4)
    region = bytearray(samples.records(0, 4).tobytes())
    batch = batch_of_run(samples.schema, memoryview(region), samples.schema.stride_bytes, 3)
    assert batch.seq.tolist() == [1, 2, 3]
    assert np.array_equal(batch.fixed("a"), samples.values["a"][1:], equal_nan=True)
    memory = np.frombuffer(region, np.uint8)
    assert all(np.shares_memory(column, memory) for column in (batch.t, batch.fixed("a"), batch.fixed("b")))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_records_of_varying_size_are_gathered_into_columns(count: int) -> None:
    """Every field and clock of every record, in order, whatever the sizes."""
    samples = mixed(count)
    region, offsets = records_of(MIXED, samples)
    batch = batch_of_records(MIXED, memoryview(region), offsets)
    assert batch.seq.tolist() == [*range(count)]
    assert batch.t.tolist() == [i * 0.5 for i in range(count)]
    assert batch.step.tolist() == [i * 10 for i in range(count)]
    assert batch.mono_ns.tolist() == [i * 1000 for i in range(count)]
    assert batch.fixed("a").tolist() == [s["a"] for s in samples]
    assert batch.fixed("d").tolist() == [s["d"] for s in samples]
    assert [v.tolist() for v in batch.varying("b").split()] == [s["b"].tolist() for s in samples]
    assert batch.varying("c").strings() == [s["c"].decode() for s in samples]


def test_records_are_taken_from_where_they_are_asked_for() -> None:
    """Records between them (losses, marks) are passed over by their offsets."""
    region, offsets = records_of(MIXED, mixed(5))
    batch = batch_of_records(MIXED, memoryview(region), [offsets[1], offsets[4]])
    assert batch.seq.tolist() == [1, 4]
    assert batch.varying("c").strings() == ["é", "éééé"]


@pytest.mark.parametrize("claim", [3, 1 << 40, (1 << 64) - 1])
def test_a_count_that_its_payload_cannot_hold_is_damage(claim: int) -> None:
    """What a payload claims is believed only as far as its length goes; nothing large is allocated."""
    region, offsets = records_of(
        MIXED, [{"a": [0, 0], "b": np.ones((1, 3), "<i4"), "c": b"", "d": 0}], claim=claim
    )
    with pytest.raises(LogDamagedError, match=f"field 'b' claims {claim} elements"):
        batch_of_records(MIXED, memoryview(region), offsets)


def test_a_payload_shorter_than_its_fixed_part_is_damage() -> None:
    """A record whose length ends inside the fields is not read beyond it."""
    region, offsets = records_of(MIXED, mixed(1))
    cut = bytearray(region)
    np.frombuffer(cut, layout.HEADER_DTYPE, 1)["length"][0] = MIXED.payload_bytes - 8
    with pytest.raises(LogDamagedError, match="too short"):
        batch_of_records(MIXED, memoryview(cut), offsets)


def test_a_batch_may_have_no_samples() -> None:
    """Empty batches keep their columns' shapes."""
    batch: Batch = Samples(MIXED, {f.name: [] for f in MIXED.fields}).batch(0, 0)
    assert len(batch) == 0
    assert batch.fixed("a").shape == (0, 2)
    assert batch[0:5].varying("b").values.shape == (0, 3)
