from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.batch import Event
from recd.journal import Journal, gaps, marks, missed, resets
from recd.log import Missing
from recd.room import Store
from recd.track import Track
from streams import PLAIN, Feed
from syscall_faults import Clock, death, fault


def track_of(directory: Path, feed: Feed) -> Track:
    """A worker on that ring, with a journal and no files."""
    return Track(directory, "s", PLAIN, Store(), [], feed.segment, Clock())


def take_all(track: Track) -> Journal:
    """Everything that was published is in the log, and the journal has read it."""
    track.drain()
    while track.work(lambda: None):
        pass
    assert track.journal.position == track.log.end
    return track.journal


def journal_of(directory: Path, feed: Feed) -> Journal:
    """The journal of all that was published."""
    return take_all(track_of(directory, feed))


# --- totals ---------------------------------------------------------------------------------------


def test_totals_are_those_of_the_samples(tmp_path: Path) -> None:
    """Count, bytes, first and last clocks of many chunks are those of the stream."""
    feed = Feed()
    track = track_of(tmp_path, feed)
    for count in (3, 1, 40):
        feed.write(count)
        take_all(track)
    tally = track.journal.tally
    assert (tally.samples, tally.next_seq, tally.bytes) == (44, 44, 44 * 64)
    assert (tally.t_first, tally.t_last) == (0.0, 43 / 8)
    assert (tally.step_first, tally.step_last) == (0, 430)
    assert (tally.mono_first_ns, tally.mono_last_ns) == (0, 43_000_000)
    assert (tally.backward_times, tally.nan_times) == (0, 0)


def test_a_stream_without_samples_has_totals_of_none(tmp_path: Path) -> None:
    """Nothing is made up for a stream that was opened, marked and closed."""
    feed = Feed()
    feed.mark("a")
    feed.close()
    journal = journal_of(tmp_path, feed)
    assert (journal.tally.samples, journal.tally.t_first, journal.tally.step_last) == (0, None, None)
    assert [m["label"] for m in marks(journal.events())] == ["a"]


def test_losses_behind_the_last_sample_are_in_the_total_of_attempts(tmp_path: Path) -> None:
    """The close tells them, in whatever chunk it stands."""
    feed = Feed()
    feed.write(4)
    feed.lose(3)
    feed.close()
    assert journal_of(tmp_path, feed).tally.next_seq == 7


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_chunk", [True, False], ids=["one chunk", "a chunk each"])
@pytest.mark.parametrize(
    ("times", "backward", "nans"),
    [
        ([0.0, 1.0, 1.0, 2.0], 0, 0),
        ([0.0, 2.0, 1.0, 1.5, 0.5], 2, 0),
        ([1.0, math.nan, 0.5, math.nan, math.nan, 0.6], 1, 3),
        ([math.nan, 5.0, 6.0], 0, 1),
        ([-3.0, -2.0, -4.0], 1, 0),
        ([math.inf, 1.0, -math.inf], 2, 0),
    ],
)
def test_backward_times_and_nans_are_counted(
    tmp_path: Path, times: list[float], backward: int, nans: int, one_chunk: bool
) -> None:
    """Each step back counts once, compared with the newest time that is a number, across chunks too."""
    feed = Feed()
    track = track_of(tmp_path, feed)
    for t in times:
        feed.write(1, t=t)
        if not one_chunk:
            take_all(track)
    tally = take_all(track).tally
    assert (tally.backward_times, tally.nan_times) == (backward, nans)


@pytest.mark.parametrize("restarts", [False, True], ids=["one worker", "a worker each"])
@pytest.mark.parametrize("one_chunk", [True, False], ids=["one chunk", "a chunk each"])
def test_a_reset_makes_going_back_legal_once(tmp_path: Path, one_chunk: bool, restarts: bool) -> None:
    """The first sample behind a reset may have any time; the next ones must not go back again."""
    feed = Feed()
    track = track_of(tmp_path, feed)
    steps: list[Callable[[], Any]] = [
        lambda: feed.write(1, t=5.0),
        feed.reset,
        lambda: feed.mark("other"),
        lambda: feed.write(1, t=0.0),
        lambda: feed.write(1, t=1.0),
        lambda: feed.write(1, t=0.5),
    ]
    for step in steps:
        step()
        if not one_chunk:
            take_all(track)
        if restarts:
            track.save()
            track.close()
            track = track_of(tmp_path, feed)
    assert take_all(track).tally.backward_times == 1


def test_a_failed_write_counts_no_time_twice(tmp_path: Path) -> None:
    """A chunk that is described again because the disk was full is described the same."""
    feed = Feed()
    feed.write(5)
    track = track_of(tmp_path, feed)
    with fault(1, OSError(errno.ENOSPC, "full"), calls=("pwritev",)):
        track.drain()
    assert isinstance(track.now_ns, Clock)
    track.now_ns.pass_(1)
    assert take_all(track).tally.backward_times == 0


# --- events ---------------------------------------------------------------------------------------


def eventful(feed: Feed) -> None:
    """Something of every kind."""
    feed.write(2)
    feed.mark("fell", height=0.5)
    feed.lose(3)
    feed.lose(1, "too_large")
    feed.write(1)
    feed.reset()
    feed.write(2)
    feed.lose(2)
    feed.close()


def test_gaps_and_marks_are_told_in_order_with_their_clocks(tmp_path: Path) -> None:
    """Each loss by cause with its range and times, each mark with its label, fields and clocks."""
    feed = Feed()
    eventful(feed)
    events = journal_of(tmp_path, feed).events()
    assert [e["kind"] for e in events] == ["mark", "loss", "mark", "close"]
    assert marks(events) == [
        {"label": "fell", "fields": {"height": 0.5}, "t": 0.25, "step": 20, "mono_ns": 2_000_000, "seq": 2},
        {
            "label": "recd.reset",
            "fields": {"envs_idx": None},
            "t": 7 / 8,
            "step": 70,
            "mono_ns": 7_000_000,
            "seq": 7,
        },
    ]
    told = [(g["cause"], g["first_seq"], g["last_seq"], g["count"], g["bytes"]) for g in gaps(events)]
    assert told == [("full", 2, 4, 3, 192), ("too_large", 5, 5, 1, 64), ("full", 9, 10, 2, 128)]
    assert (gaps(events)[0]["t_first"], gaps(events)[0]["t_last"]) == (2 / 8, 4 / 8)
    assert resets(events) == [events[2]["position"]]


def test_telling_an_event_again_changes_nothing(tmp_path: Path) -> None:
    """A video's runner that goes back for frames passes the marks between them a second time."""
    journal = Journal(tmp_path, PLAIN)
    told = [Event("mark", p, 0, 0.0, 0, 0, {"label": str(p), "fields": {}}) for p in (64, 640, 128)]
    for event in [*told, *told]:
        journal.note(event)
    assert [m["label"] for m in marks(journal.events())] == ["64", "128", "640"]
    journal.close()


def test_a_torn_line_is_left_out_and_the_next_one_stands(tmp_path: Path) -> None:
    """Wherever a kill cut the last line, the events before and behind it are found."""
    journal = Journal(tmp_path, PLAIN)
    journal.note(Event("mark", 0, 0, 0.0, 0, 0, {"label": "first", "fields": {}}))
    before = (tmp_path / "journal.jsonl").read_bytes()
    journal.note(Event("mark", 64, 0, 0.0, 0, 0, {"label": "second", "fields": {}}))
    journal.close()
    whole = (tmp_path / "journal.jsonl").read_bytes()
    for length in range(len(before), len(whole)):
        (tmp_path / "journal.jsonl").write_bytes(whole[:length])
        again = Journal(tmp_path, PLAIN)
        again.note(Event("mark", 128, 0, 0.0, 0, 0, {"label": "third", "fields": {}}))
        found = [m["label"] for m in marks(again.events())]
        assert [label for label in found if label != "second"] == ["first", "third"], f"cut at {length}"
        again.close()


def test_an_event_that_could_not_be_written_is_told_again(tmp_path: Path) -> None:
    """With a full disk the journal stays where it is, half a line harms nothing, and it goes on by itself."""
    feed = Feed()
    eventful(feed)
    track = track_of(tmp_path, feed)
    track.drain()
    for torn in (False, True):
        with fault(2, OSError(errno.ENOSPC, "full"), torn=torn, calls=("write",)):
            assert not track.work(lambda: None)
        assert track.journal.position == 0
    journal = take_all(track)
    assert [e["kind"] for e in journal.events()] == ["mark", "loss", "mark", "close"]
    assert (journal.tally.samples, journal.tally.next_seq) == (5, 11)


def test_what_is_noted_while_a_copy_takes_the_files_place_is_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync was refused, and its repair meets another thread that tells of a loss: nothing is left behind."""
    journal = Journal(tmp_path, PLAIN)
    journal.note(missed(Missing(0, 64, 0, 1, True)))
    with fault(1, OSError(errno.EIO, "broken"), calls=("fdatasync",)), pytest.raises(OSError, match="broken"):
        journal.sync()
    other = threading.Thread(target=journal.miss, args=(Missing(64, 128, 1, 2, True),))
    real = os.rename

    def interrupted(source: Path, target: Path) -> None:
        other.start()
        other.join(0.2)  # it ends here only if nothing holds it up
        real(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    journal.sync()
    other.join()
    assert [e["position"] for e in journal.events()] == [0, 64]
    journal.close()


# --- after a kill ---------------------------------------------------------------------------------


def story(directory: Path, feed: Feed, track: Track) -> None:
    """Events and samples in several chunks, with checkpoints in between."""
    for _ in range(3):
        feed.write(2)
        feed.mark("m", n=feed.producer.next_seq)
        feed.lose(1)
        track.drain()
        track.work(lambda: None)
        track.journal.save()


@settings(max_examples=60)
@given(at=st.integers(1, 40), torn=st.booleans())
def test_every_event_and_sample_is_counted_once_after_a_kill_at_any_call(
    tmp_path_factory: pytest.TempPathFactory, at: int, torn: bool
) -> None:
    """Totals and events never differ from those of a worker that lived, wherever the kill was."""
    directory = tmp_path_factory.mktemp("journal")
    lived = Feed()
    track = track_of(directory / "lived", lived)
    story(directory, lived, track)
    lived.close()
    expected = take_all(track)

    feed = Feed()
    with death(at, torn=torn) as fault_:
        story(directory, feed, track_of(directory / "killed", feed))
    if fault_.struck:  # the producer goes on meanwhile
        done = feed.producer.next_seq // 3
        for _ in range(3 - done):
            feed.write(2)
            feed.mark("m", n=feed.producer.next_seq)
            feed.lose(1)
    feed.close()
    journal = journal_of(directory / "killed", feed)
    assert journal.tally == expected.tally
    assert journal.events() == expected.events()
