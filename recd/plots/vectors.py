"""What a vector field plot shows: positions and vectors seen along a direction. Nothing is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import SchemaError
from recd_client.options import MPLVectorFieldPlot
from recd_client.schema import FIXED, Schema


def check(options: MPLVectorFieldPlot, schema: Schema) -> int:
    """Such samples are one vector per position, in as many fields as there are titles; returns how many.

    Raises
    ------
    SchemaError
        They are not.
    """
    count, fields = len(options.positions), len(options.subplot_titles or ())
    field = schema.fields[0]
    outer = (fields,) if fields else ()
    shapes = [(*outer, count, 3), (*outer, count, 2)]
    if len(schema.fields) > 1 or field.kind != FIXED or field.shape not in shapes or field.dtype == "|b1":
        got = str(field) if len(schema.fields) == 1 else f"a dict with {len(schema.fields)} fields"
        titles = f" and {fields} subplot_titles" if fields else ""
        raise SchemaError(
            f"MPLVectorFieldPlot: {count} positions{titles} need vectors {shapes[0]} or {shapes[1]}, got {got}",
            "write one vector per position, in a stream of their own",
        )
    return max(fields, 1)


def basis_of(normal: tuple[float, ...]) -> NDArray[np.float64]:
    """``(3, 2)``: what points right and what points up, looked at against ``normal``.

    Right is x and up is y for the normal (0, 0, 1). The same choice as Genesis makes, so that plots look alike.
    """
    n = np.asarray(normal, np.float64)
    n = n / np.linalg.norm(n / np.abs(n).max()) / np.abs(n).max()
    axis = 1 if abs(n[1]) < 0.5 else 2
    up = np.eye(3)[axis] - n[axis] * n
    up /= np.linalg.norm(up)
    return np.stack([np.cross(up, n), up], axis=1)


def projected(vectors: NDArray[Any], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(..., 2)`` of ``(..., 3)``, or of ``(..., 2)`` that lie in the plane of x and y."""
    return np.asarray(vectors @ basis[: vectors.shape[-1]], np.float64)
