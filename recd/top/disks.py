"""What is left on the disks that recordings go to, and for how long it lasts."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

#: The pace at which a disk fills is taken over so long: files grow by leaps.
WINDOW_S: Final = 60.0
#: Slower than that is no filling.
_LEAST_PER_S: Final = 1000.0


@dataclass(frozen=True)
class Disk:
    """One file system.

    Parameters
    ----------
    path : str
        A directory on it that is recorded into.
    free_bytes, total_bytes : int
    filling_per_s : float or None
        Bytes per second that it lost of late, whoever wrote them; None before it was looked at twice.
    watched_s : float
        Over how long that is known.
    """

    path: str
    free_bytes: int
    total_bytes: int
    filling_per_s: float | None = None
    watched_s: float = 0.0

    @property
    def full_in_s(self) -> float | None:
        """When nothing is left, at this pace; None if it does not fill."""
        if self.filling_per_s is None or self.filling_per_s < _LEAST_PER_S:
            return None
        return self.free_bytes / self.filling_per_s


def usage(path: str) -> tuple[int, int, int]:
    """Device, free bytes (for an ordinary user) and all bytes of the file system that holds ``path``."""
    found = os.statvfs(path)
    return os.stat(path).st_dev, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Disks:
    """Looks at disks, again and again.

    Parameters
    ----------
    usage : callable
        As :func:`usage`.
    """

    def __init__(self, usage: Callable[[str], tuple[int, int, int]] = usage) -> None:
        self._usage = usage
        self._past: dict[int, deque[tuple[float, int]]] = {}

    def look(self, directories: Iterable[str], now_s: float) -> list[Disk]:
        """The disks of these directories, the one with the least time or room left first."""
        found: dict[int, Disk] = {}
        for path in dict.fromkeys(directories):
            try:
                device, free, total = self._usage(path)
            except OSError:  # the directory is away: its session says so
                continue
            if device not in found:
                found[device] = Disk(path, free, total, *self._pace(device, free, now_s))
        self._past = {device: past for device, past in self._past.items() if device in found}
        return sorted(found.values(), key=lambda d: (d.full_in_s or float("inf"), d.free_bytes))

    def _pace(self, device: int, free: int, now_s: float) -> tuple[float | None, float]:
        past = self._past.setdefault(device, deque())
        past.append((now_s, free))
        while len(past) > 2 and past[1][0] <= now_s - WINDOW_S:
            past.popleft()
        then_s, before = past[0]
        watched_s = now_s - then_s
        return (max((before - free) / watched_s, 0.0) if watched_s > 0 else None), watched_s
