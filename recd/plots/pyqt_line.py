"""Lines over time, drawn by PyQtGraph. A thread of its own for Qt: all of it in the one that made the drawing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from recd_client.options import LinePlot
from recd_client.schema import Schema

from ..batch import Batch
from .drawing import Drawing, colour_of, grid_of, shortened
from .history import History, TimeAxis, ValueAxis
from .series import Subplot, lines_in, subplots_of
from .window import PACE_MS, Window

_LEAST_HEIGHT: Final = 118
_AXIS_WIDTH: Final = 72
_LEGEND: Final = 34
_LETTER: Final = 7
_MOST_LETTERS: Final = 18
_INK: Final = "#222222"
_STYLES: Final = (
    QtCore.Qt.PenStyle.SolidLine,
    QtCore.Qt.PenStyle.DashLine,
    QtCore.Qt.PenStyle.DotLine,
    QtCore.Qt.PenStyle.DashDotLine,
)


class PyQtLineDrawing(Drawing):
    """A plot of the newest samples of a stream of numbers.

    Parameters
    ----------
    options : LinePlot
    schema : Schema
    """

    def __init__(self, options: LinePlot, schema: Schema) -> None:
        _application()
        self.wants = options.history_length
        self.subplots = subplots_of(options, schema)
        self.history = History([(f.name, lines_in(f)) for f in schema.fields], options.history_length)
        self._time = TimeAxis(options.history_length)
        self._values = [ValueAxis(s.log) for s in self.subplots]
        self._options = options
        self.widget = pg.GraphicsLayoutWidget(show=False)
        self.widget.setBackground("w")
        self.widget.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.widget.resize(*options.window_size)
        # What Qt paints into fastest; see :meth:`pixels`.
        self._image = QtGui.QImage(*options.window_size, QtGui.QImage.Format.Format_RGB32)
        self.plots: list[Any] = []
        self.curves: list[list[Any]] = []
        self._make()

    # --- what is there -----------------------------------------------------------------------------
    def _make(self) -> None:
        layout = self.widget.ci.layout
        layout.setContentsMargins(6, 6, 12, 6)
        if self._options.title:
            title = pg.LabelItem(_html(self._options.title), size="12pt", bold=True, color=_INK)
            self.widget.addItem(title, row=0, col=0, colspan=24)
        rows, _ = grid_of(len(self.subplots), self._options.window_size[1] - 60, _LEAST_HEIGHT)
        for i, subplot in enumerate(self.subplots):
            column, row = divmod(i, rows)
            last = row == rows - 1 or i == len(self.subplots) - 1
            self._add(subplot, row + 1, 2 * column, last=last)

    def _add(self, subplot: Subplot, row: int, column: int, *, last: bool) -> None:
        plot = self.widget.addPlot(row=row, col=column)
        if subplot.title:
            plot.setTitle(
                f"<b>{_html(shortened(subplot.title, 60))}</b>", size="9pt", color=_INK, justify="left"
            )
        for side in ("left", "bottom"):
            axis = plot.getAxis(side)
            axis.setPen("#888888")
            axis.setTextPen(_INK)
            font = QtGui.QFont(QtWidgets.QApplication.font())
            font.setPointSizeF(8.5)
            axis.setStyle(
                tickLength=4, tickFont=font, maxTickLevel=1 if subplot.log and side == "left" else 0
            )
        plot.getAxis("left").setWidth(_AXIS_WIDTH)
        plot.getAxis("left").enableAutoSIPrefix(False)
        plot.getAxis("bottom").enableAutoSIPrefix(False)
        plot.getAxis("bottom").setStyle(showValues=last)
        plot.setLabel("left", _html(subplot.y_label), **{"font-size": "9pt"})
        if last:
            plot.setLabel("bottom", _html(self._options.x_label or "t [s]"), **{"font-size": "9pt"})
        plot.setLogMode(y=subplot.log)
        plot.showGrid(x=True, y=True, alpha=0.18)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.disableAutoRange()
        plot.setMouseEnabled(False, False)
        self.plots.append(plot)
        self.curves.append([plot.plot(pen=_pen(i), connect="finite") for i in range(len(subplot.labels))])
        self._add_legend(subplot, row, column + 1)

    def _add_legend(self, subplot: Subplot, row: int, column: int) -> None:
        """Beside its plot, in a column of its own: never over data."""
        if len(subplot.labels) == 1 and not subplot.named:
            return
        room = (self._options.window_size[1] - 60) // max(len(self.subplots), 1) // 18
        shown = subplot.labels[: max(room - 1, 2)] if len(subplot.labels) > room else subplot.labels
        texts = [shortened(label, _MOST_LETTERS) for label in shown]
        legend = pg.LegendItem(
            offset=None, labelTextColor=_INK, labelTextSize="8.5pt", verSpacing=0, sampleType=_Sample
        )
        legend.layout.setContentsMargins(4, 0, 0, 0)
        curves = self.curves[-1]
        for curve, text in zip(curves, texts, strict=False):
            legend.addItem(curve, _html(text))
        if len(shown) < len(subplot.labels):
            legend.addItem(pg.PlotDataItem(), f"+ {len(subplot.labels) - len(shown)}")
        box = self.widget.addViewBox(row=row, col=column, enableMenu=False, enableMouse=False)
        box.setFixedWidth(_LEGEND + _LETTER * max(len(text) for text in texts))
        legend.setParentItem(box)
        legend.anchor((0, 0), (0, 0), offset=(0, 16 if subplot.title else 0))

    # --- what is drawn -----------------------------------------------------------------------------
    def take(self, batch: Batch) -> None:
        """See :class:`Drawing`."""
        self.history.take(batch)

    def draw(self) -> None:
        """See :class:`Drawing`."""
        t = self.history.t
        moving = self._time.follow(t)
        for subplot, plot, curves, axis in zip(
            self.subplots, self.plots, self.curves, self._values, strict=True
        ):
            y = self.history.y(subplot.field)
            if axis.follow(y, moving=moving) or moving:
                low, high = axis.limits
                limits = (np.log10(low), np.log10(high)) if subplot.log else (low, high)
                plot.setRange(xRange=self._time.limits, yRange=limits, padding=0)
            if subplot.log:
                y = np.where(y > 0, y, np.nan)
            for i, curve in enumerate(curves):
                curve.setData(t, y[:, i])

    def pixels(self) -> NDArray[np.uint8]:
        """See :class:`Drawing`."""
        _application().processEvents()
        painter = QtGui.QPainter(self._image)
        self.widget.render(painter)
        painter.end()
        shown = self._image.convertToFormat(QtGui.QImage.Format.Format_RGBA8888)
        # A copy: an array does not hold the image whose memory it would be a view of.
        return np.array(shown.constBits(), np.uint8).reshape(shown.height(), shown.width(), 4)


class QtWindow(Window):
    """A window with such a drawing."""

    def __init__(self, options: LinePlot, schema: Schema, title: str) -> None:
        self.drawing = self._line = PyQtLineDrawing(options, schema)
        self._line.widget.setWindowTitle(title)

    def refresh(self) -> None:
        """See :class:`Window`; Qt does it by itself."""

    def show(self, tick: Callable[[], object]) -> None:
        """See :class:`Window`."""
        timer = QtCore.QTimer()
        timer.timeout.connect(tick)
        timer.start(PACE_MS)
        self._line.widget.show()
        _application().exec()


class _Sample(pg.ItemSample):  # type: ignore[misc]
    """A line beside its label, in the middle of the row."""

    def boundingRect(self) -> Any:
        """As high as the text."""
        return QtCore.QRectF(0, 0, 20, 16)

    def paint(self, painter: Any, *_: Any) -> None:
        """The line."""
        painter.setRenderHint(painter.RenderHint.Antialiasing)
        painter.setPen(pg.mkPen(self.item.opts["pen"]))
        painter.drawLine(0, 8, 20, 8)


def _application() -> Any:
    """Qt's one application, with a font that has letters even where no system font is found."""
    found = QtWidgets.QApplication.instance()
    if found is not None:
        return found
    app = QtWidgets.QApplication([])
    pg.setConfigOptions(antialias=True)
    if not QtGui.QFontDatabase.families():
        _add_font()
    return app


def _add_font() -> None:
    try:
        import matplotlib
    except ImportError:
        return
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    number = QtGui.QFontDatabase.addApplicationFont(str(path))
    for family in QtGui.QFontDatabase.applicationFontFamilies(number):
        QtWidgets.QApplication.setFont(QtGui.QFont(family, 9))


def _pen(line: int) -> Any:
    return pg.mkPen(colour_of(line), width=1.5, style=_STYLES[line // 7 % len(_STYLES)])


def _html(text: str) -> str:
    """Text that Qt shows as it stands."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
