"""``recd mark``: an event on the timeline of a recording that runs, set from outside."""

from __future__ import annotations

import json
from typing import Any

import click

from ._common import ANSWER_TIMEOUT_S, clean, connect, json_option, one_session, print_json


@click.command(
    epilog='Example: recd mark walk "pushed it" --field force=12.5',
    short_help="Put a mark on a recording's timeline.",
)
@click.argument("session")
@click.argument("label")
@click.option(
    "--field",
    "fields",
    metavar="NAME=VALUE",
    multiple=True,
    help="A value of the mark; a number, true, false, null, or text. Any number of times.",
)
@click.option("--stream", metavar="NAME", help="The stream that it is about.")
@json_option
def command(session: str, label: str, fields: tuple[str, ...], stream: str | None, as_json: bool) -> int:
    """Put a mark on the timeline of the recording SESSION (its name or id), while it runs.

    It stands in the recording's manifest with the time at which it was set, beside the marks that the
    simulation sets itself.
    """
    told = dict(_field(text) for text in fields)
    caller = connect()
    try:
        found = one_session(caller.call("status", ANSWER_TIMEOUT_S)["sessions"], session)
        mark = caller.call(
            "mark", ANSWER_TIMEOUT_S, session=found["session"], label=label, fields=told, stream=stream
        )["mark"]
    finally:
        caller.close()
    if as_json:
        print_json({"session": found["session"], "mark": mark})
    else:
        click.echo(clean(f"{found['name']}: mark {mark['label']} is set"))
    return 0


def _field(text: str) -> tuple[str, Any]:
    """Name and value of a field; what is no number, true, false or null of JSON is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--field")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(read, (dict, list, str)) else read
