"""The adapter's own rules, with a small stand-in for Genesis and a real daemon."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from genesis_stand_in import make, put

import recd_client
from recd_client import (
    CSVFile,
    DataFunctionError,
    MissingLibraryError,
    NPZFile,
    OptionError,
    SchemaError,
    VideoFile,
)
from recordings import csv_numbers, decoded, npz, read_csv, run_python, stopped, worker_of


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A Genesis, in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    modules = make()
    put(monkeypatch, modules)
    return modules["genesis"]


@pytest.fixture
def adapter(gs: ModuleType) -> Iterator[ModuleType]:
    """The adapter, loaded with that Genesis."""
    adapter = importlib.import_module("recd_client.genesis")
    yield adapter
    adapter.uninstall()


class Scene:
    """What is recorded of a scene without physics."""

    def __init__(self, gs: ModuleType) -> None:
        self.manager = gs.recorders.RecorderManager(0.01)
        self.sample: Any = {"q": np.arange(3.0)}

    def record(self, options: Any) -> Any:
        """One more recorder of ``sample``; raises it if it is an error."""
        return self.manager.add_recorder(self.read, options)

    def read(self) -> Any:
        if isinstance(self.sample, Exception):
            raise self.sample
        return self.sample


@pytest.fixture
def scene(gs: ModuleType, adapter: ModuleType, shared_runtime: Path) -> Iterator[Scene]:
    """A scene that is not built."""
    scene = Scene(gs)
    yield scene
    scene.manager.stop()


# --- Genesis is not there ---------------------------------------------------------------------------


def test_without_genesis_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is an ImportError, and ends with the command."""
    put(monkeypatch, None)
    with pytest.raises(MissingLibraryError, match=r"needs Genesis(.|\n)*pip install genesis-world==1\.4\.5"):
        importlib.import_module("recd_client.genesis")
    assert issubclass(MissingLibraryError, ImportError)


def test_an_unknown_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the version that is there and those that are known."""
    put(monkeypatch, make("2.0.0"))
    with pytest.raises(MissingLibraryError, match=r"Genesis 2\.0\.0: (.|\n)*0\.4\.5 and 1\.4\.5"):
        importlib.import_module("recd_client.genesis")


def test_the_client_alone_knows_nothing_of_genesis() -> None:
    """Importing recd_client loads no part of the adapter."""
    code = "import sys, recd_client, recd_client.recorder; print([m for m in sys.modules if 'genesis' in m])"
    assert run_python(code).strip() == "[]"


# --- what options mean ------------------------------------------------------------------------------


def test_options_are_translated(gs: ModuleType, adapter: ModuleType) -> None:
    """Each option of Genesis' has its counterpart, in the units of recd."""
    translate = importlib.import_module("recd_client.genesis.mapping").translate
    kinds = gs.recorders
    csv = kinds.CSVFile(filename="a.csv", header=("x",), buffer_size=7, save_on_reset=True)
    expected = CSVFile("a.csv", header=("x",), buffer_size=7, save_on_reset=True, dialect="python")
    assert translate(csv, 100.0) == expected
    assert translate(kinds.NPZFile(filename="a.npz", hz=10), 10.0) == NPZFile("a.npz")
    video = kinds.VideoFile(
        filename="out/a.mp4", bitrate=0.5, codec="libx264", codec_options={"preset": "slow"}
    )
    assert translate(video, 1 / 0.03) == VideoFile(
        "out/a.mp4", fps=Fraction(100, 3), name="a", codec="libx264", bitrate=4 * 1024**2,
        codec_options={"preset": "slow"},
    )  # fmt: skip
    old = kinds.VideoFile(filename="a.mp4", save_on_reset=False)
    assert translate(old, 1 / 0.03).fps == 33  # 0.4.5 rounds


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (np.zeros((2, 2)), ["data_1", "data_2", "data_3", "data_4"]),
        (1.5, ["data_1"]),
        ([1.0, 2.0], ["data_1", "data_2"]),
        ({"a": 1, "b": np.zeros(()), "c": np.zeros(1), "d": (1, 2)}, ["a", "b_0", "c_0", "d_0", "d_1"]),
    ],
)
def test_columns_are_named_as_genesis_names_them(
    adapter: ModuleType, sample: Any, expected: list[str]
) -> None:
    """Bare values count from 1, elements of fields from 0; a 0-d array has a number, too."""
    assert importlib.import_module("recd_client.genesis.mapping").csv_header(sample) == expected


def test_what_recd_cannot_draw_is_said(gs: ModuleType, adapter: ModuleType) -> None:
    """An option of a plot that recd lacks is refused by name, not left out."""
    mapping = importlib.import_module("recd_client.genesis.mapping")
    options = gs.recorders.MPLVectorFieldPlot(positions=((0, 0, 0),), twist_scale_factor=2.0)
    with pytest.raises(OptionError, match=r"MPLVectorFieldPlot"):
        mapping.translate(options, 100.0)


# --- install and uninstall ----------------------------------------------------------------------------


def test_install_reroutes_and_uninstall_restores(gs: ModuleType, adapter: ModuleType) -> None:
    """Every kind of Genesis' is recd's between the two calls, and its own before and after."""
    table = gs.recorders.RecorderManager.RECORDER_TYPES_MAP
    before = dict(table)
    adapter.install()
    adapter.install()
    assert adapter.installed()
    changed = {kind.__name__ for kind in before if table[kind] is not before[kind]}
    assert changed == {
        "CSVFile", "NPZFile", "VideoFile", "MPLLinePlot", "PyQtLinePlot", "MPLImagePlot", "MPLVectorFieldPlot"
    }  # fmt: skip
    adapter.uninstall()
    adapter.uninstall()
    assert table == before
    assert not adapter.installed()


def test_uninstall_leaves_a_recording_of_a_camera_as_it_is(
    monkeypatch: pytest.MonkeyPatch, shared_runtime: Path, tmp_path: Path
) -> None:
    """In 0.4.5 the camera that records then stops with recd's file, and records with Genesis' own methods again."""
    monkeypatch.chdir(tmp_path)
    modules = make("0.4.5")
    put(monkeypatch, modules)
    adapter = importlib.import_module("recd_client.genesis")
    camera: Any = modules["genesis.vis.camera"].Camera()  # type: ignore[attr-defined]
    adapter.install()
    camera.start_recording()
    for level in (0, 100):
        camera.render(np.full((32, 32, 3), level, np.uint8))
    adapter.uninstall()
    camera.stop_recording(save_to_filename="a.mp4", fps=10)
    np.testing.assert_allclose(decoded(tmp_path / "a.mp4").mean(axis=(1, 2, 3)), [0, 100], atol=4)
    camera.start_recording()
    camera.render("theirs")
    camera.stop_recording()
    assert camera.encoded == ["theirs"]


def test_settings_that_are_not_named_stay(scene: Scene, adapter: ModuleType, tmp_path: Path) -> None:
    """``install(on_error=...)`` behind ``configure(dir=...)`` leaves the directory; the package knows its adapter."""
    assert recd_client.genesis is adapter
    adapter.configure(dir=tmp_path / "there")
    adapter.install(on_error="warn")
    recorder = scene.record(NPZFile("q.npz"))
    assert (str(recorder), recorder.stats) == ("NPZFile (q.npz)", {})  # not built yet
    scene.manager.build()
    scene.manager.step()
    scene.sample = ValueError("gone")
    with pytest.warns(RuntimeWarning, match="ValueError: gone"):
        scene.manager.step()
    scene.manager.stop()
    assert (tmp_path / "there/q.npz").exists()


@pytest.mark.parametrize(
    "bad", [{"on_error": "ignore"}, {"overwrite": "append"}, {"folder": "x"}, {"durability": "none"}]
)
def test_settings_are_checked(adapter: ModuleType, bad: dict[str, str]) -> None:
    """A wrong setting is refused by name, and changes nothing."""
    with pytest.raises(OptionError, match=next(iter(bad))):
        adapter.install(**bad)
    assert not adapter.installed()


# --- recording ----------------------------------------------------------------------------------------


def test_files_land_where_genesis_puts_them(scene: Scene, tmp_path: Path) -> None:
    """Relative to the current directory, in place of older ones, and complete behind ``stop``."""
    (tmp_path / "q.npz").write_bytes(b"old")
    scene.record(NPZFile("q.npz"))
    scene.record(CSVFile("deep/q.csv", hz=50))
    scene.manager.build()
    for i in range(10):
        scene.sample = {"q": np.full(3, float(i))}
        scene.manager.step()
    scene.manager.stop()
    arrays = npz(tmp_path / "q.npz")
    np.testing.assert_array_equal(arrays["timestamp"], np.arange(10) * 0.01)
    np.testing.assert_array_equal(arrays["q"][:, 0], np.arange(10.0))
    np.testing.assert_array_equal(csv_numbers(tmp_path / "deep/q.csv")[:, 1], np.arange(0.0, 10, 2))


def test_files_land_in_the_directory_that_was_chosen(
    scene: Scene, adapter: ModuleType, tmp_path: Path
) -> None:
    """``configure(dir=...)`` moves files and manifest there."""
    adapter.configure(dir=tmp_path / "there", metadata={"seed": 3})
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.manager.step()
    scene.manager.stop()
    assert (tmp_path / "there/q.npz").exists()
    metadata = json.loads((tmp_path / "there/manifest.json").read_text())["metadata"]
    assert metadata == {"genesis": "1.4.5", "seed": 3}


def test_unchanged_code_is_rerouted(
    gs: ModuleType, scene: Scene, adapter: ModuleType, tmp_path: Path
) -> None:
    """Genesis' options write Genesis' columns."""
    adapter.install()
    scene.sample = np.arange(2, dtype=np.float32) / 3
    scene.record(gs.recorders.CSVFile(filename="a.csv"))
    scene.manager.build()
    scene.manager.step()
    scene.manager.stop()
    assert (tmp_path / "a.csv").read_bytes() == b"timestamp,data_1,data_2\r\n0.0,0.0,0.3333333432674408\r\n"


def test_wide_integers_become_images_as_in_genesis(
    gs: ModuleType, scene: Scene, adapter: ModuleType, tmp_path: Path
) -> None:
    """A video takes images of any integers when it stands in for Genesis'."""
    adapter.install()
    scene.record(gs.recorders.VideoFile(filename="a.mp4"))
    scene.manager.build()
    for i in range(3):
        scene.sample = np.full((32, 32, 3), 50 * i, np.int64)
        scene.manager.step()
    scene.manager.stop()
    levels = decoded(tmp_path / "a.mp4").mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [0, 50, 100], atol=4)


def test_nothing_wraps_in_a_video_of_recds_own_option(scene: Scene) -> None:
    """There, wide integers are refused, and the message says how to scale them."""
    scene.record(VideoFile("a.mp4"))
    scene.manager.build()
    scene.sample = np.full((32, 32, 3), 300, np.int64)
    with pytest.raises(SchemaError, match=r"a\.mp4(.|\n)*needs uint8(.|\n)*scale"):
        scene.manager.step()


def test_a_data_func_that_raises_is_named(scene: Scene, tmp_path: Path) -> None:
    """The step raises with the recorder's name and the cause; the recorder goes on."""
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.manager.step()
    scene.sample = ZeroDivisionError("no such joint")
    with pytest.raises(DataFunctionError, match=r"q\.npz(.|\n)*ZeroDivisionError: no such joint") as caught:
        scene.manager.step()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    scene.sample = {"q": np.zeros(3)}
    scene.manager.step()
    scene.manager.stop()
    assert len(npz(tmp_path / "q.npz")["q"]) == 2


@pytest.mark.parametrize(
    ("sample", "message"),
    [(None, "returned None|None"), ({"q": np.zeros(4)}, r"expected \(3,\) float64(.|\n)*got \(4,\)")],
    ids=["None", "another shape"],
)
def test_a_bad_sample_is_named(scene: Scene, sample: Any, message: str) -> None:
    """None, and a shape that changes, say which recorder, what was expected and what came."""
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.manager.step()
    scene.sample = sample
    with pytest.raises(SchemaError, match=rf"q\.npz(.|\n)*({message})"):
        scene.manager.step()
    scene.manager.stop()


def test_the_first_sample_may_not_be_none(scene: Scene) -> None:
    """The message says that the function returned nothing."""
    scene.sample = None
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    with pytest.raises(SchemaError, match="its data_func returned None"):
        scene.manager.step()
    scene.manager.stop()


def test_errors_can_be_warnings(scene: Scene, adapter: ModuleType) -> None:
    """With ``on_error="warn"`` the step goes on."""
    adapter.configure(on_error="warn")
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.sample = ValueError("gone")
    with pytest.warns(RuntimeWarning, match="ValueError: gone"):
        scene.manager.step()
    scene.manager.stop()


def test_a_full_ring_costs_samples_and_not_steps(scene: Scene) -> None:
    """With a stopped worker and a small ring, every step returns, and the loss is counted."""
    scene.sample = np.zeros(64)
    recorder = scene.record(NPZFile("q.npz", buffer_size=8, buffer_full_wait_time=0))
    scene.manager.build()
    scene.manager.step()
    with stopped(worker_of(recorder._recording._recorder)):
        for _ in range(100):
            scene.manager.step()
        assert recorder.stats["lost"]["full"] > 0
    with pytest.warns(recd_client.DataLossWarning):
        scene.manager.stop()
    stats = recorder.stats
    assert stats["attempted"] == 101 == stats["written"] + sum(stats["lost"].values())


def test_resets_mark_the_timeline_once(scene: Scene, tmp_path: Path) -> None:
    """However many recorders a scene has, a reset is one mark, with the environments that it names."""
    for name in ("a.npz", "b.npz"):
        scene.record(NPZFile(name))
    scene.manager.build()
    scene.manager.step()
    for envs_idx in (None, [0, 2], np.array([False, True]), slice(0, 2)):
        scene.manager.reset(envs_idx)
    scene.manager.stop()
    (manifest,) = tmp_path.glob("recordings/*/*/manifest.json")
    marks = [(m["label"], m["fields"]["envs_idx"]) for m in json.loads(manifest.read_text())["marks"]]
    assert marks == [
        ("recd.reset", None), ("recd.reset", [0, 2]), ("recd.reset", [1]), ("genesis.reset", "slice(0, 2, None)")
    ]  # fmt: skip


def test_parts_follow_whole_resets(scene: Scene, tmp_path: Path) -> None:
    """``save_on_reset`` begins ``_1`` at a whole reset, and none at a partial one."""
    scene.record(CSVFile("q.csv", save_on_reset=True))
    scene.manager.build()
    scene.manager.step()
    scene.manager.reset([0])
    scene.manager.step()
    scene.manager.reset()
    scene.manager.step()
    scene.manager.stop()
    assert [len(read_csv(tmp_path / f"q_{i}.csv")[1]) for i in (0, 1)] == [2, 1]
    assert not os.path.exists("q_2.csv")


def test_a_manager_that_is_stopped_may_be_stopped_again(scene: Scene) -> None:
    """Genesis stops plots' videos twice, and everything once more at exit."""
    scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.manager.step()
    scene.manager.stop()
    scene.manager.stop()


def test_a_program_that_stops_nothing_has_its_files_when_it_ends(
    shared_runtime: Path, tmp_path: Path
) -> None:
    """The interpreter's end stops recorders before Genesis cleans up, and says nothing."""
    program = f"""
import atexit, sys
sys.stderr = sys.stdout
sys.path.insert(0, {str(Path(__file__).parent)!r})
from genesis_stand_in import make
sys.modules.update(make())
manager = sys.modules["genesis"].recorders.RecorderManager(0.01)
atexit.register(manager.stop)
atexit.register(manager.step)  # 1.4.5 records once more
import recd_client.genesis
manager.add_recorder(lambda: 1.0, recd_client.NPZFile("q.npz"))
manager.build()
manager.step()
"""
    assert run_python(program, cwd=tmp_path) == ""
    assert npz(tmp_path / "q.npz")["data"].tolist() == [1.0]


def test_torch_tensors_go_straight_into_the_ring(scene: Scene) -> None:
    """A recorder of plain samples calls the stream's own write: nothing stands between."""
    recorder = scene.record(NPZFile("q.npz"))
    scene.manager.build()
    scene.manager.step()
    assert recorder._write == recorder._stream.write
    scene.manager.stop()
