"""When a sample is, and whether it is due."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from .errors import SchemaError
from .native import extension

#: Recorded as a sample's step where the step is not known.
UNKNOWN_STEP: Final = -1
_MAX_STEP: Final = (1 << 63) - 1


if TYPE_CHECKING or extension is None:

    class Times:
        """The numbers of a clock."""

        __slots__ = ("dt", "last_step", "last_t", "opened_ns", "step")
        dt: float | None
        last_t: float | None
        last_step: int
        opened_ns: int
        step: int

else:
    Times = extension.Times


class Clock(Times):
    """The time base that the streams of a recorder share.

    Parameters
    ----------
    dt : float or None, s
        Length of a simulation step.
    """

    __slots__ = ("opened_wall_ns",)

    def __init__(self, dt: float | None) -> None:
        self.dt = dt
        self.opened_wall_ns = time.time_ns()
        self.opened_ns = time.monotonic_ns()
        #: Number of the running step; unknown until the recorder's ``step()`` was used.
        self.step = UNKNOWN_STEP
        #: Those of the latest sample, of any stream.
        self.last_t = None
        self.last_step = UNKNOWN_STEP

    def resolve(self, t: Any, step: Any, calls: int, mono_ns: int) -> tuple[float, int]:
        """Time and step of a sample: what was given, else what follows from ``dt``, else the clock.

        ``calls`` is the index of this call of the stream: its step where nothing better is known.
        """
        if step is None:
            step = self.step
        elif type(step) is not int or not -_MAX_STEP <= step <= _MAX_STEP:
            step = _as_step(step)
        if t is None:
            if self.dt is None:
                return (mono_ns - self.opened_ns) * 1e-9, step
            if step < 0:
                step = calls
            t = step * self.dt
        elif type(t) is not float:
            t = _as_seconds(t)
        self.last_t = t
        self.last_step = step
        return t, step

    def event(self) -> tuple[float, int, int]:
        """Time, step and monotonic nanoseconds of an event: those of the latest sample or step, if any."""
        mono_ns = time.monotonic_ns()
        if self.last_t is not None:
            return self.last_t, self.last_step, mono_ns
        return *self.resolve(None, None, 0, mono_ns), mono_ns


def _as_step(step: Any) -> int:
    try:
        value = step.__index__()
        if -_MAX_STEP <= value <= _MAX_STEP:
            return int(value)
    except (AttributeError, TypeError):
        pass
    raise SchemaError(f"step={step!r}: expected a whole number", "pass the simulation's step counter")


def _as_seconds(t: Any) -> float:
    try:
        return float(t)
    except (TypeError, ValueError, OverflowError):
        raise SchemaError(
            f"t={t!r}: expected seconds of stream time, one number", "pass the simulation's time, or None"
        ) from None


class PythonGate:
    """Thins a stream out to ``hz`` samples per second of stream time.

    Due times form a grid from the first sample on. A sample is due when its time reaches the next
    point with half a step's tolerance, so that the nearest one is kept. Where time goes back, the
    grid begins anew.

    Parameters
    ----------
    hz : float
    dt : float or None, s
        Length of a step; where unknown, the distance from the sample before stands for it.
    """

    def __init__(self, hz: float, dt: float | None) -> None:
        self._period_s = 1.0 / hz
        self._dt = dt
        self.restart()

    def restart(self) -> None:
        """Make the next sample due, and the first of a new grid."""
        self._start = self._last = math.nan
        self._next = -math.inf

    def is_due(self, t: float) -> bool:
        """Whether the sample at ``t`` is to be kept; advances the grid if so. NaN and inf always are."""
        if not math.isfinite(t):
            return True
        last, self._last = self._last, t
        if t < last or last != last:
            self._start = t
            self._next = t + self._period_s
            return True
        half_step = 0.5 * min(self._dt or t - last, self._period_s)
        if t + half_step < self._next - 1e-9 * self._period_s:  # the rounding of sums of dt
            return False
        points = (t + half_step - self._start) / self._period_s + 1e-9
        if points < math.inf:  # else it is beyond what a float counts, and so is the next point
            points = math.floor(points)
        self._next = self._start + (points + 1) * self._period_s
        return True


if TYPE_CHECKING or extension is None:  # noqa: SIM108  - a checker takes an alias in this form only
    Gate = PythonGate
else:
    Gate = extension.Gate


def whole_steps(hz: float, dt: float) -> tuple[int, bool]:
    """Steps from one sample to the next in pull form, and whether that gives ``hz`` exactly."""
    exact = 1.0 / (hz * dt)
    steps = max(1, round(exact))
    return steps, math.isclose(steps, exact, rel_tol=1e-6)
