"""The newest samples of a line plot, and the limits of its axes, which move in steps: what stands still is drawn once.

No library that draws is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch

#: Numbers beyond are as good as infinite: the span of two of them must be a number.
_HUGE: Final = 1e300
#: Room at the right of the newest sample, as a share of what is shown, when the time axis moves on.
_AHEAD: Final = 0.25
#: How much the time axis grows by while the history is not full.
_GROWTH: Final = 1.6
#: Room above and below the data, as a share of their span.
_MARGIN: Final = 0.08
#: The vertical axis closes in on data that take less than this share of it.
_LEAST_SHARE: Final = 0.4
#: A span below this share of the numbers themselves is noise of floats: the line is drawn as a constant.
_FLAT: Final = 1e-9
_LEAST_SPAN: Final = 1e-280

Limits = tuple[float, float]


class History:
    """The last samples of some fields; a break of the line where samples are missing.

    Parameters
    ----------
    fields : sequence of (str, int)
        Names, and how many numbers each has.
    length : int
        Samples that are kept.
    """

    def __init__(self, fields: Sequence[tuple[str, int]], length: int) -> None:
        self.length = length
        # Twice as long, so that the newest ones always lie one behind the other; a break takes a place too.
        self._room = 2 * length + 64
        self._t: NDArray[np.float64] = np.empty(self._room)
        self._y = {name: np.empty((self._room, count)) for name, count in fields}
        self._end = 0
        self._next_seq = -1
        #: Whether a sample has come since the history began, or began anew.
        self.empty = True

    def take(self, batch: Batch) -> None:
        """Take samples; of many at once only those that are shown."""
        if not len(batch):
            return
        seq = batch.seq.astype(np.int64)
        t = _times(batch.t, 0.0 if self.empty else float(self._t[self._end - 1]))
        before = np.flatnonzero(
            t[:-1] > t[1:]
        )  # time went back: another episode, which begins with an empty plot
        first = int(before[-1]) + 1 if len(before) else 0
        if first or (not self.empty and t[0] < self._t[self._end - 1]):
            self._forget()
        first = max(first, len(seq) - self.length)
        ends = [*(int(i) + 1 for i in np.flatnonzero(np.diff(seq) > 1) if i >= first), len(seq)]
        for begin, end in zip([first, *ends], ends, strict=False):
            self._put(batch, seq, t, begin, end)

    def _put(
        self, batch: Batch, seq: NDArray[np.int64], t: NDArray[np.float64], begin: int, end: int
    ) -> None:
        """Samples without a gap between them."""
        broken = not self.empty and int(seq[begin]) != self._next_seq
        count = end - begin + broken
        if self._end + count > self._room:
            kept = min(self.length, self._end, self._room - count)
            for column in (self._t, *self._y.values()):
                column[:kept] = column[self._end - kept : self._end].copy()
            self._end = kept
        at = self._end
        if broken:
            self._t[at] = self._t[at - 1]
            for column in self._y.values():
                column[at] = np.nan
            at += 1
        behind = self._end + count
        self._t[at:behind] = t[begin:end]
        for name, column in self._y.items():
            values = batch.fixed(name)[begin:end].reshape(end - begin, -1).astype(np.float64)
            with np.errstate(invalid="ignore"):
                column[at:behind] = np.where(np.abs(values) < _HUGE, values, np.nan)
        self._end, self.empty = behind, False
        self._next_seq = int(seq[end - 1]) + 1

    def _forget(self) -> None:
        self._end, self.empty = 0, True

    @property
    def t(self) -> NDArray[np.float64]:
        """Times of what is shown, ascending."""
        return self._t[max(self._end - self.length, 0) : self._end]

    def y(self, field: str) -> NDArray[np.float64]:
        """``(n, lines)``: the numbers of what is shown; NaN where there is none."""
        return self._y[field][max(self._end - self.length, 0) : self._end]


def _times(t: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    """Times that can be drawn: where there is none, the one before."""
    good = np.isfinite(t) & (np.abs(t) < _HUGE)
    if good.all():
        return t
    at = np.maximum.accumulate(np.where(good, np.arange(1, len(t) + 1), 0))
    return np.concatenate([[last], t])[at]


class TimeAxis:
    """Limits of the time axis: the newest sample moves through room ahead, and then the axis jumps on.

    Parameters
    ----------
    length : int
        Samples that are shown when the history is full.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.limits: Limits = (0.0, 1.0)
        self._set = False

    def follow(self, t: NDArray[np.float64]) -> bool:
        """Take the times of what is shown; whether the limits changed."""
        if not len(t):
            return False
        low, high = self.limits
        first, last = float(t[0]), float(t[-1])
        span = last - first
        full = len(t) >= self._length
        behind = first - low > (_AHEAD + 0.05) * (high - low)  # too much of it shows what is over
        if self._set and low <= first and last <= high and not (full and behind):
            return False
        if full:
            ahead = _AHEAD * span
        elif len(t) > 1:
            ahead = min(max((_GROWTH - 1) * span, 4 * span / (len(t) - 1)), span * (self._length / len(t)))
        else:
            ahead = 0.0
        tiny = max(abs(last), 1.0) * 1e-9
        self.limits = (first, last + ahead) if span + ahead > tiny else (first - 0.5, last + 0.5)
        self._set = len(t) > 1
        return True


class ValueAxis:
    """Limits of a vertical axis: they hold the data with some room, and stay as long as that is so.

    Parameters
    ----------
    log : bool
        Whether the axis is logarithmic: what is not above zero is not on it.
    """

    def __init__(self, log: bool) -> None:
        self._log = log
        self.limits: Limits = (0.1, 10.0) if log else (-1.0, 1.0)
        self._set = False

    def follow(self, y: NDArray[np.float64], *, moving: bool) -> bool:
        """Take the numbers that are shown; whether the limits changed.

        Parameters
        ----------
        moving : bool
            Everything is drawn again anyway: the axis may close in.
        """
        low, high = _extent(y, self._log)
        if not low <= high:
            return False
        before = self.limits
        a, b = self._scaled(*before)
        c, d = self._scaled(low, high)
        holds = a <= c and d <= b
        if self._set and holds and not (moving and (d - c) < _LEAST_SHARE * (b - a)):
            return False
        self.limits = self._around(low, high, c, d)
        if self._set and not holds:  # it has grown out of them: half as much again on that side
            e, f = self._scaled(*self.limits)
            more = 0.25 * (d - c)
            self.limits = self._plain(e - more * (c < a), f + more * (d > b))
        self._set = True
        return self.limits != before

    def _around(self, low: float, high: float, c: float, d: float) -> Limits:
        if self._log:
            room = max(_MARGIN * (d - c), 0.1)
            return self._plain(c - room, d + room)
        if d - c <= max(_FLAT * max(abs(c), abs(d)), _LEAST_SPAN):  # a constant
            room = 0.1 * max(abs(low), abs(high)) or 1.0
        else:
            room = _MARGIN * (d - c)
        return low - room, high + room

    def _scaled(self, low: float, high: float) -> Limits:
        return (math.log10(low), math.log10(high)) if self._log else (low, high)

    def _plain(self, low: float, high: float) -> Limits:
        return (10.0 ** max(low, -307), 10.0 ** min(high, 307)) if self._log else (low, high)


def _extent(y: NDArray[np.float64], log: bool) -> Limits:
    """The least and the greatest number; ``(inf, -inf)`` if there is none."""
    values: NDArray[Any] = y[y > 0] if log else y
    with np.errstate(all="ignore"):
        low = np.fmin.reduce(values, axis=None, initial=np.inf)
        high = np.fmax.reduce(values, axis=None, initial=-np.inf)
    return float(low), float(high)
