"""Guests, whatever they do: their worker hears of it, and none outlives it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recd.finisher import Finisher
from recd.guests.host import Guest, GuestDiedError, GuestFailedError
from recd_client.process import start_ticks
from support import wait_until

PROGRAM = "guest_programs:Odd"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]))


@pytest.fixture
def guest() -> Iterator[Guest]:
    """A guest that does odd things when it is asked to."""
    with closing(Guest(PROGRAM, "odd")) as guest:
        yield guest


def test_a_guest_answers(guest: Guest) -> None:
    """Requests are answered one after the other, with what came."""
    for word in ("one", "two"):
        answer = guest.ask("echo", [memoryview(word.encode())], number=3)
        assert answer == {"got": word, "header": {"op": "echo", "number": 3}}


def test_a_guest_has_the_surroundings_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nicer, has further variables, and does not import from whatever directory it is in."""
    with closing(Guest(PROGRAM, "odd", nice=3, environment={"GUEST_TEST": "yes"})) as guest:
        where = guest.ask("where")
    assert where["variable"] == "yes"
    assert where["nice"] == min(os.nice(0) + 3, 19)
    assert not {"", "/"} & set(where["path"])


def test_an_exception_is_told_with_its_traceback_and_the_guest_lives_on(guest: Guest) -> None:
    """What was raised, and where in the guest's code, without recd's own frames; then it answers again."""
    with pytest.raises(GuestFailedError) as told:
        guest.ask("raise")
    assert told.value.what == "ValueError: that is wrong"
    assert 'raise ValueError("that is wrong")' in told.value.trace
    assert "child.py" not in told.value.trace
    assert guest.ask("echo")["got"] == ""


def test_exit_is_an_exception_like_others(guest: Guest) -> None:
    """`sys.exit` in user code ends a call, not the guest."""
    with pytest.raises(GuestFailedError, match="SystemExit: no more"):
        guest.ask("exit")
    assert guest.ask("echo")["got"] == ""


@pytest.mark.parametrize(
    ("op", "how"),
    [
        ("gone", "exit code 7"),
        ("segfault", "SIGSEGV"),
        ("kill", "SIGKILL"),
        ("scribble", "recd's own channel"),
        ("fork_and_die", "exit code 5"),
    ],
)
def test_a_death_is_told(guest: Guest, op: str, how: str) -> None:
    """However it ends, also when a child of it still holds its end of the wire, whoever asked hears how."""
    with pytest.raises(GuestDiedError, match=how):
        guest.ask(op)
    with pytest.raises(GuestDiedError):
        guest.ask("echo")
    assert not start_ticks(guest.pid)


def test_last_words_are_told(guest: Guest) -> None:
    """What it wrote to its standard error is part of the reason."""
    with pytest.raises(GuestDiedError, match="these are my last words"):
        guest.ask("gone")


def test_one_that_hangs_is_ended_from_another_thread(guest: Guest) -> None:
    """Whoever waits for it is let go of."""
    killer = threading.Timer(0.2, guest.kill)
    killer.start()
    with pytest.raises(GuestDiedError, match="SIGKILL"):
        guest.ask("hang")
    killer.join()


def test_one_that_no_kill_ends_is_left_behind(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a process that hangs in the kernel: whoever ends it waits once, for a moment, and goes on."""
    with monkeypatch.context() as immortal:
        immortal.setattr(os, "killpg", lambda pid, number: None)
        immortal.setattr(guest._process, "kill", lambda: None)
        guest.kill()
        guest.kill()
        assert start_ticks(guest.pid)
    assert caplog.text.count("left behind") == 1
    guest.kill()
    guest._process.wait()


@pytest.mark.parametrize("step", ["os.pidfd_open", "threading.Thread.start"])
def test_one_that_could_not_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Neither descriptors nor a process, whichever step finds no room."""
    started: list[subprocess.Popen[bytes]] = []
    spawn = Guest._spawn

    def spy(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(spawn(*arguments))
        return started[-1]

    def full(*arguments: Any) -> None:
        raise OSError(errno.EMFILE, "no room")

    monkeypatch.setattr(Guest, "_spawn", staticmethod(spy))
    monkeypatch.setattr(step, full)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="no room"):
        Guest(PROGRAM, "odd")
    assert os.listdir("/proc/self/fd") == before
    assert started[0].returncode == -signal.SIGKILL


def test_a_thread_that_cannot_be_started_is_started_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finisher does not count on one that is not there."""
    finisher = Finisher(lambda: None)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no room")))
        with pytest.raises(RuntimeError):
            finisher.submit(lambda job: 1)
    assert finisher.submit(lambda job: 2).done.wait(60)
    finisher.stop(20)


def test_what_a_guest_has_started_is_ended_with_it(guest: Guest) -> None:
    """Its children do not live on."""
    child = guest.ask("child")["pid"]
    assert start_ticks(child)
    guest.kill()
    wait_until(lambda: not start_ticks(child))


def test_a_guest_leaves_in_its_own_way(tmp_path: Path) -> None:
    """When the worker hangs up, its handler has the last word."""
    left = tmp_path / "left"
    with closing(Guest(PROGRAM, "odd", environment={"GUEST_LEFT": str(left)})) as guest:
        guest.ask("echo")
        assert guest.leave(20.0)
    assert left.read_text() == "left"


def test_a_guest_dies_with_its_worker() -> None:
    """Also one that hangs: the kernel ends it."""
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            guest = Guest(PROGRAM, "odd")
            guest.ask("echo")
            threading.Thread(target=guest.ask, args=("hang",), daemon=True).start()
            os.write(writer, f"{guest.pid}\n".encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader) as told:
        pid = int(told.readline())
    assert start_ticks(pid)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_until(lambda: not start_ticks(pid))
