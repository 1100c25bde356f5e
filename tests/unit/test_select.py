"""Which columns ``recd tail --fields`` takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recd.batch import Batch, Varying
from recd.taps.select import Selection
from recd_client.errors import OptionError
from recd_client.schema import FIXED, STRING, Field, Schema

SCHEMA = Schema(
    (
        Field("qpos", "<f8", (7,), FIXED, "rad"),
        Field("m", "<i4", (2, 3)),
        Field("odd[1]", "<f4"),
        Field("name", "|u1", (), STRING),
    )
)


def batch(n: int = 4) -> Batch:
    """Samples whose every number tells where it stands."""
    index = np.arange(n)
    columns = {
        "qpos": index[:, None] * 100 + np.arange(7.0),
        "m": index[:, None, None] * 100 + np.arange(6, dtype="<i4").reshape(2, 3),
        "odd[1]": index.astype("<f4"),
        "name": Varying(np.frombuffer(b"ab" * n, np.uint8), np.full(n, 2)),
    }
    return Batch(SCHEMA, index.astype(np.uint64), index / 8, index, index.astype(np.uint64), columns)


def test_without_names_everything_is_taken() -> None:
    """The selection's schema and columns are the stream's."""
    chosen = Selection(SCHEMA)
    assert chosen.schema == SCHEMA
    assert list(chosen(batch()).columns) == [f.name for f in SCHEMA.fields]


@given(st.integers(-7, 6), st.integers(-2, 1), st.integers(-3, 2))
def test_elements_are_those_that_numpy_would_give(i: int, row: int, column: int) -> None:
    """One element, a row, an element of two axes; negative numbers count from the end."""
    chosen = Selection(SCHEMA, [f"qpos[{i}]", f"m[{row}]", f"m[{row}, {column}]"])
    columns = [np.asarray(c) for c in chosen(batch()).columns.values()]
    full = batch()
    expected = [full.fixed("qpos")[:, i], full.fixed("m")[:, row], full.fixed("m")[:, row, column]]
    assert len(columns) == 3
    for found, wanted in zip(columns, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    names = [f.name for f in chosen.schema.fields]
    assert names == [f"qpos_{i % 7}", f"m_{row % 2}", f"m_{row % 2}_{column % 3}"]
    assert [f.shape for f in chosen.schema.fields] == [(), (3,), ()]
    assert chosen.schema.fields[0].unit == "rad"


def test_a_field_with_brackets_in_its_name_is_found() -> None:
    """A field's whole name goes before an element of another."""
    assert list(Selection(SCHEMA, ["odd[1]"])(batch()).columns) == ["odd[1]"]


@pytest.mark.parametrize(
    "name", ["nope", "qpos[7]", "qpos[-8]", "qpos[0,0]", "m[2,0]", "name[0]", "[0]", "qpos[]"]
)
def test_what_is_not_there_is_refused_and_the_fields_are_named(name: str) -> None:
    """The error tells what there is instead."""
    with pytest.raises(OptionError, match=r"qpos|name is string|m is \(2, 3\) int32"):
        Selection(SCHEMA, [name])
