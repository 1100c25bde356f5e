"""What a log still holds, read backwards beside the recording, and how a page's trail takes it in."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd.log import segments
from recd.session import SessionStore
from recd.taps.history import LogTap
from recd.taps.stream import Live, StreamTap
from recd.ui import feed, older
from recd.ui.feed import Channel, Channels
from recd.ui.rows import Rows
from recd.ui.trail import Trail
from recd_client import CSVFile, NPZFile, Recorder
from recd_client.schema import Schema
from recordings import proved
from support import wait_until

pytestmark = pytest.mark.requires("orjson")


def live_of(rec: Recorder, stream: str = "state") -> Live:
    """The stream as the daemon's status names it."""
    return Live("walk", rec.session, Path(rec.directory), stream)


def log_of(rec: Recorder, stream: str = "state") -> Path:
    """The directory of a stream's log."""
    return SessionStore(Path(rec.directory), rec.session).stream_path(stream) / "log"


def schema_of(rec: Recorder) -> Schema:
    """Of the stream's samples."""
    with StreamTap(live_of(rec)) as tap:
        return tap.schema


def whole(channels: Channels, rec: Recorder) -> Channel:
    """The stream's channel, once its log was read."""
    channels.set_live([live_of(rec)], {})
    name = f"{rec.session}/state"
    assert channels.get(name) is not None

    def read() -> bool:
        channel = channels.get(name)
        return channel is not None and not channel.reads_back

    wait_until(read)
    found = channels.get(name)
    assert found is not None
    return found


@pytest.fixture
def channels() -> Any:
    """Channels that are closed at the end."""
    made = Channels()
    yield made
    made.close()


# --- the log, backwards -------------------------------------------------------------------------------


@pytest.mark.usefixtures("runtime")
def test_the_log_gives_every_record_before_a_position_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces follow each other without a gap, each in its order, with their marks; the end is exact."""
    monkeypatch.setattr("recd.taps.history.PIECE_BYTES", 20_000)
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(5000):
            stream.write(np.full(3, float(i)), t=i / 10)
            if i == 2500:
                rec.mark("half")
                rec.flush()
        rec.flush()
        schema = schema_of(rec)
        everything = list(LogTap(log_of(rec), schema, 1 << 60).pieces())
        assert len(everything) > 5
        seqs = [np.concatenate([b.seq for b in p.batches]) for p in everything]
        assert all(np.all(np.diff(s.astype(int)) == 1) for s in seqs)
        assert np.concatenate(seqs[::-1]).tolist() == list(range(5000))
        assert [e.data["label"] for p in everything for e in p.events if e.kind == "mark"] == ["half"]
        begin = everything[0].begin
        rest = list(LogTap(log_of(rec), schema, begin).pieces())
        assert int(rest[0].batches[-1].seq[-1]) == int(seqs[0][0]) - 1


@pytest.mark.usefixtures("runtime")
def test_a_damaged_chunk_and_a_segment_that_goes_away_end_nothing_else(tmp_path: Path) -> None:
    """What can be read is read: a viewer does not stop at damage, and deleted segments are only missing."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(3000):
            stream.write(np.full(3, float(i)), t=i / 10)
        rec.flush()
        schema = schema_of(rec)
        (begin,) = segments(log_of(rec))
        path = log_of(rec) / f"{begin:016x}.log"
        before = path.read_bytes()
        with open(path, "r+b") as file:
            file.seek(300)
            file.write(bytes([before[300] ^ 1]))
        try:
            pieces = LogTap(log_of(rec), schema, 1 << 60).pieces()
            seqs = np.concatenate([b.seq for p in list(pieces)[::-1] for b in p.batches])
            assert 0 < len(seqs) < 3000
            assert int(seqs[-1]) == 2999
        finally:
            path.write_bytes(before)
        started = LogTap(log_of(rec), schema, 1 << 60).pieces()
        hidden = path.rename(path.with_suffix(".away"))
        try:
            assert list(started) == []
        finally:
            hidden.rename(path)
    assert proved(tmp_path)["streams"]["state"]["samples"] == 3000


# --- what a channel makes of it -----------------------------------------------------------------------


@pytest.mark.usefixtures("runtime")
def test_a_late_viewer_sees_the_whole_run(tmp_path: Path, channels: Channels) -> None:
    """What the ring has lost comes out of the log, from the first sample on, with its marks, in bounded memory."""
    n = 60_000
    values = np.random.default_rng(3).normal(size=n)
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(n):
            stream.write({"q": values[i]}, t=i / 100)
            if i == 100:
                rec.mark("early")
        rec.flush()
        name = f"{rec.session}/state"
        channels.set_live([live_of(rec)], {})
        first = channels.get(name)
        assert first is not None
        ring_only = first.trail.oldest("sim")
        assert ring_only is not None
        assert ring_only[1] > n / 2
        channel = whole(channels, rec)
        assert channel.trail.oldest("sim") == (0.0, 0)
        x, y = channel.trail.between("sim", -np.inf, np.inf)
        assert np.all(np.diff(x) >= 0)
        assert (y.min(), y.max()) == (values.min(), values.max())
        assert np.isin(y[:, 0], values).all()
        assert [e["label"] for e in channel.events if e["kind"] == "mark"] == ["early"]
        for clock in ("sim", "wall"):
            assert len(channel.trail.between(clock, -np.inf, np.inf)[0]) <= len(channel.trail)


@pytest.mark.usefixtures("runtime")
def test_a_long_log_comes_as_extremes_in_groups_of_one_size(
    tmp_path: Path, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More samples than there is room for become lowest and highest values, no more rows than fit, no peak hidden."""
    monkeypatch.setattr(
        "recd.ui.feed.Trail", lambda lines: Trail(lines, recent_bytes=64_000)
    )  # 2000 rows of one line
    n = 50_000
    values = np.random.default_rng(3).normal(size=n)
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(n):
            stream.write(values[i], t=i / 100)
        rec.flush()
        channel = whole(channels, rec)
        assert len(channel.trail) < 2.2 * 2000
        x, y = channel.trail.between("sim", -np.inf, np.inf)
        assert x[0] == 0
        assert (y.min(), y.max()) == (values.min(), values.max())
        steps = np.diff(x[: len(x) // 2 : 2])
        assert steps.max() <= 2.5 * np.median(steps)  # evenly, not ever coarser towards the beginning


@pytest.mark.usefixtures("runtime")
def test_before_stream_time_went_back_nothing_is_on_its_axis(tmp_path: Path, channels: Channels) -> None:
    """A reset of the clock that only the log remembers is found there."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(20_000):
            stream.write(float(i), t=(i if i < 3000 else i - 3000) / 100)
        rec.flush()
        channel = whole(channels, rec)
        assert channel.trail.epoch_seq == 3000
        x, y = channel.trail.between("sim", -np.inf, np.inf)
        assert (x[0], y[0, 0]) == (0.0, 3000.0)
        assert channel.trail.between("wall", -np.inf, np.inf)[1].min() == 0


@pytest.mark.usefixtures("runtime")
def test_a_trimmed_log_says_that_more_was_there(tmp_path: Path, channels: Channels) -> None:
    """A CSV's log is deleted as it is written: history ends where the log begins, and the page can tell."""
    with Recorder("walk", dir=tmp_path, spool_limit="1MiB") as rec:
        stream = rec.stream("state", CSVFile("s.csv"), buffer_bytes="64KiB", overflow="block", timeout=60.0)
        i = 0
        while not segments(log_of(rec)) or segments(log_of(rec))[0] == 0:
            stream.write(np.full(20, float(i)), t=i / 100)
            i += 1
        channel = whole(channels, rec)
        oldest = channel.trail.oldest("wall")
        assert oldest is not None
        assert oldest[1] > 0


@pytest.mark.usefixtures("runtime")
def test_reading_back_holds_no_recording_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is trimmed under a reader that stands still in the middle of it, and the files are whole."""
    reading, go_on = threading.Event(), threading.Event()
    take = older.Older._take

    def slowly(self: older.Older, taken: Any) -> None:
        reading.set()
        assert go_on.wait(60)
        take(self, taken)

    monkeypatch.setattr(older.Older, "_take", slowly)
    channels = Channels()
    with Recorder("walk", dir=tmp_path, spool_limit="1MiB") as rec:
        stream = rec.stream("state", CSVFile("s.csv"), buffer_bytes="64KiB", overflow="block", timeout=60.0)
        for i in range(2000):
            stream.write(np.full(20, float(i)), t=i / 100)
        rec.flush()
        channels.set_live([live_of(rec)], {})
        channels.get(f"{rec.session}/state")
        assert reading.wait(60)
        open_now = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}
        assert not [name for name in open_now if name.startswith(str(log_of(rec)))]
        begin = segments(log_of(rec))[0]
        i = 2000
        while segments(log_of(rec))[0] == begin:
            stream.write(np.full(20, float(i)), t=i / 100)
            i += 1
        go_on.set()
    channels.close()
    counted = proved(tmp_path)["streams"]["state"]
    assert (counted["samples"], counted["lost"]) == (i, {})


def _is_open(fd: str) -> bool:
    return Path(f"/proc/self/fd/{fd}").exists()


def test_readers_take_turns_and_end_with_the_last_log() -> None:
    """One thread reads all logs, a piece of each in turn, and is gone when nothing is left."""

    class Pieces:
        def __init__(self, name: str, count: int) -> None:
            self.name, self.left = name, count
            self.done, self.wanted = False, True

        def step(self) -> None:
            steps.append(self.name)
            self.left -= 1
            self.done = self.left == 0

    steps: list[str] = []
    readers = older.Readers()
    gone = Pieces("c", 99)
    gone.wanted = False
    for pieces in (gone, Pieces("a", 3), Pieces("b", 3)):
        readers.read(pieces)  # type: ignore[arg-type]
    wait_until(lambda: readers._thread is None)
    assert sorted(steps) == ["a"] * 3 + ["b"] * 3
    assert steps[-2:] in (["a", "b"], ["b", "a"])


@pytest.mark.usefixtures("runtime")
def test_of_very_many_marks_the_newest_are_kept(
    tmp_path: Path, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out of the log later does not push out what is newer."""
    monkeypatch.setattr("recd.ui.feed._EVENTS", 20)
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        for i in range(20_000):
            stream.write(float(i), t=i / 100)
            if i % 100 == 50:
                rec.mark(f"at {i}")
        rec.flush()
        channel = whole(channels, rec)
        newest = sorted(int(e["label"][3:]) for e in channel.events)[-5:]
        assert newest == [19550, 19650, 19750, 19850, 19950]
        assert len(channel.events) == 20


# --- the trail ----------------------------------------------------------------------------------------


def test_the_past_of_a_long_look_stays_evenly_fine() -> None:
    """However long one looks, the rows of what is long past stand for about the same number of samples each."""
    trail = Trail(1, recent_bytes=32_000)
    n, step = 400_000, 500
    for i in range(0, n, step):
        t = np.arange(i, i + step) / 100
        trail.add(t, t, np.arange(i, i + step), np.sin(t)[:, None])
    x, _ = trail.between("sim", -np.inf, np.inf)
    assert x[0] == 0
    assert len(trail) < 3000
    quarter = x[(x < n / 400)]
    assert len(quarter) > 30
    assert np.diff(quarter).max() < 30 * np.diff(quarter).mean()


def test_what_comes_from_behind_stands_before_what_is_there() -> None:
    """Older rows are shown before the samples, and the nearest sample to a time is found among all."""
    trail = Trail(1)
    trail.add(np.array([10.0, 11]), np.array([110.0, 111]), np.array([10, 11]), np.array([[1.0], [2]]))
    for begin in (5, 0):
        t = np.arange(begin, begin + 5.0)
        trail.add_before(Rows(np.stack([t, t + 100], 1), np.arange(begin, begin + 5), t[:, None]), None)
    assert trail.between("sim", -1, 99)[0].tolist() == [*range(12)]
    assert trail.between("sim", 3.5, 4.5)[0].tolist() == [3, 4, 5]
    assert trail.between("wall", 109.5, 110.5)[0].tolist() == [109, 110, 111]
    assert trail.oldest("wall") == (100.0, 0)
    assert [trail.at(wall) for wall in (0.0, 103.4, 109.6, 999.0)] == [(0, 0), (3, 3), (10, 10), (11, 11)]
    assert Trail(1).at(5.0) is None
    assert Trail(1).oldest("sim") is None


def test_what_nobody_looks_at_any_more_is_let_go_of(
    tmp_path: Path, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once no page has asked for a stream for a while, its ring is no longer mapped."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", NPZFile("s.npz")).write(1.0)
        whole(channels, rec)
        mapped = Path("/proc/self/maps").read_text().count("r--s")
        assert channels.tidy()
        monkeypatch.setattr(feed, "_IDLE_S", -1.0)
        assert not channels.tidy()
        assert Path("/proc/self/maps").read_text().count("r--s") == mapped - 1
