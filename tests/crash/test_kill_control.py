"""Supervisor and client killed at every system call by which they tell anybody anything, a stop from outside too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from killing import Simulation, check_files, wait_for_manifest
from recd import index
from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError
from rounds import ROUNDS, dice, points
from support import wait_until

SAMPLES = 40
#: Samples that are published when a stop comes.
BEFORE = 21
#: With a question mark: not every machine's kernel has it.
SUPERVISOR: Final = (
    "sendto,sendmsg,?unlink,?unlinkat,ftruncate,pwrite64,write,bind,listen,accept4,connect,pidfd_open,?mkdir,"
    "?mkdirat,clone,?clone3,?vfork,?epoll_ctl,socketpair"
)
CLIENT: Final = "connect,sendto,recvfrom,write,munmap,ftruncate"


def traced(calls: str, at: int, log: Path) -> list[str]:
    """A command that runs another one, which is killed at its ``at``-th of these system calls (0: just counted)."""
    kill = [] if not at else ["-e", f"inject={calls}:signal=KILL:when={at}"]
    return ["strace", "-o", str(log), "-e", f"trace={calls}", *kill]


def answers(runtime: Path) -> bool:
    """Whether a daemon answers."""
    try:
        Caller(runtime / "recd.sock", role="cli", timeout_s=1.0).close()
    except (DaemonNotRunningError, OSError):
        return False
    return True


def recd(verb: str) -> None:
    """Run a command of the daemon's."""
    subprocess.run([sys.executable, "-m", "recd", verb], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.requires("strace")
def test_a_supervisor_killed_at_any_system_call_loses_nothing(runtime: Path, tmp_path: Path) -> None:
    """Whatever it was about to say or do, another one takes over; simulation and files notice nothing."""
    chance = dice("supervisor")
    log = tmp_path / "trace"

    def record(at: int) -> int:
        """One recording, with a supervisor that is killed there; how many calls it made."""
        command = [*traced(SUPERVISOR, at, log), sys.executable, "-m", "recd", "start", "--foreground"]
        directory = tmp_path / f"{at}"
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as strace:
            wait_until(lambda: strace.poll() is not None or answers(runtime))
            with Simulation(directory, SAMPLES, "--step-s", "0.001") as sim:
                code = sim.wait()
            assert code == 0
            wait_for_manifest(directory)
            check_files(directory, SAMPLES, SAMPLES)
            assert len([*directory.glob("manifest*")]) == 1  # not begun twice
            recd("stop")
        return len(log.read_text().splitlines())

    calls = record(0)
    assert calls > 40
    for at in points(calls, chance, max(ROUNDS // 5, 2)):
        record(at)


@pytest.mark.requires("strace")
def test_a_simulation_killed_at_any_system_call_loses_nothing(runtime: Path, tmp_path: Path) -> None:
    """Opening, attaching, closing: what it had published by then is in finished files, and no session hangs."""
    chance = dice("client")
    log = tmp_path / "trace"

    def record(at: int) -> int:
        directory = tmp_path / f"{at}"
        with Simulation(directory, SAMPLES, "--step-s", "0.001", under=traced(CLIENT, at, log)) as sim:
            sim.wait()
        # Killed before it had opened its recording, it has none.
        wait_until(lambda: all(e["state"] != "live" for e in index.read_all()), timeout_s=60)
        if sim.published:
            wait_for_manifest(directory)
            check_files(directory, sim.published, sim.published + 1)
        left = {p.name for p in directory.glob(".recd/*")} | {p.name for p in directory.glob("*.part*")}
        assert not left
        return len(log.read_text().splitlines())

    recd("start")
    calls = record(0)
    assert calls > SAMPLES
    for at in points(calls, chance, max(ROUNDS // 5, 2)):
        record(at)


# --- stopped from outside -----------------------------------------------------------------------------


def stop() -> subprocess.CompletedProcess[str]:
    """``recd stop`` of the one session."""
    return subprocess.run([sys.executable, "-m", "recd", "stop", "crash"], capture_output=True, text=True)


def is_stopped(directory: Path) -> bool:
    """Whether the stop is written down, or done."""
    return (directory / "manifest.json").exists() or any(directory.glob(".recd/*/stopped.json"))


def calls_in(log: Path) -> int:
    """System calls that were traced so far."""
    return len(log.read_text().splitlines())


@pytest.mark.requires("strace")
def test_a_supervisor_killed_at_any_system_call_of_a_stop_leaves_a_clear_state(
    runtime: Path, tmp_path: Path
) -> None:
    """Either it is stopped, whoever else dies, or whoever asked is told, and asks again; the files are the same."""
    chance = dice("supervisor, stop")
    log = tmp_path / "trace"

    def record(at: int) -> tuple[int, int]:
        """One recording that is stopped; how many calls its supervisor had made before that, and in all."""
        command = [*traced(SUPERVISOR, at, log), sys.executable, "-m", "recd", "start", "--foreground"]
        directory = tmp_path / f"{at}"
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as strace:
            wait_until(lambda: strace.poll() is not None or answers(runtime))
            with Simulation(directory, SAMPLES, "--step-s", "0.001", "--pause-at", str(BEFORE - 1)) as sim:
                sim.lines_until(f"published {BEFORE - 1}")
                before = calls_in(log)
                told = stop()
                if told.returncode:
                    assert told.stderr.startswith("error: "), told.stderr
                    wait_until(lambda: is_stopped(directory) or answers(runtime))
                    again = None if is_stopped(directory) else stop()
                    assert again is None or again.returncode == 0 or is_stopped(directory), again.stderr
                manifest = wait_for_manifest(directory)  # the simulation stands still: nobody else ends it
                check_files(directory, BEFORE, BEFORE)
                proves_stop(manifest)
                sim.go_on()  # maybe without any daemon: there was nothing left to be done
                assert sim.wait() == 0
                assert (sim.published, sim.closed) == (BEFORE, "True")
            recd("stop")
        return before, calls_in(log)

    before, calls = record(0)
    assert calls > before + 10
    for at in points(calls - before, chance, max(ROUNDS // 4, 2)):
        record(before + at)


@pytest.mark.requires("strace")
def test_a_simulation_killed_at_any_system_call_behind_a_stop_changes_nothing(
    runtime: Path, tmp_path: Path
) -> None:
    """What it had been told to be recorded is in finished files, and the session is a stopped one, not a dead one."""
    chance = dice("client, stop")
    log = tmp_path / "trace"

    def record(at: int) -> tuple[int, int]:
        directory = tmp_path / f"{at}"
        arguments = ("--step-s", "0.001", "--pause-at", str(BEFORE - 1))
        with Simulation(directory, SAMPLES, *arguments, under=traced(CLIENT, at, log)) as sim:
            sim.lines_until(f"published {BEFORE - 1}")
            before = calls_in(log)
            asked = subprocess.Popen(
                [sys.executable, "-m", "recd", "stop", "crash"], stdout=subprocess.DEVNULL
            )
            wait_until(lambda: is_stopped(directory))
            sim.go_on()
            sim.wait()
            assert asked.wait() == 0
        manifest = wait_for_manifest(directory)
        check_files(directory, sim.published, sim.published + 2)
        proves_stop(manifest)
        left = {p.name for p in directory.glob(".recd/*")} | {p.name for p in directory.glob("*.part*")}
        assert not left
        return before, calls_in(log)

    recd("start")
    before, calls = record(0)
    for at in points(calls - before, chance, max(ROUNDS // 4, 2)):
        record(before + at)


def proves_stop(manifest: dict[str, Any]) -> None:
    """The manifest tells that the session was stopped, by whom, and that nothing is missing."""
    assert manifest["stopped"]["by"] == "recd stop"
    assert (manifest["state"], manifest["complete"]) == ("complete", True)
    assert not any(stream["lost"] for stream in manifest["streams"].values())
