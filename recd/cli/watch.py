"""``recd watch``: tells when a condition over what is being recorded begins to hold."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..paths import socket_path
from ..strict_json import finite
from ._common import clean

if TYPE_CHECKING:
    from ..alerts.rule import Firing, Rule

_ASK_EVERY_S = 0.5
#: How long marks that wait for the daemon are waited for at the end.
_FINISH_S = 3.0


@click.command(
    epilog="Example: recd watch 'state.qpos[2] < 0.2' 'nan(state)'",
    short_help="Tell when a condition over the samples begins to hold.",
)
@click.argument("condition", nargs=-1, required=True)
@click.option("--session", metavar="NAME", help="Only recordings of this name or id.")
@click.option(
    "--every",
    "every_s",
    metavar="S",
    type=click.FloatRange(min=0, max=1e8),
    default=10.0,
    show_default=True,
    help="Tell of a condition at most once in so many seconds.",
)
@click.option("--label", default="alert", show_default=True, help="Label of the marks.")
@click.option("--no-mark", is_flag=True, help="Put nothing on the timeline.")
@click.option("--command", "run", metavar="CMD", help="Run this in the shell; see docs/alerts.md.")
@click.option(
    "--command-timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=60.0,
    show_default=True,
    help="Kill a command that runs longer.",
)
@click.option("--once", is_flag=True, help="End after the first time, with exit code 0.")
@click.option(
    "--for",
    "for_s",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="End after so many seconds; with --once, with exit code 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def command(
    condition: tuple[str, ...],
    session: str | None,
    every_s: float,
    label: str,
    no_mark: bool,
    run: str | None,
    timeout_s: float,
    once: bool,
    for_s: float | None,
    as_json: bool,
) -> int:
    """Tell when a CONDITION begins to hold in a recording that runs: a line here, and a mark on its timeline.

    A CONDITION is over the samples of one stream ('state.qpos[2] < 0.2', 'nan(state)'), or about streams
    ('stalled(state, 5)', 'lost()'). Looking holds nothing up, and whoever looks may be stopped or killed.
    """
    from recd_client.session import checked_mark

    from ..alerts.condition import Condition
    from ..alerts.rule import Rule

    rules = [Rule(Condition(text), label, every_s, run) for text in condition]
    checked_mark(label, {})
    try:
        return _watch(rules, session, not no_mark, timeout_s, once, for_s, as_json)
    except BrokenPipeError:  # how one leaves
        sys.stderr.close()
        return 0


def _watch(
    rules: list[Rule],
    session: str | None,
    marks: bool,
    timeout_s: float,
    once: bool,
    for_s: float | None,
    as_json: bool,
) -> int:
    from ..alerts.clerk import Clerk
    from ..alerts.commands import Commands
    from ..alerts.watcher import LOOK_S, Watcher

    commands = Commands(timeout_s, _tell)
    clerk = Clerk(socket_path(), _ASK_EVERY_S, _tell)
    watcher = Watcher(clerk, rules, session, _tell)
    end = _End()
    end_s = None if for_s is None else time.monotonic() + for_s
    try:
        while not end.asked and (end_s is None or time.monotonic() < end_s):
            for firing in watcher.look():
                click.echo(json.dumps(finite(firing.to_json())) if as_json else clean(_line(firing)))
                if marks:
                    clerk.set_mark(firing.mark())
                commands.add(firing)
                if once:
                    commands.finish(lambda: end.asked)
                    return 0
            sys.stdout.flush()
            commands.step()
            time.sleep(LOOK_S)
        return 1 if once else 0
    finally:
        commands.stop()
        clerk.finish(_FINISH_S)
        watcher.close()


class _End:
    """Whether Ctrl-C or SIGTERM has asked for the end; an exception could leave something half done."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, signum: int, frame: object) -> None:
        self.asked = True


def _tell(text: str) -> None:
    click.echo(clean(text), err=True)


def _line(firing: Firing) -> str:
    """What is told to people."""
    where = firing.run if firing.stream is None else f"{firing.run}/{firing.stream}"
    at = "" if firing.t is None else f" at t = {firing.t:.6g}"
    value = "" if firing.value is True or firing.value is None else f": {_number(firing.value)}"
    more = f" ({firing.held_back} times more since the last line)" if firing.held_back else ""
    return f"{time.strftime('%H:%M:%S')}  {where}{at}  {firing.rule.condition}{value}{more}"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
