from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn import bare, batch_of
from recd.plots.history import History, TimeAxis, ValueAxis

ONE = bare()


def history(length: int = 10) -> History:
    """Of one number."""
    return History([("data", 1)], length)


def test_only_the_newest_samples_are_kept() -> None:
    """Of 1000 samples in batches of any size the last ten are there, in order."""
    h = history()
    at = 0
    for size in (1, 3, 200, 7, 89, 700):
        h.take(batch_of(ONE, np.arange(at, at + size), at, data=np.arange(at, at + size)))
        at += size
        assert h.t.tolist() == list(range(max(at - 10, 0), at))
        assert h.y("data")[:, 0].tolist() == list(range(max(at - 10, 0), at))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 25))
def test_batches_do_not_matter(sizes: list[int], length: int) -> None:
    """However samples are cut into batches, the same ones are shown."""
    h, count = history(length), sum(sizes)
    at = 0
    for size in sizes:
        h.take(batch_of(ONE, np.arange(at, at + size), at, data=np.arange(at, at + size)))
        at += size
    np.testing.assert_array_equal(h.y("data")[:, 0], np.arange(max(count - length, 0), count))


def test_a_lost_sample_breaks_the_line() -> None:
    """Where numbers jump, a NaN stands between the two neighbours."""
    h = history()
    h.take(batch_of(ONE, [0, 1], 0, data=[5, 6]))
    h.take(batch_of(ONE, [4], 4, data=[7]))
    np.testing.assert_array_equal(h.y("data")[:, 0], [5, 6, np.nan, 7])
    assert h.t.tolist() == [0, 1, 1, 4]


def test_time_that_goes_back_begins_anew() -> None:
    """After a reset the plot shows the new episode alone."""
    h = history()
    h.take(batch_of(ONE, [0, 1, 2], data=[1, 2, 3]))
    h.take(batch_of(ONE, [0], 3, data=[9]))
    assert h.y("data")[:, 0].tolist() == [9]
    h.take(batch_of(ONE, [1, 2, 0.5, 0.6], 4, data=[1, 2, 3, 4]))
    assert h.t.tolist() == [0.5, 0.6]


def test_times_and_values_that_cannot_be_drawn_do_no_harm() -> None:
    """Values without a number are gaps, a time without one is that of the sample before."""
    h = history()
    h.take(batch_of(ONE, [np.nan, 1, np.inf, 2], data=[1, np.inf, -np.inf, 1e308]))
    assert h.t.tolist() == [0, 1, 1, 2]
    np.testing.assert_array_equal(h.y("data")[:, 0], [1, np.nan, np.nan, np.nan])


def test_the_time_axis_moves_in_steps() -> None:
    """With a full history a frame in some twenty changes the limits, and the newest sample is always within them."""
    axis, changes = TimeAxis(100), 0
    for i in range(1000):
        t = np.arange(max(0, i - 99), i + 1) * 0.01
        changes += axis.follow(t)
        low, high = axis.limits
        assert low <= t[0]
        assert t[-1] <= high
        assert t[-1] - t[0] >= 0.5 * (high - low) or i < 100
    assert changes < 60


@pytest.mark.parametrize("t", [[5.0], [5.0, 5.0], [1e9, 1e9], [-3.0]])
def test_a_time_axis_without_extent_has_some(t: list[float]) -> None:
    """One sample, or several at one time, lie within limits that differ."""
    axis = TimeAxis(10)
    assert axis.follow(np.array(t))
    low, high = axis.limits
    assert low < high
    assert low <= t[0] <= high


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [5.0, 5.0],
        [9.81, 9.81 + 1e-15],
        [1e-250],
        [1e200, -1e200],
        [-3e-9, 2e-9],
        [np.nan, 2.0],
        [1e12, 1e12 + 1],
    ],
)
def test_a_vertical_axis_holds_whatever_comes(values: list[float]) -> None:
    """Constant, tiny, huge, partly missing: all numbers are within finite limits that differ."""
    axis = ValueAxis(log=False)
    axis.follow(np.array(values), moving=True)
    low, high = axis.limits
    assert np.isfinite([low, high]).all()
    assert low < np.nanmin(values)
    assert np.nanmax(values) < high


def test_a_logarithmic_axis_looks_at_what_is_above_zero() -> None:
    """Zero, negative and missing numbers leave its limits alone; without any other it has the usual ones."""
    axis = ValueAxis(log=True)
    assert not axis.follow(np.array([0.0, -1.0, np.nan]), moving=True)
    assert axis.limits[0] > 0
    axis.follow(np.array([0.0, 1e-3, 10.0, -5.0]), moving=True)
    assert 0 < axis.limits[0] < 1e-3
    assert axis.limits[1] > 10


def test_a_vertical_axis_stays_while_it_holds_the_data() -> None:
    """Data within it change nothing; data beyond widen it; when all moves, it closes in on small ones."""
    axis = ValueAxis(log=False)
    axis.follow(np.array([0.0, 10.0]), moving=True)
    assert not axis.follow(np.array([4.0, 5.0]), moving=False)
    assert axis.follow(np.array([0.0, 20.0]), moving=False)
    assert axis.follow(np.array([4.0, 5.0]), moving=True)
    assert axis.limits[1] < 6


def test_a_growing_signal_changes_its_axis_rarely() -> None:
    """1000 samples of a line that grows change the limits a few dozen times, not every time."""
    axis = ValueAxis(log=False)
    assert sum(axis.follow(np.arange(float(i + 1)), moving=False) for i in range(1000)) < 40
