"""A worker killed at every system call and at every step of its work, whatever it writes, and its successors too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import executioner as steps
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions, VideoFile
from rounds import ROUNDS, dice, points, share
from sweeping import Executioner, InTurn, Script, Take

SCRIPT: Script = (
    ("write", 60), ("mark",), ("reset",), ("write", 45), ("lose", 3), ("write", 30), ("discard",),
    ("write", 20), ("reset",), ("write", 40),
)  # fmt: skip
FILES: dict[str, tuple[SinkOptions, ...]] = {
    "csv": (CSVFile("s.csv"),),
    "csv in parts": (CSVFile("s.csv", split=37, save_on_reset=True),),
    "npz": (NPZFile("s.npz", save_on_reset=True),),
    "hdf5": (HDF5File("s.h5", split=50),),
    "all three": (CSVFile("s.csv"), NPZFile("s.npz", split=40), HDF5File("s.h5", save_on_reset=True)),
    "video": (VideoFile("s.mp4", fps=50),),
    "videos": (VideoFile("s.mp4", fps=50, save_on_reset=True, split=50),),
}
#: A video's worker takes longer, and most of its steps are alike: one line of the index per frame.
COST = {"video": 4, "videos": 4}
in_each_file = pytest.mark.parametrize("files", FILES)
NewTake = Callable[..., Take]


@pytest.fixture
def take(executioner: Executioner, runtime: Path, in_turn: InTurn[Take]) -> NewTake:
    """Makes one recording after the other."""

    def new(files: str, chance: Any) -> Take:
        how = {
            "closes": chance.random() < 0.5,
            "durability": chance.choice(["process", "interval", "strict"]),
        }
        return in_turn(lambda place: Take(executioner, runtime, place, FILES[files], SCRIPT, **how))

    return new


@in_each_file
def test_a_kill_at_any_system_call_loses_and_repeats_nothing(take: NewTake, files: str) -> None:
    """Killed on entry to its N-th call that changes something, a worker leaves what its successor completes."""
    chance = dice("calls", files)
    alive = take(files, chance)
    total = alive.play({"at": 0})[0]["calls"]
    alive.check()
    assert total > 100
    for at in points(total, chance, max(ROUNDS // COST.get(files, 1), 3)):
        killed = take(files, chance)
        killed.play({"at": at})
        killed.check()


@in_each_file
def test_a_successor_killed_as_well_loses_and_repeats_nothing(take: NewTake, files: str) -> None:
    """Killed three times in a row, each time at a random system call: nothing is lost and nothing is twice."""
    chance = dice("successors", files)
    for _ in range(share(2 * COST.get(files, 1))):
        killed = take(files, chance)
        killed.play(*({"at": chance.randrange(1, 160)} for _ in range(3)))
        killed.check()


def _pairs(labels: list[str], chance: Any, wanted: int) -> Iterator[tuple[str, str]]:
    """Every pair of steps, or ``wanted`` of them at random."""
    pairs = [(a, b) for a in labels for b in labels]
    yield from chance.sample(pairs, min(wanted, len(pairs)))


@pytest.mark.parametrize("files", ["csv in parts", "all three", "video", "videos"])
def test_kills_at_labelled_steps_in_pairs_lose_and_repeat_nothing(take: NewTake, files: str) -> None:
    """A worker dies before or behind step A, its successor at step B: from the log append to the last removal."""
    chance = dice("steps", files)
    labels = list(steps.VIDEO_STEPS if "video" in files else steps.STEPS)
    for a, b in _pairs(labels, chance, max(ROUNDS // COST.get(files, 1), 3)):
        killed = take(files, chance)
        killed.play(
            {"step": [a, chance.choice(["before", "after"]), chance.choice([1, 1, 2, 3, 5, 8])]},
            {"step": [b, chance.choice(["before", "after"]), chance.choice([1, 1, 2, 3, 5, 8])]},
        )
        killed.check()


@pytest.mark.parametrize("films", [False, True], ids=["files", "video"])
def test_every_labelled_step_is_reached(take: NewTake, films: bool) -> None:
    """A worker that is to die at its first step of a kind does: no label has lost its step."""
    labels = steps.VIDEO_STEPS if films else steps.STEPS
    unreached = {"shot cut", "count", "join"}  # only a successor comes to these
    for label in sorted(set(labels) - unreached):
        chance = dice("labels", label)
        killed = take("video" if films else "all three", chance)
        assert killed.play({"step": [label, "after", 1]})[0]["code"] == -9, label
        killed.check()


@pytest.mark.parametrize("label", ["part put", "seal", "seal: hash", "rename", "result", "manifest", "index"])
def test_a_disk_that_is_full_at_the_end_only_delays_it(take: NewTake, label: str) -> None:
    """Nothing at the end of a recording needs the room that there is not: the same worker tries until it has it."""
    delayed = take("csv in parts", dice("full", label))
    assert [end["code"] for end in delayed.play({"full": [label, 3]})] == [0, 0]
    delayed.check()
