"""Whoever dies, whenever: nothing published is lost, doubled or torn, and every file is finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from killing import (
    Simulation,
    check_files,
    daemon_pid,
    encoders,
    kill,
    kill_all,
    kill_everything,
    wait_for_manifest,
    worker,
)
from recd_client import NPZFile, Recorder
from recordings import npz, proved, worker_of
from support import processes_of, wait_until

SAMPLES = 300


@pytest.mark.parametrize("group", ["main", "video-film"])
@pytest.mark.parametrize("at", [0, 1, 60, 299])
def test_a_killed_worker_is_replaced_and_goes_on_where_its_files_end(
    runtime: Path, tmp_path: Path, group: str, at: int
) -> None:
    """A worker's SIGKILL loses and doubles nothing, and the simulation does not notice."""
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", str(at))
    sim.lines_until(f"published {at}")
    first = worker(tmp_path, group)
    kill(first)
    sim.go_on()
    wait_until(lambda: worker(tmp_path, group) != first)
    sim.finish()
    wait_for_manifest(tmp_path)
    check_files(tmp_path, SAMPLES, SAMPLES)


def test_a_worker_killed_again_and_again_loses_nothing(runtime: Path, tmp_path: Path) -> None:
    """Several deaths of both workers within one recording still give complete files."""
    pauses = [20, 90, 170]
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", *map(str, pauses))
    for at in pauses:
        sim.lines_until(f"published {at}")
        for group in ("main", "video-film"):
            kill(worker(tmp_path, group))
        sim.go_on()
    sim.finish()
    manifest = wait_for_manifest(tmp_path)
    check_files(tmp_path, SAMPLES, SAMPLES)
    assert manifest["streams"]["film"]["samples"] == SAMPLES


def test_workers_killed_with_their_fork_server_again_and_again_are_blamed_on_no_stream(
    runtime: Path, tmp_path: Path
) -> None:
    """Nobody is left to tell how they ended: no ring is set aside for that, and nothing is missing."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for i in range(4):
            stream.write({"i": i})
            rec.flush()
            first = worker_of(rec)
            kill_all([pid for pid, command in processes_of(runtime).items() if "forkserver" in command])
            wait_until(lambda old=first: worker_of(rec) not in (0, old))
    assert npz(tmp_path / "s.npz")["i"].tolist() == [0, 1, 2, 3]
    proved(tmp_path)


def test_what_a_dead_worker_left_of_a_finished_stream_goes_while_the_recording_does_not_end(
    runtime: Path, tmp_path: Path
) -> None:
    """Its ring and its log, put back as a death right behind the outcome leaves them, are gone with the next worker."""
    with Recorder(dir=tmp_path) as rec:
        ended = rec.stream("ended", NPZFile("ended.npz"))
        rec.stream("other", NPZFile("other.npz")).write({"x": 0.0})
        ended.write({"x": 1.0})
        stream = tmp_path / ".recd" / rec.session / "s-ended"
        ring = Path("/dev/shm", json.loads((stream / "stream.json").read_text())["ring"].removeprefix("/"))
        shutil.copytree(stream / "log", tmp_path / "log")
        shutil.copy(ring, tmp_path / "ring")
        ended.close()
        wait_until(lambda: (stream / "result.json").exists() and not (stream / "log").exists())
        first = worker_of(rec)
        os.kill(first, signal.SIGSTOP)
        shutil.copytree(tmp_path / "log", stream / "log")
        shutil.copy(tmp_path / "ring", ring)
        kill(first)
        wait_until(lambda: not (stream / "log").exists() and not ring.exists())
    assert npz(tmp_path / "ended.npz")["x"].tolist() == [1.0]
    assert npz(tmp_path / "other.npz")["x"].tolist() == [0.0]


@pytest.mark.parametrize("at", [0, 1, 57, 200])
def test_a_killed_simulation_leaves_complete_files_of_all_it_published(
    runtime: Path, tmp_path: Path, at: int
) -> None:
    """After the simulation's SIGKILL each file has every published sample, at most one more, in a finished file."""
    sim = Simulation(tmp_path, SAMPLES)
    sim.lines_until(f"published {at}")
    sim.kill()
    manifest = wait_for_manifest(tmp_path)
    assert manifest["state"] == "client died"
    check_files(tmp_path, sim.published, sim.published + 1)


def test_a_killed_encoder_is_replaced_and_no_frame_is_missing(runtime: Path, tmp_path: Path) -> None:
    """The SIGKILL of ffmpeg costs neither a frame nor the order, although dozens sat in its queues."""
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", "150")
    sim.lines_until("published 150")
    (pid,) = wait_until(lambda: encoders(runtime))
    kill(pid)
    sim.go_on()
    sim.finish()
    wait_for_manifest(tmp_path)
    check_files(tmp_path, SAMPLES, SAMPLES)


def test_a_killed_supervisor_is_replaced_while_the_workers_go_on(runtime: Path, tmp_path: Path) -> None:
    """The supervisor's SIGKILL leaves its workers draining; they start a new one and the session ends as usual."""
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", "100")
    sim.lines_until("published 100")
    workers = {g: worker(tmp_path, g) for g in ("main", "video-film")}
    first = daemon_pid(runtime)
    kill(first)
    sim.go_on()
    sim.lines_until("published 299")
    assert {g: worker(tmp_path, g) for g in workers} == workers
    sim.finish()
    wait_for_manifest(tmp_path)
    assert daemon_pid(runtime) != first
    check_files(tmp_path, SAMPLES, SAMPLES)


def test_everything_killed_at_once_is_finished_by_the_next_start(runtime: Path, tmp_path: Path) -> None:
    """With simulation, daemon, workers and encoder killed, the next start completes every file."""
    sim = Simulation(tmp_path, SAMPLES)
    sim.lines_until("published 120")
    kill_everything(sim, runtime)
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True)
    wait_for_manifest(tmp_path)
    check_files(tmp_path, sim.published, sim.published + 1)


def test_a_live_recording_goes_on_through_stop_and_start(runtime: Path, tmp_path: Path) -> None:
    """``recd stop`` puts a live session away; the next start takes it up, and nothing in between is missing."""
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", "80", "160")
    sim.lines_until("published 80")
    stopped = subprocess.run([sys.executable, "-m", "recd", "stop"], capture_output=True, text=True)
    assert "crash" in stopped.stdout + stopped.stderr or str(tmp_path) in stopped.stdout + stopped.stderr
    sim.go_on()
    sim.lines_until("published 90")
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True)
    sim.lines_until("published 160")
    sim.go_on()
    sim.finish()
    wait_for_manifest(tmp_path)
    check_files(tmp_path, SAMPLES, SAMPLES)
