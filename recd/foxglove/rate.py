"""How much of a stream is sent: all of it while that is at most so many samples per second, else evenly thinned."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Samples come in bursts, looks are late: what was not used is kept for so long.
_KEPT_S: Final = 0.25


class Rate:
    """Lets through so many samples per second.

    Parameters
    ----------
    hz : float
    """

    def __init__(self, hz: float) -> None:
        self._hz = hz
        self._most = max(hz * _KEPT_S, 1.0)
        self._room = self._most
        self._asked_s: float | None = None

    def ready(self, now_s: float) -> bool:
        """Whether one more may go; ``now_s`` never goes back."""
        if self._asked_s is not None:
            self._room = min(self._room + (now_s - self._asked_s) * self._hz, self._most)
        self._asked_s = now_s
        return self._room >= 1

    def choose(self, count: int, now_s: float) -> NDArray[np.intp]:
        """Which of ``count`` new samples go: the newest always, where any may, the others at equal distances."""
        chosen = min(int(self._room) if self.ready(now_s) else 0, count)
        self._room -= chosen
        if not chosen:
            return np.empty(0, np.intp)
        return -(-np.arange(1, chosen + 1, dtype=np.intp) * count // chosen) - 1
