"""What the page and its server say to each other over the WebSocket.

Text messages are JSON. Binary ones carry numbers or a picture behind a small JSON head::

    0     4 bytes   length of the head, little endian
    4     head      JSON in UTF-8, blanks up to a multiple of 8 bytes from the start
    then  kind "plot":     x, rows float64; then each line's values, rows float64
          kind "picture":  a JPEG

The page sends what it wants to see, all of it each time: ``{"op": "view", ...}`` (:func:`checked_view`), and after it
has drawn a round of messages ``{"op": "drawn", "round": n}``: nothing is sent to a page that has not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from recd_client.errors import ProtocolError

from .colours import MAPS
from .decimate import Floats

CLOCKS: Final = ("sim", "wall")
MAX_PLOTS: Final = 256
MAX_PIXELS: Final = 8192
MAX_SPAN_S: Final = 1e9
_ALIGN: Final = 8


def pack(head: dict[str, Any], *parts: bytes | memoryview) -> bytes:
    """A binary message."""
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    text += b" " * (-(4 + len(text)) % _ALIGN)
    return b"".join((len(text).to_bytes(4, "little"), text, *parts))


def plot_message(head: dict[str, Any], x: Floats, y: Floats) -> bytes:
    """Points of a plot: ``x`` is (n,), ``y`` is (n, lines)."""
    told = {**head, "rows": len(x), "lines": y.shape[1], "holes": bool(np.isnan(y).any())}
    return pack(told, np.ascontiguousarray(x).tobytes(), np.ascontiguousarray(y.T).tobytes())


@dataclass(frozen=True)
class PlotWanted:
    """One plot on the page.

    Parameters
    ----------
    id : str
        The page's name for it.
    stream : str
        ``SESSION/STREAM``.
    field : str
    lines : tuple of int
        Elements of the field that are shown.
    width : int
        Pixels.
    """

    id: str
    stream: str
    field: str
    lines: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class PictureWanted:
    """One camera on the page.

    Parameters
    ----------
    width : int
        Pixels that it is shown with.
    map : str
        Of :data:`recd.ui.colours.MAPS`, for pictures of one channel.
    scale : (float, float), optional
        Values with the map's first and last colour; else the picture's extremes.
    """

    id: str
    stream: str
    field: str
    width: int
    map: str
    scale: tuple[float, float] | None


@dataclass(frozen=True)
class View:
    """What a page shows.

    Parameters
    ----------
    clock : {"sim", "wall"}
    span : float, s
        Length of the time axis.
    range : (float, float), optional, s
        What the time axis shows; without it, the newest ``span``.
    """

    clock: str = "sim"
    span: float = 10.0
    range: tuple[float, float] | None = None
    plots: tuple[PlotWanted, ...] = ()
    pictures: tuple[PictureWanted, ...] = ()


def checked_view(asked: dict[str, Any]) -> View:
    """The view that a page asks for.

    Raises
    ------
    ProtocolError
        It is malformed.
    """
    try:
        clock, span, between = asked["clock"], float(asked["span"]), _pair(asked.get("range"))
        if clock not in CLOCKS or not 0 < span <= MAX_SPAN_S:
            raise ValueError(f"clock {clock!r}, span {span!r}")
        if len(asked["plots"]) + len(asked["pictures"]) > MAX_PLOTS:
            raise ValueError(f"more than {MAX_PLOTS} plots and pictures")
        plots = tuple(
            PlotWanted(**_place(p), lines=tuple(_whole(n, 0, 1 << 20) for n in p["lines"]))
            for p in asked["plots"]
        )
        pictures = tuple(
            PictureWanted(**_place(p), map=_choice(p["map"]), scale=_pair(p.get("scale")))
            for p in asked["pictures"]
        )
        return View(clock, span, between, plots, pictures)
    except (KeyError, TypeError, ValueError) as e:
        raise ProtocolError(f"malformed view: {e!r}", "reload the page") from None


def _place(asked: dict[str, Any]) -> dict[str, Any]:
    names = {key: asked[key] for key in ("id", "stream", "field")}
    if not all(isinstance(name, str) and len(name) < 500 for name in names.values()):
        raise ValueError(f"names {names!r}")
    return {**names, "width": _whole(asked["width"], 1, MAX_PIXELS)}


def _whole(n: object, low: int, high: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not low <= n <= high:
        raise ValueError(f"{n!r}: expected a whole number from {low} to {high}")
    return n


def _choice(name: object) -> str:
    if not isinstance(name, str) or name not in MAPS:
        raise ValueError(f"colour map {name!r}: expected one of {', '.join(MAPS)}")
    return name


def _pair(pair: Sequence[Any] | None) -> tuple[float, float] | None:
    """Two finite numbers, ascending."""
    if pair is None:
        return None
    low, high = map(float, pair)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{pair!r}: expected two numbers, ascending")
    return low, high
