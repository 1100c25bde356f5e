"""The rows of a LeRobot dataset as Arrow tables: what is no film."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from ...features import IMAGE, TEXT, Feature

#: What every LeRobot dataset has: name and dtype.
OWN: Final = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
_PICTURE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def described(features: Sequence[Feature], films: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """What ``info.json`` tells of the features.

    Parameters
    ----------
    features : sequence of Feature
    films : dict
        What is to be told of the video files of those that are in such.
    """
    found: dict[str, Any] = {}
    for f in features:
        if f.kind == IMAGE:
            height, width, _ = f.shape
            names = ["height", "width", "channels"]
            dtype = "video" if f.name in films else "image"
            found[f.name] = {"dtype": dtype, "shape": [height, width, 3], "names": names}
            if info := films.get(f.name):
                found[f.name]["info"] = dict(info)
        else:
            dtype = "string" if f.kind == TEXT else f.dtype.name
            names_of_elements = list(f.names) if f.names and len(f.shape) == 1 else None
            found[f.name] = {"dtype": dtype, "shape": list(f.shape) or [1], "names": names_of_elements}
    return found | {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in OWN.items()}


def schema_of(features: Sequence[Feature]) -> pa.Schema:
    """Of the data files, with what the library ``datasets`` wants to know of them.

    Parameters
    ----------
    features : sequence of Feature
        Those that are in the data files.
    """
    fields, known = [], {}
    for f in features:
        field, known[f.name] = _field(f)
        fields.append(field)
    for name, dtype in OWN.items():
        fields.append(pa.field(name, pa.from_numpy_dtype(dtype)))
        known[name] = {"dtype": dtype, "_type": "Value"}
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": known}})})


def _field(f: Feature) -> tuple[pa.Field, dict[str, Any]]:
    """A column, and how ``datasets`` calls it."""
    if f.kind == IMAGE:
        return pa.field(f.name, _PICTURE), {"_type": "Image"}
    if f.kind == TEXT:
        return pa.field(f.name, pa.string()), {"dtype": "string", "_type": "Value"}
    element, dtype = pa.from_numpy_dtype(f.dtype), f.dtype.name
    if f.size == 1 and len(f.shape) <= 1:
        return pa.field(f.name, element), {"dtype": dtype, "_type": "Value"}
    if len(f.shape) == 1:
        told = {"feature": {"dtype": dtype, "_type": "Value"}, "length": f.size, "_type": "List"}
        return pa.field(f.name, pa.list_(element, f.size)), told
    name = f"Array{len(f.shape)}D"
    marked = {
        "ARROW:extension:name": f"datasets.features.features.{name}ExtensionType",
        "ARROW:extension:metadata": json.dumps([list(f.shape), dtype]),
    }
    kind = element
    for _ in f.shape:
        kind = pa.list_(kind)
    return pa.field(f.name, kind, metadata=marked), {"shape": list(f.shape), "dtype": dtype, "_type": name}


def batch_of(schema: pa.Schema, columns: Mapping[str, NDArray[Any] | list[Any]]) -> pa.RecordBatch:
    """Some rows, each column ``(n, *shape)``; of pictures a list of their files' bytes."""
    return pa.record_batch([_array(field.type, columns[field.name]) for field in schema], schema=schema)


def _array(kind: pa.DataType, values: Any) -> pa.Array:
    if pa.types.is_struct(kind):
        return pa.array([{"bytes": value, "path": None} for value in values], kind)
    if pa.types.is_string(kind):
        return pa.array([str(value) for value in values], kind)
    values = np.ascontiguousarray(values)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), kind.list_size)
    depth, element = 0, kind
    while pa.types.is_list(element):
        depth, element = depth + 1, element.value_type
    found = pa.array(values.reshape(-1), element)
    for axis in range(depth, 0, -1):
        lists = math.prod(values.shape[:axis])
        found = pa.ListArray.from_arrays(np.arange(lists + 1, dtype=np.int32) * values.shape[axis], found)
    return found


def arrays_in(field: pa.Field, shape: tuple[int, ...], batches: Iterable[pa.RecordBatch]) -> Iterable[Any]:
    """The values of a column, ``(n, *shape)``, batch by batch."""
    for batch in batches:
        column = batch.column(field.name)
        while isinstance(column, (pa.ListArray, pa.FixedSizeListArray)):
            column = column.flatten()
        yield column.to_numpy(zero_copy_only=False).reshape(len(batch), *shape)


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an ``(H, W, 3)`` picture."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
