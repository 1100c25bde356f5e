"""A guest that shows the newest samples of a stream in a window, at the pace of a screen.

It reads the stream's log beside everybody else and consumes nothing: killed, stopped or closed, nothing but the
window is gone.
"""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recd_client.errors import MissingLibraryError
from recd_client.options import LinePlot, Plot, PyQtLinePlot, SinkOptions
from recd_client.schema import Schema

from . import drawing_of
from .drawing import DPI, Drawing
from .tail import Tail

#: Between two looks at the log; drawing comes on top, so that a slow one never takes all of a core.
PACE_MS: Final = 33
#: Toolkits for matplotlib's windows, and what each needs.
_TOOLKITS: Final = {
    "TkAgg": ("tkinter",),
    "QtAgg": ("PySide6", "PyQt6", "PySide2", "PyQt5"),
    "GTK4Agg": ("gi",),
    "GTK3Agg": ("gi",),
    "WXAgg": ("wx",),
}


class Window(ABC):
    """A window with a drawing in it."""

    drawing: Drawing

    @abstractmethod
    def show(self, tick: Callable[[], object]) -> None:
        """Be there until the user closes it, calling ``tick`` every :data:`PACE_MS`."""

    @abstractmethod
    def refresh(self) -> None:
        """Show what was drawn."""


class MPLWindow(Window):
    """A window of matplotlib, of whatever toolkit there is.

    Raises
    ------
    MissingLibraryError
        There is none, or none that works on this display.
    """

    def __init__(self, options: Plot, schema: Schema, title: str) -> None:
        figure = _figure(options, title)
        self.drawing = drawing_of(options, schema, figure)
        self._canvas = figure.canvas
        # What the toolkit draws by itself, when the window was resized, would lack all that moves.
        self._canvas.draw = self._draw_all

    def _draw_all(self) -> None:
        self.drawing.draw()
        self.refresh()

    def refresh(self) -> None:
        """See :class:`Window`."""
        self._canvas.blit(self._canvas.figure.bbox)

    def show(self, tick: Callable[[], object]) -> None:
        """See :class:`Window`."""
        from matplotlib import pyplot

        timer = self._canvas.new_timer(interval=PACE_MS)
        timer.add_callback(tick)
        timer.start()
        pyplot.show(block=True)


def _figure(options: Plot, title: str) -> Any:
    """A figure in a window of the first toolkit that works."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.rcParams["toolbar"] = "None"
    said = []
    wanted = os.environ.get("MPLBACKEND", "")
    for name, modules in {**({wanted: ()} if wanted in _TOOLKITS else {}), **_TOOLKITS}.items():
        if modules and not any(importlib.util.find_spec(m) for m in modules):
            continue
        try:
            pyplot.switch_backend(name)
            width, height = options.window_size
            return pyplot.figure(title, figsize=(width / DPI, height / DPI), dpi=DPI)
        except Exception as e:  # each toolkit has errors of its own for a display that does not answer
            said.append(f"{name}: {e}")
    raise MissingLibraryError(
        f"no toolkit shows a window here ({'; '.join(said) or 'none is installed'})",
        'install one where recd runs: pip install "recd[qt]", or your system\'s python3-tk',
    )


def _qt_window(options: LinePlot, schema: Schema, title: str) -> Window:
    from .pyqt_line import QtWindow

    return QtWindow(options, schema, title)


class WindowGuest:
    """Answers the requests of :class:`recd.plots.keeper.Keeper`."""

    def handle(self, op: str, header: dict[str, Any], raw: memoryview) -> dict[str, Any] | None:
        """``show``: the answer comes when the window is closed."""
        options = SinkOptions.from_json(header["options"])
        assert isinstance(options, Plot)
        schema = Schema.from_json(header["schema"])
        title = options.title or str(header["name"])
        window: Window
        if isinstance(options, PyQtLinePlot):
            window = _qt_window(options, schema, title)
        else:
            window = MPLWindow(options, schema, title)
        tail = Tail(Path(header["log"]), schema, window.drawing.wants)

        def tick() -> None:
            news = False
            for batch in tail.news():
                window.drawing.take(batch)
                news = True
            if news:
                window.drawing.draw()
                window.refresh()

        window.drawing.draw()
        window.refresh()
        window.show(tick)
        return None

    def leave(self) -> None:
        """The worker hung up."""
