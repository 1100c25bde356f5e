"""A session that is stopped from outside, whatever is killed over it: it ends, nothing is twice and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import executioner as steps
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions, VideoFile
from rounds import ROUNDS, dice, points
from stopping import ASKED, DEAF, NOTED, OBEYS, SILENT, StoppedTake
from sweeping import Executioner, InTurn, Script

SCRIPT: Script = (
    ("write", 40), ("mark",), ("reset",), ("lose", 3), ("write", 30), ("stop",), ("write", 40), ("mark",),
    ("write", 60),
)  # fmt: skip
FILES: dict[str, tuple[SinkOptions, ...]] = {
    "files": (CSVFile("s.csv"), NPZFile("s.npz", split=40), HDF5File("s.h5", save_on_reset=True)),
    "video": (VideoFile("s.mp4", fps=50),),
}
HOWS = [*product(FILES, (OBEYS, SILENT, DEAF), (ASKED, NOTED))]
in_each_way = pytest.mark.parametrize(("files", "how", "by"), HOWS, ids=["-".join(way) for way in HOWS])
NewTake = Callable[..., StoppedTake]


@pytest.fixture
def take(executioner: Executioner, runtime: Path, in_turn: InTurn[StoppedTake]) -> NewTake:
    """Makes one recording after the other."""

    def new(files: str, way: str, by: str, chance: Any) -> StoppedTake:
        how = {"how": way, "by": by, "durability": chance.choice(["process", "interval", "strict"])}
        return in_turn(lambda place: StoppedTake(executioner, runtime, place, FILES[files], SCRIPT, **how))

    return new


@in_each_way
def test_a_worker_killed_at_any_system_call_of_a_stop_has_a_successor_that_does_it(
    take: NewTake, files: str, how: str, by: str
) -> None:
    """What had been published by the end, or the cut, is in the files, once, and nobody has to ask again."""
    chance = dice("stop", files, how, by)
    alive = take(files, how, by, chance)
    total = alive.play({"at": 0})[0]["calls"]
    alive.check()
    for at in points(total, chance, max(ROUNDS // 3, 2)):
        killed = take(files, how, by, chance)
        killed.play({"at": at}, {"at": chance.randrange(1, 100)})
        killed.check()


def reached(files: str, how: str, by: str) -> list[str]:
    """The labelled steps of a stop that a worker comes to."""
    labels = ["stop asked"]
    if by == ASKED:
        labels.append("stop answered")
        labels += ["stop noted"] if files != "video" else []
    if how != OBEYS:
        labels += ["cut noted", "cut off"]
    return labels


@in_each_way
def test_kills_at_the_labelled_steps_of_a_stop_lose_and_repeat_nothing(
    take: NewTake, files: str, how: str, by: str
) -> None:
    """A worker dies before or behind each step of the stop, its successor at a step of any kind."""
    chance = dice("stop steps", files, how, by)
    others = [*(steps.VIDEO_STEPS if files == "video" else steps.STEPS), *steps.STOP_STEPS]
    for label in reached(files, how, by):
        for when in ("before", "after"):
            killed = take(files, how, by, chance)
            second = {
                "step": [chance.choice(others), chance.choice(["before", "after"]), chance.choice([1, 2, 5])]
            }
            ends = killed.play({"step": [label, when, 1]}, second)
            assert ends[0]["code"] == -9, label
            killed.check()
