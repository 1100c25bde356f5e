"""Lines over time, drawn by matplotlib: the axes once, the lines at each frame."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from numpy.typing import NDArray

from recd_client.options import LinePlot
from recd_client.schema import Schema

from ..batch import Batch
from .drawing import Drawing, colour_of, dash_of, grid_of, shortened
from .history import History, TimeAxis, ValueAxis
from .series import Subplot, lines_in, subplots_of
from .stage import Stage, plain_text, styled

#: Distances in pixels: tick labels with an axis label, a title, the time axis.
_LEFT: Final = 78
_TITLE: Final = 24
_OFFSET: Final = 16
_BOTTOM: Final = 46
_EDGE: Final = 16
_HEAD: Final = 38
_BETWEEN: Final = 12
_LEAST_HEIGHT: Final = 118
_LEAST_WIDTH: Final = 100
#: A legend beside its axes: what an entry takes, and the share of the width that all may take.
_ENTRY: Final = 17
_HANDLE: Final = 40
_LETTER: Final = 6.3
_MOST_SHARE: Final = 0.3
_TIME: Final = "t [s]"


class MPLLineDrawing(Drawing):
    """A plot of the newest samples of a stream of numbers.

    Parameters
    ----------
    options : LinePlot
    schema : Schema
    figure : Figure, optional
        A window's; default: one in memory.
    """

    def __init__(self, options: LinePlot, schema: Schema, figure: Figure | None = None) -> None:
        self.wants = options.history_length
        self.subplots = subplots_of(options, schema)
        self.history = History([(f.name, lines_in(f)) for f in schema.fields], options.history_length)
        self._time = TimeAxis(options.history_length)
        self._values = [ValueAxis(s.log) for s in self.subplots]
        self._x_label = plain_text(options.x_label or _TIME)
        with styled():
            self.stage = Stage(*options.window_size, figure)
            self.title = self.stage.figure.suptitle(plain_text(options.title), va="top")
            self.axes = [self._make_axes(s) for s in self.subplots]
            self.lines = [self._make_lines(a, s) for a, s in zip(self.axes, self.subplots, strict=True)]
        for axes, lines in zip(self.axes, self.lines, strict=True):
            self.stage.animate(self.stage.scenery, [axes.xaxis, axes.yaxis, *axes.spines.values()])
            self.stage.animate(self.stage.moving, lines)

    def _make_axes(self, subplot: Subplot) -> Axes:
        axes = self.stage.figure.add_subplot()
        axes.set_axisbelow(True)
        axes.set_title(plain_text(shortened(subplot.title, 60)), pad=4)
        axes.set_ylabel(plain_text(subplot.y_label))
        if subplot.log:
            axes.set_yscale("log", nonpositive="mask")
        axes.grid(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return axes

    def _make_lines(self, axes: Axes, subplot: Subplot) -> list[Line2D]:
        return [
            axes.plot([], [], color=colour_of(i), linestyle=dash_of(i), label=plain_text(label), zorder=5,
                      solid_joinstyle="round")[0]
            for i, label in enumerate(subplot.labels)
        ]  # fmt: skip

    # --- what is drawn -----------------------------------------------------------------------------
    def take(self, batch: Batch) -> None:
        """See :class:`Drawing`."""
        self.history.take(batch)

    def draw(self) -> None:
        """See :class:`Drawing`."""
        self._follow()
        t = self.history.t
        for lines, subplot in zip(self.lines, self.subplots, strict=True):
            y = _drawable(self.history.y(subplot.field), log=subplot.log)
            for i, line in enumerate(lines):
                line.set_data(t, y[:, i])
                _mark_alone(line, y[:, i])
        self.stage.draw()

    def pixels(self) -> NDArray[np.uint8]:
        """See :class:`Drawing`."""
        return self.stage.pixels()

    def _follow(self) -> None:
        """Let the axes hold the data; where they change, they are drawn again."""
        if resized := self.stage.resized:
            with styled():
                self._arrange()
        changed = moving = self._time.follow(self.history.t) or resized
        for axis, subplot in zip(self._values, self.subplots, strict=True):
            changed |= axis.follow(self.history.y(subplot.field), moving=moving)
        if not changed:
            return
        for axes, axis, subplot in zip(self.axes, self._values, self.subplots, strict=True):
            axes.set_xlim(*self._time.limits)
            axes.set_ylim(*axis.limits)
            if subplot.log:
                _put_log_ticks(axes)
        self.stage.change()

    # --- where it is drawn -------------------------------------------------------------------------
    def _arrange(self) -> None:
        """Give each subplot its place, with its legend beside it: never over data."""
        width, height = self.stage.size
        head = _HEAD if self.title.get_text() else 6
        self.title.set_y(1 - 8 / height)
        count = len(self.subplots)
        rows, columns = grid_of(count, int(height - head - _BOTTOM), _LEAST_HEIGHT)
        across = (width - _EDGE) / columns
        down = (height - head - _BOTTOM + _BETWEEN) / rows
        above = _TITLE if any(s.title for s in self.subplots) else _OFFSET
        inner = down - above - _BETWEEN
        aside = [self._make_legend(i, across, inner) for i in range(count)]
        for i, axes in enumerate(self.axes):
            column, row = divmod(i, rows)
            left, top = column * across + _LEFT, head + row * down + above
            right = (column + 1) * across - max(aside[column * rows : (column + 1) * rows])
            self.stage.place(axes, left, top, right, top + inner)
            last = row == rows - 1 or i == count - 1
            axes.tick_params(labelbottom=last)
            axes.set_xlabel(self._x_label if last else "")
            axes.xaxis.set_label_coords(0.5, -32 / inner)
            axes.yaxis.set_label_coords(-61 / (right - left), 0.5)
            _put_ticks(axes, self.subplots[i], right - left, inner)

    def _make_legend(self, index: int, across: float, down: float) -> float:
        """The legend beside the axes; returns the width that it takes."""
        subplot, lines = self.subplots[index], self.lines[index]
        if len(lines) == 1 and not subplot.named:
            return 4.0  # one line needs no name
        rows = max(int((down + 6) // _ENTRY), 1)
        columns = -(-len(lines) // rows)
        letters = max(len(label) for label in subplot.labels)
        fits = (_MOST_SHARE * across / columns - _HANDLE) / _LETTER
        if columns > 1 and fits < min(letters, 5):  # not all have room: the first ones, and how many more
            columns = max(1, int(_MOST_SHARE * across // (_HANDLE + 5 * _LETTER)))
            fits = (_MOST_SHARE * across / columns - _HANDLE) / _LETTER
        shown = lines[: rows * columns - 1] if len(lines) > rows * columns else lines
        most = max(int(fits), 3)
        aside = columns * (_HANDLE + min(letters, most) * _LETTER) + 4
        if across - _LEFT - aside < _LEAST_WIDTH:  # too many subplots for the window: data first
            return 4.0
        handles = [*shown]
        texts = [plain_text(shortened(label, most)) for label in subplot.labels[: len(shown)]]
        if len(shown) < len(lines):
            handles.append(Line2D([], [], color="none"))
            texts.append(f"+ {len(lines) - len(shown)}")
        self.axes[index].legend(
            handles, texts, ncols=columns, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.6,
            frameon=False, handlelength=1.6, handletextpad=0.6, columnspacing=0.8, labelspacing=0.35, borderpad=0,
        )  # fmt: skip
        return aside


def _put_ticks(axes: Axes, subplot: Subplot, across: float, down: float) -> None:
    """As many ticks as there is room for."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(across // 80)), steps=[1, 2, 5, 10]))
    if not subplot.log:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=max(2, int(down // 40)), steps=[1, 2, 2.5, 5, 10]))


def _put_log_ticks(axes: Axes) -> None:
    """Powers of ten; within a decade or two these alone say too little."""
    low, high = axes.get_ylim()
    decades = math.log10(high) - math.log10(low)
    few = decades < 2.3
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if decades < 0.8 else (1.0, 2.0, 5.0) if few else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(_number) if few else LogFormatterMathtext())
    axes.yaxis.set_minor_locator(NullLocator() if few else LogLocator(subs="auto", numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _number(value: float, _position: int | None = None) -> str:
    """A number as short as it can be said."""
    if 1e-4 <= value < 1e5:
        return f"{value:g}"
    head, _, power = f"{value:.1e}".replace(".0e", "e").partition("e")
    return rf"${head}\times10^{{{int(power)}}}$"


def _drawable(y: NDArray[np.float64], *, log: bool) -> NDArray[np.float64]:
    """Gaps where there is nothing to draw."""
    return np.where(y > 0, y, np.nan) if log else y


def _mark_alone(line: Line2D, y: NDArray[np.float64]) -> None:
    """A number between two gaps is no line: it is shown as a dot."""
    there = np.isfinite(y)
    if there.all() and len(y) > 1:
        line.set_marker("")
        return
    padded = np.concatenate([[False], there, [False]])
    alone = np.flatnonzero(there & ~padded[:-2] & ~padded[2:])
    line.set_marker("." if len(alone) else "")
    line.set_markersize(4)
    line.set_markevery(alone.tolist() if len(alone) else None)
