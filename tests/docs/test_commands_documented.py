from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from recd.cli import VERBS, main

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def sections() -> dict[str, str]:
    """The text of each ``## recd VERB``, by verb."""
    parts = re.split(r"^## recd (\S+)\n", DOCUMENT.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def command(verb: str) -> click.Command:
    """The command of a verb."""
    found = main.get_command(click.Context(main), verb)
    assert isinstance(found, click.Command)
    return found


def options(verb: str) -> Iterator[str]:
    """Every long option of a verb, or of the verbs below it, that is for users."""
    top = command(verb)
    parts = [top, *(top.commands.values() if isinstance(top, click.Group) else ())]
    for parameter in (parameter for part in parts for parameter in part.params):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield from (name for name in parameter.opts if name.startswith("--"))


def keys(data: Any) -> Iterator[str]:
    """Every key of an object, at any depth."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from keys(value)
    elif isinstance(data, list):
        for value in data:
            yield from keys(value)


def test_every_verb_has_a_section_and_a_row() -> None:
    """A verb that is not in docs/cli.md, or one there that does not exist, fails here."""
    assert tuple(sections()) == VERBS
    assert tuple(re.findall(r"^\| \[`(\w+)`\]\(#recd-\1\)", DOCUMENT.read_text(), re.MULTILINE)) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_in_its_verbs_section(verb: str) -> None:
    """The bullets of a section are exactly the options of the verb."""
    documented = set(re.findall(r"^- `(--[\w-]+)", sections()[verb], re.MULTILINE))
    assert documented == set(options(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_stands_in_its_verbs_section(verb: str) -> None:
    """What a verb takes beside options is named as its help names it."""
    for parameter in command(verb).params:
        if isinstance(parameter, click.Argument):
            assert f"`{str(parameter.name).upper()}`" in sections()[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_are_accepted(verb: str) -> None:
    """Every command line that a section shows for its verb can be parsed."""
    shown = re.findall(rf"^\$ recd {verb}(.*)$", sections()[verb], re.MULTILINE)
    assert shown
    for line in shown:
        arguments = line.split()
        if "--dir" not in arguments:  # the directories in examples need not exist
            command(verb).make_context(verb, arguments, resilient_parsing=False)


def test_the_keys_of_json_answers_are_documented(runtime: Path, tmp_path: Path) -> None:
    """A program may rely on what docs/cli.md says: no verb answers with a key that is not there."""
    from recd import index

    index.write({"session": "s1", "name": "walk", "directory": str(tmp_path), "started_unix_s": 1.0})
    (tmp_path / "x.csv").write_text("timestamp,a\n0,1\n")
    lines = {
        "stop": ["stop"],
        "status": ["status"],
        "ls": ["ls"],
        "info": ["info", str(tmp_path / "x.csv")],
        "verify": ["verify", str(tmp_path / "x.csv")],
        "doctor": ["doctor", "--dir", str(tmp_path)],
    }
    for verb, line in lines.items():
        answer = json.loads(CliRunner().invoke(main, [*line, "--json"]).stdout)
        answer.pop("details", None)
        documented = set(re.findall(r"`(\w+)`", sections()[verb]))
        assert set(keys(answer)) <= documented, verb


def test_the_exit_codes_of_all_errors_are_documented() -> None:
    """Each exit code that an error can end with stands in the table."""
    from recd.cli import INTERRUPTED_EXIT_CODE
    from recd_client import errors

    used = {INTERRUPTED_EXIT_CODE, 0} | {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RecdError)
    }
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)}
    assert used == documented
