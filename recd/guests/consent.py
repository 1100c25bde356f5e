"""The consent to run users' code: that of the daemon, or of whoever recovers, is given with ``--allow-code``."""

from __future__ import annotations

import os
from typing import Final

#: Set by the daemon for its workers; what it finds there itself does not count.
VARIABLE: Final = "RECD_ALLOW_CODE"

_foreign = False


def give(allowed: bool) -> None:
    """The daemon's word, for this process and its children."""
    os.environ[VARIABLE] = "1" if allowed else ""


def given() -> bool:
    """Whether the daemon has allowed it."""
    return os.environ.get(VARIABLE) == "1"


def distrust() -> None:
    """Say that this process works on a recording of which nothing here tells that this user has made it."""
    global _foreign
    _foreign = True


def foreign() -> bool:
    """Whether it does: then what the recording names is not even imported without the consent."""
    return _foreign
