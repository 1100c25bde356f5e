"""``recd top``: what is being recorded, live, on a terminal; or once, as text or JSON."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import RecdError

from ._common import console, json_option, print_json

if TYPE_CHECKING:
    from ..top.rates import View

_ORDERS: Final = ("session", "name", "rate", "bytes", "buffer", "spool", "lost")


@click.command(epilog="Example: recd top --sort lost", short_help="Watch what is recorded, live.")
@click.option(
    "--interval",
    "interval_s",
    metavar="S",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--sort", "order", type=click.Choice(_ORDERS), default="session", show_default=True, help="By what."
)
@click.option(
    "--filter", "words", default="", metavar="WORDS", help="Only streams with these in run/stream or state."
)
@click.option("--once", is_flag=True, help="Print one table and end.")
@json_option
def command(interval_s: float, order: str, words: str, once: bool, as_json: bool) -> int:
    """Watch sessions and streams while they are recorded: rates, losses, disks, and what is wrong.

    On a terminal until q is pressed; ? shows the keys. With --once or --json, two looks are taken, one
    interval apart, and compared. The exit code is then 3 when no daemon runs.
    """
    from ..top.screen import Choice

    choice = Choice(order, words=words)
    if as_json or once:
        view = _look_twice(interval_s)
        if as_json:
            from ..top.data import as_data

            print_json(as_data(view, choice))
        else:
            from ..top.screen import page

            out = console()
            for text in page(view, choice, out.width):
                out.print(text, soft_wrap=True)
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise click.UsageError("recd top needs a terminal; for scripts: --once or --json")
    _app()(interval_s, choice).run(mouse=False)  # so that text can be marked and copied
    return 0


def _look_twice(interval_s: float) -> View:
    from ..top.source import Source

    source = Source()
    try:
        source.look()
        time.sleep(interval_s)
        return source.look()
    finally:
        source.close()


def _app() -> Any:
    """The terminal's program; its library is loaded for nothing else."""
    try:
        from ..top.app import TopApp
    except ImportError as e:
        if not (e.name or "").startswith("textual"):
            raise
        raise RecdError(
            f"recd top needs the library {e.name}, which is not installed",
            "install it: pip install textual; or use: recd top --once",
        ) from None
    return TopApp
