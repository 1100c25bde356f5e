"""A frame as a small JPEG: as large as it is shown, in the colours that were chosen."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colours import table

_QUALITY: Final = 80
#: Pictures of few pixels are shown with sharp ones.
_SMALL: Final = 64


def to_jpeg(
    frame: NDArray[Any], width: int, colour_map: str, scale: tuple[float, float] | None
) -> tuple[bytes, tuple[float, float] | None]:
    """A JPEG no wider than ``width`` and than the frame, and the values of the first and last colour.

    Parameters
    ----------
    frame : ndarray, (H, W) or (H, W, 1 | 3 | 4)
    width : int
        Pixels.
    colour_map : str
        For frames of one channel.
    scale : (float, float), optional
        Values with the first and the last colour; by default, 0 and 255 for uint8, else the frame's extremes.
    """
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    plain = frame.dtype == np.uint8 and scale is None
    found = (0.0, 255.0) if plain else (scale or extremes(frame))
    if frame.ndim == 2:
        frame = _thinned(frame, width)
    data = frame if plain else _to_bytes(frame, *found)
    if data.ndim == 2:
        if colour_map != "gray":
            data = table(colour_map)[data]
        image = Image.fromarray(np.ascontiguousarray(data))
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    else:
        image = Image.fromarray(np.ascontiguousarray(data[:, :, :3]))
    if width < image.width:
        image = _scaled(image, width)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, subsampling=0 if image.width <= _SMALL else 2)
    return out.getvalue(), None if frame.ndim == 3 and plain else found


def extremes(frame: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest finite value, one apart at least where they are the same."""
    if frame.dtype.kind == "b":
        return 0.0, 1.0
    finite = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return low, high if high > low else low + 1.0


def _to_bytes(frame: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    values = np.nan_to_num(frame.astype(np.float32), nan=low, posinf=high, neginf=low)
    return ((np.clip(values, low, high) - low) * (255 / (high - low)) + 0.5).astype(np.uint8)


def _thinned(frame: NDArray[Any], width: int) -> NDArray[Any]:
    """Every n-th pixel, while that leaves enough: values of depth must not be mixed at edges."""
    step = max(frame.shape[1] // max(width, 1), 1)
    return frame[::step, ::step]


def _scaled(image: Image.Image, width: int) -> Image.Image:
    """First by whole numbers, which is cheap, then the rest."""
    factor = image.width // width
    if factor > 1:
        image = image.reduce(factor)
    if width >= image.width:
        return image
    return image.resize((width, max(round(image.height * width / image.width), 1)), Image.Resampling.BILINEAR)
