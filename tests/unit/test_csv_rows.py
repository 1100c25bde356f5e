from __future__ import annotations

import csv
import io
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recd.sinks.csv_python import text_of
from recd.sinks.csv_rows import CSVRows, column_names, header_line
from recd_client.options import CSVFile
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema
from sink_samples import Samples, fields


def lines(samples: Samples) -> list[str]:
    """The rows as text."""
    text = CSVRows(samples.schema).text(samples.batch(0, samples.count)).decode()
    assert text.endswith("\n") or not samples.count
    return text.split("\n")[:-1]


def column(values: NDArray[Any]) -> list[str]:
    """How one bare field with these values looks: the cells behind the time."""
    schema = Schema((Field("data", values.dtype.str),), bare=True)
    return [line.split(",")[1] for line in lines(Samples(schema, {"data": [*values]}))]


def read_back(cells: list[str], dtype: str) -> NDArray[Any]:
    """What a reader gets who casts float64 cells to ``dtype``."""
    return np.array([float(cell) for cell in cells]).astype(dtype)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Schema((Field("data", "<f8"),), bare=True), ["data"]),
        (Schema((Field("data", "<f8", (3,)),), bare=True), ["data_0", "data_1", "data_2"]),
        (
            fields(q=(FIXED, "<f4", (2, 2)), on=(FIXED, "|b1", ()), one=(FIXED, "<f4", (1,))),
            ["q_0", "q_1", "q_2", "q_3", "on", "one_0"],
        ),
        (fields(c=(RAGGED, "<f8", (7,)), s=(STRING, "|u1", ()), none=(FIXED, "<f8", (0,))), ["c", "s"]),
    ],
    ids=["scalar", "vector", "arrays", "varying"],
)
def test_columns_are_named_after_the_fields(schema: Schema, expected: list[str]) -> None:
    """A scalar has its field's name, elements are numbered in C order, what varies in size has one column."""
    assert column_names(schema) == expected


def test_a_header_quotes_what_would_be_taken_for_more_columns() -> None:
    """Names with commas and quotes come back from a CSV reader as they were given."""
    names = ["force, x", 'the "z"', "é [m]", ""]
    text = header_line(names).decode()
    assert next(csv.reader(io.StringIO(text))) == ["timestamp", *names]
    assert text.endswith("\n")


# --- numbers --------------------------------------------------------------------------------------


def test_numbers_look_as_a_person_would_write_them() -> None:
    """Shortest decimals, whole numbers without a point, bools as 0 and 1, names for what is no number."""
    schema = fields(
        a=(FIXED, "<f8", (4,)), b=(FIXED, "|b1", (2,)), c=(FIXED, "<u8", ()), d=(FIXED, "<f4", (2,))
    )
    values = {
        "a": [np.array([0.1, -0.0, np.nan, np.inf])],
        "b": [np.array([True, False])],
        "c": [np.array(2**64 - 1, np.uint64)],
        "d": [np.array([0.1, -np.inf], np.float32)],
    }
    assert lines(Samples(schema, values, t=[1.25])) == [
        "1.25,0.1,-0.0,nan,inf,1,0,18446744073709551615,0.1,-inf"
    ]


def test_every_float16_reads_back() -> None:
    """All 65,536 of them, by way of a float64."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    found = read_back(column(every), "<f2")
    numbers = ~np.isnan(every)
    assert np.array_equal(found.view(np.uint16)[numbers], every.view(np.uint16)[numbers])
    assert np.isnan(found[~numbers]).all()


@pytest.mark.parametrize("bits", [0x15AE43FD, 0x15AE43FD | 1 << 31], ids=["positive", "negative"])
def test_the_float32_that_rounding_twice_would_change_reads_back(bits: int) -> None:
    """Of all float32, 7.038531e-26 alone is another one after its shortest decimal was read as a float64."""
    value = np.array([bits], np.uint32).view(np.float32)
    assert read_back([np.format_float_scientific(value[0])], "<f4") != value  # what is guarded against
    assert read_back(column(value), "<f4") == value
    ragged = Samples(fields(a=(RAGGED, "<f4", ())), {"a": [value]})
    cell = next(csv.reader(lines(ragged)))[1]
    assert np.array(json.loads(cell)).astype(np.float32) == value


@pytest.mark.parametrize(("dtype", "unsigned"), [("<f4", "<u4"), ("<f8", "<u8")])
@given(data=st.data())
@settings(deadline=None)
def test_any_bits_of_a_float_read_back(dtype: str, unsigned: str, data: st.DataObject) -> None:
    """Denormals, huge, tiny and special ones: what is read and cast has the same bits."""
    most = np.iinfo(unsigned).max
    bits = np.array(data.draw(st.lists(st.integers(0, most), min_size=1, max_size=20)), unsigned)
    values = bits.view(dtype)
    found = read_back(column(values), dtype)
    assert np.array_equal(found, values, equal_nan=True)
    assert np.array_equal(np.signbit(found)[~np.isnan(values)], np.signbit(values)[~np.isnan(values)])


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf], [np.nan, -np.inf, np.inf]])
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_what_is_no_number_stands_where_it_was(special: list[float], share: float, dtype: str) -> None:
    """Few or many NaN and infinities among numbers: each is in its own row and column."""
    rng = np.random.default_rng(3)
    table = rng.standard_normal((60, 5)).astype(dtype)
    chosen = rng.random(table.shape) < share
    table[chosen] = np.resize(np.array(special, dtype), chosen.sum())
    rows = lines(Samples(fields(a=(FIXED, dtype, (5,))), {"a": [*table]}))
    found = np.array([[float(cell) for cell in row.split(",")[1:]] for row in rows]).astype(dtype)
    assert np.array_equal(found, table, equal_nan=True)


def test_rows_do_not_depend_on_how_fields_of_several_dtypes_lie_beside_each_other() -> None:
    """Every order of fields gives the same cells, whatever fields are formatted together."""
    described: dict[str, tuple[str, str, tuple[int, ...]]] = {
        "a": (FIXED, "<f8", (2,)),
        "b": (FIXED, "<u8", ()),
        "c": (FIXED, "|b1", ()),
        "d": (STRING, "|u1", ()),
        "e": (FIXED, "<f2", ()),
    }
    values: dict[str, list[Any]] = {
        "a": [np.array([i / 3, np.nan]) for i in range(3)],
        "b": [np.array(1 << i, np.uint64) for i in (63, 0, 40)],
        "c": [np.array(i == 1) for i in range(3)],
        "d": ["x", "y,", ""],
        "e": [np.array(np.inf * i if i else -0.5, np.float16) for i in (1, 0, -1)],
    }
    alone = {name: cells_of({name: described[name]}, values) for name in described}
    for order in itertools.permutations(described):
        together = cells_of({name: described[name] for name in order}, values)
        assert together == [list(itertools.chain(*row)) for row in zip(*map(alone.get, order), strict=True)]


def cells_of(described: dict[str, tuple[str, str, tuple[int, ...]]], values: dict[str, list[Any]]) -> Any:
    """Rows of cells behind the time."""
    samples = Samples(fields(**described), {name: values[name] for name in described})
    return [row[1:] for row in csv.reader(lines(samples))]


def test_a_batch_larger_than_is_formatted_at_once_is_whole() -> None:
    """Rows come in order, none is missing, also where one table's rows end and the next one's begin."""
    table = np.arange(3000 * 20).reshape(3000, 20)
    rows = lines(Samples(fields(a=(FIXED, "<i8", (20,))), {"a": [*table]}))
    assert [row.split(",")[1:] for row in rows] == [[str(v) for v in row] for row in table.tolist()]


def test_a_batch_without_samples_has_no_text() -> None:
    """Nothing in, nothing out, not even a line feed."""
    assert lines(Samples(fields(a=(RAGGED, "<f8", ())), {"a": []})) == []


# --- what varies in size --------------------------------------------------------------------------


def test_a_ragged_array_is_one_cell_of_json() -> None:
    """Nested for elements with axes, ``[]`` when empty, NaN and infinities as Python's json names them."""
    schema = fields(a=(RAGGED, "<f8", ()), b=(RAGGED, "|b1", ()), c=(RAGGED, "<i4", (2,)))
    values = {
        "a": [np.array([1.5, np.nan, -np.inf]), np.array([])],
        "b": [np.array([True, False]), np.array([], bool)],
        "c": [np.array([[1, 2], [3, 4]], np.int32), np.empty((0, 2), np.int32)],
    }
    assert lines(Samples(schema, values)) == [
        '0.0,"[1.5,NaN,-Infinity]","[1,0]","[[1,2],[3,4]]"',
        '0.1,"[]","[]","[]"',
    ]


def test_strings_are_quoted_only_where_they_must_be() -> None:
    """Commas, quotes and line breaks need quotes (RFC 4180); spaces and other scripts do not."""
    texts = ["plain", "", " a b ", "漢字🙂", "a,b", 'say "hi"', "two\nlines", "cr\rlf\r\n"]
    samples = Samples(fields(s=(STRING, "|u1", ())), {"s": texts})
    text = CSVRows(samples.schema).text(samples.batch(0, len(texts))).decode()
    assert [row[1] for row in csv.reader(io.StringIO(text, newline=""))] == texts
    assert text.count('"') == 2 * 4 + 4


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    """A CSV file is UTF-8, also when a sample was not."""
    samples = Samples(fields(s=(STRING, "|u1", ())), {"s": [b"ab\xff", b"\xc3"]})
    assert lines(samples) == ["0.0,ab�", "0.1,�"]


def test_times_are_never_rounded() -> None:
    """The first column is the shortest decimal that gives the very float64."""
    samples = Samples(
        fields(a=(FIXED, "<i4", ())), {"a": [np.array(0)] * 3}, t=[0.1 + 0.2, 1e9 / 3, math.nan]
    )
    assert [line.split(",")[0] for line in lines(samples)] == [
        "0.30000000000000004",
        "333333333.3333333",
        "nan",
    ]


# --- as Python writes it --------------------------------------------------------------------------


def test_the_python_dialect_is_what_csv_writer_writes() -> None:
    """Header and rows are byte for byte those of csv.writer over ``tolist()``, bools and float32 included."""
    schema = fields(
        q=(FIXED, "<f4", (2, 2)), on=(FIXED, "|b1", ()), n=(FIXED, "<i8", ()), x=(FIXED, "<f8", ())
    )
    rng = np.random.default_rng(1)
    rows = [
        {"q": rng.random((2, 2)).astype("<f4") * 10.0**k, "on": k % 2 > 0, "n": k, "x": 10.0 ** (3 * k)}
        for k in range(-7, 8)
    ]
    rows[3]["x"], rows[4]["x"] = math.nan, -math.inf
    samples = Samples(schema, {name: [row[name] for row in rows] for name in rows[0]})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["timestamp", "q_0", "q_1", "q_2", "q_3", "on", "n", "x"])
    batch = samples.batch(0, samples.count)
    for t, row in zip(batch.t.tolist(), rows, strict=True):
        writer.writerow([t, *row["q"].reshape(-1).tolist(), bool(row["on"]), row["n"], row["x"]])
    head, python = text_of(CSVFile("x.csv", dialect="python"), schema)
    assert (head + python.text(batch)).decode() == text.getvalue()
