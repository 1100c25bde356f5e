from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from recd.cli import VERBS, main
from recd.cli import _common as common
from recd_client.errors import DaemonNotRunningError, OutputError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """A verb ``ls`` that raises what the test puts under ``error``."""
    holder: dict[str, BaseException] = {}

    @click.command
    def command() -> None:
        raise holder["error"]

    monkeypatch.setattr("recd.cli.ls.command", command)
    monkeypatch.delenv("RECD_DEBUG", raising=False)
    return holder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str) -> None:
    """``recd VERB --help`` succeeds, and shows how one calls that verb."""
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert f"Example: recd {verb}" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_with_a_line(arguments: list[str]) -> None:
    """Without a verb, recd shows all of them, each with a short help that is not cut."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    for verb in VERBS:
        row = next(row for row in result.stdout.splitlines() if row.split()[:1] == [verb])
        assert len(row.split()) > 2
        assert "..." not in row


def test_a_misspelled_verb_is_answered_with_the_nearest() -> None:
    """A typing error costs one look at the message, on stderr."""
    result = CliRunner().invoke(main, ["stauts"])
    assert result.exit_code == 2
    assert "did you mean 'status'?" in result.stderr
    assert result.stderr.splitlines()[-1] == "  -> see: recd --help"


@pytest.mark.parametrize(
    ("arguments", "place"),
    [(["bogus"], "recd"), (["--bogus"], "recd"), (["stop", "--timeout", "x"], "recd stop")],
)
def test_a_wrong_argument_ends_with_where_to_look(arguments: list[str], place: str) -> None:
    """Wrong usage is exit code 2, and the last line names the help that fits."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == f"  -> see: {place} --help"


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (DaemonNotRunningError("none", "start one"), 3, "error: none\n  -> start one\n"),
        (OutputError("no file", "make it"), 1, "error: no file\n  -> make it\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied\n  -> "),
        (KeyboardInterrupt(), 130, "error: interrupted\n  -> "),
    ],
)
def test_an_expected_error_is_a_message_and_an_exit_code(
    failing: dict[str, BaseException], error: BaseException, exit_code: int, message: str
) -> None:
    """Errors of recd and of the system become what happened and what to do, on stderr, with no traceback."""
    failing["error"] = error
    result = CliRunner().invoke(main, ["ls"])
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.lstrip("\n").startswith(message)
    assert isinstance(result.exception, SystemExit)


def test_recd_debug_shows_where_an_error_comes_from(
    failing: dict[str, BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RECD_DEBUG=1 the error itself is raised, for developers."""
    monkeypatch.setenv("RECD_DEBUG", "1")
    failing["error"] = OutputError("no file", "make it")
    result = CliRunner().invoke(main, ["ls"])
    assert isinstance(result.exception, OutputError)


def test_a_mistake_in_recd_is_not_hidden(failing: dict[str, BaseException]) -> None:
    """An error that nobody expected keeps its traceback: it is a bug to report, not an answer."""
    failing["error"] = ZeroDivisionError()
    assert isinstance(CliRunner().invoke(main, ["ls"]).exception, ZeroDivisionError)


def test_the_quick_verbs_import_nothing_heavy() -> None:
    """Help and ``recd start`` load neither numpy nor h5py nor rich: a cold recorder waits for them."""
    code = (
        "import sys, json; from recd.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "import recd.cli.start, recd.cli.stop, recd.cli.status, recd.cli.ls, recd.cli.top\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "recd" in loaded
    assert not loaded & {"numpy", "h5py", "rich", "textual", "multiprocess", "posix_ipc", "imageio_ffmpeg"}


def test_output_to_a_full_device_is_an_error() -> None:
    """What could not be printed is not a success."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recd", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """``recd --help | head -0`` ends quietly."""
    command = f"{sys.executable} -m recd --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (123_456, "123 kB"),
        (999_600, "1.0 MB"),
        (1.5e13, "15.0 TB"),
        (2e15, "2000 TB"),
    ],
)
def test_sizes_are_short_and_carry_their_unit(n_bytes: float, shown: str) -> None:
    """A size has at most one decimal and never a unit of four digits below the last."""
    assert common.size(n_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float, shown: str) -> None:
    """A length of time is told as one would say it."""
    assert common.duration(seconds) == shown


def test_names_from_files_cannot_steer_the_terminal() -> None:
    """Escape sequences in what others wrote are shown, not obeyed."""
    assert common.clean("a\x1b[31mb") == "a\N{REPLACEMENT CHARACTER}[31mb"
