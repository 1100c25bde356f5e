from __future__ import annotations

import datetime
import json
import re
from collections import namedtuple
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from recd_client import layout
from recd_client.errors import SchemaError
from recd_client.sample import infer
from recd_client.schema import FIXED, RAGGED, STRING, Field, Ragged, Schema

Pose = namedtuple("Pose", ["pos", "quat"])


@pytest.mark.parametrize(
    ("sample", "fields"),
    [
        (1.5, [("data", "<f8", ())]),
        (3, [("data", "<i8", ())]),
        (True, [("data", "|b1", ())]),
        (np.float32(1), [("data", "<f4", ())]),
        (np.zeros((2, 3), np.float16), [("data", "<f2", (2, 3))]),
        (np.zeros(3, ">f8"), [("data", "<f8", (3,))]),
        ([1, 2, 3], [("data", "<i8", (3,))]),
        ([[1.0], [2]], [("data", "<f8", (2, 1))]),
        ((True, False), [("data", "|b1", (2,))]),
        ({"a": 1, "b": np.zeros(2, np.uint8)}, [("a", "<i8", ()), ("b", "|u1", (2,))]),
        (Pose(np.zeros(3), [1, 0, 0, 0.0]), [("pos", "<f8", (3,)), ("quat", "<f8", (4,))]),
        (np.zeros((), [("x", "<f4"), ("n", "<i2", 3)]), [("x", "<f4", ()), ("n", "<i2", (3,))]),
        (memoryview(b"abc"), [("data", "|u1", (3,))]),
        (np.zeros((0, 3)), [("data", "<f8", (0, 3))]),
    ],
)
def test_the_first_sample_says_what_all_look_like(sample: Any, fields: list[tuple[Any, ...]]) -> None:
    """Scalars, arrays, sequences, dicts, named tuples and structured arrays have fields and shapes."""
    schema = infer(sample)
    assert [(f.name, f.dtype, f.shape) for f in schema.fields] == fields
    assert {f.kind for f in schema.fields} == {FIXED}
    assert schema.bare == (fields[0][0] == "data")


def test_strings_and_ragged_fields_are_kinds_of_their_own() -> None:
    """A string's length and a ragged field's leading axis are no part of the schema."""
    schema = infer(
        {"msg": "hello", "raw": b"ab", "contacts": Ragged((7,), "f4"), "ids": Ragged((None,), int)}
    )
    assert [(f.kind, f.dtype, f.shape) for f in schema.fields] == [
        (STRING, "|u1", ()),
        (STRING, "|u1", ()),
        (RAGGED, "<f4", (7,)),
        (RAGGED, "<i8", ()),
    ]
    assert not schema.fixed_size
    assert schema.stride_bytes == 0


@pytest.mark.parametrize(
    ("sample", "field", "hint"),
    [
        (None, "data", "NaN"),
        ({"a": None}, "a", "NaN"),
        ({"a": {"b": 1}}, "a", "flat"),
        (np.array([None]), "data", "object arrays"),
        ({"a": object()}, "a", "object"),
        ({"a": {1, 2}}, "a", "object"),
        ({"a": Decimal(1)}, "a", "object"),
        (datetime.datetime(2026, 1, 1), "data", "object"),
        (1j, "data", "real and imaginary"),
        (np.zeros(2, "M8[s]"), "data", "seconds"),
        (np.array(["a", "b"]), "data", "one string per field"),
        (["a", "b"], "data", "one string per field"),
        ([[1, 2], [3]], "data", "one shape"),
        (2**70, "data", "object"),
        (np.zeros(2, np.longdouble), "data", "float64"),
        (np.ma.masked_array([1, 2], [True, False]), "data", "filled"),
        (np.zeros(2, [("x", "<f4")])["x"].view("V4"), "data", "convert"),
    ],
)
def test_what_cannot_be_recorded_is_refused_at_once(sample: Any, field: str, hint: str) -> None:
    """The message names the field and says what to write instead."""
    with pytest.raises(SchemaError) as caught:
        infer(sample)
    assert repr(field) in caught.value.what
    assert hint in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        ({}, "without fields"),
        ({"a/b": 1}, "a/b"),
        ({"": 1}, "''"),
        ({"a,b": 1}, "a,b"),
        ({"a\nb": 1}, "a\\nb"),
        ({3: 1}, "3"),
        ({"timestamp": 1}, "timestamp"),
        ({"x" * 129: 1}, "128"),
        (np.zeros((1,) * 17), "16 axes"),
    ],
)
def test_names_and_sizes_have_limits(sample: Any, word: str) -> None:
    """Every name fits every format, and nothing is larger than a record may be."""
    with pytest.raises(SchemaError, match=re.escape(word)):
        infer(sample)


@pytest.mark.parametrize("shape", [(None, None), (3, None), ("n",), (-1,), (2.0,)])
def test_only_the_leading_axis_may_vary(shape: Any) -> None:
    """A ragged field is a list of elements of one shape."""
    with pytest.raises(SchemaError, match="leading axis"):
        infer({"a": Ragged(shape)})


def test_a_schema_crosses_the_socket_unchanged() -> None:
    """What the daemon rebuilds from JSON equals what the client inferred, units included."""
    schema = infer({"q": np.zeros((2, 3), "f4"), "m": "x", "c": Ragged((7,))}).with_units({"q": "rad"})
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert schema.fields[0].unit == "rad"


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"fields": []},
        {"fields": [{}]},
        {"fields": [{"name": "a", "dtype": "O", "shape": []}]},
        {"fields": [{"name": "a", "dtype": "|O", "shape": []}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": [-1]}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": [1.5]}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": [True]}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": [1 << 33]}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": 3}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": [], "kind": "pickle"}]},
        {"fields": [{"name": "a", "dtype": "<f8", "shape": []}] * 2},
        {"fields": "abc"},
    ],
)
def test_a_malformed_schema_is_refused(wire: Any) -> None:
    """Nothing that comes over the socket becomes an object dtype, an odd size or another exception."""
    with pytest.raises(SchemaError):
        Schema.from_json(wire)


def test_every_field_of_a_payload_is_aligned() -> None:
    """Fields lie in order, each on 8 bytes, so that they can be viewed where they are."""
    schema = infer({"a": True, "b": np.zeros(3, "u1"), "c": 1.0, "d": np.zeros(5, "f2")})
    fields = schema.struct_dtype.fields
    assert fields is not None
    assert [fields[f.name][1] for f in schema.fields] == [0, 8, 16, 24]
    assert schema.payload_bytes == 40


def test_a_run_of_records_is_one_array() -> None:
    """Header and payload together are a dtype of exactly a record's size."""
    schema = infer(np.zeros(50))
    assert schema.record_dtype.itemsize == schema.stride_bytes == layout.record_bytes(400)
    assert schema.record_dtype["payload"] == schema.struct_dtype


def test_units_must_name_fields() -> None:
    """A misspelt field is found when the stream begins, not when somebody reads the file."""
    schema = infer({"qvel": 1.0})
    with pytest.raises(SchemaError, match="'qvle'"):
        schema.with_units({"qvle": "rad/s"})
    assert infer(1.0).with_units("m").fields[0].unit == "m"
    assert schema.with_units(None) is schema


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((4, 6), True),
        ((4, 6, 1), True),
        ((4, 6, 3), True),
        ((4, 6, 4), True),
        ((4, 6, 2), False),
        ((6,), False),
        ((2, 4, 6, 3), False),
        ((0, 6, 3), False),
        ((), False),
    ],
)
def test_an_image_is_known_by_its_shape(shape: tuple[int, ...], image: bool) -> None:
    """Single frames, gray, RGB or RGBA; no batches, and nothing in a dict."""
    assert infer(np.zeros(shape, np.uint8)).is_image() is image
    assert not infer({"a": np.zeros(shape, np.uint8)}).is_image()


def test_a_field_describes_itself_for_messages() -> None:
    """Expected and got are written the way numpy users read them."""
    assert str(Field("a", "<f4", (3,))) == "(3,) float32"
    assert str(Field("a", "<f8")) == "() float64"
    assert str(Field("a", "<f4", (7,), RAGGED)) == "(n, 7) float32"
    assert str(Field("a", "|u1", (), STRING)) == "string"
