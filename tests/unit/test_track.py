from __future__ import annotations

import errno
import math
import os
import struct
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd import log_writer
from recd.batch import Event
from recd.journal import marks
from recd.log import LogReader
from recd.room import Store
from recd.track import Track
from recd_client import layout
from recd_client.options import CSVFile, NPZFile, NullSink
from recd_client.ring import RingProducer
from rows import Recording
from streams import PLAIN, VARYING
from syscall_faults import Killed, fault

RECORD = layout.record_bytes(PLAIN.payload_bytes)


def events_in(track: Track) -> list[Event]:
    """All events in the log."""
    reader = LogReader(track.log.directory)
    found = [event for chunk in iter(reader.next, None) for event in chunk.events(track.schema)]
    reader.close()
    return found


# --- draining -------------------------------------------------------------------------------------


def test_an_empty_ring_gives_nothing_to_do(tmp_path: Path) -> None:
    """Looking at it writes nothing and frees nothing."""
    recording = Recording(tmp_path)
    assert not recording.track.drain()
    assert not recording.track.work(lambda: None)
    assert recording.track.log.bytes == 0
    assert recording.track.safe(0)


def test_what_was_published_is_logged_and_freed(tmp_path: Path) -> None:
    """After a drain the ring is the producer's again, and the log has it all."""
    recording = Recording(tmp_path)
    for count in (1, 30, 5):
        recording.feed.write(count)
        assert recording.track.drain()
        assert recording.feed.producer.word("free_pos") == recording.feed.head
        assert recording.feed.producer.word("durable_seq") == recording.feed.producer.next_seq
        assert not recording.track.drain()
    assert recording.logged() == recording.feed.written


@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_nothing_is_freed_before_it_is_in_the_log(tmp_path: Path, durability: str) -> None:
    """A worker killed as it appends leaves everything in the ring that the log has not, and so in the file."""
    for at in (1, 2, 5):
        recording = Recording(tmp_path / str(at), CSVFile("r.csv"), store=Store(durability, reserve_bytes=0))
        with suppress(Killed), fault(at, Killed(), torn=True, lasts=True, calls=("pwritev",)) as state:
            for _ in range(at):
                recording.feed.write(7)
                recording.track.drain()
        assert state.struck
        assert recording.feed.producer.word("free_pos") <= recording.track.log.end
        recording.die()
        assert recording.result()["samples"] == len(recording.feed.written)
        assert recording.numbers("r.csv") == recording.feed.written


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_a_full_ring_is_drained_and_goes_on_lap_after_lap(tmp_path: Path, schema: Any) -> None:
    """Whatever fits, with padding at the end of every lap, arrives; what did not fit is told in its place."""
    capacity = layout.MIN_CAPACITY_BYTES + 64
    recording = Recording(tmp_path, CSVFile("r.csv"), schema=schema, capacity_bytes=capacity)
    for _ in range(6):
        recording.feed.write(300)
        recording.turn(3)
    assert recording.feed.lost
    assert recording.feed.head > 3 * capacity
    result = recording.result()
    assert recording.logged() == recording.feed.written == recording.numbers("r.csv")
    told = [n for gap in result["gaps"] for n in range(gap["first_seq"], gap["last_seq"] + 1)]
    assert told == recording.feed.lost


def test_padding_without_a_record_behind_it_is_freed_with_the_next_one(tmp_path: Path) -> None:
    """A claim that was given back at the end of a lap holds up nobody, and a successor finds the padding."""
    recording = Recording(tmp_path, capacity_bytes=layout.MIN_CAPACITY_BYTES + 64)
    producer = recording.feed.producer
    while producer.capacity_bytes - producer.head % producer.capacity_bytes > RECORD:
        recording.feed.write(1)
        recording.turn()
    end_of_log = producer.head
    assert producer.reserve(RECORD) > 0
    producer.abort()
    assert producer.head > end_of_log
    recording.turn()
    assert recording.track.safe(producer.head)
    assert producer.word("free_pos") == end_of_log
    recording.die()
    recording.settle()
    assert recording.track.safe(producer.head)
    recording.feed.write(5)
    recording.result()
    assert recording.numbers("rows.csv") == recording.feed.written


def test_a_stream_that_closed_is_over_once_all_is_taken(tmp_path: Path) -> None:
    """Not before: what is in the ring or in the log is still to be stored."""
    recording = Recording(tmp_path)
    recording.feed.write(3)
    recording.feed.close()
    assert not recording.track.drained
    assert not recording.track.finish()
    recording.track.drain()
    assert recording.track.drained
    assert not recording.track.finish()
    recording.run_until(recording.track.finish)
    assert recording.files == ["rows.csv"]


def test_a_producer_that_died_is_drained_to_its_last_commit(tmp_path: Path) -> None:
    """Without a close, the stream ends where the words say; what was half written is not in it."""
    recording = Recording(tmp_path)
    recording.feed.write(3)
    assert recording.feed.producer.reserve(RECORD) > 0  # and there it died
    recording.turn(3)
    assert not recording.track.drained
    recording.track.producer_gone = True
    result = recording.finish()
    assert result["samples"] == 3
    assert recording.numbers("rows.csv") == [0, 1, 2]


def test_taking_a_ring_tells_its_client_who_drains_it(tmp_path: Path) -> None:
    """Each worker counts up the epoch and leaves its pid."""
    recording = Recording(tmp_path)
    assert recording.feed.producer.word("epoch") == 1
    recording.die()
    assert recording.feed.producer.word("epoch") == 2
    assert recording.feed.producer.word("worker_pid") == os.getpid()
    assert recording.feed.producer.word("consumer_state") == layout.CONSUMER_RUNNING


def test_without_a_ring_what_is_in_the_log_is_finished(tmp_path: Path) -> None:
    """After a reboot the log is all there is, and its events tell what was lost."""
    recording = Recording(tmp_path)
    recording.feed.write(4)
    recording.feed.lose(2)
    recording.feed.write(1)
    recording.track.drain()
    recording.track.close()
    runners = recording.runners
    recording.track = Track(
        recording.directory, "rows", PLAIN, recording.store, runners, None, recording.clock
    )
    result = recording.finish()
    assert recording.numbers("rows.csv") == [0, 1, 2, 3, 6]
    assert (result["attempted"], result["samples"], result["lost"]) == (7, 5, {"full": 2})


# --- losses ---------------------------------------------------------------------------------------


def test_losses_that_a_dead_producer_could_not_tell_are_in_its_words(tmp_path: Path) -> None:
    """Attempts are what was stored and what was lost, by cause, with the range of numbers as their gap."""
    recording = Recording(tmp_path)
    recording.feed.write(3)
    recording.feed.lose(2)
    recording.feed.write(1)
    recording.turn(4)
    recording.feed.lose(4)
    recording.feed.lose(1, "too_large")
    recording.track.producer_gone = True
    result = recording.finish()
    assert (result["attempted"], result["samples"]) == (11, 4)
    assert result["lost"] == {"full": 6, "too_large": 1}
    gaps = [(g["cause"], g["first_seq"], g["last_seq"], g["count"]) for g in result["gaps"]]
    assert gaps == [("full", 3, 4, 2), ("full", 6, 10, 4), ("too_large", 6, 10, 1)]


# --- waiting --------------------------------------------------------------------------------------


def test_a_position_is_safe_when_log_and_growing_files_have_it(tmp_path: Path) -> None:
    """Both: it survives any process, and it can be read."""
    recording = Recording(tmp_path)
    recording.feed.write(3)
    assert not recording.track.safe(RECORD)
    recording.track.drain()
    assert not recording.track.safe(RECORD)
    recording.track.work(lambda: None)
    recording.track.work(lambda: None)
    assert recording.track.safe(3 * RECORD)
    assert not recording.track.safe(4 * RECORD)


def test_a_file_that_failed_holds_nobody_up(tmp_path: Path) -> None:
    """What it will never have, nobody waits for."""
    recording = Recording(tmp_path, CSVFile("a.csv"), NullSink())
    recording.feed.write(2)
    recording.runners[0]._fail(RuntimeError("no"))
    recording.turn(3)
    assert recording.track.safe(2 * RECORD)


@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_what_the_client_reads_as_durable_is_safe_as_asked_for(tmp_path: Path, durability: str) -> None:
    """In the log, or synced: the word moves no sooner."""
    recording = Recording(tmp_path, store=Store(durability, reserve_bytes=0))
    recording.feed.write(3)
    with fault(0, OSError(), calls=("fdatasync",)) as syncs:
        recording.track.drain()
    assert (syncs.count > 0) == (durability == "strict")
    assert recording.feed.producer.word("durable_seq") == (0 if durability == "interval" else 3)
    assert recording.track.sync()
    assert recording.feed.producer.word("durable_seq") == 3


# --- trouble --------------------------------------------------------------------------------------


def test_a_disk_that_is_full_stalls_and_goes_on_by_itself(tmp_path: Path) -> None:
    """The ring keeps what it has, the client is told why, and nothing is stored twice."""
    recording = Recording(tmp_path)
    recording.feed.write(5)
    with fault(1, OSError(errno.ENOSPC, "full", "disk"), lasts=True, calls=("pwritev",)) as writes:
        recording.track.drain()
        assert (recording.track.state, recording.track.reason) == ("stalled", "full: disk")
        assert recording.feed.producer.word("consumer_state") == layout.CONSUMER_STALLED
        assert not recording.track.drain()
        recording.clock.pass_(0.25)
        recording.track.drain()
        assert writes.count == 2  # it rests between attempts
    recording.clock.pass_(0.25)
    recording.track.drain()
    assert (recording.track.state, recording.track.reason) == ("recording", "")
    assert recording.feed.producer.word("consumer_state") == layout.CONSUMER_RUNNING
    recording.result()
    assert recording.numbers("rows.csv") == recording.feed.written == [0, 1, 2, 3, 4]


def test_the_reserve_of_free_disk_is_left_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below it nothing is written any more, until there is room again."""
    recording = Recording(tmp_path, store=Store(reserve_bytes=1000))
    free = [999]
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=free[0], f_frsize=1, f_blocks=1 << 40)
    )
    recording.feed.write(2)
    recording.track.drain()
    assert recording.track.state == "stalled"
    assert recording.track.log.bytes == 0
    free[0] = 1000
    recording.clock.pass_(1)
    recording.track.drain()
    assert recording.track.state == "recording"
    assert recording.logged() == [0, 1]


@pytest.mark.parametrize("limit", [1, 4 * RECORD, 40 * RECORD])
def test_a_spool_limit_stalls_only_until_the_files_have_caught_up(tmp_path: Path, limit: int) -> None:
    """However small it is: what a growing file has is deleted from the log, and recording goes on."""
    recording = Recording(tmp_path, store=Store(spool_limit_bytes=limit, reserve_bytes=0))
    for _ in range(60):
        recording.feed.write(3)
        recording.track.drain()
    assert recording.track.state == "stalled"
    assert f"spool_limit of {limit} bytes" in recording.track.reason
    assert recording.track.log.bytes < limit + 40 * (RECORD + 128)
    for _ in range(20):
        recording.run_until(lambda: recording.track.state == "recording")
        recording.feed.write(3)
        recording.settle()
    recording.result()
    assert recording.numbers("rows.csv") == recording.feed.written


def test_a_file_that_is_built_at_the_end_keeps_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted that it still needs, however far the other files are."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 600)
    recording = Recording(tmp_path, CSVFile("a.csv"), NPZFile("b.npz"))
    for _ in range(9):
        recording.feed.write(3)
        recording.settle()
    assert recording.track.log.segment_count == 9
    recording.result()
    assert recording.numbers("b.npz") == recording.numbers("a.csv") == [*range(27)]


@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_before_a_segment_is_deleted_what_replaces_it_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """File, checkpoint and journal first, synced if that was asked for; then the log."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 600)
    store = Store(durability, reserve_bytes=0)
    recording = Recording(tmp_path, store=store, durable=durability != "process")
    order: list[str] = []
    real_unlink, real_sync = os.unlink, os.fdatasync

    def unlink(path: Path, missing_ok: bool = False) -> None:
        order.append(f"unlink {path.suffix}")
        real_unlink(path)

    def sync(fd: int) -> None:
        order.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_sync(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(Path, "unlink", unlink)
    while "unlink .log" not in order:
        recording.feed.write(3)
        recording.settle()
    before = order[: order.index("unlink .log")]
    wanted = {"sync rows.part.csv", "sync sink0.ckpt", "sync journal.ckpt"}
    assert wanted <= set(before) if durability != "process" else not wanted & set(before)


@pytest.mark.parametrize("call", range(1, 12))
def test_no_error_of_the_system_ends_the_worker(tmp_path: Path, call: int) -> None:
    """Wherever the disk is full, recording stalls at most, goes on by itself, and stores each sample once."""
    recording = Recording(
        tmp_path, CSVFile("a.csv"), NPZFile("b.npz"), store=Store("strict", reserve_bytes=0)
    )
    for lasts in (False, True):
        recording.feed.write(4)
        recording.feed.mark("m")
        recording.fail_at(call, OSError(errno.ENOSPC, "full"), torn=True, lasts=lasts)
        with fault(call, OSError(errno.EIO, "broken"), lasts=lasts):
            recording.track.sync()
            recording.track.sync_all()
        recording.clock.pass_(1)
    assert recording.track.sync_all()
    result = recording.result()
    assert result["state"] == "complete"
    assert recording.numbers("a.csv") == recording.numbers("b.npz") == [*range(8)]
    assert [m["label"] for m in marks(recording.track.journal.events())] == ["m", "m"]


@pytest.mark.parametrize("call", range(1, 6))
def test_a_worker_can_stop_with_a_full_disk(tmp_path: Path, call: int) -> None:
    """It leaves older checkpoints, from which its successor goes on as well."""
    recording = Recording(tmp_path)
    recording.feed.write(4)
    recording.turn(3)
    with fault(call, OSError(errno.ENOSPC, "full"), lasts=True):
        recording.track.sync_all()
        recording.track.save()
        recording.track.close()
    recording.start()
    recording.feed.write(2)
    recording.result()
    assert recording.numbers("rows.csv") == [*range(6)]


def test_a_sync_that_failed_does_not_store_anything_twice(tmp_path: Path) -> None:
    """Under ``strict`` a chunk is freed when it is synced, and appended once however often that takes."""
    recording = Recording(tmp_path, store=Store("strict", reserve_bytes=0))
    recording.feed.write(4)
    with fault(1, OSError(errno.EIO, "broken"), lasts=True, calls=("fdatasync", "rename")):
        recording.track.drain()
    assert recording.track.state == "stalled"
    assert recording.feed.producer.word("free_pos") == 0
    recording.clock.pass_(1)
    assert recording.track.drain()
    assert recording.track.state == "recording"
    assert recording.feed.producer.word("free_pos") == 4 * RECORD
    assert recording.logged() == [0, 1, 2, 3]


# --- damage ---------------------------------------------------------------------------------------


def poisoned(recording: Recording) -> list[int]:
    """The samples in the finished file of a recording whose ring was set aside."""
    result = recording.finish()
    assert result["state"] == "damaged"
    assert result["reason"]
    assert not result["complete"]
    assert recording.feed.producer.word("consumer_state") == layout.CONSUMER_POISONED
    return recording.numbers("rows.csv")


@pytest.mark.parametrize("place", [0, 4, 8, 16, 28, 32], ids=["crc", "magic", "position", "seq", "type", "t"])
def test_a_damaged_header_ends_the_stream_before_it(tmp_path: Path, place: int) -> None:
    """What was good is in the finished file; what follows the damage is not guessed at."""
    recording = Recording(tmp_path)
    recording.feed.write(5)
    recording.turn()
    recording.feed.write(5)
    at = layout.DATA_OFFSET + 8 * RECORD + place
    recording.feed.memory[at] ^= 0x10
    before = bytes(recording.feed.memory)
    recording.turn()
    image = (recording.directory / "ring.image").read_bytes()
    assert poisoned(recording) == [*range(8)]
    begin = layout.DATA_OFFSET + 8 * RECORD  # the damage and what is behind it, for a later look
    assert image[layout.DATA_OFFSET : layout.DATA_OFFSET + 2 * RECORD] == before[begin : begin + 2 * RECORD]
    assert len(image) == len(before)


@pytest.mark.parametrize("head", [1, 64, 1 << 20, (1 << 64) - 64])
def test_a_damaged_head_ends_the_stream_behind_the_last_whole_record(tmp_path: Path, head: int) -> None:
    """Headers prove themselves: what was published since the last look is not lost with the word."""
    recording = Recording(tmp_path)
    recording.feed.write(5)
    recording.turn()
    recording.feed.write(3)
    struct.pack_into("<Q", recording.feed.memory, layout.PRODUCER["head"], head)
    recording.turn()
    assert poisoned(recording) == [*range(8)]


def test_a_damaged_geometry_ends_the_stream_at_the_log(tmp_path: Path) -> None:
    """A ring that a new worker cannot read is set aside; the log is finished."""
    recording = Recording(tmp_path)
    recording.feed.write(5)
    recording.turn()
    recording.feed.memory[layout.GEOMETRY_OFFSET + 20] ^= 1
    recording.die()
    result = recording.finish()
    assert result["state"] == "damaged"
    assert recording.numbers("rows.csv") == [*range(5)]


@pytest.mark.parametrize("kind", [layout.LOSS, layout.MARK, layout.CLOSE])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\xff" * 100,
        b"[" * 900,
        b"[" * 8000,
        b'{"label": 5}',
        b'{"label": "a", "fields": [[1, 2]]}',
    ],
    ids=["empty", "short", "ones", "deep", "long", "other", "odd"],
)
def test_no_payload_of_an_event_harms_the_worker(tmp_path: Path, kind: int, payload: bytes) -> None:
    """It is told as it came, or ends the stream there like any damage; the samples before it are stored."""
    recording = Recording(tmp_path, capacity_bytes=1 << 16)
    recording.feed.write(2)
    producer = recording.feed.producer
    producer._publish_control(kind, payload, layout.record_bytes(len(payload)), math.nan, -1, 0)
    recording.feed.write(2)
    recording.turn(4)
    damaged = recording.track.state == "damaged"
    result = recording.result()
    assert result["state"] == ("damaged" if damaged else "complete")
    assert recording.numbers("rows.csv") == ([0, 1] if damaged else [0, 1, 2, 3])


def test_a_sample_that_contradicts_its_size_fails_its_file_and_harms_nothing_else(tmp_path: Path) -> None:
    """The log has it as it came, the worker lives, and the reason is told."""
    recording = Recording(tmp_path, CSVFile("a.csv"), NullSink(), schema=VARYING)
    recording.feed.write(2)
    at = recording.feed.producer.reserve(128)
    recording.feed.memory[at + 64 : at + 128] = b"\x7f" * 64
    recording.feed.producer.publish(128, 64, 0.0, 0, 0)
    recording.feed.write(1)
    recording.turn(6)
    assert recording.track.state == "recording"
    result = recording.result()
    assert result["state"] == "failed"
    assert "elements" in result["reason"]


words = st.sampled_from([*layout.PRODUCER.values(), *layout.CONSUMER.values()])
places = words | st.integers(layout.DATA_OFFSET, layout.DATA_OFFSET + 30 * RECORD)


@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(st.tuples(places, st.binary(min_size=1, max_size=16), st.booleans()), max_size=4),
    restarts=st.booleans(),
)
def test_nothing_in_shared_memory_harms_the_worker(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, bytes, bool]],
    restarts: bool,
) -> None:
    """Whatever is overwritten: it neither crashes nor hangs, and headers that were damaged give no sample."""
    recording = Recording(tmp_path_factory.mktemp("track"), NullSink())
    memory = recording.feed.memory
    recording.feed.write(10)
    recording.turn()
    recording.feed.write(10)
    for at, data, turns in changes:
        memory[at : at + len(data)] = data
        if turns:
            recording.turn()
    if restarts:
        recording.die()
    recording.track.producer_gone = True
    for _ in range(200):
        recording.clock.pass_(1)
        recording.turn()
        if recording.track.finish():
            break
    logged = recording.logged()
    assert logged == [*range(len(logged))]
    assert len(logged) >= 10
    recording.track.status()
    recording.track.close()


# --- status ---------------------------------------------------------------------------------------


def test_the_status_tells_what_is_where(tmp_path: Path) -> None:
    """Attempts, losses, what waits in the ring and in the log, and each file's state."""
    recording = Recording(tmp_path, CSVFile("a.csv"), NPZFile("b.npz"))
    recording.feed.write(6)
    recording.feed.lose(2)
    recording.feed.write(1)
    before = recording.track.status()
    assert before["buffered_bytes"] == recording.feed.head
    recording.settle()
    status = recording.track.status()
    assert (status["attempted"], status["written"], status["durable"], status["lost"]) == (
        9,
        7,
        7,
        {"full": 2},
    )
    assert status["buffered_bytes"] == 0
    assert status["spooled_bytes"] == recording.track.log.bytes > 7 * RECORD
    assert status["bytes"] == 7 * 64
    assert [(s["kind"], s["samples"], s["state"]) for s in status["sinks"]] == [
        ("csv", 7, "recording"),
        ("npz", 7, "recording"),
    ]


def test_a_trouble_of_a_file_is_the_streams(tmp_path: Path) -> None:
    """Whoever looks at the stream sees that something is wrong with one of its files."""
    recording = Recording(tmp_path, CSVFile("a.csv"), NullSink())
    recording.runners[0]._fail(RuntimeError("no"))
    status = recording.track.status()
    assert (status["state"], status["reason"]) == ("failed", "RuntimeError: no")


def test_progress_grows_with_what_is_done(tmp_path: Path) -> None:
    """Whoever waits for it sees that it gets on."""
    recording = Recording(tmp_path)
    seen = [recording.track.progress]
    for _ in range(4):
        recording.feed.write(3)
        recording.settle()
        seen.append(recording.track.progress)
    assert seen == sorted(set(seen))


def test_a_ring_that_a_producer_takes_again_goes_on(tmp_path: Path) -> None:
    """A client that reconnects writes behind what it wrote before."""
    recording = Recording(tmp_path)
    recording.feed.write(3)
    recording.turn()
    recording.feed.producer = RingProducer(recording.feed.memory)
    recording.feed.write(3)
    recording.die()
    recording.result()
    assert recording.numbers("rows.csv") == [*range(6)]
