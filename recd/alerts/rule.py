"""What is watched for, and what is told when it happens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recd_client import layout
from recd_client.errors import OptionError

from .condition import Condition

#: Label of marks of alerts, unless another one is asked for.
LABEL: Final = "alert"
EVERY_S: Final = 10.0


@dataclass(frozen=True)
class Rule:
    """A condition, and what follows when it begins to hold.

    Parameters
    ----------
    condition : Condition
    label : str
        Of the mark.
    every_s : float
        It is told at most once in so long a time.
    command : str or None
        What is run in the shell.
    """

    condition: Condition
    label: str = LABEL
    every_s: float = EVERY_S
    command: str | None = None

    @classmethod
    def from_json(cls, data: Any) -> Rule:
        """The rule that a client's ``Alert`` describes.

        Raises
        ------
        OptionError
            Its condition is none, or another member is not what it should be.
        """
        if not isinstance(data, dict):
            raise OptionError(f"alert {data!r:.80}: expected an object", "update recd-client")
        label, every_s, command = data.get("label", LABEL), data.get("every_s", EVERY_S), data.get("command")
        if not isinstance(label, str) or not label:
            raise OptionError(f"alert: label={label!r:.80}: expected a text", "correct it")
        if isinstance(every_s, bool) or not isinstance(every_s, int | float) or not 0 <= every_s < 1e9:
            raise OptionError(f"alert: every_s={every_s!r:.80}: expected seconds, 0 or more", "correct it")
        if not isinstance(command, str | None):
            raise OptionError(f"alert: command={command!r:.80}: expected a text or null", "correct it")
        return cls(Condition(data.get("condition")), label, float(every_s), command)


@dataclass(frozen=True)
class Firing:
    """A condition has begun to hold.

    Parameters
    ----------
    rule : Rule
    session, run : str
        Id and name of the recording.
    directory : Path
        Of the recording.
    stream : str or None
        Whose sample met it; None if no sample did.
    t, seq : float, int or None
        Of that sample.
    value : object
        What the condition compares, of that sample.
    seen : dict
        What else it looks at.
    held_back : int
        How often it had begun to hold since it was told, too soon to be told.
    place : int
        Of the rule, among those that are watched for.
    """

    rule: Rule
    session: str
    run: str
    directory: Path
    stream: str | None
    t: float | None
    seq: int | None
    value: Any
    seen: dict[str, Any]
    held_back: int
    place: int = 0

    def mark(self) -> dict[str, Any]:
        """The request that puts it on the timeline; what does not fit into a mark is left out."""
        fields: dict[str, Any] = {"condition": self.rule.condition.text, "value": self.value}
        if self.held_back:
            fields["held_back"] = self.held_back
        if self.seen and list(self.seen.values()) != [self.value]:
            fields["seen"] = self.seen
        for name in ("seen", "value"):
            size = len(json.dumps({"label": self.rule.label, "fields": fields}, separators=(",", ":")))
            if size > layout.MAX_MARK_BYTES:
                fields.pop(name, None)
        whole = fields["condition"]
        while len(json.dumps({"label": self.rule.label, "fields": fields})) > layout.MAX_MARK_BYTES and whole:
            whole = whole[: len(whole) // 2]
            fields["condition"] = f"{whole}..."
        return {
            "session": self.session,
            "label": self.rule.label,
            "fields": fields,
            "stream": self.stream,
            "t": self.t,
            "seq": self.seq,
            "source": "alert",
        }

    def to_json(self) -> dict[str, Any]:
        """For ``recd watch --json``."""
        return {
            "condition": self.rule.condition.text,
            "label": self.rule.label,
            "session": self.session,
            "name": self.run,
            "directory": str(self.directory),
            "stream": self.stream,
            "t": self.t,
            "seq": self.seq,
            "value": self.value,
            "seen": self.seen,
            "held_back": self.held_back,
        }

    def environment(self) -> dict[str, str]:
        """For its command."""
        told = {
            "ALERT": self.rule.condition.text,
            "SESSION": self.session,
            "STREAM": self.stream,
            "T": self.t,
            "SEQ": self.seq,
            "VALUE": self.value if isinstance(self.value, str) else json.dumps(self.value),
            "DIRECTORY": self.directory,
        }
        return {f"RECD_{name}": "" if value is None else str(value) for name, value in told.items()}
