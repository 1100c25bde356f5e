"""``recd start`` itself: the processes are real, only the daemon's body is a stand-in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recd.cli import start
from recd_client.errors import DaemonStartError
from support import wait_until

#: Stands in for recd.daemon in interpreters that have it on their path as sitecustomize.
STAND_IN = """
import sys, types

def run(*, ready_fd, allow_code=False):
    import fcntl, os, signal, socket
    from pathlib import Path
    from recd_client import control, process

    how = os.environ["STAND_IN"]
    if how == "fails":
        print("first line")
        print("no room at all", flush=True)
        return 7
    if how == "deaf":
        signal.pause()
    runtime = process.runtime_dir()
    lock = open(runtime / "recd.lock", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(ready_fd, b"running %d\\n" % int((runtime / "pid").read_text()))
        return 0
    (runtime / "pid").write_text(str(os.getpid()))
    listener = socket.socket(socket.AF_UNIX)
    path = runtime / "recd.sock"
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(100)
    signal.signal(signal.SIGTERM, lambda *_: (path.unlink(), (runtime / "pid").unlink(), os._exit(0)))
    print("at", os.getcwd(), "session", os.getsid(0), "in", os.environ["RECD_RUNTIME_DIR"], flush=True)
    os.write(ready_fd, b"ready\\n")
    hello = {"ok": True, "protocol": [1, 0], "version": "0.1.0", "pid": os.getpid()}
    while True:
        connection, _ = listener.accept()
        head = connection.recv(4, socket.MSG_WAITALL)
        if head:
            body = connection.recv(control.LENGTH.unpack(head)[0], socket.MSG_WAITALL)
            connection.sendall(control.encode({"id": control.decode(body)["id"], **hello}))
        connection.close()

stand_in = types.ModuleType("recd.daemon")
stand_in.run = run
sys.modules["recd.daemon"] = stand_in
"""


@pytest.fixture
def stand_in(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory in which ``recd start`` starts the stand-in, which is ended afterwards."""
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    # No empty entry: that would be the current directory.
    monkeypatch.setenv(
        "PYTHONPATH", str(tmp_path), prepend=os.pathsep if os.environ.get("PYTHONPATH") else None
    )
    monkeypatch.setenv("STAND_IN", "works")
    yield runtime
    pid = runtime / "pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGTERM)
        wait_until(lambda: not pid.exists())


def recd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=cwd)


def command(*arguments: str) -> list[str]:
    """How the command line is called, without being installed."""
    return [sys.executable, "-c", "from recd.cli import main; main(prog_name='recd')", *arguments]


def test_start_returns_when_the_daemon_answers(stand_in: Path) -> None:
    """The first start says where the daemon is, the second that it runs, and both are successes."""
    first = recd("start")
    assert (first.returncode, first.stderr) == (0, "")
    found = re.fullmatch(rf"recd is running, pid (\d+) \(socket {stand_in}/recd.sock\)\n", first.stdout)
    assert found is not None
    second = recd("start", "--json")
    assert json.loads(second.stdout) == {
        "pid": int(found[1]),
        "already_running": True,
        "socket": str(stand_in / "recd.sock"),
        "log": str(stand_in / "daemon.log"),
    }


def test_the_daemon_depends_on_nothing_of_its_caller(stand_in: Path, tmp_path: Path) -> None:
    """Neither a closed terminal nor a user's file named like a module of ours can hurt it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("raise SystemExit('the wrong json')")
    caller = "import sys; sys.path.remove(''); from recd.cli import main; main(['start'], prog_name='recd')"
    done = subprocess.run(
        [sys.executable, "-c", caller], cwd=tmp_path / "here", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pid = (stand_in / "pid").read_text()
    assert f"at / session {pid} in {stand_in}\n" in (stand_in / "daemon.log").read_text()


def test_a_relative_runtime_directory_means_the_same_to_the_daemon(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RECD_RUNTIME_DIR is understood where the user is, although the daemon runs elsewhere."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", stand_in.name)
    done = recd("start", cwd=stand_in.parent)
    assert done.returncode == 0, done.stderr
    assert (stand_in / "recd.sock").exists()


def test_many_starts_at_once_give_one_daemon(stand_in: Path) -> None:
    """Starts that race all succeed, and name the same daemon."""
    line = command("start", "--json")
    starts = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    told = [json.loads(p.communicate()[0]) for p in starts]
    assert {p.returncode for p in starts} == {0}
    assert len({t["pid"] for t in told}) == 1
    assert sum(not t["already_running"] for t in told) == 1


def test_a_stale_socket_and_lock_do_not_keep_a_daemon_from_starting(stand_in: Path) -> None:
    """After a SIGKILL the next start heals what was left."""
    recd("start")
    pid = int((stand_in / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    done = recd("start")
    assert done.returncode == 0, done.stderr
    assert int((stand_in / "pid").read_text()) != pid


def test_a_daemon_that_does_not_start_shows_what_it_said(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the log, what this start wrote and no more, is in the message; exit code 3."""
    monkeypatch.setenv("STAND_IN", "fails")
    (stand_in / "daemon.log").write_text("of an earlier one\n")
    done = recd("start")
    assert done.returncode == 3
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert "recd did not start (exit status 7)" in lines[0]
    assert lines[1:-1] == ["    first line", "    no room at all"]
    assert lines[-1].startswith("  -> ")
    assert "earlier" not in done.stderr


def test_a_daemon_that_takes_too_long_is_named(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is not ready in time tells the pid that it waited for, and leaves it alone."""
    monkeypatch.setenv("STAND_IN", "deaf")
    with pytest.raises(DaemonStartError, match="still not ready") as caught:
        start.start_daemon(timeout_s=0.2)
    found = re.search(r"kill (\d+)", caught.value.do)
    assert found is not None
    pid = int(found[1])
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_long_log_is_set_aside(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does not grow for ever: a new daemon begins a new one and keeps the last."""
    monkeypatch.setattr(start, "_LOG_MAX_BYTES", 10)
    (stand_in / "daemon.log").write_text("a long story of earlier days\n")
    log, begin = start._open_log()
    os.close(log)
    old = stand_in / "daemon.log.1"
    assert begin == 0
    assert old.read_text().startswith("a long story")
    old.unlink()


def test_an_unfit_runtime_directory_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that others can write to is a clear error of ``recd start`` itself."""
    monkeypatch.setenv("RECD_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    done = recd("start")
    assert done.returncode == 1
    assert "can be written by other users" in done.stderr
    assert list(tmp_path.iterdir()) == []
