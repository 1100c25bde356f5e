"""``recd doctor``: whether this machine can record, and what to do where it cannot."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import console, count, json_option, line, print_json

_STYLES = {"ok": "green", "warn": "yellow", "problem": "bold red"}


@click.command(epilog="Example: recd doctor --dir /data", short_help="Check that this machine can record.")
@click.option(
    "--dir",
    "directory",
    metavar="DIRECTORY",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Where recordings would go; default: the current directory.",
)
@click.option("--fix", is_flag=True, help="Do what cannot harm a recording, and say what was done.")
@json_option
def command(directory: Path, fix: bool, as_json: bool) -> int:
    """Check that this machine can record, and say what to do where it cannot.

    Looks at the daemon and versions, its directories, shared memory, left-over rings, sessions and
    files, limits, logout, ffmpeg and its encoders, disk and clock. Changes nothing unless --fix is
    given: that makes missing directories, and removes what a dead daemon left and no recording needs.
    The exit code is 1 if there is a problem; warnings leave it 0.
    """
    from ._checks import check_all
    from ._findings import OK, PROBLEM

    problems, told = 0, []
    out = console()
    for finding in check_all(directory.absolute()):
        fixed = finding.fix() if fix and finding.fix is not None else ""
        told.append({**{k: getattr(finding, k) for k in ("check", "level", "what", "do")}, "fixed": fixed})
        problems += finding.level == PROBLEM
        if as_json:
            continue
        line(out, f"{finding.level:<7}  {finding.check}: {finding.what}", _STYLES[finding.level])
        if fixed:
            line(out, f"         fixed: {fixed}", "green")
        elif finding.level != OK:
            line(out, f"         -> {finding.do}")
    if as_json:
        print_json({"problems": problems, "findings": told})
    else:
        line(out, f"{count(problems, 'problem')} in {count(len(told), 'check')}", "bold")
    return 1 if problems else 0
