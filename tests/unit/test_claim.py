"""Interrupted and re-entered writes, and records filled in place."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends import Backend
from fake_daemon import FakeDaemon
from recd_client import NullSink, Recorder
from recd_client.errors import (
    ForkedHandleError,
    RecdError,
    ReentrantWriteError,
    SchemaError,
)
from support import exit_code_of_child

pytestmark = pytest.mark.usefixtures("each_writer")

# --- interruptions -----------------------------------------------------------------------------------------


class Interrupts:
    """An array that does something while it is being copied."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._do()
        return np.zeros(3)


def test_an_interrupt_in_the_middle_of_a_write_leaves_the_ring_whole(
    rec: Recorder, daemon: FakeDaemon
) -> None:
    """Ctrl-C while the data is copied: that sample is counted as interrupted, the next ones are fine."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))
    stream.write(np.zeros(3))
    with pytest.raises(KeyboardInterrupt):
        stream.write(Interrupts(lambda: signal.raise_signal(signal.SIGINT)))
    stream.write(np.ones(3))
    assert [a["seq"] for a in daemon.taken()] == [0, 2]
    assert stream.stats["lost"]["interrupted"] == 1


def test_a_write_below_a_write_is_refused(rec: Recorder, daemon: FakeDaemon) -> None:
    """A signal handler that writes to the stream it interrupted gets an error; that sample arrives."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))
    refused: list[RecdError] = []

    def write_again() -> None:
        with pytest.raises(ReentrantWriteError) as caught:
            stream.write(np.ones(3))
        refused.append(caught.value)

    assert stream.write(Interrupts(write_again))
    assert "signal handler" in refused[0].do
    assert [a["seq"] for a in daemon.taken()] == [0]


# --- claim -------------------------------------------------------------------------------------------------


@pytest.mark.requires("native")
@pytest.mark.parametrize("like", [np.zeros((2, 3)), {"a": np.zeros(2), "b": 0.0}], ids=["array", "dict"])
def test_a_native_claim_runs_no_python(
    like: Any, rec: Recorder, daemon: FakeDaemon, each_writer: Backend
) -> None:
    """Where a simulation has the caches to itself each line of it costs microseconds: C hands the arrays out."""
    stream = rec.stream("s", NullSink(), like=like)
    stream.write(like)
    called: list[str] = []
    sys.setprofile(lambda frame, event, arg: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        with stream.claim(0.0):
            pass
    finally:
        sys.setprofile(None)
    assert bool(called) == (each_writer.name == "python")
    assert len(daemon.taken()) == 2


def test_a_claim_is_filled_in_place(rec: Recorder, daemon: FakeDaemon) -> None:
    """The block's array is the record; it is published when the block ends, with its time."""
    stream = rec.stream("s", NullSink(), like=np.zeros((2, 3)))
    with stream.claim(t=1.5) as place:
        place[:] = np.arange(6).reshape(2, 3)
        assert stream.stats["attempted"] == 0
    (sample,) = daemon.taken()
    np.testing.assert_array_equal(sample["data"], np.arange(6).reshape(2, 3))
    assert sample["t"] == 1.5


def test_a_claim_of_a_dict_gives_its_arrays(rec: Recorder, daemon: FakeDaemon) -> None:
    """Each field is an array of its own, scalars included."""
    stream = rec.stream("s", NullSink(), like={"q": np.zeros(3), "r": 0.0})
    with stream.claim() as place:
        place["q"][:] = 2
        place["r"][...] = 3
    (sample,) = daemon.taken()
    assert (list(sample["q"]), float(sample["r"])) == ([2, 2, 2], 3.0)


def test_a_claim_that_raises_is_as_if_it_had_not_been(rec: Recorder, daemon: FakeDaemon) -> None:
    """Nothing is published, no number taken, and the stream goes on."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))

    def fill_and_raise(error: type[BaseException]) -> None:
        with stream.claim() as place:
            place[:] = 1
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fill_and_raise(error)
    stream.write(np.full(3, 2.0))
    assert [(a["seq"], a["data"][0]) for a in daemon.taken()] == [(0, 2.0)]


def test_a_claim_without_room_counts_a_loss_at_its_end(rec: Recorder) -> None:
    """The block gets memory that is thrown away, so that its code needs no branch."""
    stream = rec.stream("s", NullSink(), like=np.zeros(1000), buffer_bytes=1 << 16)
    while stream.write(np.zeros(1000)):
        pass
    before = stream.stats["lost"]["full"]
    with stream.claim() as place:
        place[:] = 1
        assert stream.stats["lost"]["full"] == before
    assert stream.stats["lost"]["full"] == before + 1


def test_a_claimed_array_outlives_the_stream(rec: Recorder, daemon: FakeDaemon) -> None:
    """Memory is unmapped only when no claimed array is left: reading a kept one never crashes."""
    stream = rec.stream("s", NullSink(), like=np.zeros(1000))
    with stream.claim() as place:
        place[:] = 5
    stream.close()
    gc.collect()
    assert (place == 5).all()


def test_a_write_inside_a_claim_is_refused(rec: Recorder, daemon: FakeDaemon) -> None:
    """One record at a time: the inner write is an error, the claim is published."""
    stream = rec.stream("s", NullSink(), like=0.0)
    with stream.claim() as place:
        place[...] = 1
        with pytest.raises(ReentrantWriteError):
            stream.write(2.0)
    assert [float(a["data"]) for a in daemon.taken()] == [1.0]


def test_what_cannot_be_claimed_says_why(rec: Recorder) -> None:
    """No schema yet, or a size that is not known before: write is what is left."""
    with pytest.raises(SchemaError, match="like="):
        rec.stream("a", NullSink()).claim()
    with (
        pytest.raises(SchemaError, match="ragged or string"),
        rec.stream("b", NullSink(), like="text").claim(),
    ):
        pass


def test_a_claim_that_is_not_due_is_counted_as_skipped(rec: Recorder, daemon: FakeDaemon) -> None:
    """The rate of a stream holds for claims as for writes."""
    stream = rec.stream("s", NullSink(), like=0.0, hz=1)
    for t in (0.0, 0.5, 1.0):
        with stream.claim(t) as place:
            place[...] = t
    assert [float(a["data"]) for a in daemon.taken()] == [0.0, 1.0]
    assert stream.stats["skipped"] == 1


def test_a_fork_inside_a_claim_leaves_the_record_to_the_parent(rec: Recorder, daemon: FakeDaemon) -> None:
    """The child that leaves the block is refused; the parent's record is published once."""
    stream = rec.stream("s", NullSink(), like=0.0)
    claim = stream.claim()
    place = claim.__enter__()
    place[...] = 1

    def leave_the_block() -> None:
        with pytest.raises(ForkedHandleError):
            claim.__exit__(None, None, None)

    assert exit_code_of_child(leave_the_block) == 0
    claim.__exit__(None, None, None)
    stream.write(2.0)
    assert [(a["seq"], float(a["data"])) for a in daemon.taken()] == [(0, 1.0), (1, 2.0)]
