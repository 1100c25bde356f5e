"""``recd status``: the daemon, its sessions and streams, and first of all what is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import DaemonNotRunningError

from ..paths import log_path, runtime_dir, socket_path
from ._common import (
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

if TYPE_CHECKING:
    from rich.console import Console

ANSWER_TIMEOUT_S: Final = 10.0
#: States that need nobody's attention.
_HEALTHY: Final = frozenset({"recording", "finishing", "finished"})
_ADVICE: Final = {
    "stalled": "remove the cause; recording then goes on by itself, and what is lost meanwhile is counted",
    "client died, finishing": "nothing to do: its files are being finished",
}
_AGAIN: Final = "correct it; its log is kept, and once the recording has ended: recd recover tries again"
_LOSS_ADVICE: Final = 'give the stream more buffer_bytes or a lower hz, or overflow="block"; gaps: recd info'
_Complaint = tuple[str, str, str]


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
    wrong = list(_complaints(sessions))
    if wrong:
        line(out)
    for what, do, trace in wrong:
        line(out, f"! {what}", "bold red")
        for text in trace.splitlines():
            line(out, f"    {text}", "dim")
        line(out, f"  -> {do}")
    if not sessions:
        line(out, "no sessions; past ones: recd ls")
    for session in sessions:
        line(out)
        _show_session(out, session)


def _complaints(sessions: list[dict[str, Any]]) -> Iterator[_Complaint]:
    """What needs attention, each matter once, what to do about it, and a traceback if there is one."""
    for session in sessions:
        found = [c for stream in session["streams"] for c in _stream_complaints(session["name"], stream)]
        # A session that is not well for no reason of its own repeats its worst stream.
        yield from found or _complaint(session["name"], session)


def _stream_complaints(session_name: str, stream: dict[str, Any]) -> Iterator[_Complaint]:
    where = f"{session_name} / {stream['stream']}"
    # A stream repeats the reason of a file that failed.
    if not any(sink["reason"] == stream["reason"] for sink in stream["sinks"] if stream["reason"]):
        yield from _complaint(where, stream)
    for sink in stream["sinks"]:
        named = os.path.basename(sink["path"]) or sink.get("target") or sink["kind"]
        yield from _complaint(f"{where} / {named}", sink)
    if any(stream["lost"].values()):
        yield f"{where}: lost {losses(stream['lost'])}", _LOSS_ADVICE, ""


def _complaint(where: str, thing: dict[str, Any]) -> Iterator[_Complaint]:
    state, reason = thing["state"], thing["reason"] or ""
    if state in _HEALTHY and not reason:
        return
    # An error's text is "what, newline, arrow, what to do" (see recd_client.errors).
    reason, _, do = reason.partition("\n  -> ")
    what = f"{where}: {state}" + (f": {reason}" if reason else "")
    advice = _AGAIN if thing.get("target") and state == "failed" else _ADVICE.get(state)
    yield what, do or advice or f"the daemon's log tells more: {log_path()}", thing.get("traceback") or ""


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
            cell(stream["state"], "" if stream["state"] in _HEALTHY else "red"),
            f"{stream['written']:,}",
            f"{stream['durable']:,}",
            cell(losses(stream["lost"]), "bold red" if any(stream["lost"].values()) else ""),
            size(stream["buffered_bytes"]),
            size(stream["spooled_bytes"]),
        )
    out.print(Padding(shown, (0, 0, 0, 2), expand=False))
    for stream in session["streams"]:
        for sink in stream["sinks"]:
            if sink["path"]:
                path = _relative(sink["path"], session["directory"])
                line(out, f"  {path}: {count(sink['samples'], 'sample')}, {sink['state']}")


def _relative(path: str, directory: str) -> str:
    inside = os.path.commonpath([path, directory]) == directory if os.path.isabs(path) else False
    return os.path.relpath(path, directory) if inside else path
