"""Names that survive a loss of power.

An ``fsync`` of a file makes its content durable, not its name: that stands in the directory, and the
directory's own name in the one above.
"""

from __future__ import annotations

import os
from pathlib import Path

from .log import sync_directory


def make_directories(path: Path, mode: int = 0o777) -> None:
    """The directory is there, and so it is after a loss of power, with all that were made above it.

    Raises
    ------
    FileExistsError
        Something of that name is there that is no directory.
    """
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


def sync_file(path: Path) -> None:
    """What is in the file is durable."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
