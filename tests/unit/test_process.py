"""A process is known by its pid and its start time: neither alone says who it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from recd_client import process
from support import wait_until


def test_a_living_process_has_a_start_time() -> None:
    """The test is alive by its own pid and start time, and the time never changes."""
    ticks = process.start_ticks(os.getpid())
    assert ticks > 0
    assert process.start_ticks(os.getpid()) == ticks
    assert process.is_alive(os.getpid(), ticks)


def test_a_process_with_another_start_time_is_another_one() -> None:
    """A pid that was given to somebody else does not pass for the process that had it."""
    ticks = process.start_ticks(os.getpid())
    assert not process.is_alive(os.getpid(), ticks + 1)
    assert not process.is_alive(os.getpid(), 0)


def test_a_process_that_ended_is_dead_even_before_it_is_reaped() -> None:
    """A zombie holds its pid and does nothing any more."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    ticks = process.start_ticks(child.pid)
    assert process.is_alive(child.pid, ticks)
    child.kill()
    wait_until(lambda: not process.is_alive(child.pid, ticks))
    assert child.poll() is not None
    assert process.start_ticks(child.pid) == 0
    child.communicate()


def test_a_watched_process_is_seen_to_end() -> None:
    """A watch tells what the pid and start time tell: for the living, for a zombie, and after it is reaped."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    watch = process.Watch(child.pid, process.start_ticks(child.pid))
    another = process.Watch(child.pid, process.start_ticks(child.pid) + 1)
    assert watch.is_alive()
    assert not another.is_alive()
    child.kill()
    wait_until(lambda: not watch.is_alive())
    child.communicate()
    assert not watch.is_alive()
    watch.close()
    another.close()
    assert not watch.is_alive()


@pytest.mark.parametrize("pid", [-1, 0, 2**31 - 1])
def test_a_pid_that_nobody_has_is_dead(pid: int) -> None:
    """No process, no start time."""
    assert process.start_ticks(pid) == 0
    assert not process.is_alive(pid, 1)


@pytest.mark.parametrize("name", [b"a b", b") S 1", b"((", b"gr\xf6\xdfe"])
def test_a_process_may_have_any_name(tmp_path: Path, name: bytes) -> None:
    """Blanks, brackets and bytes that are no UTF-8 in a program's name confuse nobody."""
    program = os.path.join(os.fsencode(tmp_path), name)
    with open(program, "w") as script:
        script.write("#!/bin/sh\nread line\n")
    os.chmod(program, 0o700)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        assert process.is_alive(child.pid, process.start_ticks(child.pid))
        assert process.start_ticks(child.pid) >= process.start_ticks(os.getpid())


def test_the_boot_has_an_id() -> None:
    """Sixteen bytes, the same for every process of this boot."""
    assert len(process.boot_id()) == 16
    assert process.boot_id() == process.boot_id() != bytes(16)


def test_the_runtime_directory_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given, else the session's, else one below the temporary directory that no other user has."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", "given")
    assert process.runtime_dir() == Path.cwd() / "given"
    monkeypatch.delenv("RECD_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert process.runtime_dir() == tmp_path / "recd"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert process.runtime_dir() == tmp_path / f"recd-{os.getuid()}"
    assert process.socket_path() == tmp_path / f"recd-{os.getuid()}" / "recd.sock"
