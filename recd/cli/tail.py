"""``recd tail``: the newest samples of a stream, and those that follow."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from ._common import connect

if TYPE_CHECKING:
    from ..lines import Format
    from ..taps.stream import StreamTap

_LOOK_S: Final = 0.05
#: What one look takes at most: who reads slowly misses samples, and nobody waits.
_LIMIT_BYTES: Final = 4 << 20


@click.command(
    epilog="Example: recd tail state --follow --fields qpos[2],reward",
    short_help="Print the newest samples of a stream.",
)
@click.argument("stream")
@click.option(
    "-n", "--lines", default=10, show_default=True, type=click.IntRange(0), help="Samples to begin with."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come, until the stream ends.")
@click.option(
    "--fields", default="", metavar="NAMES", help="Only these, with commas between: qpos[2],reward."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "table"]),
    help="json: one object per line. Default: table on a terminal, else csv.",
)
def command(stream: str, lines: int, follow: bool, fields: str, form: str | None) -> int:
    """Print the newest samples of a stream that is being recorded.

    STREAM is a stream's name, or RUN/STREAM or SESSION/STREAM where that is not enough. Nothing is held up
    or taken away by looking: who reads too slowly misses samples here, never in the files; stderr says so.
    """
    from ..lines import FORMATS
    from ..taps.select import Selection
    from ..taps.stream import StreamTap, find, live_streams

    caller = connect()
    try:
        live = find(stream, live_streams(caller.call("status")["sessions"]))
    finally:
        caller.close()
    with StreamTap(live) as tap:
        names = [] if not fields else _split(fields)
        show = FORMATS[form or ("table" if sys.stdout.isatty() else "csv")](Selection(tap.schema, names))
        try:
            _run(tap, lines, follow, show)
        except (KeyboardInterrupt, BrokenPipeError):  # how one leaves
            sys.stderr.close()
    return 0


def _split(fields: str) -> list[str]:
    """The names, cut at the commas outside brackets."""
    names, depth = [""], 0
    for c in fields:
        depth += (c == "[") - (c == "]")
        if c == "," and not depth:
            names.append("")
        else:
            names[-1] += c
    return [n for n in names if n.strip()]


def _run(tap: StreamTap, lines: int, follow: bool, show: Format) -> None:
    ended = tap.ended
    taken = tap.newest(lines)
    for batch in taken.batches:
        show.samples(batch)
    missed = 0
    while follow and not ended:
        sys.stdout.flush()
        time.sleep(_LOOK_S)
        ended = tap.ended  # asked before the last look, so that nothing stays behind
        taken = tap.take(_LIMIT_BYTES)
        if taken.skipped:
            missed += 1
            click.echo(f"(samples passed by unseen, {missed} times by now)", err=True)
        for event in taken.events:
            show.event(event)
        for batch in taken.batches:
            show.samples(batch)
    sys.stdout.flush()
