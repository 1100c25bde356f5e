"""``recd status``: the daemon, its sessions and streams, and first of all what is wrong."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from recd_client.errors import DaemonNotRunningError

from ..paths import runtime_dir, socket_path
from ._common import (
    ANSWER_TIMEOUT_S,
    cell,
    connect,
    console,
    count,
    duration,
    json_option,
    line,
    losses,
    print_json,
    size,
    table,
)
from ._troubles import HEALTHY, troubles

if TYPE_CHECKING:
    from rich.console import Console


@click.command(epilog="Example: recd status --json", short_help="Show what is recorded right now.")
@json_option
def command(as_json: bool) -> int:
    """Show the daemon, its sessions and streams, what is lost, and what needs attention.

    Per stream: samples written, samples that are safe (durable), lost samples by cause, bytes waiting
    in shared memory (buffered) and on disk (spooled). The exit code is 3 when no daemon runs.
    """
    try:
        caller = connect()
    except DaemonNotRunningError:
        if as_json:
            print_json({"running": False, "runtime_dir": str(runtime_dir()), "socket": str(socket_path())})
        raise
    try:
        answer = caller.call("status", timeout_s=ANSWER_TIMEOUT_S)
    finally:
        caller.close()
    daemon, sessions = answer["daemon"], answer["sessions"]
    if as_json:
        print_json({"running": True, "daemon": daemon, "sessions": sessions})
    else:
        _show(daemon, sessions)
    return 0


def _show(daemon: dict[str, Any], sessions: list[dict[str, Any]]) -> None:
    out = console()
    up = duration(time.time() - float(daemon["started_unix_s"]))
    line(out, f"recd {daemon['version']}, pid {daemon['pid']}, up {up}, in {daemon['runtime_dir']}")
    wrong = list(troubles(sessions))
    if wrong:
        line(out)
    for trouble in wrong:
        line(out, f"! {trouble.what}", "bold red")
        for text in trouble.traceback.splitlines():
            line(out, f"    {text}", "dim")
        line(out, f"  -> {trouble.do}")
    if not sessions:
        line(out, "no sessions; past ones: recd ls")
    for session in sessions:
        line(out)
        _show_session(out, session)


def _show_session(out: Console, session: dict[str, Any]) -> None:
    client = session["client"]
    since = duration(time.time() - float(session["started_unix_s"]))
    simulation = f"simulation pid {client['pid']}" + ("" if client["alive"] else " (dead)")
    line(
        out,
        f"{session['name']}: {session['state']} for {since}, {simulation if client['pid'] else 'not taken up'}",
        "bold",
    )
    line(out, f"  session {session['session']} in {session['directory']}")
    if not session["streams"]:
        line(out, "  no streams yet")
        return
    from rich.padding import Padding

    numbers = ("written", "durable", "buffered", "spooled")
    shown = table("stream", "state", *numbers[:2], "lost", *numbers[2:], right=numbers)
    for stream in session["streams"]:
        shown.add_row(
            cell(stream["stream"]),
            cell(stream["state"], "" if stream["state"] in HEALTHY else "red"),
            f"{stream['written']:,}",
            f"{stream['durable']:,}",
            cell(losses(stream["lost"]), "bold red" if any(stream["lost"].values()) else ""),
            size(stream["buffered_bytes"]),
            size(stream["spooled_bytes"]),
        )
    out.print(Padding(shown, (0, 0, 0, 2), expand=False))
    for stream in session["streams"]:
        for sink in stream["sinks"]:
            if named := sink["path"] or sink.get("target"):
                path = _relative(named, session["directory"])
                line(out, f"  {path}: {count(sink['samples'], 'sample')}, {sink['state']}")
    for alert in session.get("alerts", ()):
        line(out, f"  alert {alert['condition']}: {alert['state']}, fired {count(alert['fired'], 'time')}")


def _relative(path: str, directory: str) -> str:
    inside = os.path.commonpath([path, directory]) == directory if os.path.isabs(path) else False
    return os.path.relpath(path, directory) if inside else path
