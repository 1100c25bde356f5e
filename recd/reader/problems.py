"""What cannot be read is named, once, and the rest is read."""

from __future__ import annotations

import warnings

from recd_client.errors import IncompleteRecordingWarning


def tell(problems: list[str], problem: str) -> None:
    """Add a problem, with a warning, unless it was told before."""
    if problem not in problems:
        problems.append(problem)
        warnings.warn(problem, IncompleteRecordingWarning, stacklevel=2)
