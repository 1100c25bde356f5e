"""Many samples as the few points that a plot can show, without hiding a single extreme.

The time axis is cut into columns of one pixel, at multiples of their width, so that a column means the same samples
however often it is asked for. A column with one or two samples is shown as it is; of more, each line gets its lowest
and its highest value, in the order in which the line went. So what is shown are values that were written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: So many groups more than twice as many are always good enough.
_FEW = 32


def decimate(x: Floats, y: Floats, column: float) -> tuple[Floats, Floats]:
    """The points to draw: all of them, or two for each column of the time axis.

    Parameters
    ----------
    x : ndarray, (n,), s
        Times, ascending.
    y : ndarray, (n, lines)
        NaN where there is no value: a column hides NaN where it has values as well. A row without any value breaks
        the lines, and stays.
    column : float, s
        Width of a column; 0 for no decimation.

    Returns
    -------
    x : ndarray, (m,)
    y : ndarray, (m, lines)
    """
    if column <= 0 or len(x) < 3:
        return x, y
    number = np.floor(x / column)
    starts = group_starts(number, y)
    counts = np.diff(starts, append=len(x))
    if counts.max() <= 2:
        return x, y
    ends = starts + counts - 1
    low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    rising = y[ends] >= y[starts]
    # Two rows for each column: at its first sample and at its last.
    shown_x = np.stack([x[starts], x[ends]], 1).ravel()
    first, second = np.where(rising, low, high), np.where(rising, high, low)
    few = (counts <= 2)[:, None]
    first, second = np.where(few, y[starts], first), np.where(few, y[ends], second)
    shown_y = np.stack([first, second], 1).reshape(-1, y.shape[1])
    keep = np.ones(len(shown_x), bool)
    keep[1::2] = counts > 1  # a lone sample is one point
    return shown_x[keep], shown_y[keep]


def group_starts(number: NDArray[Any], y: Floats) -> NDArray[np.intp]:
    """First rows of the groups of one ``number``, (n,), each cut where the lines are broken.

    Where that is almost everywhere, they are not cut: there would be nothing gained by groups.
    """
    broken = np.isnan(y[:, 0]) if y.shape[1] else np.zeros(len(y), bool)
    broken[broken] = np.isnan(y[broken]).all(1)
    plain = np.concatenate([[True], number[1:] != number[:-1]])
    cut = plain.copy()
    cut[1:] |= broken[1:] != broken[:-1]
    return np.flatnonzero(cut if np.count_nonzero(cut) <= 2 * np.count_nonzero(plain) + _FEW else plain)
