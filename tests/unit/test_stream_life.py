"""When a sample is, and how a stream pauses, ends and forks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import NPZFile, NullSink, Recorder, VideoFile, layout
from recd_client.errors import (
    ClosedError,
    ForkedHandleError,
    OptionError,
    OutputExistsError,
    StreamExistsError,
)
from support import exit_code_of_child

pytestmark = pytest.mark.usefixtures("each_writer")

# --- time and rate -----------------------------------------------------------------------------------------


def test_without_a_clock_of_its_own_time_counts_from_the_opening(rec: Recorder, daemon: FakeDaemon) -> None:
    """T is monotonic seconds since the recorder opened, and grows."""
    stream = rec.stream("s", NullSink())
    for _ in range(3):
        stream.write(0.0)
    times = [a["t"] for a in daemon.taken()]
    assert 0 < times[0] < times[1] < times[2] < 60


def test_with_dt_time_is_step_times_dt(daemon: FakeDaemon) -> None:
    """The step is the explicit one, else the recorder's once step() was used, else the call's index."""
    with Recorder("test", dt=0.5, autostart=False) as rec:
        stream = rec.stream("s", NullSink())
        for step in (None, None, 10, None):
            stream.write(0.0, step=step)
        rec.step()
        rec.step()
        stream.write(0.0)
        stream.write(0.0, t=np.float32(7))
        assert [(a["t"], a["step"]) for a in daemon.taken()] == [
            (0.0, 0), (0.5, 1), (5.0, 10), (1.5, 3), (0.5, 1), (7.0, 1),
        ]  # fmt: skip


def test_any_time_is_accepted(rec: Recorder, daemon: FakeDaemon) -> None:
    """NaN and times that go back are recorded as they are; the manifest flags them."""
    stream = rec.stream("s", NullSink())
    for t in (1.0, float("nan"), 0.5, -3, 2):
        assert stream.write(0.0, t=t)
    np.testing.assert_array_equal([a["t"] for a in daemon.taken()], [1.0, np.nan, 0.5, -3.0, 2.0])


def test_hz_keeps_the_samples_that_are_due(daemon: FakeDaemon) -> None:
    """A sample that is not due returns True and counts as skipped; rounding never shifts the grid."""
    daemon.capacity_bytes = 1 << 20
    with Recorder("test", dt=0.01, autostart=False) as rec:
        stream = rec.stream("s", NullSink(), hz=50)
        t = 0.0
        for _ in range(1000):
            assert stream.write(0.0, t=t)
            t += 0.01
        steps = [round(a["t"] / 0.01) for a in daemon.taken()]
        assert steps == list(range(0, 1000, 2))
        assert stream.stats["skipped"] == 500


def test_a_reset_makes_the_next_sample_due(rec: Recorder, daemon: FakeDaemon) -> None:
    """Also when the simulation's time starts over."""
    stream = rec.stream("s", NullSink(), hz=1)
    for t in (0.0, 0.1):
        stream.write(0.0, t=t)
    rec.reset()
    for t in (0.2, 0.3, 0.0, 0.1):
        stream.write(0.0, t=t)
    assert [a["t"] for a in daemon.taken()] == [0.0, 0.2, 0.0]


# --- life --------------------------------------------------------------------------------------------------


def test_after_close_a_write_is_refused(rec: Recorder, daemon: FakeDaemon) -> None:
    """The end stands in the ring behind the last sample, and closing twice changes nothing."""
    stream, early = rec.stream("s", NullSink()), rec.stream("early", NullSink())
    write = stream.write
    stream.write(1.0)
    for _ in range(2):
        stream.close()
        early.close()
    for refused in (stream.write, write, early.write):
        with pytest.raises(ClosedError, match="closed"):
            refused(2.0)
    samples, events = daemon.rings["s"].take()
    assert (len(samples), events[-1].kind) == (1, layout.CLOSE)
    assert (stream.stats["state"], stream.stats["written"]) == ("finishing", 1)


def test_close_may_rename_and_retime(rec: Recorder, daemon: FakeDaemon) -> None:
    """The daemon is told before the end stands in the ring."""
    image = np.zeros((4, 6, 3), np.uint8)
    stream = rec.stream("s", VideoFile(), NullSink(), like=image)
    ends: list[int] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        ends.append(daemon.rings["s"].consumer.head())
        return {}

    daemon.answers["close_stream"] = answer
    stream.close("walk.mp4", fps=25)
    assert ends == [0]
    assert {k: daemon.asked("close_stream")[0][k] for k in ("stream", "filename", "fps")} == {
        "stream": "s", "filename": "walk.mp4", "fps": 25.0,
    }  # fmt: skip


def test_a_rename_that_cannot_be_leaves_the_stream_open(rec: Recorder, daemon: FakeDaemon) -> None:
    """Another stream's file, a suffix of no file of its own, an fps without a video, the daemon's own no."""
    rec.stream("other", NPZFile("taken.npz"))
    stream = rec.stream("s", NPZFile("a.npz"), like=0.0)
    with pytest.raises(StreamExistsError):
        stream.close("taken.npz")
    with pytest.raises(OptionError, match="suffixes"):
        stream.close("a.mp4")
    with pytest.raises(OptionError, match="no video"):
        stream.close(fps=30)

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise OutputExistsError("b.npz exists", "choose another")

    daemon.answers["close_stream"] = refuse
    with pytest.raises(OutputExistsError):
        stream.close("b.npz")
    assert stream.write(1.0)
    del daemon.answers["close_stream"]
    stream.close("b.npz")


def test_paused_samples_are_skipped(rec: Recorder, daemon: FakeDaemon) -> None:
    """Pause and resume stand in the ring where they happened; recorder and stream can each hold it."""
    stream = rec.stream("s", NullSink())
    rec.pause()
    assert stream.write(0.0)
    assert not daemon.asked("attach")
    rec.resume()
    stream.write(1.0)
    stream.pause()
    rec.pause()
    stream.write(2.0)
    rec.resume()
    stream.write(3.0)
    stream.resume()
    stream.write(4.0)
    samples, events = daemon.rings["s"].take()
    assert [float(a["data"]) for a in samples] == [1.0, 4.0]
    assert [e.payload.split(b'"')[3] for e in events] == [b"recd.pause", b"recd.resume"]
    assert stream.stats["skipped"] == 3


def test_a_sink_can_be_waited_for(rec: Recorder, daemon: FakeDaemon) -> None:
    """With async_mode=False write returns once that sink has the sample; skipped and lost ones ask nobody."""
    answers = iter([False, False, True])
    daemon.answers["taken"] = lambda request: {"done": next(answers)}
    stream = rec.stream("s", NullSink(), NPZFile("a.npz", async_mode=False), like=0.0)
    assert stream.write(1.0)
    asked = daemon.asked("taken")
    assert [(a["sink"], a["position"]) for a in asked] == [(1, layout.record_bytes(8))] * 3
    stream.pause()
    stream.write(2.0)
    assert len(daemon.asked("taken")) == 3


def test_waiting_for_a_sink_ends_with_the_streams_timeout(rec: Recorder, daemon: FakeDaemon) -> None:
    """A sink that never takes the sample holds the simulation up so long and no longer."""
    daemon.answers["taken"] = lambda request: {"done": False}
    stream = rec.stream("s", NPZFile("a.npz", async_mode=False), like=0.0, timeout=0.02)
    assert stream.write(1.0)
    with stream.claim() as place:
        place[...] = 2
    assert len(daemon.taken()) == 2


def test_the_bell_is_rung_without_touching_what_a_write_may_be_at(rec: Recorder, daemon: FakeDaemon) -> None:
    """A flush rings from any thread: the producer's words stand still; after the end it is no error."""
    stream = rec.stream("s", NullSink())
    stream.write(0.0)
    ring, attached = daemon.rings["s"], stream.ring
    assert attached is not None
    ring.doorbell.wait(0.0)
    ring.consumer.sleep(lambda timeout_s: None, 0.0)
    rung = ring.consumer.word("rung_ticket")
    attached.ring_doorbell()
    assert ring.doorbell.wait(60.0)
    assert ring.consumer.word("rung_ticket") == rung
    rec.close(timeout=5)
    attached.ring_doorbell()


def test_a_forked_child_can_touch_nothing(rec: Recorder, daemon: FakeDaemon) -> None:
    """Each handle refuses in the child, its exit changes nothing, and the parent goes on as before."""
    stream, fresh = rec.stream("s", NullSink(), like=0.0), rec.stream("fresh", NullSink())
    write = stream.write
    stream.write(0.0)
    asked = len(daemon.requests)

    def child() -> None:
        for use in (write, stream.write, fresh.write):
            with pytest.raises(ForkedHandleError, match="forked"):
                use(1.0)
        for call in (stream.close, stream.pause, rec.flush, rec.close, rec.reset, rec.step):
            with pytest.raises(ForkedHandleError):
                call()
        with pytest.raises(ForkedHandleError):
            rec.stream("new")
        rec.__exit__(None, None, None)  # a child that leaves the with block

    assert exit_code_of_child(child) == 0
    assert len(daemon.requests) == asked
    assert stream.write(1.0)
    assert [a["seq"] for a in daemon.taken()] == [0, 1]


def test_a_forked_child_may_record_on_its_own(rec: Recorder, daemon: FakeDaemon) -> None:
    """A recorder opened in the child is the child's; the parent's is untouched."""
    stream = rec.stream("s", NullSink(), like=0.0)

    def child() -> None:
        with Recorder("child", autostart=False) as mine:
            assert mine.log("mine", 1.0)

    assert exit_code_of_child(child) == 0
    assert stream.write(1.0)
    assert (len(daemon.taken("mine")), len(daemon.taken())) == (1, 1)


def test_an_interrupted_first_write_can_be_repeated(
    rec: Recorder, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the ring is being made leaves a stream that works."""
    stream = rec.stream("s", NullSink())
    with monkeypatch.context() as patched:
        patched.setattr(stream, "follow_pause", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stream.write(1.0)
    assert stream.write(2.0)
    assert [float(a["data"]) for a in daemon.taken()] == [2.0]


def interrupt(*args: Any) -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt
