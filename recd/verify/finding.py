"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Everything is as it should be; it is not finished; samples are missing, and told; something is damaged.
OK: Final = "ok"
NOTE: Final = "note"
LOSS: Final = "loss"
DAMAGE: Final = "damage"

FROM_COPY: Final = "restore it from a copy"
FROM_LOG: Final = "its samples are in the log: recd recover"
KEEP: Final = "keep what is left: recd recover finishes the files of what can be read"


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Parameters
    ----------
    level : {"ok", "note", "loss", "damage"}
    path : Path
        The file or directory that it is about.
    what : str
        What was found, and where in it.
    do : str
        What can be done; empty where nothing need be.
    """

    level: str
    path: Path
    what: str
    do: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether samples are missing, or may be."""
        return self.level in (LOSS, DAMAGE)
