"""A view as plain data, for ``recd top --json``; the keys are documented in docs/cli.md."""

from __future__ import annotations

from typing import Any

from .rates import SessionView, StreamView, View
from .screen import Choice

_RATES = ("samples_per_s", "bytes_per_s", "lost_per_s", "encoded_per_s")


def as_data(view: View, choice: Choice) -> dict[str, Any]:
    """Everything that is shown; streams stand below their sessions, in the chosen order."""
    shown = [row for row in choice.rows(view) if isinstance(row, StreamView)]
    sessions = [row for row in choice.rows(view) if isinstance(row, SessionView)] or view.sessions
    return {
        "daemon": view.daemon,
        "sessions": [
            {**session.told, "streams": [_stream(s) for s in shown if s.session == session.session]}
            for session in sessions
        ],
        "totals": {name: view.total(name) for name in _RATES},
        "disks": [
            {**{k: v for k, v in vars(disk).items() if k != "watched_s"}, "full_in_s": disk.full_in_s}
            for disk in view.disks
        ],
        "warnings": [trouble._asdict() for trouble in view.troubles],
    }


def _stream(stream: StreamView) -> dict[str, Any]:
    return {**stream.told, **{name: getattr(stream, name) for name in _RATES}, "losing": stream.losing}
