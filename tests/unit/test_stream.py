from __future__ import annotations

import gc
import os
import signal
import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import NPZFile, NullSink, Ragged, Recorder, VideoFile, layout
from recd_client.errors import (
    ClosedError,
    ForkedHandleError,
    OptionError,
    OutputExistsError,
    RecdError,
    RecordTooLargeError,
    ReentrantWriteError,
    SchemaError,
    StreamExistsError,
)
from support import wait_until

Pose = namedtuple("Pose", ["pos", "quat"])


def taken(daemon: FakeDaemon, stream: str = "s") -> list[dict[str, Any]]:
    """The samples that the daemon's side of a ring has not seen yet."""
    return daemon.rings[stream].take()[0]


def exit_code_of_child(do: Callable[[], None]) -> int:
    """Fork, run ``do`` in the child, and return its exit code: 0 if it returned, 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- what arrives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sample",
    [
        1.5,
        7,
        True,
        np.float32(0.25),
        np.arange(50.0),
        np.arange(12, dtype="i2").reshape(3, 4),
        np.zeros((4, 6, 3), np.uint8)[::-1, :, ::-1],
        [1, 2, 3],
        {"q": np.arange(3.0), "n": 4, "ok": False, "f": np.zeros((2, 2), "f4")},
    ],
)
def test_what_is_written_arrives(rec: Recorder, daemon: FakeDaemon, sample: Any) -> None:
    """Scalars, arrays of any strides, sequences and dicts lie in the ring with their values and dtypes."""
    stream = rec.stream("s", NullSink())
    assert stream.write(sample)
    assert stream.write(sample)
    fields = sample if isinstance(sample, dict) else {"data": sample}
    arrived = taken(daemon)
    assert [a["seq"] for a in arrived] == [0, 1]
    for a in arrived:
        for name, value in fields.items():
            np.testing.assert_array_equal(a[name], value)
            assert a[name].dtype == np.asarray(value).dtype


def test_a_reused_buffer_never_shows(rec: Recorder, daemon: FakeDaemon) -> None:
    """The data is copied at the call, whatever happens to it afterwards."""
    stream, buffer = rec.stream("s", NullSink()), np.zeros(3)
    for i in range(4):
        buffer[:] = i
        stream.write(buffer)
    buffer[:] = 99
    assert [list(a["data"]) for a in taken(daemon)] == [[i] * 3 for i in range(4)]


def test_named_tuples_structured_arrays_and_any_order_of_keys_are_dicts(rec: Recorder, daemon: FakeDaemon) -> None:
    """What counts is the fields' names."""
    stream = rec.stream("s", NullSink())
    stream.write(Pose(np.arange(3.0), np.arange(4.0)))
    stream.write({"quat": np.arange(4.0) + 1, "pos": np.arange(3.0) + 1})
    stream.write(np.array((np.arange(3.0) + 2, np.arange(4.0) + 2), [("pos", "f8", 3), ("quat", "f8", 4)]))
    assert [(list(a["pos"]), a["quat"][0]) for a in taken(daemon)] == [
        ([0, 1, 2], 0), ([1, 2, 3], 1), ([2, 3, 4], 2),
    ]  # fmt: skip


def test_strings_and_ragged_fields_vary_from_sample_to_sample(rec: Recorder, daemon: FakeDaemon) -> None:
    """Contact lists and messages of any length stand beside fixed fields."""
    stream = rec.stream("s", NullSink(), like={"c": Ragged((2,), "f4"), "msg": "", "t0": 0.0})
    rows = [np.arange(2 * n, dtype="f4").reshape(n, 2) for n in (3, 0, 1)]
    for row, text in zip(rows, ("héllo", "", "x" * 100), strict=True):
        assert stream.write({"c": row, "msg": text, "t0": 1})
    stream.write({"c": [], "msg": b"raw", "t0": 2.0})
    arrived = taken(daemon)
    for a, row, text in zip(arrived, rows, ("héllo", "", "x" * 100), strict=False):
        np.testing.assert_array_equal(a["c"], row)
        assert (a["msg"], a["t0"]) == (text, 1.0)
    assert (arrived[3]["c"].shape, arrived[3]["msg"]) == ((0, 2), "raw")


# --- samples that do not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (np.zeros(3), np.zeros(4), ["(3,) float64", "(4,) float64"]),
        (np.zeros(3), np.zeros(3, "f4"), ["float64", "float32"]),
        (np.zeros(3), np.zeros((1, 3)), ["(1, 3)"]),
        (np.zeros(3), 1.0, ["1.0 (float)"]),
        (np.zeros(3), [1.0, 2.0], ["(2,)", "list"]),
        (np.zeros(3), [[1.0], [2.0, 3.0]], ["no regular array"]),
        (np.zeros(3), None, ["None"]),
        (np.zeros(3), "abc", ["a string"]),
        (np.zeros(3), {"data": np.zeros(3)}, ["a dict with 'data'"]),
        ("abc", 3, ["string"]),
        (1, 1.5, ["int64", "1.5 (float)"]),
        (1, 2**63, ["int64"]),
        (1, True, ["bool"]),
        (True, 1, ["bool", "1 (int)"]),
        (np.int8(1), 200, ["int8", "200"]),
        (np.float32(1), 1e300, ["float32"]),
        (np.float32(1), np.float64(1), ["float32", "float64"]),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}, ["'a'", "'b'"]),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, ["'b'"]),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 2.0}, ["'b'", "'c'"]),
        ({"a": 1.0}, 1.0, ["'a'", "float"]),
        ({"a": np.zeros(2)}, {"a": {"x": 1}}, ["'a'", "a dict"]),
        ({"a": np.zeros(2)}, {"a": None}, ["'a'", "None"]),
    ],
)
def test_a_sample_that_differs_is_refused_and_the_stream_goes_on(
    rec: Recorder, daemon: FakeDaemon, first: Any, second: Any, words: list[str]
) -> None:
    """The message names stream, field, expected and got; the sample takes no number."""
    stream = rec.stream("s", NullSink())
    assert stream.write(first)
    with pytest.raises(SchemaError) as caught:
        stream.write(second)
    for word in ["'s'", *words]:
        assert word in caught.value.what
    assert "the stream goes on" in caught.value.do
    assert stream.write(first)
    assert [a["seq"] for a in taken(daemon)] == [0, 1]
    assert stream.stats["attempted"] == 2
    assert sum(stream.stats["lost"].values()) == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1.0, 2),
        (np.zeros(2), [1, 2]),
        (np.zeros(2, "f4"), (1, 2.5)),
        (np.int8(0), -128),
        (np.uint64(0), 2**64 - 1),
        (np.float64(0), np.float32(1.5)),
        (np.float32(0), float("inf")),
        (np.float32(0), float("nan")),
        (1.0, float("nan")),
        (np.zeros(2), np.ones(2, ">f8")),
    ],
)
def test_python_numbers_take_the_fields_dtype_where_that_is_safe(
    rec: Recorder, daemon: FakeDaemon, first: Any, second: Any
) -> None:
    """An int into a float field, or a smaller type into a larger one, loses nothing."""
    stream = rec.stream("s", NullSink())
    stream.write(first)
    stream.write(second)
    a = taken(daemon)[1]["data"]
    np.testing.assert_array_equal(a, np.asarray(second).astype(np.asarray(first).dtype))


@pytest.mark.parametrize("bad", [None, {}, {"a": {"b": 1}}, {"a": None}, object(), np.array([object()])])
def test_a_first_sample_that_cannot_be_recorded_leaves_the_stream_as_it_was(
    rec: Recorder, daemon: FakeDaemon, bad: Any
) -> None:
    """The error names the stream, no ring is made, and a good sample may still come first."""
    stream = rec.stream("s", NullSink())
    with pytest.raises(SchemaError, match="'s'"):
        stream.write(bad)
    assert not daemon.asked("attach")
    assert stream.write(1.0)


def test_a_bad_sample_is_an_error_even_when_the_ring_is_full(rec: Recorder) -> None:
    """What does not fit is never counted as a loss for want of room."""
    stream = rec.stream("s", NullSink(), like=np.zeros(1000), buffer_bytes=1 << 16)
    while stream.write(np.zeros(1000)):
        pass
    before = stream.stats["attempted"]
    with pytest.raises(SchemaError):
        stream.write(np.zeros(3))
    assert stream.stats["attempted"] == before


@pytest.mark.parametrize(("t", "step"), [("soon", None), ([1, 2], None), (None, 1.5), (None, "3"), (None, 2**64)])
def test_a_time_or_step_that_is_none_is_refused(rec: Recorder, daemon: FakeDaemon, t: Any, step: Any) -> None:
    """The message says what was expected, and nothing is recorded."""
    stream = rec.stream("s", NullSink(), like=0.0)
    with pytest.raises(SchemaError, match="expected"):
        stream.write(1.0, t, step)
    assert taken(daemon) == []


def test_a_video_wants_images(rec: Recorder, daemon: FakeDaemon) -> None:
    """What is no image, or not uint8 without a scale, is refused before anything is made; the error says what came."""
    for sample, word in ((np.zeros(3), r"\(3,\)"), (np.zeros((4, 4, 2), "u1"), r"2"), (np.zeros((4, 4)), "float64")):
        with pytest.raises(SchemaError, match=word):
            rec.stream("s", VideoFile("a.mp4"), like=sample)
    with pytest.raises(SchemaError, match="dict"):
        rec.stream("s", VideoFile("a.mp4"), like={"a": np.zeros((4, 4, 3), "u1")})
    assert not daemon.asked("attach")
    rec.stream("depth", VideoFile("d.mp4", scale=(0, 10)), like=np.zeros((4, 4), "f4"))
    rec.stream("s", VideoFile("a.mp4"), like=np.zeros((4, 4, 3), "u1"))


# --- numbers, losses, waiting ------------------------------------------------------------------------------------


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
    assert stats["lost"] == {"full": 42 - len(kept), "too_large": 0, "timeout": 0, "interrupted": 0}
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
            arrived.extend(taken(daemon))

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
    stream = rec.stream("s", NullSink(), like=np.zeros(100), buffer_bytes=1 << 14, overflow="block", timeout=0.02)
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
    assert len(taken(daemon)) == 10


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
    arrived = taken(daemon)
    assert [a["seq"] for a in arrived] == list(range(800))
    assert all((a["data"] == a["data"][0]).all() for a in arrived)


# --- interruptions -------------------------------------------------------------------------------------------------


class Interrupts:
    """An array that does something while it is being copied."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._do()
        return np.zeros(3)


def test_an_interrupt_in_the_middle_of_a_write_leaves_the_ring_whole(rec: Recorder, daemon: FakeDaemon) -> None:
    """Ctrl-C while the data is being copied: that sample is counted as interrupted, the next ones are fine."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))
    stream.write(np.zeros(3))
    with pytest.raises(KeyboardInterrupt):
        stream.write(Interrupts(lambda: signal.raise_signal(signal.SIGINT)))
    stream.write(np.ones(3))
    assert [a["seq"] for a in taken(daemon)] == [0, 2]
    assert stream.stats["lost"]["interrupted"] == 1


def test_a_write_below_a_write_is_refused(rec: Recorder, daemon: FakeDaemon) -> None:
    """A signal handler that writes to the stream it interrupted gets an error; the interrupted sample arrives."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))
    refused: list[RecdError] = []

    def write_again() -> None:
        with pytest.raises(ReentrantWriteError) as caught:
            stream.write(np.ones(3))
        refused.append(caught.value)

    assert stream.write(Interrupts(write_again))
    assert "signal handler" in refused[0].do
    assert [a["seq"] for a in taken(daemon)] == [0]


# --- claim -----------------------------------------------------------------------------------------------------------


def test_a_claim_is_filled_in_place(rec: Recorder, daemon: FakeDaemon) -> None:
    """The block's array is the record; it is published when the block ends, with its time."""
    stream = rec.stream("s", NullSink(), like=np.zeros((2, 3)))
    with stream.claim(t=1.5) as place:
        place[:] = np.arange(6).reshape(2, 3)
        assert stream.stats["attempted"] == 0
    (sample,) = taken(daemon)
    np.testing.assert_array_equal(sample["data"], np.arange(6).reshape(2, 3))
    assert sample["t"] == 1.5


def test_a_claim_of_a_dict_gives_its_arrays(rec: Recorder, daemon: FakeDaemon) -> None:
    """Each field is an array of its own, scalars included."""
    stream = rec.stream("s", NullSink(), like={"q": np.zeros(3), "r": 0.0})
    with stream.claim() as place:
        place["q"][:] = 2
        place["r"][...] = 3
    (sample,) = taken(daemon)
    assert (list(sample["q"]), float(sample["r"])) == ([2, 2, 2], 3.0)


def test_a_claim_that_raises_is_as_if_it_had_not_been(rec: Recorder, daemon: FakeDaemon) -> None:
    """Nothing is published, no number taken, and the stream goes on."""
    stream = rec.stream("s", NullSink(), like=np.zeros(3))
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), stream.claim() as place:
            place[:] = 1
            raise error
    stream.write(np.full(3, 2.0))
    assert [(a["seq"], a["data"][0]) for a in taken(daemon)] == [(0, 2.0)]


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
    assert [float(a["data"]) for a in taken(daemon)] == [1.0]


def test_what_cannot_be_claimed_says_why(rec: Recorder) -> None:
    """No schema yet, or a size that is not known before: write is what is left."""
    with pytest.raises(SchemaError, match="like="):
        rec.stream("a", NullSink()).claim()
    with pytest.raises(SchemaError, match="ragged or string"), rec.stream("b", NullSink(), like="text").claim():
        pass


# --- time and rate -----------------------------------------------------------------------------------------------------


def test_without_a_clock_of_its_own_time_counts_from_the_opening(rec: Recorder, daemon: FakeDaemon) -> None:
    """t is monotonic seconds since the recorder opened, and grows."""
    stream = rec.stream("s", NullSink())
    for _ in range(3):
        stream.write(0.0)
    times = [a["t"] for a in taken(daemon)]
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
        assert [(a["t"], a["step"]) for a in taken(daemon)] == [
            (0.0, 0), (0.5, 1), (5.0, 10), (1.5, 3), (0.5, 1), (7.0, 1),
        ]  # fmt: skip


def test_any_time_is_accepted(rec: Recorder, daemon: FakeDaemon) -> None:
    """NaN and times that go back are recorded as they are; the manifest flags them."""
    stream = rec.stream("s", NullSink())
    for t in (1.0, float("nan"), 0.5, -3, 2):
        assert stream.write(0.0, t=t)
    np.testing.assert_array_equal([a["t"] for a in taken(daemon)], [1.0, np.nan, 0.5, -3.0, 2.0])


def test_hz_keeps_the_samples_that_are_due(daemon: FakeDaemon) -> None:
    """A sample that is not due returns True and counts as skipped; rounding never shifts the grid."""
    daemon.capacity_bytes = 1 << 20
    with Recorder("test", dt=0.01, autostart=False) as rec:
        stream = rec.stream("s", NullSink(), hz=50)
        t = 0.0
        for _ in range(1000):
            assert stream.write(0.0, t=t)
            t += 0.01
        steps = [round(a["t"] / 0.01) for a in taken(daemon)]
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
    assert [a["t"] for a in taken(daemon)] == [0.0, 0.2, 0.0]


# --- life ----------------------------------------------------------------------------------------------------------------


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
    """Another stream's file, a suffix of no file of this stream, an fps without a video, the daemon's own no."""
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
    assert len(taken(daemon)) == 2


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
    assert [a["seq"] for a in taken(daemon)] == [0, 1]
