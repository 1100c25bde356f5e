"""``recd ls``: every session that this user recorded, live and past; needs no daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import click

from .. import index
from ._common import console, count, duration, json_option, line, local_time, lock_holder, print_json

NEWEST: Final = 20
_STYLES: Final = {"live": "green", "failed": "red", "interrupted": "red", "missing": "dim"}


@click.command(epilog="Example: recd ls --json", short_help="List sessions, live and past.")
@click.option("--all", "every", is_flag=True, help=f"All of them, not only the newest {NEWEST}.")
@json_option
def command(every: bool, as_json: bool) -> int:
    """List sessions, live and past, newest first.

    States: live; finished; failed; interrupted (its daemon is gone: recd start goes on with it);
    missing (its directory was moved or deleted).
    """
    entries = index.read_all()
    shown = [described(e) for e in (entries if every else entries[:NEWEST])]
    omitted = len(entries) - len(shown)
    if as_json:
        print_json({"sessions": shown, "omitted": omitted})
        return 0
    out = console()
    if not shown:
        line(out, "nothing recorded yet; see how it works: recd demo")
    for session in shown:
        took = "" if session["duration_s"] is None else f"  {duration(session['duration_s'])}"
        streams = f"  {count(session['streams'], 'stream')}" if session["streams"] else ""
        line(
            out,
            f"{local_time(session['started_unix_s'])}  {session['state']:<11}  {session['name']}"
            f"{streams}{took}",
            _STYLES.get(session["state"], ""),
        )
        line(out, f"  {session['directory']}")
    if any(s["state"] == "interrupted" for s in shown):
        line(out, "interrupted sessions are finished by: recd start")
    if omitted:
        line(out, f"{count(omitted, 'older session')} more: recd ls --all")
    return 0


def described(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with the state that holds now; the keys are documented in docs/cli.md."""
    started, ended = entry.get("started_unix_s"), entry.get("ended_unix_s")
    state = str(entry.get("state", "?"))
    if state == "live" and lock_holder(Path(str(entry.get("runtime_dir"))) / "recd.lock") is None:
        state = "interrupted"
    exists = Path(entry["directory"]).is_dir()
    if not exists:
        state = "missing"
    end = time.time() if state == "live" else ended
    timed = isinstance(started, (int, float)) and isinstance(end, (int, float))
    return {
        "session": entry["session"],
        "name": str(entry.get("name", "?")),
        "state": state,
        "directory": entry["directory"],
        "exists": exists,
        "started_unix_s": started,
        "ended_unix_s": ended,
        "duration_s": float(end or 0) - float(started or 0) if timed else None,
        "streams": entry.get("streams") if isinstance(entry.get("streams"), int) else 0,
        "runtime_dir": entry.get("runtime_dir"),
    }
