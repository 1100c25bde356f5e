"""Runners of samples while the disk fails: nothing is lost, nothing twice, and no failed fsync is believed."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.checkpoint import Checkpoint
from recd.room import Store
from recd_client.options import CSVFile, HDF5File, NPZFile, NullSink, SinkOptions
from rows import Recording
from sink_samples import read
from streams import PLAIN
from syscall_faults import Killed, fault

SINKS: tuple[SinkOptions, ...] = (
    CSVFile("whole.csv"),
    CSVFile("reset.csv", save_on_reset=True),
    CSVFile("split.csv", split=5),
    NPZFile("reset.npz", save_on_reset=True),
    NPZFile("split.npz", split=4),
    HDF5File("whole.h5"),
    NullSink(),
)
FULL, BROKEN, QUOTA = errno.ENOSPC, errno.EIO, errno.EDQUOT


class Story:
    """A stream in which things happen, and what its files must then be."""

    def __init__(
        self, directory: Path, sinks: Sequence[SinkOptions] = SINKS, durability: str = "process"
    ) -> None:
        store = Store(durability, reserve_bytes=0)
        self.recording = Recording(
            directory, *sinks, store=store, durable=durability != "process", capacity_bytes=1 << 16
        )
        self.parts: list[list[list[int]]] = [[[]] for _ in sinks]

    def write(self, count: int) -> None:
        """Samples."""
        for _ in range(count):
            assert self.recording.feed.write(1)
            for options, parts in zip(self.recording.sinks, self.parts, strict=True):
                parts[-1].append(self.recording.feed.written[-1])
                if options.part_limit is not None and len(parts[-1]) == options.part_limit.amount:
                    parts.append([])

    def mark(self) -> None:
        """Something that changes no file."""
        self.recording.feed.mark("m")

    def reset(self) -> None:
        """A whole reset."""
        self.recording.feed.reset()
        for options, parts in zip(self.recording.sinks, self.parts, strict=True):
            if options.new_part_on_reset and parts[-1]:
                parts.append([])

    def discard(self) -> None:
        """The running parts are thrown away."""
        self.recording.feed.discard()
        for parts in self.parts:
            parts[-1].clear()

    def check(self) -> dict[str, Any]:
        """The stream ends; every file is exact."""
        result = self.recording.result()
        assert result["state"] == "complete", result["reason"]
        assert result["samples"] == len(self.recording.feed.written)
        for options, parts in zip(self.recording.sinks, self.parts, strict=True):
            if options.path is None:
                continue
            files = [
                f["path"]
                for f in result["files"]
                if f["kind"] == options.kind and Path(f["path"]).stem.split("_")[0] == options.path.stem
            ]
            found = [[round(t * 8) for t in read(Path(p), PLAIN)[1]] for p in files]
            assert [part for part in found if part] == [part for part in parts if part], options
        assert not [name for name in self.recording.files if ".part" in name or name.endswith(".copy")]
        return result


def tell(story: Story, step: int) -> None:
    """One step of a story in which everything happens."""
    story.write(3)
    for at, happen in ((1, story.reset), (2, story.mark), (4, story.discard), (5, story.reset)):
        if step == at:
            happen()
    story.write(1)


@pytest.mark.parametrize(("error", "lasts"), [(FULL, True), (BROKEN, False)])
@pytest.mark.parametrize("durability", ["process", "interval", "strict"])
def test_an_error_at_any_call_delays_and_harms_nothing(
    tmp_path: Path, durability: str, error: int, lasts: bool
) -> None:
    """Whichever write, fsync, rename or cut fails, once or for a while: every file of every sink is exact."""
    every = int(os.environ.get("RECD_EVERY", "151"))
    for at in itertools.count(1 + error % every, every):
        story = Story(tmp_path / str(at), durability=durability)
        with fault(at, OSError(error, os.strerror(error)), torn=True, lasts=False) as state:
            for step in range(7):
                tell(story, step)
                if lasts and state.struck:
                    with fault(1, OSError(error, os.strerror(error)), lasts=True):
                        story.recording.turn(3)
                        story.recording.clock.pass_(0.6)
                        story.recording.turn(3)
                        story.recording.track.sync()
                        story.recording.track.sync_all()
                        assert story.recording.track.status()["state"] == "stalled"
                        assert os.strerror(error) in story.recording.track.status()["reason"]
                    story.recording.clock.pass_(0.6)
                story.recording.turn(3)
                story.recording.track.sync_all()
                story.recording.clock.pass_(0.6)
            story.check()
        if not state.struck:
            break


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 6)),
    st.sampled_from([("mark",), ("reset",), ("discard",), ("turn",), ("sync",), ("die",), ("stop",)]),
    st.tuples(
        st.just("fail"),
        st.integers(1, 12),
        st.sampled_from([FULL, BROKEN, QUOTA]),
        st.booleans(),
        st.booleans(),
    ),
)


@settings(max_examples=15, deadline=None)
@given(
    story=st.lists(steps, min_size=4, max_size=30),
    sink=st.integers(0, len(SINKS) - 1),
    durability=st.sampled_from(["process", "interval", "strict"]),
)
def test_whatever_happens_while_the_disk_fails_every_file_is_exact(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[Any, ...]], sink: int, durability: str
) -> None:
    """Marks, resets and discards just while it is full, deaths and stops in between: nothing lost, nothing twice."""
    told = Story(tmp_path_factory.mktemp("runner"), [SINKS[sink], CSVFile("beside.csv")], durability)
    for what, *arguments in story:
        if what == "turn":
            told.recording.turn()
            told.recording.clock.pass_(0.3)
        elif what == "sync":
            told.recording.track.sync_all()
        elif what == "die":
            told.recording.die()
        elif what == "stop":
            told.recording.stop()
        elif what == "fail":
            at, error, torn, lasts = arguments
            told.recording.fail_at(at, OSError(error, os.strerror(error)), torn=torn, lasts=lasts)
        else:
            getattr(told, what)(*arguments)
    told.check()


@pytest.mark.parametrize("name", ["whole.part.csv", "sink0.ckpt", "journal.ckpt", "journal.jsonl"])
def test_a_file_whose_sync_failed_is_replaced_by_a_copy(tmp_path: Path, name: str) -> None:
    """It is not asked again, as the answer would be a lie: what was written goes to a new file first."""
    story = Story(tmp_path, [CSVFile("whole.csv")])
    story.write(3)
    story.mark()
    story.recording.turn(3)
    real, failed = os.fdatasync, [0]

    def fail_once(fd: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{fd}")).name == name:
            assert os.fstat(fd).st_ino != failed[0]
            if not failed[0]:
                failed[0] = os.fstat(fd).st_ino
                raise OSError(BROKEN, "broken", name)
        real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", fail_once)
        done = [story.recording.track.sync_all()]
        story.write(2)
        for _ in range(3):
            story.recording.clock.pass_(0.6)
            story.recording.turn(3)
            done.append(story.recording.track.sync_all())
        assert failed[0]
        assert done[-1]
        assert not done[0]
        (path,) = tmp_path.rglob(name)
        assert path.stat().st_ino != failed[0]
        story.check()


def test_a_file_is_never_asked_again_after_its_sync_failed(tmp_path: Path) -> None:
    """Whichever sync of a file it was, of a checkpoint or of a whole part: the answer would be a lie."""
    for nth in itertools.count(1):
        story = Story(tmp_path / str(nth), [CSVFile("reset.csv", save_on_reset=True)], "interval")
        calls, failed = 0, -1

        def asked(fd: int, nth: int = nth) -> None:
            nonlocal calls, failed
            if not os.readlink(f"/proc/self/fd/{fd}").endswith(".part.csv"):
                return
            assert failed < 0 or not os.path.samestat(os.fstat(fd), os.fstat(failed)), nth
            calls += 1
            if calls == nth:
                failed = os.dup(fd)  # so that no other file gets its number
                raise OSError(BROKEN, os.strerror(BROKEN))

        with pytest.MonkeyPatch.context() as patch:
            for name in ("fsync", "fdatasync"):
                real = getattr(os, name)
                patch.setattr(os, name, lambda fd, real=real: (asked(fd), real(fd)))  # type: ignore[misc]
            for step in range(6):
                tell(story, step)
                story.recording.turn(3)
                story.recording.track.sync_all()
                story.recording.clock.pass_(0.6)
            story.check()
        if failed < 0:
            break
        os.close(failed)
    assert nth > 10


@pytest.mark.parametrize("options", [CSVFile("f.csv", split=5), NPZFile("f.npz", split=5)])
def test_a_part_that_is_complete_counts_for_more_than_an_older_checkpoint(
    tmp_path: Path, options: SinkOptions
) -> None:
    """Killed between the two, a worker has a successor that begins the next part, and opens the old one no more."""
    story = Story(tmp_path, [options])
    recording = story.recording
    story.write(3)
    recording.turn(2)
    recording.clock.pass_(0.6)
    recording.turn(2)
    assert recording.runner.checkpoint.load()
    story.write(4)
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Checkpoint, "save", killed)
        recording.turn(2)
    recording.die()
    part = recording.runner.parts.parts[0]
    assert part.state == "sealing"
    assert recording.runner.checkpoint.load()["part"]["number"] == 0  # type: ignore[index]
    assert recording.runner.position == part.end  # type: ignore[attr-defined]
    story.write(6)
    story.check()


def killed(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
    """The worker dies as it would write this down."""
    if state.get("part", {}).get("number") == 1:
        raise Killed
