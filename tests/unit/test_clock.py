from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import Backend, backend
from recd_client.clock import Clock, whole_steps


def kept(each: Backend, hz: float, dt: float | None, times: list[float]) -> list[float]:
    """The times that a gate lets through."""
    gate = each.Gate(hz, dt)
    return [t for t in times if gate.is_due(t)]


@pytest.mark.parametrize("dt", [0.01, None])
@pytest.mark.parametrize(("hz", "every"), [(100, 1), (50, 2), (10, 10), (1000, 1)])
def test_whole_steps_are_kept_exactly(each: Backend, hz: float, every: int, dt: float | None) -> None:
    """Over many steps, and however the sums of dt are rounded, every n-th sample is kept and no other."""
    times, t = [], 0.0
    for _ in range(3000):
        times.append(t)
        t += 0.01
    assert kept(each, hz, dt, times) == times[::every]


@pytest.mark.parametrize("hz", [30, 24, 60, 33.3, 7])
def test_other_rates_are_right_on_average(each: Backend, hz: float) -> None:
    """The nearest step to each due time is kept: after any while the count is off by one at most."""
    times = [i * 0.01 for i in range(2001)]
    got = kept(each, hz, 0.01, times)
    for seconds in (5, 10, 20):
        assert abs(sum(t < seconds for t in got) - seconds * hz) <= 1
    assert all(abs(t * hz - round(t * hz)) <= 0.5 * 0.01 * hz + 1e-6 for t in got)


def test_slower_samples_than_asked_are_all_kept(each: Backend) -> None:
    """A rate is a limit, no promise."""
    assert kept(each, 100, None, [0, 1, 2, 3.5]) == [0, 1, 2, 3.5]


def test_a_time_that_goes_back_begins_a_new_grid(each: Backend) -> None:
    """A simulation that starts over is recorded from its first sample on."""
    assert kept(each, 1, None, [5, 5.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0]) == [5, 0, 1.0]


def test_a_time_that_is_none_is_kept_and_changes_nothing(each: Backend) -> None:
    """NaN and infinite times are recorded, and the grid goes on as if they had not been."""
    gate = each.Gate(1, 0.1)
    assert [gate.is_due(t) for t in (0.0, math.nan, 0.5, math.inf, 1.0, 1.1)] == [
        True, True, False, True, True, False,
    ]  # fmt: skip


def test_restart_makes_the_next_sample_due(each: Backend) -> None:
    """After a reset the grid begins with the next sample."""
    gate = each.Gate(1, 0.1)
    assert gate.is_due(0.0)
    assert not gate.is_due(0.1)
    gate.restart()
    assert gate.is_due(0.2)
    assert not gate.is_due(1.1)
    assert gate.is_due(1.2)


seconds = st.floats(-1e3, 1e3) | st.floats() | st.integers(-50, 50).map(lambda n: n * 0.1)


@pytest.mark.requires("native")
@settings(deadline=None, max_examples=500)
@given(
    hz=st.floats(1e-3, 1e6) | st.sampled_from([1.0, 10.0, 30.0, 1e-300, 1e300]),
    dt=st.none() | st.floats(1e-6, 10) | st.sampled_from([0.1, 0.01, 1 / 3]),
    times=st.lists(seconds | st.none(), max_size=40),
    sums=st.booleans(),
)
def test_the_gates_of_both_backends_agree(
    hz: float, dt: float | None, times: list[float | None], sums: bool
) -> None:
    """Whatever the times, rising or not, both keep the same samples; None stands for a restart."""
    gates, t = [backend(name).Gate(hz, dt) for name in ("python", "native")], 0.0
    for time in times:
        if time is None:
            for gate in gates:
                gate.restart()
            continue
        t = t + abs(time) if sums and math.isfinite(t + time) else time
        python, native = (gate.is_due(t) for gate in gates)
        assert python is native


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
