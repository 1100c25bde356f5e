from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd import log, log_writer
from recd.batch import Batch, Event
from recd.chunks import HEADER_BYTES, Chunk, ChunkInfo
from recd.log import LogReader, LogSource, segment_path, segments
from recd.log_writer import LogWriter
from recd.room import Store
from recd.track import Track
from recd_client import layout
from recd_client.schema import Schema
from streams import PLAIN, VARYING, Feed, numbers_in
from syscall_faults import Clock, Killed, death, fault


class Writing:
    """A log that grows by a chunk whenever the test says so."""

    def __init__(self, directory: Path, schema: Schema = PLAIN, capacity_bytes: int = 1 << 20) -> None:
        self.feed = Feed(schema, capacity_bytes)
        self.track = Track(directory, "s", schema, Store(), [], self.feed.segment, Clock())
        self.directory = self.track.log.directory
        #: Behind each chunk: the position, and how many samples there were by then.
        self.ends: list[tuple[int, int]] = []

    def chunk(self, samples: int = 3) -> Writing:
        """Samples go into the ring, and from there as one chunk into the log."""
        self.feed.write(samples)
        self.track.drain()
        assert self.track.state == "recording"
        self.ends.append((self.track.log.end, len(self.feed.written)))
        return self

    def close(self) -> Writing:
        """The worker lets go of the log."""
        self.track.close()
        return self


def chunks(directory: Path, position: int = 0, end: int | None = None) -> Iterator[Chunk]:
    """The chunks that a reader finds."""
    reader = LogReader(directory, position, end)
    while (chunk := reader.next()) is not None:
        yield chunk
    reader.close()


def first_chunk(directory: Path) -> Chunk:
    """The log's first chunk, with its records."""
    reader = LogReader(directory)
    chunk = reader.next()
    assert chunk is not None
    chunk.body()
    reader.close()
    return chunk


def read(directory: Path, schema: Schema = PLAIN, position: int = 0) -> list[int]:
    """The numbers of the samples that a reader finds."""
    items = (item for chunk in chunks(directory, position) for item in chunk.items(schema))
    return numbers_in(item.what for item in items if isinstance(item.what, Batch))


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> int:
    """Segments have room for two chunks of three samples, and not for three."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 1200)
    return 1200


# --- writing and reading --------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_what_is_appended_is_read(tmp_path: Path, schema: Schema) -> None:
    """Samples come out as they went in, in order, whatever their size."""
    writing = Writing(tmp_path, schema).chunk(1).chunk(40).chunk(7).close()
    assert read(writing.directory, schema) == [*range(48)]


def test_a_log_without_chunks_has_nothing_to_read(tmp_path: Path) -> None:
    """Neither an empty directory nor a missing one is an error."""
    writer = LogWriter(tmp_path / "log")
    assert (writer.end, writer.bytes, writer.segment_count) == (0, 0, 0)
    assert read(tmp_path / "log") == []
    assert read(tmp_path / "none") == []


def test_a_header_survives_packing() -> None:
    """Each field comes back as it was, in its own place."""
    info = ChunkInfo(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.5, -0.5, 11, 12, -13, -14, 15)
    assert ChunkInfo.unpack(info.pack()) == info
    assert len(info.pack()) == HEADER_BYTES


@pytest.mark.parametrize("length", [0, 4, HEADER_BYTES - 1])
def test_half_a_header_is_none(length: int) -> None:
    """A header that was cut is not guessed at."""
    info = ChunkInfo(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.5, -0.5, 11, 12, -13, -14, 15)
    assert ChunkInfo.unpack(info.pack()[:length]) is None


def test_a_reader_may_start_inside_a_chunk(tmp_path: Path) -> None:
    """From every record on, the rest is found, and nothing before it."""
    writing = Writing(tmp_path).chunk(3).chunk(4).chunk(2).close()
    size = layout.record_bytes(64)
    for first in range(10):
        position = first * size
        found = [
            item.what
            for chunk in chunks(writing.directory, position)
            for item in chunk.items(PLAIN, position)
            if isinstance(item.what, Batch)
        ]
        assert numbers_in(found) == [*range(first, 9)]


def test_a_reader_beside_the_writer_finds_each_chunk_once(tmp_path: Path, small_segments: int) -> None:
    """It reads on where it was, across segments, as soon as there is more."""
    writing = Writing(tmp_path)
    reader = LogReader(writing.directory)
    for i in range(7):
        assert reader.next() is None
        writing.chunk(3)
        chunk = reader.next()
        assert chunk is not None
        found = [item.what for item in chunk.items(PLAIN) if isinstance(item.what, Batch)]
        assert numbers_in(found) == [3 * i, 3 * i + 1, 3 * i + 2]
    assert len(segments(writing.directory)) > 2
    reader.close()


def test_a_chunk_that_comes_while_the_reader_looks_for_the_next_segment_is_not_missed(
    tmp_path: Path, small_segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a segment is its end only once there is a next one, looked at in that order."""
    writing = Writing(tmp_path).chunk(3)
    reader = LogReader(writing.directory)
    assert reader.next() is not None
    real: Callable[[Path], list[int]] = segments

    def late(directory: Path) -> list[int]:
        monkeypatch.setattr(log, "segments", real)
        writing.chunk(3).chunk(3)  # one fills the segment that the reader took for ended
        return real(directory)

    monkeypatch.setattr(log, "segments", late)
    found = [chunk.info.first_seq for chunk in iter(reader.next, None)]
    assert found == [3, 6]
    reader.close()


def test_samples_and_events_come_in_their_order(tmp_path: Path) -> None:
    """An event stands exactly between the samples before and behind it, also between varying ones."""
    for schema in (PLAIN, VARYING):
        writing = Writing(tmp_path / str(schema.fixed_size), schema)
        writing.feed.write(2)
        writing.feed.mark("fell", by=3)
        writing.feed.write(1)
        writing.feed.lose(2)
        writing.chunk(1)
        writing.feed.close()
        writing.chunk(0).close()
        told: list[object] = []
        for chunk in chunks(writing.directory):
            for item in chunk.items(schema):
                told.append(item.what.kind if isinstance(item.what, Event) else item.what.seq.tolist())
            assert [*chunk.events(schema)] == [
                item.what for item in chunk.items(schema) if isinstance(item.what, Event)
            ]
        assert told == [[0, 1], "mark", [2], "loss", [5], "close"]


def test_items_join_without_gap_or_overlap(tmp_path: Path) -> None:
    """Each item begins where the one before ends, in slices of any size, and the last at the chunk's end."""
    for schema in (PLAIN, VARYING):
        writing = Writing(tmp_path / str(schema.fixed_size), schema)
        for _ in range(4):
            writing.feed.write(9)
            writing.feed.mark("a", n=1)
        writing.chunk(1)
        chunk = first_chunk(writing.directory)
        for limit in (1, 64, 500, 4000):
            at, found = chunk.info.begin, []
            while at < chunk.info.end:
                for item in chunk.items(schema, at, limit_bytes=limit):
                    assert item.begin == at
                    at = item.behind
                    if isinstance(item.what, Batch):
                        found.append(item.what)
            assert at == chunk.info.end
            assert numbers_in(found) == [*range(37)]


def test_padding_at_the_end_of_a_lap_is_passed_over(tmp_path: Path) -> None:
    """Chunks end behind it, nothing of it is stored, and no sample is missed or shifted."""
    capacity = layout.MIN_CAPACITY_BYTES + 64  # not a multiple of a record: every lap ends in padding
    writing = Writing(tmp_path, PLAIN, capacity)
    for _ in range(40):
        writing.chunk(11)
    writing.close()
    assert len(writing.feed.written) == 440
    infos = [chunk.info for chunk in chunks(writing.directory)]
    assert any(i.end - i.begin > i.body_bytes for i in infos)
    assert all(a.end == b.begin for a, b in itertools.pairwise(infos))
    assert sum(i.body_bytes for i in infos) == 440 * 128
    assert read(writing.directory) == [*range(440)]


# --- after a kill ---------------------------------------------------------------------------------


def resumed_end(directory: Path) -> int:
    """Where a new worker finds the end of the log."""
    writer = LogWriter(directory)
    writer.close()
    return writer.end


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_a_log_cut_anywhere_ends_behind_its_last_whole_chunk(tmp_path: Path, schema: Schema) -> None:
    """Every truncation point: what is left is read, what was torn is cut, and writing goes on there."""
    writing = Writing(tmp_path, schema).chunk(2).chunk(1).chunk(2).close()
    path = segment_path(writing.directory, 0)
    whole = path.read_bytes()
    begins = [0]
    for chunk in chunks(writing.directory):
        begins.append(begins[-1] + HEADER_BYTES + chunk.info.body_bytes)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in begins[1:])
        end, samples = writing.ends[kept - 1] if kept else (0, 0)
        assert resumed_end(writing.directory) == end, f"cut at byte {length}"
        assert read(writing.directory, schema) == [*range(samples)]
        if kept:
            assert path.stat().st_size == begins[kept]
        else:
            assert not path.exists()


def test_a_worker_goes_on_where_the_log_ends(tmp_path: Path) -> None:
    """After a torn chunk, the ring still has its records, and the log gets each of them once."""
    writing = Writing(tmp_path).chunk(3)
    writing.feed.write(4)
    free = writing.track.log.end
    with death(1, torn=True):
        writing.track.drain()
    writing.close()
    assert writing.feed.producer.word("free_pos") == free
    again = Track(tmp_path, "s", PLAIN, Store(), [], writing.feed.segment, Clock())
    again.drain()
    again.close()
    assert read(writing.directory) == [*range(7)]


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    at=st.integers(1, 12),
    torn=st.booleans(),
)
def test_a_worker_killed_at_any_call_leaves_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], at: int, torn: bool
) -> None:
    """Whichever system call was the last one, the next worker's log has all records, in order."""
    directory = tmp_path_factory.mktemp("log")
    feed = Feed(PLAIN, 1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_writer, "SEGMENT_BYTES", 1200)
        with death(at, torn=torn):
            track = Track(directory, "s", PLAIN, Store(), [], feed.segment, Clock())
            for count in counts:
                feed.write(count)
                track.drain()
        feed.write(2)
        again = Track(directory, "s", PLAIN, Store(), [], feed.segment, Clock())
        again.drain()
        again.close()
    assert read(directory / "log") == feed.written


# --- segments -------------------------------------------------------------------------------------


def test_segments_roll_and_are_named_by_their_first_position(tmp_path: Path, small_segments: int) -> None:
    """None grows past its limit, and a reader finds any position's segment by name alone."""
    writing = Writing(tmp_path)
    for _ in range(9):
        writing.chunk(3)
    begins = segments(writing.directory)
    assert len(begins) == writing.track.log.segment_count == 5
    for begin in begins:
        path = segment_path(writing.directory, begin)
        assert path.stat().st_size <= small_segments
        assert ChunkInfo.unpack(path.read_bytes()[:HEADER_BYTES]).begin == begin  # type: ignore[union-attr]
    assert writing.track.log.bytes == sum(p.stat().st_size for p in writing.directory.iterdir())
    for end, samples in writing.ends:
        assert read(writing.directory, position=end) == [*range(samples, 27)]
    writing.close()


def test_a_chunk_larger_than_a_segment_has_one_of_its_own(tmp_path: Path, small_segments: int) -> None:
    """The limit never keeps anything out of the log."""
    writing = Writing(tmp_path).chunk(3).chunk(50).chunk(3).close()
    assert len(segments(writing.directory)) == 3
    assert read(writing.directory) == [*range(56)]


def test_trimming_deletes_what_lies_wholly_before_and_keeps_the_last_segment(
    tmp_path: Path, small_segments: int
) -> None:
    """What is still needed stays, and the log's end is known for ever."""
    writing = Writing(tmp_path)
    for _ in range(9):
        writing.chunk(3)
    writer = writing.track.log
    for end, samples in writing.ends:
        may = writer.has_before(end)
        before = writer.segment_count
        writer.trim(end)
        assert may == (writer.segment_count < before)
        assert read(writing.directory, position=end) == [*range(samples, 27)]
        assert writer.bytes == sum(p.stat().st_size for p in writing.directory.iterdir())
    writer.trim(1 << 60)
    assert writer.segment_count == 1
    writing.close()
    assert resumed_end(writing.directory) == writing.ends[-1][0]


def test_an_empty_newest_segment_is_removed_and_the_one_before_goes_on(tmp_path: Path) -> None:
    """A kill between beginning a segment and its first chunk costs nothing."""
    writing = Writing(tmp_path).chunk(3).close()
    segment_path(writing.directory, writing.ends[-1][0]).touch()
    writer = LogWriter(writing.directory)
    assert writer.end == writing.ends[-1][0]
    assert segments(writing.directory) == [0]
    writer.close()


# --- trouble --------------------------------------------------------------------------------------


def stalled(writing: Writing) -> str:
    """Why the log takes nothing more."""
    writing.track.drain()
    assert writing.track.state == "stalled"
    return writing.track.reason


def again(writing: Writing) -> None:
    """The pause before the next attempt has passed."""
    clock = writing.track.now_ns
    assert isinstance(clock, Clock)
    clock.pass_(1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("torn", [False, True], ids=["before", "half done"])
def test_a_failed_append_leaves_the_log_as_it_was(tmp_path: Path, code: int, torn: bool) -> None:
    """Nothing half-written stays, the reason is known, and the next attempt stores every record."""
    writing = Writing(tmp_path).chunk(3)
    before = segment_path(writing.directory, 0).read_bytes()
    writing.feed.write(5)
    for _ in range(2):
        with fault(1, OSError(code, os.strerror(code)), torn=torn, calls=("pwritev",)):
            assert os.strerror(code) in stalled(writing)
        assert segment_path(writing.directory, 0).read_bytes() == before
        assert writing.track.log.end == writing.ends[-1][0]
        again(writing)
    writing.chunk(1).close()
    assert read(writing.directory) == [*range(9)]
    assert [c.info.backward_times for c in chunks(writing.directory)] == [0, 0]


@pytest.mark.parametrize("written", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 100])
def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """When the kernel takes a part of a chunk, the rest follows, wherever the cut was."""
    writing = Writing(tmp_path).chunk(3)
    monkeypatch.setattr(
        os, "pwritev", lambda fd, parts, at: os.pwrite(fd, b"".join(map(bytes, parts))[:written], at)
    )
    writing.chunk(3).chunk(2).close()
    assert read(writing.directory) == [*range(8)]


def test_a_short_write_that_cannot_be_completed_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full in the middle of a chunk: it is cut off again."""
    writing = Writing(tmp_path).chunk(3)
    before = segment_path(writing.directory, 0).read_bytes()
    writing.feed.write(3)
    real = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: real(fd, bytes(parts[0]), at))
    with fault(1, OSError(errno.ENOSPC, "full"), calls=("pwrite",)):
        stalled(writing)
    assert segment_path(writing.directory, 0).read_bytes() == before
    writing.close()


def test_a_torn_chunk_that_could_not_be_cut_off_is_overwritten(tmp_path: Path) -> None:
    """Even when nothing works any more, readers never see it, and neither does the next attempt."""
    writing = Writing(tmp_path).chunk(3)
    writing.feed.write(5)
    with fault(
        1, OSError(errno.EIO, "broken"), torn=True, lasts=True, calls=("pwritev", "pwrite", "ftruncate")
    ):
        stalled(writing)
    assert segment_path(writing.directory, 0).stat().st_size > 3 * 128 + HEADER_BYTES
    again(writing)
    writing.chunk(0).close()
    assert read(writing.directory) == [*range(8)]


def test_a_segment_that_cannot_be_begun_is_begun_later(tmp_path: Path, small_segments: int) -> None:
    """Also when its file was made but got no chunk."""
    writing = Writing(tmp_path).chunk(3).chunk(3)
    writing.feed.write(3)
    for calls in (("open",), ("pwritev",)):
        with fault(1, OSError(errno.ENOSPC, "full"), calls=calls):
            stalled(writing)
        again(writing)
        assert writing.track.log.bytes == 2 * (HEADER_BYTES + 3 * 128)
    writing.chunk(0).chunk(3).close()
    assert read(writing.directory) == [*range(12)]


# --- durability -----------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was synced, in order."""
    names: list[str] = []

    def note(fd: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)

    monkeypatch.setattr(os, "fdatasync", note)
    monkeypatch.setattr(os, "fsync", note)
    return names


def test_a_sync_reaches_every_segment_since_the_last_one_and_the_directory(
    tmp_path: Path, small_segments: int, synced: list[str]
) -> None:
    """Beginning a segment waits for no disk; a sync leaves nothing out, not even names, and does nothing twice."""
    writing = Writing(tmp_path)
    for _ in range(5):
        writing.chunk(3)
    assert synced == []
    writer = writing.track.log
    writer.sync()
    names = [segment_path(writing.directory, b).name for b in segments(writing.directory)]
    assert synced == [*names, "log"]
    writer.sync()
    assert len(synced) == len(names) + 1
    writing.chunk(1)
    writer.sync()
    assert synced[-2:] == ["log", names[-1]]
    writing.close()


def test_a_sync_after_a_restart_covers_what_the_worker_before_wrote(
    tmp_path: Path, synced: list[str]
) -> None:
    """What it appended may not be on the disk yet: nobody else would see to it."""
    writing = Writing(tmp_path).chunk(3).close()
    writer = LogWriter(writing.directory)
    writer.sync()
    assert synced == [segment_path(writing.directory, 0).name, "log"]
    writer.close()


def test_a_failed_sync_is_never_asked_again_but_written_to_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of the same file would be a lie: a copy takes its place, and readers miss nothing."""
    writing = Writing(tmp_path).chunk(3)
    writer, path = writing.track.log, segment_path(writing.directory, 0)
    reader = LogReader(writing.directory)
    assert reader.next() is not None
    asked: list[int] = []

    def fails_for_the_first(fd: int) -> None:
        asked.append(os.fstat(fd).st_ino)
        if asked[-1] == asked[0]:
            raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", fails_for_the_first)
    with fault(1, OSError(errno.ENOSPC, "full"), calls=("rename",)), pytest.raises(OSError, match="full"):
        writer.sync()
    writer.sync()
    assert path.stat().st_ino not in asked[:1]
    assert asked.count(asked[0]) == 1
    writing.chunk(2).chunk(2)
    assert sum(chunk.info.samples for chunk in iter(reader.next, None)) == 4
    reader.close()
    writing.close()
    assert read(writing.directory) == [*range(7)]
    assert {p.suffix for p in writing.directory.iterdir()} == {".log"}


# --- stretches of a log ---------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
@pytest.mark.parametrize("room_bytes", [64, 5000, 4 << 20], ids=["no chunk", "a few chunks", "all chunks"])
def test_any_stretch_can_be_read_as_often_as_wanted(
    tmp_path: Path, schema: Schema, room_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin and end may lie inside chunks and inside runs, next to events and padding; so may what is read ahead."""
    monkeypatch.setattr(log, "_STRETCH_BYTES", room_bytes)
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 4000)
    writing = Writing(tmp_path, schema, layout.MIN_CAPACITY_BYTES + 64)
    places: list[int] = []  # where each sample begins

    def write(count: int) -> None:
        for _ in range(count):
            before = writing.feed.head
            writing.feed.write(1)
            places.append(before)

    for i in range(6):
        write(5)
        writing.feed.mark("m", i=i)
        write(15)
        writing.track.drain()
    writing.close()
    count = len(places)
    assert not writing.feed.lost
    ends = [*places[1:], writing.feed.head]
    for first in range(0, count, 7):
        for last in range(first, count, 11):
            source = LogSource(writing.directory, schema, places[first], ends[last], last - first + 1)
            expected = [*range(first, last + 1)]
            assert numbers_in(source.batches()) == numbers_in(source.batches()) == expected


def test_an_empty_stretch_has_no_samples(tmp_path: Path) -> None:
    """A part without samples is a part."""
    writing = Writing(tmp_path).chunk(3).close()
    assert [*LogSource(writing.directory, PLAIN, 128, 128, 0).batches()] == []


def test_the_place_behind_some_records_is_found(tmp_path: Path) -> None:
    """For samples of varying size only the log knows where each begins."""
    writing = Writing(tmp_path, VARYING)
    ends = []
    for _ in range(9):
        writing.feed.write(1)
        ends.append(writing.feed.head)
    writing.chunk(0)
    chunk = first_chunk(writing.directory)
    assert [chunk.behind(0, n) for n in range(1, 10)] == ends
    assert chunk.behind(ends[3], 4) == ends[7]


def test_a_death_is_not_caught(tmp_path: Path) -> None:
    """The tests' own tool: what dies in the code under test is not mistaken for an error."""
    with pytest.raises(Killed), fault(1, Killed(), calls=("open",)):
        Writing(tmp_path).chunk(1)
