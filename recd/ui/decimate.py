"""Many samples as the few points that a plot can show, without hiding a single extreme.

The time axis is cut into columns of one pixel, at multiples of their width, so that a column means the same samples
however often it is asked for. A column with one or two samples is shown as it is; of more, each line gets its lowest
and its highest value, in the order in which the line went. So what is shown are values that were written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def decimate(x: Floats, y: Floats, column: float) -> tuple[Floats, Floats]:
    """The points to draw: all of them, or two for each column of the time axis.

    Parameters
    ----------
    x : ndarray, (n,), s
        Times, ascending.
    y : ndarray, (n, lines)
        NaN where there is no value: a column hides NaN only where it has values as well.
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
    starts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
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
