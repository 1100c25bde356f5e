"""The documentation does what it says: its Python runs, and nothing public is missing from it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recd_client
from recd_client import Recorder, SinkOptions, Stream
from recordings import PATIENCE_S

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "recording.md"
#: In front of a block of Python that is not to be run.
NO_TEST = "<!-- no-test -->"
_BLOCK = re.compile(r"^([^\n]*)\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Everything that users read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> Iterator[Any]:
    """Every block of Python that is to be run, as a parameter named by its document and line."""
    for path in documents():
        text = path.read_text()
        for found in _BLOCK.finditer("\n" + text):
            if found[1].strip() != NO_TEST:
                line = text.count("\n", 0, found.start(2) - 1) + 1
                yield pytest.param(found[2], id=f"{path.relative_to(ROOT)}:{line}")


@pytest.mark.usefixtures("shared_runtime")
@pytest.mark.parametrize("code", blocks())
def test_the_python_in_the_documentation_runs(tmp_path: Path, code: str) -> None:
    """Each block is a program: it runs by itself in an empty directory, and says nothing on stderr."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""


def public_methods(of: type) -> list[str]:
    """Names of what users may call or read of a class."""
    return [name for name in vars(of) if not name.startswith("_")]


def options_of(kind: type[SinkOptions]) -> list[str]:
    """The options of a kind of file."""
    return [f.name for f in dataclasses.fields(kind) if f.init]


@pytest.mark.parametrize("name", recd_client.__all__)
def test_every_public_name_explains_itself(name: str) -> None:
    """It has a docstring of its own (or, for a value, stands in the module's source with a comment)."""
    thing = getattr(recd_client, name)
    if isinstance(thing, str):
        return
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        assert "__doc__" in vars(thing), f"{name} only inherits its docstring"
        for method, value in vars(thing).items():
            if not method.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{method}"
