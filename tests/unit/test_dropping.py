"""``drop_oldest``: a full log gives up its oldest samples, and tells exactly which."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.room import Store
from recd_client.options import CSVFile, NPZFile, SinkOptions
from recd_client.schema import Schema
from rows import Recording
from streams import PLAIN, VARYING
from syscall_faults import death, fault

LIMIT = 8192


def recording(path: Path, *sinks: SinkOptions, schema: Schema = PLAIN) -> Recording:
    """A stream whose log may take some 60 samples."""
    store = Store(spool_limit_bytes=LIMIT, reserve_bytes=0)
    return Recording(path, *sinks, schema=schema, store=store, drops_oldest=True)


def told(result: dict[str, Any]) -> list[int]:
    """Numbers of the samples in the gaps that the manifest tells."""
    return sorted(n for g in result["gaps"] for n in range(g["first_seq"], g["last_seq"] + 1))


def check(r: Recording, result: dict[str, Any], found: list[int]) -> None:
    """What is in the file and what is told as lost is all that was attempted, each once, in order."""
    assert found == sorted(set(found))
    assert sorted(found + told(result)) == list(range(result["attempted"]))
    assert sum(result["lost"].values()) == len(told(result))
    assert result["attempted"] == result["samples"] + sum(result["lost"].values())
    assert result["samples"] == len(found) == sum(f["samples"] for f in result["files"])


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_a_file_that_is_built_at_the_end_keeps_the_newest_samples(tmp_path: Path, schema: Schema) -> None:
    """With a full log an NPZ gives up its beginning: it holds the newest samples, and the gap tells the others."""
    r = recording(tmp_path, NPZFile("r.npz"), schema=schema)
    for _ in range(40):
        r.feed.write(10)
        r.turn(2)
    assert r.track.log.bytes <= LIMIT + 16384
    assert r.feed.producer.word("lost_dropped_oldest_count") > 200
    result = r.result()
    found = r.numbers("r.npz")
    assert found[-1] == 399
    assert found == list(range(found[0], 400))
    check(r, result, found)
    assert result["lost"] == {"dropped_oldest": found[0]}
    assert (result["t_first"], result["step_first"]) == (found[0] / 8, found[0] * 10)
    with np.load(r.out / "r.npz") as file:
        np.testing.assert_array_equal(file["x"][0].ravel()[0], found[0])


@pytest.mark.parametrize("drops_oldest", [True, False])
@pytest.mark.parametrize("durability", ["process", "interval"])
def test_what_a_file_has_is_not_given_up_because_it_was_not_saved_yet(
    tmp_path: Path, durability: str, drops_oldest: bool
) -> None:
    """No checkpoint is due and no round ends: the log makes room with what the CSV has, and nothing stalls."""
    store = Store(durability, spool_limit_bytes=LIMIT, reserve_bytes=0)
    durable = durability == "interval"
    r = Recording(tmp_path, CSVFile("r.csv"), store=store, drops_oldest=drops_oldest, durable=durable)
    for _ in range(40):
        r.feed.write(10)
        r.track.drain()
        assert r.track.state == "recording"
        while r.track.work(r.track.drain):
            pass
    assert r.track.counters()["lost"] == {}
    check(r, r.result(), list(range(400)))
    assert r.numbers("r.csv") == list(range(400))


def test_a_file_whose_sync_was_refused_for_want_of_room_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk refused to keep when the log was full is written again, to another file."""
    store = Store("strict", spool_limit_bytes=LIMIT, reserve_bytes=0)
    r = Recording(tmp_path, CSVFile("r.csv"), store=store, durable=True)
    for _ in range(2):  # the second ten are not saved yet
        r.feed.write(10)
        r.turn(2)
    path = r.out / "r.part.csv"
    held = path.open()  # else another file gets its inode
    refused, asked, real = path.stat().st_ino, [0], os.fdatasync

    def refuses(fd: int) -> None:
        if os.fstat(fd).st_ino == refused:
            asked[0] += 1
            raise OSError(errno.EIO, "broken")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", refuses)
    while not asked[0]:
        r.feed.write(10)
        r.track.drain()
    written = len(r.feed.written)
    r.settle()
    assert asked == [1]
    assert path.stat().st_ino != refused
    held.close()
    check(r, r.result(), list(range(written)))
    assert r.numbers("r.csv") == list(range(written))


def test_a_file_that_cannot_be_written_for_a_while_misses_only_what_was_given_up(tmp_path: Path) -> None:
    """A CSV whose disk fails falls behind; when it goes on, its rows and the gaps make up everything."""
    r = recording(tmp_path, CSVFile("r.csv"))
    r.feed.write(20)
    r.turn(3)
    runner = r.runner
    runner._stall(OSError(errno.ENOSPC, "no space", "r.csv"))  # type: ignore[attr-defined]
    for _ in range(20):
        r.feed.write(10)
        r.track.drain()
    r.settle()
    result = r.result()
    found = r.numbers("r.csv")
    assert found[:15] == list(range(15))
    assert result["lost"]["dropped_oldest"] > 0
    check(r, result, found)


def test_marks_and_resets_between_given_up_samples_stay(tmp_path: Path) -> None:
    """The timeline keeps its events: each mark is in the manifest although the samples around it are lost."""
    r = recording(tmp_path, NPZFile("r.npz"))
    for i in range(30):
        r.feed.write(10)
        r.feed.mark(f"m{i}")
        r.turn(2)
    result = r.result()
    assert [m["label"] for m in result["marks"]] == [f"m{i}" for i in range(30)]
    assert result["lost"]["dropped_oldest"] > 100
    check(r, result, r.numbers("r.npz"))


def test_a_part_that_is_being_finished_is_not_given_up(tmp_path: Path) -> None:
    """Samples of a complete part wait for its file; the ring's own policy holds meanwhile."""
    r = recording(tmp_path, NPZFile("r.npz", save_on_reset=True))
    r.feed.write(60)
    r.feed.reset()
    for _ in range(40):  # the finisher does nothing
        r.feed.write(10)
        r.track.drain()
        r.track.work(lambda: None)
    result = r.result()
    assert r.numbers("r_0.npz") == list(range(60))
    found = r.numbers("r_0.npz") + r.numbers("r_1.npz")
    check(r, result, found)
    assert result["lost"].get("full")


def test_other_policies_give_nothing_up(tmp_path: Path) -> None:
    """Without ``drop_oldest`` a full log stops draining, and what is published is kept."""
    r = Recording(tmp_path, NPZFile("r.npz"), store=Store(spool_limit_bytes=LIMIT, reserve_bytes=0))
    for _ in range(40):
        r.feed.write(10)
        r.turn(2)
    assert r.track.state == "stalled"
    assert "spool_limit" in r.track.reason
    result = r.result()
    assert r.numbers("r.npz") == r.feed.written
    assert "dropped_oldest" not in result["lost"]


@pytest.mark.parametrize("sink", [CSVFile("r.csv"), NPZFile("r.npz")], ids=lambda s: s.kind)
@pytest.mark.parametrize("torn", [False, True])
def test_a_kill_at_any_system_call_of_giving_up_keeps_the_account(
    tmp_path: Path, sink: SinkOptions, torn: bool
) -> None:
    """Whenever the worker dies while it makes room, file and gaps still make up everything, nothing twice."""
    call, struck = 1, True
    while struck:
        r = recording(tmp_path / f"{call}", sink)
        r.feed.write(10)
        r.turn(2)
        if sink.kind == "csv":
            r.runner._stall(OSError(errno.ENOSPC, "no space"))  # type: ignore[attr-defined]
        with death(call, torn=torn) as state:
            for _ in range(8):
                r.feed.write(20)
                r.track.drain()
                r.track.work(lambda: None)
        struck = state.struck
        if struck:
            r.die()
        r.feed.write(30)
        result = r.result()
        check(r, result, r.numbers(str(sink.path)))
        call += 1
    assert call > 15


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_happens_file_and_gaps_make_up_everything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Writes, losses, marks, resets, disk faults and deaths in any order: attempts = samples + lost, nothing shifts."""
    kind = data.draw(st.sampled_from(["csv", "npz", "npz parts"]))
    sink = CSVFile("r.csv") if kind == "csv" else NPZFile("r.npz", save_on_reset=kind == "npz parts")
    schema = data.draw(st.sampled_from([PLAIN, VARYING]))
    r = recording(tmp_path_factory.mktemp("drop"), sink, schema=schema)
    for _ in range(data.draw(st.integers(5, 25))):
        what = data.draw(st.sampled_from(["write", "write", "lose", "mark", "reset", "fault", "die", "lag"]))
        if what == "write":
            r.feed.write(data.draw(st.integers(1, 60)))
        elif what == "lose":
            r.feed.lose()
        elif what == "mark":
            r.feed.mark("m")
        elif what == "reset":
            r.feed.reset()
        elif what == "fault":
            with fault(data.draw(st.integers(1, 9)), OSError(errno.ENOSPC, "full"), torn=False, lasts=True):
                r.turn(2)
            r.clock.pass_(1)
        elif what == "die":
            with death(data.draw(st.integers(1, 20))) as state:
                r.turn(3)
            if state.struck:
                r.die()
        elif what == "lag":
            r.track.drain()
        if data.draw(st.booleans()):
            r.turn(data.draw(st.integers(1, 3)))
    result = r.result()
    names = [Path(f["path"]).name for f in result["files"]]
    check(r, result, [n for name in names for n in r.numbers(name)])
