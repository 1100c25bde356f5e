from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from drawn import bare
from recd.guests.host import GuestDiedError, GuestFailedError
from recd.plots import keeper
from recd.plots.keeper import Keeper
from recd_client.options import MPLLinePlot
from support import wait_until


class Guest:
    """Stands in for a guest: ``show`` ends when it is told how."""

    def __init__(self, program: str, name: str, *, nice: int, environment: dict[str, str]) -> None:
        self.environment = environment
        self.ended = threading.Event()
        self.error: Exception | None = None
        self.closed = False
        guests.append(self)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        assert op == "show"
        self.ended.wait()
        if self.error is not None:
            raise self.error
        return {}

    def kill(self) -> None:
        self.error = GuestDiedError("its process was killed by SIGKILL")
        self.ended.set()

    def close(self) -> None:
        self.closed = True


guests: list[Guest] = []


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Keeper, Guest]:
    """A keeper and its window."""
    guests.clear()
    monkeypatch.setattr(keeper, "Guest", Guest)
    options = MPLLinePlot(display={"DISPLAY": ":5"})
    made = Keeper(options, bare(), "s", tmp_path)
    return made, wait_until(lambda: guests and guests[0])


def test_a_window_that_its_user_closes_is_told_of(kept: tuple[Keeper, Guest]) -> None:
    """The note says so; nothing of the window is held any more."""
    made, guest = kept
    assert guest.environment == {"DISPLAY": ":5"}
    assert made.note == ""
    guest.ended.set()
    assert wait_until(lambda: made.note) == "its window was closed"
    wait_until(lambda: guest.closed)
    made.stop()


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (GuestFailedError("ValueError: x", "trace"), "its window failed: ValueError: x"),
        (
            GuestDiedError("its process was killed by SIGKILL; it said last:\nhello"),
            "its window is gone: its process",
        ),
    ],
)
def test_a_window_that_fails_or_dies_is_told_of(
    kept: tuple[Keeper, Guest], error: Exception, note: str
) -> None:
    """The note says why, in a line."""
    made, guest = kept
    guest.error = error
    guest.ended.set()
    assert wait_until(lambda: made.note).startswith(note)
    assert "\n" not in made.note
    made.stop()


def test_a_window_that_goes_with_its_stream_is_no_news(kept: tuple[Keeper, Guest]) -> None:
    """It is ended, whatever it does, and nothing is told."""
    made, guest = kept
    made.stop()
    assert guest.closed
    assert made.note == ""
    made.stop()
