"""Rounds: what is there is made durable beside the loop, and nothing is told of it before."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recd import log_writer, requests
from recd.checkpoint import Checkpoint
from recd.durable import Syncer
from recd.finisher import Finisher
from recd.log_writer import LogWriter
from recd.requests import Requests
from recd.room import Store
from recd.syncing import Rounds
from recd_client import layout
from recd_client.options import CSVFile, NPZFile
from rows import Recording
from streams import PLAIN
from syscall_faults import fault

RECORD = layout.record_bytes(PLAIN.payload_bytes)
EIO = OSError(errno.EIO, "broken")


def make(directory: Path) -> Recording:
    """A recording to CSV and NPZ under ``durability="interval"``."""
    store = Store("interval", reserve_bytes=0)
    return Recording(directory, CSVFile("rows.csv"), NPZFile("b.npz"), store=store, durable=True)


def work(recording: Recording, samples: int = 0) -> None:
    """The loop takes so many samples into log and files; no thread does anything."""
    recording.feed.write(samples)
    recording.track.drain()
    while recording.track.work(recording.track.drain):
        pass


def begin(recording: Recording) -> None:
    """A round begins; it is handed to the thread."""
    recording.clock.pass_(0.3)
    rounds(recording).look()


def rounds(recording: Recording) -> Rounds:
    """What the worker's loop looks at."""
    assert recording.track.rounds is not None
    return recording.track.rounds


def durable(recording: Recording) -> int:
    """What the client reads."""
    return recording.feed.producer.word("durable_seq")


def told(recording: Recording, sink: int = 0) -> int:
    """How many samples the checkpoint of a sink tells of."""
    state = Checkpoint(recording.directory / f"sink{sink}.ckpt").load()
    return 0 if state is None else int(state["next_seq"])


def test_nothing_is_told_before_the_sync_that_covers_it(tmp_path: Path) -> None:
    """What came after a round began waits for the next one, in ``durable_seq`` and in checkpoints."""
    recording = make(tmp_path)
    work(recording, 3)
    begin(recording)
    work(recording, 2)
    begin(recording)  # the thread did not come to it yet
    assert (durable(recording), told(recording), told(recording, 1)) == (0, 0, 0)
    recording.syncer.step()
    assert durable(recording) == 0
    begin(recording)
    assert (durable(recording), told(recording), told(recording, 1)) == (3, 3, 3)
    recording.syncer.step()
    rounds(recording).look()
    assert (durable(recording), told(recording), told(recording, 1)) == (5, 5, 5)
    recording.result()
    assert recording.numbers("rows.csv") == recording.numbers("b.npz") == [*range(5)]


def test_the_loop_goes_on_while_the_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples go to log and files, the ring is freed; they are durable when the disk has answered."""
    recording = make(tmp_path)
    asked, answers, done = threading.Event(), threading.Event(), threading.Event()
    loop = threading.get_ident()

    def hangs(fd: int) -> None:
        assert threading.get_ident() != loop
        asked.set()
        assert answers.wait(30)

    monkeypatch.setattr(os, "fdatasync", hangs)
    thread = Finisher(done.set)
    Rounds(recording.track, thread, recording.clock)
    work(recording, 3)
    begin(recording)
    assert asked.wait(30)
    work(recording, 4)
    assert recording.feed.producer.word("free_pos") == 7 * RECORD
    assert recording.runner.position == 7 * RECORD
    begin(recording)
    assert durable(recording) == 0
    answers.set()
    assert done.wait(30)
    rounds(recording).look()
    assert durable(recording) == 3
    thread.stop(30)
    monkeypatch.undo()
    recording.result()


@pytest.mark.parametrize("name", ["0000000000000000.log", "rows.part.csv", "sink0.ckpt"])
def test_a_sync_that_was_refused_is_not_believed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A copy takes the file's place, and until it is durable ``durable_seq`` stands still."""
    if name == "sink0.ckpt":  # it is synced before something is deleted
        monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 4 * RECORD)
    recording = Recording(tmp_path, store=Store("interval", reserve_bytes=0), durable=True)
    work(recording, 1)
    for _ in range(2):
        begin(recording)
        recording.syncer.step()
    path = next(tmp_path.rglob(name))
    refused = path.stat().st_ino
    asked: list[int] = []
    real = os.fdatasync

    def refuses(fd: int) -> None:
        if os.fstat(fd).st_ino == refused:
            asked.append(fd)
            if len(asked) == 1:
                raise EIO
        real(fd)

    monkeypatch.setattr(os, "fdatasync", refuses)
    while not asked:
        rounds(recording).look()
        work(recording, 2)
        begin(recording)
        recording.syncer.step()
    stood = durable(recording)
    with fault(1, EIO, lasts=True, calls=("rename",)):
        rounds(recording).look()
    assert durable(recording) == stood < len(recording.feed.written)
    for _ in range(3):
        recording.clock.pass_(0.6)
        work(recording)
        rounds(recording).look()
        recording.syncer.step()
    rounds(recording).look()
    assert durable(recording) == len(recording.feed.written)
    assert path.stat().st_ino != refused
    assert len(asked) == 1
    recording.result()
    assert recording.numbers("rows.csv") == recording.feed.written


def test_a_file_that_was_begun_since_has_nothing_to_do_with_the_round_before(tmp_path: Path) -> None:
    """A part that ended in between has told of itself; the checkpoint is the new part's."""
    recording = make(tmp_path)
    work(recording, 3)
    begin(recording)
    recording.feed.producer.mark("recd.discard", {}, 0.0, 0, 0)
    work(recording, 2)
    recording.syncer.step()
    rounds(recording).look()
    state = Checkpoint(recording.directory / "sink0.ckpt").load()
    assert state is not None
    assert state["part"]["begin"] > 3 * RECORD
    recording.result()
    assert recording.numbers("rows.csv") == recording.numbers("b.npz") == [3, 4]


def test_an_idle_stream_asks_nothing_of_the_disk(tmp_path: Path) -> None:
    """Once everything is durable, rounds come to nothing."""
    recording = make(tmp_path)
    work(recording, 3)
    for _ in range(3):
        begin(recording)
        recording.syncer.step()
    with fault(0, EIO) as calls:
        for _ in range(3):
            begin(recording)
            assert not recording.syncer.step()
    assert calls.count == 0
    assert durable(recording) == 3
    recording.result()


def test_a_full_log_does_not_wait_for_a_round_to_delete_what_nobody_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is given up, or the stream stalls, what is in the files leaves the log."""
    store = Store("interval", spool_limit_bytes=3200, reserve_bytes=0)
    recording = Recording(tmp_path, store=store, durable=True, drops_oldest=True)
    for _ in range(12):
        work(recording, 2)
        begin(recording)
        recording.syncer.step()
        rounds(recording).trims = False  # no round deletes anything
        rounds(recording).look()
    assert recording.track.counters()["lost"] == {}
    recording.result()
    assert recording.numbers("rows.csv") == [*range(24)]


# --- what they are made of ------------------------------------------------------------------------


def chunk(recording: Recording) -> LogWriter:
    """The log, with one more chunk of three samples."""
    recording.feed.write(3)
    recording.track.drain()
    return recording.track.log


def test_what_is_appended_during_a_sync_needs_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that grew meanwhile is not taken for synced."""
    recording = make(tmp_path)
    writer = chunk(recording)
    real = os.fdatasync

    def grows(fd: int) -> None:
        real(fd)
        monkeypatch.setattr(os, "fdatasync", real)
        chunk(recording)

    monkeypatch.setattr(os, "fdatasync", grows)
    writer.sync_in_place()
    assert not writer.is_synced
    writer.sync_in_place()
    assert writer.is_synced
    recording.result()


def test_a_segment_that_is_deleted_during_a_sync_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop may delete what the thread was about to sync."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 4 * RECORD)
    recording = make(tmp_path)
    for _ in range(3):
        writer = chunk(recording)
    real = os.open

    def trims(path: Path, *args: int, **kwargs: int) -> int:
        monkeypatch.setattr(os, "open", real)
        writer.trim(writer.end)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", trims)
    writer.sync_in_place()
    assert writer.segment_count == 1
    assert writer.is_synced
    recording.result()


def test_a_segments_name_that_could_not_be_synced_is_given_to_a_copy(tmp_path: Path) -> None:
    """The directory's next sync would be believed without reason: there is a new name to be synced."""
    recording = make(tmp_path)
    writer = chunk(recording)
    path = next(writer.directory.iterdir())
    before = path.stat().st_ino
    with fault(1, EIO, calls=("fsync",)), pytest.raises(OSError, match="broken"):
        writer.sync()
    assert not writer.is_synced
    writer.sync()
    assert path.stat().st_ino != before
    assert writer.is_synced
    recording.result()


def test_rounds_of_several_streams_are_synced_side_by_side() -> None:
    """A disk gathers what is asked of it at once: one stream's sync does not wait for the other's."""
    met, woken = threading.Barrier(2), threading.Semaphore(0)
    threads = Finisher(woken.release, 2)
    jobs = [threads.submit(lambda job: met.wait(30)) for _ in range(2)]
    for _ in jobs:
        assert woken.acquire(timeout=60)
    assert [job.error for job in jobs] == [None, None]
    threads.stop(30)


def test_many_streams_are_made_durable_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the loop syncs for a moment only, and asking again begins with those that are left."""
    monkeypatch.setattr(requests, "_SYNC_SLICE_S", 0.0)
    synced: list[str] = []

    def track(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            durable_to=0, flush_to=0, safe=lambda head: True, sync_all=lambda: not synced.append(name)
        )

    replies: list[dict[str, Any]] = []
    worker: Any = SimpleNamespace(
        tracks={name: track(name) for name in "abc"},
        doorbell=SimpleNamespace(ring=lambda: None),
        link=SimpleNamespace(send=replies.append),
        progress=0,
    )
    asked = Requests(worker)
    for question in range(2):  # the first one's time is over before all is done
        asked.handle(
            {
                "id": question,
                "op": "flush",
                "heads": dict.fromkeys("abc", 8),
                "durable": True,
                "timeout_s": 60.0 * question,
            }
        )
        for _ in range(3):
            before = len(synced)
            asked.answer_pending()
            assert len(synced) - before <= 1
            if question == 0:
                break
    assert synced == ["a", "b", "c"]
    asked.answer_pending()
    assert [(r["id"], r["done"]) for r in replies] == [(0, False), (1, True)]


def test_a_file_is_not_asked_again_whoever_was_refused(tmp_path: Path) -> None:
    """One thread's failure is the other's as well, until a copy has the file's name."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    syncer = Syncer(path)
    with fault(1, EIO, calls=("fdatasync",)), pytest.raises(OSError, match="broken"):
        syncer.sync_in_place()
    with fault(0, EIO, calls=("fdatasync",)) as calls, pytest.raises(OSError, match="failed before"):
        syncer.sync_in_place()
    assert calls.count == 0
    assert syncer.sync()
    syncer.sync_in_place()
    assert path.read_bytes() == b"data"
