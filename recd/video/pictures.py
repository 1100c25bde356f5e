"""From a sample to the frame of a video: one image of a batch or all in a grid, scaled, in colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recd_client.images import image_shape
from recd_client.options import TILE, VideoFile
from recd_client.schema import Field

from .colormaps import Colours
from .pixels import Scaler


def grid(count: int) -> tuple[int, int]:
    """Rows and columns of a tiled video: as near to a square as can be, rather wide than high."""
    columns = math.isqrt(count - 1) + 1
    return -(-count // columns), columns


def frame_shape(shape: tuple[int, ...], option: VideoFile) -> tuple[int, ...]:
    """The shape of the video's frames, for samples of this shape."""
    height, width, *channels = image_shape(shape, option)
    if option.colormap is not None:
        channels = [3]
    if option.batch == TILE:
        rows, columns = grid(shape[0])
        height, width = rows * height, columns * width
    return (height, width, *channels)


def told_of(shape: tuple[int, ...], option: VideoFile) -> dict[str, Any]:
    """What the manifest says of how the frames were made; nothing of frames that are the samples as they are."""
    out: dict[str, Any] = {}
    if option.scale is not None:
        low, high = option.scale
        levels = 65535 if option.is_16_bit else 255
        out["scale"] = {"low": low, "high": high, "levels": levels + 1, "step": (high - low) / levels}
    if option.colormap is not None:
        out["colormap"] = option.colormap
    if option.batch == TILE:
        rows, columns = grid(shape[0])
        out["batch"] = {"images": shape[0], "rows": rows, "columns": columns}
    elif option.batch is not None:
        out["batch"] = {"images": shape[0], "image": option.batch}
    return out


class Pictures:
    """Makes the frames of one video.

    Parameters
    ----------
    field : Field
        Of the samples.
    option : VideoFile
    """

    def __init__(self, field: Field, option: VideoFile) -> None:
        self._dtype = np.dtype(field.dtype)
        height, width, *channels = image_shape(field.shape, option)
        count = field.shape[0] if option.batch == TILE else 1
        #: Of the part of a sample that is shown: images, rows, columns, channels.
        self._shape = (count, height, width, *(channels or [1]))
        size = math.prod(self._shape) * self._dtype.itemsize
        first = option.batch if isinstance(option.batch, int) else 0
        self._part = slice(first * size, (first + 1) * size)
        self._steps: list[Callable[[NDArray[Any]], NDArray[Any]]] = []
        shape, dtype = self._shape, self._dtype
        if option.scale is not None:
            dtype = np.dtype(np.uint16 if option.is_16_bit else np.uint8)
            self._steps.append(Scaler(shape, self._dtype, option.scale, dtype))
        if option.colormap is not None:
            shape, dtype = (*shape[:3], 3), np.dtype(np.uint8)
            self._steps.append(Colours(shape, option.colormap))
        if option.batch == TILE:
            self._steps.append(_Tile(shape, dtype))

    def __call__(self, payload: memoryview) -> memoryview:
        """The frame as ffmpeg takes it; of the payload, or in memory that the next call uses again."""
        part = payload[self._part]
        if not self._steps:
            return part
        values: NDArray[Any] = np.frombuffer(part, self._dtype).reshape(self._shape)
        for step in self._steps:
            values = step(values)
        return memoryview(values.data).cast("B")


class _Tile:
    """Puts images side by side, row by row; what is left of the last row is black.

    Parameters
    ----------
    shape : (int, int, int, int)
        Number of images, their height, width and channels.
    dtype : dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        count, height, width, channels = shape
        rows, columns = grid(count)
        self._out: NDArray[Any] = np.zeros((rows * height, columns * width, channels), dtype)
        cells = self._out.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
        self._cells = [cells[i // columns, i % columns] for i in range(count)]

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """The grid; the memory is used again by the next call."""
        for cell, image in zip(self._cells, images, strict=True):
            cell[...] = image
        return self._out
