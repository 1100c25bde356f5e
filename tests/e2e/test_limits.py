"""Limits of a running daemon: what is too much is refused with a reason, and leaves nothing; what is there goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from killing import Simulation, check_files, daemon_pid, kill, wait_for_manifest, worker
from recd_client import CSVFile, LimitError, Recorder
from recd_client.control import Caller
from recd_client.shm import SHM_DIR, runtime_tag
from recordings import proved, state_of
from support import wait_until


def left(runtime: Path, directory: Path) -> set[str]:
    """Rings of this runtime, and what lies in the directory, working files of streams included."""
    rings = {p.name for p in SHM_DIR.iterdir() if f"recd-{runtime_tag(runtime)}-" in p.name}
    return rings | {str(p) for p in directory.rglob("*") if "s-" in p.parts[-1] or p.suffix == ".csv"}


@pytest.mark.parametrize(
    ("setting", "value", "numbers"),
    [
        ("RECD_MAX_SESSION_STREAMS", "1", "1 are there, 1 more"),
        ("RECD_MAX_STREAMS", "1", "1 are there, 1 more"),
        ("RECD_MAX_SESSION_RING_BYTES", "10MB", "more were asked for"),
        ("RECD_MAX_RING_BYTES", "10MB", "more were asked for"),
    ],
)
def test_a_stream_too_many_is_refused_and_leaves_nothing(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, numbers: str
) -> None:
    """The error names the limit and the numbers; no ring and no file is left, and the first stream is complete."""
    monkeypatch.setenv(setting, value)
    with Recorder("limits", dir=tmp_path, dt=0.1) as rec:
        first = rec.stream("first", CSVFile("first.csv"))
        first.write({"x": 1.0})
        before = left(runtime, tmp_path)
        with pytest.raises(LimitError, match=f"{setting} allows .*{numbers}"):
            rec.stream("second", CSVFile("second.csv"), buffer_bytes=9_000_000).write({"x": 1.0})
        assert left(runtime, tmp_path) == before
        first.write({"x": 2.0})
    assert proved(tmp_path)["streams"]["first"]["samples"] == 2


def test_rings_of_default_size_shrink_to_what_is_allowed(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a small /dev/shm: who did not ask for a size gets a smaller ring instead of an error."""
    monkeypatch.setenv("RECD_MAX_RING_BYTES", "9MB")
    with Recorder("limits", dir=tmp_path, dt=0.1) as rec:
        for name in ("first", "second"):
            rec.stream(name, CSVFile(f"{name}.csv")).write({"x": 1.0})
        rings = [p.stat().st_size for p in SHM_DIR.glob(f"recd-{runtime_tag(runtime)}-*")]
        assert len(rings) == 2
        assert sum(rings) <= 9_000_000
    assert set(proved(tmp_path)["streams"]) == {"first", "second"}


def test_a_recording_too_many_is_refused(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second recorder hears of the limit; the first goes on; afterwards there is room again."""
    monkeypatch.setenv("RECD_MAX_SESSIONS", "1")
    with Recorder("one", dir=tmp_path / "one", dt=0.1) as rec:
        with pytest.raises(LimitError, match="RECD_MAX_SESSIONS allows 1 recordings: 1 are there"):
            Recorder("two", dir=tmp_path / "two")
        assert not (tmp_path / "two").exists()
        rec.stream("state", CSVFile("state.csv")).write({"x": 1.0})
    assert proved(tmp_path / "one")
    wait_until(lambda: not _sessions(runtime))
    Recorder("two", dir=tmp_path / "two").close()


def test_a_client_that_does_not_check_its_metadata_is_refused(runtime: Path, tmp_path: Path) -> None:
    """The daemon's own limit holds for clients that have none."""
    Recorder("one", dir=tmp_path / "one").close()
    caller = Caller(runtime / "recd.sock")
    try:
        with pytest.raises(LimitError, match="RECD_MAX_METADATA_BYTES allows"):
            caller.call("open", 20.0, name="x", directory=str(tmp_path / "two"), cwd="/", durability="process",
                        overwrite="error", metadata={"x": "y" * 300_000})  # fmt: skip
    finally:
        caller.close()
    assert not (tmp_path / "two").exists()


def test_status_tells_the_limits(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers that hold are those of the daemon's environment, whatever that of the asker is."""
    monkeypatch.setenv("RECD_MAX_STREAMS", "77")
    Recorder("one", dir=tmp_path).close()
    caller = Caller(runtime / "recd.sock")
    try:
        assert caller.call("status")["daemon"]["limits"]["streams"] == 77
    finally:
        caller.close()


def test_a_silent_session_is_never_reclaimed_while_its_process_lives(runtime: Path, tmp_path: Path) -> None:
    """A stopped simulation keeps its session through a new worker and a new supervisor, and goes on where it was."""
    sim = Simulation(tmp_path, 100, "--pause-at", "50")
    sim.lines_until("published 50")
    sim.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(sim.process.pid) == "T")
    at_work, daemon = worker(tmp_path, "main"), daemon_pid(runtime)
    kill(at_work)
    assert wait_until(lambda: worker(tmp_path, "main") != at_work)
    kill(daemon)
    wait_until(lambda: (runtime / "recd.sock").exists() and _answers(runtime) not in (0, daemon))
    caller = Caller(runtime / "recd.sock")
    try:
        for _ in range(20):  # each answer is a round of the worker's loop
            (session,) = caller.call("status")["sessions"]
            assert session["client"] == {"pid": sim.process.pid, "alive": True}
            assert session["state"] == "recording"
    finally:
        caller.close()
    sim.process.send_signal(signal.SIGCONT)
    sim.go_on()
    sim.finish()
    wait_for_manifest(tmp_path)
    check_files(tmp_path, 100, 100)


def _sessions(runtime: Path) -> list[str]:
    """Sessions that the daemon knows."""
    caller = Caller(runtime / "recd.sock")
    try:
        return [s["session"] for s in caller.call("status")["sessions"]]
    finally:
        caller.close()


def _answers(runtime: Path) -> int:
    """Pid of the daemon that answers, 0 if none does."""
    try:
        return daemon_pid(runtime)
    except ConnectionError:
        return 0
