"""Samples as JSON objects, described by a JSON Schema: numbers plain, arrays as flat lists in C order.

JSON has no NaN and no infinity: they are ``null``, which viewers leave out.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from recd_client.schema import FIXED, STRING

from ..batch import Batch
from .columns import HEAD, Column, Encoding, numbers_of, varying_of

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


class Json(Encoding):
    """See :class:`~recd.foxglove.columns.Encoding`."""

    message = "json"
    schema_encoding = "jsonschema"
    _package = "recd."
    _plain = False

    def _define(self, named: list[Column]) -> bytes:
        head = {"t": "number", "seq": "integer", "step": "integer"}
        properties: dict[str, Any] = {n: {"type": head[n], "description": HEAD[n]} for n in HEAD}
        properties |= {c.name: _type_of(c) for c in named}
        return orjson.dumps({"type": "object", "properties": properties})

    def encode(self, batch: Batch, rows: NDArray[np.intp]) -> list[bytes]:
        """The chosen samples, one message each."""
        values = [(c.name, _flat(numbers_of(batch, c, rows), bool(c.field.shape))) for c in self._fixed]
        varied = [(c.name, varying_of(batch, c, rows, self._limit)) for c in self._varying]
        told = []
        for i, row in enumerate(rows.tolist()):
            head = {"t": batch.t[row], "seq": batch.seq[row], "step": batch.step[row]}
            fixed = {name: column[i] for name, column in values}
            varying = {name: column[i] for name, column in varied}
            told.append(orjson.dumps({**head, **fixed, **varying}, option=_OPTIONS))
        return told


def _flat(values: NDArray[Any], is_list: bool) -> NDArray[Any]:
    return np.ascontiguousarray(values.reshape(len(values), -1) if is_list else values)


def _type_of(column: Column) -> dict[str, Any]:
    field = column.field
    kind = {"b": "boolean", "f": "number"}.get(np.dtype(field.dtype).kind, "integer")
    if field.kind == STRING:
        return {"type": "string", "description": column.about}
    if field.kind == FIXED and not field.shape:
        return {"type": kind, "description": column.about}
    return {"type": "array", "items": {"type": kind}, "description": column.about}
