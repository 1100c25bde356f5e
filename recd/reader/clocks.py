"""Step and monotonic time of samples whose files hold neither.

Without an explicit ``t`` the client makes it as ``step * dt``, or where no ``dt`` is known as
``(mono_ns - opened_ns) * 1e-9``. The manifest has step and monotonic time of the first and the last sample: if
both prove the rule bit for bit, each sample that it gives back bit for bit was made by it, too. Where times are not
the clock, the manifest's line through some samples (:mod:`recd.clockline`) tells about when the others were written.
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
class Line:
    """When samples were written, by their numbers.

    Parameters
    ----------
    seq : ndarray, (n,) int64
        Of some samples, ascending.
    mono_ns : ndarray, (n,) int64
        The monotonic clock at their writes.
    tolerance_ns : int
        How far off other samples may be that the daemon looked at.
    """

    seq: Ints
    mono_ns: Ints
    tolerance_ns: int

    @classmethod
    def of(cls, told: Any) -> Line | None:
        """The line that a manifest tells; None if it tells none, or nonsense."""
        try:
            seq, mono = np.array(told["seq"], np.int64), np.array(told["mono_ns"], np.int64)
            tolerance = int(told["tolerance_ns"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if not len(seq) or seq.shape != mono.shape or seq.ndim != 1 or (np.diff(seq) <= 0).any():
            return None
        return cls(seq, mono, tolerance)

    def at(self, seq: Ints) -> Ints:
        """Monotonic times of the samples with these numbers; -1 of those before, behind, and without a number."""
        begin = self.mono_ns[0]  # times since then are exact as floats
        between = np.interp(seq, self.seq, (self.mono_ns - begin).astype(np.float64))
        inside = (seq >= self.seq[0]) & (seq <= self.seq[-1])
        return np.where(inside, np.rint(between).astype(np.int64) + begin, UNKNOWN)

    def within(self, first: int, last: int) -> list[tuple[int, int]]:
        """Number and time of the points from sample ``first`` to ``last``, and of these two."""
        inside = (self.seq > first) & (self.seq < last)
        seq = np.unique([first, *self.seq[inside].tolist(), last])
        return [(n, ns) for n, ns in zip(seq.tolist(), self.at(seq).tolist(), strict=True) if ns != UNKNOWN]


@dataclass(frozen=True)
class Derived:
    """What the times of a stream tell, and its line.

    Parameters
    ----------
    dt : float or None, s
        Times are multiples of it; None if they are not known to be.
    opened_ns : int or None
        Times are seconds since then; None if they are not known to be.
    line : Line or None
        What tells when samples were written whose times do not.
    """

    dt: float | None = None
    opened_ns: int | None = None
    line: Line | None = None

    @classmethod
    def of(cls, data: StreamData) -> Derived:
        """What the manifest proves."""
        told, clocks, line = data.told, data.clocks, Line.of(data.told.get("clock"))
        ends: list[tuple[Any, ...]] = [
            tuple(told.get(key.format(end)) for key in ("t_{}", "step_{}", "mono_{}_ns"))
            for end in ("first", "last")
        ]
        if not told.get("samples"):
            return cls(line=line)
        dt, opened = clocks.dt, clocks.start_mono_ns
        if any(t is None for t, _, _ in ends):
            return cls(line=line)
        if dt is not None and all(step is not None and step >= 0 and step * dt == t for t, step, _ in ends):
            return cls(dt=dt, line=line)
        if (
            dt is None
            and opened is not None
            and all(mono is not None and (mono - opened) * 1e-9 == t for t, _, mono in ends)
        ):
            return cls(opened_ns=opened, line=line)
        return cls(line=line)

    @property
    def known(self) -> set[str]:
        """Of ``step`` and ``wall`` what times tell exactly."""
        return ({"step"} if self.dt is not None else set()) | (
            {"wall"} if self.opened_ns is not None else set()
        )

    def step(self, t: Floats) -> Ints:
        """Steps of samples at these times; -1 where unknown."""
        if self.dt is None:
            return np.full(len(t), UNKNOWN, np.int64)
        steps = _whole(t / self.dt)
        return np.where(steps * self.dt == t, steps, UNKNOWN)

    def mono_ns(self, t: Floats, seq: Ints) -> Ints:
        """Monotonic times of samples with these times and numbers; -1 where unknown."""
        rest = np.full(len(t), UNKNOWN, np.int64) if self.line is None else self.line.at(seq)
        if self.opened_ns is None:
            return rest
        since = _whole(t * 1e9)
        return np.where(since * 1e-9 == t, since + self.opened_ns, rest)


def _whole(values: Floats) -> Ints:
    fit = np.abs(values) < _MOST  # false for NaN
    return np.rint(np.where(fit, values, 0.0)).astype(np.int64)
