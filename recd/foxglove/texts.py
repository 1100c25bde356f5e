"""What is said of a mark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..batch import DISCARD, RESET


def text_of(label: str, fields: Mapping[str, Any] | None) -> str:
    """Of one that stands in a recording."""
    name = {RESET: "reset", DISCARD: "discard"}.get(label, f"mark {label}")
    return f"{name}{fields_text(fields)}"


def fields_text(fields: Mapping[str, Any] | None) -> str:
    """Its fields, behind a space each."""
    return "".join(f" {name}={json.dumps(value)}" for name, value in (fields or {}).items())
