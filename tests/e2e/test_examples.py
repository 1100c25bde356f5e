"""The examples run as they stand, and their files hold what their simulations did."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from recordings import decoded, gray16

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, directory: Path, *, steps: int) -> None:
    """Run an example as a user would, and fail with what it said."""
    command = [sys.executable, str(EXAMPLES / name), "--steps", str(steps), "--dir", str(directory)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert str(directory) in ran.stdout


@pytest.mark.usefixtures("runtime")
def test_the_plain_loop_leaves_files_with_exactly_the_states_it_went_through(tmp_path: Path) -> None:
    """The NPZ and the CSV equal a second run of the same simulation bit for bit; the video has all frames."""
    run_example("plain_loop.py", tmp_path, steps=200)

    ball = runpy.run_path(str(EXAMPLES / "plain_loop.py"))["Ball"]()
    positions = []
    for _ in range(200):
        positions.append(ball.position.copy())
        ball.step()
    with np.load(tmp_path / "state.npz") as state:
        np.testing.assert_array_equal(state["position"], positions)
        np.testing.assert_array_equal(state["timestamp"], np.arange(200) * 0.005)
    with (tmp_path / "state.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [[float(r["position_0"]), float(r["position_1"])] for r in rows] == np.array(positions).tolist()
    assert len(decoded(tmp_path / "camera.mp4")) == 50


@pytest.mark.usefixtures("runtime")
def test_the_depth_cameras_leave_metres_and_colours(tmp_path: Path) -> None:
    """The 16-bit file has the depth of a second run to half a step; a tile and a video per environment are there."""
    run_example("depth.py", tmp_path, steps=25)

    example = runpy.run_path(str(EXAMPLES / "depth.py"))
    balls, metres = example["Balls"](), []
    for _ in range(25):
        metres.append(balls.render()[0][0])
        balls.step()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    files = {f["path"]: f["video"] for s in manifest["streams"].values() for f in s["files"]}
    scale = files["depth.mkv"]["scale"]
    read = scale["low"] + gray16(tmp_path / "depth.mkv") * scale["step"]
    exact = np.clip(metres, scale["low"], scale["high"])
    assert np.abs(read - exact).max() <= 0.5001 * scale["step"]
    assert files["depth.mp4"]["batch"] == {"images": 6, "rows": 2, "columns": 3}
    assert decoded(tmp_path / "depth.mp4").shape == (25, 240, 480, 3)
    for env in range(6):
        assert len(decoded(tmp_path / f"things_env{env}.mp4")) == 25


@pytest.mark.usefixtures("runtime")
def test_the_recorder_of_ones_own_counts_what_the_csv_shows(tmp_path: Path) -> None:
    """Each foot's touchdowns, which the example's class counted, are the rising edges in the file beside it."""
    run_example("custom_sink.py", tmp_path, steps=400)
    with (tmp_path / "feet.csv").open(newline="") as f:
        stands = [[float(r[f"force_{i}"]) > 20 for i in range(2)] for r in csv.DictReader(f)]
    before = np.vstack([[False, False], stands[:-1]])
    counted = json.loads((tmp_path / "touchdowns.json").read_text())
    assert counted == {"touchdowns": np.sum(stands & ~before, axis=0).tolist()}
    assert min(counted["touchdowns"]) > 3


@pytest.mark.requires("gymnasium", "mujoco")
@pytest.mark.filterwarnings("default")  # those of the simulator and of what it imports are not ours
@pytest.mark.usefixtures("runtime")
def test_the_humanoid_leaves_files_with_exactly_the_joints_mujoco_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joints and rewards equal a second run with the same seeds, each fall is marked, no frame is missing."""
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
    steps = 80
    run_example("gymnasium_humanoid.py", tmp_path, steps=steps)

    import gymnasium

    env = gymnasium.make("Humanoid-v5")
    env.action_space.seed(0)
    env.reset(seed=0)
    qpos, rewards, falls, frames, step = [], [], 0, 0, 0
    for _ in range(steps):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        qpos.append(env.unwrapped.data.qpos.copy())
        rewards.append(reward)
        frames += step % 2 == 0  # a reset begins the count of steps anew
        step += 1
        if terminated or truncated:
            falls, step = falls + 1, 0
            env.reset()
    env.close()
    with np.load(tmp_path / "joints.npz") as joints, h5py.File(tmp_path / "joints.h5") as hdf5:
        for recorded in (joints, hdf5):
            np.testing.assert_array_equal(recorded["qpos"][:], qpos)
            np.testing.assert_array_equal(recorded["reward"][:], rewards)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert falls > 0
    assert [mark["label"] for mark in manifest["marks"]] == ["recd.reset"] * falls
    assert len(decoded(tmp_path / "camera.mp4")) == frames


@pytest.mark.requires("mujoco")
@pytest.mark.usefixtures("runtime")
def test_the_arm_leaves_its_joints_by_name_and_its_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Angles in the CSV equal those of the NPZ and of a second run; the video has a frame for every 40 ms."""
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
    run_example("mujoco_arm.py", tmp_path, steps=100)

    import mujoco

    model = mujoco.MjModel.from_xml_string(runpy.run_path(str(EXAMPLES / "mujoco_arm.py"))["ARM"])
    data = mujoco.MjData(model)
    qpos = []
    for step in range(100):
        data.ctrl[0] = np.sin(step * 0.03)
        mujoco.mj_step(model, data)
        qpos.append(data.qpos.copy())
    with np.load(tmp_path / "arm.npz") as state:
        np.testing.assert_array_equal(state["qpos"], qpos)
    with (tmp_path / "arm.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    joints = ("shoulder", "elbow", "wrist")
    assert [[float(r[f"qpos.{joint}"]) for joint in joints] for r in rows] == np.array(qpos).tolist()
    assert len(decoded(tmp_path / "front.mp4")) == 10


@pytest.mark.requires("gymnasium", "mujoco")
@pytest.mark.filterwarnings("default")  # those of the simulator and of what it imports are not ours
@pytest.mark.usefixtures("runtime")
def test_the_pendulums_leave_a_file_of_each_episode_and_a_video_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transition is missing: each step of each pendulum is in its files, or was a reset."""
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
    run_example("gymnasium_episodes.py", tmp_path, steps=20)
    lengths: dict[str, int] = {}
    for path in (tmp_path / "episodes").glob("*.npz"):
        with np.load(path) as episode:
            pendulum = path.stem.split("_")[0]
            lengths[pendulum] = lengths.get(pendulum, 0) + len(episode["reward"])
    assert lengths == {f"episode-env-{i}": 21 for i in range(8)}
    assert len(decoded(tmp_path / "videos" / "rl-video-episode-0.mp4")) == 21


@pytest.mark.requires("matplotlib")
@pytest.mark.usefixtures("runtime")
def test_the_plots_have_a_frame_for_each_step_and_their_pictures_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a display: every animation has all steps, and a picture of its last frame."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    command = [sys.executable, str(EXAMPLES / "plots.py"), "--steps", "12", "--dir", str(tmp_path)]
    pictures = tmp_path / "pictures"
    ran = subprocess.run([*command, "--pictures", str(pictures)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    films = sorted(tmp_path.glob("*.mp4"))
    assert {"lines", "many", "image", "vectors"} <= {film.stem for film in films}
    assert [len(decoded(film)) for film in films] == [12] * len(films)
    assert sorted(p.name for p in pictures.iterdir()) == [f"plot-{film.stem}.png" for film in films]


@pytest.mark.requires("mujoco")
@pytest.mark.usefixtures("runtime")
def test_the_plate_of_mujoco_comes_out_the_same_again(tmp_path: Path) -> None:
    """The example ends with 0, as only a check that holds does; blocks hit the plate, and were filmed."""
    run_example("mujoco_replay.py", tmp_path, steps=500)
    with np.load(tmp_path / "plate.npz") as plate:
        assert plate["qpos"].shape == (500, 22)
        fallen = plate["qvel"][:, 3]  # of the first block, downwards, until something stops it
    assert fallen.min() < -0.5
    assert abs(fallen[-1]) < abs(fallen.min())
    assert decoded(tmp_path / "again" / "top.mp4").shape == (25, 240, 320, 3)
