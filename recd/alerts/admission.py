"""Whether a session's alerts may be watched, before it begins."""

from __future__ import annotations

from typing import Any

from recd_client.errors import CodeNotAllowedError, OptionError

from ..guests import consent
from .rule import Rule


def check(alerts: Any, *, session_allows: bool) -> None:
    """Every alert is understood, and its command may run.

    Raises
    ------
    OptionError
        One is none.
    CodeNotAllowedError
        One has a command, without both consents.
    """
    if not isinstance(alerts, list):
        raise OptionError(f"alerts={alerts!r:.80}: expected a list", "update recd-client")
    for rule in map(Rule.from_json, alerts):
        if rule.command is None:
            continue
        if not session_allows:
            raise CodeNotAllowedError(
                f"alert {rule.condition.text!r} has a command, and its recorder does not let code travel",
                "pass allow_code=True to Recorder (and: recd restart --allow-code), or use: recd watch --command",
            )
        if not consent.given():
            raise CodeNotAllowedError(
                f"alert {rule.condition.text!r} has a command, and this daemon does not run code that travels",
                "recd restart --allow-code; or use: recd watch --command",
            )
