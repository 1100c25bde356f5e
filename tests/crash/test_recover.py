"""``recd recover``: what was interrupted is finished without a daemon, and what is lost is told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from killing import Simulation, check_files, daemon_pid, frames, kill, kill_everything
from recd_client.shm import SHM_DIR
from recordings import read_csv
from support import processes_of, wait_until

SAMPLES = 300


def recover(*arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of ``recd recover --json``, and what it tells of each recording."""
    command = [sys.executable, "-m", "recd", "recover", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["recordings"]


@pytest.fixture
def interrupted(runtime: Path, tmp_path: Path) -> Simulation:
    """A recording of which every process was killed at once."""
    sim = Simulation(tmp_path / "run", SAMPLES)
    sim.lines_until("published 120")
    kill_everything(sim, runtime)
    (runtime / "recd.sock").unlink()  # the next daemon would have done so; here comes none
    return sim


def snapshot(directory: Path) -> dict[str, str]:
    """Every file below a directory and the hash of what is in it."""
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in directory.rglob("*")
        if p.is_file()
    }


def spec_file(directory: Path, stream: str) -> Path:
    """The file that describes a stream of the only unfinished session in a directory."""
    (path,) = directory.glob(f".recd/*/s-{stream}/stream.json")
    return path


def change(path: Path, **values: object) -> None:
    """Change values in a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_recording_whose_processes_were_all_killed_is_finished_without_a_daemon(
    interrupted: Simulation, runtime: Path
) -> None:
    """Every published sample and frame is in a finished file, and nothing is left in shared memory."""
    directory = interrupted.directory
    code, (report,) = recover(directory)
    assert (code, report["lossless"], report["problem"]) == (0, True, "")
    check_files(directory, interrupted.published, interrupted.published + 1)
    assert report["recovered"]["state"]["lost"] == report["recovered"]["film"]["lost"] == {}
    assert not (directory / ".recd").exists()
    assert not list(SHM_DIR.glob(f"*{report['session']}*"))
    assert not processes_of(runtime)
    assert recover(directory) == (0, [])


def test_a_dry_run_tells_what_is_there_and_changes_nothing(interrupted: Simulation) -> None:
    """``--dry-run`` names streams, samples in the log and bytes in the ring; no byte on disk changes."""
    before = snapshot(interrupted.directory)
    code, (report,) = recover(interrupted.directory, "--dry-run")
    assert code == 0
    found = {s["name"]: s for s in report["found"]}
    assert found["state"]["samples"] > 0
    assert found["film"]["frames_fed"] + found["film"]["ring_bytes"] > 0
    assert "recovered" not in report
    assert snapshot(interrupted.directory) == before
    assert recover(interrupted.directory)[0] == 0


def test_a_recording_below_the_directory_is_found_and_finished_where_it_was_moved_to(
    interrupted: Simulation, tmp_path: Path
) -> None:
    """The run's directory may have another place by now: its files are finished there, and only there."""
    archive = tmp_path / "archive" / "2026"
    archive.parent.mkdir()
    interrupted.directory.rename(archive)
    code, (report,) = recover(tmp_path / "archive")
    assert (code, report["directory"]) == (0, str(archive))
    check_files(archive, interrupted.published, interrupted.published + 1)
    assert not interrupted.directory.exists()


@pytest.mark.parametrize("gone", ["unlinked", "restarted"])
def test_a_ring_that_is_gone_is_told_and_the_rest_is_recovered(
    interrupted: Simulation, gone: str, tmp_path: Path
) -> None:
    """Without shared memory (the machine restarted) logs and files are finished: exit code 3, with the reason."""
    directory = interrupted.directory
    rings = [json.loads(spec_file(directory, s).read_text())["ring"] for s in ("state", "film")]
    if gone == "restarted":
        (session,) = directory.glob(".recd/*/session.json")
        for path in (session, spec_file(directory, "state"), spec_file(directory, "film")):
            change(path, boot_id="00" * 16)
    else:
        for ring in rings:
            (SHM_DIR / ring[1:]).unlink()
    code, (report,) = recover(directory)
    assert (code, report["lossless"], report["problem"]) == (3, False, "")
    for stream in report["recovered"].values():
        assert stream["state"] == "truncated"
        assert ("restarted" if gone == "restarted" else "gone") in stream["reason"]
        assert stream["attempted"] == stream["samples"] + sum(stream["lost"].values())
    _, rows = read_csv(directory / "state.csv")
    assert len(rows) == report["recovered"]["state"]["samples"] > 0
    check_files(directory, min(len(rows), len(frames(directory / "film.mp4"))), SAMPLES)
    assert not (directory / ".recd").exists()
    assert not [r for r in rings if (SHM_DIR / r[1:]).exists()]


def test_a_living_simulation_is_left_alone(runtime: Path, tmp_path: Path) -> None:
    """A recording whose daemon is dead but whose simulation runs is not ended: ``recd start`` goes on with it."""
    sim = Simulation(tmp_path, SAMPLES, "--pause-at", "50")
    sim.lines_until("published 50")
    assert "daemon works" in recover(tmp_path)[1][0]["held_by"]
    kill(daemon_pid(runtime))  # first: it would replace its workers
    for pid in processes_of(runtime).keys() - {sim.process.pid}:
        kill(pid)
    code, (report,) = recover(tmp_path)
    assert code == 0
    assert str(sim.process.pid) in report["held_by"]
    assert "recd start" in report["held_by"]
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True)
    sim.go_on()
    sim.finish()
    check_files(tmp_path, SAMPLES, SAMPLES)


def test_a_file_that_failed_is_made_again_from_the_log(
    runtime: Path, tmp_path: Path, failing_ffmpeg: None
) -> None:
    """A video that could not be encoded is kept as frames in the log, and made by recover once ffmpeg works."""
    directory = tmp_path / "run"
    sim = Simulation(directory, SAMPLES)
    assert sim.lines_until("closed") == "closed False"
    sim.process.wait()
    sim.kill()
    assert json.loads((directory / "manifest.json").read_text())["streams"]["film"]["state"] == "failed"
    del os.environ["RECD_FFMPEG"]
    code, (report,) = recover(directory)
    assert (code, report["problem"]) == (0, "")
    check_files(directory, SAMPLES, SAMPLES)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["streams"]["state"]["samples"] == SAMPLES
    assert not (directory / ".recd").exists()


@pytest.fixture
def failing_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ffmpeg that always fails."""
    program = tmp_path / "no-ffmpeg"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("RECD_FFMPEG", str(program))


def test_a_kill_in_mid_recovery_is_recovered_by_the_next_one(interrupted: Simulation, runtime: Path) -> None:
    """Killed while it finishes files, with its workers, recover loses and doubles nothing when it is run again."""
    directory = interrupted.directory
    command = [sys.executable, "-m", "recd", "recover", str(directory)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(processes_of(runtime)) > 1 or first.poll() is not None)
    first.kill()
    first.wait()
    while left := processes_of(runtime):  # one that was just being started, too
        for pid in left:
            with suppress(ProcessLookupError):
                kill(pid)
    code, _ = recover(directory)
    assert code == 0
    check_files(directory, interrupted.published, interrupted.published + 1)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A wrong path is named, on stderr, with exit code 1."""
    command = [sys.executable, "-m", "recd", "recover", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere does not exist" in done.stderr


def test_a_session_whose_description_is_damaged_is_reported(interrupted: Simulation) -> None:
    """A damaged session.json is said to be damaged, with exit code 1; what it describes stays as it is."""
    (session,) = interrupted.directory.glob(".recd/*/session.json")
    whole = session.read_text()
    session.write_text("{")
    before = snapshot(interrupted.directory)
    code, (report,) = recover(interrupted.directory)
    assert code == 1
    assert "is damaged" in report["problem"]
    assert snapshot(interrupted.directory) == before
    session.write_text(whole)
    assert recover(interrupted.directory)[0] == 0
