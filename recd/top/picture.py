"""A frame as characters: two pixels per cell, one above the other."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

from ..taps.picture import to_bytes

_SHADES: Final = " .:-=+*#%@"


def blocks(image: NDArray[Any], width: int, height: int) -> list[Text]:
    """The image, ``(H, W)`` or ``(H, W, 1 | 3 | 4)``, in at most so many cells; in shades where NO_COLOR is set."""
    rows, columns = image.shape[:2]
    scale = min(width / columns, 2 * height / rows)
    across, down = max(int(columns * scale), 1), max(int(rows * scale) // 2 * 2, 2)
    at = np.ix_(_middles(rows, down), _middles(columns, across))
    pixels = to_bytes(np.ascontiguousarray(image[at]), None).reshape(down, across, -1)
    if "NO_COLOR" in os.environ:
        grey = pixels[..., :3].mean(axis=2).reshape(down // 2, 2, across).mean(axis=1)
        return [Text("".join(_SHADES[int(v) * len(_SHADES) // 256] for v in row)) for row in grey]
    pixels = np.broadcast_to(pixels, (down, across, 3)) if pixels.shape[2] == 1 else pixels[..., :3]
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = Text()
        for above, below in zip(upper, lower, strict=True):
            line.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        lines.append(line)
    return lines


def _middles(of: int, parts: int) -> NDArray[np.intp]:
    return ((np.arange(parts) + 0.5) * of / parts).astype(np.intp)
