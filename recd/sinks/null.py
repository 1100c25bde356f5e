"""Takes samples and writes nothing: the floor to measure the other sinks against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..batch import Batch
from .base import AppendSink


class NullSink(AppendSink):
    """Counts samples; makes no file.

    Attributes
    ----------
    rows : int
        Samples taken, up to the last :meth:`open` with a state and since.
    """

    rows = 0

    def open(self, path: Path, state: dict[str, Any] | None) -> None:
        """See :class:`AppendSink`; ``path`` is not touched."""
        self.rows = int(state["rows"]) if state else 0

    def write(self, batch: Batch) -> None:
        """See :class:`AppendSink`."""
        self.rows += len(batch)

    def state(self) -> dict[str, Any]:
        """See :class:`AppendSink`."""
        return {"rows": self.rows}

    def has(self, path: Path, state: dict[str, Any]) -> bool:
        """See :class:`AppendSink`; there is nothing to lose."""
        return True

    def sync(self) -> None:
        """See :class:`AppendSink`; nothing to sync."""

    def finish(self) -> None:
        """See :class:`AppendSink`; nothing to complete."""
