"""Damage in a log: what is whole is read, what is not is counted, and nothing that follows shifts."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd import log, log_writer
from recd.batch import Batch
from recd.chunks import HEADER_BYTES, ChunkInfo
from recd.journal import DAMAGED, Journal, gaps, lost
from recd.log import LogReader, segment_path, segments
from recd.log_writer import LogWriter
from recd.room import Store
from recd.track import Track
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from recd_client.schema import Schema
from rows import Recording, numbers_of
from streams import PLAIN, VARYING, Feed, numbers_in
from syscall_faults import Clock

#: A segment has room for one chunk, for two of three samples, or for all.
SEGMENTS = [1, 1200, 1 << 20]


class Damaged:
    """A log of several chunks, with events and losses, and what was written into it.

    Parameters
    ----------
    directory : Path
    chunks : int
    segment_bytes : int
    """

    def __init__(
        self, directory: Path, chunks: int = 3, segment_bytes: int = 1 << 20, schema: Schema = PLAIN
    ) -> None:
        self.top = directory
        self.schema = schema
        self.feed = Feed(schema, 1 << 20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log_writer, "SEGMENT_BYTES", segment_bytes)
            track = Track(directory, "s", schema, Store(), [], self.feed.segment, Clock())
            for i in range(chunks):
                self.feed.write(1 + i % 3)
                if i % 3 == 1:
                    self.feed.lose(2)
                    self.feed.mark("fell", by=i)
                    self.feed.write(1)
                track.drain()
            track.close()
        self.directory = directory / "log"
        self.files = [segment_path(self.directory, b) for b in segments(self.directory)]
        self.contents = [p.read_bytes() for p in self.files]

    @property
    def chunks(self) -> list[tuple[int, int, ChunkInfo]]:
        """Number of the file, offset, and header of each chunk."""
        out = []
        for i, content in enumerate(self.contents):
            at = 0
            while (info := ChunkInfo.unpack(content[at : at + HEADER_BYTES])) is not None:
                out.append((i, at, info))
                at += HEADER_BYTES + info.body_bytes
        return out

    def restore(self) -> None:
        """The log is as it was written."""
        for path in self.directory.iterdir():
            path.unlink()
        for path, content in zip(self.files, self.contents, strict=True):
            path.write_bytes(content)

    def read(self) -> tuple[list[int], dict[str, int], list[dict[str, Any]]]:
        """Numbers that a reader finds, each proved to be whole; losses by cause, and gaps, as the journal tells."""
        journal = Journal(self.top / "none", self.schema, reads_only=True)
        reader, found = LogReader(self.directory), list[Batch]()
        behind = 0
        while (chunk := reader.next()) is not None:
            info = chunk.info
            assert info.begin >= behind
            journal.take(chunk, damaged=reader.damaged)
            if chunk.is_whole():
                items = chunk.items(self.schema)
                found += [item.what for item in items if isinstance(item.what, Batch)]
            else:
                first = min(info.first_seq, journal.tally.next_seq)
                journal.miss(log.Missing(info.begin, info.end, first, info.next_seq, True))
            behind = info.end
        reader.close()
        events = journal.events()
        return numbers_in(found), lost(events), gaps(events)

    def check(self, at_end: bool = False) -> list[int]:
        """What is read is right, and what is not is told, as far as something follows it; what is read."""
        numbers, by_cause, told = self.read()
        assert numbers == sorted(set(numbers))
        assert set(numbers) <= set(self.feed.written)
        missing = [n for n in range(max(numbers, default=-1) + 1) if n not in numbers]
        in_gaps = [n for gap in told for n in range(gap["first_seq"], gap["last_seq"] + 1)]
        assert set(missing) <= set(in_gaps)
        if not at_end:
            assert sum(by_cause.values()) == self.feed.producer.next_seq - len(numbers)
        return numbers


@pytest.mark.parametrize("segment_bytes", SEGMENTS)
def test_every_bit_of_a_log_that_is_toggled_is_detected(tmp_path: Path, segment_bytes: int) -> None:
    """Whichever bit changed: one chunk is missing, exactly it is counted, all others are read, none is wrong.

    Every bit of every header, and with segments for two chunks every bit of the bodies; a bit of each of their bytes
    where all chunks or none share a segment, of which no checksum of a body knows.
    """
    damaged = Damaged(tmp_path, 3, segment_bytes)
    whole = damaged.check()
    chunks = damaged.chunks
    for k, (i, offset, info) in enumerate(chunks):
        size = HEADER_BYTES + info.body_bytes
        samples = [n for n in whole if info.first_seq <= n < info.next_seq]
        rest = [n for n in whole if n not in samples]
        fd = os.open(damaged.files[i], os.O_RDWR)
        for bit in range(size * 8):
            if bit >= HEADER_BYTES * 8 and segment_bytes != 1200 and bit % 8 != bit // 8 % 8:
                continue
            byte = damaged.contents[i][offset + bit // 8]
            os.pwrite(fd, bytes([byte ^ 1 << bit % 8]), offset + bit // 8)
            # A header at the very end may be one that is just being written.
            at_end = k == len(chunks) - 1 and bit < HEADER_BYTES * 8
            assert damaged.check(at_end) == rest, f"chunk {k}, bit {bit}"
            os.pwrite(fd, bytes([byte]), offset + bit // 8)
        os.close(fd)
    assert damaged.check() == whole


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_every_truncation_point_of_a_segment_in_the_middle(tmp_path: Path, schema: Schema) -> None:
    """Chunks before the cut and all later segments are read, and what is missing between is counted."""
    damaged = Damaged(tmp_path, 4, 1, schema)
    whole = damaged.check()
    for i, _, info in damaged.chunks[:-1]:
        rest = [n for n in whole if not info.first_seq <= n < info.next_seq]
        for length in range(len(damaged.contents[i])):
            os.truncate(damaged.files[i], length)
            assert damaged.check() == rest, f"segment {i} cut at {length}"
            damaged.files[i].write_bytes(damaged.contents[i])


@pytest.mark.parametrize("segment_bytes", [8000, 20000])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_blocks_that_were_never_written_cost_only_their_chunks(
    tmp_path: Path, segment_bytes: int, fill: bytes
) -> None:
    """Any 4 KiB block of zeros or rubbish, and any two: chunks that it does not touch are all read."""
    damaged = Damaged(tmp_path, 60, segment_bytes)
    whole = damaged.check()
    random.seed(7)
    places = [(i, at) for i, c in enumerate(damaged.contents) for at in range(0, len(c), 4096)]
    for n in range(len(places)):
        blocks = {places[n], random.choice(places)}
        for i, at in blocks:
            with damaged.files[i].open("r+b") as f:
                f.seek(at)
                f.write(fill * min(4096, len(damaged.contents[i]) - at))
        hit = [
            info for i, offset, info in damaged.chunks
            if any(i == b and offset < at + 4096 and at < offset + HEADER_BYTES + info.body_bytes
                   for b, at in blocks)
        ]  # fmt: skip
        last = damaged.chunks[-1][2]
        rest = [n for n in whole if not any(c.first_seq <= n < c.next_seq for c in hit)]
        assert damaged.check(at_end=last in hit) == rest
        damaged.restore()


def test_a_missing_segment_is_counted(tmp_path: Path) -> None:
    """Whichever file is gone: the others are read, and the numbers in it are told."""
    damaged = Damaged(tmp_path, 9, 1200)
    whole = damaged.check()
    for gone in damaged.files[:-1]:
        gone.unlink()
        rest = damaged.check()
        infos = [info for i, _, info in damaged.chunks if damaged.files[i] == gone]
        assert rest == [n for n in whole if not any(c.first_seq <= n < c.next_seq for c in infos)]
        damaged.restore()


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_chunks_that_stand_there_twice_are_read_once(tmp_path: Path, chunks: int) -> None:
    """A disk that repeats a stretch of a segment doubles nothing."""
    damaged = Damaged(tmp_path, 12, 8000)
    whole = damaged.check()
    i = 0
    ends = [offset + HEADER_BYTES + info.body_bytes for at, offset, info in damaged.chunks if at == i]
    for begin, end in zip([0, *ends], [*ends, ends[-1]][chunks:], strict=False):
        raw = damaged.contents[i]
        damaged.files[i].write_bytes(raw[:end] + raw[begin:end] + raw[end:])
        assert damaged.check(at_end=True) == whole
    damaged.restore()
    assert damaged.check() == whole


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_costs_only_what_it_touches(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bits, zeros, missing and doubled bytes, at several places at once: nothing wrong, nothing twice, no crash."""
    damaged = Damaged(tmp_path_factory.mktemp("log"), 12, data.draw(st.sampled_from(SEGMENTS)))
    hit = set()
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(damaged.files) - 1))
        raw = bytearray(damaged.files[i].read_bytes())
        if not raw:
            continue
        at = data.draw(st.integers(0, len(raw) - 1))
        length = data.draw(st.integers(1, 700))
        kind = data.draw(st.sampled_from(["flip", "zero", "cut out", "twice"]))
        if kind == "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "zero":
            raw[at : at + length] = bytes(len(raw[at : at + length]))
        elif kind == "cut out":
            del raw[at : at + length]
        else:
            raw[at:at] = raw[max(at - length, 0) : at]
        damaged.files[i].write_bytes(raw)
        hit.add(i)
    numbers = damaged.check(at_end=True)
    for i, _, info in damaged.chunks:
        if i not in hit:
            assert [n for n in damaged.feed.written if info.first_seq <= n < info.next_seq] == [
                n for n in numbers if info.first_seq <= n < info.next_seq
            ]


def test_the_bytes_of_a_log_in_a_sample_are_no_chunk(tmp_path: Path) -> None:
    """A recording of another log's bytes: a damaged header does not bring them to life."""
    inner = Damaged(tmp_path / "inner", 1)
    raw = inner.contents[0]
    schema = Schema.from_json(
        {"bare": True, "fields": [{"name": "data", "dtype": "|u1", "shape": [len(raw)], "kind": "fixed", "unit": ""}]}
    )  # fmt: skip
    writer = LogWriter(tmp_path / "log")
    feed = Feed(schema, 1 << 20)
    track = Track(tmp_path, "s", schema, Store(), [], feed.segment, Clock())
    writer.close()
    for _ in range(3):
        size = 64 + (len(raw) + 63) // 64 * 64
        at = feed.producer.reserve(size)
        feed.producer.buffer[at + 64 : at + 64 + len(raw)] = raw
        feed.producer.publish(size, len(raw), 0.0, 0, 0)
        track.drain()
    track.close()
    path = segment_path(tmp_path / "log", 0)
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES * 2 + 64 + len(raw) // 64 * 64 + 64 + 8] ^= 1  # somewhere in the second chunk
    path.write_bytes(content)
    reader = LogReader(tmp_path / "log")
    infos = [chunk.info for chunk in iter(reader.next, None)]
    reader.close()
    assert all(info.begin % feed.producer.head == info.begin for info in infos)
    assert [info.first_seq for info in infos if info.samples][-1] == 2


# --- a log that is being written ------------------------------------------------------------------


def test_a_reader_waits_for_a_chunk_that_is_half_written(tmp_path: Path) -> None:
    """At the end of the newest segment what is incomplete is no damage: once it is whole it is read."""
    damaged = Damaged(tmp_path, 3)
    i, offset, info = damaged.chunks[-1]
    path, content = damaged.files[i], damaged.contents[i]
    for length in range(offset, len(content)):
        path.write_bytes(content[:length])
        reader = LogReader(damaged.directory)
        first = [reader.next(), reader.next()]
        assert None not in first
        assert reader.next() is None
        assert not reader.damaged
        path.write_bytes(content)
        last = reader.next()
        assert last is not None
        assert last.info == info
        assert last.is_whole()
        assert not reader.damaged
        reader.close()


def test_what_proves_to_be_damage_later_is_passed_over_then(tmp_path: Path) -> None:
    """A header that never becomes one is waited for until a whole chunk stands behind it."""
    damaged = Damaged(tmp_path, 3)
    path, content = damaged.files[0], bytearray(damaged.contents[0])
    (_, second, _), (_, third, info) = damaged.chunks[1:]
    content[second + 20] ^= 4
    path.write_bytes(content[:third])
    reader = LogReader(damaged.directory)
    assert reader.next() is not None
    for _ in range(3):
        assert reader.next() is None
    path.write_bytes(content)
    chunk = reader.next()
    assert chunk is not None
    assert chunk.info == info
    assert reader.damaged
    reader.close()


def test_what_the_disk_cannot_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO from a sector costs the chunks that lie on it, and nobody waits for it."""
    damaged = Damaged(tmp_path, 60)
    whole = damaged.check()
    bad = range(4096, 8192)

    def failing(real: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def call(fd: int, what: Any, offset: int) -> Any:
            if offset < bad.stop and bad.start < offset + size(what):
                raise OSError(errno.EIO, "broken")
            return real(fd, what, offset)

        return call

    monkeypatch.setattr(os, "pread", failing(os.pread, int))
    monkeypatch.setattr(os, "preadv", failing(os.preadv, lambda parts: len(parts[0])))
    hit = [c for _, at, c in damaged.chunks
           if at < bad.stop and bad.start < at + HEADER_BYTES + c.body_bytes]  # fmt: skip
    assert damaged.check() == [n for n in whole if not any(c.first_seq <= n < c.next_seq for c in hit)]


# --- the writer -----------------------------------------------------------------------------------


def test_a_writer_keeps_what_lies_behind_damage(tmp_path: Path) -> None:
    """Opening a log whose middle is damaged changes no byte of it, and goes on at its end."""
    damaged = Damaged(tmp_path, 6)
    for _, offset, info in damaged.chunks[:-1]:
        for at in (offset + 8, offset + HEADER_BYTES + info.body_bytes - 1):
            content = bytearray(damaged.contents[0])
            content[at] ^= 1
            damaged.files[0].write_bytes(content)
            writer = LogWriter(damaged.directory)
            assert writer.end == damaged.chunks[-1][2].end
            writer.close()
            assert damaged.files[0].read_bytes() == bytes(content)
            assert not list(damaged.directory.glob("*.cut"))


def test_a_torn_end_is_cut_without_a_copy_and_rubbish_with_one(tmp_path: Path) -> None:
    """What one append can leave is thrown away; anything else is put aside first, whole."""
    damaged = Damaged(tmp_path, 3)
    _, offset, info = damaged.chunks[-1]
    content = damaged.contents[0]
    for tail in (content[offset:-1], content[offset : offset + 100], bytes(9000)):
        damaged.restore()
        damaged.files[0].write_bytes(content[:offset] + tail)
        LogWriter(damaged.directory).close()
        assert damaged.files[0].read_bytes() == content[:offset]
        assert not list(damaged.directory.glob("*.cut"))
    flipped = bytearray(content[offset:])
    flipped[-1] ^= 1
    for tail in (bytes(flipped), os.urandom(5000), bytes(5000) + b"x"):
        damaged.restore()
        damaged.files[0].write_bytes(content[:offset] + tail)
        writer = LogWriter(damaged.directory)
        assert damaged.files[0].read_bytes() == content[:offset]
        (copy,) = damaged.directory.glob("*.cut")
        assert copy.read_bytes() == tail
        assert (writer.cut is not None and writer.cut.end == info.end) == (tail == bytes(flipped))
        writer.close()


def test_a_log_without_a_whole_chunk_is_put_aside(tmp_path: Path) -> None:
    """The only copy of what may still be repaired by hand is not deleted."""
    damaged = Damaged(tmp_path, 1)
    content = bytearray(damaged.contents[0])
    content[9] ^= 1
    damaged.files[0].write_bytes(content)
    writer = LogWriter(damaged.directory)
    assert (writer.end, writer.segment_count) == (0, 0)
    assert [p.read_bytes() for p in damaged.directory.iterdir()] == [bytes(content)]
    writer.close()


# --- journal, sinks, manifest ---------------------------------------------------------------------

SINKS: list[SinkOptions] = [CSVFile("rows.csv"), NPZFile("rows.npz"), HDF5File("rows.h5")]


def segment_files(recording: Recording) -> list[Path]:
    """The log's files."""
    directory = recording.directory / "log"
    return [segment_path(directory, begin) for begin in segments(directory)]


def recorded(directory: Path, *sinks: SinkOptions, before: int = 0, **options: Any) -> Recording:
    """Ten chunks of five samples in the log; sinks have taken the first ``before`` of them."""
    recording = Recording(directory, *sinks, capacity_bytes=1 << 20, **options)
    for i in range(10):
        recording.feed.write(5)
        if i == 4:
            recording.feed.lose(3)
            recording.feed.mark("fell", by=1)
        if i < before:
            recording.settle()
        recording.track.drain()
    return recording


def spoil(recording: Recording, which: int, *, header: bool) -> ChunkInfo:
    """The chunk of that number is damaged; what its header said."""
    path = segment_files(recording)[0]
    content, at = bytearray(path.read_bytes()), 0
    for _ in range(which):
        info = ChunkInfo.unpack(bytes(content[at : at + HEADER_BYTES]))
        assert info is not None
        at += HEADER_BYTES + info.body_bytes
    info = ChunkInfo.unpack(bytes(content[at : at + HEADER_BYTES]))
    assert info is not None
    content[at + (30 if header else HEADER_BYTES + 100)] ^= 16
    path.write_bytes(content)
    return info


@pytest.mark.parametrize("header", [True, False], ids=["header", "body"])
@pytest.mark.parametrize("which", range(10))
@pytest.mark.parametrize("before", [0, 10], ids=["not taken", "taken"])
def test_every_file_goes_on_behind_the_damage(tmp_path: Path, which: int, header: bool, before: int) -> None:
    """Whichever chunk is damaged, before or after it was counted: the rest is in every file, the loss is exact."""
    recording = recorded(tmp_path, *SINKS, before=before)
    recording.stop()
    recording.track.save()
    recording.track.close()
    info = spoil(recording, which, header=header)
    recording.start()
    result = recording.result()
    if which == 9 and header and not before:  # nobody knows of it, so it is read from the ring once more
        assert result["complete"]
        assert numbers_of(recording.out / "rows.npz") == recording.feed.written
        return
    gone = [n for n in recording.feed.written if info.first_seq <= n < info.next_seq]
    rest = [n for n in recording.feed.written if n not in gone]
    assert numbers_of(recording.out / "rows.npz") == rest
    assert numbers_of(recording.out / "rows.csv") == (recording.feed.written if before else rest)
    assert result["lost"] == {"full": 3, DAMAGED: len(gone)}
    assert (result["attempted"], result["samples"]) == (53, len(rest))
    assert result["attempted"] == result["samples"] + sum(result["lost"].values())
    assert (result["state"], result["complete"]) == ("damaged", False)
    (gap,) = [g for g in result["gaps"] if g["cause"] == DAMAGED]
    assert gap["first_seq"] <= gone[0]
    assert gap["last_seq"] >= gone[-1]
    assert {f["path"].split(".")[-1]: f["samples"] for f in result["files"]} == {
        "csv": 50 if before else len(rest), "npz": len(rest), "h5": len(rest),
    }  # fmt: skip


@pytest.mark.parametrize("split", [None, 7])
@pytest.mark.parametrize("which", [0, 3, 9])
def test_parts_lose_only_what_is_theirs(tmp_path: Path, split: int | None, which: int) -> None:
    """A part that was complete in the log before it was damaged is built of what is left."""
    recording = recorded(tmp_path, NPZFile("rows.npz", split=split))
    while recording.runner.position < recording.track.log.end:
        recording.track.work(lambda: None)  # no job of the finisher has run yet
    info = spoil(recording, which, header=False)
    result = recording.result()
    gone = [n for n in recording.feed.written if info.first_seq <= n < info.next_seq]
    found = [n for f in result["files"] for n in numbers_of(Path(f["path"]))]
    assert found == [n for n in recording.feed.written if n not in gone]
    assert [f["samples"] for f in result["files"]] == [
        len(numbers_of(Path(f["path"]))) for f in result["files"]
    ]
    assert result["lost"] == {"full": 3, DAMAGED: len(gone)}


def test_damage_that_nobody_reads_any_more_loses_nothing(tmp_path: Path) -> None:
    """A CSV that has the rows already is complete, whatever becomes of the log."""
    recording = recorded(tmp_path, CSVFile("rows.csv"), before=10)
    spoil(recording, 2, header=False)
    result = recording.result()
    assert result["complete"]
    assert result["lost"] == {"full": 3}
    assert recording.numbers("rows.csv") == recording.feed.written


def test_a_mark_that_was_damaged_makes_the_recording_incomplete(tmp_path: Path) -> None:
    """No sample is lost, but nobody can say so of the events."""
    recording = Recording(tmp_path, CSVFile("rows.csv"), capacity_bytes=1 << 20)
    for _ in range(3):
        recording.feed.write(2)
        recording.track.drain()
        recording.feed.mark("fell")
        recording.track.drain()
    spoil(recording, 1, header=True)
    result = recording.result()
    assert recording.numbers("rows.csv") == recording.feed.written
    assert (result["lost"], result["samples"], result["state"]) == ({}, 6, "damaged")
    assert len(result["marks"]) == 2


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_counts_are_exact_whatever_is_damaged_and_whoever_dies(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Several chunks are damaged at several moments, workers die between: attempts = samples + lost, by cause."""
    recording = recorded(tmp_path_factory.mktemp("run"), *SINKS)
    gone: set[int] = set()
    for _ in range(data.draw(st.integers(1, 3))):
        for _ in range(data.draw(st.integers(0, 4))):
            recording.track.work(lambda: None)
        which = data.draw(st.integers(0, 8))
        try:
            info = spoil(recording, which, header=data.draw(st.booleans()))
        except AssertionError:
            continue  # behind a header that is damaged already
        gone |= {n for n in recording.feed.written if info.first_seq <= n < info.next_seq}
        recording.die_at(data.draw(st.integers(0, 8)), torn=data.draw(st.booleans()), turns=2)
    recording.feed.write(3)
    result = recording.result()
    npz = numbers_of(recording.out / "rows.npz")
    assert npz == sorted(set(npz))
    assert set(npz) >= set(recording.feed.written) - gone
    assert result["attempted"] == result["samples"] + sum(result["lost"].values())
    assert result["lost"].get(DAMAGED, 0) <= len(gone)
    assert result["samples"] <= len(npz)
