"""Samples as messages for other people's viewers: what is decoded by the described schema is what was written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from recd.batch import Batch, Varying
from recd.foxglove.as_json import Json
from recd.foxglove.as_ros2 import Ros2
from recd.foxglove.columns import MAX_ELEMENTS, Encoding, left_out, pictures, sent
from recd.foxglove.options import Options
from recd.foxglove.rate import Rate
from recd_client.schema import RAGGED, STRING, Field, Schema
from viewing import decoded

DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
ALL_ROWS = np.arange(3)


def batch_of(columns: dict[str, Any], schema: Schema) -> Batch:
    """Three samples."""
    seq, t = np.arange(10, 13, dtype="u8"), np.array([0.5, 1.0, 1.5])
    return Batch(schema, seq, t, np.array([-1, 7, 8]), np.zeros(3, "u8"), columns)


def told(encoding: Encoding, batch: Batch) -> list[dict[str, Any]]:
    """The messages as a viewer decodes them."""
    channel = {
        "encoding": encoding.message,
        "schema": encoding.definition.decode(),
        "schemaName": encoding.schema_name,
    }
    return [decoded(channel, message) for message in encoding.encode(batch, ALL_ROWS)]


@pytest.mark.parametrize("encoding", [Json, Ros2])
def test_every_type_and_shape_is_decoded_as_it_was_written(encoding: type[Any]) -> None:
    """Numbers of all types, scalar and in arrays, of fixed size and not, and text, in one message."""
    rng = np.random.default_rng(0)
    fixed = [Field(f"f{i}_{len(s)}", d, s) for i, d in enumerate(DTYPES) for s in ((), (3,), (2, 3))]
    columns: dict[str, Any] = {f.name: (rng.normal(size=(3, *f.shape)) * 50).astype(f.dtype) for f in fixed}
    ragged = Field("contacts", "<f8", (2,), RAGGED)
    columns["contacts"] = Varying(np.arange(10.0).reshape(5, 2), np.array([2, 0, 3]))
    text = Field("said", "|u1", (), STRING)
    columns["said"] = Varying(np.frombuffer("äbcxx".encode(), "u1"), np.array([4, 0, 2]))
    last = Field("after", "|u1", (), RAGGED)
    columns["after"] = Varying(np.arange(5, dtype="u1"), np.array([1, 4, 0]))
    fields = [*fixed[:5], text, ragged, *fixed[5:], last]
    got = told(encoding(fields, "state"), batch_of(columns, Schema(tuple(fields))))
    assert [(m["t"], m["seq"], m["step"]) for m in got] == [(0.5, 10, -1), (1.0, 11, 7), (1.5, 12, 8)]
    assert [m["said"] for m in got] == ["äbc", "", "xx"]
    assert [m["contacts"] for m in got] == [[0, 1, 2, 3], [], [4, 5, 6, 7, 8, 9]]
    assert [m["after"] for m in got] == [[0], [1, 2, 3, 4], []]
    for f in fixed:
        for message, value in zip(got, columns[f.name], strict=True):
            assert np.array_equal(np.array(message[f.name], f.dtype), value.ravel() if f.shape else value)


def test_what_json_cannot_hold_is_null_and_ros_keeps_it() -> None:
    """NaN and infinity do not make a message that viewers refuse."""
    field = Field("q", "<f8", (3,))
    batch = batch_of({"q": np.full((3, 3), [np.nan, np.inf, 1.0])}, Schema((field,)))
    assert told(Json([field], "state"), batch)[0]["q"] == [None, None, 1.0]
    assert np.array_equal(told(Ros2([field], "state"), batch)[0]["q"], [np.nan, np.inf, 1.0], equal_nan=True)


def test_units_and_shapes_are_told_with_the_schema() -> None:
    """A unit stands beside its field in both descriptions, whatever is in it."""
    fields = [Field("joint vel", "<f4", (2, 2), unit="rad/s\nof the arm"), Field("n", "<i8")]
    properties = json.loads(Json(fields, "state").definition)["properties"]
    assert properties["joint vel"]["description"] == "(2, 2) float32, rad/s\nof the arm"
    assert properties["n"]["type"] == "integer"
    lines = Ros2(fields, "state").definition.decode().splitlines()
    assert lines[3:] == [
        "float32[4] joint_vel  # joint vel, (2, 2) float32, rad/s of the arm",
        "int64 n  # no unit",
    ]


def test_fields_named_alike_or_like_the_head_stay_apart() -> None:
    """No field hides another one, nor the time."""
    names = ("t", "a b", "a_b", "a-b", "9", "é")
    fields = [Field(name, "<f8") for name in names]
    columns = {name: np.full(3, float(i)) for i, name in enumerate(names)}
    batch = batch_of(columns, Schema(tuple(fields)))
    (first, *_) = told(Ros2(fields, "state"), batch)
    assert list(first) == ["t", "seq", "step", "t_", "a_b", "a_b_", "a_b__", "f_9", "f__"]
    assert [first[name] for name in list(first)[3:]] == list(range(6))
    (first, *_) = told(Json(fields, "state"), batch)
    assert list(first) == ["t", "seq", "step", "t_", "a b", "a_b", "a-b", "9", "é"]


def test_schemas_that_differ_have_names_that_differ() -> None:
    """Viewers keep one definition for each name."""
    names = {e([Field("q", d)], s).schema_name for e in (Json, Ros2) for d in DTYPES for s in ("a", "b.c")}
    assert len(names) == 4 * len(DTYPES) - 2  # float16 is sent as float32 by ROS 2, which has none


def test_pictures_and_what_is_too_large_are_no_numbers() -> None:
    """Each field is sent once: as a number, as a picture, or named as left out."""
    schema = Schema(
        (
            Field("q", "<f8", (MAX_ELEMENTS,)),
            Field("rgb", "|u1", (48, 64, 3)),
            Field("depth", "<f4", (48, 64)),
            Field("cloud", "<f4", (MAX_ELEMENTS + 1, 3)),
            Field("none", "<f4", (0, 3)),
        )
    )
    assert [f.name for f in sent(schema)] == ["q"]
    assert [f.name for f in pictures(schema)] == ["rgb", "depth"]
    assert left_out(schema) == ["cloud (4097, 3) float32", "none (0, 3) float32"]


def test_a_slow_stream_goes_whole_and_a_fast_one_is_thinned_evenly() -> None:
    """At 60 per second all of 50 Hz goes, and of 1 kHz 60 per second, the newest always among them."""
    rate = Rate(60)
    assert all(len(rate.choose(1, i / 50)) == 1 for i in range(500))
    rate = Rate(60)
    seen: list[int] = []
    for look in range(600):  # ten seconds
        seen += (rate.choose(17, look / 60) + 17 * look).tolist()
    assert 600 <= len(seen) <= 600 + 15
    assert max(np.diff(seen)) <= 2 * 17
    rate = Rate(60)
    assert rate.choose(1000, 0.0).tolist() == [66, 133, 199, 266, 333, 399, 466, 533, 599, 666, 733, 799, 866,
                                               933, 999]  # fmt: skip
    assert rate.choose(5, 0.0).tolist() == []


def test_the_time_of_a_message_is_never_negative() -> None:
    """Stream time below zero, and what is no time, do not stop a stream; wall time is that of the write."""
    options = Options(clock="sim")
    assert [options.time_ns(t, 5, 7) for t in (1.25, -1.0, np.nan, np.inf)] == [1_250_000_000, 0, 0, 0]
    assert Options().time_ns(1.25, 5, 7) == 12
