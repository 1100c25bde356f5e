"""``recd demo`` records what its simulation did, to all four formats."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from recd.demo.run import COUNT, DT, FPS, START_ANGLES, STEPS_PER_FRAME
from recd.demo.simulation import Swarm
from recordings import decoded

FRAMES = 30
STEPS = FRAMES * STEPS_PER_FRAME


@pytest.mark.usefixtures("runtime")
def test_the_demo_leaves_four_finished_files_that_agree_with_the_simulation(tmp_path: Path) -> None:
    """CSV, NPZ and HDF5 equal a second run bit for bit, the video has every frame, nothing else is left."""
    command = [sys.executable, "-m", "recd", "demo", str(tmp_path), "--seconds", str(FRAMES / FPS)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr

    swarm = Swarm(COUNT, dt=DT, angle=START_ANGLES[0])
    angles = np.empty((STEPS, 2, COUNT))
    for i in range(STEPS):
        swarm.step()
        angles[i] = swarm.angles
    with np.load(tmp_path / "swarm.npz") as npz, h5py.File(tmp_path / "swarm.h5") as hdf5:
        for recorded in (npz, hdf5):
            np.testing.assert_array_equal(recorded["angle"][:], angles)
            np.testing.assert_array_equal(recorded["timestamp"][:], np.arange(1, STEPS + 1) * DT)
    with (tmp_path / "swarm.csv").open(newline="") as f:
        rows = [[float(row[f"angle_{i}"]) for i in range(2 * COUNT)] for row in csv.DictReader(f)]
    np.testing.assert_array_equal(rows, angles.reshape(STEPS, -1))
    assert decoded(tmp_path / "swarm.mp4").shape == (FRAMES, 480, 640, 3)
    left = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert left == {"swarm.csv", "swarm.npz", "swarm.h5", "swarm.mp4", "manifest.json"}
    assert all(name in ran.stdout for name in left)
