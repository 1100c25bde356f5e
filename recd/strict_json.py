"""JSON that every parser reads: no NaN, no infinity; and long lists of numbers on one line."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

#: A list without anything nested in it; no string of JSON contains a line break.
_FLAT_LIST: Final = re.compile(r'\[\n([^\[\]{}"]*?)\s*\]')


def finite(data: Any) -> Any:
    """The same plain data with null for numbers that JSON does not have."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(k): finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(v) for v in data]
    return data


def text(data: Any) -> str:
    """The data as indented JSON, its lists of numbers on one line each."""
    indented = json.dumps(finite(data), indent=1, allow_nan=False)
    return _FLAT_LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", indented)
