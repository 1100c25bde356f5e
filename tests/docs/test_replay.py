"""docs/replay.md names what there is."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from recd.replayer import Difference, Divergence, Report, Skipped

GUIDE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()


@pytest.mark.parametrize("of", [Report, Divergence, Difference, Skipped], ids=lambda of: of.__name__)
def test_everything_of_a_report_is_in_the_guide(of: type) -> None:
    """Each attribute by its name, in code."""
    for name in [*(f.name for f in dataclasses.fields(of)), *(n for n in vars(of) if not n.startswith("_"))]:
        assert f"`{name}`" in GUIDE, name


@pytest.mark.requires("mujoco")
def test_the_methods_and_arguments_for_mujoco_are_in_the_guide() -> None:
    """The table has all public methods; that of the check has its arguments, with their defaults."""
    from recd.replayer.mujoco import MujocoReplay

    table = GUIDE.split("| method | does |")[1].split("\n\n")[0]
    first = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]
    named = {name for cell in first for name in re.findall(r"`(\w+)\(", cell)}
    assert named == {name for name in vars(MujocoReplay) if not name.startswith("_")}
    for p in [*inspect.signature(MujocoReplay.check).parameters.values()][1:]:
        default = f'"{p.default}"' if isinstance(p.default, str) else repr(p.default)
        assert f"| `{p.name}` | `{default}` |" in GUIDE
