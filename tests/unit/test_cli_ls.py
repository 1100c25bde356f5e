from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recd import index
from recd.cli import main

HOLD = (
    "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); "
    "sys.stdin.read()"
)


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty index; recordings and runtime directories may lie in the path."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def daemon_lives(entries: Path) -> Iterator[Path]:
    """A runtime directory whose lock a process holds."""
    runtime = entries / "runtime"
    runtime.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(runtime / "recd.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield runtime
    process.communicate()


def add(top: Path, session: str, **more: Any) -> dict[str, Any]:
    """An entry of the index whose directory exists."""
    directory = top / session
    directory.mkdir()
    entry = {
        "session": session,
        "name": "walk",
        "directory": str(directory),
        "started_unix_s": 1000.0,
        "ended_unix_s": 1200.0,
        "state": "finished",
        "runtime_dir": str(top / "runtime"),
        "streams": 2,
        **more,
    }
    index.write(entry)
    return entry


def ls(*arguments: str) -> Any:
    """What ``recd ls --json`` tells."""
    result = CliRunner().invoke(main, ["ls", "--json", *arguments])
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_nothing_recorded_yet_is_an_answer(entries: Path) -> None:
    """An empty index is success, with where to begin."""
    result = CliRunner().invoke(main, ["ls"])
    assert result.exit_code == 0
    assert "recd demo" in result.stdout
    assert ls() == {"sessions": [], "omitted": 0}


def test_past_sessions_are_listed_without_a_daemon(entries: Path) -> None:
    """A finished session stands there with its time, length, streams and a directory that can be copied."""
    entry = add(entries, "a")
    result = CliRunner().invoke(main, ["ls"])
    first, second = result.stdout.splitlines()
    assert first.split()[2:] == ["finished", "walk", "2", "streams", "3", "min", "20", "s"]
    assert second == f"  {entry['directory']}"


def test_the_newest_come_first_and_the_rest_is_counted(entries: Path) -> None:
    """A long history is cut to what one looks for, and says so; ``--all`` shows it whole."""
    for n in range(23):
        add(entries, f"s{n:02}", started_unix_s=1000.0 + n)
    told = ls()
    assert [s["session"] for s in told["sessions"]] == [f"s{n:02}" for n in range(22, 2, -1)]
    assert told["omitted"] == 3
    assert "3 older sessions more: recd ls --all" in CliRunner().invoke(main, ["ls"]).stdout
    told = ls("--all")
    assert (len(told["sessions"]), told["omitted"]) == (23, 0)


def test_a_directory_that_is_gone_is_marked(entries: Path) -> None:
    """A recording that was moved or deleted is listed as missing, not hidden."""
    Path(add(entries, "a")["directory"]).rmdir()
    (session,) = ls()["sessions"]
    assert (session["state"], session["exists"]) == ("missing", False)


def test_a_live_session_is_live_while_its_daemon_is(entries: Path, daemon_lives: Path) -> None:
    """A session whose daemon holds its lock is being recorded; its length grows."""
    add(entries, "a", state="live", ended_unix_s=None)
    (session,) = ls()["sessions"]
    assert session["state"] == "live"
    assert session["duration_s"] > 1000


def test_a_session_whose_daemon_is_gone_is_interrupted(entries: Path) -> None:
    """An entry that says live with nobody there is told apart, with what finishes it."""
    add(entries, "a", state="live", ended_unix_s=None)
    (session,) = ls()["sessions"]
    assert (session["state"], session["duration_s"]) == ("interrupted", None)
    assert "recd start" in CliRunner().invoke(main, ["ls"]).stdout.splitlines()[-1]


def test_odd_entries_do_not_stop_the_list(entries: Path) -> None:
    """An entry of another version, with fields missing or of other types, is shown as far as it goes."""
    index.write({"session": "b", "directory": "/nowhere", "streams": "many", "started_unix_s": "long ago"})
    (session,) = ls()["sessions"]
    assert (session["name"], session["streams"], session["state"]) == ("?", 0, "missing")
    assert CliRunner().invoke(main, ["ls"]).exit_code == 0
