"""Colour maps for what has no colours of its own: depth, heat, any image of numbers."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Each map as colours at equal distances; between them it is linear.
MAPS: Final = {
    "gray": "000000 ffffff",
    "viridis": (
        "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 "
        "84d44b addc30 d8e219 fde725"
    ),
    "magma": (
        "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 "
        "fea772 fec488 fde2a3 fcfdbf"
    ),
    "cividis": (
        "00224e 002a5f 003170 1a386f 2a3f6d 38476c 434e6c 4d556c 575d6d 61656f 6a6c71 737475 7d7c78 "
        "868379 918b78 9b9476 a59c74 b0a571 bcae6c c6b667 d2c060 dec958 e9d34e f6dd3f fee838"
    ),
    "turbo": (
        "30123b 3b2f80 434eba 466be3 4685fa 3ba0fd 28bceb 1ad2d2 1ae4b6 32f298 55fa76 80ff53 a4fc3c "
        "bef434 d9e436 eecf3a faba39 fe9e2f fb7e21 f26014 e4450a d02f05 b91e02 9b0f01 7a0403"
    ),
}


@cache
def table(name: str) -> NDArray[np.uint8]:
    """The colours of a map, (256, 3)."""
    knots = np.array([list(bytes.fromhex(c)) for c in MAPS[name].split()], np.float64)
    at = np.linspace(0, len(knots) - 1, 256)
    channels = [np.interp(at, np.arange(len(knots)), knots[:, i]) for i in range(3)]
    colours: NDArray[np.uint8] = np.stack(channels, 1).round().astype(np.uint8)
    return colours
