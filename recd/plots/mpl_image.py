"""Images: title and colour bar are drawn by matplotlib, once; the image itself is put straight into the canvas."""

from __future__ import annotations

from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recd_client.options import MPLImagePlot
from recd_client.schema import Schema

from ..batch import Batch
from .drawing import DPI, Drawing
from .pictures import Extent, picture_of, shown_limits
from .stage import Stage, plain_text, styled

_HEAD: Final = 34
_EDGE: Final = 10
_BAR: Final = 16
_BAR_LABELS: Final = 66
_LEAST: Final = 20
_COLOURS: Final = "viridis"
#: What is no number.
_NOTHING: Final = (217, 217, 217)


class MPLImageDrawing(Drawing):
    """A plot of the newest image of a stream.

    Parameters
    ----------
    options : MPLImagePlot
    schema : Schema
    figure : Figure, optional
        A window's; default: one in memory.
    """

    def __init__(self, options: MPLImagePlot, schema: Schema, figure: Figure | None = None) -> None:
        self.picture = picture_of(options, schema)
        self._extent = Extent()
        self._extent.limits = self.picture.limits
        self._image: NDArray[Any] | None = None
        colours = matplotlib.colormaps[_COLOURS](np.linspace(0, 1, 256), bytes=True)[:, :3]
        self._table = np.concatenate([colours, [_NOTHING]]).astype(np.uint8)
        self._bar = None
        with styled():
            self.stage = Stage(*options.window_size, figure)
            self._title = self.stage.figure.suptitle(plain_text(options.title), va="top")
            if self.picture.scaled:
                self._mappable = ScalarMappable(Normalize(0, 1), _COLOURS)
                self._bar = self.stage.figure.add_axes((0.9, 0.1, 0.02, 0.8))
                self._colorbar = self.stage.figure.colorbar(self._mappable, cax=self._bar)
                self._colorbar.set_label(plain_text(f"[{self.picture.unit}]" if self.picture.unit else ""))
                self._colorbar.outline.set_linewidth(0.6)
                self.stage.animate(self.stage.scenery, [self._bar])
        self._place_image((0, 0, 1, 1))

    def expect(self, low: float, high: float) -> None:
        """All values to come are within these: the colour scale need never change."""
        self._extent.limits = low, high
        self._show_limits()

    def take(self, batch: Batch) -> None:
        """See :class:`Drawing`; only the last one is shown."""
        if len(batch):
            shape = (self.picture.height, self.picture.width, self.picture.channels)
            self._image = np.array(batch.fixed(self.picture.field)[-1]).reshape(shape)

    def draw(self) -> None:
        """See :class:`Drawing`."""
        if self.stage.resized:
            self._arrange()
            self._show_limits()
        if self._image is not None and self.picture.limits is None and self._extent.take(self._image):
            self._show_limits()
        self.stage.draw()
        if self._image is not None:
            left, top, width, height = self._box
            self.pixels()[top : top + height, left : left + width, :3] = self._coloured(self._image)

    def pixels(self) -> NDArray[np.uint8]:
        """See :class:`Drawing`."""
        return self.stage.pixels()

    def _show_limits(self) -> None:
        if self.picture.scaled:
            self._mappable.set_clim(*shown_limits(self._extent.limits))
            self.stage.change()

    # --- where -------------------------------------------------------------------------------------
    def _arrange(self) -> None:
        """The image as large as it fits, its pixels square, between title and colour bar."""
        width, height = self.stage.size
        self._title.set_y(1 - 8 / height)
        head = _HEAD if self._title.get_text() else _EDGE
        aside = _EDGE if self._bar is None else _EDGE + _BAR + _BAR_LABELS + 12
        room = max(width - _EDGE - aside, _LEAST), max(height - head - _EDGE, _LEAST)
        scale = min(room[0] / self.picture.width, room[1] / self.picture.height)
        across, down = self.picture.width * scale, self.picture.height * scale
        left, top = _EDGE + (room[0] - across) / 2, head + (room[1] - down) / 2
        if self._bar is not None:
            right = left + across + 12
            self.stage.place(self._bar, right, top, right + _BAR, top + down)
        finer = self.stage.figure.dpi / DPI  # than such pixels, on screens with small ones
        self._place_image(tuple(round(x * finer) for x in (left, top, across, down)))

    def _place_image(self, box: tuple[int, ...]) -> None:
        """Which pixels of the image are shown in each column and row of the canvas."""
        left, top, width, height = box
        self._box = left, top, max(width, 1), max(height, 1)
        self._columns = _cuts(self.picture.width, self._box[2])
        self._rows = _cuts(self.picture.height, self._box[3])

    # --- which colours -----------------------------------------------------------------------------
    def _coloured(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """The image in the size of its place, ``(height, width, 3)``."""
        _, _, width, height = self._box
        if self.picture.width > width or self.picture.height > height:
            image = _mean(image, self._rows, self._columns)
            image = image[_nearest(image.shape[0], height)][:, _nearest(image.shape[1], width)]
            return self._bytes(image)
        return self._bytes(image)[_nearest(self.picture.height, height)][
            :, _nearest(self.picture.width, width)
        ]

    def _bytes(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Values as RGB."""
        low, high = shown_limits(self._extent.limits)
        steps = 255
        if image.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            level, nothing = image, None
        else:
            wide = image.astype(
                np.float64 if image.dtype.itemsize > 4 or image.dtype.kind in "iu" else np.float32
            )
            with np.errstate(invalid="ignore", over="ignore"):
                level = np.clip((wide - low) * (steps / (high - low)), 0, steps)
            nothing = np.isnan(level)
            level[nothing] = 0
            level = np.rint(level).astype(np.uint8)
        if self.picture.scaled:
            index = level[..., 0].astype(np.intp)
            if nothing is not None:
                index[nothing[..., 0]] = len(self._table) - 1
            return self._table[index]
        if self.picture.channels == 4:  # over white
            alpha = level[..., 3:].astype(np.uint16)
            return ((level[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return np.broadcast_to(level, (*level.shape[:2], 3))


def _cuts(count: int, room: int) -> NDArray[np.intp]:
    """Where the stretches begin whose means are shown, if there is less room than pixels."""
    return np.arange(min(count, room), dtype=np.intp) * count // min(count, room)


def _nearest(count: int, room: int) -> NDArray[np.intp]:
    """Which of ``count`` pixels is shown in each place."""
    return np.minimum((np.arange(room) + 0.5) * count / room, count - 1).astype(np.intp)


def _mean(image: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
    """Means over blocks, so that nothing of a larger image is passed over."""
    height, width = image.shape[:2]
    kind = np.float64 if image.dtype.itemsize > 4 else np.float32
    total = np.add.reduceat(image, rows, axis=0, dtype=kind)
    total = np.add.reduceat(total, columns, axis=1)
    sizes = np.diff(np.append(rows, height))[:, None] * np.diff(np.append(columns, width))[None, :]
    return np.asarray(total / sizes[..., None], kind)
