from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recd.batch import Event
from recd.direct import DirectTrack
from recd.room import Store
from recd.source import Frame, RecordSource, Shelf
from recd_client import layout
from recd_client.errors import LogDamagedError
from streams import FRAMES, Feed, payload_of, value_of
from syscall_faults import Clock

RECORD = layout.record_bytes(FRAMES.payload_bytes)


class Holding:
    """A ring of frames and a log of the oldest of them; what is safe elsewhere is the test's word."""

    def __init__(self, directory: Path) -> None:
        self.feed = Feed(FRAMES)
        self.source = RecordSource(directory / "log", Shelf())
        self.frames: Any = SimpleNamespace(
            safe=0, state="recording", source=self.source, release=lambda position: None
        )
        store = Store(reserve_bytes=0)
        self.track = DirectTrack(directory, "f", FRAMES, store, self.frames, self.feed.segment, Clock())

    def log_to(self, position: int) -> None:
        """Everything before goes to the log, unless it is safe, and is freed."""
        self.track.flush_to = position
        self.track.drain()

    def at(self, position: int) -> tuple[int | str | None, int]:
        """Number of the frame, or kind of the event, that is found at the position; and what is behind it."""
        what, behind = self.source.get(position, self.feed.head)
        if isinstance(what, Frame):
            assert (what.begin, what.behind) == (position, behind)
            assert what.payload.tobytes() == payload_of(FRAMES, value_of(FRAMES, what.seq))
            assert (what.t, what.step, what.mono_ns) == (what.seq / 8, what.seq * 10, what.seq * 1_000_000)
            return what.seq, behind
        return (what.kind if isinstance(what, Event) else None), behind


@pytest.fixture
def holding(tmp_path: Path) -> Holding:
    """Ten frames with a mark behind the third; four of them in the log, the rest in the ring."""
    holding = Holding(tmp_path)
    holding.feed.write(3)
    holding.feed.mark("m")
    holding.feed.write(7)
    holding.log_to(4 * RECORD + 128)
    return holding


def test_records_come_from_the_log_and_then_from_the_ring(holding: Holding) -> None:
    """One after the other, wherever they are, frames and events alike."""
    found, position = [], 0
    while position < holding.feed.head:
        what, position = holding.at(position)
        found.append(what)
    assert found == [0, 1, 2, "mark", 3, 4, 5, 6, 7, 8, 9]


def test_any_record_can_be_read_again(holding: Holding) -> None:
    """Whoever goes back finds what was there, from the ring to the log and within the log."""
    places = [0, RECORD, 2 * RECORD, 3 * RECORD, 3 * RECORD + 128, 4 * RECORD + 128, 7 * RECORD + 128]
    expected = [0, 1, 2, "mark", 3, 4, 7]
    for order in ([6, 0, 5, 3, 3, 1, 4, 2], [2, 1, 0, 1, 2, 6, 4], [4, 4, 3, 0]):
        assert [holding.at(places[i])[0] for i in order] == [expected[i] for i in order]


def test_what_is_neither_in_ring_nor_log_is_passed_over_to_the_next_that_is(tmp_path: Path) -> None:
    """A hole in the log ends where the log goes on, as often as one comes back to it."""
    holding = Holding(tmp_path)
    holding.feed.write(2)
    holding.log_to(RECORD)
    holding.frames.safe = 2 * RECORD
    holding.track.drain()
    holding.feed.write(4)
    holding.frames.safe = 4 * RECORD
    holding.log_to(5 * RECORD)
    for _ in range(2):
        assert holding.at(0) == (0, RECORD)
        assert holding.at(RECORD) == (None, 4 * RECORD)
        assert holding.at(RECORD) == (None, 4 * RECORD)
        assert holding.at(4 * RECORD) == (4, 5 * RECORD)
        assert holding.at(RECORD) == (None, 4 * RECORD)
        assert holding.at(3 * RECORD) == (None, 4 * RECORD)
        assert holding.at(5 * RECORD) == (5, 6 * RECORD)


def test_a_hole_before_the_ring_ends_where_the_ring_begins(tmp_path: Path) -> None:
    """What was freed because it was safe is never looked for in memory that others use by now."""
    holding = Holding(tmp_path)
    holding.feed.write(6)
    holding.frames.safe = 3 * RECORD
    holding.track.drain()
    assert holding.at(0) == (None, 3 * RECORD)
    assert holding.at(3 * RECORD) == (3, 4 * RECORD)


def test_without_a_ring_the_log_is_all_there_is(holding: Holding) -> None:
    """After a reboot, what is not in the log is passed over to the end."""
    holding.source.ring = None
    assert holding.at(RECORD) == (1, 2 * RECORD)
    assert holding.at(4 * RECORD + 128) == (None, holding.feed.head)


def test_padding_at_the_end_of_a_lap_is_nothing(tmp_path: Path) -> None:
    """In the ring and in the log alike, it leads to the next lap."""
    holding = Holding(tmp_path)
    capacity = holding.feed.producer.capacity_bytes
    holding.feed.mark("m")  # so that the last frame of the lap does not fit
    for _ in range(20):
        holding.feed.write(1)
        holding.log_to(holding.feed.head)
    at = capacity // RECORD * RECORD - RECORD + 128
    assert holding.at(at - RECORD)[0] == 14
    assert holding.at(at) == (None, capacity)
    assert holding.at(capacity)[0] == 15
    in_ring = Holding(tmp_path / "ring")
    in_ring.feed.mark("m")
    for _ in range(15):
        in_ring.feed.write(1)
        in_ring.frames.safe = in_ring.feed.head
        in_ring.track.drain()
    in_ring.feed.write(2)
    assert in_ring.at(at) == (None, capacity)
    assert in_ring.at(capacity)[0] == 15


def test_a_damaged_record_is_an_error(holding: Holding) -> None:
    """Memory that was overwritten gives no frame."""
    at = layout.DATA_OFFSET + 6 * RECORD + 128
    holding.feed.memory[at : at + 8] = bytes(8)
    with pytest.raises(LogDamagedError):
        holding.at(6 * RECORD + 128)
