"""docs/convert.md does what it says: its commands are run, each section's behind those that record and map."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recordings import PATIENCE_S, npz

DOCUMENT = Path(__file__).parents[2] / "docs" / "convert.md"
FIRST = "Three commands"
_NEEDS = re.compile(r"<!-- needs: (.*?) -->")


def sections() -> dict[str, str]:
    """The text of each section, by its title."""
    parts = re.split(r"^## (.+)\n", DOCUMENT.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(text: str) -> list[str]:
    """What a section's console blocks type."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def others() -> Iterator[Any]:
    """The sections with commands behind the first, each with what it needs."""
    for title, text in sections().items():
        if title != FIRST and commands(text):
            needs = [name for found in _NEEDS.findall(text) for name in found.replace(",", " ").split()]
            yield pytest.param(title, id=title, marks=[pytest.mark.requires(*needs)] if needs else [])


def run(lines: list[str], directory: Path) -> None:
    """Type some lines into a shell, one after the other; each must succeed."""
    python = shlex.quote(sys.executable)
    shell = f'recd() {{ {python} -m recd "$@"; }}\npython() {{ {python} "$@"; }}\nset -e\n' + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", shell], cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture(scope="module")
def recorded(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the first section's commands were typed."""
    directory = tmp_path_factory.mktemp("guide")
    text = sections()[FIRST]
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (directory / "walk.py").write_text(code)
    run(commands(text), directory)
    return directory


def test_three_commands_make_a_training_set(recorded: Path) -> None:
    """Capture, map, convert: the set has the successful episodes, with all features on one time axis."""
    found = npz(recorded / "walk.npz")
    assert {"observation.qpos", "observation.qvel", "action", "episode"} <= found.keys()
    assert found["episode"].tolist() == np.repeat(np.unique(found["episode"]), 100).tolist()
    assert 0 < len(np.unique(found["episode"])) < 3


def test_the_map_in_the_guide_is_the_one_that_is_written(recorded: Path) -> None:
    """Below its comments, line for line."""
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert (recorded / "walk.toml").read_text().endswith(shown)


@pytest.mark.parametrize("title", [*others()])
def test_the_commands_of_a_section_run(recorded: Path, tmp_path: Path, title: str) -> None:
    """Each section's commands work on the recording of the first one, with its map beside it."""
    shutil.copytree(recorded, tmp_path / "guide")
    before = {*(tmp_path / "guide").iterdir()}
    run(commands(sections()[title]), tmp_path / "guide")
    assert {*(tmp_path / "guide").iterdir()} > before
