"""The daemon under a service manager: ready when it says so, watched, replaced, and stopped in time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from killing import daemon_pid, kill, worker
from recd_client import CSVFile, Recorder
from recordings import csv_numbers, proved
from support import processes_of, wait_until


class Manager:
    """What systemd does for a unit of Type=notify: starts it and listens."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory.parent / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(30.0)

    def start(self, watchdog_s: float = 0.2) -> subprocess.Popen[bytes]:
        """The unit's ExecStart."""
        usec = str(int(watchdog_s * 1e6))
        return subprocess.Popen(
            [sys.executable, "-m", "recd", "start", "--foreground"],
            env={**os.environ, "NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": usec},
            stderr=subprocess.DEVNULL,
        )

    def hear(self, *words: str) -> str:
        """Wait for a message with all these words."""
        while True:
            message = self.socket.recv(4096).decode()
            if all(word in message for word in words):
                return message


@pytest.fixture
def manager(runtime: Path) -> Iterator[Manager]:
    """A service manager for the daemon of this runtime directory."""
    made = Manager(runtime)
    yield made
    made.socket.close()


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ended and waited for afterwards."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_readiness_life_and_end_are_told(runtime: Path, manager: Manager) -> None:
    """READY comes when the socket answers, life signs follow, STOPPING comes with the time that it may take."""
    with running(manager.start()) as daemon:
        manager.hear("READY=1", "STATUS=recording 0 sessions")
        assert daemon_pid(runtime) == daemon.pid
        manager.hear("WATCHDOG=1")
        manager.hear("WATCHDOG=1")
        daemon.terminate()
        manager.hear("STOPPING=1", "EXTEND_TIMEOUT_USEC=25000000")
        assert daemon.wait(30) == 0


def test_nobody_but_the_daemon_can_speak_to_the_manager(
    runtime: Path, tmp_path: Path, manager: Manager
) -> None:
    """Workers and the fork server have neither the manager's address nor its watchdog in their environment."""
    with running(manager.start()) as daemon:
        manager.hear("READY=1")
        with Recorder("service", dir=tmp_path, dt=0.1) as rec:
            rec.stream("state", CSVFile("state.csv")).write({"x": 1.0})
            worker(tmp_path, "main")
            others = [pid for pid in processes_of(runtime) if pid != daemon.pid]
            assert len(others) >= 2
            for pid in others:
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
                assert b"WATCHDOG" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_crashed_supervisor_is_replaced_by_the_manager_not_by_a_worker(
    runtime: Path, tmp_path: Path, manager: Manager
) -> None:
    """Killed, it leaves its workers recording; the one that the manager starts next is joined, and all is there."""
    with running(manager.start()) as first:
        manager.hear("READY=1")
        rec = Recorder("service", dir=tmp_path, dt=0.1)
        state = rec.stream("state", CSVFile("state.csv"), overflow="block")
        for i in range(100):
            state.write({"i": i})
        at_work = worker(tmp_path, "main")
        kill(first.pid)
        for i in range(100, 200):
            state.write({"i": i})
    with running(manager.start()) as second:
        manager.hear("READY=1")
        assert daemon_pid(runtime) == second.pid
        assert rec.close().complete
        wait_until(lambda: not Path(f"/proc/{at_work}").exists())
    proved(tmp_path)
    np.testing.assert_array_equal(csv_numbers(tmp_path / "state.csv")[:, -1], np.arange(200))


def test_a_service_waits_for_a_daemon_started_by_hand_and_takes_over(runtime: Path, manager: Manager) -> None:
    """While another daemon runs the service is up but does nothing; when that one ends, it is the daemon."""
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True, stdout=subprocess.DEVNULL)
    by_hand = daemon_pid(runtime)
    with running(manager.start()) as service:
        manager.hear("READY=1", f"waiting for recd (pid {by_hand})")
        assert daemon_pid(runtime) == by_hand
        os.kill(by_hand, signal.SIGTERM)
        manager.hear("READY=1", "STATUS=recording 0 sessions")
        assert daemon_pid(runtime) == service.pid
