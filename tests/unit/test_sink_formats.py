from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recd.ahead import Helpers
from recd.sinks import deflating, hdf5, make_sink
from recd.sinks.base import AppendSink
from recd_client.errors import OptionError, OutputError, SchemaError
from recd_client.options import CSVFile, HDF5File, NPZFile, NullSink, SinkOptions
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema
from sink_samples import Samples, Values, fields, of_extremes, record

SIMPLE = fields(q=(FIXED, "<f8", (2,)), on=(FIXED, "|b1", ()))


def strings(*texts: str | bytes) -> Samples:
    """Samples of one string field."""
    return Samples(fields(s=(STRING, "|u1", ())), {"s": [*texts]})


def csv_sink(schema: Schema = SIMPLE, **options: Any) -> AppendSink:
    """A CSV sink."""
    sink = make_sink(CSVFile("x.csv", **options), schema, {})
    assert isinstance(sink, AppendSink)
    return sink


# --- which samples fit ------------------------------------------------------------------------------


def test_a_header_with_the_wrong_number_of_names_is_refused() -> None:
    """The message names how many columns there are, which, and what came; and that the time needs no name."""
    with pytest.raises(OptionError, match=r"expected 3 \(q_0, q_1, on\), got 4 \(timestamp, a, b, c\)") as e:
        csv_sink(header=["timestamp", "a", "b", "c"])
    assert "'timestamp' is put in front" in e.value.do


def test_a_long_header_is_shown_in_short() -> None:
    """An error about 50 columns fits a screen."""
    with pytest.raises(
        OptionError, match=r"expected 50 \(data_0, data_1, data_2, \.\.\., data_49\), got 1 \(a\)"
    ):
        csv_sink(Schema((Field("data", "<f8", (50,)),), bare=True), header=["a"])


def test_a_fitting_header_names_the_columns(tmp_path: Path) -> None:
    """The user's names stand behind ``timestamp``."""
    path = record(CSVFile("x.csv", header=["x", "y, m", "on"]), of_extremes(SIMPLE, 0), tmp_path / "x.csv")
    assert path.read_text() == 'timestamp,x,"y, m",on\n'


@pytest.mark.parametrize(
    ("schema", "header"),
    [
        (fields(a=(FIXED, "<f8", (2,)), a_0=(FIXED, "<f8", ())), None),
        (SIMPLE, ["timestamp", "x", "y"]),
    ],
    ids=["default names", "a header"],
)
def test_two_csv_columns_of_one_name_are_refused(schema: Schema, header: list[str] | None) -> None:
    """A reader that goes by names would lose one of them."""
    with pytest.raises(SchemaError, match=r"expected names that differ, got '(a_0|timestamp)' twice"):
        csv_sink(schema, header=header)


@pytest.mark.parametrize("options", [NPZFile("x.npz"), HDF5File("x.h5")], ids=["npz", "hdf5"])
def test_a_field_named_like_the_offsets_of_another_is_refused(options: SinkOptions) -> None:
    """``c_offsets`` belongs to a ragged ``c``; beside a fixed ``c`` it is a name like any other."""
    make_sink(options, fields(c=(FIXED, "<f8", ()), c_offsets=(FIXED, "<f8", ())), {})
    with pytest.raises(SchemaError, match="expected names that differ, got 'c_offsets' twice"):
        make_sink(options, fields(c=(RAGGED, "<f8", ()), c_offsets=(FIXED, "<f8", ())), {})


def test_a_field_that_np_load_would_take_for_another_is_refused() -> None:
    """``file["a.npy"]`` opens the array ``a`` if there is one."""
    make_sink(NPZFile("x.npz"), fields(**{"a.npy": (FIXED, "<f8", ())}), {})
    with pytest.raises(SchemaError, match=r"field 'a\.npy': np\.load would open 'a'"):
        make_sink(NPZFile("x.npz"), fields(**{"a": (FIXED, "<f8", ()), "a.npy": (FIXED, "<f8", ())}), {})


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field(".", "<f8"), "means the file itself"),
        (Field("big", "|u1", (1 << 32,)), "expected less than 4 GiB"),
    ],
    ids=["the name of the root", "4 GiB"],
)
def test_what_hdf5_cannot_hold_is_refused_before_anything_is_recorded(field: Field, message: str) -> None:
    """Such a file could not be built later, when the samples are there."""
    with pytest.raises(SchemaError, match=message):
        make_sink(HDF5File("x.h5"), Schema((field,)), {})


# --- CSV --------------------------------------------------------------------------------------------


def test_a_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header and four batches: five system calls, each of whole rows."""
    written: list[bytes] = []
    pwrite = os.pwrite

    def note(fd: int, data: memoryview, at: int) -> int:
        written.append(bytes(data))
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", note)
    record(CSVFile("x.csv"), of_extremes(SIMPLE, 40).cut([10, 20, 30]), tmp_path / "x.csv")
    assert len(written) == 5
    assert all(text.endswith(b"\n") for text in written)


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes 7 bytes at a time gets the same file."""
    samples = of_extremes(SIMPLE, 40).cut([10, 20, 30])
    whole = record(CSVFile("x.csv"), samples, tmp_path / "whole.csv").read_bytes()
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    assert record(CSVFile("x.csv"), samples, tmp_path / "x.csv").read_bytes() == whole


def test_a_file_shorter_than_its_state_is_not_gone_on_with(tmp_path: Path) -> None:
    """Somebody cut it: appending would hide the hole, so the error tells both lengths."""
    (tmp_path / "x.csv").write_bytes(b"timestamp,q_0")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OutputError, match="expected the 100 bytes that were written, found 13"):
        csv_sink().open(tmp_path / "x.csv", {"bytes": 100, "rows": 3, "crc32": 0})
    assert (tmp_path / "x.csv").read_bytes() == b"timestamp,q_0"
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_opening_without_a_state_begins_anew(tmp_path: Path) -> None:
    """What an earlier attempt left in the part file is gone."""
    (tmp_path / "x.csv").write_bytes(b"x" * 1000)
    sink = csv_sink()
    sink.open(tmp_path / "x.csv", None)
    sink.sync()
    sink.abandon()
    assert (tmp_path / "x.csv").read_bytes() == b"timestamp,q_0,q_1,on\n"


# --- NPZ --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 3])
def test_arrays_of_an_archive_stand_in_the_order_of_the_fields(count: int, tmp_path: Path) -> None:
    """The time first; a ragged field's offsets begin at 0 and end at the number of elements."""
    schema = fields(z=(FIXED, "<f8", (2,)), c=(RAGGED, "<f4", (7,)), a=(FIXED, "|b1", ()))
    with np.load(record(NPZFile("x.npz"), of_extremes(schema, count), tmp_path / "x.npz")) as file:
        assert file.files == ["timestamp", "z", "c", "c_offsets", "a"]
        shapes = {name: file[name].shape for name in file.files}
        assert file["c_offsets"].tolist() == [0, 0, 1, 3][: count + 1]
    elements = 3 if count else 0
    assert shapes == {
        "timestamp": (count,), "z": (count, 2), "c": (elements, 7), "c_offsets": (count + 1,), "a": (count,)
    }  # fmt: skip


def test_strings_of_an_archive_are_one_array_of_text(tmp_path: Path) -> None:
    """As wide as the longest, at least one character."""
    with np.load(record(NPZFile("x.npz"), strings("é", "", "abc"), tmp_path / "x.npz")) as file:
        assert file["s"].dtype == "<U3"
        assert file["s"].tolist() == ["é", "", "abc"]
    with np.load(record(NPZFile("x.npz"), strings("", ""), tmp_path / "x.npz")) as file:
        assert file["s"].tolist() == ["", ""]


@pytest.mark.parametrize(
    "odd", ["a" * 257, "ends in NUL\0", b"no \xff UTF-8"], ids=["long", "ends in NUL", "no text"]
)
def test_strings_that_an_array_of_text_would_waste_or_change_are_bytes(
    odd: str | bytes, tmp_path: Path
) -> None:
    """One such string, and all are exact bytes behind each other, with offsets."""
    with np.load(record(NPZFile("x.npz"), strings("é", odd, ""), tmp_path / "x.npz")) as file:
        raw, offsets = file["s"], file["s_offsets"]
    found = [bytes(raw[begin:end]) for begin, end in itertools.pairwise(offsets)]
    assert found == ["é".encode(), odd if isinstance(odd, bytes) else odd.encode(), b""]


def test_compression_makes_an_archive_smaller(tmp_path: Path) -> None:
    """``compressed`` decides; the arrays are the same."""
    values: Values = {"a": [np.zeros(1000)] * 20}
    samples = Samples(fields(a=(FIXED, "<f8", (1000,))), values)
    small = record(NPZFile("x.npz"), samples, tmp_path / "small.npz").stat().st_size
    large = record(NPZFile("x.npz", compressed=False), samples, tmp_path / "large.npz").stat().st_size
    assert small < large / 20
    assert large > 160_000


# --- HDF5 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 1000, 9000])
def test_what_does_not_shrink_is_stored_in_a_compressed_archive(rows: int, tmp_path: Path) -> None:
    """Noise takes its own room and little more, what repeats takes less, and both read back, piece by piece."""
    noise = np.random.default_rng(5).standard_normal((rows, 50))
    noise[rows // 2 :] = 1.5
    samples = Samples(fields(a=(FIXED, "<f8", (50,))), {"a": list(noise)}, cuts=range(0, rows, 700))
    path = record(NPZFile("x.npz"), samples, tmp_path / "x.npz")
    with np.load(path) as file:
        assert np.array_equal(file["a"], noise)
    assert path.stat().st_size < noise.nbytes * 0.6 + deflating.PIECE_BYTES


def test_pieces_of_every_kind_are_one_stream_of_deflate() -> None:
    """In their order, whichever thread was done first; and so is the next stream of the same deflater."""
    random = np.random.default_rng(6)
    with Helpers(3) as helpers:
        deflater = deflating.Deflater(helpers)
        for _ in range(2):
            pieces = [
                random.bytes(int(n)) if n % 2 else bytes(int(n)) for n in random.integers(1, 1 << 18, 40)
            ]
            stream = b"".join([*map(bytes, map(deflater.compress, pieces)), deflater.flush()])
            assert zlib.decompress(stream, -zlib.MAX_WBITS) == b"".join(pieces)


def test_units_and_metadata_are_attributes(tmp_path: Path) -> None:
    """Units at their datasets; metadata whole as JSON, and what is plain once more under its own name."""
    schema = Schema(
        (Field("q", "<f8", (2,), FIXED, "rad"), Field("c", "<f4", (), RAGGED, "N"), Field("n", "<i4"))
    )
    metadata = {
        "robot": "walker \0 ü", "mass": 1.5, "seed": 7, "soft": True, "big": 1 << 70, "nested": {"a": [1]},
        "stream": "not the stream", "": 1, "nul\0": 2, "metadata": 3, "x" * 300: 4,
    }  # fmt: skip
    path = record(
        HDF5File("x.h5"), of_extremes(schema, 2), tmp_path / "x.h5", name="state", metadata=metadata
    )
    with h5py.File(path) as file:
        units = {name: file[name].attrs.get("units") for name in file}
        found = dict(file.attrs)
    assert units == {"timestamp": "s", "q": "rad", "c": "N", "c_offsets": None, "n": None}
    assert json.loads(found.pop("metadata")) == metadata
    assert found == {"robot": "walker � ü", "mass": 1.5, "seed": 7, "soft": True, "stream": "state"}


@pytest.mark.parametrize("size", [100, 100_000, 3_000_000])
def test_metadata_may_be_large(size: int, tmp_path: Path) -> None:
    """Beyond the 64 KiB that old attributes hold, and more of them than fit an object's header."""
    metadata = {f"key {i}": i for i in range(100)} | {"notes": "x" * size}
    path = record(HDF5File("x.h5"), of_extremes(SIMPLE, 2), tmp_path / "x.h5", metadata=metadata)
    with h5py.File(path) as file:
        assert file.attrs["notes"] == metadata["notes"]
        assert file.attrs["key 99"] == 99


def test_datasets_can_grow_and_stand_in_the_order_of_the_fields(tmp_path: Path) -> None:
    """Whoever goes on with a file can append; bools are bools; old readers know the format."""
    path = record(HDF5File("x.h5"), of_extremes(SIMPLE, 5), tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        names: list[bytes] = []
        file.id.links.iterate(names.append, idx_type=h5py.h5.INDEX_CRT_ORDER)
        assert names == [b"timestamp", b"q", b"on"]
        assert file["on"].dtype == bool
        assert file["q"].maxshape == (None, 2)
        file["q"].resize(6, axis=0)
        assert file.id.get_create_plist().get_version()[0] <= 2  # the superblock of HDF5 1.8


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_chunks_are_as_large_as_asked_and_compressed_as_asked(
    compression: str | None, tmp_path: Path
) -> None:
    """Chunks hold whole samples of about ``chunk_bytes``, and no more than there are."""
    schema = fields(a=(FIXED, "<f8", (64,)), b=(FIXED, "<f8", ()), c=(FIXED, "<f8", (1024,)))
    options = HDF5File("x.h5", chunk_bytes=4096, compression=compression)
    with h5py.File(record(options, of_extremes(schema, 40), tmp_path / "x.h5")) as file:
        assert {name: file[name].chunks for name in "abc"} == {"a": (8, 64), "b": (40,), "c": (1, 1024)}
        assert {file[name].compression for name in "abc"} == {compression}


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_are_written_whole_and_once(
    compression: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of any size become chunks that are full when they are written, but for the last one."""
    written: list[tuple[int, int]] = []
    write = hdf5._Chunked._write

    def note(column: hdf5._Chunked, count: int) -> None:
        if len(column._filling) == 8:
            written.append((column._written, count))
        write(column, count)

    monkeypatch.setattr(hdf5._Chunked, "_write", note)
    samples = of_extremes(fields(a=(FIXED, "<f8", (64,))), 100).cut([3, 8, 30, 31, 95])
    record(HDF5File("x.h5", chunk_bytes=4096, compression=compression), samples, tmp_path / "x.h5")
    assert written == [*((begin, 8) for begin in range(0, 96, 8)), (96, 4)]


def test_a_short_file_with_ragged_fields_takes_little_room(tmp_path: Path) -> None:
    """Chunks of a megabyte would, for a few contacts, and there may be a file per episode."""
    schema = fields(c=(RAGGED, "<f8", (7,)))
    path = record(HDF5File("x.h5"), of_extremes(schema, 5), tmp_path / "x.h5")
    assert path.stat().st_size < 20_000


def test_strings_in_hdf5_lose_what_it_cannot_hold(tmp_path: Path) -> None:
    """NUL and bytes that are no UTF-8 become replacement characters; nothing fails at the end of a run."""
    with h5py.File(record(HDF5File("x.h5"), strings("a\0b", b"\xff", "漢"), tmp_path / "x.h5")) as file:
        assert file["s"].asstr()[:].tolist() == ["a�b", "�", "漢"]


# --- what importing costs -----------------------------------------------------------------------------


def test_h5py_is_loaded_by_an_hdf5_sink_and_by_no_other() -> None:
    """It takes half as long as numpy, and other streams need not wait for it."""
    script = """
import sys
from recd.sinks import make_sink
from recd_client.options import CSVFile, HDF5File, NPZFile, NullSink
from recd_client.schema import Field, Schema
schema = Schema((Field("a", "<f8"),))
for options in CSVFile("x.csv"), NPZFile("x.npz"), NullSink():
    make_sink(options, schema, {})
before = "h5py" in sys.modules
make_sink(HDF5File("x.h5"), schema, {})
print(before, "h5py" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert result.stdout == "False True\n", result.stderr


def test_the_null_sink_goes_by_no_suffix() -> None:
    """So the runner knows that there is no file to seal."""
    assert make_sink(NullSink(), SIMPLE, {}).suffixes == ()
