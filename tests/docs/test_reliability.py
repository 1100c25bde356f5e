"""The table of promises names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or removed is missed here."""
    named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", TABLE)
    missing = [f"{file}::{name}" for file, name in named if not defines(ROOT / "tests" / file, name)]
    assert len(named) > 30
    assert not missing


def defines(file: Path, name: str) -> bool:
    """Whether there is a test of that name in the file."""
    return file.exists() and re.search(rf"^\s*def {name}\(", file.read_text(), re.MULTILINE) is not None


def test_every_promise_has_a_row() -> None:
    """The promises are numbered from 1 to 19, each once, and each names a test or a script that exists."""
    rows = re.findall(r"^\| (\d+) \|(.*)$", TABLE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 20))
    for number, row in rows:
        scripts = re.findall(r"`(scripts/\w+\.py)`", row)
        assert "::" in row or (scripts and all((ROOT / s).exists() for s in scripts)), number
