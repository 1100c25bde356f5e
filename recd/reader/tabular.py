"""A stream as a table of other libraries, each loaded when it is asked for; they are the extra ``recd[data]``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from recd_client.errors import MissingLibraryError
from recd_client.schema import FIXED, RAGGED, Field

from ..sinks.names import TIMESTAMP
from .column import Lists
from .tables import field_of

if TYPE_CHECKING:
    from .arrays import ArrayStream


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise MissingLibraryError(f"{name} cannot be loaded: {e}", "pip install 'recd[data]'") from None


def _fields(stream: ArrayStream, names: list[str] | None) -> list[Field]:
    found = [
        field_of(stream.schema, stream[name].name) for name in (stream.fields if names is None else names)
    ]
    return [f for f in found if f is not None]


def to_pandas(stream: ArrayStream, names: list[str] | None) -> Any:
    """See :meth:`ArrayStream.to_pandas`."""
    pandas = _load("pandas")
    columns: dict[str, Any] = {}
    for f in _fields(stream, names):
        rows = stream[f.name][:]
        if f.kind != FIXED or not f.shape:
            columns[f.name] = rows
            continue
        flat = rows.reshape(len(stream), -1)
        columns |= {f"{f.name}_{i}": flat[:, i] for i in range(flat.shape[1])}
    return pandas.DataFrame(columns, index=pandas.Index(stream.t, name=TIMESTAMP))


def to_arrow(stream: ArrayStream, names: list[str] | None) -> Any:
    """See :meth:`ArrayStream.to_arrow`."""
    arrow = _load("pyarrow")
    columns, fields = (
        [arrow.array(stream.t)],
        [arrow.field(TIMESTAMP, arrow.float64(), metadata={"unit": "s"})],
    )
    for f in _fields(stream, names):
        column = _arrow_column(arrow, stream, f)
        columns.append(column)
        fields.append(arrow.field(f.name, column.type, metadata={"unit": f.unit} if f.unit else None))
    return arrow.Table.from_arrays(columns, schema=arrow.schema(fields))


def _arrow_column(arrow: Any, stream: ArrayStream, f: Field) -> Any:
    if f.kind == FIXED:
        return _nested(arrow, np.ascontiguousarray(stream[f.name][:]), f.shape)
    if f.kind == RAGGED:
        lists: Lists = stream[f.name].lists()
        values = _nested(arrow, np.ascontiguousarray(lists.values), f.shape)
        return arrow.LargeListArray.from_arrays(arrow.array(lists.offsets), values)
    return arrow.array(stream[f.name][:], arrow.large_string())


def _nested(arrow: Any, rows: Any, shape: tuple[int, ...]) -> Any:
    """Rows of arrays as lists of fixed size, an axis within the other; nothing is copied."""
    column = arrow.array(rows.reshape(-1))
    for i, size in reversed(list(enumerate(shape))):
        if size == 0:  # nothing tells how many there are
            count = len(rows) * int(np.prod(shape[:i], dtype=np.int64))
            column = arrow.array([[]] * count, arrow.list_(column.type, 0))
        else:
            column = arrow.FixedSizeListArray.from_arrays(column, size)
    return column


def to_xarray(stream: ArrayStream, names: list[str] | None) -> Any:
    """See :meth:`ArrayStream.to_xarray`."""
    xarray = _load("xarray")
    arrays = {}
    for f in _fields(stream, names):
        rows: Any = stream[f.name][:]
        if f.kind == RAGGED:
            rows = np.asarray(stream[f.name])  # an array of arrays: their lengths differ
        axes = [f"{f.name}_{i}" for i in range(len(f.shape))] if f.kind == FIXED else []
        arrays[f.name] = (["time", *axes], rows, {"units": f.unit} if f.unit else {})
    coords = {"time": ("time", stream.t, {"units": "s"}), "seq": ("time", stream.seq)}
    return xarray.Dataset(arrays, coords, {"stream": stream.name})
