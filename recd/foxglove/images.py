"""A picture as a message of Foxglove's own types: a JPEG for colours, raw numbers for everything that is measured."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from foxglove.messages import CompressedImage, RawImage, Timestamp
from numpy.typing import NDArray

from recd_client.schema import Field

from ..ui.pictures import to_jpeg

#: Wider pictures are made smaller: a viewer that does not read holds some of them.
MAX_JPEG_WIDTH: Final = 1280
#: Of raw ones, every n-th pixel in both directions.
MAX_RAW_WIDTH: Final = 640
_COLOURS: Final = {1: "mono8", 3: "rgb8", 4: "rgba8"}


def is_jpeg(field: Field, raw: bool) -> bool:
    """Whether the field's pictures are sent as JPEG; depth and other numbers never are, nor what ``--raw`` asks for."""
    return field.dtype == "|u1" and not raw


def message(frame: NDArray[Any], time_ns: int, source: str, *, jpeg: bool, raw: bool) -> Any:
    """The message for one picture, ``(H, W)`` or ``(H, W, 1 | 3 | 4)``.

    Parameters
    ----------
    time_ns : int
        Of its source.
    source : str
        Goes to ``frame_id``.
    jpeg : bool
        See :func:`is_jpeg`.
    raw : bool
        As it was written, at its full size.
    """
    stamp = Timestamp(time_ns // 1_000_000_000, time_ns % 1_000_000_000)
    if jpeg:
        data, _ = to_jpeg(frame, MAX_JPEG_WIDTH, "gray", None)
        return CompressedImage(timestamp=stamp, frame_id=source, data=data, format="jpeg")
    if not raw:
        step = -(-frame.shape[1] // MAX_RAW_WIDTH)
        frame = frame[::step, ::step]
    pixels, encoding = _plain(frame)
    return RawImage(
        timestamp=stamp,
        frame_id=source,
        width=pixels.shape[1],
        height=pixels.shape[0],
        encoding=encoding,
        step=pixels[0].nbytes,
        data=pixels.tobytes(),
    )


def _plain(frame: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """The pixels in a type that viewers have, and its name there."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    if frame.dtype == np.uint8:
        return frame, _COLOURS[channels]
    if frame.dtype == bool:
        return frame.astype(np.uint8) * np.uint8(255), "mono8"
    if frame.dtype == np.uint16:
        return frame, "16UC1"
    return frame.astype(np.float32), "32FC1"
