"""Samples for tests of plots, and looks at what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd.batch import Batch
from recd_client.schema import Field, Schema


def bare(shape: tuple[int, ...] = (), dtype: str = "<f8", unit: str = "") -> Schema:
    """Samples that are one array."""
    return Schema((Field("data", dtype, shape, unit=unit),), bare=True)


def batch_of(schema: Schema, t: Any, first_seq: int = 0, **columns: Any) -> Batch:
    """Samples at these times."""
    times = np.asarray(t, np.float64)
    seq = np.arange(first_seq, first_seq + len(times), dtype=np.uint64)
    return Batch(
        schema,
        seq,
        times,
        np.full(len(times), -1),
        seq,
        {f.name: np.asarray(columns[f.name], f.dtype).reshape(len(times), *f.shape) for f in schema.fields},
    )


def rgb(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The colours of a drawing, as numbers that can be subtracted; a copy."""
    return pixels[..., :3].astype(np.int64)


def has_colour(pixels: NDArray[np.uint8], colour: str, within: int = 12) -> bool:
    """Whether a pixel has this colour, ``#rrggbb``, or nearly."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(rgb(pixels) - wanted).max(axis=-1) <= within).any())
