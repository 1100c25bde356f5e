"""A figure of matplotlib of which most stands still: that is drawn once, and what moves is drawn over a copy of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from numpy.typing import NDArray

from .drawing import DPI

#: Quiet axes: data first. A user's own matplotlibrc has no say, so that a plot looks the same everywhere.
STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, and has Greek and mathematical signs
    "font.size": 9,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.labelcolor": "#222222",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#222222",
    "axes.titlelocation": "left",
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "axes.formatter.offset_threshold": 4,
    "axes.unicode_minus": True,
    "text.color": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.fontsize": 8.5,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "path.simplify": True,
    "agg.path.chunksize": 20000,
}
_MATHTEXT: Final = MathTextParser("agg")


class Stage:
    """A figure in three layers: what stands still, what changes with the limits of axes, and what moves.

    Each is drawn over a copy of the one below, which is drawn again only when it has changed.

    Parameters
    ----------
    width, height : int, pixels
    figure : Figure, optional
        A window's; default: one in memory.

    Attributes
    ----------
    scenery : list of Artist
        Drawn when :meth:`change` was called, in this order.
    moving : list of Artist
        Drawn at each frame, in this order, over all else.
    """

    def __init__(self, width: int, height: int, figure: Figure | None = None) -> None:
        if figure is None:
            figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
            FigureCanvasAgg(figure)
        figure.set_facecolor("white")
        self.figure = figure
        self.scenery: list[Artist] = []
        self.moving: list[Artist] = []
        self._still: Any = None
        self._scene: Any = None
        self._drawn_size = (0, 0)

    @property
    def canvas(self) -> Any:
        """What is drawn on: a ``FigureCanvasAgg``, most of which is not typed."""
        return self.figure.canvas

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels of 1/100 inch, whatever the screen's are."""
        width, height = self.figure.get_size_inches()
        return float(width) * DPI, float(height) * DPI

    def place(self, axes: Axes, left: float, top: float, right: float, bottom: float) -> None:
        """Put axes between these distances from the left and the top of the figure, in such pixels."""
        width, height = self.size
        across, down = max(right - left, 20.0), max(bottom - top, 20.0)
        axes.set_position((left / width, 1 - (top + down) / height, across / width, down / height))

    def animate(self, layer: list[Artist], artists: Iterable[Artist]) -> None:
        """Add these to a layer, in the order in which they are drawn."""
        for artist in artists:
            artist.set_animated(True)
            layer.append(artist)

    def change(self) -> None:
        """The scenery has changed."""
        self._scene = None

    @property
    def resized(self) -> bool:
        """Whether the figure has another size than when it was drawn last: all must be placed anew."""
        return self._drawn_size != self._size_in_pixels()

    def draw(self) -> None:
        """Draw a frame, from the lowest layer that has changed on."""
        canvas, figure = self.canvas, self.figure
        if self.resized:
            self._drawn_size = self._size_in_pixels()
            with styled():
                draw: Any = FigureCanvasAgg.draw
                draw(canvas)  # a window's own would show it before the rest is there
            self._still, self._scene = canvas.copy_from_bbox(figure.bbox), None
        if self._scene is None:
            canvas.restore_region(self._still)
            with styled():
                for artist in self.scenery:
                    figure.draw_artist(artist)
            self._scene = canvas.copy_from_bbox(figure.bbox)
        else:
            canvas.restore_region(self._scene)
        for artist in self.moving:
            figure.draw_artist(artist)

    def pixels(self) -> NDArray[np.uint8]:
        """The frame as RGBA; the canvas's own memory."""
        return np.asarray(self.canvas.buffer_rgba())

    def _size_in_pixels(self) -> tuple[int, int]:
        width, height = self.canvas.get_width_height(physical=True)
        return int(width), int(height)


def styled() -> Any:
    """Figures that are made in this context look as ours do."""
    return rc_context(cast(Any, STYLE))


def plain_text(text: str) -> str:
    r"""A text as matplotlib takes it: with formulas between ``$`` if it can read them, else as it stands."""
    if text.count("$") - text.count(r"\$") > 1:
        try:
            _MATHTEXT.parse(text)
        except Exception:  # whatever its parser says of somebody's label: it is shown as it was typed
            return text.replace("$", r"\$")
        return text
    return text.replace("$", r"\$")
