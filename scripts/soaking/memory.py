"""Whether memory grows: a line through what a process has, with the noise that it lies in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np


def anonymous_kib(pid: int) -> int:
    """Memory of a process that is its own, rings and files not counted; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Anonymous:")), 0)


class Slope:
    """Memory of a process over time; of one that is replaced, only the last one counts.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._pid = 0
        self._points: list[tuple[float, int]] = []

    def look(self, pid: int | None, now_s: float) -> None:
        """Note what the process has."""
        if not pid or not (kib := anonymous_kib(pid)):
            return
        if pid != self._pid:
            self._pid, self._points = pid, []
        self._points.append((now_s, kib))

    def fit(self) -> tuple[float, float, float]:
        """Growth over the second half of the time, its noise (three standard errors), and the mean; KiB.

        The first half is a process that warms up. Neighbours are alike, so the error is that of the means of
        eight stretches.
        """
        points = np.array(self._points[len(self._points) // 2 :], float)
        if len(points) < 16:
            return math.nan, math.nan, math.nan
        t, kib = (np.array([part.mean() for part in np.array_split(column, 8)]) for column in points.T)
        t = t - t.mean()
        slope = float((t * kib).sum() / (t * t).sum())
        rest = kib - kib.mean() - slope * t
        error = math.sqrt(float((rest * rest).sum()) / 6 / float((t * t).sum()))
        lasted = float(points[-1, 0] - points[0, 0])
        return slope * lasted, 3 * error * lasted, float(kib.mean())

    @property
    def grows(self) -> bool:
        """Whether it grew by more than noise, and by more than the pages that any allocator keeps (2 % and 256 KiB)."""
        growth, noise, mean = self.fit()
        return growth > noise and growth > 0.02 * mean + 256
