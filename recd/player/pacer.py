"""When each event of a recording is due, by the monotonic clock; nothing sleeps here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from recd_client.errors import OptionError

#: Who is later than this goes on from there: what stood still is not run after.
SLIP_S: Final = 1.0
#: Bins of lateness: twenty per decade, from a microsecond on.
_BINS: Final = 180
_PER_DECADE: Final = 20
_LEAST_S: Final = 1e-6


def checked_rate(rate: float) -> float:
    """A rate: seconds of the recording per second; 0 is as fast as can be.

    Raises
    ------
    OptionError
        It is negative, or no number.
    """
    try:
        value = float(rate)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise OptionError(
            f"rate={rate!r}: expected a number >= 0, 1 is as it was recorded, 0 as fast as it is taken",
            "for half the speed: rate=0.5",
        )
    return value


class Lateness:
    """How late events were, in constant memory."""

    def __init__(self) -> None:
        self.count = 0
        self.max_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)

    def add(self, late_s: float) -> None:
        """Count one."""
        late_s = max(late_s, 0.0)
        self.count += 1
        self.max_s = max(self.max_s, late_s)
        place = math.log10(max(late_s, _LEAST_S) / _LEAST_S) * _PER_DECADE
        self._bins[min(math.ceil(place), _BINS - 1)] += 1

    def quantile_s(self, share: float) -> float:
        """So many of them were no later than this: at most an eighth more than exactly."""
        if not self.count:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        bound: float = _LEAST_S * 10.0 ** (at / _PER_DECADE)
        return min(bound, self.max_s)


@dataclass(frozen=True)
class Pacing:
    """How well it went.

    Parameters
    ----------
    events : int
        That had a time: not those at rate 0, nor of single steps.
    late_max_s, late_p99_s : float, s
        How long behind their time the latest, and all but one in a hundred, were given.
    slipped_s : float, s
        What was not made up for, because whoever takes the events was not there.
    """

    events: int
    late_max_s: float
    late_p99_s: float
    slipped_s: float


class Pacer:
    """Ties positions in a recording to the monotonic clock.

    Due times follow from one anchor, so errors do not add up. The anchor moves only where playing is no
    longer what it was: pause, another rate, another place; or who takes the events was away.

    Parameters
    ----------
    rate : float
        Seconds of the recording per second; 0: everything is due at once.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, rate: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = checked_rate(rate)
        self.clock = clock
        self._at = 0.0
        self._since: float = clock()
        self._paused = False
        self._lateness = Lateness()
        self._slipped_s = 0.0

    # --- where ---------------------------------------------------------------------------------------
    def position(self, limit: float = math.inf) -> float:
        """Where playing is now; not behind ``limit``, the next event that nobody has taken yet."""
        if self._paused or self._rate == 0:
            return self._at
        now = self._at + (self.clock() - self._since) * self._rate
        return max(self._at, min(now, limit))

    def due(self, position: float) -> float | None:
        """When an event is to be given, on the clock; None while paused."""
        if self._paused:
            return None
        return self._since + ((position - self._at) / self._rate if self._rate else 0.0)

    def took(self, position: float) -> None:
        """An event was given now."""
        if self._paused or self._rate == 0:
            self._at = max(self._at, position)
            return
        late_s = self.clock() - (self._since + (position - self._at) / self._rate)
        self._lateness.add(late_s)
        if late_s > SLIP_S:
            self._since += late_s
            self._slipped_s += late_s

    # --- changes -------------------------------------------------------------------------------------
    def move(self, position: float, delay_s: float = 0.0) -> None:
        """Go on from another place, in ``delay_s`` from now."""
        self._at, self._since = position, self.clock() + delay_s

    @property
    def rate(self) -> float:
        """Seconds of the recording per second."""
        return self._rate

    def set_rate(self, rate: float, limit: float = math.inf) -> None:
        """Go on at another rate, from where playing is."""
        rate = checked_rate(rate)
        self._anchor(limit)
        self._rate = rate

    @property
    def paused(self) -> bool:
        """Whether nothing is due."""
        return self._paused

    def pause(self, limit: float = math.inf) -> None:
        """Nothing is due until :meth:`resume`."""
        self._anchor(limit)
        self._paused = True

    def resume(self) -> None:
        """Go on from where playing was paused."""
        if self._paused:
            self._paused = False
            self._since = self.clock()

    def _anchor(self, limit: float) -> None:
        now = self.clock()
        self._at = self.position(limit)
        self._since = max(now, self._since)  # a delay that is not over stays

    @property
    def summary(self) -> Pacing:
        """How late events were."""
        late = self._lateness
        return Pacing(late.count, late.max_s, late.quantile_s(0.99), self._slipped_s)
