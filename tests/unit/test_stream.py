"""What a stream takes, and what it refuses."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import NullSink, Ragged, Recorder, VideoFile
from recd_client.errors import (
    SchemaError,
)

pytestmark = pytest.mark.usefixtures("each_writer")

Pose = namedtuple("Pose", ["pos", "quat"])


# --- what arrives ------------------------------------------------------------------------------------------


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
    arrived = daemon.taken()
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
    assert [list(a["data"]) for a in daemon.taken()] == [[i] * 3 for i in range(4)]


def test_named_tuples_structured_arrays_and_any_order_of_keys_are_dicts(
    rec: Recorder, daemon: FakeDaemon
) -> None:
    """What counts is the fields' names."""
    stream = rec.stream("s", NullSink())
    stream.write(Pose(np.arange(3.0), np.arange(4.0)))
    stream.write({"quat": np.arange(4.0) + 1, "pos": np.arange(3.0) + 1})
    stream.write(np.array((np.arange(3.0) + 2, np.arange(4.0) + 2), [("pos", "f8", 3), ("quat", "f8", 4)]))
    assert [(list(a["pos"]), a["quat"][0]) for a in daemon.taken()] == [
        ([0, 1, 2], 0), ([1, 2, 3], 1), ([2, 3, 4], 2),
    ]  # fmt: skip


def test_strings_and_ragged_fields_vary_from_sample_to_sample(rec: Recorder, daemon: FakeDaemon) -> None:
    """Contact lists and messages of any length stand beside fixed fields."""
    stream = rec.stream("s", NullSink(), like={"c": Ragged((2,), "f4"), "msg": "", "t0": 0.0})
    rows = [np.arange(2 * n, dtype="f4").reshape(n, 2) for n in (3, 0, 1)]
    for row, text in zip(rows, ("héllo", "", "x" * 100), strict=True):
        assert stream.write({"c": row, "msg": text, "t0": 1})
    stream.write({"c": [], "msg": b"raw", "t0": 2.0})
    arrived = daemon.taken()
    for a, row, text in zip(arrived, rows, ("héllo", "", "x" * 100), strict=False):
        np.testing.assert_array_equal(a["c"], row)
        assert (a["msg"], a["t0"]) == (text, 1.0)
    assert (arrived[3]["c"].shape, arrived[3]["msg"]) == ((0, 2), "raw")


# --- samples that do not fit -------------------------------------------------------------------------------


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
    assert [a["seq"] for a in daemon.taken()] == [0, 1]
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
    a = daemon.taken()[1]["data"]
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


@pytest.mark.parametrize(
    ("t", "step"), [("soon", None), ([1, 2], None), (None, 1.5), (None, "3"), (None, 2**64)]
)
def test_a_time_or_step_that_is_none_is_refused(rec: Recorder, daemon: FakeDaemon, t: Any, step: Any) -> None:
    """The message says what was expected, and nothing is recorded."""
    stream = rec.stream("s", NullSink(), like=0.0)
    with pytest.raises(SchemaError, match="expected"):
        stream.write(1.0, t, step)
    assert daemon.taken() == []


def test_a_video_wants_images(rec: Recorder, daemon: FakeDaemon) -> None:
    """What is no image, or not uint8 without a scale, is refused before anything is made."""
    for sample, word in (
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((4, 4, 2), "u1"), r"2"),
        (np.zeros((4, 4)), "float64"),
    ):
        with pytest.raises(SchemaError, match=word):
            rec.stream("s", VideoFile("a.mp4"), like=sample)
    with pytest.raises(SchemaError, match="dict"):
        rec.stream("s", VideoFile("a.mp4"), like={"a": np.zeros((4, 4, 3), "u1")})
    assert not daemon.asked("attach")
    rec.stream("depth", VideoFile("d.mp4", scale=(0, 10)), like=np.zeros((4, 4), "f4"))
    rec.stream("s", VideoFile("a.mp4"), like=np.zeros((4, 4, 3), "u1"))
