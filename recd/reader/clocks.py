"""Step and monotonic time of samples whose files hold neither: only where the time base tells them, exactly.

Without an explicit ``t`` the client makes it as ``step * dt``, or where no ``dt`` is known as
``(mono_ns - opened_ns) * 1e-9``. The manifest has step and monotonic time of the first and the last sample: if
both prove the rule bit for bit, each sample that it gives back bit for bit was made by it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import StreamData
from .numbering import UNKNOWN

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_MOST: float = 2.0**62


@dataclass(frozen=True)
class Derived:
    """What the times of a stream tell.

    Parameters
    ----------
    dt : float or None, s
        Times are multiples of it; None if they are not known to be.
    opened_ns : int or None
        Times are seconds since then; None if they are not known to be.
    """

    dt: float | None = None
    opened_ns: int | None = None

    @classmethod
    def of(cls, data: StreamData) -> Derived:
        """What the manifest proves."""
        told, clocks = data.told, data.clocks
        ends: list[tuple[Any, ...]] = [
            tuple(told.get(key.format(end)) for key in ("t_{}", "step_{}", "mono_{}_ns"))
            for end in ("first", "last")
        ]
        if not told.get("samples"):
            return cls()
        dt, opened = clocks.dt, clocks.start_mono_ns
        if any(t is None for t, _, _ in ends):
            return cls()
        if dt is not None and all(step is not None and step >= 0 and step * dt == t for t, step, _ in ends):
            return cls(dt=dt)
        if (
            dt is None
            and opened is not None
            and all(mono is not None and (mono - opened) * 1e-9 == t for t, _, mono in ends)
        ):
            return cls(opened_ns=opened)
        return cls()

    @property
    def known(self) -> set[str]:
        """Of ``step`` and ``wall`` what times tell."""
        return ({"step"} if self.dt is not None else set()) | (
            {"wall"} if self.opened_ns is not None else set()
        )

    def step(self, t: Floats) -> Ints:
        """Steps of samples at these times; -1 where unknown."""
        if self.dt is None:
            return np.full(len(t), UNKNOWN, np.int64)
        steps = _whole(t / self.dt)
        return np.where(steps * self.dt == t, steps, UNKNOWN)

    def mono_ns(self, t: Floats) -> Ints:
        """Monotonic times of samples at these times; -1 where unknown."""
        if self.opened_ns is None:
            return np.full(len(t), UNKNOWN, np.int64)
        since = _whole(t * 1e9)
        return np.where(since * 1e-9 == t, since + self.opened_ns, UNKNOWN)


def _whole(values: Floats) -> Ints:
    fit = np.abs(values) < _MOST  # false for NaN
    return np.rint(np.where(fit, values, 0.0)).astype(np.int64)
