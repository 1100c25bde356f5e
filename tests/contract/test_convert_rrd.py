"""rrd: what Rerun's reader finds in a file is what the simulation wrote, and Rerun's own check finds nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from converting import EVERYTHING, RESETS, Written
from recd.converter import convert
from recd_client import DataLossWarning, HDF5File, NPZFile, Recorder, VideoFile
from recd_client.errors import OptionError
from recd_client.schema import RAGGED, STRING
from recordings import decoded, gray16, numbered, stopped, worker_of

pytestmark = [pytest.mark.usefixtures("shared_runtime"), pytest.mark.requires("rerun")]


@dataclass
class Entity:
    """What stands at a path: columns of rows, and what holds at all times."""

    columns: dict[str, list[Any]]
    static: dict[str, Any]


def read(path: Path) -> dict[str, Entity]:
    """Every entity by its path, rows in the order in which they were sent."""
    from rerun.chunk import RrdReader

    verified = [sys.executable, "-m", "rerun_cli", "rrd", "verify", str(path)]
    subprocess.run(verified, check=True, capture_output=True, timeout=60)
    found: dict[str, Entity] = {}
    parts: dict[tuple[str, str], list[tuple[Any, list[Any]]]] = {}
    for chunk in RrdReader(str(path)).stream():
        entity = found.setdefault(str(chunk.entity_path), Entity({}, {}))
        batch = chunk.to_record_batch()
        order = batch["rerun.controls.RowId"][0].as_py() if batch.num_rows else b""
        for name in batch.schema.names:
            if name == "rerun.controls.RowId":
                continue
            values = values_of(batch[name])
            if chunk.is_static:
                entity.static[name] = values[0]
            else:
                parts.setdefault((str(chunk.entity_path), name), []).append((order, values))
    for (entity_path, name), chunks in parts.items():
        ordered = sorted(chunks, key=lambda chunk: chunk[0])
        found[entity_path].columns[name] = [value for _, values in ordered for value in values]
    return found


def values_of(column: Any) -> list[Any]:
    """Times in nanoseconds, and arrays where they are numbers."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) or pyarrow.types.is_duration(column.type):
        return list(column.cast(pyarrow.int64()).to_pylist())
    if not pyarrow.types.is_list(column.type):
        return list(column.to_pylist())
    inner = column.type.value_type
    if pyarrow.types.is_integer(inner) or pyarrow.types.is_floating(inner):
        return [np.asarray(row.values) for row in column]
    if pyarrow.types.is_list(inner):
        return [np.asarray(row.values[0].values) for row in column]
    return list(column.to_pylist())


# --- numbers -----------------------------------------------------------------------------------------


def test_what_was_recorded_is_in_the_columns(tmp_path: Path, written: Written) -> None:
    """Each dtype at its limits, ragged fields, text; stream time, number and step of each sample, with the gap."""
    found = read(convert(written.directory, tmp_path / "all.rrd", to="rrd").destination)
    with recd.open(written.directory) as run:
        times = np.rint(run["all"].t * 1e9).astype(np.int64).tolist()
        numbers = run["all"].seq.tolist()
    for f in EVERYTHING.fields:
        if 0 in f.shape:
            assert f"/all/{f.name}" not in found
            continue
        entity = found[f"/all/{f.name}"]
        assert entity.columns["seq"] == numbers
        assert entity.columns["time"] == times
        values = written.values[f.name]
        if f.kind == STRING:
            assert entity.columns["TextLog:text"] == [[text] for text in values]
            continue
        wide = np.dtype(f.dtype).kind in "iu" and np.dtype(f.dtype).itemsize == 8
        for i, value in enumerate(values):
            flat = np.asarray(value).reshape(-1)
            np.testing.assert_array_equal(entity.columns["Scalars:scalars"][i], flat.astype(np.float64))
            if wide:
                assert entity.columns["exact"][i].dtype == flat.dtype
                np.testing.assert_array_equal(entity.columns["exact"][i], flat)
        if f.kind == RAGGED:
            assert len({len(v) for v in entity.columns["Scalars:scalars"]}) > 1


def test_elements_have_names_and_units(tmp_path: Path, written: Written) -> None:
    """As lines are called in the viewer; type and shape stand beside."""
    found = read(convert(written.directory, tmp_path / "all.rrd", to="rrd").destination)
    single = found["/all/single"].static
    assert single["SeriesLines:names"][:2] == ["single[0,0] (m)", "single[0,1] (m)"]
    assert (single["dtype"], single["shape"], single["unit"]) == (["float32"], ["[2, 3]"], ["m"])


def test_what_happened_is_a_log(tmp_path: Path, written: Written) -> None:
    """Resets at their time, the loss as a warning that names its stream."""
    events = read(convert(written.directory, tmp_path / "all.rrd", to="rrd").destination)["/events"]
    texts = [text for (text,) in events.columns["TextLog:text"]]
    assert sum(text.startswith("reset") for text in texts) == len(RESETS) - 1
    (level,) = {
        level for text, (level,) in zip(texts, events.columns["TextLog:level"], strict=True) if "lost" in text
    }
    assert level == "WARN"


def test_the_file_tells_where_it_comes_from(tmp_path: Path, walk: Path) -> None:
    """Provenance, name and id of the recording, what the recorder was given."""
    from rerun.chunk import RrdReader

    made = convert(walk, tmp_path / "a.rrd", to="rrd", command="recd convert walk")
    found = read(made.destination)
    assert found["/__properties/recd"].static["command"] == ["recd convert walk"]
    assert "walker" in found["/__properties/recording"].static["metadata"][0]
    with recd.open(walk) as run:
        (entry,) = RrdReader(str(made.destination)).recordings()
        assert (entry.application_id, entry.recording_id) == ("walk", run.session)


def test_wall_time_is_there_where_it_is_known(tmp_path: Path) -> None:
    """Of a recording on the monotonic clock, for each sample."""
    with Recorder(dir=tmp_path / "run") as rec:
        state = rec.stream("state", HDF5File("state.h5"))
        for i in range(5):
            state.write({"q": float(i)})
    found = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)["/state/q"]
    with recd.open(tmp_path / "run") as run:
        np.testing.assert_allclose(
            np.array(found.columns["wall"]) / 1e9, run["state"].wall, rtol=0, atol=1e-6
        )


# --- films, images ------------------------------------------------------------------------------------


def shown(entity: Entity, directory: Path, *assets: Entity) -> Iterator[Any]:
    """The pictures that the viewer shows for the rows."""
    blob = (assets[0] if assets else entity).static["AssetVideo:blob"]
    film = directory / "asset.mp4"
    film.write_bytes(bytes(blob))
    frames = decoded(film)
    import rerun as rr

    times = np.asarray(rr.AssetVideo(path=film).read_frame_timestamps_nanos())
    for (at,) in entity.columns["VideoFrameReference:timestamp"]:
        (number,) = np.flatnonzero(times == at)
        yield frames[number]


def test_a_film_is_held_as_it_is(tmp_path: Path, walk: Path) -> None:
    """Byte for byte; each sample refers to its frame."""
    entity = read(convert(walk, tmp_path / "a.rrd", to="rrd").destination)["/front"]
    assert bytes(entity.static["AssetVideo:blob"]) == (walk / "front.mp4").read_bytes()
    np.testing.assert_array_equal(np.array([*shown(entity, tmp_path)]), decoded(walk / "front.mp4"))
    assert entity.columns["seq"] == [*range(60)]
    assert len(entity.columns["wall"]) == 60


def numbers_shown(entity: Entity, directory: Path) -> list[int]:
    """What the pictures tell."""
    return [round((float(frame.mean()) - 10) / 6) for frame in shown(entity, directory)]


def test_some_episodes_have_their_frames(tmp_path: Path, walk: Path) -> None:
    """The first and the last of three: what lies between is shown by no sample."""
    entity = read(convert(walk, tmp_path / "a.rrd", to="rrd", episodes="0,2").destination)["/front"]
    assert numbers_shown(entity, tmp_path) == [n % 40 for n in (*range(20), *range(40, 60))]
    entity = read(convert(walk, tmp_path / "b.rrd", to="rrd", episodes="1").destination)["/front"]
    assert numbers_shown(entity, tmp_path) == [*range(20, 40)]
    assert entity.columns["seq"] == [*range(20, 40)]


def test_a_film_with_losses_shows_each_sample_its_own_frame(tmp_path: Path) -> None:
    """Frames that stand in for lost ones are no sample's."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        front = rec.stream("front", VideoFile("front.mp4", fps=25), buffer_bytes=200_000)
        for i in range(40):
            if i == 20:
                with stopped(worker_of(rec)):
                    while front.write(numbered(i), t=i * 0.04):
                        pass
                rec.flush()
            else:
                front.write(numbered(i), t=i * 0.04)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            rec.close()
    entity = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)["/front"]
    with recd.open(tmp_path / "run") as run:
        assert run["front"].frames.repeated.any()
        expected = [round((float(frame.mean()) - 10) / 6) for frame in run["front"]]
        assert numbers_shown(entity, tmp_path) == expected
        assert entity.columns["seq"] == run["front"].seq.tolist()


def test_films_in_parts_are_referred_to_one_by_one(tmp_path: Path) -> None:
    """Each part is an entity below the stream's; the samples name theirs."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        front = rec.stream("front", VideoFile("front.mp4", fps=25, split=8))
        for i in range(20):
            front.write(numbered(i), t=i * 0.04)
    found = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)
    columns = found["/front"].columns
    parts = [name for (name,) in columns["VideoFrameReference:video_reference"]]
    assert [p.strip("/") for p in parts] == ["front/part_0"] * 8 + ["front/part_1"] * 8 + ["front/part_2"] * 4
    got = []
    for part in range(3):
        mine = [i for i, name in enumerate(parts) if name.endswith(str(part))]
        rows = {k: [v[i] for i in mine] for k, v in columns.items()}
        got += [
            round((float(f.mean()) - 10) / 6)
            for f in shown(Entity(rows, {}), tmp_path, found[f"/front/part_{part}"])
        ]
    assert got == [*range(20)]


@pytest.mark.parametrize("name", ["front.mkv", "front.mp4"])
def test_films_that_it_does_not_show_are_encoded_again(tmp_path: Path, name: str) -> None:
    """Another container or codec: all frames, in order."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        front = rec.stream("front", VideoFile(name, fps=25, codec="mpeg4" if name.endswith("4") else "h264"))
        for i in range(20):
            front.write(numbered(i), t=i * 0.04)
    entity = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)["/front"]
    assert numbers_shown(entity, tmp_path) == [*range(20)]


def test_a_film_of_16_bits_is_depth(tmp_path: Path) -> None:
    """Each pixel as it was in the film."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        stream = rec.stream("depth", VideoFile("depth.mkv", fps=25, codec="ffv1", pixel_format="gray16le"))
        for i in range(5):
            stream.write(np.full((8, 10), 9000 * i, np.uint16), t=i * 0.04)
    found = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)["/depth"]
    images = [bytes(v.view(np.uint8)) for v in found.columns["DepthImage:buffer"]]
    assert images == [image.tobytes() for image in gray16(tmp_path / "run" / "depth.mkv")]


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [((31, 45), "u1", "Image"), ((32, 48, 3), "u1", "Image"), ((8, 9, 4), "u1", "Image"),
     ((8, 9), "u2", "DepthImage"), ((8, 9), "f4", "DepthImage")],
)  # fmt: skip
def test_images_that_were_recorded_as_arrays(tmp_path: Path, shape: Any, dtype: str, kind: str) -> None:
    """Every bit, with their size."""
    frames = (np.random.default_rng(0).random((3, *shape)) * 255).astype(dtype)
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("cam", NPZFile("cam.npz"))
        for i, frame in enumerate(frames):
            stream.write({"rgb": frame, "exposure": float(i)}, t=i * 0.1)
    found = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)["/cam/rgb"]
    (size,) = found.static[f"{kind}:format"]
    assert (size["width"], size["height"]) == (shape[1], shape[0])
    assert [bytes(v) for v in found.columns[f"{kind}:buffer"]] == [frame.tobytes() for frame in frames]


def test_a_stream_without_samples_does_not_disturb_the_others(tmp_path: Path) -> None:
    """It has no rows; what lies beside it is whole."""
    with Recorder(dir=tmp_path / "run") as rec:
        rec.stream("empty", NPZFile("empty.npz"), like={"q": 0.0})
        state = rec.stream("state", NPZFile("state.npz"))
        for i in range(3):
            state.write({"q": float(i)}, t=float(i))
    found = read(convert(tmp_path / "run", tmp_path / "a.rrd", to="rrd").destination)
    assert [v.tolist() for v in found["/state/q"].columns["Scalars:scalars"]] == [[0.0], [1.0], [2.0]]
    assert not found["/empty/q"].columns


# --- trouble ------------------------------------------------------------------------------------------


def test_a_film_that_is_too_large_is_refused(
    tmp_path: Path, walk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written, with another way."""
    monkeypatch.setattr("recd.converter.targets.rrd._MOST_FILM_BYTES", 100)
    with pytest.raises(OptionError, match="does not hold"):
        convert(walk, tmp_path / "a.rrd", to="rrd")
    assert not [*tmp_path.iterdir()]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The SDK only logs it: here it is an error, and no file is left that looks complete."""
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("state", NPZFile("state.npz"))
        for i in range(60):
            stream.write({"q": np.random.default_rng(i).normal(size=50_000)}, t=float(i))
    program = f"""
import resource, signal
from recd.converter import convert
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    convert({str(tmp_path / "run")!r}, {str(tmp_path / "a.rrd")!r}, to="rrd")
except OSError as e:
    print(e)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=env
    )
    assert os.strerror(errno.EFBIG) in done.stdout, done.stderr
    assert not (tmp_path / "a.rrd").exists()
