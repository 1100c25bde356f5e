from __future__ import annotations

import json
from pathlib import Path

import pytest

from recd import stalls
from recd.stalls import Stalls
from syscall_faults import Clock


class Watched:
    """The stalls of a stream, on a clock that the test moves."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.path = directory / "stalls.json"
        self.stalls = Stalls(self.path, self.clock, self.clock)

    def stall(self, reason: str = "full", seconds: float = 2.0) -> bool:
        """Trouble for a while; whether it was news."""
        news = self.stalls.begin(reason)
        self.clock.pass_(seconds)
        self.stalls.end()
        return news


def test_each_stall_is_told_with_its_reason_and_times(tmp_path: Path) -> None:
    """From its first failure until something was stored again; a successor knows of it."""
    watched = Watched(tmp_path)
    begin = watched.clock.ns
    watched.stall("full")
    watched.clock.pass_(60)
    watched.stall("broken", 5)
    found = Stalls(watched.path, watched.clock).to_json()
    assert found["count"] == 2
    assert [s["reason"] for s in found["newest"]] == ["full", "broken"]
    assert found["newest"][0] == {
        "reason": "full",
        "begin_wall_ns": begin,
        "end_wall_ns": begin + 2_000_000_000,
    }
    assert found == watched.stalls.to_json()


def test_trouble_that_comes_and_goes_is_one_stall_and_logged_once_a_minute(tmp_path: Path) -> None:
    """A disk that takes a little now and then floods neither log nor manifest; another reason is news."""
    watched = Watched(tmp_path)
    news = 0
    for _ in range(1000):
        news += watched.stall(seconds=0.1)
        watched.clock.pass_(0.1)
    assert watched.stalls.to_json()["count"] == 1
    assert news == 4  # in 200 seconds
    assert watched.stall("broken")
    assert watched.stalls.to_json()["count"] == 2


def test_the_newest_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    """However long a stream lives, its list is bounded."""
    watched = Watched(tmp_path)
    for i in range(stalls.MOST + 50):
        watched.stall(f"reason {i}")
    found = watched.stalls.to_json()
    assert found["count"] == stalls.MOST + 50
    assert [s["reason"] for s in found["newest"]] == [f"reason {i}" for i in range(50, stalls.MOST + 50)]


@pytest.mark.parametrize("content", [b"", b"[", b"[]", json.dumps({"count": 1}).encode()])
def test_a_file_that_cannot_be_read_tells_of_none(tmp_path: Path, content: bytes) -> None:
    """A loss of power may leave anything."""
    (tmp_path / "stalls.json").write_bytes(content)
    assert Stalls(tmp_path / "stalls.json", Clock()).to_json() == {"count": 0, "newest": []}


def test_a_stall_that_cannot_be_written_down_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be full again at once."""
    watched = Watched(tmp_path / "gone")
    watched.stall("full")
    (tmp_path / "gone").mkdir()
    watched.clock.pass_(60)
    watched.stall("broken")
    assert Stalls(watched.path, watched.clock).to_json()["count"] == 2
