"""A damaged ring as it was found, kept beside its log for somebody to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from recd_client import layout
from recd_client.backend import RingConsumer

_MOST_BYTES: Final = 16 << 20


def keep(ring: RingConsumer, path: Path) -> None:
    """Write the ring's pages, and what was not freed of it, to a new file.

    The kernel copies it: memory that is gone is an error for it, where this process would die.

    Raises
    ------
    OSError
        There is one already, or no room.
    """
    at = ring.free_position % ring.capacity_bytes
    parts = [ring.buffer[: layout.DATA_OFFSET], ring.data[at:], ring.data[:at]]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = _MOST_BYTES
        for part in parts:
            left -= os.write(fd, part[:left])
    finally:
        os.close(fd)
