"""Vector fields, drawn by matplotlib: axes, positions and colour bar once, the arrows at each frame."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from recd_client.options import MPLVectorFieldPlot
from recd_client.schema import Schema

from ..batch import Batch
from .drawing import Drawing, shortened
from .series import with_unit
from .stage import Stage, plain_text, styled
from .vectors import basis_of, check, projected

_HEAD: Final = 34
_EDGE: Final = 12
_TITLE: Final = 22
_LEFT: Final = 54
_BOTTOM: Final = 26
_BAR: Final = 16
_BAR_LABELS: Final = 62
_COLOURS: Final = "viridis"
_MARGIN: Final = 0.08


class MPLVectorFieldDrawing(Drawing):
    """A plot of the newest vectors of a stream.

    Parameters
    ----------
    options : MPLVectorFieldPlot
    schema : Schema
    figure : Figure, optional
        A window's; default: one in memory.
    """

    def __init__(self, options: MPLVectorFieldPlot, schema: Schema, figure: Figure | None = None) -> None:
        self._fields = check(options, schema)
        self._field = schema.fields[0].name
        self._options = options
        self._basis = basis_of(options.normal)
        self.positions = projected(np.array(options.positions), self._basis)
        self._vectors: NDArray[Any] | None = None
        titles = options.subplot_titles or ("",)
        with styled():
            self.stage = Stage(*options.window_size, figure)
            self._title = self.stage.figure.suptitle(plain_text(options.title), va="top")
            self.axes = [self._make_axes(title) for title in titles]
            self.arrows = [self._make_arrows(axes) for axes in self.axes]
            self._bar = self.stage.figure.add_axes((0.9, 0.1, 0.02, 0.8))
            scale = ScalarMappable(Normalize(0, options.max_magnitude), _COLOURS)
            bar = self.stage.figure.colorbar(scale, cax=self._bar, extend="max")
            bar.set_label(plain_text(with_unit("magnitude", schema.fields[0].unit)))
            bar.outline.set_linewidth(0.6)
        self.stage.animate(self.stage.moving, self.arrows)

    def _make_axes(self, title: str) -> Axes:
        axes = self.stage.figure.add_subplot()
        axes.set_axisbelow(True)
        axes.set_title(plain_text(shortened(title, 40)), pad=4)
        axes.grid(True)
        axes.scatter(self.positions[:, 0], self.positions[:, 1], s=5, color="#999999", linewidths=0, zorder=2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return axes

    def _make_arrows(self, axes: Axes) -> Quiver:
        nothing = np.zeros(len(self.positions))
        return axes.quiver(
            *self.positions.T, nothing, nothing, nothing, cmap=_COLOURS, clim=(0, self._options.max_magnitude),
            angles="xy", scale_units="xy", scale=1, width=2.2, units="dots", headwidth=4, headlength=5,
            headaxislength=4.5, minlength=0.5, minshaft=1, zorder=5,
        )  # fmt: skip

    def take(self, batch: Batch) -> None:
        """See :class:`Drawing`; only the last ones are shown."""
        if len(batch):
            vectors = np.array(batch.fixed(self._field)[-1], np.float64)
            self._vectors = vectors.reshape(self._fields, *vectors.shape[-2:])

    def draw(self) -> None:
        """See :class:`Drawing`."""
        if self.stage.resized:
            with styled():
                self._arrange()
        if self._vectors is not None:
            for arrows, vectors in zip(self.arrows, self._vectors, strict=True):
                uv = projected(vectors, self._basis) * self._options.scale_factor
                good = np.isfinite(vectors).all(axis=-1)
                u, v = np.where(good[:, None], uv, 0.0).T
                magnitude = np.linalg.norm(np.where(good[:, None], vectors, 0.0), axis=-1)
                arrows.set_UVC(u, v, magnitude)
        self.stage.draw()

    def pixels(self) -> NDArray[np.uint8]:
        """See :class:`Drawing`."""
        return self.stage.pixels()

    def _arrange(self) -> None:
        """Subplots in a grid that suits their shape, the colour bar at the right of all."""
        width, height = self.stage.size
        self._title.set_y(1 - 8 / height)
        head = _HEAD if self._title.get_text() else _EDGE
        right = width - _EDGE - _BAR - _BAR_LABELS
        low, high = self._limits()
        shape = (high[0] - low[0]) / (high[1] - low[1])
        rows, columns = _grid(self._fields, (right - _EDGE) / (height - head - _BOTTOM) / shape)
        across, down = (right - _EDGE) / columns, (height - head) / rows
        above = _TITLE if self._options.subplot_titles else 4
        for i, axes in enumerate(self.axes):
            row, column = divmod(i, columns)
            left, top = column * across + _LEFT, head + row * down + above
            self.stage.place(axes, left, top, (column + 1) * across, head + (row + 1) * down - _BOTTOM)
            axes.set_xlim(low[0], high[0])
            axes.set_ylim(low[1], high[1])
            axes.set_aspect("equal", adjustable="box")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(across // 80)), steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=max(2, int(down // 50)), steps=[1, 2, 5, 10]))
        self.stage.place(self._bar, right + 8, head + above, right + 8 + _BAR, height - _BOTTOM)

    def _limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is shown: all positions, and room for arrows of the greatest magnitude within reason."""
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        extent = float((high - low).max())
        reach = self._options.scale_factor * self._options.max_magnitude
        room = max(_MARGIN * extent, min(reach, 0.3 * extent) if extent else reach)
        return low - room, high + room


def _grid(count: int, shape: float) -> tuple[int, int]:
    """Rows and columns in which subplots become largest; ``shape`` is how much wider the room is than they are."""
    best = max(range(1, count + 1), key=lambda columns: min(shape / columns, 1 / -(-count // columns)))
    return -(-count // best), best
