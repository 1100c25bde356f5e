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

from recordings import decoded

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
