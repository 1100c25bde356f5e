"""``recd doctor``: whether this machine can record, and what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict
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
@json_option
def command(directory: Path, as_json: bool) -> int:
    """Check that this machine can record, and say what to do where it cannot.

    Looks at the daemon, its directory, shared memory, left-over rings, limits, logout, ffmpeg and its
    encoders, disk and clock. Changes nothing. The exit code is 1 if there is a problem; warnings
    leave it 0.
    """
    from ._checks import OK, PROBLEM, check_all

    findings = []
    out = console()
    for finding in check_all(directory.absolute()):
        findings.append(finding)
        if as_json:
            continue
        line(out, f"{finding.level:<7}  {finding.check}: {finding.what}", _STYLES[finding.level])
        if finding.level != OK:
            line(out, f"         -> {finding.do}")
    problems = sum(f.level == PROBLEM for f in findings)
    if as_json:
        print_json({"problems": problems, "findings": [asdict(f) for f in findings]})
    else:
        line(out, f"{count(problems, 'problem')} in {count(len(findings), 'check')}", "bold")
    return 1 if problems else 0
