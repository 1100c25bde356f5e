"""MuJoCo recordings against the simulation itself: values, names, units, frames."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killing import wait_for_manifest
from recd_client import CSVFile, HDF5File, NPZFile, OptionError, Recorder, VideoFile
from recordings import csv_numbers, decoded, manifest_of, npz, proved, read_csv

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

if find_spec("mujoco"):
    import mujoco

    from recd_client.mujoco import columns_of, record

pytestmark = [
    pytest.mark.requires("mujoco"),
    pytest.mark.filterwarnings("error::recd_client.DataLossWarning"),
    pytest.mark.usefixtures("shared_runtime"),
]

#: One of each: every kind of joint, and sensors with units of their own.
XML = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="side" pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/>
    <geom type="plane" size="3 3 .1" rgba=".2 .3 .4 1"/>
    <body name="ball" pos="0 0 1">
      <freejoint name="root"/> <site name="imu"/> <geom size=".2" rgba="1 .5 0 1"/>
      <body name="arm" pos=".3 0 0">
        <joint name="robot/hip" type="hinge" axis="0 1 0"/> <geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/>
        <body name="hand" pos=".4 0 0"><joint name="rail" type="slide"/> <geom size=".05"/></body>
      </body>
    </body>
    <body pos="1 1 1"><joint type="ball"/><geom size=".1"/></body>
  </worldbody>
  <actuator><motor name="pull" joint="robot/hip"/><motor joint="rail"/></actuator>
  <sensor>
    <accelerometer name="acc" site="imu"/> <framequat name="pose" objtype="site" objname="imu"/>
    <jointpos name="rail_at" joint="rail"/> <jointpos name="hip_at" joint="robot/hip"/> <touch name="touch" site="imu"/>
  </sensor>
</mujoco>
"""


def simulation() -> Any:
    """A model of it all, and its data."""
    model = mujoco.MjModel.from_xml_string(XML)
    return model, mujoco.MjData(model)


def run(rec: Any, model: Any, data: Any, steps: int, *seen: str) -> dict[str, np.ndarray]:
    """Step, record, and write down by hand what there was."""
    log: dict[str, list[Any]] = {name: [] for name in ("time", *seen)}
    for i in range(steps):
        data.ctrl[0] = np.sin(i / 10)
        mujoco.mj_step(model, data)
        rec.step()
        for name, values in log.items():
            values.append(np.copy(getattr(data, name)))
    return {name: np.array(values) for name, values in log.items()}


def test_every_number_is_there_as_mujoco_had_it(tmp_path: Path) -> None:
    """NPZ and CSV equal what was written down at each step, bit for bit, at the simulation's own times."""
    model, data = simulation()
    with record(model, data, NPZFile("s.npz"), CSVFile("s.csv"), dir=tmp_path, overflow="block") as rec:
        log = run(rec, model, data, 200, "qpos", "qvel", "ctrl", "sensordata")
    found = npz(tmp_path / "s.npz")
    assert [*found] == ["timestamp", "qpos", "qvel", "ctrl", "sensordata"]  # there is no act in this model
    np.testing.assert_array_equal(found["timestamp"], log.pop("time"))
    for name, values in log.items():
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(csv_numbers(tmp_path / "s.csv")[:, 1:], np.hstack([*log.values()]))
    assert proved(tmp_path)["dt"] == 0.002


EXPECTED = {
    "qpos.root.x": "m", "qpos.root.y": "m", "qpos.root.z": "m",
    "qpos.root.qw": "", "qpos.root.qx": "", "qpos.root.qy": "", "qpos.root.qz": "",
    "qpos.robot.hip": "rad", "qpos.rail": "m",
    "qpos.joint3.qw": "", "qpos.joint3.qx": "", "qpos.joint3.qy": "", "qpos.joint3.qz": "",
    "qvel.root.x": "m/s", "qvel.root.y": "m/s", "qvel.root.z": "m/s",
    "qvel.root.rx": "rad/s", "qvel.root.ry": "rad/s", "qvel.root.rz": "rad/s",
    "qvel.robot.hip": "rad/s", "qvel.rail": "m/s",
    "qvel.joint3.rx": "rad/s", "qvel.joint3.ry": "rad/s", "qvel.joint3.rz": "rad/s",
    "ctrl.pull": "", "ctrl.actuator1": "",
    "sensordata.acc.x": "m/s^2", "sensordata.acc.y": "m/s^2", "sensordata.acc.z": "m/s^2",
    "sensordata.pose.qw": "", "sensordata.pose.qx": "", "sensordata.pose.qy": "", "sensordata.pose.qz": "",
    "sensordata.rail_at": "m", "sensordata.hip_at": "rad", "sensordata.touch": "N",
}  # fmt: skip


def test_columns_have_the_names_of_joints_and_sensors_and_their_units(tmp_path: Path) -> None:
    """Hinges, slides, balls, a free body and sensors: the CSV's header, the manifest's list, and `columns`."""
    model, data = simulation()
    with record(model, data, CSVFile("s.csv"), dir=tmp_path) as rec:
        rec.step()
        told = {c.name: c.unit for columns in rec.columns.values() for c in columns}
    assert told == EXPECTED
    assert read_csv(tmp_path / "s.csv")[0] == ["timestamp", *EXPECTED]
    metadata = manifest_of(tmp_path)["metadata"]["columns"]
    pairs = [pair for m in metadata.values() for pair in zip(m["names"], m["units"], strict=True)]
    assert dict(pairs) == EXPECTED


def test_named_makes_a_field_with_a_unit_of_each_number(tmp_path: Path) -> None:
    """NPZ and HDF5 have an entry per joint and sensor, with its unit in the schema."""
    model, data = simulation()
    with record(model, data, NPZFile("s.npz"), HDF5File("s.h5"), named=True, dir=tmp_path) as rec:
        log = run(rec, model, data, 20, "qpos")
    found = npz(tmp_path / "s.npz")
    assert [*found][1:] == [*EXPECTED]
    np.testing.assert_array_equal(found["qpos.robot.hip"], log["qpos"][:, 7])
    schema = proved(tmp_path)["streams"]["state"]["schema"]["fields"]
    assert {f["name"]: f["unit"] for f in schema} == EXPECTED


def test_a_recorded_state_can_be_gone_back_to(tmp_path: Path) -> None:
    """Fields of mjtState bits stand in the order of mj_setState: from any sample the run goes on as it did."""
    model, data = simulation()
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    with record(model, data, state=spec, dir=tmp_path) as rec:
        run(rec, model, data, 50)
    with np.load(tmp_path / "state.npz") as file:
        names = [name for name in file.files if name != "timestamp"]
        samples = [np.concatenate([np.ravel(file[n][i]) for n in names]) for i in (30, 31)]
    assert names[:3] == ["time", "qpos", "qvel"]
    model, data = simulation()
    mujoco.mj_setState(model, data, samples[0], spec)
    data.ctrl[0] = np.sin(31 / 10)
    mujoco.mj_step(model, data)
    now = np.empty(mujoco.mj_stateSize(model, spec))
    mujoco.mj_getState(model, data, now, spec)
    np.testing.assert_array_equal(now, samples[1])


def test_frames_are_rendered_when_they_are_due_and_show_what_the_renderer_shows(tmp_path: Path) -> None:
    """50 per second of simulated time; each equals one rendered by hand, and lossless video keeps every pixel."""
    model, data = simulation()
    cameras = {"side": VideoFile("side.mkv", codec="ffv1", pixel_format="bgr0", hz=50), -1: VideoFile(hz=10)}
    renderer = mujoco.Renderer(model, 48, 64)
    expected = []
    with record(model, data, cameras=cameras, width=64, height=48, dir=tmp_path, overflow="block") as rec:
        for i in range(100):
            mujoco.mj_step(model, data)
            rec.step()
            if i % 10 == 0:
                renderer.update_scene(data, "side")
                expected.append(renderer.render())
        assert rec.cameras.keys() == {"side", "free"}
    renderer.close()
    np.testing.assert_array_equal(decoded(tmp_path / "side.mkv"), expected)
    assert len(decoded(tmp_path / "free.mp4")) == 2
    assert np.std(expected[0]) > 10  # something is to be seen
    proved(tmp_path)


def test_a_simulation_that_is_reset_begins_a_new_part(tmp_path: Path) -> None:
    """Time that goes back is a reset: it is marked, and files with save_on_reset are numbered."""
    model, data = simulation()
    with record(model, data, NPZFile("s.npz", save_on_reset=True), dir=tmp_path) as rec:
        for steps in (5, 3):
            mujoco.mj_resetData(model, data)
            run(rec, model, data, steps)
    assert [len(npz(tmp_path / f"s_{k}.npz")["qpos"]) for k in (0, 1)] == [5, 3]
    manifest = proved(tmp_path)
    assert [m["label"] for m in manifest["marks"]] == ["recd.reset"]
    assert manifest["streams"]["state"]["backward_times"] == 0


def test_a_recorder_of_ones_own_goes_on(tmp_path: Path) -> None:
    """Two simulations and a stream beside them in one recording, which its owner closes."""
    with Recorder("two", dir=tmp_path) as recorder:
        for name in ("left", "right"):
            model, data = simulation()
            rec = record(model, data, name=name, state=("time", "qpos", "xpos"), recorder=recorder)
            run(rec, model, data, 4)
            assert rec.close() is None
        recorder.log("after", 1.0)
    assert proved(tmp_path)["streams"].keys() == {"left", "right", "after"}
    assert npz(tmp_path / "left.npz")["xpos"].shape == (4, 5, 3)


def test_names_of_other_fields_come_from_the_model() -> None:
    """Bodies, forces on degrees of freedom, and fields without a known meaning."""
    model, data = simulation()
    assert columns_of(model, data, "xpos")[3] == ("xpos.ball.x", "m")
    assert columns_of(model, data, "xfrc_applied")[9] == ("xfrc_applied.ball.tx", "N*m")
    assert columns_of(model, data, "qfrc_bias")[6] == ("qfrc_bias.robot.hip", "N*m")
    assert columns_of(model, data, "energy") == [("energy.potential", "J"), ("energy.kinetic", "J")]
    assert columns_of(model, data, "time") == [("time", "s")]
    assert columns_of(model, data, "cvel")[1] == ("cvel_1", "")


KILLED = """
import sys, mujoco
sys.path.insert(0, sys.argv[2])
from adapters.test_mujoco import XML
from recd_client import CSVFile, NPZFile
from recd_client.mujoco import record
model = mujoco.MjModel.from_xml_string(XML)
data = mujoco.MjData(model)
camera = {"cameras": "side", "width": 64, "height": 48, "fps": 500}
rec = record(model, data, NPZFile("s.npz"), CSVFile("s.csv"), dir=sys.argv[1], **camera)
for _ in range(120):
    mujoco.mj_step(model, data)
    rec.step()
print("stepped", flush=True)
sys.stdin.read()
"""


def test_a_killed_simulation_leaves_every_state_and_every_frame(tmp_path: Path) -> None:
    """SIGKILL behind step 120: 120 rows in both files, 120 frames."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stepped\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
    assert wait_for_manifest(tmp_path)["state"] == "client died"
    assert len(npz(tmp_path / "s.npz")["qpos"]) == len(csv_numbers(tmp_path / "s.csv")) == 120
    assert len(decoded(tmp_path / "side.mp4")) == 120


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"state": ("qpos", "speed")}, "state='speed'"),
        ({"state": "efc_force"}, "changes from step to step"),
        ({"state": ("act",)}, "this model has no 'act'"),
        ({"state": ("qpos", "qpos")}, "each name once"),
        ({"state": 1 << 40}, "no such mjtState bit"),
        ({"state": 1.5j}, "state=1.5j"),
        ({"cameras": "front"}, "no camera 'front', it has 'side'"),
        ({"cameras": 7}, "no camera 7"),
        (
            {"cameras": {"side": NPZFile("x.npz")}},
            "a VideoFile for each camera",
        ),
        ({"cameras": "side", "width": 5000}, "the model's offscreen buffer has 640 pixels"),
        ({"fps": 0}, "fps=0"),
        ({"named": "yes"}, "named='yes'"),
        ({"recorder": 3}, "recorder=3"),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_is_recorded(
    tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    """Each error names the argument and what there is; no directory is made."""
    model, data = simulation()
    with pytest.raises(OptionError, match=text):
        record(model, data, dir=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
    with pytest.raises(OptionError, match="expected an MjModel and its MjData"):
        record(data, model)


def test_what_fails_behind_the_opening_leaves_nothing_open(tmp_path: Path) -> None:
    """The recorder of its own is closed, and its recording finished."""
    model, data = simulation()
    with pytest.raises(OptionError, match="overflow='never'"):
        record(model, data, dir=tmp_path, overflow="never")
    assert wait_for_manifest(tmp_path)["state"] == "complete"


def test_a_frame_rate_that_is_a_ratio_decides_when_frames_are_due(tmp_path: Path) -> None:
    """Of a Fraction, and of a string: as many frames as the rate says."""
    for fps in (Fraction(25, 2), "25/2"):
        folder = tmp_path / type(fps).__name__
        model, data = simulation()
        with record(model, data, cameras={"side": VideoFile(fps=fps)}, dir=folder, overflow="block") as rec:
            while data.time < 0.79:
                mujoco.mj_step(model, data)
                rec.step()
        assert len(decoded(folder / "side.mp4")) == 10
        proved(folder)
