"""What happens on a session's timeline, and to it, as ``foxglove.Log``: marks, resets, alerts, losses, trouble."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Any, Final

from foxglove.messages import Log, LogLevel, Timestamp

from ..batch import DISCARD, RESET, Event
from .channels import Output
from .options import Options

_KNOWN: Final = 1000
#: States of a session in which nothing needs to be told.
_FINE: Final = ("recording", "finishing")


class Events:
    """The events of one session.

    Parameters
    ----------
    output : Output
    run : str
    options : Options
    offset_ns : int
        What to add to the monotonic clock for Unix time.
    """

    def __init__(self, output: Output, run: str, options: Options, offset_ns: int) -> None:
        self.output = output
        #: Stream time now, for what has none of its own.
        self.t = 0.0
        self._run, self._options, self._offset_ns = run, options, offset_ns
        #: A recorder's mark stands in the ring of each of its streams.
        self._told: deque[tuple[int, str]] = deque(maxlen=_KNOWN)
        self._lost: dict[tuple[str, str], int] = {}
        self._outside = -1
        self._trouble: tuple[str, str] | None = None

    def ring(self, event: Event) -> None:
        """An event that stood in a stream's ring."""
        if (
            event.kind != "mark"
        ):  # what is lost is told by the daemon, of streams that nobody looks at as well
            return
        label = str(event.data.get("label", ""))
        key = (event.mono_ns, label)
        if key not in self._told:
            self._told.append(key)
            name = {RESET: "reset", DISCARD: "discard"}.get(label, f"mark {label}")
            text = f"{name}{_fields(event.data.get('fields'))}"
            self._send(LogLevel.Info, text, self._run, event.t, event.mono_ns)

    def status(self, session: dict[str, Any]) -> None:
        """What the daemon tells of the session now."""
        now = time.monotonic_ns()
        for stream in session["streams"]:
            for cause, count in stream["lost"].items():
                key = (str(stream["stream"]), str(cause))
                before, self._lost[key] = self._lost.get(key, 0), int(count)
                if count > before:
                    text = f"{key[0]}: {count - before} samples lost ({cause}), {count} in all"
                    self._send(LogLevel.Warning, text, f"{self._run}/{key[0]}", None, now)
        for mark in session.get("marks") or ():
            self._mark(mark)
        trouble = (str(session["state"]), str(session["reason"]))
        if trouble != self._trouble and trouble[0] not in _FINE:
            self._send(LogLevel.Error, ": ".join(filter(None, trouble)), self._run, None, now)
        self._trouble = trouble

    def _mark(self, mark: dict[str, Any]) -> None:
        """A mark that was set from outside, or by an alert."""
        if int(mark["n"]) <= self._outside:
            return
        self._outside = int(mark["n"])
        alert = mark.get("source") == "alert"
        name = "/".join(filter(None, (self._run, mark.get("stream"))))
        text = f"{'alert' if alert else 'mark'} {mark['label']}{_fields(mark.get('fields'))}"
        level = LogLevel.Warning if alert else LogLevel.Info
        self._send(level, text, name, mark.get("t"), int(mark["mono_ns"]))

    def _send(self, level: Any, text: str, name: str, t: float | None, mono_ns: int) -> None:
        if not self.output.wanted:
            return
        if t is not None:
            text = f"{text}  t={t:.6g}"
        time_ns = self._options.time_ns(self.t if t is None else t, mono_ns, self._offset_ns)
        stamp = Timestamp(time_ns // 1_000_000_000, time_ns % 1_000_000_000)
        self.output.send(Log(timestamp=stamp, level=level, message=text, name=name), time_ns)


def _fields(fields: dict[str, Any] | None) -> str:
    return "".join(f" {name}={json.dumps(value)}" for name, value in (fields or {}).items())
