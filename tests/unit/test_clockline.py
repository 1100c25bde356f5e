"""The line that tells when samples were written: its points, its tolerance, and kills while it is stored."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recd import clockline
from recd.clockline import ClockLine, Point

STEPS = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 50_000_000)), min_size=1, max_size=200)


def path_of(steps: list[tuple[int, int]]) -> list[Point]:
    """The points that these steps lead to, somewhere in the middle of a long recording."""
    seqs, times = np.cumsum([(0, 10**15), *steps], axis=0).T.tolist()
    return [Point(*p) for p in zip(seqs, times, strict=True)]


def line_of(points: list[Point]) -> ClockLine:
    """The line through these points, in memory."""
    line = ClockLine()
    for point in points:
        line.add(*point)
    return line


def distances_ns(line: list[Point], points: list[Point]) -> np.ndarray:
    """How far the points lie off a line."""
    begin = line[0].mono_ns
    seqs, times = np.array([p.seq for p in line]), np.array([p.mono_ns - begin for p in line], np.float64)
    found = np.interp([p.seq for p in points], seqs, times)
    return np.abs(found - [p.mono_ns - begin for p in points])


@given(STEPS)
def test_all_points_lie_within_the_tolerance_of_the_line_and_those_of_the_line_are_among_them(
    steps: list[tuple[int, int]],
) -> None:
    """Whatever the clock did; first and last point are those of the path."""
    points = path_of(steps)
    line = line_of(points)
    assert {*line.points} <= {*points}
    assert (line.points[0], line.points[-1]) == (points[0], points[-1])
    assert distances_ns(line.points, points).max() <= line.tolerance_ns + 1


def test_a_steady_clock_takes_two_points() -> None:
    """However many samples there are."""
    assert len(line_of([Point(i, i * 200_000) for i in range(10_000)]).points) == 2


def test_a_restless_clock_takes_a_bounded_number_of_points_and_a_tolerance_that_it_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the most points the tolerance is doubled, which thins them; all points still lie within it."""
    monkeypatch.setattr(clockline, "MOST_POINTS", 50)
    rng = np.random.default_rng(0)
    points = path_of([(1, int(ns)) for ns in rng.integers(0, 20_000_000, 3000)])
    line = line_of(points)
    assert len(line.points) <= 51
    assert line.tolerance_ns > clockline.TOLERANCE_NS
    # what was thinned out was within the tolerance of its time, of a line that was within one of half of it, ...
    assert distances_ns(line.points, points).max() <= 2 * line.tolerance_ns
    assert line.to_json()["tolerance_ns"] == line.tolerance_ns


def test_points_that_were_counted_before_are_passed_over() -> None:
    """A stretch of the log that is read twice after a kill adds nothing."""
    points = path_of([(10, 1), (10, 90_000_000), (10, 2)])
    line = line_of([*points, *points[1:3]])
    assert line.points == line_of(points).points


@given(steps=STEPS, data=st.data())
def test_who_goes_on_from_a_checkpoint_has_true_points_and_the_same_tolerance(
    steps: list[tuple[int, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whenever it was saved, and whatever was kept, and stored, after the checkpoint that counts."""
    points = path_of(steps)
    saves = sorted(data.draw(st.lists(st.integers(1, len(points)), min_size=1, max_size=4)))
    path = tmp_path_factory.mktemp("line") / "clock"
    line, saved, known = ClockLine(path), [], 0
    for begin, end in zip([0, *saves], saves, strict=False):
        for point in points[begin:end]:
            line.add(*point)
        state = line.save()
        if data.draw(st.booleans()):  # else the kill comes before the checkpoint
            saved, known = state, end
    again = ClockLine(path)
    again.load(saved)
    for point in points[known:]:
        again.add(*point)
    assert {*again.points} <= {*points}
    assert again.points[-1] == points[-1]
    assert distances_ns(again.points, points).max() <= again.tolerance_ns + 1


def test_a_line_that_a_loss_of_power_tore_is_left_out(tmp_path: Path) -> None:
    """The points around it still tell, and the next save puts the file right."""
    points = path_of([(10, 40_000_000), (10, 1), (10, 70_000_000), (10, 5)])
    line = ClockLine(tmp_path / "clock")
    for point in points:
        line.add(*point)
    saved = line.save()
    whole = (tmp_path / "clock").read_bytes()
    (tmp_path / "clock").write_bytes(whole[:20] + bytes(20) + whole[40:])
    again = ClockLine(tmp_path / "clock")
    again.load(saved)
    assert {*again.points} < {*line.points}
    assert again.points[-1] == points[-1]
    again.save()
    third = ClockLine(tmp_path / "clock")
    third.load(again.save())
    assert third.points == again.points


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be stored whole is an error, and is stored with the next save."""
    line = ClockLine(tmp_path / "clock")
    for point in path_of([(10, 40_000_000), (10, 1), (10, 70_000_000)]):
        line.add(*point)
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, data, at: len(data) - 1)
        with pytest.raises(OSError, match="No space left"):
            line.save()
    again = ClockLine(tmp_path / "clock")
    again.load(line.save())
    assert again.points == line.points


def test_what_no_recd_before_kept_is_no_line(tmp_path: Path) -> None:
    """A checkpoint of an older version goes on with a line that begins there."""
    line = ClockLine(tmp_path / "clock")
    line.load([])
    assert line.points == []
    assert line.save() == []
    line.add(7, 3)
    assert line.points == [Point(7, 3)]
