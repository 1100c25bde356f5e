from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recd import index
from recd_client.errors import OptionError


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the entries are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "recd" / "sessions"


def entry(session: str, **more: Any) -> dict[str, Any]:
    """An entry with what every entry has."""
    return {"session": session, "name": "run", "directory": "/d", "started_unix_s": 1.0, **more}


def test_an_entry_reads_back_as_it_was_written(directory: Path) -> None:
    """What the daemon notes, ``recd ls`` finds."""
    index.write(entry("a", streams=3))
    assert index.read_all() == [entry("a", streams=3)]


def test_a_later_entry_of_a_session_replaces_the_earlier(directory: Path) -> None:
    """A session has one entry, its newest, and nothing else is left in the directory."""
    index.write(entry("a", state="live"))
    index.write(entry("a", state="finished"))
    assert [e["state"] for e in index.read_all()] == ["finished"]
    assert [p.name for p in directory.iterdir()] == ["a.json"]


def test_entries_come_newest_first(directory: Path) -> None:
    """The session that started last is the first, also when an entry has no usable time."""
    index.write(entry("old", started_unix_s=1))
    index.write(entry("odd", started_unix_s=None))
    index.write(entry("new", started_unix_s=2.5))
    assert [e["session"] for e in index.read_all()] == ["new", "old", "odd"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"session": "other", "directory": "/d"}',
        b'{"session": "bad"}',
        b'{"session": "bad", "directory": 5}',
    ],
)
def test_an_unreadable_entry_is_left_out(directory: Path, content: bytes) -> None:
    """One damaged file never hides the other sessions."""
    index.write(entry("good"))
    (directory / "bad.json").write_bytes(content)
    assert [e["session"] for e in index.read_all()] == ["good"]


def test_what_a_kill_left_behind_is_not_read(directory: Path) -> None:
    """A temporary file of an interrupted write is no entry."""
    index.write(entry("good"))
    (directory / ".good.json.123").write_text(json.dumps(entry("good", name="torn")))
    assert [e["name"] for e in index.read_all()] == ["run"]


def test_a_failed_write_leaves_the_earlier_entry(directory: Path) -> None:
    """An entry that cannot be written as JSON changes nothing and leaves no file behind."""
    index.write(entry("a"))
    with pytest.raises(TypeError):
        index.write(entry("a", bad=object()))
    assert index.read_all() == [entry("a")]
    assert [p.name for p in directory.iterdir()] == ["a.json"]


def test_removing_is_done_once_and_asked_as_often_as_wanted(directory: Path) -> None:
    """A session without an entry can be removed: the result is the same."""
    index.write(entry("a"))
    index.remove("a")
    index.remove("a")
    assert index.read_all() == []


@pytest.mark.parametrize("session", ["", "../a", "a/b", ".hidden", None, "a\n", "x" * 300])
def test_a_session_that_is_no_file_name_is_refused(directory: Path, session: Any) -> None:
    """No entry is ever written outside the index."""
    with pytest.raises(OptionError):
        index.write(entry(session))
