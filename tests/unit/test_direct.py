from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_ffmpeg import FakeFfmpeg
from filming import FRAME_BYTES, Filming
from recd import log_writer, pieces
from recd.batch import Batch
from recd.log import LogReader
from recd.manifest import stream_result
from recd.room import Store
from recd_client import layout
from sink_samples import fields
from streams import FRAMES, numbers_in, payload_of
from syscall_faults import Fault, Killed, fault

RECORD = layout.record_bytes(FRAME_BYTES)


@pytest.fixture
def ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFfmpeg]:
    """An ffmpeg that holds three frames, behind a pipe of two."""
    world = FakeFfmpeg(FRAME_BYTES)
    world.install(monkeypatch)
    yield world
    world.close()


# --- ordinary life --------------------------------------------------------------------------------


def all_taken(filming: Filming) -> bool:
    """Whether ffmpeg was given everything that was published."""
    return filming.runner.position >= filming.feed.head


def test_a_film_has_every_frame_in_order(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """Without trouble the file is the frames, over many laps of the ring, and none went to the disk twice."""
    filming = Filming(tmp_path, ffmpeg)
    for _ in range(40):
        filming.write(2)
        filming.run_until(lambda: all_taken(filming))
    assert filming.track.log.bytes == 0
    assert not filming.feed.lost
    filming.check()


def test_lost_frames_are_repeated_so_that_later_ones_do_not_shift(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """Each lost frame has a repetition of the one before it in its place: order and count are exact."""
    filming = Filming(tmp_path, ffmpeg)
    filming.lose(2)
    filming.write(2)
    filming.lose(3)
    filming.write(1)
    filming.lose(1)
    filming.run_until(lambda: all_taken(filming))
    filming.check()
    assert [seq for seq, again in filming.model.done[0].frames if again] == [0, 1, 4, 5, 6]


def test_a_stream_without_frames_has_no_file(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """Nothing was filmed, nothing is left, also of what was thrown away."""
    filming = Filming(tmp_path, ffmpeg)
    filming.write(5)
    filming.run_until(lambda: all_taken(filming))
    filming.discard()
    filming.check()
    assert filming.model.done == []


@pytest.mark.parametrize("unit", ["seconds", "bytes"])
def test_parts_by_time_and_size_have_every_frame_once(tmp_path: Path, ffmpeg: FakeFfmpeg, unit: str) -> None:
    """Whatever ends a part, the next one goes on with the next frame; a restart changes no part's length."""
    amount = 0.01 if unit == "seconds" else 10 * FRAME_BYTES
    filming = Filming(tmp_path, ffmpeg, split={unit: amount})
    filming.model.split = None
    for i in range(12):
        filming.write(5)
        filming.run_until(lambda: all_taken(filming))
        if i % 3 == 2:
            filming.die()
    filming.feed.close()
    filming.run_until(filming.track.finish)
    files = filming.runner.files()
    numbers = [file["video"]["frames"]["seq"] for file in files]
    assert [n for part in numbers for n in part] == filming.feed.written
    if unit == "seconds":  # a frame each millisecond
        assert [len(part) for part in numbers[:-1]] == [11] * (len(numbers) - 1)
    assert len(files) > 3


# --- the ring and the log -------------------------------------------------------------------------


def test_frames_that_are_not_safe_fill_half_the_ring_and_then_go_to_the_log(
    tmp_path: Path, ffmpeg: FakeFfmpeg
) -> None:
    """A burst costs disk, not frames: with an ffmpeg that does nothing, none is lost and all are freed in time."""
    filming = Filming(tmp_path, ffmpeg)
    producer = filming.feed.producer
    for written in range(1, 60):
        filming.write(1)
        filming.drain()
        filming.work()
        unsafe = producer.head - producer.word("free_pos")
        assert unsafe <= producer.capacity_bytes // 2
        assert (filming.track.log.bytes > 0) == (written > producer.capacity_bytes // 2 // RECORD)
    assert not filming.feed.lost
    filming.check()


def test_a_frame_is_freed_only_when_it_decodes_or_is_in_the_log(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """With the encoder's queues full, the ring keeps what is in them."""
    filming = Filming(tmp_path, ffmpeg)
    filming.write(6)
    for _ in range(30):
        filming.drain()
        filming.work()
        filming.finish_job()
        ffmpeg.encode(1)
    assert all_taken(filming)
    free = filming.feed.producer.word("free_pos")
    assert free == (6 - ffmpeg.delay) * RECORD
    assert filming.feed.producer.word("durable_seq") == 6 - ffmpeg.delay
    assert filming.track.log.bytes == 0
    filming.check()


@pytest.mark.parametrize("aborted", [False, True], ids=["frame", "padding"])
def test_whoever_waits_gets_what_the_encoder_holds_into_the_log(
    tmp_path: Path, ffmpeg: FakeFfmpeg, aborted: bool
) -> None:
    """A flush ends although ffmpeg's queues never empty, and although padding ends the stream so far."""
    filming = Filming(tmp_path, ffmpeg)
    filming.write(3)
    if aborted:  # up to the end of the lap, then a claim that is given back
        while (
            filming.feed.producer.capacity_bytes - filming.feed.head % filming.feed.producer.capacity_bytes
            > RECORD
        ):
            filming.write(1)
            filming.run_until(lambda: all_taken(filming))
        filming.feed.producer.mark("m", {}, 0.0, 0, 0)
        filming.marks.append("m")
        filming.drain()
        head = filming.feed.head
        assert filming.feed.producer.reserve(RECORD) >= 0
        filming.feed.producer.abort()
        assert filming.feed.head > head
    for _ in range(20):
        filming.drain()
        filming.work()
        filming.finish_job()
    assert not filming.track.safe(filming.feed.head)
    filming.track.flush_to = filming.feed.head
    filming.drain()
    assert filming.track.safe(filming.feed.head)
    assert filming.track.sync_all()
    filming.check()


def test_a_full_spool_stalls_and_goes_on_when_the_encoder_has_caught_up(
    tmp_path: Path, ffmpeg: FakeFfmpeg
) -> None:
    """At the limit the ring's policy holds, what is lost is counted, and the state is recording again."""
    filming = Filming(tmp_path, ffmpeg, store=Store(spool_limit_bytes=8 * RECORD, reserve_bytes=0))
    for _ in range(60):
        filming.write(1)
        filming.drain()
        filming.work()
    assert filming.track.state == "stalled"
    assert "spool_limit" in filming.track.reason
    assert filming.feed.lost
    assert filming.track.log.bytes <= 8 * RECORD + 2 * (RECORD + 128)

    def caught_up() -> bool:
        filming.clock.pass_(0.3)
        return filming.track.state == "recording"

    filming.run_until(caught_up)
    lost = len(filming.feed.lost)
    filming.write(3)
    assert len(filming.feed.lost) == lost
    filming.check()


def test_the_log_is_deleted_behind_the_encoder(
    tmp_path: Path, ffmpeg: FakeFfmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments whose frames decode are gone at once; the disk holds no more than what is not safe."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 4 * RECORD)
    filming = Filming(tmp_path, ffmpeg)
    for _ in range(40):
        filming.write(1)
        filming.drain()
        filming.work()
    assert filming.track.log.segment_count > 5
    filming.run_until(lambda: filming.runner.position >= filming.feed.head)
    assert filming.track.log.segment_count <= 2
    filming.check()


@pytest.mark.parametrize("alone", [True, False])
def test_before_a_segment_is_deleted_the_film_and_its_index_are_durable(
    tmp_path: Path, ffmpeg: FakeFfmpeg, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """Whatever the durability: after a loss of power the log would be missed, and nobody could tell."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 4 * RECORD)
    filming = Filming(tmp_path, ffmpeg, alone=alone)
    for _ in range(12):
        filming.write(2)
        filming.drain()
    begin, synced = filming.track.log.begin, set()
    real_sync = os.fdatasync

    def sync(fd: int) -> None:
        if filming.track.log.begin == begin:
            synced.add(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_sync(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    filming.run_until(lambda: filming.track.log.begin > begin)
    assert {"film.part.mp4", "sink0.frames0"} <= synced
    filming.check()


def test_durability_strict_syncs_the_log_before_it_frees(
    tmp_path: Path, ffmpeg: FakeFfmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk does not answer, frames stay in the ring; then the log has them once."""
    filming = Filming(tmp_path, ffmpeg, store=Store("strict", reserve_bytes=0))
    filming.write(12)
    with fault(1, OSError(errno.EIO, "broken"), lasts=True, calls=("fdatasync", "rename")):
        filming.track.drain()
    assert filming.track.state == "stalled"
    assert filming.feed.producer.word("free_pos") == 0
    filming.clock.pass_(1)
    filming.drain()
    assert filming.feed.producer.word("free_pos") > 0
    filming.check()


@pytest.mark.parametrize("refused", range(6))
def test_rounds_make_a_film_durable_and_a_refused_sync_costs_no_frame(
    tmp_path: Path, ffmpeg: FakeFfmpeg, refused: int
) -> None:
    """``durable_seq`` moves to what was safe when a round began; what is not believed is made again."""
    filming = Filming(tmp_path, ffmpeg, store=Store("interval", reserve_bytes=0))
    rounds = filming.track.rounds
    assert rounds is not None
    filming.write(12)
    filming.run_until(lambda: filming.runner.safe > 0)
    safe = filming.runner.safe // RECORD
    filming.clock.pass_(0.3)
    rounds.look()
    with fault(refused, OSError(errno.EIO, "broken"), calls=("fdatasync",)) as syncs:
        assert filming.syncer.step()
    assert syncs.count
    assert filming.feed.producer.word("durable_seq") == 0
    rounds.look()
    moved = filming.feed.producer.word("durable_seq")
    assert moved >= safe if not syncs.struck else moved in (0, *range(safe, 13))
    filming.check()


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["header", "length", "head word"])
def test_a_damaged_ring_is_set_aside_and_the_film_of_what_was_good_is_finished(
    tmp_path: Path, ffmpeg: FakeFfmpeg, what: str
) -> None:
    """Every whole frame before the damage is in the finished file, and the reason is told."""
    filming = Filming(tmp_path, ffmpeg)
    filming.write(4)
    good = filming.feed.head
    filming.feed.write(2)
    if what == "header":
        at = layout.DATA_OFFSET + good
        filming.feed.memory[at + 10 : at + 14] = b"\xff" * 4
    elif what == "length":
        small = payload_of(fields(data=("fixed", "|u1", (5,))), {"data": 7})
        at = filming.feed.producer.reserve(RECORD)
        assert at > 0
        filming.feed.producer.publish(RECORD, len(small), 0.0, 0, 0)
        filming.model.frame(4)
        filming.model.frame(5)
    else:
        filming.feed.memory[layout.PRODUCER["head"] : layout.PRODUCER["head"] + 8] = b"\x77" * 8
        filming.model.frame(4)
        filming.model.frame(5)
    filming.model.finish(0)
    filming.run_until(filming.track.finish)
    result = stream_result(filming.track)
    assert result["state"] == "damaged"
    assert result["reason"]
    assert filming.feed.producer.word("consumer_state") == layout.CONSUMER_POISONED
    filming.check_files(result["files"])
    filming.track.save()
    filming.track.close()


# --- the encoder ----------------------------------------------------------------------------------


def test_an_encoder_that_cannot_begin_fails_its_file_and_the_frames_are_kept(
    tmp_path: Path, ffmpeg: FakeFfmpeg
) -> None:
    """After three attempts the file is given up with a reason; every frame is in the log."""
    filming = Filming(tmp_path, ffmpeg)
    ffmpeg.stillborn = 3
    filming.write(5)
    filming.run_until(lambda: filming.runner.over)
    assert filming.runner.state == "failed"
    assert "again and again" in filming.runner.reason
    filming.write(30)
    filming.feed.close()
    filming.run_until(filming.track.finish)
    reader = LogReader(filming.track.log.directory)
    items = [item for chunk in iter(reader.next, None) for item in chunk.items(FRAMES)]
    reader.close()
    assert numbers_in(item.what for item in items if isinstance(item.what, Batch)) == filming.feed.written
    filming.track.close()


def test_two_failures_to_begin_are_forgiven(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """An ffmpeg that works ends the count of those that did not."""
    filming = Filming(tmp_path, ffmpeg)
    for _ in range(3):
        ffmpeg.stillborn = 2
        filming.write(8)
        filming.run_until(lambda: all_taken(filming) and ffmpeg.processes[-1].code is None)
        ffmpeg.kill()
    filming.check()


@pytest.mark.parametrize("well", [False, True], ids=["killed", "as if all were well"])
def test_an_encoder_that_ends_while_it_completes_its_file_is_replaced(
    tmp_path: Path, ffmpeg: FakeFfmpeg, well: bool
) -> None:
    """A file without all of its frames is not finished, whatever the exit code says."""
    for at in range(12):
        filming = Filming(tmp_path / str(at), ffmpeg)
        filming.write(6)
        filming.close()
        for now in range(12):
            filming.drain()
            filming.work()
            filming.finish_job()
            if now == at:
                ffmpeg.quit() if well else ffmpeg.kill()
            if now < 8:
                ffmpeg.encode(1)
        filming.check()


@pytest.mark.parametrize("orphan", [False, True], ids=["own", "orphan"])
def test_an_encoder_that_hangs_is_replaced(tmp_path: Path, ffmpeg: FakeFfmpeg, orphan: bool) -> None:
    """Also one that an earlier worker left: nobody waits for ever, and nothing is lost."""
    filming = Filming(tmp_path, ffmpeg)
    filming.write(6)
    for _ in range(6):
        filming.drain()
        filming.work()
        filming.finish_job()
    if orphan:
        filming.die()
    (hung,) = ffmpeg.processes
    for _ in range(30):
        filming.clock.pass_(1)
        filming.work()
    assert hung.code == -9
    filming.check()


def test_no_encoder_is_started_on_a_full_disk(
    tmp_path: Path, ffmpeg: FakeFfmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would only fail: the film stalls, is tried again by itself, and goes on when there is room."""
    filming = Filming(tmp_path, ffmpeg)
    real = os.statvfs

    def full(path: Any) -> Any:
        st = real(path)
        return SimpleNamespace(f_bavail=0, f_frsize=st.f_frsize, f_blocks=st.f_blocks)

    monkeypatch.setattr(os, "statvfs", full)
    filming.write(3)
    for _ in range(10):
        filming.drain()
        filming.work()
        filming.finish_job()
        filming.clock.pass_(1)
    assert filming.runner.state in ("stalled", "recording")
    assert os.strerror(errno.ENOSPC) in filming.runner.reason
    assert ffmpeg.processes == []
    monkeypatch.setattr(os, "statvfs", real)
    filming.clock.pass_(1)
    filming.check()


# --- deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["worker", "encoder", "both"])
@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
def test_a_death_at_any_frame_loses_and_doubles_nothing(
    tmp_path: Path, ffmpeg: FakeFfmpeg, who: str, slow: bool
) -> None:
    """Of 16 frames, whenever the one or the other dies, each is in the file once and in order."""
    for at in range(0, 34, 2):
        directory = tmp_path / str(at)
        filming = Filming(directory, ffmpeg)
        for turn in range(40):
            if turn < 16:
                filming.write(1)
            if turn == at and who != "worker":
                ffmpeg.kill()
            if turn == at and who != "encoder":
                filming.die()
            filming.drain()
            filming.work()
            filming.finish_job()
            if not slow or turn % 3 == 0:
                ffmpeg.encode(1)
        filming.check()


def story(filming: Filming, turn: Callable[[int], None]) -> None:
    """Frames, losses, parts that end and parts that are thrown away, with little room in the ring."""
    filming.write(4)
    turn(4)
    filming.lose(2)
    filming.mark()
    filming.write(5)
    turn(8)
    filming.discard()
    filming.write(3)
    filming.reset()
    filming.lose(1)
    turn(6)
    for _ in range(3):
        filming.write(5)
        turn(6)


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half done"])
def test_a_worker_killed_at_any_call_of_a_story_leaves_the_same_films(
    tmp_path: Path, ffmpeg: FakeFfmpeg, torn: bool
) -> None:
    """Whichever system call was its last, its successor ends the story as if nothing had happened."""
    for at in itertools.count(1):
        filming = Filming(tmp_path / str(at), ffmpeg, split=10, save_on_reset=True)
        with fault(at, Killed(), torn=torn, lasts=True) as state:

            def turn(times: int, filming: Filming = filming, state: Fault = state) -> None:
                with suppress(Killed):
                    if not state.struck:
                        filming.turn(times)

            story(filming, turn)
        if state.struck:
            filming.scribble()
            filming.die()
        filming.check()
        if not state.struck:
            break
    assert at > 60


@pytest.mark.parametrize(("error", "lasts"), [(errno.ENOSPC, True), (errno.EIO, False)])
@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_an_error_at_any_call_of_a_story_delays_and_harms_nothing(
    tmp_path: Path,
    ffmpeg: FakeFfmpeg,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
    error: int,
    lasts: bool,
) -> None:
    """Whichever call fails, once or for a while: every frame that was published is in the films, once."""
    monkeypatch.setattr(pieces, "_MAX_FAILURES", 1000)  # encoders are replaced whose files cannot be synced
    every = int(os.environ.get("RECD_EVERY", "29"))
    for at in itertools.count(1 + error % every, every):
        store = Store(durability, reserve_bytes=0)
        filming = Filming(tmp_path / str(at), ffmpeg, store=store, split=10, save_on_reset=True)
        with fault(at, OSError(error, os.strerror(error)), torn=True) as state:

            def turn(times: int, filming: Filming = filming, state: Fault = state) -> None:
                if lasts and state.struck and state.at:
                    state.at = 0  # it is over after this
                    with fault(1, OSError(error, os.strerror(error)), lasts=True):
                        filming.turn(3)
                        filming.track.sync_all()
                    filming.clock.pass_(0.6)
                filming.turn(times)
                filming.track.sync_all()
                filming.clock.pass_(0.6)

            story(filming, turn)
            struck = state.count >= at
            filming.check()
        if not struck:
            break


# --- anything -------------------------------------------------------------------------------------

LIFE = [
    st.tuples(st.sampled_from(["drain", "work", "finish_job"])),
    st.tuples(st.just("encode"), st.integers(1, 6)),
    st.tuples(st.just("turn"), st.integers(1, 6)),
]
TROUBLE = [
    st.tuples(st.sampled_from(["kill_encoder", "quit_encoder", "die", "stop"])),
    st.tuples(st.just("die_at"), st.integers(1, 25), st.booleans()),
    st.tuples(st.just("fail_at"), st.integers(1, 25), st.booleans(), st.booleans()),
]
PRODUCER = [
    st.tuples(st.just("write"), st.integers(1, 8)),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["mark", "reset", "discard"])),
]
OPTIONS = st.sampled_from([{}, {"save_on_reset": True}, {"split": 3}, {"split": 5, "save_on_reset": True}])


def act(filming: Filming, action: tuple[Any, ...]) -> None:
    """Let this happen."""
    name, *arguments = action
    if name == "encode":
        filming.ffmpeg.encode(*arguments)
    elif name == "kill_encoder":
        filming.ffmpeg.kill()
    elif name == "quit_encoder":
        filming.ffmpeg.quit()
    elif name == "fail_at":
        filming.fail_at(arguments[0], torn=arguments[1], lasts=arguments[2])
    elif name == "die_at":
        filming.die_at(arguments[0], torn=arguments[1])
    else:
        getattr(filming, name)(*arguments)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    actions=st.lists(st.one_of(*PRODUCER, *LIFE, *TROUBLE), max_size=40),
    ending=st.lists(st.one_of(*LIFE, *TROUBLE), max_size=12),
    options=OPTIONS,
    alone=st.booleans(),
    delay=st.integers(0, 5),
    pipe=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_whatever_happens_each_frame_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[Any, ...]],
    ending: list[tuple[Any, ...]],
    options: dict[str, Any],
    alone: bool,
    delay: int,
    pipe: float,
) -> None:
    """Workers and encoders die anywhere, frames are lost, parts begin and are thrown away: the files are exact."""
    world = FakeFfmpeg(FRAME_BYTES, pipe, delay)
    with pytest.MonkeyPatch.context() as patch:
        world.install(patch)
        patch.setattr(pieces, "_MAX_FAILURES", 1000)  # it is killed before its first frame again and again
        filming = Filming(tmp_path_factory.mktemp("film"), world, alone=alone, **options)
        for action in actions:
            act(filming, action)
        filming.close()
        for action in ending:
            act(filming, action)
        filming.check()
    world.close()
