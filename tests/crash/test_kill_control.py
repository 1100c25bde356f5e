"""Supervisor and client killed at every system call by which they tell anybody anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from killing import Simulation, check_files, wait_for_manifest
from recd import index
from recd_client.control import Caller
from recd_client.errors import DaemonNotRunningError
from rounds import ROUNDS, dice, points
from support import wait_until

SAMPLES = 40
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
