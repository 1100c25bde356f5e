"""The merged timeline against the history that it is to give back, and against a sort."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from played import MemoryTable, run_of
from recd.player import MARK, play, times
from recd.player.timeline import Timeline
from recd.reader import Mark, Run
from recd_client.errors import OptionError, OutputError


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Blocks and scans of a few samples, so that their ends are everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "BLOCK_ROWS", 3)
        patch.setattr(times, "_SCAN_ROWS", 5)
        yield


def all_of(run: Run) -> list[tuple[str, Any]]:
    """Everything as it is played: name, and number of the sample or label of the mark."""
    return [(e.name, e.value.label if e.name == MARK else int(e.value)) for e in play(run, 0)]


# --- against the history ------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
#: At each tick: which streams write, and whether a mark or a reset follows.
ticks = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES)), st.sampled_from(["", "", "", "mark", "reset", "env"])),
    max_size=40,
)


@settings(deadline=None, max_examples=100)
@given(ticks, st.booleans(), st.booleans())
def test_what_happened_is_given_back_in_its_order(history: Any, begins_anew: bool, told: bool) -> None:
    """Samples, marks and resets come in the order in which they were made, whether time begins anew or goes on."""
    streams: dict[str, list[float]] = {name: [] for name in NAMES}
    marks: list[Mark] = []
    expected: list[tuple[str, Any]] = []
    t, backward = 0.0, False
    for n, (writing, event) in enumerate(history):
        for name in NAMES:
            if name in writing:
                backward |= bool(streams[name]) and streams[name][-1] > t
                expected.append((name, len(streams[name])))
                streams[name].append(t)
        at = t
        t += 0.25
        if event:
            label = "mark" if event == "mark" else "recd.reset"
            fields = {"envs_idx": [1]} if event == "env" else {}
            seq = {name: len(streams[name]) for name in NAMES}
            marks.append(Mark(label, fields, at, -1, seq=seq, mono_ns=n + 1))
            expected.append((MARK, label))
            if event == "reset" and begins_anew:
                t = 0.0
    run = run_of(streams, marks, told=told and not backward)
    if not any(streams.values()):
        with pytest.raises(OutputError, match="no sample"):
            all_of(run)
        return
    assert all_of(run) == expected
    positions = [event.position for event in play(run, 0)]
    assert positions == sorted(positions)


# --- against a sort -----------------------------------------------------------------------------------

wild = st.floats(allow_nan=True, allow_infinity=True, width=16)
calm = st.integers(0, 50).map(float)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(NAMES), st.lists(calm, max_size=30), min_size=1), st.booleans())
def test_ascending_times_are_merged_as_a_sort_does(found: dict[str, list[float]], told: bool) -> None:
    """By time, then by the order of the streams, each in its own order."""
    streams = {name: sorted(t) for name, t in found.items() if t}
    if streams:
        expected = sorted(
            (t, order, n) for order, times in enumerate(streams.values()) for n, t in enumerate(times)
        )
        named = [(list(streams)[order], n) for _, order, n in expected]
        assert all_of(run_of(streams, told=told)) == named


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(NAMES), st.lists(wild | calm, min_size=1, max_size=30), min_size=1))
def test_whatever_the_times_nothing_is_left_out_or_changes_places(streams: dict[str, list[float]]) -> None:
    """Times that go back, are no number, or infinite: every sample comes once, in its stream's order."""
    events = list(play(run_of(streams), 0))
    for name, t in streams.items():
        given_back = [e for e in events if e.name == name]
        assert [int(e.value) for e in given_back] == list(range(len(t)))
        assert np.array_equal([e.t for e in given_back], t, equal_nan=True)
    positions = [e.position for e in events]
    assert positions == sorted(positions)
    assert all(map(math.isfinite, positions))


# --- there and back -----------------------------------------------------------------------------------

moves = st.lists(
    st.sampled_from(["next", "back"]) | st.tuples(st.just("seek"), st.floats(-5, 80)), min_size=1, max_size=60
)


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(wild | calm, min_size=1, max_size=30), min_size=1), moves
)
def test_the_cursor_goes_anywhere(streams: dict[str, list[float]], moves: list[Any]) -> None:
    """After any steps there and back, and any seeking, what follows is what stands there."""
    run = run_of(streams)
    events = [(e.name, int(e.value), e.position) for e in play(run, 0)]
    timeline, at = Timeline(run, dict(run.streams)), 0
    for move in moves:
        if move == "next":
            event = timeline.next()
            found = None if event is None else (event.name, int(event.value), event.position)
            assert found == (events[at] if at < len(events) else None)
            at = min(at + 1, len(events))
        elif move == "back":
            assert timeline.back() == (at > 0)
            at = max(at - 1, 0)
        else:
            timeline.seek(move[1])
            at = sum(position < move[1] for _, _, position in events)
        assert timeline.peek() == (events[at][2] if at < len(events) else None)


def test_no_more_than_a_block_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the recording, and wherever in it one goes."""
    monkeypatch.setattr(MemoryTable, "most_rows", 0)
    timeline = Timeline(run := run_of({"a": range(1000), "b": [0.5, 0.25, 999.0]}), dict(run.streams))
    while timeline.next():
        continue
    while timeline.back():
        continue
    timeline.seek(500.0)
    assert timeline.peek() == 500.0
    assert MemoryTable.most_rows <= max(times.BLOCK_ROWS, times._SCAN_ROWS)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.sampled_from([0.01, 0.002, 1 / 30]))
def test_each_event_is_found_by_its_position(lengths: list[int], dt: float) -> None:
    """Whatever is rounded where episodes follow one another."""
    run = run_of({"a": [i * dt for n in lengths for i in range(n)]})
    timeline = Timeline(run, dict(run.streams))
    events = list(play(run, 0))
    for event in events:
        timeline.seek(event.position)
        found = timeline.next()
        assert found is not None
        assert found.position == event.position
        assert int(found.value) == min(int(e.value) for e in events if e.position == event.position)


# --- laps ---------------------------------------------------------------------------------------------


def test_time_that_begins_anew_without_a_reset_goes_on_behind() -> None:
    """Both streams are seen to begin anew, and the second lap follows the first one on the axis."""
    run = run_of({"a": [0, 1, 2, 3, 0, 1, 2], "b": [0.5, 2.5, 0.5, 1.5]})
    assert [(e.name, e.t, e.position) for e in play(run, 0)] == [
        ("a", 0, 0), ("b", 0.5, 0.5), ("a", 1, 1), ("a", 2, 2), ("b", 2.5, 2.5), ("a", 3, 3),
        ("a", 0, 3), ("b", 0.5, 3.5), ("a", 1, 4), ("b", 1.5, 4.5), ("a", 2, 5),
    ]  # fmt: skip


def test_time_that_goes_back_a_little_does_not_begin_anew() -> None:
    """Such a sample comes right behind the one before it."""
    run = run_of({"a": [0, 10, 9.5, 11], "b": [9.7, 10.5]})
    assert all_of(run) == [("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 3)]


# --- bad input ----------------------------------------------------------------------------------------


def test_what_cannot_be_read_ends_its_stream_and_is_named() -> None:
    """The samples before it are played."""
    run = run_of({"a": [0, 1, 2, 3, 4, 5, 6, 7]}, told=True, missing={7})
    with pytest.warns(UserWarning, match="no times from sample 7 on: the disk is gone"):
        assert all_of(run) == [("a", n) for n in range(7)]
    assert any("no times from sample 7 on" in p for p in run.problems)


def test_what_cannot_be_read_in_between_is_passed_over_and_named() -> None:
    """A block of samples is missing, forward as back; what is behind it is played."""
    run = run_of({"a": range(10), "b": [4.5]}, told=True, missing={4})
    with pytest.warns(UserWarning, match="samples 3 to 5 cannot be read: the disk is gone"):
        assert all_of(run) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), *(("a", n) for n in range(6, 10))]
    timeline = Timeline(run, dict(run.streams))
    timeline.seek(7.0)
    values = []
    while timeline.back():
        event = timeline.next()
        assert event is not None
        values.append((event.name, int(event.value)))
        timeline.back()
    assert values == [("a", 6), ("b", 0), ("a", 2), ("a", 1), ("a", 0)]


def test_streams_without_samples_are_an_error() -> None:
    """It says that there is none, and where to look."""
    with pytest.raises(OutputError, match="holds no sample of a"):
        play(run_of({"a": []}))


@pytest.mark.parametrize(("start", "stop"), [(5.0, 4.0), (11.0, None), (None, -1.0)])
def test_nothing_between_start_and_stop_is_an_error(start: float | None, stop: float | None) -> None:
    """It says from where to where the recording goes."""
    with pytest.raises(OptionError, match="from 0 s to 10 s"):
        play(run_of({"a": [0, 10]}), start=start, stop=stop)


def test_a_stream_that_is_not_there_is_an_error() -> None:
    """It names those that are."""
    with pytest.raises(OptionError, match="no stream 'b', the recording has a"):
        play(run_of({"a": [0]}), streams=["b"])


def test_start_and_stop_are_part_of_what_is_played() -> None:
    """A sample exactly there is played."""
    run = run_of({"a": [0, 1, 2, 3, 4]})
    assert [e.t for e in play(run, 0, start=1, stop=3)] == [1, 2, 3]
