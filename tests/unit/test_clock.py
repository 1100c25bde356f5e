from __future__ import annotations

import math

import pytest

from recd_client.clock import Clock, Gate, whole_steps


def kept(hz: float, dt: float | None, times: list[float]) -> list[float]:
    """The times that a gate lets through."""
    gate = Gate(hz, dt)
    return [t for t in times if gate.is_due(t)]


@pytest.mark.parametrize("dt", [0.01, None])
@pytest.mark.parametrize(("hz", "every"), [(100, 1), (50, 2), (10, 10), (1000, 1)])
def test_whole_steps_are_kept_exactly(hz: float, every: int, dt: float | None) -> None:
    """Over many steps, and however the sums of dt are rounded, every n-th sample is kept and no other."""
    times, t = [], 0.0
    for _ in range(3000):
        times.append(t)
        t += 0.01
    assert kept(hz, dt, times) == times[::every]


@pytest.mark.parametrize("hz", [30, 24, 60, 33.3, 7])
def test_other_rates_are_right_on_average(hz: float) -> None:
    """The nearest step to each due time is kept: after any while the count is off by one at most."""
    times = [i * 0.01 for i in range(2001)]
    got = kept(hz, 0.01, times)
    for seconds in (5, 10, 20):
        assert abs(sum(t < seconds for t in got) - seconds * hz) <= 1
    assert all(abs(t * hz - round(t * hz)) <= 0.5 * 0.01 * hz + 1e-6 for t in got)


def test_slower_samples_than_asked_are_all_kept() -> None:
    """A rate is a limit, no promise."""
    assert kept(100, None, [0, 1, 2, 3.5]) == [0, 1, 2, 3.5]


def test_a_time_that_goes_back_begins_a_new_grid() -> None:
    """A simulation that starts over is recorded from its first sample on."""
    assert kept(1, None, [5, 5.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0]) == [5, 0, 1.0]


def test_a_time_that_is_none_is_kept_and_changes_nothing() -> None:
    """NaN and infinite times are recorded, and the grid goes on as if they had not been."""
    gate = Gate(1, 0.1)
    assert [gate.is_due(t) for t in (0.0, math.nan, 0.5, math.inf, 1.0, 1.1)] == [
        True, True, False, True, True, False,
    ]  # fmt: skip


def test_restart_makes_the_next_sample_due() -> None:
    """After a reset the grid begins with the next sample."""
    gate = Gate(1, 0.1)
    assert gate.is_due(0.0)
    assert not gate.is_due(0.1)
    gate.restart()
    assert gate.is_due(0.2)
    assert not gate.is_due(1.1)
    assert gate.is_due(1.2)


@pytest.mark.parametrize(
    ("hz", "dt", "steps", "exact"),
    [
        (50, 0.01, 2, True),
        (100, 0.01, 1, True),
        (30, 0.01, 3, False),
        (1000, 0.01, 1, False),
        (3, 1 / 300, 100, True),
    ],
)
def test_rates_become_whole_steps(hz: float, dt: float, steps: int, exact: bool) -> None:
    """The nearest number of steps, at least one, and whether that is what was asked for."""
    assert whole_steps(hz, dt) == (steps, exact)


def test_an_event_has_the_time_of_the_latest_sample() -> None:
    """Marks stand where the samples are; with nothing given at all, where the clock is."""
    clock = Clock(0.5)
    assert clock.event()[:2] == (0.0, 0)
    clock.resolve(None, None, 7, 0)
    assert clock.event()[:2] == (3.5, 7)
    clock.resolve(9.0, 2, 0, 0)
    assert clock.event()[:2] == (9.0, 2)
    free = Clock(None)
    free.resolve(None, None, 0, free.opened_ns)
    assert free.event()[0] > 0
