"""What a service manager hears: readiness, life signs and the end, on sockets of both kinds."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from uuid import uuid4

import pytest

from recd.notify import Notifier


def listener(address: str) -> socket.socket:
    """A service manager's socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
    sock.settimeout(60.0)
    return sock


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_what_is_told_arrives(tmp_path: Path, kind: str) -> None:
    """One datagram with a line per variable, to a path or to an abstract address."""
    address = str(tmp_path / "n") if kind == "path" else f"@recd-test-{uuid4()}"
    with listener(address) as heard:
        notifier = Notifier({"NOTIFY_SOCKET": address})
        assert notifier
        notifier.tell(READY=1, STATUS="recording 2 sessions")
        assert heard.recv(1000) == b"READY=1\nSTATUS=recording 2 sessions"


def test_children_do_not_inherit_the_daemons_voice() -> None:
    """The variables are taken out of the environment; a worker must not speak for the daemon."""
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    assert Notifier(environ).watchdog_s == 3.0
    assert environ == {"A": "b"}


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    """The manager watches the process that it started, and names it."""
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_s == 0


def test_without_a_manager_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    """No socket, one that is gone, or one that is full: telling never waits and never raises."""
    Notifier({}).tell(READY=1)
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY=1)
    with listener(str(tmp_path / "deaf")):
        for _ in range(2000):
            Notifier({"NOTIFY_SOCKET": str(tmp_path / "deaf")}).tell(STATUS="x" * 200)


def test_a_loop_that_hangs_is_silent(tmp_path: Path) -> None:
    """Life signs come from the loop itself: while it does not turn, the manager hears nothing."""
    address = str(tmp_path / "n")
    with listener(address) as heard:
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"})

        def pending() -> int:
            heard.setblocking(False)
            n = 0
            while True:
                try:
                    assert b"WATCHDOG=1" in heard.recv(1000)
                except BlockingIOError:
                    return n
                n += 1

        async def hang() -> None:
            telling = asyncio.get_running_loop().create_task(notifier.keep_telling(lambda: "fine"))
            while pending() == 0:
                await asyncio.sleep(0)
            time.sleep(0.1)  # ten periods, in which the loop does not turn
            assert pending() == 0
            while pending() == 0:
                await asyncio.sleep(0)
            telling.cancel()

        asyncio.run(hang())
