"""Genesis itself, with its own recorders and with recd: the same program, the outputs compared.

``RECD_GENESIS_0_4_5`` and ``RECD_GENESIS_1_4_5`` name interpreters that have Genesis of that version and
what ``recd-client`` needs.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recordings import csv_numbers, decoded, npz, read_csv
from support import wait_until

VERSIONS = ("0.4.5", "1.4.5")
ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("scene_program.py")
#: A bound for tests that hang: the first run on a machine compiles Genesis' kernels for minutes.
PATIENCE_S = 900.0

_PARAMETERS = [pytest.param(v, marks=pytest.mark.requires(f"genesis-{v}")) for v in VERSIONS]
each = pytest.mark.parametrize("outputs", _PARAMETERS, indirect=True)
each_version = pytest.mark.parametrize("version", _PARAMETERS)


def run_genesis(version: str, runtime: Path, *arguments: object, program: Path = PROGRAM) -> int:
    """Run the scene program, or another, in the environment of that version; its exit code."""
    interpreter = os.environ[f"RECD_GENESIS_{version.replace('.', '_')}"]
    assert os.environ["RECD_RUNTIME_DIR"] == str(runtime)
    done = subprocess.run(
        [interpreter, str(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'client'}:{ROOT}", "PYOPENGL_PLATFORM": "egl"},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode <= 0, (done.stdout + done.stderr)[-4000:]  # Genesis logs errors to stdout
    return done.returncode


class Outputs:
    """What the program left for one version."""

    def __init__(self, version: str, top: Path) -> None:
        self.old = version.startswith("0.")
        self.top = top

    def pair(self, name: str) -> tuple[Path, Path]:
        """Genesis' own file, and ours in its place."""
        return self.top / "own" / name, self.top / "dropin" / name

    def manifests(self, mode: str) -> list[dict[str, Any]]:
        """Of all recordings of a mode."""
        return [
            json.loads(p.read_text()) for p in sorted(self.top.glob(f"{mode}/recordings/*/*/manifest.json"))
        ]


@pytest.fixture(scope="module")
def outputs(
    request: pytest.FixtureRequest, shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outputs:
    """The program's files, of one run for all tests, also those that run in other processes."""
    version = request.param
    base = tmp_path_factory.getbasetemp()
    top = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"genesis-{version}"
    with open(f"{top}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not top.exists():
            top.mkdir()
            assert run_genesis(version, shared_runtime, "compare", top) == 0
    assert (top / "native.json").exists(), "the program failed; see the test that ran it"
    return Outputs(version, top)


# --- drop-in --------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("name", ["mixed.csv", "pos.csv", "named.csv", "envs.csv"])
def test_csv_files_are_the_same_bytes(outputs: Outputs, name: str) -> None:
    """Header, times, numbers, line ends: a program cannot tell the two files apart."""
    own, ours = outputs.pair(name)
    assert own.read_bytes() == ours.read_bytes()
    assert len(own.read_bytes().splitlines()) > 5


@each
@pytest.mark.parametrize("name", ["mixed.npz", "pos.npz", "force.npz", "envs.npz", "imu.npz"])
def test_npz_files_hold_the_same_arrays(outputs: Outputs, name: str) -> None:
    """The same keys in the same order, with the same dtypes, shapes and bits."""
    if outputs.old and name == "imu.npz":  # 0.4.5 itself cannot record it
        assert {"lin_acc", "ang_vel", "timestamp"} <= npz(outputs.pair(name)[1]).keys()
        return
    own, ours = map(npz, outputs.pair(name))
    assert [*own] == [*ours]
    for key, array in own.items():
        assert (array.dtype, array.shape) == (ours[key].dtype, ours[key].shape)
        assert array.tobytes() == ours[key].tobytes()


@each
@pytest.mark.parametrize("name", ["moving.mp4", "gray.mp4", "camera.mp4", "envs_0.mp4", "envs_1.mp4"])
def test_videos_show_the_same_frames(outputs: Outputs, name: str) -> None:
    """As many frames of the same size, each close to its counterpart and not to that one's neighbour."""
    own, ours = map(decoded, outputs.pair(name))
    assert own.shape == ours.shape
    assert np.abs(own.astype(int) - ours.astype(int)).mean(axis=(1, 2, 3)).max() < 6
    if name == "moving.mp4":
        columns = [film[..., 0].mean(axis=1).argmax(axis=1).tolist() for film in (own, ours)]
        assert columns[0] == columns[1] == [*range(1, len(own) + 1)]


@each
def test_plots_have_as_many_frames(outputs: Outputs) -> None:
    """A line plot has Genesis' size and number of frames; an image plot, which Genesis cannot save, too."""
    own, ours = map(decoded, outputs.pair("plot.mp4"))
    assert own.shape == ours.shape
    assert decoded(outputs.pair("image.mp4")[1]).shape == ours.shape
    assert ours[-1].std() > 5  # something is drawn


@each
def test_a_buffer_that_is_used_again_never_shows(outputs: Outputs) -> None:
    """Genesis keeps a reference and writes the last value in each row; recd wrote what each step had."""
    own, ours = (npz(p)["data"] for p in outputs.pair("reused.npz"))
    assert own.shape == ours.shape
    np.testing.assert_array_equal(ours, np.repeat(np.arange(1.0, len(ours) + 1), 3).reshape(-1, 3))
    assert (own == own[-1]).all()


@each
def test_uninstall_puts_genesis_own_recorders_back(outputs: Outputs) -> None:
    """After it, the files are Genesis' own again, and recd records nothing."""
    assert not outputs.manifests("again")
    assert outputs.manifests("dropin")
    for name in ("mixed.csv", "pos.csv"):
        assert (outputs.top / "again" / name).read_bytes() == (outputs.top / "own" / name).read_bytes()


@each
def test_save_on_reset_numbers_files_like_genesis(outputs: Outputs) -> None:
    """0.4.5 begins a new file at each reset; recd's has the same rows under the same names."""
    names = sorted(p.name for p in (outputs.top / "own").glob("parts*.csv"))
    assert names == (["parts_0.csv", "parts_1.csv"] if outputs.old else ["parts.csv"])
    assert names == sorted(p.name for p in (outputs.top / "dropin").glob("parts*.csv"))
    for name in names:
        own, ours = outputs.pair(name)
        assert own.read_bytes() == ours.read_bytes()


@each
def test_resets_stand_on_the_timeline(outputs: Outputs) -> None:
    """Each reset is one mark; that of one environment names it."""
    for mode in ("dropin", "native"):
        marks = [m["marks"] for m in outputs.manifests(mode) if m["name"] == "genesis"]
        resets = [[e["fields"]["envs_idx"] for e in one if e["label"] == "recd.reset"] for one in marks]
        assert sorted(resets, key=len) == [[None], [None, [1]]]


@each
def test_nothing_was_lost_and_nobody_was_warned(outputs: Outputs) -> None:
    """Every stream has all its samples, without a gap, and no warning was issued."""
    for mode in ("dropin", "native"):
        assert json.loads((outputs.top / f"{mode}.json").read_text())["warnings"] == []
        for manifest in outputs.manifests(mode):
            assert manifest["state"] == "complete"
            for stream in manifest["streams"].values():
                assert not stream["lost"]
                assert stream["attempted"] == stream["samples"] > 0


# --- native ---------------------------------------------------------------------------------------


@each
def test_our_options_record_the_same_values(outputs: Outputs) -> None:
    """CSV, NPZ, HDF5 and video of recd's own options hold what Genesis' recorders hold."""
    h5py = pytest.importorskip("h5py")
    native, own = outputs.top / "native", outputs.top / "own"
    np.testing.assert_array_equal(
        csv_numbers(native / "named.csv").astype(np.float32),
        csv_numbers(own / "named.csv").astype(np.float32),
    )
    assert read_csv(native / "named.csv")[0] == ["timestamp", "x", "y", "z"]
    expected = npz(own / "mixed.npz")
    with h5py.File(native / "mixed.h5") as file:
        for key, array in {**npz(native / "mixed.npz")}.items():
            np.testing.assert_array_equal(array, expected[key])
            np.testing.assert_array_equal(file[key][...], expected[key])
    assert decoded(native / "moving.mp4").shape == decoded(own / "moving.mp4").shape


@each
def test_our_save_on_reset_works_in_both_versions(outputs: Outputs) -> None:
    """1.4.5 has no such option any more; recd's begins a new file at each whole reset."""
    parts = [csv_numbers(p) for p in sorted((outputs.top / "native").glob("parts_*.csv"))]
    assert [len(p) for p in parts] == ([3, 6] if outputs.old else [4, 7])


# --- killed ---------------------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_recorded_survives_the_simulation(
    version: str, number: signal.Signals, runtime: Path, tmp_path: Path
) -> None:
    """Killed right behind step 1,000: 1,000 rows and 1,000 frames, in every format, in finished files."""
    assert run_genesis(version, runtime, "kill", tmp_path, int(number)) == -number
    wait_until(lambda: len([*tmp_path.glob("recordings/*/*/manifest.json")]) == 2, timeout_s=180)
    manifests = [json.loads(p.read_text()) for p in tmp_path.glob("recordings/*/*/manifest.json")]
    assert {m["state"] for m in manifests} == {"client died"}
    assert len(csv_numbers(tmp_path / "pos.csv")) == 1000
    assert len(npz(tmp_path / "pos.npz")["data"]) == 1000
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "pos.h5") as file:
        assert len(file["data"]) == len(file["timestamp"]) == 1000
    # (the session's own directories are going away just now)
    places = [tmp_path, *tmp_path.glob("recordings/*/*")]
    cameras = [film for place in places for film in place.glob("camera*.mp4")]
    films = [tmp_path / "moving.mp4", tmp_path / "plot.mp4", *cameras]
    assert len(films) == 3
    assert [len(decoded(film)) for film in films] == [1000] * len(films)


# --- the example ----------------------------------------------------------------------------------


@each_version
def test_the_example_records_the_fall(version: str, runtime: Path, tmp_path: Path) -> None:
    """It runs as it stands: the box falls in the CSV, and the camera has a frame for every other step."""
    example = ROOT / "examples" / "genesis_box.py"
    assert run_genesis(version, runtime, "--steps", 20, "--dir", tmp_path, program=example) == 0
    header, _ = read_csv(tmp_path / "box.csv")
    assert header == ["timestamp", *(f"{name}_{i}" for name in ("pos", "vel") for i in range(3))]
    heights = csv_numbers(tmp_path / "box.csv")[:, 3]
    assert (heights[1:] < heights[:-1]).all()
    assert npz(tmp_path / "quat.npz")["data"].shape[1] == 4
    assert len(decoded(tmp_path / "camera.mp4")) == 10


@each_version
def test_a_recording_goes_back_into_genesis(version: str, runtime: Path, tmp_path: Path) -> None:
    """An arm's states are set in another scene; its recorded forces lead there again, in their order only."""
    assert run_genesis(version, runtime, tmp_path, program=Path(__file__).with_name("replay_program.py")) == 0
    found = json.loads((tmp_path / "replay.json").read_text())
    assert found["compared"] == found["samples"] - 1 >= 39
    assert found["furthest"] == 0
    assert found["close"], found["text"]
    assert not found["wrong"]
    assert "no field 'control'" in found["refused"]
