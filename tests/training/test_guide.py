"""docs/convert-training.md does what it says: its commands are run, and its Python where the libraries are."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from takes import PATIENCE_S, run_in

from recd.converter import targets

DOCUMENT = Path(__file__).parents[2] / "docs" / "convert-training.md"
TITLES = {"lerobot": "LeRobot", "robomimic": "robomimic and Isaac Lab", "minari": "Minari"}
NEEDS = {"lerobot": ["pyarrow", "PIL"], "robomimic": [], "minari": []}


def sections() -> dict[str, str]:
    """The text of each section, by its title."""
    parts = re.split(r"^## (.+)\n", DOCUMENT.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def type_commands(text: str, directory: Path) -> None:
    """Type what a section's console blocks show into a shell; each must succeed, and say nothing on stderr."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    python = shlex.quote(sys.executable)
    shell = f'recd() {{ {python} -m recd "$@"; }}\npython() {{ {python} "$@"; }}\nset -e\n' + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", shell], cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture(scope="module")
def recorded(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the first section was done."""
    directory = tmp_path_factory.mktemp("guide")
    text = sections()["Record"]
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (directory / "push.py").write_text(code)
    type_commands(text, directory)
    return directory


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.requires(*needs)]) for form, needs in NEEDS.items()]
)
def test_the_commands_run(recorded: Path, form: str) -> None:
    """Each section's command makes the set that it names."""
    before = {*recorded.iterdir()}
    type_commands(sections()[TITLES[form]], recorded)
    assert len({*recorded.iterdir()} - before) >= 1


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=pytest.mark.requires(form, *needs)) for form, needs in NEEDS.items()]
)
def test_the_python_runs(recorded: Path, tmp_path: Path, form: str) -> None:
    """The library reads the set as the section shows."""
    text = sections()[TITLES[form]]
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "recordings").symlink_to(recorded / "recordings")
    type_commands(text, directory)
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    program = directory / "read.py"
    program.write_text(code)
    if form == "lerobot":
        run_in("lerobot", "lerobot_program.py", "--run", program, home=directory)
    else:
        run_in(form, str(program), home=directory)


@pytest.mark.parametrize(
    "form",
    [pytest.param(f, marks=pytest.mark.requires("pyarrow", "PIL")) if f == "lerobot" else f for f in TITLES],
)
def test_every_option_is_told(form: str) -> None:
    """Each choice of a format, and each value that it may have, stands in its section."""
    text = sections()[TITLES[form]]
    for name, allowed in targets.get(form).options.items():
        assert f"`{name}`" in text, name
        if isinstance(allowed, tuple):
            assert [value for value in allowed if f'"{value}"' not in text] == []
