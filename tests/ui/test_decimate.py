"""Fewer points, the same picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.ui.decimate import decimate
from recd.ui.trail import Trail


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0.01, 5), st.booleans())
def test_each_column_keeps_its_lowest_and_highest_value(
    seed: int, n: int, column: float, holes: bool
) -> None:
    """Column by column, what is shown has the extremes of what was written, and only values that were written."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0, 0.3, n))
    y = rng.normal(size=(n, 3))
    if holes:
        y[rng.random((n, 3)) < 0.2] = np.nan
    shown_x, shown_y = decimate(x, y, column)
    assert np.all(np.diff(shown_x) >= 0)
    assert np.all(np.isin(shown_x, x))
    number, shown = np.floor(x / column), np.floor(shown_x / column)
    assert set(number) == set(shown)
    for c in set(number):
        breaks = np.count_nonzero(np.isnan(y[number == c]).all(1))  # a broken line stays broken
        assert (shown == c).sum() <= 2 + 4 * breaks or len(shown_x) == n
        for line in range(3):
            there, kept = y[number == c, line], shown_y[shown == c, line]
            if not np.isnan(there).all():
                assert np.nanmin(kept) == np.nanmin(there)
                assert np.nanmax(kept) == np.nanmax(there)


def test_few_samples_are_shown_as_they_are() -> None:
    """Where a column has no more than two, nothing is changed."""
    x, y = np.arange(100.0), np.arange(200.0).reshape(100, 2)
    for column in (0.0, 0.5, 2.0):
        shown_x, shown_y = decimate(x, y, column)
        assert np.array_equal(shown_x, x)
        assert np.array_equal(shown_y, y)


def filled(trail: Trail, n: int, step: int = 97) -> tuple[np.ndarray, np.ndarray]:
    """Add samples in pieces; what was added."""
    t = np.arange(n) / 100
    y = np.stack([np.sin(t), np.random.default_rng(1).normal(size=n)], 1)
    for i in range(0, n, step):
        part = slice(i, i + step)
        trail.add(t[part], t[part] + 1e9, np.arange(n)[part], y[part])
    return t, y


def test_the_newest_samples_stay_exact_and_old_ones_keep_their_extremes() -> None:
    """In bounded memory, all of the past can be shown, and its lowest and highest values are in it."""
    trail = Trail(2, recent_bytes=100_000)
    t, y = filled(trail, 50_000)
    assert len(trail) < 4000
    x, shown = trail.between("sim", t[-500], np.inf)
    assert np.array_equal(x[-500:], t[-500:])
    assert np.array_equal(shown[-500:], y[-500:])
    x, shown = trail.between("sim", -np.inf, np.inf)
    assert x[0] == 0
    assert np.all(np.diff(x) >= 0)
    assert np.array_equal(shown.min(0), y.min(0))
    assert np.array_equal(shown.max(0), y.max(0))
    assert np.isin(shown, y).all()


def test_missing_samples_break_the_line() -> None:
    """Where numbers jump, there is a hole, not a line across it."""
    trail = Trail(1)
    trail.add(np.array([0.0, 1, 5]), np.array([0.0, 1, 5]), np.array([0, 1, 5]), np.array([[1.0], [2], [3]]))
    x, y = trail.between("sim", 0, 10)
    assert x.tolist() == [0, 1, 5, 5]
    assert np.isnan(y[:, 0]).tolist() == [False, False, True, False]


def test_a_hole_stays_however_few_pixels_there_are() -> None:
    """Where samples are missing the line is broken, also among extremes of many samples and of the past."""
    trail = Trail(2, recent_bytes=32_000)
    seq = np.delete(np.arange(40_000), slice(15_000, 20_000))
    for part in np.array_split(seq, 100):
        t = part / 100
        trail.add(t, t, part, np.stack([np.sin(t), np.cos(t)], 1))
    x, y = trail.between("sim", -np.inf, np.inf)
    for column in (0.0, 0.5, 5.0):
        shown_x, shown_y = decimate(x, y, column)
        (broken,) = np.flatnonzero(np.isnan(shown_y).all(1))
        assert shown_x[broken - 1] < 150
        assert shown_x[broken + 1] >= 200
    assert len(trail) < 1500


def test_after_stream_time_went_back_only_the_new_times_are_on_its_axis() -> None:
    """Wall time still shows both."""
    trail = Trail(1)
    t = np.array([0.0, 1, 2, 0, 1])
    trail.add(t, np.arange(5.0), np.arange(5), t[:, None] * 10)
    assert trail.between("sim", -1, 9)[0].tolist() == [0, 1]
    assert trail.between("wall", -1, 9)[0].tolist() == [0, 1, 2, 3, 4]
    assert trail.epoch_seq == 3


@pytest.mark.parametrize("clock", ["sim", "wall"])
def test_lines_reach_the_edges(clock: str) -> None:
    """A neighbour on either side of the asked times is given, too."""
    trail = Trail(1)
    t = np.arange(10.0)
    trail.add(t, t, np.arange(10), t[:, None])
    assert trail.between(clock, 2.5, 4.5)[0].tolist() == [2, 3, 4, 5]
