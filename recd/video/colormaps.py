"""Colour maps: a table of colours for each, without any plotting library.

viridis and magma are matplotlib's (CC0), turbo is Google's (Apache 2.0); of each every fifth entry stands here,
which interpolated gives all 256 within 1.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.options import CATEGORIES

Table = NDArray[np.uint8]

_FIFTHS: Final = {
    "viridis": (
        "44015446085c471063481769481d6f482475472a7a46307e453781433d844142873f48893d4e8a3a538b38598c"
        "355e8d33638d31688e2e6d8e2c718e2a768e297b8e27808e25848e23898e218e8d20928c1f978b1e9c891fa188"
        "21a58524aa8328ae802eb37c35b7793dbc7446c06f50c46a5ac86465cb5e70cf577cd25089d54895d840a2da37"
        "b0dd2fbddf26cae11fd8e219e5e419f1e51dfde725"
    ),
    "magma": (
        "00000402020b0504160907200e0b2b140e361a104221114e29115a311165390f6e420f754a107952137c5a167e"
        "6219806a1c81721f81792282812581892881912b81992d80a1307eaa337db2357bba3878c23b75ca3e72d2426f"
        "d9466be04c67e75263ec5860f1605df4695cf7725cf97b5dfb8560fc8e64fd9869fea16efeaa74feb47bfebd82"
        "fec68afecf92fed89afde2a3fdebacfcf4b6fcfdbf"
    ),
    "turbo": (
        "30123b36215f3b2f803f3e9c424bb54559cb4666dd4773eb4680f6458cfd4099ff38a5fb2fb2f427bee91fc9dd"
        "1ad4d018ddc21ae4b622ebaa2ff19b3ff68a52fa7a65fd6979fe598bff4b9cfe40a9fb39b7f735c3f134d0ea34"
        "dbe236e5d938eecf3af5c53afaba39fdae35fea130fe932afc8423f9751df46617ef5811e84b0ce14109d83706"
        "ce2d04c32503b71d02a916019b0f018b09027a0403"
    ),
}
#: From linear RGB to CIE XYZ, D65.
_XYZ: Final = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE: Final = (0.9505, 1.0, 1.089)
_CATEGORIES: Final = 255
#: Lightness in CIELAB, 0 to 100, which every category but 0 exceeds.
_DARKEST: Final = 20


class Colours:
    """Turns images of one value per pixel into RGB.

    Parameters
    ----------
    shape : tuple of int
        Of the colours; that of the values has 1 at the end instead of 3.
    colormap : str
        One of :data:`~recd_client.video_options.COLORMAPS`. The maps of a range take uint8, 0 to 255;
        ``"categories"`` takes whole numbers.
    """

    def __init__(self, shape: tuple[int, ...], colormap: str) -> None:
        self._categories = colormap == CATEGORIES
        self._table = categories() if self._categories else ramp(colormap)
        self._out: Table = np.empty(shape, np.uint8)

    def __call__(self, values: NDArray[Any]) -> Table:
        """The colours, C-contiguous; the memory is used again by the next call."""
        rows = category(values[..., 0]) if self._categories else values[..., 0]
        np.take(self._table, rows, axis=0, out=self._out, mode="clip")
        return self._out


@cache
def ramp(colormap: str) -> Table:
    """The colours of 0 to 255, ``(256, 3)`` uint8."""
    fifths = np.frombuffer(bytes.fromhex(_FIFTHS[colormap]), np.uint8).reshape(-1, 3)
    at = np.arange(256)
    return np.stack([np.rint(np.interp(at, at[::5], channel)) for channel in fifths.T], 1).astype(np.uint8)


def category(numbers: NDArray[Any]) -> Table:
    """Rows of :func:`categories`: 0 stays 0; 1, 256, 511, ... are row 1; -1 is row 254, and so on."""
    if numbers.dtype.kind == "b" or numbers.dtype == np.uint8:
        return numbers.view(np.uint8)
    if numbers.min() >= 0 and numbers.max() <= _CATEGORIES:  # mostly, and ten times as fast
        return numbers.astype(np.uint8)
    wide = numbers.astype(np.int16) if numbers.itemsize == 1 else numbers
    rows: Table = (wide - wide // _CATEGORIES * _CATEGORIES).astype(np.uint8)  # numpy is slow at %
    rows[(rows == 0) & (wide != 0)] = _CATEGORIES
    return rows


@cache
def categories() -> Table:
    """A colour for each number, ``(256, 3)`` uint8: black for 0, then each as far as can be from those before.

    None of them is nearly black.

    Glasbey, van der Heijden, Toh, Gray: Colour displays for categorical images (2007); distances in CIELAB.
    """
    steps = np.arange(0, 256, 255 // 15)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(cube / 255)
    bright = (lab[:, 0] > _DARKEST) | (cube.sum(1) == 0)
    cube, lab = cube[bright], lab[bright]
    chosen = [0]
    distance = ((lab - lab[0]) ** 2).sum(1)
    for _ in range(_CATEGORIES):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((lab - lab[chosen[-1]]) ** 2).sum(1))
    colours: Table = cube[chosen].astype(np.uint8)
    return colours


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours in sRGB, from 0 to 1, as CIELAB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(_XYZ).T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * 841 / 108 + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
