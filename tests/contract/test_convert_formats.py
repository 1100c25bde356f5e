"""Every format is written, read back by its own library, and compared value for value with what was recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converting import DT, EVERYTHING, Written
from recd.converter import convert, mapping
from recd.converter.mapping import Map
from recd_client import HDF5File, NPZFile, Recorder
from recd_client.errors import OptionError
from recd_client.schema import FIXED, RAGGED, Schema
from recordings import decoded, numbers
from sink_samples import Values, fields, read, same

pytestmark = [pytest.mark.usefixtures("shared_runtime")]

FORMATS = [
    "csv",
    "npz",
    "hdf5",
    pytest.param("parquet", marks=pytest.mark.requires("pyarrow")),
    pytest.param("parquet list", marks=pytest.mark.requires("pyarrow")),
    pytest.param("zarr", marks=pytest.mark.requires("zarr")),
]
SUFFIXES = {"csv": ".csv", "npz": ".npz", "hdf5": ".h5", "parquet": ".parquet", "zarr": ".zarr"}


def options(form: str) -> tuple[str, Map | None]:
    """The format's name, and the map that chooses among its ways."""
    name, _, way = form.partition(" ")
    return name, Map((), target={"arrays": way}) if way else None


def table(written: Written) -> tuple[Schema, Values]:
    """The columns that each table of the recording has."""
    schema = Schema((*fields(seq=(FIXED, "<i8", ()), episode=(FIXED, "<i8", ())).fields, *EVERYTHING.fields))
    seq = seq_of(written)
    values: Values = {
        "seq": [np.int64(n) for n in seq],
        "episode": [np.int64(written.episode(i)) for i in written.kept],
        **written.values,
    }
    return schema, values


def seq_of(written: Written) -> list[int]:
    """The number of each sample that was kept: those that found no room have numbers of their own."""
    manifest = json.loads((written.directory / "manifest.json").read_text())
    gaps = manifest["streams"]["all"]["gaps"]
    lost = {n for gap in gaps for n in range(gap["first_seq"], gap["last_seq"] + 1)}
    assert lost
    attempted = manifest["streams"]["all"]["attempted"]
    return [n for n in range(attempted) if n not in lost]


def read_any(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """Values and times of a file of any format."""
    if path.suffix == ".parquet":
        return read_parquet(path, schema)
    return read_zarr(path, schema) if path.suffix == ".zarr" else read(path, schema)


def read_parquet(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """What pyarrow finds."""
    from pyarrow import parquet

    found = parquet.read_table(path)
    values: Values = {}
    for f in schema.fields:
        size = math.prod(f.shape)
        if f.kind == FIXED and f.name not in found.column_names:
            columns = [found[f"{f.name}_{i}"].to_numpy() for i in range(size)]
            rows = np.array(columns, f.dtype).T.reshape(len(found), *f.shape)
            assert all(column.dtype == np.dtype(f.dtype) for column in columns)
            values[f.name] = [*rows]
        elif f.kind in (FIXED, RAGGED):
            values[f.name] = [
                np.array(row, f.dtype).reshape(-1 if f.kind == RAGGED else (), *f.shape)
                if f.kind == RAGGED
                else np.array(row, f.dtype).reshape(f.shape)
                for row in found[f.name].to_pylist()
            ]
        else:
            values[f.name] = found[f.name].to_pylist()
    return values, found["timestamp"].to_pylist()


def read_zarr(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """What zarr finds."""
    import zarr

    group = zarr.open_group(path, mode="r")
    values: Values = {}
    for f in schema.fields:
        rows = group[f.name][:]
        if f.kind == RAGGED:
            values[f.name] = np.split(rows, group[f"{f.name}_offsets"][:])[1:-1]
        else:
            values[f.name] = [*rows] if f.kind == FIXED else [str(text) for text in rows]
    return values, group["timestamp"][:].tolist()


@pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification")
@pytest.mark.parametrize("form", FORMATS)
def test_what_was_recorded_is_in_the_file_bit_for_bit(tmp_path: Path, written: Written, form: str) -> None:
    """Each dtype at its limits, ragged fields, strings, bools, the samples' numbers with their gap, the episodes."""
    name, how = options(form)
    made = convert(written.directory, tmp_path / f"all{SUFFIXES[name]}", to=name, map=how)
    schema, expected = table(written)
    found, t = read_any(made.destination, schema)
    assert same(found, expected)
    assert t == [i * DT for i in written.kept]
    assert made.samples == len(written.kept)
    assert any(b - a > 1 for a, b in zip(found["seq"], found["seq"][1:], strict=False))


@pytest.mark.parametrize("form", FORMATS)
def test_units_and_where_it_comes_from_are_told(tmp_path: Path, written: Written, form: str) -> None:
    """Units where the format has a place for them; the sources, with the hash of their manifest, always."""
    name, how = options(form)
    made = convert(
        written.directory, tmp_path / f"all{SUFFIXES[name]}", to=name, map=how, command="recd convert x"
    )
    beside = tmp_path / f"all{SUFFIXES[name]}.recd-provenance.json"
    inside = made.destination / "recd-provenance.json"
    if name in ("csv", "npz"):
        told = json.loads(beside.read_text())
    else:
        assert not beside.exists()
        told, units = inner(made.destination)
        assert units == "rad"
    if inside.exists():
        assert json.loads(inside.read_text())["outputs"][0]["streams"][0]["samples"] == len(written.kept)
    assert told["command"] == "recd convert x"
    (source,) = told["sources"]
    assert source["path"] == str(written.directory)
    import hashlib

    digest = hashlib.sha256((written.directory / "manifest.json").read_bytes()).hexdigest()
    assert source["manifest_sha256"] == digest


@pytest.mark.parametrize("fps", [None, 4.0])
def test_losses_are_told_where_rows_meet_them(tmp_path: Path, written: Written, fps: float | None) -> None:
    """In one table of features: rows jump where the leading stream lost samples, or hold what was before."""
    how = mapping.parse('[features.action]\nfrom = "all/double"')
    made = convert(written.directory, tmp_path / "a.npz", to="npz", map=how, fps=fps)
    gaps = json.loads((written.directory / "manifest.json").read_text())["streams"]["all"]["gaps"]
    lost = sum(gap["count"] for gap in gaps)
    said = f"{lost} samples of stream 'all' were lost: rows jump there"
    assert any(said in problem for problem in made.problems) == (fps is None)


def inner(path: Path) -> tuple[dict[str, Any], str]:
    """What stands in the metadata of a format: provenance, and the unit of the field ``double``."""
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path) as file:
            return json.loads(file.attrs["metadata"])["recd_provenance"], file["double"].attrs["units"]
    if path.suffix == ".zarr":
        import zarr

        group = zarr.open_group(path, mode="r")
        return dict(group.attrs["recd"]), group["double"].attrs["units"]
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    return json.loads(schema.metadata[b"recd"]), schema.field("double").metadata[b"unit"].decode()


@pytest.mark.parametrize("form", ["npz", "hdf5"])
def test_what_recd_converts_it_can_read(tmp_path: Path, written: Written, form: str) -> None:
    """Formats that recd records into can be opened and converted once more: the values are still the same."""
    import recd

    first = convert(written.directory, tmp_path / "a", to=form)
    again = convert(first.destination / f"all{SUFFIXES[form]}", tmp_path / "b.npz", to="npz")
    with recd.open(again.destination) as run:
        (stream,) = run.streams.values()
        np.testing.assert_array_equal(stream["i64"][:], np.array(written.values["i64"]))
        assert stream.t.tolist() == [i * DT for i in written.kept]


@pytest.mark.requires("pyarrow", "pandas", "polars")
def test_pandas_and_polars_read_the_parquet_files(tmp_path: Path, written: Written) -> None:
    """Wide columns in pandas, fixed-size lists in polars, with the values that were recorded."""
    import pandas
    import polars

    wide = convert(written.directory, tmp_path / "wide.parquet", to="parquet")
    frame = pandas.read_parquet(wide.destination)
    expected = np.array(written.values["i16"])
    np.testing.assert_array_equal(frame[["i16_0", "i16_1"]].to_numpy(), expected)
    how = Map((), target={"arrays": "list"})
    lists = convert(written.directory, tmp_path / "list.parquet", to="parquet", map=how)
    found = polars.read_parquet(lists.destination)
    assert found.schema["i16"] == polars.Array(polars.Int16, 2)
    np.testing.assert_array_equal(found["i16"].to_numpy(), expected)


@pytest.mark.requires("pyarrow")
def test_row_groups_are_bounded(tmp_path: Path) -> None:
    """A file of more than a row group's bytes has several row groups, none of them much larger than that."""
    from pyarrow import parquet

    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz", compressed=False), overflow="block")
        for i in range(300):
            stream.write(np.full(1 << 16, float(i)))
    how = Map((), target={"arrays": "list", "compression": "none"})
    made = convert(tmp_path, tmp_path / "s.parquet", to="parquet", map=how)
    metadata = parquet.ParquetFile(made.destination).metadata
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    assert len(sizes) > 1
    assert max(sizes) < 50e6
    assert metadata.num_rows == 300
    assert not any("DICTIONARY" in name for name in metadata.row_group(0).column(0).encodings)


def test_what_a_format_cannot_hold_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """A picture is no table of columns, names may collide: the field is named, and no file or part is there."""
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("s", HDF5File("s.h5"))
        stream.write({"a": np.zeros((200, 200)), "b": np.zeros(2)})
        clash = rec.stream("clash", HDF5File("clash.h5"))
        clash.write({"a": np.zeros(2), "a_0": 1.0})
    cases = [("csv", "clash", "'a_0' twice")]
    import importlib.util

    if importlib.util.find_spec("pyarrow"):
        cases += [
            ("parquet", "s", r"40004 columns; 'a' is \(200, 200\)"),
            ("parquet", "clash", "two columns 'a_0'"),
        ]
    for form, stream_name, what in cases:
        with pytest.raises(OptionError, match=what):
            convert(tmp_path / "run", tmp_path / "out", to=form, streams=[stream_name])
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("form", ["csv", "npz", "hdf5"])
def test_a_stream_without_a_sample_becomes_an_empty_file(tmp_path: Path, form: str) -> None:
    """It was declared and never written: the file has its columns and no row."""
    with Recorder(dir=tmp_path / "run") as rec:
        rec.stream("s", NPZFile("s.npz"), like={"a": np.zeros(2)})
    made = convert(tmp_path / "run", tmp_path / f"s{SUFFIXES[form]}", to=form)
    found, t = read(made.destination, fields(a=(FIXED, "<f8", (2,))))
    assert (found["a"], t) == ([], [])


# --- pictures ----------------------------------------------------------------------------------------


def test_a_film_is_copied_frame_by_frame(tmp_path: Path, walk: Path) -> None:
    """The whole film is re-wrapped: its frames decode to the same pixels, and each is told to be its sample."""
    made = convert(walk, tmp_path / "front.mp4", to="mp4")
    np.testing.assert_array_equal(decoded(made.destination), decoded(walk / "front.mp4"))
    told = json.loads((tmp_path / "front.mp4.recd-provenance.json").read_text())
    frames = told["outputs"][0]["streams"][0]["frames"]
    assert frames["seq"] == [*range(60)]
    assert frames["t"] == [0.04 * (i % 20) for i in range(60)]


def test_the_film_of_some_episodes_has_their_frames(tmp_path: Path, walk: Path) -> None:
    """Episodes 0 and 2 of three: 40 frames, those and no others."""
    made = convert(walk, tmp_path / "some.mp4", to="mp4", episodes="0,2")
    assert numbers(made.destination) == [*range(20), *range(0, 20)]


def test_frames_become_pictures_with_a_table(tmp_path: Path, walk: Path) -> None:
    """A PNG for each frame has the pixels that the reader decodes; the table tells number, time and episode."""
    import csv

    import recd

    made = convert(walk, tmp_path / "out", to="png", episodes=[1])
    directory = made.destination / "front"
    with (directory / "frames.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [int(row["seq"]) for row in rows] == [*range(20, 40)]
    with recd.open(walk) as run:
        for row, k in zip(rows, range(20, 40), strict=True):
            np.testing.assert_array_equal(decoded(directory / row["file"])[0], run["front"][k])


def test_a_sheet_shows_frames_from_first_to_last(tmp_path: Path, walk: Path) -> None:
    """Four of sixty frames on one picture, two by two: the first and the last are among them."""
    made = convert(
        walk, tmp_path / "front.png", to="png", map=Map((), target={"layout": "sheet", "frames": 4})
    )
    (sheet,) = decoded(made.destination)
    assert sheet.shape[:2] == (2 * (48 + 4), 2 * (64 + 4))
    import recd

    with recd.open(walk) as run:
        np.testing.assert_array_equal(sheet[:48, :64], run["front"][0])
        np.testing.assert_array_equal(sheet[52 : 52 + 48, 68 : 68 + 64], run["front"][59])


@pytest.mark.parametrize("shape", [(31, 45), (32, 48, 1), (31, 45, 3), (32, 48, 4)])
def test_images_that_were_recorded_as_arrays_become_films_and_pictures(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """Gray, colour and alpha, of odd sizes too: as many frames as samples; pictures have every bit."""
    images = np.random.default_rng(0).integers(0, 255, (5, *shape), np.uint8)
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("front", NPZFile("front.npz"))
        for i, image in enumerate(images):
            stream.write(image, t=i * 0.1)
    film = convert(tmp_path / "run", tmp_path / "front.mp4", to="mp4")
    assert len(decoded(film.destination)) == 5
    pictures = convert(tmp_path / "run", tmp_path / "png", to="png")
    first = decoded(pictures.destination / "front" / "000003.png")[0]
    colours = (
        images[3] if len(shape) == 3 and shape[2] > 1 else np.repeat(images[3].reshape(*shape[:2], 1), 3, 2)
    )
    np.testing.assert_array_equal(first, colours[..., :3])
