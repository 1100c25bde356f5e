"""A fixed piece of work, timed again and again beside what is measured.

An absolute time tells about the machine as much as about the code. A time divided by that of this loop,
on the same machine in the same minutes, can be kept, and compared with that of another version of the code.
"""

from __future__ import annotations

import re
import time
from statistics import median
from typing import Final

import numpy as np

_SOURCE: Final = np.arange(1 << 17, dtype=np.float64)  # 1 MiB
_TARGET: Final = np.empty_like(_SOURCE)
_SMALL: Final = np.arange(50.0)
_UNITS_US: Final = {"µs": 1.0, "ms": 1e3, "s": 1e6}

_seen_us: list[float] = []


def look() -> None:
    """Time the loop once more."""
    _seen_us.append(min(_once_us() for _ in range(3)))


def take_us() -> float:
    """Microseconds of the loop: the median since this was last called."""
    look()
    result = median(_seen_us)
    _seen_us.clear()
    return result


def relative(column: str, value: float, loop_us: float) -> float | None:
    """A time in units of the loop's, a rate per loop; None if the column's heading names neither."""
    per_second = re.search(r"/s\b", column)
    if per_second:
        return value * loop_us / 1e6
    unit = re.search(r"(?:^| )(µs|ms|s)\b", column)
    return value * _UNITS_US[unit[1]] / loop_us if unit else None


def _once_us() -> float:
    """Interpreted code, small copies and a large one: what recording is made of."""
    start = time.perf_counter_ns()
    total = 0
    for i in range(2000):
        total += i
    for _ in range(200):
        np.copyto(_TARGET[:50], _SMALL)
    np.copyto(_TARGET, _SOURCE)
    return (time.perf_counter_ns() - start) / 1e3
