"""One image as a file that every viewer opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ..video import ffmpeg
from ..video.pixels import Scaler

_FORMATS: Final = {1: "gray", 3: "rgb24", 4: "rgba"}
_PATIENCE_S: Final = 30.0


def to_bytes(image: NDArray[Any], scale: tuple[float, float] | None) -> NDArray[np.uint8]:
    """The image in uint8; other numbers go from ``scale[0]`` to ``scale[1]``, or between its extremes."""
    if image.dtype == np.uint8 and scale is None:
        return np.ascontiguousarray(image)
    if scale is None:
        known = image[np.isfinite(image)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        scale = (low, high if high > low else low + 1.0)
    pixels: NDArray[np.uint8] = Scaler(image.shape, image.dtype, scale)(np.ascontiguousarray(image))
    return pixels


def save(image: NDArray[Any], path: Path, scale: tuple[float, float] | None = None) -> None:
    """Write an image, ``(H, W)`` or ``(H, W, 1 | 3 | 4)``; an older file stays until the new one is complete.

    Raises
    ------
    OutputError
        It cannot be written there.
    SchemaError
        The scale is not ascending.
    """
    height, width, *rest = image.shape
    pixels = to_bytes(image, scale)
    unfinished = path.with_name(f".{path.name}.new{path.suffix}")
    raw = ("-f", "rawvideo", "-pix_fmt", _FORMATS[rest[0] if rest else 1], "-video_size", f"{width}x{height}")
    picture = ("-frames:v", "1", "-update", "1", ffmpeg.url(unfinished))
    command = [*ffmpeg.QUIET[1:], "-y", *ffmpeg.LOCAL_ONLY, *raw, "-i", "pipe:0", *picture]
    try:
        done = ffmpeg.run(command, data=pixels.tobytes(), timeout_s=_PATIENCE_S)
        if done.returncode:
            raise OutputError(
                f"{path} cannot be written: {done.reason}", "choose a directory that can be written"
            )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
