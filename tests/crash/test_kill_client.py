"""The simulation killed at every step of its write path: at most one sample more than it knows of, none torn."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from killing import Simulation, check_files, wait_for_manifest
from rounds import ROUNDS, dice, points

SAMPLES = 40


@pytest.mark.parametrize("stream", ["state", "film"])
def test_a_simulation_killed_at_any_bytecode_of_a_write_loses_and_tears_nothing(
    shared_runtime: Path, tmp_path: Path, stream: str
) -> None:
    """Reserve, intent, copy, header, head store, doorbell: what was written before is there, what was not is not."""
    chance = dice("client", stream)
    alive = Simulation(tmp_path / "alive", SAMPLES, "--die-in", stream)
    alive.finish()
    assert alive.steps > 100
    survived = 0
    for at in points(alive.steps, chance, max(ROUNDS // 4, 3)):
        directory = tmp_path / f"{at}"
        sim = Simulation(directory, SAMPLES, "--die-in", stream, "--die-at", str(at))
        if sim.wait() == 0:  # this time the write was shorter: it did not have to ring
            assert 0 < sim.steps < at
            survived += 1
            continue
        assert sim.process.returncode == -signal.SIGKILL
        assert sim.published == SAMPLES // 2
        manifest = wait_for_manifest(directory)
        check_files(directory, SAMPLES // 2, SAMPLES // 2 + 1)
        assert manifest["state"] == "client died"
        told = manifest["streams"][stream]
        assert told["samples"] <= told["attempted"] <= told["samples"] + 1
        assert not any(told["lost"].values())
    assert survived <= max(ROUNDS // 40, 1)
