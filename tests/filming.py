"""A video stream in one process: producer, worker, ffmpeg, and an independent model of what must come out."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fake_ffmpeg import FakeFfmpeg
from recd.direct import DirectTrack
from recd.frames import VideoRunner
from recd.journal import gaps, marks
from recd.manifest import stream_result
from recd.room import Store
from recd.runner import SinkContext
from recd.syncing import Rounds
from recd.track import Track
from recd_client import layout
from recd_client.options import VideoFile
from streams import FRAMES, Feed, payload_of, value_of
from syscall_faults import Clock, InlineFinisher, death, fault

FRAME_BYTES = FRAMES.payload_bytes
_GARBAGE = 0xA5
_LOOK_S = 0.011


@dataclass
class Film:
    """A part: which sample each frame is, and whether it is a repetition for a lost one."""

    frames: list[tuple[int, bool]] = field(default_factory=list)


class Model:
    """What the files must be, told in the order of the stream.

    Parameters
    ----------
    split : int, optional
        Samples per part.
    by_reset : bool
        Whether a whole reset begins a new part.
    """

    def __init__(self, split: int | None = None, by_reset: bool = False) -> None:
        self.split = split
        self.by_reset = by_reset
        self.done: list[Film] = []
        self.film = Film()
        self.expected = 0
        self.samples = 0

    def frame(self, seq: int) -> None:
        """A frame that went into the ring."""
        self.film.frames += [(lost, True) for lost in range(self.expected, seq)]
        self.film.frames.append((seq, False))
        self.expected = seq + 1
        self.samples += 1
        if self.split == sum(not repeated for _, repeated in self.film.frames):
            self.finish(seq + 1)

    def reset(self, next_seq: int) -> None:
        """A whole reset."""
        if self.by_reset and self.film.frames:
            self.finish(next_seq)

    def discard(self, next_seq: int) -> None:
        """The running part is thrown away."""
        self.film, self.expected = Film(), next_seq

    def finish(self, next_seq: int) -> None:
        """The running part ends."""
        if self.film.frames:
            self.done.append(self.film)
        self.discard(next_seq)


class Filming:
    """Everything of one stream of frames.

    Parameters
    ----------
    directory : Path
    ffmpeg : FakeFfmpeg
    options
        Of :class:`~recd_client.options.VideoFile`.
    store : Store, optional
    """

    def __init__(
        self,
        directory: Path,
        ffmpeg: FakeFfmpeg,
        *,
        store: Store | None = None,
        alone: bool = True,
        **options: Any,
    ) -> None:
        self.directory = directory
        self.out = directory / "out"
        self.work_directory = directory / "s-film"
        for path in (self.out, self.work_directory):
            path.mkdir(parents=True)
        self.ffmpeg = ffmpeg
        self.store = store or Store(reserve_bytes=0)
        self.options = VideoFile("film.mp4", **options)
        self.alone = alone
        self.clock = Clock()
        self.feed = Feed(FRAMES)
        split = self.options.part_limit
        self.model = Model(int(split.amount) if split else None, self.options.new_part_on_reset)
        self.marks: list[str] = []
        self.closed = False
        self.start()

    # --- the producer ------------------------------------------------------------------------------
    def write(self, count: int) -> None:
        """Frames; those that find no room are lost."""
        for _ in range(count):
            if self.feed.write(1):
                self.model.frame(self.feed.written[-1])

    def lose(self, count: int) -> None:
        """Frames that are lost for another reason."""
        self.feed.lose(count, "interrupted")

    def _mark(self, label: str, mark: Callable[[], object]) -> bool:
        before = self.feed.producer.word("marks_lost")
        mark()
        told = self.feed.producer.word("marks_lost") == before
        if told:
            self.marks.append(label)
        return told

    def mark(self) -> None:
        """Something happens."""
        self._mark("fell", lambda: self.feed.mark("fell"))

    def reset(self) -> None:
        """All environments begin anew."""
        if self._mark("recd.reset", self.feed.reset):
            self.model.reset(self.feed.producer.next_seq)

    def discard(self) -> None:
        """The running part is thrown away."""
        if self._mark("recd.discard", self.feed.discard):
            self.model.discard(self.feed.producer.next_seq)

    def close(self) -> None:
        """The stream ends, once."""
        if not self.closed:
            self.closed = True
            self.feed.close()
            self.model.finish(0)

    # --- the worker --------------------------------------------------------------------------------
    def start(self) -> None:
        """A worker takes the stream up from what the files tell."""
        self.finisher = InlineFinisher()
        context = SinkContext(
            self.work_directory,
            FRAMES,
            {"clocks": {"wall_ns": 0, "mono_ns": 0}},
            self.finisher,
            self.clock,
            False,
            self.store.durability != "process",
        )
        self.runner = VideoRunner(context, 0, self.options, self.out / "film.mp4")
        where = (self.work_directory, "film", FRAMES, self.store)
        if self.alone:
            self.track: Track = DirectTrack(*where, self.runner, self.feed.segment, self.clock)
        else:
            self.track = Track(*where, [self.runner], self.feed.segment, self.clock)
        self.syncer = InlineFinisher()
        if self.store.durability == "interval":
            Rounds(self.track, self.syncer, self.clock)

    def drain(self) -> None:
        """The worker looks at its ring."""
        self.track.drain()
        self.scribble()

    def work(self) -> None:
        """The worker gives its sinks a slice."""
        self.clock.pass_(_LOOK_S)
        self.track.work(lambda: None)
        self.track.finish()

    def finish_job(self) -> None:
        """The finisher does one thing."""
        self.finisher.step()

    def die(self) -> None:
        """The worker is killed, and another one takes its place."""
        self.track.log.close()
        self.runner.source.close()
        self.ffmpeg.orphan()
        self.start()

    def die_at(self, call: int, *, torn: bool) -> None:
        """The worker is killed at its ``call``-th system call from now on."""
        with death(call, torn=torn) as state:
            self.turn(6)
        if state.struck:
            self.scribble()
            self.die()

    def fail_at(self, call: int, *, torn: bool, lasts: bool) -> None:
        """The ``call``-th system call from now on fails, or all from then on, for a while."""
        with fault(call, OSError(errno.ENOSPC, "full"), torn=torn, lasts=lasts):
            self.turn(6)
        self.clock.pass_(1)

    def turn(self, times: int) -> None:
        """Everybody works for a while."""
        for _ in range(times):
            self.track.drain()
            self.work()
            self.finisher.step()
            self.ffmpeg.encode(1)
        self.scribble()

    def stop(self) -> None:
        """The worker stops as it is told to, and another one takes its place."""
        self.track.sync_all()
        self.track.save()
        self.track.close()
        self.start()

    def scribble(self) -> None:
        """Overwrite everything in the ring that was given back: nobody may need it any more."""
        producer = self.feed.producer
        capacity, head, free = producer.capacity_bytes, producer.head, producer.word("free_pos")
        assert free <= head <= free + capacity
        area = memoryview(self.feed.memory)[layout.DATA_OFFSET :]
        begin, end = head % capacity, head % capacity + capacity - (head - free)
        for at, to in ((begin, min(end, capacity)), (0, end - capacity)):
            if to > at:
                area[at:to] = bytes([_GARBAGE]) * (to - at)

    # --- the end -----------------------------------------------------------------------------------
    def run_until(self, condition: Callable[[], bool]) -> None:
        """Everybody works until this is true; it must become so soon."""
        for _ in range(3000):
            if condition():
                return
            self.drain()
            self.work()
            self.finish_job()
            self.ffmpeg.encode(2)
        pytest.fail(f"nothing moves: {self.track.status()}")

    def check(self) -> None:
        """The stream ends; every frame of the finished files is the one that must stand there."""
        self.close()
        self.run_until(self.track.finish)
        result = stream_result(self.track)
        assert result["state"] == "complete", result["reason"]
        self.check_files(result["files"])
        assert result["samples"] == self.model.samples == len(self.feed.written)
        assert result["attempted"] == self.feed.producer.next_seq
        lost = {c: n for c, n in self.feed.producer.lost().items() if n}
        assert result["lost"] == lost
        events = self.track.journal.events()
        assert [m["label"] for m in marks(events)] == self.marks
        told = [n for gap in gaps(events) for n in [gap["count"]]]
        assert sum(told) == len(self.feed.lost)
        assert sorted(p.name for p in self.out.iterdir()) == sorted(
            Path(f["path"]).name for f in result["files"]
        )
        self.track.save()
        self.track.close()

    def check_files(self, files: list[dict[str, Any]]) -> None:
        """Each file has the frames of its part, and the manifest says which they are."""
        assert len(files) == len(self.model.done)
        for file, film in zip(files, self.model.done, strict=True):
            table = file["video"]["frames"]
            repeated = set(table["repeated"])
            told = [(seq, i in repeated) for i, seq in enumerate(table["seq"])]
            assert told == film.frames, file["path"]
            contents = self.ffmpeg.read(Path(file["path"]))
            assert len(contents) == len(film.frames), file["path"]
            for i, (seq, again) in enumerate(film.frames):
                if not again:
                    assert contents[i] == pixels(seq), f"frame {i}, sample {seq}"
                    continue
                following = next(s for s, r in film.frames[i:] if not r)
                before = [s for s, r in film.frames[:i] if not r][-1:]
                assert contents[i] in [pixels(s) for s in (*before, following)], f"frame {i}"


def pixels(seq: int) -> bytes:
    """The frame of that number."""
    return payload_of(FRAMES, value_of(FRAMES, seq))
