"""What was written stands in the files: every value, dtype, order, time, unit and name."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recd_client import CSVFile, HDF5File, NPZFile, NullSink, Ragged, Recorder, VideoFile
from recordings import LEVELS, csv_numbers, npz, numbered, numbers, proved, read_csv, run_python

pytestmark = pytest.mark.usefixtures("shared_runtime")

N = 60
Pose = namedtuple("Pose", "x heading")


def state(i: int) -> dict[str, Any]:
    """A sample of every kind of number; floats with bits to lose, and the special ones."""
    rng = np.random.default_rng(i)
    special = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1 / 3][i % 6]
    return {
        "qpos": rng.normal(size=7),
        "force": rng.normal(size=(2, 3)).astype(np.float32),
        "half": rng.normal(size=2).astype(np.float16),
        "limit": np.float64(special),
        "count": np.int64(-(2**63) + i),
        "mask": np.uint64(2**64 - 1 - i),
        "byte": np.arange(3, dtype=np.uint8) + np.uint8(i),
        "contact": np.array([i % 2 == 0, True]),
    }


HEADER = [
    "timestamp", *(f"qpos_{i}" for i in range(7)), *(f"force_{i}" for i in range(6)), "half_0", "half_1",
    "limit", "count", "mask", "byte_0", "byte_1", "byte_2", "contact_0", "contact_1",
]  # fmt: skip


def test_one_recorder_writes_four_formats_value_for_value(tmp_path: Path) -> None:
    """CSV, NPZ, HDF5 and MP4 of one run hold each sample bit for bit, in order, with its time and units."""
    metadata = {"seed": 7, "robot": "h1", "gains": {"kp": [1.5, 2]}}
    units = {"qpos": "rad", "force": "N"}
    with Recorder("walk", dir=tmp_path, dt=0.01, metadata=metadata) as rec:
        stream = rec.stream(
            "state", CSVFile("state.csv"), NPZFile("state.npz"), HDF5File("state.h5"), units=units
        )
        camera = rec.stream("camera", VideoFile("camera.mp4", fps=50))
        for i in range(N):
            assert stream.write(state(i), t=i / 7)
            assert camera.write(numbered(i), t=i / 7)
    proved(tmp_path)

    expected = {name: np.stack([state(i)[name] for i in range(N)]) for name in state(0)}
    times = np.arange(N) / 7
    arrays = npz(tmp_path / "state.npz")
    assert [*arrays] == ["timestamp", *expected]
    with h5py.File(tmp_path / "state.h5") as hdf5:
        for name, values in expected.items():
            for found in (arrays[name], hdf5[name][:]):
                assert found.dtype == values.dtype
                np.testing.assert_array_equal(found.view(np.uint8), values.view(np.uint8), name)
        for found in (arrays["timestamp"], hdf5["timestamp"][:]):
            np.testing.assert_array_equal(found, times)
        assert {n: d.attrs.get("units") for n, d in hdf5.items() if "units" in d.attrs} == {
            **units, "timestamp": "s",
        }  # fmt: skip
        assert json.loads(hdf5.attrs["metadata"]) == metadata
        assert (hdf5.attrs["seed"], hdf5.attrs["robot"], hdf5.attrs["stream"]) == (7, "h1", "state")
    header, rows = read_csv(tmp_path / "state.csv")
    assert header == HEADER
    at = 1
    assert [float(row[0]) for row in rows] == times.tolist()
    for name, values in expected.items():
        width = values[0].size
        kind = float if values.dtype.kind == "f" else int
        cells = [[kind(cell) for cell in row[at : at + width]] for row in rows]
        wide = np.array(cells, "f8" if kind is float else "u8" if name == "mask" else "i8")
        np.testing.assert_array_equal(wide.astype(values.dtype), values.reshape(N, width), name)
        at += width
    assert numbers(tmp_path / "camera.mp4") == [i % LEVELS for i in range(N)]


def test_a_stream_of_frames_goes_to_a_video_and_an_npz_at_once(tmp_path: Path) -> None:
    """The NPZ has the pixels as they were, the video the same frames in the same order."""
    frames = [numbered(i, (32, 48, 3)) for i in range(30)]
    with Recorder(dir=tmp_path) as rec:
        camera = rec.stream("camera", VideoFile("camera.mp4", fps=25), NPZFile("camera.npz"), NullSink())
        for i, frame in enumerate(frames):
            camera.write(frame, t=i * 0.04)
    proved(tmp_path)
    arrays = npz(tmp_path / "camera.npz")
    np.testing.assert_array_equal(arrays["data"], frames)
    np.testing.assert_array_equal(arrays["timestamp"], np.arange(30) * 0.04)
    assert numbers(tmp_path / "camera.mp4") == [*range(30)]


STRUCT = np.dtype([("p", "f4", (2,)), ("n", "i4")])
SAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "float": (1.5, {"data": np.float64(1.5)}),
    "int": (7, {"data": np.int64(7)}),
    "bool": (True, {"data": np.bool_(True)}),
    "numpy scalar": (np.float32(0.1), {"data": np.float32(0.1)}),
    "list": ([1, 2, 3], {"data": np.array([1, 2, 3])}),
    "nested list": ([[1.0, 2.0], [3.0, 4.0]], {"data": np.array([[1.0, 2.0], [3.0, 4.0]])}),
    "tuple": ((0.5, 1.5), {"data": np.array([0.5, 1.5])}),
    "named tuple": (Pose(np.array([1.0, 2.0]), 3), {"x": np.array([1.0, 2.0]), "heading": np.int64(3)}),
    "dict of scalars": ({"a": 1, "b": 2.5}, {"a": np.int64(1), "b": np.float64(2.5)}),
    "0-d array": (np.array(3.5), {"data": np.float64(3.5)}),
    "no elements": ({"a": np.empty((0, 3)), "b": 1.0}, {"a": np.empty((0, 3)), "b": np.float64(1)}),
    "structured": (
        np.array(([1, 2], 3), STRUCT),
        {"p": np.array([1, 2], np.float32), "n": np.int32(3)},
    ),
    "big endian": (np.arange(3, dtype=">f8"), {"data": np.arange(3.0)}),
    "memoryview": (memoryview(b"\x01\x02\x03"), {"data": np.array([1, 2, 3], np.uint8)}),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sample_of_any_kind_is_recorded_as_numpy_sees_it(tmp_path: Path, kind: str) -> None:
    """NPZ, HDF5 and CSV hold the value with the dtype and shape that numpy would give it."""
    sample, expected = SAMPLES[kind]
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), HDF5File("s.h5"), CSVFile("s.csv"))
        for i in range(3):
            stream.write(sample, t=float(i))
    proved(tmp_path)
    arrays = npz(tmp_path / "s.npz")
    assert [*arrays] == ["timestamp", *expected]
    with h5py.File(tmp_path / "s.h5") as hdf5:
        for name, value in expected.items():
            for found in (arrays[name], hdf5[name][:]):
                assert found.dtype == value.dtype.newbyteorder("<")
                np.testing.assert_array_equal(found, np.stack([value] * 3))
    columns = csv_numbers(tmp_path / "s.csv")
    flat = np.concatenate([np.ravel(v) for v in expected.values()]).astype(np.float64)
    np.testing.assert_array_equal(columns[:, 1:].astype(np.float32), np.float32([flat] * 3))


def test_a_bare_sample_may_have_a_unit(tmp_path: Path) -> None:
    """One string is the unit of samples that are no dicts."""
    with Recorder(dir=tmp_path) as rec:
        rec.stream("height", HDF5File("height.h5"), units="m").write(1.5, t=0.0)
    (field,) = proved(tmp_path)["streams"]["height"]["schema"]["fields"]
    assert (field["name"], field["unit"]) == ("data", "m")
    with h5py.File(tmp_path / "height.h5") as hdf5:
        assert hdf5["data"].attrs["units"] == "m"


def test_strings_are_recorded_as_text(tmp_path: Path) -> None:
    """Every format gives each string back, with commas, quotes, line ends and other scripts in it."""
    texts = ["", "plain", 'a,"b"\nc', "gehäuse 漢字 🙂"]
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), HDF5File("s.h5"), CSVFile("s.csv"))
        for i, text in enumerate(texts):
            stream.write({"phase": text, "n": i}, t=float(i))
    proved(tmp_path)
    assert npz(tmp_path / "s.npz")["phase"].tolist() == texts
    with h5py.File(tmp_path / "s.h5") as hdf5:
        assert hdf5["phase"].asstr()[:].tolist() == texts
    header, rows = read_csv(tmp_path / "s.csv")
    assert header == ["timestamp", "phase", "n"]
    assert [row[1:] for row in rows] == [[text, str(i)] for i, text in enumerate(texts)]


def test_a_ragged_field_keeps_the_length_of_each_sample(tmp_path: Path) -> None:
    """Contact lists of 0 to 3 rows: offsets in NPZ and HDF5, a JSON array per row in CSV."""
    contacts = [np.arange(2.0 * n).reshape(n, 2) + i for i, n in enumerate([0, 3, 1, 0, 2])]
    like = {"contacts": Ragged((2,)), "total": 0}
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), HDF5File("s.h5"), CSVFile("s.csv"), like=like)
        for i, rows in enumerate(contacts):
            stream.write({"contacts": rows, "total": len(rows)}, t=float(i))
    proved(tmp_path)
    arrays = npz(tmp_path / "s.npz")
    with h5py.File(tmp_path / "s.h5") as hdf5:
        for values, offsets in (
            (arrays["contacts"], arrays["contacts_offsets"]),
            (hdf5["contacts"][:], hdf5["contacts_offsets"][:]),
        ):
            for i, rows in enumerate(contacts):
                np.testing.assert_array_equal(values[offsets[i] : offsets[i + 1]], rows)
    _, cells = read_csv(tmp_path / "s.csv")
    assert [json.loads(row[1]) for row in cells] == [rows.tolist() for rows in contacts]
    assert [int(row[2]) for row in cells] == [len(rows) for rows in contacts]


def test_a_buffer_that_is_used_again_never_shows(tmp_path: Path) -> None:
    """One array, changed in place before and after each write, leaves what it held at each write."""
    buffer = np.zeros(1000)
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for i in range(200):
            buffer[:] = i
            stream.write(buffer, t=float(i))
            buffer[:] = -1
    data = npz(tmp_path / "s.npz")["data"]
    np.testing.assert_array_equal(data, np.arange(200.0)[:, None] * np.ones(1000))


def test_arrays_of_any_strides_are_recorded_as_they_look(tmp_path: Path) -> None:
    """Flipped, sliced, transposed and broadcast views come out as the arrays that they show."""
    base = np.random.default_rng(0).integers(0, 255, (40, 60, 4), np.uint8)
    views = {
        "flipped": base[::-1, :, :3],  # as Genesis renders: strides (-240, 4, 1)
        "mirrored": base[:, ::-1],
        "sliced": base[::2, 1::3, 1],
        "transposed": base.transpose(2, 0, 1),
        "fortran": np.asfortranarray(base[..., 0]),
        "broadcast": np.broadcast_to(base[0, 0], (5, 4)),
    }
    assert views["flipped"].strides == (-240, 4, 1)
    with Recorder(dir=tmp_path) as rec:
        together = rec.stream("together", NPZFile("together.npz"))
        alone = rec.stream("flipped", NPZFile("flipped.npz"))
        for i in range(3):
            together.write(views, t=float(i))
            alone.write(views["flipped"], t=float(i))
    arrays = npz(tmp_path / "together.npz")
    for name, view in views.items():
        np.testing.assert_array_equal(arrays[name], np.stack([view] * 3))
    np.testing.assert_array_equal(npz(tmp_path / "flipped.npz")["data"], np.stack([views["flipped"]] * 3))


def test_like_makes_the_ring_at_once(tmp_path: Path) -> None:
    """A stream declared with ``like`` knows its schema and files before the first sample, which it keeps."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like={"a": np.zeros(3, np.float32), "b": 0})
        assert stream.schema is not None
        assert [f.name for f in stream.schema.fields] == ["a", "b"]
        assert stream.files == [str(tmp_path / "s.npz")]
        assert stream.stats["attempted"] == 0
        stream.write({"a": np.ones(3, np.float32), "b": 4}, t=0.0)
    arrays = npz(tmp_path / "s.npz")
    np.testing.assert_array_equal(arrays["a"], np.ones((1, 3), np.float32))
    assert arrays["b"].tolist() == [4]


def test_a_claimed_record_is_filled_in_place(tmp_path: Path) -> None:
    """What is put into a claimed array or dict is recorded; a block that raises leaves nothing."""
    with Recorder(dir=tmp_path) as rec:
        image = rec.stream("image", NPZFile("image.npz"), like=np.zeros((4, 5), np.uint8))
        pose = rec.stream("pose", NPZFile("pose.npz"), like={"x": np.zeros(2), "n": 0})
        for i in range(5):
            with image.claim(t=float(i)) as place:
                place[...] = i
            with pose.claim(t=float(i), step=i) as fields:
                fields["x"][:] = i, -i
                fields["n"][...] = i
        with pytest.raises(ZeroDivisionError), image.claim(t=5.0) as place:
            place[...] = 1 / 0
        image.write(np.full((4, 5), 9, np.uint8), t=6.0)
    manifest = proved(tmp_path)
    assert manifest["streams"]["image"]["attempted"] == 6
    images = npz(tmp_path / "image.npz")
    np.testing.assert_array_equal(images["data"][:, 0, 0], [0, 1, 2, 3, 4, 9])
    np.testing.assert_array_equal(images["timestamp"], [0, 1, 2, 3, 4, 6])
    poses = npz(tmp_path / "pose.npz")
    np.testing.assert_array_equal(poses["x"], [[i, -i] for i in range(5)])
    np.testing.assert_array_equal(poses["n"], range(5))


def test_log_needs_no_declaration(tmp_path: Path) -> None:
    """A number and a dict become NPZ files named like them, a picture becomes an MP4."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        for i in range(20):
            assert rec.log("reward", i * 0.5)
            assert rec.log("sensors", {"imu": np.full(3, i, np.float32)}, t=i * 0.1)
            assert rec.log("camera", numbered(i))
    proved(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "manifest.json", "reward.npz", "sensors.npz", "camera.mp4",
    }  # fmt: skip
    np.testing.assert_array_equal(npz(tmp_path / "reward.npz")["data"], np.arange(20) * 0.5)
    np.testing.assert_array_equal(npz(tmp_path / "sensors.npz")["timestamp"], np.arange(20) * 0.1)
    assert numbers(tmp_path / "camera.mp4") == [*range(20)]


def test_options_of_files_are_heeded(tmp_path: Path) -> None:
    """A header names the columns, ``compressed`` and ``compression`` change the bytes but no value."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream(
            "s",
            CSVFile("s.csv", header=["hip", "knee"], save_every_write=True),
            NPZFile("plain.npz", compressed=False),
            NPZFile("small.npz"),
            HDF5File("plain.h5"),
            HDF5File("small.hdf5", compression="gzip", chunk_bytes=1 << 16),
        )
        for i in range(3000):
            stream.write(np.array([i // 100, 1.0]), t=float(i))
    proved(tmp_path)
    assert read_csv(tmp_path / "s.csv")[0] == ["timestamp", "hip", "knee"]
    expected = np.array([[i // 100, 1.0] for i in range(3000)])
    for name in ("plain.npz", "small.npz"):
        np.testing.assert_array_equal(npz(tmp_path / name)["data"], expected)
    for name in ("plain.h5", "small.hdf5"):
        with h5py.File(tmp_path / name) as hdf5:
            np.testing.assert_array_equal(hdf5["data"][:], expected)
    sizes = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    assert sizes["small.npz"] < sizes["plain.npz"] / 2
    assert sizes["small.hdf5"] < sizes["plain.h5"] / 2


@pytest.mark.requires("torch")
def test_torch_tensors_are_recorded_as_their_arrays(tmp_path: Path) -> None:
    """CPU tensors, strided and with a gradient, come out as the arrays that they show."""
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {"base": base, "strided": base.T[::2], "grad": base[0].clone().requires_grad_()}
    with Recorder(dir=tmp_path) as rec:
        rec.stream("s", NPZFile("s.npz")).write(tensors, t=0.0)
        rec.log("half", base.half())
    arrays = npz(tmp_path / "s.npz")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name][0], tensor.detach().numpy())
    assert npz(tmp_path / "half.npz")["data"].dtype == np.float16


#: For an interpreter of its own: once jax runs in a process, the process had better not fork.
RECORD_JAX = """
import sys
import jax.numpy as jnp
from recd_client import NPZFile, Recorder, SchemaError

base = jnp.arange(6, dtype=jnp.float32)
with Recorder(dir=sys.argv[1]) as rec:
    stream = rec.stream("s", NPZFile("s.npz"))
    for i in range(3):
        stream.write({"a": base.reshape(2, 3).T + i, "b": jnp.array(True)}, t=float(i))
    try:
        rec.log("half", base.astype(jnp.bfloat16))
    except SchemaError as e:
        print(e)
"""


@pytest.mark.requires("jax")
def test_jax_arrays_are_recorded_as_their_arrays(tmp_path: Path) -> None:
    """Arrays on jax's CPU device come out with their dtype and values; bfloat16 is refused by name."""
    assert "bfloat16" in run_python(RECORD_JAX, tmp_path)
    found = npz(tmp_path / "s.npz")
    base = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(found["a"], [base, base + 1, base + 2])
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["b"], [True] * 3)
