"""The daemon's consent to code that travels: given with ``--allow-code``, handed on to its children."""

from __future__ import annotations

import os
from typing import Final

#: Set by the daemon for its workers; what it finds there itself does not count.
VARIABLE: Final = "RECD_ALLOW_CODE"


def give(allowed: bool) -> None:
    """The daemon's word, for this process and its children."""
    os.environ[VARIABLE] = "1" if allowed else ""


def given() -> bool:
    """Whether the daemon has allowed it."""
    return os.environ.get(VARIABLE) == "1"
