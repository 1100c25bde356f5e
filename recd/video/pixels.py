"""Frames of other numbers as uint8 or uint16, and frames of odd sizes as even ones.

Nothing wraps: values are clipped to ``(low, high)`` before they are scaled, and NaN is ``low``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recd_client.errors import SchemaError

_TABLE_ITEM_BYTES: Final = 2


class Scaler:
    """Turns frames of one shape and dtype into uint8 or uint16: ``low`` is 0, ``high`` is 255 (or 65535).

    Linear between: each value becomes the nearest level.

    Parameters
    ----------
    shape : tuple of int
        A frame's shape.
    dtype : dtype
        bool, any integer, float16, float32 or float64.
    scale : (float, float)
        The values that become black and white, ``low < high``.
    out_dtype : {uint8, uint16}

    Raises
    ------
    SchemaError
        The dtype is no such number, or the scale is not ascending.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        scale: tuple[float, float],
        out_dtype: DTypeLike = np.uint8,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._low, self._high = float(scale[0]), float(scale[1])
        if self._dtype.kind not in "buif" or self._dtype.itemsize > 8:
            raise SchemaError(
                f"a frame of {self._dtype} is no image", "use bool, an integer or a float of at most 64 bits"
            )
        if not (np.isfinite(self._high - self._low) and self._low < self._high):
            raise SchemaError(
                f"scale=({scale[0]}, {scale[1]}) is not ascending", "use scale=(low, high), low < high"
            )
        self._out: NDArray[Any] = np.empty(shape, out_dtype)
        self._most = int(np.iinfo(self._out.dtype).max)
        self._table: NDArray[Any] | None = None
        if self._dtype.itemsize <= _TABLE_ITEM_BYTES:
            self._index = np.dtype(f"u{self._dtype.itemsize}")
            every = np.arange(256**self._dtype.itemsize).astype(self._index)
            values = (every != 0 if self._dtype.kind == "b" else every.view(self._dtype)).astype(np.float64)
            self._table = np.empty(values.shape, out_dtype)
            self._convert(values, np.empty_like(values), self._table)
        else:
            # For 65,536 levels the 24 bits of a float32 are too few where low is far from 0.
            wide = self._dtype.itemsize > 4 or self._dtype.kind != "f" or self._out.itemsize > 1
            self._work: NDArray[Any] = np.empty(shape, np.float64 if wide else np.float32)

    def __call__(self, frame: NDArray[Any]) -> NDArray[Any]:
        """The scaled frame, C-contiguous; the memory is used again by the next call."""
        if self._table is not None:
            np.take(self._table, frame.view(self._index), out=self._out, mode="clip")
        else:
            self._convert(frame, self._work, self._out)
        return self._out

    def _convert(self, values: NDArray[Any], work: NDArray[Any], out: NDArray[Any]) -> None:
        with np.errstate(invalid="ignore"):  # a signalling NaN is low, too, and no news
            np.fmax(values, self._low, out=work, dtype=work.dtype, casting="same_kind")
        np.fmin(work, self._high, out=work)
        np.subtract(work, self._low, out=work)
        np.multiply(work, self._most / (self._high - self._low), out=work)
        np.add(work, 0.5, out=work)
        np.copyto(out, work, casting="unsafe")


class Padder:
    """Grows frames at the right and the bottom by repeating their last column and row.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width and channels of a frame.
    right, bottom : int
        Columns and rows to add.
    """

    def __init__(self, shape: tuple[int, int, int], right: int, bottom: int) -> None:
        self._shape = shape
        height, width, channels = shape
        self._out: NDArray[np.uint8] = np.empty((height + bottom, width + right, channels), np.uint8)

    def __call__(self, frame: memoryview) -> memoryview:
        """The grown frame; the memory is used again by the next call."""
        height, width, _ = self._shape
        out = self._out
        out[:height, :width] = np.frombuffer(frame, np.uint8).reshape(self._shape)
        out[:height, width:] = out[:height, width - 1 : width]
        out[height:] = out[height - 1]
        return out.data.cast("B")
