"""docs/tools.md does what it says: its code and commands are run, one section after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recordings import PATIENCE_S

DOCUMENT = Path(__file__).parents[2] / "docs" / "tools.md"
_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The text of each section, by its title; what stands before the first has none."""
    parts = ["", *_SECTION.split(DOCUMENT.read_text())]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def run(arguments: list[str], directory: Path) -> str:
    """What a command prints; it must succeed, and complain of nothing."""
    done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stderr)
    return done.stdout


def commands(text: str, directory: Path) -> str:
    """What the commands of a section print."""
    python = shlex.quote(sys.executable)
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    shell = "\n".join([f'recd() {{ {python} -m recd "$@"; }}', "set -e", *lines])
    return run(["bash", "-c", shell], directory)


@pytest.fixture(scope="module")
def typed(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which everything was typed that needs nothing special, in order."""
    directory = tmp_path_factory.mktemp("tools")
    for text in sections().values():
        for code in _CODE.findall(text):
            printed = run([sys.executable, "-c", code], directory)
            assert printed in ("", "True {'state': 400, 'front': 100}\n")
        if "<!-- needs:" not in text:
            commands(text, directory)
    return directory


def needing() -> Iterator[Any]:
    """The sections that need a library."""
    for title, text in sections().items():
        if found := re.search(r"<!-- needs: (.*?) -->", text):
            yield pytest.param(title, id=title, marks=pytest.mark.requires(*found[1].split()))


def test_what_is_typed_makes_what_is_told(typed: Path) -> None:
    """Every command succeeds, and each recording of the guide is there, complete."""
    made = {path.parent.name for path in typed.glob("*/manifest.json")}
    assert made == {"swing", "turn", "early", "begin", "both", "again", "late", "complete"}
    assert not list(typed.glob("*.part"))


@pytest.mark.parametrize("title", [*needing()])
def test_sections_that_need_a_library(typed: Path, title: str) -> None:
    """Their commands succeed, too."""
    commands(sections()[title], typed)


def test_everything_public_is_in_the_guide() -> None:
    """Each function, and what they return, by its name."""
    from recd import tools

    guide = DOCUMENT.read_text()
    for name in ("cut", "merge", "compare", "thumbs", "Made"):
        assert callable(getattr(tools, name))
        assert f"`{name}`" in guide, name
    for field in tools.Made.__dataclass_fields__:
        assert f"`{field}`" in guide, field
