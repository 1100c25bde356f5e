"""Numbers, losses, and waiting for room."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import NullSink, Recorder, layout
from recd_client.errors import (
    RecordTooLargeError,
)
from support import wait_until

pytestmark = pytest.mark.usefixtures("each_writer")


def test_every_loss_is_counted_and_told(rec: Recorder, daemon: FakeDaemon) -> None:
    """Attempts are what arrived and what was lost; the gap is told before the next sample, exactly."""
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=layout.MIN_CAPACITY_BYTES)
    results = [stream.write(np.full(100, i, "f8"), t=float(i)) for i in range(40)]
    first, _ = daemon.rings["s"].take()
    results += [stream.write(np.full(100, i, "f8"), t=float(i)) for i in range(40, 42)]
    second, events = daemon.rings["s"].take()
    kept = [i for i, ok in enumerate(results) if ok]
    assert [int(a["data"][0]) for a in first + second] == [a["seq"] for a in first + second] == kept
    stats = stream.stats
    assert (stats["attempted"], stats["written"]) == (42, len(kept))
    assert {cause: n for cause, n in stats["lost"].items() if n} == {"full": 42 - len(kept)}
    (loss,) = (e for e in events if e.kind == layout.LOSS)
    entry = dict(zip(layout.LOSS_ENTRY_NAMES, layout.LOSS_ENTRY.unpack(loss.payload), strict=True))
    lost = [i for i, ok in enumerate(results) if not ok]
    assert (entry["first_seq"], entry["last_seq"], entry["count"]) == (lost[0], lost[-1], len(lost))
    assert (entry["t_first"], entry["t_last"]) == (lost[0], lost[-1])


def test_a_sample_that_no_ring_of_this_size_takes_says_how_large_it_must_be(rec: Recorder) -> None:
    """The error names buffer_bytes; the attempt is counted as too large; smaller samples go on."""
    stream = rec.stream("s", NullSink(), like={"m": ""}, buffer_bytes=layout.MIN_CAPACITY_BYTES)
    with pytest.raises(RecordTooLargeError, match="buffer_bytes=") as caught:
        stream.write({"m": "x" * 10_000})
    needed = int(caught.value.do.split("buffer_bytes=")[1].split()[0])
    assert stream.stats["lost"]["too_large"] == 1
    assert stream.write({"m": "x"})
    other = rec.stream("o", NullSink(), like={"m": ""}, buffer_bytes=needed)
    assert other.write({"m": "x" * 10_000})


def test_block_waits_until_there_is_room(rec: Recorder, daemon: FakeDaemon) -> None:
    """With overflow="block" nothing is lost however slow the other side is, and the wait is counted."""
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 14, overflow="block")
    arrived: list[dict[str, Any]] = []
    done = threading.Event()

    def drain() -> None:
        while not done.is_set() or stream.stats["buffered_bytes"]:
            wait_until(lambda: done.is_set() or stream.stats["blocked_s"] >= 0)
            arrived.extend(daemon.taken())

    drainer = threading.Thread(target=drain)
    drainer.start()
    try:
        assert all(stream.write(np.full(100, i, "f8")) for i in range(200))
    finally:
        done.set()
        drainer.join()
    assert [a["seq"] for a in arrived] == list(range(200))
    assert stream.stats["blocked_s"] > 0


def test_block_gives_up_after_its_timeout(rec: Recorder) -> None:
    """The sample is lost to "timeout", and the time spent waiting is counted."""
    stream = rec.stream(
        "s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 14, overflow="block", timeout=0.02
    )
    while stream.write(np.zeros(100)):
        pass
    stats = stream.stats
    assert stats["lost"]["timeout"] == 1
    assert stats["blocked_s"] >= 0.02


def test_block_ends_when_nobody_is_left_to_make_room(rec: Recorder, daemon: FakeDaemon) -> None:
    """Without a daemon and a worker even an endless wait returns, and the state says why."""
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 14, overflow="block")
    daemon.die()
    while stream.write(np.zeros(100)):
        pass
    assert stream.stats["lost"]["full"] == 1
    assert (stream.stats["state"], "does not run" in stream.stats["reason"]) == ("stalled", True)
    daemon.start()


def test_writing_goes_on_without_a_daemon(rec: Recorder, daemon: FakeDaemon) -> None:
    """A dead daemon is no error of write; what was written waits in shared memory."""
    stream = rec.stream("s", NullSink(), like=0.0)
    daemon.die()
    assert all(stream.write(float(i)) for i in range(10))
    daemon.start()
    assert len(daemon.taken()) == 10


def test_threads_take_turns(rec: Recorder, daemon: FakeDaemon) -> None:
    """Samples of several threads are whole, and each has a number of its own."""
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 20)

    def write(mine: int) -> None:
        for _ in range(200):
            assert stream.write(np.full(100, mine, "f8"))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = daemon.taken()
    assert [a["seq"] for a in arrived] == list(range(800))
    assert all((a["data"] == a["data"][0]).all() for a in arrived)


def test_closing_ends_a_wait_for_room(rec: Recorder) -> None:
    """A thread that waits for room holds up the end of the stream no longer than a moment."""
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 14, overflow="block")
    results: list[bool] = []

    def fill() -> None:
        while not results or results[-1]:
            results.append(stream.write(np.zeros(100)))

    writer = threading.Thread(target=fill)
    writer.start()
    wait_until(lambda: stream.stats["buffered_bytes"] > (1 << 14) - 2 * layout.CONTROL_RESERVE_BYTES)
    stream.close()
    writer.join()
    assert stream.stats["lost"]["full"] <= 1
