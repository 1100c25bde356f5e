"""How a stream ends when somebody outside asks for it, through the words of its ring."""

from __future__ import annotations

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import ClosedError, NullSink, Recorder, layout
from recd_client.ring import RingConsumer

pytestmark = [
    pytest.mark.usefixtures("each_writer"),
    pytest.mark.filterwarnings("ignore::recd_client.DataLossWarning"),
]


def ask(consumer: RingConsumer) -> None:
    """What a worker does when it is asked to end its streams."""
    consumer.set_word("stop_asked", layout.STOP_ASKED)
    consumer.announce_sleep()


def test_the_write_after_the_one_that_hears_of_it_closes_the_stream(
    rec: Recorder, daemon: FakeDaemon
) -> None:
    """The close stands behind every sample that was taken; what follows is counted and not in the ring."""
    stream = rec.stream("s", NullSink())
    assert stream.write(0.0)
    ask(daemon.rings["s"].consumer)
    assert [stream.write(float(i)) for i in (1, 2, 3)] == [True, False, False]
    samples, events = daemon.rings["s"].take()
    assert [s["data"] for s in samples] == [0.0, 1.0]
    assert [e.kind for e in events] == [layout.CLOSE]
    assert daemon.rings["s"].consumer.word("producer_state") == layout.PRODUCER_CLOSED
    stats = stream.stats
    assert (stats["attempted"], stats["written"], stats["lost"]["stopped"]) == (4, 2, 2)


def test_a_write_within_a_full_ring_hears_of_it(rec: Recorder, daemon: FakeDaemon) -> None:
    """Also a stream that can publish nothing ends; its close finds room in the reserve."""
    stream = rec.stream("s", NullSink(), buffer_bytes=1 << 14)
    while stream.write(np.zeros(32)):
        continue
    ask(daemon.rings["s"].consumer)
    assert [stream.write(np.zeros(32)) for _ in range(3)] == [False] * 3
    assert daemon.rings["s"].consumer.word("producer_state") == layout.PRODUCER_CLOSED
    assert stream.stats["lost"]["stopped"] == 2


@pytest.mark.parametrize("late", [0, 1, 5, 100])
def test_what_is_published_behind_a_cut_is_counted(rec: Recorder, daemon: FakeDaemon, late: int) -> None:
    """Whoever keeps the method writes on into a ring that nobody reads: each such sample is counted once."""
    stream = rec.stream("s", NullSink(), like=np.zeros(5))
    write = stream.write
    for i in range(10):
        write(np.full(5, float(i)))
    consumer = daemon.rings["s"].consumer
    assert len(daemon.taken()) == 10
    consumer.set_word("stop_at", consumer.position)
    consumer.set_word("stop_asked", layout.STOP_CUT)
    assert all(write(np.zeros(5)) for _ in range(late))
    stats = stream.stats
    assert (stats["attempted"], stats["written"]) == (10 + late, 10)
    assert stats["lost"].get("stopped", 0) == late
    summary = rec.close()
    assert summary["s"].lost.get("stopped", 0) == late


def test_a_cut_in_the_last_lap_is_counted_across_the_rings_end(rec: Recorder, daemon: FakeDaemon) -> None:
    """Padding at the end of the data area is no sample."""
    stream = rec.stream("s", NullSink(), like=np.zeros(45), buffer_bytes=1 << 14)
    write, consumer, total = stream.write, daemon.rings["s"].consumer, 0
    while consumer.position < 3 * consumer.capacity_bytes - 2048:
        total += write(np.zeros(45))
        daemon.taken()
    consumer.set_word("stop_at", consumer.position)
    consumer.set_word("stop_asked", layout.STOP_CUT)
    late = sum(write(np.zeros(45)) for _ in range(12))
    assert consumer.word("head") > 3 * consumer.capacity_bytes
    assert stream.stats["lost"]["stopped"] == late == 12
    assert stream.stats["written"] == total


def test_a_stream_that_never_began_counts_too(rec: Recorder, daemon: FakeDaemon) -> None:
    """The daemon refuses to attach it; the sample is lost, not an error; who declares it is told."""

    def refuse(request: object) -> dict[str, object]:
        raise ClosedError("recording has ended", "open a new Recorder")

    daemon.answers["attach"] = refuse
    stream = rec.stream("s", NullSink())
    assert [stream.write(1.0) for _ in range(3)] == [False] * 3
    assert len(daemon.asked("attach")) == 1
    assert not rec.log("other", 1.0)
    assert len(daemon.asked("attach")) == 1
    with pytest.raises(ClosedError, match="has ended"):
        rec.stream("declared", NullSink(), like=0.0)
    assert stream.stats["lost"]["stopped"] == 3


def test_a_stream_that_was_closed_by_its_user_stays_closed(rec: Recorder, daemon: FakeDaemon) -> None:
    """A stop that comes too late changes nothing: writing is the error that it was."""
    stream = rec.stream("s", NullSink())
    stream.write(1.0)
    ask(daemon.rings["s"].consumer)
    stream.close()
    with pytest.raises(ClosedError):
        stream.write(1.0)
    with pytest.raises(ClosedError), stream.claim():
        pass
    assert not stream.stats["lost"].get("stopped")
