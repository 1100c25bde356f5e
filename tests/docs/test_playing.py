"""docs/playing.md names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import recd
from recd.player import Pacing, Playback

GUIDE = (Path(__file__).parents[2] / "docs" / "playing.md").read_text()


def test_every_control_of_a_playback_is_in_the_guide() -> None:
    """Its table has all public methods and properties, and no others."""
    table = GUIDE.split("| method or property | does |")[1].split("\n\n")[0]
    first = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    named = {name for cell in first for name in re.findall(r"`(\w+)", cell)}
    assert named == {name for name in vars(Playback) if not name.startswith("_")}


def test_the_guide_has_the_arguments_and_the_pace() -> None:
    """The signature stands as it is, with its defaults; so do the keys of the pace."""
    shown = re.search(r"`recd\.play\(run, (.+)\)`", GUIDE)
    assert shown
    parameters = [*inspect.signature(recd.play).parameters.values()][1:]
    told = [f"{p.name}={p.default}" for p in parameters]
    assert shown[1].replace("*, ", "") == ", ".join(told)
    for name in Pacing.__dataclass_fields__:
        assert f"`{name}`" in GUIDE
