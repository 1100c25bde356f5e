"""``recd verify``: whether a recording is what was recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ._common import clean, console, count, json_option, line, print_json

#: Something is damaged, or samples are missing.
BAD_EXIT_CODE = 3
_STYLES = {"ok": "", "note": "", "loss": "bold yellow", "damage": "bold red"}


@click.command(
    epilog="Example: recd verify recordings/walk/20261122T134005",
    short_help="Check that a recording is whole.",
)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> int:
    """Read a recording from the first to the last byte and tell what is damaged or missing, and where.

    PATH is a recording's directory, its manifest.json, one of its files, or the directory of an
    unfinished session (DIRECTORY/.recd/SESSION). Nothing is written. The exit code is 0 if everything
    is there and whole, 3 if something is damaged or samples are lost.
    """
    from ..verify import Verification

    path = path.absolute()
    verification = Verification(path)
    out, found = console(), []
    with _progress(verification.size_bytes) as advance:
        for finding in verification.findings(advance):
            found.append(finding)
    bad = sum(finding.is_bad for finding in found)
    if as_json:
        told = [{**vars(f), "path": str(f.path)} for f in found]
        print_json({"path": str(path), "sound": not bad, "findings": told})
        return BAD_EXIT_CODE if bad else 0
    for finding in found:
        line(out, f"{finding.level:7} {finding.path}: {finding.what}", _STYLES[finding.level])
        if finding.do:
            line(out, f"        -> {finding.do}")
    line(
        out,
        f"{clean(path)}: " + (f"{count(bad, 'problem')}" if bad else "sound"),
        "bold red" if bad else "bold",
    )
    return BAD_EXIT_CODE if bad else 0


@contextmanager
def _progress(total_bytes: int) -> Iterator[Callable[[int], Any]]:
    """A bar on a terminal's stderr, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda n: None
        return
    with click.progressbar(length=max(total_bytes, 1), label="verifying", file=sys.stderr) as bar:
        yield bar.update
