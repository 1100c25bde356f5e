"""``recd restart``: stop, then start; for a new version, or new settings in the environment."""

from __future__ import annotations

import click

from . import start, stop
from ._common import allow_code_option, json_option, print_json


@click.command(epilog="Example: recd restart", short_help="Stop the daemon, then start it.")
@stop.timeout_option
@allow_code_option
@json_option
def command(timeout_s: float, allow_code: bool, as_json: bool) -> int:
    """Stop the daemon, if it runs, and start it.

    Recordings that run are finished first. The exit code is 0 when the new daemon is ready, also if
    a recording was not finished in time: the new daemon goes on with it.
    """
    stopped = stop.stop_daemon(timeout_s)
    if not as_json:
        stop.report(stopped)
    started = start.start_daemon(allow_code=allow_code)
    if allow_code and started.already:  # somebody else's start was quicker
        start.check_allows(started.pid)
    if as_json:
        print_json({"stopped": stop.stopped_json(stopped), "started": start.started_json(started)})
    else:
        click.echo(start.started_text(started))
    return 0
