"""The ring that kills its workers is found, a healthy one is never blamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from recd import caution
from recd.caution import Caution


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a group."""
    return tmp_path / "main.caution"


def dies(path: Path, *held: str, crashed: bool) -> frozenset[str]:
    """A worker that has these streams in hand, one after the other, and dies; whom it blames."""
    worker = Caution(path, crashed)
    for stream in held:
        worker.hold(stream)
    return worker.blamed


def test_without_a_crash_nothing_is_written(path: Path) -> None:
    """The usual worker, and one behind a killed one, have no file."""
    dies(path, "a", "b", crashed=False)
    assert not path.exists()


def test_what_two_careful_workers_had_in_hand_is_blamed(path: Path) -> None:
    """The third crash over the same ring is the last: the fourth worker leaves it alone, and only it."""
    assert dies(path, "a", "bad", crashed=False) == frozenset()
    assert dies(path, "a", "bad", crashed=True) == frozenset()
    assert dies(path, "a", "bad", crashed=True) == frozenset()
    assert dies(path, "a", "b", crashed=True) == {"bad"}


def test_crashes_over_different_rings_blame_none(path: Path) -> None:
    """One crash each may be chance."""
    for stream in ("x", "a", "b", "c"):
        assert dies(path, stream, crashed=True) == frozenset()


def test_kills_from_outside_blame_none(path: Path) -> None:
    """However often it is killed with the same ring in hand, a SIGKILL tells nothing about the ring."""
    dies(path, "a", crashed=True)
    for _ in range(10):
        assert dies(path, "a", crashed=False) == frozenset()


def test_a_name_of_any_length_fits_its_slot(path: Path) -> None:
    """64 characters of four bytes each are told apart from their neighbour."""
    longest, other = "\N{GRINNING FACE}" * 64, "\N{GRINNING FACE}" * 63 + "x"
    dies(path, longest, crashed=True)
    dies(path, other, crashed=True)
    dies(path, "a", longest, crashed=True)
    assert dies(path, crashed=True) == {longest}


def test_when_all_goes_well_the_crash_is_forgotten(path: Path) -> None:
    """After a while nothing is left of it; while it lasts, the file stays."""
    now = [0.0]
    dies(path, "a", crashed=True)
    worker = Caution(path, True, lambda: now[0])
    worker.hold("a")
    worker.look()
    assert path.exists()
    now[0] = caution.CAREFUL_S + 1
    worker.look()
    worker.hold("a")
    assert not path.exists()


def test_where_nothing_can_be_written_the_worker_goes_on(tmp_path: Path) -> None:
    """A full or vanished disk must not be one more reason to die."""
    worker = Caution(tmp_path / "none/main.caution", True)
    worker.hold("a")
    worker.look()
    assert worker.blamed == frozenset()
