"""What needs attention in the daemon's answer to ``status``, and what to do about it: for every verb that shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ..paths import log_path
from ._common import duration, losses

#: States that need nobody's attention.
HEALTHY: Final = frozenset({"recording", "finishing", "finished"})
_ADVICE: Final = {
    "stalled": "remove the cause; recording then goes on by itself, and what is lost meanwhile is counted",
    "client died, finishing": "nothing to do: its files are being finished",
}
_AGAIN: Final = "correct it; its log is kept, and once the recording has ended: recd recover tries again"
_ALERT_ADVICE: Final = "look at it; when it happened stands in its marks: recd info"
#: An alert older than that is history.
_RECENT_S: Final = 60.0
_LOSS_ADVICE: Final = 'give the stream more buffer_bytes or a lower hz, or overflow="block"; gaps: recd info'


class Trouble(NamedTuple):
    """One matter that needs attention.

    Parameters
    ----------
    what, do : str
    session : str
        Id of the session that has it; empty if it is none of a session.
    stream : str
        Name of the stream that has it; empty if it is none of a single stream.
    is_loss : bool
        Whether samples were lost; that does not pass, as a state does.
    traceback : str
        Of a user's code that failed.
    """

    what: str
    do: str
    session: str = ""
    stream: str = ""
    is_loss: bool = False
    traceback: str = ""


def troubles(sessions: list[dict[str, Any]]) -> Iterator[Trouble]:
    """What needs attention, each matter once, and what to do about it."""
    yield from _alerts(sessions)
    for session in sessions:
        sid, name = str(session["session"]), str(session["name"])
        for alert in session.get("alerts", ()):
            for trouble in _of_alert(f"{name} / alert {alert['condition']}", alert):
                yield trouble._replace(session=sid)
        found = [
            trouble._replace(session=sid, stream=str(stream["stream"]))
            for stream in session["streams"]
            for trouble in _of_stream(name, stream)
        ]
        # A session that is not well for no reason of its own repeats its worst stream.
        yield from found or (trouble._replace(session=sid) for trouble in _of(name, session))


def _alerts(sessions: list[dict[str, Any]]) -> Iterator[Trouble]:
    """What was alerted of lately, the newest first, each condition of a recording once."""
    now_s = time.time()
    found: dict[tuple[str, str, str], tuple[float, int, Trouble]] = {}
    for session in sessions:
        for mark in session.get("marks", ()):
            ago_s = now_s - mark["wall_ns"] / 1e9
            if mark["source"] != "alert" or ago_s > _RECENT_S:
                continue
            stream, fields = mark["stream"] or "", mark["fields"]
            key = str(session["session"]), str(mark["label"]), str(fields.get("condition"))
            times = found[key][1] + 1 if key in found else 1
            where = f"{session['name']} / {stream}" if stream else str(session["name"])
            at = "" if mark["t"] is None else f" at t = {mark['t']:.6g}"
            value = fields.get("value")
            seen = "" if value is None or value is True else f": {value}"
            often = f", {times} times in the last minute" if times > 1 else ""
            what = f"{where}: {mark['label']} {fields.get('condition', '')}{seen}{at}, {duration(ago_s)} ago{often}"
            found[key] = ago_s, times, Trouble(what, _ALERT_ADVICE, str(session["session"]), stream)
    for _, _, trouble in sorted(found.values(), key=lambda one: one[0]):
        yield trouble


def _of_alert(where: str, alert: dict[str, Any]) -> Iterator[Trouble]:
    """An alert that is not watched for."""
    if alert["state"] not in ("watching", "waiting", "starting"):
        yield from _of(where, alert)
    elif alert["skipped"]:
        yield Trouble(
            f"{where}: {alert['skipped']:,} samples passed by unseen",
            "the files have them; see docs/alerts.md",
        )


def _of_stream(session_name: str, stream: dict[str, Any]) -> Iterator[Trouble]:
    where = f"{session_name} / {stream['stream']}"
    # A stream repeats the reason of a file that failed.
    if not any(sink["reason"] == stream["reason"] for sink in stream["sinks"] if stream["reason"]):
        yield from _of(where, stream)
    for sink in stream["sinks"]:
        named = os.path.basename(sink["path"]) or sink.get("target") or sink["kind"]
        yield from _of(f"{where} / {named}", sink)
    if any(stream["lost"].values()):
        yield Trouble(f"{where}: lost {losses(stream['lost'])}", _LOSS_ADVICE, is_loss=True)


def _of(where: str, thing: dict[str, Any]) -> Iterator[Trouble]:
    state, reason = thing["state"], thing["reason"] or ""
    if state in HEALTHY and not reason:
        return
    # An error's text is "what, newline, arrow, what to do" (see recd_client.errors).
    reason, _, do = reason.partition("\n  -> ")
    what = f"{where}: {state}" + (f": {reason}" if reason else "")
    advice = _AGAIN if thing.get("target") and state == "failed" else _ADVICE.get(state)
    do = do or advice or f"the daemon's log tells more: {log_path()}"
    yield Trouble(what, do, traceback=thing.get("traceback") or "")
