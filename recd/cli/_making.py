"""What verbs share that make a file or a recording: how they were called, names, progress, what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._common import clean, console, count, line, print_json, size

if TYPE_CHECKING:
    from ..tools import Made


def command_line() -> str:
    """The command that runs, as it could be typed again."""
    import shlex

    return shlex.join(["recd", *sys.argv[1:]])


def names(text: str | None) -> list[str] | None:
    """The names in a list that is separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int, str], Any] | None]:
    """A bar on a terminal's stderr, nothing elsewhere; to be told samples done, samples to do, and of what."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, of: bar.update(
            task, completed=done, total=max(total, 1), description=clean(f"{what} {of}")
        )


def print_made(made: Made, as_json: bool) -> None:
    """Tell which recording was made."""
    if as_json:
        print_json({**vars(made), "path": str(made.path)})
        return
    out = console()
    samples = count(sum(made.streams.values()), "sample")
    line(out, f"{made.path}: {count(len(made.streams), 'stream')}, {samples}, {size(made.bytes)}", "bold")
    for k, offset in enumerate(made.offsets_s):
        if offset:
            line(out, f"  source {k + 1}: its stream time was moved by {offset:+.9g} s")
    if made.encoded_again:
        line(out, f"  {count(made.encoded_again, 'frame')} before a keyframe had to be encoded again")
    for problem in made.problems:
        line(out, f"  {problem}", "yellow")
