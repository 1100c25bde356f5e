"""What of a stream can be drawn: which fields are lines, which are pictures, and which are neither."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np

from recd_client.schema import FIXED, Field, Schema

from ..batch import Batch
from .decimate import Floats

#: A field with more elements than that is no set of lines.
MAX_LINES: Final = 256
#: Lines that are kept for one stream; fields that do not fit are not drawn.
MAX_STREAM_LINES: Final = 2048
_MIN_PICTURE: Final = 8

LINES, PICTURE, OTHER = "lines", "picture", "other"


def kind_of(field: Field) -> str:
    """How a field is shown."""
    if field.kind != FIXED or 0 in field.shape:
        return OTHER
    shape = field.shape
    if len(shape) in (2, 3) and min(shape[:2]) >= _MIN_PICTURE and (len(shape) == 2 or shape[2] in (1, 3, 4)):
        # Three channels of anything but bytes are no colours that could be guessed.
        return PICTURE if len(shape) == 2 or shape[2] == 1 or field.dtype == "|u1" else OTHER
    return LINES if int(np.prod(shape, dtype=int)) <= MAX_LINES else OTHER


def labels(field: Field) -> list[str]:
    """Names of a field's elements: ``qpos[0]``, ``pose[1,2]``; of a scalar, its name."""
    if not field.shape:
        return [field.name]
    return [f"{field.name}[{','.join(map(str, i))}]" for i in product(*map(range, field.shape))]


def described(schema: Schema) -> list[dict[str, Any]]:
    """The fields as the page is told of them."""
    columns = Columns(schema)
    told = []
    for f in schema.fields:
        kind = kind_of(f)
        if kind == LINES and f.name not in columns.places:
            kind = OTHER
        told.append(
            {
                "name": f.name,
                "unit": f.unit,
                "kind": kind,
                "shape": list(f.shape),
                "type": str(f),
                "labels": labels(f) if kind == LINES else [],
                "colours": kind == PICTURE and len(f.shape) == 3 and f.shape[2] > 1,
                "bytes": f.dtype == "|u1",
            }
        )
    return told


class Columns:
    """The fields of a stream that are lines, side by side as one table.

    Parameters
    ----------
    schema : Schema

    Attributes
    ----------
    places : dict
        Field to its columns in the table.
    count : int
        Columns of the table.
    """

    def __init__(self, schema: Schema) -> None:
        self.places: dict[str, range] = {}
        self.count = 0
        for f in schema.fields:
            if kind_of(f) == LINES:
                size = int(np.prod(f.shape, dtype=int))
                if self.count + size <= MAX_STREAM_LINES:
                    self.places[f.name] = range(self.count, self.count + size)
                    self.count += size

    def table(self, batch: Batch) -> Floats:
        """The samples' lines, (n, count) float64."""
        out = np.empty((len(batch), self.count))
        for name, place in self.places.items():
            out[:, place.start : place.stop] = batch.fixed(name).reshape(len(batch), -1)
        return out
