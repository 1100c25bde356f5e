"""Timing single calls, and ways of doing one thing in turns."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import calibration

T = TypeVar("T")
Step = Callable[[], object]

_EMPTY_INTERVALS: Final = 20_000
#: Calls of which one in a thousand means something.
_ENOUGH: Final = 1000


def timer_cost_ns() -> float:
    """What the timer adds to the interval that it measures."""
    now = time.perf_counter_ns
    took = [0] * _EMPTY_INTERVALS
    for i in range(_EMPTY_INTERVALS):
        start = now()
        took[i] = now() - start
    return statistics.median(took)


def step_of(target_us: float) -> Step:
    """A fixed amount of a simulation's kind of work, small matrices, that takes about so long here."""
    rng = np.random.default_rng(6)
    matrix, vector, out = rng.standard_normal((50, 50)) / 10, rng.standard_normal(50), np.empty(50)

    def work(times: int) -> None:
        for _ in range(times):
            np.matmul(matrix, vector, out=out)
            np.tanh(out, out=out)

    once_us = 1e6 * min(seconds(work, 50) for _ in range(40)) / 50
    times = max(1, round(target_us / once_us))
    return lambda: work(times)


def time_calls(
    call: Callable[[Any, float], object], data: Any, times: Sequence[float], step: Step
) -> list[int]:
    """Nanoseconds that ``call(data, t)`` took, for each ``t``, each after a step of the simulation."""
    now = time.perf_counter_ns
    took = [0] * len(times)
    for i, t in enumerate(times):
        step()
        start = now()
        call(data, t)
        took[i] = now() - start
    return took


def time_one(call: Callable[..., object], *args: Any) -> int:
    """Nanoseconds that one call took."""
    start = time.perf_counter_ns()
    call(*args)
    return time.perf_counter_ns() - start


def seconds(call: Callable[..., object], *args: Any) -> float:
    """Seconds that one call took."""
    return time_one(call, *args) / 1e9


class Costs:
    """All calls of one kind, the timer's own cost taken off."""

    def __init__(self, timer_ns: float) -> None:
        self._timer_ns = timer_ns
        self._took: list[int] = []

    def add(self, took_ns: Sequence[int]) -> None:
        """Some more calls."""
        self._took.extend(took_ns)

    def us(self, percent: float) -> float:
        """The time that so many percent of the calls stayed within, in microseconds."""
        took: NDArray[np.int64] = np.array(self._took, np.int64)
        return max(0.0, float(np.percentile(took, percent)) - self._timer_ns) / 1e3

    def columns(self) -> tuple[float, float, float | None, float]:
        """Median, 99 percent, 99.9 percent where there are calls enough for it, and the slowest."""
        return self.us(50), self.us(99), self.us(99.9) if len(self._took) >= _ENOUGH else None, self.us(100)


def in_turns(rounds: int, ways: Sequence[T]) -> Iterator[T]:
    """Every way once in every round, in an order of its own: none always follows the same other one."""
    shuffled = random.Random(9)
    for _ in range(rounds):
        calibration.look()
        yield from shuffled.sample(ways, len(ways))


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0, *, pause_s: float = 0.0005) -> float:
    """The time, on the monotonic clock, at which the condition was first seen to hold.

    Raises
    ------
    TimeoutError
        It did not come to hold.
    """
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited {timeout_s:g} s in vain: look at the daemon's log")
        time.sleep(pause_s)
    return time.monotonic()
