"""Every format that is read: what was written comes back, however it is asked for."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recd
from reading import manifest
from recd.reader import ArrayStream, Lists
from recd_client.errors import NoSuchNameError, OptionError, OutOfRangeError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from recd_client.schema import FIXED, RAGGED, STRING, Schema
from sink_samples import Samples, fields, of_extremes, record, same

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
FORMATS: dict[str, SinkOptions] = {
    "csv": CSVFile("x.csv"),
    "csv, python": CSVFile("x.csv", dialect="python"),
    "npz": NPZFile("x.npz"),
    "npz, stored": NPZFile("x.npz", compressed=False),
    "hdf5": HDF5File("x.h5"),
    "hdf5, small chunks": HDF5File("x.h5", chunk_bytes=4096),
    "hdf5, gzip": HDF5File("x.h5", compression="gzip"),
}
SCHEMAS = {
    "scalars of every dtype": fields(**{f"x{d[1:]}": (FIXED, d, ()) for d in DTYPES}),
    "vectors of every dtype": fields(**{f"x{d[1:]}": (FIXED, d, (3,)) for d in DTYPES}),
    "matrices": fields(a=(FIXED, "<f8", (2, 3)), b=(FIXED, "|u1", (4, 1, 2)), c=(FIXED, "<f4", (1,))),
    "axes of length zero": fields(
        a=(FIXED, "<f8", (0,)), b=(FIXED, "<i2", (2, 0, 3)), c=(FIXED, "<f4", ()), d=(RAGGED, "<f8", (0,))
    ),
    "ragged arrays of every dtype": fields(**{f"x{d[1:]}": (RAGGED, d, ()) for d in DTYPES}),
    "everything at once": fields(
        a=(FIXED, "<f8", (3,)), b=(STRING, "|u1", ()), c=(RAGGED, "<f8", (2,)), d=(FIXED, "|b1", ())
    ),
    "names of the reader's own": fields(
        t=(FIXED, "<f8", ()), seq=(FIXED, "<i8", ()), step=(RAGGED, "<i4", ())
    ),
}
every_format = pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def stream_of(
    directory: Path, options: SinkOptions, samples: Samples, cuts: tuple[int, ...] = ()
) -> ArrayStream:
    """The samples as a stream of a recording, in one file, or in several parts that end at ``cuts``."""
    files = []
    for part, (begin, end) in enumerate(itertools.pairwise([0, *cuts, samples.count])):
        some = Samples(
            samples.schema,
            {k: v[begin:end] for k, v in samples.values.items()},
            samples.t[begin:end].tolist(),
        )
        path = directory / f"x_{part}{Path(str(options.path)).suffix}"
        record(options, some, path)
        files.append(
            {
                "path": path.name, "kind": options.kind, "part": part, "samples": end - begin,
                "bytes": path.stat().st_size, "first_seq": begin, "next_seq": end,
            }
        )  # fmt: skip
    told = {"schema": samples.schema.to_json(), "files": files, "attempted": samples.count, "complete": True}
    stream = recd.open(manifest(directory, {"x": told}))["x"]
    assert isinstance(stream, ArrayStream)
    return stream


def values_of(column: Any, schema: Schema, name: str) -> list[Any]:
    """Rows of a column as :func:`sink_samples.same` compares them."""
    (kind,) = (f.kind for f in schema.fields if f.name == name)
    return [str(v) if kind == STRING else np.asarray(v) for v in column]


# --- all of it ------------------------------------------------------------------------------------


@every_format
@every_schema
@pytest.mark.parametrize("cuts", [(), (1, 1, 20)], ids=["one file", "four parts"])
@pytest.mark.parametrize("count", [0, 1, 45])
def test_every_value_is_read_as_it_was_written(
    options: SinkOptions, schema: Schema, cuts: tuple[int, ...], count: int, tmp_path: Path
) -> None:
    """Columns at once, sample by sample, and in batches of several sizes: values, dtypes, shapes, times, numbers."""
    samples = of_extremes(schema, count)
    stream = stream_of(tmp_path, options, samples, cuts if count == 45 else ())
    assert len(stream) == count
    assert stream.t.tolist() == samples.t.tolist()
    assert stream.seq.tolist() == [*range(count)]
    assert same({n: values_of(stream[n][:], schema, n) for n in stream.fields}, samples.values)
    assert same({n: values_of(list(stream[n]), schema, n) for n in stream.fields}, samples.values)
    assert same(
        {n: values_of([stream[n][i] for i in range(count)], schema, n) for n in stream.fields}, samples.values
    )
    for rows in (1, 7, 1000):
        blocks = list(stream.batches(rows=rows))
        found = {n: [v for b in blocks for v in values_of(b[n], schema, n)] for n in stream.fields}
        assert same(found, samples.values)
        assert [t for b in blocks for t in b.t.tolist()] == samples.t.tolist()
        assert [n for b in blocks for n in b.seq.tolist()] == [*range(count)]
        assert [b.start for b in blocks] == np.cumsum([0, *(b.count for b in blocks)])[:-1].tolist()
        for block in blocks:
            for f in schema.fields:
                column = block[f.name]
                assert isinstance(column, Lists) == (f.kind == RAGGED)
                if f.kind == FIXED:
                    assert (column.dtype, column.shape[1:]) == (f.dtype, f.shape)
    for start, stop in ((0, 0), (3, 30), (-5, None)):
        found = [n for b in stream.batches(rows=4, start=start, stop=stop) for n in b.seq.tolist()]
        assert found == [*range(count)][start:stop]


@every_format
def test_a_file_alone_is_read_as_far_as_its_format_tells(options: SinkOptions, tmp_path: Path) -> None:
    """Without a manifest: names, shapes, numbers and times are there; dtypes where the format has them."""
    schema = fields(
        q=(FIXED, "<f4", (3,)), n=(FIXED, "<i4", ()), r=(RAGGED, "<f8", ()), s=(STRING, "|u1", ())
    )
    samples = of_extremes(schema, 20)
    samples.values["q"] = [np.full(3, i, np.float32) for i in range(20)]
    path = tmp_path / Path(str(options.path)).name
    record(options, samples, path)
    with recd.open(path) as run:
        (stream,) = run.streams.values()
        assert stream.fields == ("q", "n", "r", "s")
        assert (stream["q"].shape, stream["n"].shape) == ((20, 3), (20,))
        assert np.array_equal(stream["q"], samples.values["q"])
        assert stream["s"][:].tolist() == [s.replace("\0", "\ufffd") for s in samples.values["s"]]
        assert [len(r) for r in stream["r"][:]] == [len(r) for r in samples.values["r"]]
        assert stream.t.tolist() == samples.t.tolist()
        assert stream.known == frozenset()
        assert stream.seq.tolist() == [-1] * 20
        assert np.isnan(stream.wall).all()
        assert (run.state, stream.state, run.manifest, run.episodes()[0]["x"]) == (
            "unknown",
            "unknown",
            {},
            slice(0, 20),
        )


# --- some of it -----------------------------------------------------------------------------------

INDICES = st.one_of(
    st.integers(-20, 19),
    st.slices(20),
    st.lists(st.integers(-20, 19), max_size=8),
    st.lists(st.booleans(), min_size=20, max_size=20).map(np.array),
    st.lists(st.integers(-20, 19), max_size=8).map(lambda found: np.array(found, np.int16)),
)
FURTHER = st.one_of(
    st.just(()), st.tuples(st.integers(-2, 1)), st.tuples(st.slices(2), st.integers(0, 2)), st.just((..., 1))
)


@pytest.fixture(scope="module", params=FORMATS.values(), ids=FORMATS)
def indexed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ArrayStream, Samples]:
    """A stream in three parts."""
    schema = fields(m=(FIXED, "<f8", (2, 3)), r=(RAGGED, "<i4", ()), s=(STRING, "|u1", ()))
    samples = of_extremes(schema, 20)
    return stream_of(tmp_path_factory.mktemp("parts"), request.param, samples, (7, 8)), samples


@settings(deadline=None, max_examples=150)
@given(index=INDICES, further=FURTHER)
def test_a_column_is_indexed_as_an_array_is(
    indexed: tuple[ArrayStream, Samples], index: Any, further: tuple[Any, ...]
) -> None:
    """Numbers, slices with any step, arrays of numbers, masks, across parts: what numpy gives of the whole array."""
    stream, samples = indexed
    whole = np.array(samples.values["m"])
    expected = whole[(index, *further)]
    found = stream["m"][(index, *further)]
    assert found.shape == expected.shape
    assert np.array_equal(found, expected, equal_nan=True)
    strings = np.array(samples.values["s"], object)[index]
    assert np.array_equal(stream["s"][index], strings)
    rows = np.empty(20, object)
    rows[:] = samples.values["r"]
    picked, wanted = stream["r"][index], rows[index]
    if isinstance(index, int):
        picked, wanted = [picked], [wanted]
    assert [r.tolist() for r in picked] == [r.tolist() for r in wanted]


def test_a_column_tells_what_it_is(indexed: tuple[ArrayStream, Samples]) -> None:
    """Shape, dtype, length, kind, and its name in the text."""
    stream, samples = indexed
    m, r, s = (stream[name] for name in "mrs")
    assert (m.shape, m.dtype, m.ndim, len(m), m.kind, m.element_shape) == (
        (20, 2, 3),
        np.float64,
        3,
        20,
        FIXED,
        (2, 3),
    )
    assert (r.shape, r.dtype, r.kind) == ((20,), np.int32, RAGGED)
    assert (s.shape, s.dtype, s.kind) == ((20,), object, STRING)
    assert "m" in repr(m)
    assert np.asarray(m).shape == (20, 2, 3)
    assert (
        np.asarray(r[:3][1], np.float32).dtype
        == np.asarray(stream.read_from(stream.source)["r"][1], np.float32).dtype
    )
    assert np.asarray(r).dtype == object
    lists = r.lists(3, 9)
    assert [row.tolist() for row in lists] == [row.tolist() for row in samples.values["r"][3:9]]
    assert stream.sample(-1)["s"] == samples.values["s"][-1]


@pytest.mark.parametrize("index", [20, -21, [0, 20], np.ones(19, bool), (0, 2)])
def test_what_lies_outside_is_an_index_error(indexed: tuple[ArrayStream, Samples], index: Any) -> None:
    """It says which index, and what there is."""
    with pytest.raises(OutOfRangeError) as caught:
        indexed[0]["m"][index]
    assert isinstance(caught.value, IndexError)
    assert str(caught.value).count("\n  -> ")


@pytest.mark.parametrize("index", ["qpos", 1.5, None, np.ones((2, 2), int), [0.5]])
def test_what_is_no_index_is_refused(indexed: tuple[ArrayStream, Samples], index: Any) -> None:
    """With what there is to use."""
    with pytest.raises(OptionError, match="index"):
        indexed[0]["m"][index]


def test_an_absent_field_is_named_with_those_that_there_are(indexed: tuple[ArrayStream, Samples]) -> None:
    """As a KeyError too; also where only some are asked for."""
    with pytest.raises(NoSuchNameError, match=r"no field 'x', only m, r, s") as caught:
        indexed[0]["x"]
    assert isinstance(caught.value, KeyError)
    with pytest.raises(NoSuchNameError):
        next(indexed[0].batches(fields=["m", "x"]))
    with pytest.raises(OptionError, match="one axis"):
        indexed[0]["r"][0, 1]
    with pytest.raises(OptionError, match="no source 'log'"):
        indexed[0].read_from("log")


# --- how it is read -------------------------------------------------------------------------------


def test_arrays_that_are_not_compressed_are_mapped(tmp_path: Path) -> None:
    """A slice is a read-only view of the file, and stays one when the recording is closed."""
    schema = fields(q=(FIXED, "<f8", (4,)))
    stream = stream_of(tmp_path, NPZFile("x.npz", compressed=False), of_extremes(schema, 50))
    part = stream["q"][10:20]
    assert isinstance(part, np.memmap) or isinstance(part.base, np.memmap)
    assert not part.flags.writeable
    stream.close()
    assert part.shape == (10, 4)


@every_format
@pytest.mark.parametrize("width", [1, 50])
def test_a_million_rows_are_found_where_they_are(options: SinkOptions, width: int, tmp_path: Path) -> None:
    """Rows in the middle of a file of many blocks, chunks and pages are those that were written there."""
    count = 60_000 // width
    values = np.arange(count * width, dtype=np.float64).reshape(count, width) / 7
    schema = fields(q=(FIXED, "<f8", (width,)))
    stream = stream_of(tmp_path, options, Samples(schema, {"q": [*values]}))
    rng = np.random.default_rng(1)
    for begin in rng.integers(0, count, 20).tolist():
        end = min(begin + int(rng.integers(1, 300)), count)
        assert np.array_equal(stream["q"][begin:end], values[begin:end])
    index = rng.integers(0, count, 500)
    assert np.array_equal(stream["q"][index], values[index])
    assert math.isclose(stream.t[count // 2], 0.1 * (count // 2))
