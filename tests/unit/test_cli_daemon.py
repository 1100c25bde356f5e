"""``status``, ``stop`` and ``restart`` against a daemon that says what the test wants."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recd.cli import main, start, stop
from recd_client.control import LENGTH, decode, encode
from recd_client.errors import RecdError, VersionMismatchError, to_wire

Answer = Callable[[dict[str, Any]], dict[str, Any]]

#: A process that stands for the daemon's: it ends when its input does, or at SIGTERM.
BODY = [sys.executable, "-c", "import sys; sys.stdin.read()"]
#: The same, holding the daemon's lock and deaf to the socket; it says when it has the lock.
HOLDER = [
    sys.executable,
    "-c",
    "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); "
    "sys.stdin.read()",
]


class FakeDaemon:
    """Answers on the daemon's socket with what :attr:`answers` gives for each operation."""

    def __init__(self, runtime: Path) -> None:
        self.body = subprocess.Popen(BODY, stdin=subprocess.PIPE)
        self.requests: list[dict[str, Any]] = []
        self.path = runtime / "recd.sock"
        hello = {"protocol": [1, 0], "version": "0.1.0", "pid": self.body.pid, "runtime_dir": str(runtime)}
        self.answers: dict[str, Answer] = {"hello": lambda request: hello}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # the listener is shut down to end this
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as f:
            while head := f.read(LENGTH.size):
                request = decode(f.read(LENGTH.unpack(head)[0]))
                self.requests.append(request)
                try:
                    answer = {"ok": True, **self.answers[request["op"]](request)}
                except RecdError as e:
                    answer = {"ok": False, "error": to_wire(e)}
                connection.sendall(encode({"id": request["id"], **answer}))

    def end_body(self) -> None:
        """The daemon's process ends."""
        self.body.communicate()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self.end_body()


@pytest.fixture
def daemon(runtime: Path) -> Iterator[FakeDaemon]:
    """A running fake daemon."""
    fake = FakeDaemon(runtime)
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def holder(runtime: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the daemon's lock and does not answer on its socket."""
    process = subprocess.Popen(
        [*HOLDER, str(runtime / "recd.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.communicate()


def recd(*arguments: str) -> Result:
    """Run the command line; whatever happens, it is no traceback."""
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def stream(name: str = "state", **more: Any) -> dict[str, Any]:
    """A stream in the answer to ``status``."""
    return {
        "stream": name,
        "state": "recording",
        "reason": "",
        "attempted": 12_345,
        "written": 12_345,
        "durable": 12_000,
        "skipped": 0,
        "lost": {},
        "bytes": 99,
        "buffered_bytes": 345,
        "spooled_bytes": 1_500_000,
        "capacity_bytes": 1 << 20,
        "sinks": [],
        **more,
    }


def session(*streams: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A session in the answer to ``status``."""
    return {
        "session": "20261122T134005-abcdef",
        "name": "walk",
        "directory": "/data/walk",
        "state": "recording",
        "reason": "",
        "client": {"pid": 4242, "alive": True},
        "started_unix_s": time.time() - 200,
        "streams": list(streams),
        **more,
    }


def reports(daemon: FakeDaemon, *sessions: dict[str, Any]) -> None:
    """Let the daemon answer ``status`` with these sessions."""
    told = {
        "pid": daemon.body.pid,
        "version": "0.1.0",
        "protocol": [1, 0],
        "runtime_dir": str(daemon.path.parent),
        "started_unix_s": time.time() - 5,
    }
    daemon.answers["status"] = lambda request: {"daemon": told, "sessions": list(sessions)}


# --- status --------------------------------------------------------------------------------------


def test_status_without_a_daemon_says_so_and_how_to_start_one(runtime: Path) -> None:
    """No daemon is exit code 3, with the socket that was tried and the command to run."""
    result = recd("status")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert str(runtime / "recd.sock") in result.stderr
    assert result.stderr.splitlines()[-1] == "  -> start it: recd start"


def test_status_json_without_a_daemon_is_still_json(runtime: Path) -> None:
    """A program that asks learns from the JSON, and from the exit code, that no daemon runs."""
    result = recd("status", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "running": False,
        "runtime_dir": str(runtime),
        "socket": str(runtime / "recd.sock"),
    }


def test_status_shows_each_stream_in_80_columns(daemon: FakeDaemon) -> None:
    """Session, state, counts, bytes and files of a healthy recording fit an ordinary terminal."""
    sink = {
        "kind": "npz",
        "path": "/data/walk/state.npz",
        "state": "recording",
        "reason": "",
        "samples": 11_000,
    }
    outside = {**sink, "path": "/elsewhere/state.csv"}
    reports(daemon, session(stream(sinks=[sink, outside]), stream("front_camera")))
    result = recd("status")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()
    assert all(len(r) <= 80 for r in rows[1:])  # the first names the runtime directory, however long
    assert f"pid {daemon.body.pid}" in rows[0]
    state = next(r.split() for r in rows if r.split()[:1] == ["state"])
    assert state == ["state", "recording", "12,345", "12,000", "0", "345", "B", "1.5", "MB"]
    assert "  state.npz: 11,000 samples, recording" in rows
    assert "  /elsewhere/state.csv: 11,000 samples, recording" in rows
    assert not any(r.startswith("!") for r in rows)


def test_status_puts_what_is_wrong_first_and_says_what_to_do(daemon: FakeDaemon) -> None:
    """A stalled stream, a failed file and losses stand above the tables, each with what to do."""
    failed = {
        "kind": "csv",
        "path": "/data/walk/a.csv",
        "state": "failed",
        "reason": "no\n  -> cry",
        "samples": 1,
    }
    reports(
        daemon,
        session(
            stream("a", state="stalled", reason="No space left on device: /data", sinks=[failed]),
            stream("b", lost={"full": 12, "timeout": 3}),
        ),
    )
    result = recd("status")
    rows = result.stdout.splitlines()
    assert result.exit_code == 0
    wrong = [r for r in rows if r.startswith("!")]
    assert wrong == [
        "! walk / a: stalled: No space left on device: /data",
        "! walk / a / a.csv: failed: no",
        "! walk / b: lost 12 full, 3 timeout",
    ]
    for row in wrong:
        assert rows[rows.index(row) + 1].startswith("  -> ")
    assert rows[rows.index(wrong[1]) + 1] == "  -> cry"
    assert rows.index(wrong[-1]) < next(i for i, r in enumerate(rows) if r.startswith("walk: "))


def test_each_trouble_is_told_once(daemon: FakeDaemon) -> None:
    """A file's failure is told of the file, not of its stream and session once more."""
    sink = {"kind": "video", "path": "/data/walk/f.mp4", "state": "failed", "reason": "no", "samples": 0}
    bad = stream("f", state="failed", reason="no", sinks=[sink])
    reports(daemon, session(bad, state="failed", reason="stream f: no"))
    rows = recd("status").stdout.splitlines()
    assert [r for r in rows if r.startswith("!")] == ["! walk / f / f.mp4: failed: no"]


def test_a_session_without_a_simulation_is_told(daemon: FakeDaemon) -> None:
    """When the simulation is gone, status says that its files are being finished."""
    gone = {"pid": 4242, "alive": False}
    reports(daemon, session(stream(), state="client died, finishing", client=gone))
    rows = recd("status").stdout.splitlines()
    wrong = rows.index("! walk: client died, finishing")
    assert rows[wrong + 1].startswith("  -> nothing to do")
    assert any("simulation pid 4242 (dead)" in r for r in rows)


def test_status_json_passes_on_what_the_daemon_tells(daemon: FakeDaemon) -> None:
    """The JSON has every key of the protocol's answer, with numbers that JSON knows."""
    reports(daemon, session(stream(capacity_bytes=float("nan"))))
    told = json.loads(recd("status", "--json").stdout)
    assert told["running"] is True
    assert told["daemon"]["pid"] == daemon.body.pid
    assert told["sessions"][0]["streams"][0]["capacity_bytes"] is None
    assert told["sessions"][0]["streams"][0]["durable"] == 12_000


def test_status_without_sessions_points_to_past_ones(daemon: FakeDaemon) -> None:
    """An idle daemon is an answer, not an empty screen."""
    reports(daemon)
    assert "no sessions; past ones: recd ls" in recd("status").stdout


def test_output_is_plain_where_nobody_watches(daemon: FakeDaemon) -> None:
    """Into a pipe or a file go no colours and no other escape sequences."""
    reports(daemon, session(stream(lost={"full": 1})))
    assert "\x1b" not in recd("status").stdout


def test_a_daemon_that_is_deaf_is_told_from_none(holder: subprocess.Popen[bytes]) -> None:
    """Whoever holds the lock without answering is named, with the way out."""
    result = recd("status")
    assert result.exit_code == 3
    assert f"recd runs (pid {holder.pid}) but does not answer" in result.stderr
    assert f"kill {holder.pid}" in result.stderr


# --- stop ----------------------------------------------------------------------------------------


def stops(daemon: FakeDaemon, **answer: Any) -> None:
    """Let the daemon answer ``stop`` and then end."""

    def end(request: dict[str, Any]) -> dict[str, Any]:
        daemon.end_body()
        return {"finished": [], "unfinished": [], **answer}

    daemon.answers["stop"] = end


def test_stopping_what_does_not_run_is_an_answer(runtime: Path) -> None:
    """Without a daemon there is nothing to stop, which is success."""
    result = recd("stop")
    assert (result.exit_code, result.stdout) == (0, "recd is not running\n")
    assert json.loads(recd("stop", "--json").stdout) == {
        "was_running": False,
        "pid": None,
        "finished": [],
        "unfinished": [],
    }


def test_stop_returns_when_the_process_is_gone(daemon: FakeDaemon) -> None:
    """The daemon gets its deadline, and its process has ended when ``recd stop`` returns."""
    stops(daemon, finished=["a", "b"])
    result = recd("stop", "--timeout", "7")
    assert result.exit_code == 0
    assert daemon.body.poll() is not None
    assert daemon.requests[-1]["deadline_s"] == 7
    assert result.stdout == f"recd stopped, pid {daemon.body.pid}, 2 sessions finished\n"


def test_stop_shows_what_was_not_finished(daemon: FakeDaemon) -> None:
    """Unfinished sessions are listed on stderr with the reason, and are no success."""
    stops(daemon, unfinished=[{"session": "s1", "directory": "/data/walk", "why": "the encoder hangs"}])
    result = recd("stop")
    assert result.exit_code == 1
    assert "s1: the encoder hangs" in result.stderr
    assert "/data/walk" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("recd start")


def test_a_daemon_that_ends_without_an_answer_is_stopped_all_the_same(daemon: FakeDaemon) -> None:
    """What counts is that the process is gone."""

    def vanish(request: dict[str, Any]) -> dict[str, Any]:
        daemon.end_body()
        raise ConnectionResetError

    daemon.answers["stop"] = vanish
    result = recd("stop")
    assert result.exit_code == 0
    assert f"pid {daemon.body.pid}" in result.stdout


def test_a_daemon_that_does_not_end_is_an_error_with_the_way_out(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past deadline and grace, the message tells the pid and how to end it."""
    monkeypatch.setattr(stop, "_GRACE_S", 0.05)
    daemon.answers["stop"] = lambda request: {"finished": [], "unfinished": []}
    result = recd("stop", "--timeout", "0.05")
    assert result.exit_code == 1
    assert f"kill -9 {daemon.body.pid}" in result.stderr.splitlines()[-1]


def test_a_daemon_that_is_deaf_is_stopped_by_signal(holder: subprocess.Popen[bytes]) -> None:
    """Where the socket is of no use, SIGTERM asks for the same."""
    result = recd("stop")
    assert result.exit_code == 0
    assert f"pid {holder.pid}" in result.stdout
    assert holder.wait() == -signal.SIGTERM


def test_a_daemon_of_another_version_is_stopped_by_signal(
    daemon: FakeDaemon, holder: subprocess.Popen[bytes]
) -> None:
    """After an update, the old daemon can be stopped although its protocol is another."""

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise VersionMismatchError("protocol 9", "update")

    daemon.answers["hello"] = refuse
    assert recd("stop").exit_code == 0
    assert holder.wait() == -signal.SIGTERM


# --- start and restart ---------------------------------------------------------------------------


def test_starting_twice_is_an_answer(daemon: FakeDaemon) -> None:
    """``recd start`` beside a running daemon names it and succeeds, in the foreground too."""
    for arguments in (["start"], ["start", "--foreground"]):
        result = recd(*arguments)
        assert (result.exit_code, result.stdout) == (0, f"recd is already running, pid {daemon.body.pid}\n")
    told = json.loads(recd("start", "--json").stdout)
    assert told["already_running"] is True
    assert told["pid"] == daemon.body.pid


def test_start_does_not_wait_for_ever_for_a_deaf_daemon(
    holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is held by a daemon that never answers is exit code 3, and names its pid."""
    monkeypatch.setattr(start, "_spawn", lambda deadline, allow_code: (holder.pid, True))
    monkeypatch.setattr(start.start_daemon, "__defaults__", (0.1,))
    result = recd("start")
    assert result.exit_code == 3
    assert f"kill {holder.pid}" in result.stderr


def test_restart_stops_then_starts(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old daemon is gone before the new one is started; what was unfinished is told."""
    stops(daemon, unfinished=[{"session": "s1", "directory": "/d", "why": "slow"}])

    def start_daemon(*, allow_code: bool) -> start.Started:
        assert daemon.body.poll() is not None
        return start.Started(77, already=False)

    monkeypatch.setattr(start, "start_daemon", start_daemon)
    result = recd("restart")
    assert result.exit_code == 0
    assert "s1: slow" in result.stderr
    assert result.stdout.splitlines()[-1].startswith("recd is running, pid 77 (socket ")


def test_restart_with_consent_beside_a_daemon_without_is_an_error(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another start was quicker: the consent is not in force, and whoever gave it must know."""
    other = SimpleNamespace(server={"allow_code": False}, close=lambda: None)
    monkeypatch.setattr(start, "connect", lambda: other)
    monkeypatch.setattr(start, "start_daemon", lambda *, allow_code: start.Started(77, already=True))
    assert recd("restart").exit_code == 0
    refused = recd("restart", "--allow-code")
    assert refused.exit_code != 0
    assert "pid 77, and does not allow code" in refused.stderr
    other.server["allow_code"] = True
    assert recd("restart", "--allow-code").exit_code == 0


def test_restart_json_tells_both_halves(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object has the answers of stop and of start."""
    monkeypatch.setattr(start, "start_daemon", lambda *, allow_code: start.Started(77, already=False))
    told = json.loads(recd("restart", "--json").stdout)
    assert told["stopped"]["was_running"] is False
    assert told["started"]["pid"] == 77
