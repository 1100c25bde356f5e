"""When a condition that holds is told: at a rising edge, and not too often."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SECOND_NS: Final = 1_000_000_000


class Gate:
    """One condition's edges over one stream, or over time.

    Before the first sample that is looked at, nothing held: a condition that holds there fires.

    Parameters
    ----------
    every_s : float
        It fires at most once in so long a time.

    Attributes
    ----------
    held_back : int
        Edges that came too soon since it fired.
    open_ns : int
        Edges before this time, on the monotonic clock, come too soon.
    """

    def __init__(self, every_s: float) -> None:
        self._every_ns = round(every_s * _SECOND_NS)
        self._holds = False
        self.held_back = 0
        self.open_ns = 0

    def fires(self, truth: NDArray[np.bool_], mono_ns: NDArray[np.uint64]) -> list[tuple[int, int]]:
        """The samples at which it fires, and the edges that were held back before each.

        Parameters
        ----------
        truth : ndarray, (n,) bool
            Whether the condition holds, for the samples that follow those of the last call.
        mono_ns : ndarray, (n,) uint64, ns
            When they were written.
        """
        rising = np.flatnonzero(truth & ~np.concatenate([[self._holds], truth[:-1]]))
        self.pass_over(truth)
        when = mono_ns[rising].astype(np.int64)
        fired: list[tuple[int, int]] = []
        at = 0
        while at < len(rising):
            due = np.flatnonzero(when[at:] >= self.open_ns)
            if not due.size:
                self.held_back += len(rising) - at
                break
            self.held_back += int(due[0])
            at += int(due[0])
            fired.append((int(rising[at]), self.held_back))
            self.held_back, self.open_ns = 0, int(when[at]) + self._every_ns
            at += 1
        return fired

    def pass_over(self, truth: NDArray[np.bool_]) -> None:
        """Samples that were told of before: only how they end counts."""
        if len(truth):
            self._holds = bool(truth[-1])
