"""What the daemon says of its sessions, asked now and then while anybody looks, and made small for the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from recd_client.control import Caller
from recd_client.errors import RecdError
from recd_client.schema import Schema

from .. import __version__
from ..paths import socket_path
from ..session import SessionStore, read_json
from ..taps.stream import Live, live_streams
from .fields import described

_ANSWER_S: Final = 5.0
#: Rates are those of about so long.
_RATE_S: Final = 2.0


class State:
    """The daemon's state; one thread at a time may ask."""

    def __init__(self) -> None:
        self._caller: Caller | None = None
        self._fields: dict[str, list[dict[str, Any]]] = {}
        self._rates: dict[str, _Rate] = {}
        self.live: list[Live] = []
        #: The newest marks from outside, by session.
        self.marks: dict[str, list[dict[str, Any]]] = {}

    def ask(self) -> dict[str, Any]:
        """The state now, as the page gets it; a daemon that does not answer is told, not raised."""
        try:
            if self._caller is None:
                self._caller = Caller(socket_path(), role="cli", version=__version__)
            answer = self._caller.call("status", timeout_s=_ANSWER_S)
        except RecdError as e:
            self.close()
            self.live, self.marks = [], {}
            return {"type": "state", "running": False, "reason": e.what, "do": e.do, "sessions": []}
        self.live = live_streams(answer["sessions"])
        self.marks = {s["session"]: s.get("marks") or [] for s in answer["sessions"]}
        known = {f"{s.session}/{s.stream}" for s in self.live}
        self._fields = {name: fields for name, fields in self._fields.items() if name in known}
        self._rates = {name: rate for name, rate in self._rates.items() if name in known}
        return {
            "type": "state",
            "running": True,
            "now_unix_s": time.time(),
            "version": answer["daemon"]["version"],
            "sessions": [self._session(s) for s in answer["sessions"]],
        }

    def _session(self, s: dict[str, Any]) -> dict[str, Any]:
        return {
            **{key: s[key] for key in ("session", "name", "state", "reason", "directory", "started_unix_s")},
            "alive": s["client"]["alive"],
            "marks": s.get("marks") or [],
            "marks_total": s.get("marks_total", 0),
            "alerts": [
                {key: alert.get(key) for key in ("condition", "state", "reason")}
                for alert in s.get("alerts") or []
            ],
            "streams": [self._stream(s, stream) for stream in s["streams"]],
        }

    def _stream(self, session: dict[str, Any], stream: dict[str, Any]) -> dict[str, Any]:
        name = f"{session['session']}/{stream['stream']}"
        rate = self._rates.setdefault(name, _Rate())
        return {
            "name": stream["stream"],
            "key": name,
            **{key: stream[key] for key in ("state", "reason", "written", "bytes", "skipped")},
            **{key: stream[key] for key in ("buffered_bytes", "spooled_bytes")},
            "lost": {cause: n for cause, n in stream["lost"].items() if n},
            "rate": rate(stream["written"]),
            "fields": self._fields_of(name, session, stream["stream"]),
            "sinks": [
                {
                    "name": Path(k["path"]).name if k["path"] else k["kind"],
                    "state": k["state"],
                    "reason": k["reason"],
                }
                for k in stream["sinks"]
            ],
        }

    def _fields_of(self, name: str, session: dict[str, Any], stream: str) -> list[dict[str, Any]]:
        found = self._fields.get(name)
        if found is None:
            path = SessionStore(Path(session["directory"]), session["session"]).stream_path(stream)
            try:
                spec = read_json(path / "stream.json")
                found = described(Schema.from_json(spec["schema"])) if spec is not None else []
            except (RecdError, OSError, KeyError, TypeError, ValueError):  # it is only beginning, or ending
                found = []
            if found:
                self._fields[name] = found
        return found

    def close(self) -> None:
        """Hang up."""
        if self._caller is not None:
            self._caller.close()
            self._caller = None


class _Rate:
    """How many samples come per second."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def __call__(self, count: int) -> float:
        now = time.monotonic()
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _RATE_S:
            self._seen.pop(0)
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin) if end > begin else 0.0
