"""docs/convert-viewers.md does what it says: its commands are run on the recording of docs/convert.md."""

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

DOCS = Path(__file__).parents[2] / "docs"


def sections() -> Iterator[Any]:
    """What each section types, with what it needs."""
    parts = re.split(r"^## (.+)\n", (DOCS / "convert-viewers.md").read_text(), flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        needs, block = re.findall(
            r"<!-- needs: (.*?) -->\n\n```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        )[0]
        lines = [line[2:] for line in block.splitlines()]
        yield pytest.param(lines, id=title, marks=pytest.mark.requires(*needs.split(", ")))


@pytest.fixture(scope="module")
def recorded(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the simulation of the guide ran."""
    directory = tmp_path_factory.mktemp("guide")
    text = (DOCS / "convert.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    subprocess.run([sys.executable, "-c", code], cwd=directory, check=True, timeout=PATIENCE_S)
    return directory


@pytest.mark.parametrize("lines", [*sections()])
def test_the_commands_of_a_section_run(recorded: Path, lines: list[str]) -> None:
    """Each succeeds, and says nothing on stderr."""
    python = shlex.quote(sys.executable)
    shell = f'recd() {{ {python} -m recd "$@"; }}\npython() {{ {python} "$@"; }}\nset -e\n' + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", shell], cwd=recorded, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
