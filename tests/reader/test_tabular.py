"""Streams as tables of pandas, pyarrow and xarray."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import recd
from reading import manifest
from recd.reader import ArrayStream
from recd_client.errors import MissingLibraryError
from recd_client.options import HDF5File
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema
from sink_samples import of_extremes, record

SCHEMA = Schema(
    (
        Field("q", "<f4", (3,), FIXED, "rad"),
        Field("m", "<i8", (2, 2)),
        Field("n", "<i4"),
        Field("r", "<f8", (2,), RAGGED),
        Field("s", "|u1", (), STRING),
    )
)


@pytest.fixture
def stream(tmp_path: Path) -> ArrayStream:
    """Eleven samples with fields of every kind."""
    samples = of_extremes(SCHEMA, 11)
    samples.values["q"] = [np.full(3, i, np.float32) for i in range(11)]
    path = record(HDF5File("x.h5"), samples, tmp_path / "x.h5")
    file = {"path": "x.h5", "kind": "hdf5", "part": 0, "samples": 11, "bytes": path.stat().st_size}
    told = {"schema": SCHEMA.to_json(), "files": [file], "attempted": 11}
    found = recd.open(manifest(tmp_path, {"x": told}))["x"]
    assert isinstance(found, ArrayStream)
    return found


@pytest.mark.requires("pandas")
def test_a_data_frame_has_a_column_per_number(stream: ArrayStream) -> None:
    """Over the stream time; strings and ragged arrays are objects."""
    frame = stream.to_pandas()
    assert [*frame.columns] == ["q_0", "q_1", "q_2", "m_0", "m_1", "m_2", "m_3", "n", "r", "s"]
    assert (frame.index.name, frame.index.tolist()) == ("timestamp", stream.t.tolist())
    assert frame["q_1"].tolist() == [*range(11)]
    assert (frame["q_1"].dtype, frame["m_0"].dtype) == (np.float32, np.int64)
    assert frame["m_3"].tolist() == stream["m"][:, 1, 1].tolist()
    assert frame["s"].tolist() == stream["s"][:].tolist()
    assert [r.shape for r in frame["r"]] == [(i % 4, 2) for i in range(11)]
    assert [*stream.to_pandas(["n"]).columns] == ["n"]


@pytest.mark.requires("pyarrow")
def test_an_arrow_table_keeps_shapes_and_units(stream: ArrayStream) -> None:
    """Arrays are lists of fixed size, one in the other; ragged fields lists; units stand in the metadata."""
    table = stream.to_arrow()
    assert table.column_names == ["timestamp", "q", "m", "n", "r", "s"]
    assert table.schema.field("q").metadata == {b"unit": b"rad"}
    assert str(table.schema.field("m").type).count("fixed_size_list") == 2
    assert table["timestamp"].to_pylist() == stream.t.tolist()
    for name in ("q", "m", "n"):
        assert table[name].to_pylist() == stream[name][:].tolist()
    for found, row in zip(table["r"].to_pylist(), stream["r"], strict=True):
        assert np.array_equal(np.array(found).reshape(-1, 2), row, equal_nan=True)
    assert table["s"].to_pylist() == stream["s"][:].tolist()


@pytest.mark.requires("xarray")
def test_a_dataset_has_time_and_units(stream: ArrayStream) -> None:
    """Every field is an array along time, with its unit."""
    dataset = stream.to_xarray()
    assert dataset["q"].dims == ("time", "q_0")
    assert dataset["m"].dims == ("time", "m_0", "m_1")
    assert dataset["q"].attrs == {"units": "rad"}
    assert dataset["time"].values.tolist() == stream.t.tolist()
    assert dataset["seq"].values.tolist() == [*range(11)]
    assert np.array_equal(dataset["m"].values, stream["m"][:])
    assert dataset["r"].values[3].shape == (3, 2)


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "xarray"])
def test_an_absent_library_is_named_with_the_extra_that_brings_it(
    stream: ArrayStream, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an ImportError, too."""
    monkeypatch.setitem(sys.modules, library, None)
    convert = {"pandas": stream.to_pandas, "pyarrow": stream.to_arrow, "xarray": stream.to_xarray}[library]
    with pytest.raises(MissingLibraryError, match=library) as caught:
        convert()
    assert "recd[data]" in caught.value.do
    assert isinstance(caught.value, ImportError)
