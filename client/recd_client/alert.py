"""What a recorder is to watch for: see ``alerts`` of :class:`~recd_client.recorder.Recorder`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from . import checks
from .errors import CodeNotAllowedError, OptionError
from .session import checked_mark

_MAX_ALERTS: Final = 64
_MAX_COMMAND_CHARACTERS: Final = 4096
_LONGEST_S: Final = 1e8


@dataclass(frozen=True)
class Alert:
    """A condition over what is recorded; when it begins to hold, a mark is set, from outside the simulation.

    Parameters
    ----------
    condition : str
        As for ``recd watch``: ``"state.qpos[2] < 0.2"``.
    label : str
        Of the mark.
    every_s : float, s
        The condition is told at most once in so long a time.
    command : str, optional
        Is run in the shell, by recd; only with ``allow_code=True`` here and ``recd start --allow-code``.

    Raises
    ------
    OptionError
        A member is not allowed. Whether the condition can be understood, ``Recorder`` tells.
    """

    condition: str
    label: str = "alert"
    every_s: float = 10.0
    command: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("condition", self.condition), ("command", self.command)):
            if value is None and name == "command":
                continue
            if not isinstance(value, str) or not value.strip():
                raise checks.refuse(f"Alert {name}", value, "a text that is not empty")
        if self.command is not None and len(self.command) > _MAX_COMMAND_CHARACTERS:
            raise OptionError(
                f"Alert command has {len(self.command)} characters, at most {_MAX_COMMAND_CHARACTERS} are allowed",
                "put it into a script",
            )
        checked_mark(self.label, {})
        if checks.positive("Alert every_s", self.every_s, unit="seconds", zero=True) > _LONGEST_S:
            raise checks.refuse("Alert every_s", self.every_s, f"at most {_LONGEST_S:.0f} seconds")

    def to_json(self) -> dict[str, Any]:
        """For the daemon."""
        return {
            "condition": self.condition,
            "label": self.label,
            "every_s": float(self.every_s),
            "command": self.command,
        }


def checked_alerts(alerts: Any, *, allow_code: bool) -> list[dict[str, Any]]:
    """The alerts of a recorder, for the daemon.

    Raises
    ------
    OptionError
        They are not strings and :class:`Alert` objects.
    CodeNotAllowedError
        One has a command, and the recorder does not let code travel.
    """
    if isinstance(alerts, (str, Alert)) or not isinstance(alerts, Iterable):
        raise checks.refuse(
            "alerts", alerts, "a list of conditions (str) and Alert objects", "pass alerts=[...]"
        )
    found: list[Alert] = []
    for i, alert in enumerate(alerts):
        if not isinstance(alert, (str, Alert)):
            raise checks.refuse(f"alerts[{i}]", alert, "a condition (str) or an Alert object")
        found.append(Alert(alert) if isinstance(alert, str) else alert)
        if len(found) > _MAX_ALERTS:
            raise OptionError(f"alerts: more than {_MAX_ALERTS}", "join conditions with 'or'")
    for alert in found:
        if alert.command is not None and not allow_code:
            raise CodeNotAllowedError(
                f"alert {alert.condition!r} has a command, and this recorder does not let code travel",
                "pass allow_code=True to Recorder (and: recd restart --allow-code), or use: recd watch --command",
            )
    return [alert.to_json() for alert in found]
