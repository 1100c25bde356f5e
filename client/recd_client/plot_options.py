"""What can be said about plots: windows that show what is recorded, and animations of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from . import checks
from .sink_options import SinkOptions
from .video_options import as_frame_rate, checked_fps

if TYPE_CHECKING:
    from fractions import Fraction

#: What a window needs of the environment that the simulation runs in.
DISPLAY_VARIABLES: Final = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR")
#: Those that name a display.
DISPLAYS: Final = DISPLAY_VARIABLES[:2]
LEAST_SIDE: Final = 160
MOST_SIDE: Final = 4096
MOST_HISTORY: Final = 1_000_000
MOST_POSITIONS: Final = 100_000
MOST_TITLES: Final = 64


@dataclass(frozen=True, kw_only=True)
class Plot(SinkOptions):
    """What all plots have in common.

    Parameters
    ----------
    title : str
    window_size : (int, int), pixels
        Width and height of the window, and of the saved animation.
    save_to_filename : str or path-like, optional
        A video of the plot, one frame per sample; ends with ``.mp4``, ``.mov`` or ``.mkv``.
    show_window : bool, optional
        Show a window with the newest data; default: if the simulation has a display.
    fps : int, float, Fraction or str, optional
        Frames per second of the video; default: the stream's ``hz``, else ``1/dt``, else 30.
    save_on_reset : bool
        Begin a new numbered video at each whole reset.
    display : dict, optional
        Environment of the window; default: this process's :data:`DISPLAY_VARIABLES`.

    Raises
    ------
    OptionError
        A value is not allowed, or a window was asked for where there is no display.
    """

    kind: ClassVar[str] = "plot"

    filename: None = field(default=None, init=False)
    title: str = ""
    window_size: tuple[int, int] = (800, 600)
    save_to_filename: str | os.PathLike[str] | None = None
    show_window: bool | None = None
    fps: float | Fraction | str | None = None
    save_on_reset: bool = False
    display: Mapping[str, str] | None = field(default=None, repr=False, hash=False)

    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the animation's name may end with; nothing where none is saved: there is no file at all."""
        return () if self.save_to_filename is None else (".mp4", ".mov", ".mkv")

    def __post_init__(self) -> None:
        checks.text("title", self.title)
        self._set("window_size", _checked_size(self.window_size))
        self._set("fps", checked_fps(self.fps))
        self._set("filename", self.save_to_filename)
        super().__post_init__()
        self._set("save_to_filename", self.filename)
        shown = self.show_window if self.show_window is None else checks.flag("show_window", self.show_window)
        self._set("display", {} if shown is False else _checked_display(self.display))
        there = any(self.display.get(name) for name in DISPLAYS) if self.display else False
        if shown and not there:
            raise checks.refuse(
                "show_window", True, f"a display: {' and '.join(DISPLAYS)} are not set here",
                "leave show_window out: a window is shown where there is a display; save_to_filename needs none",
            )  # fmt: skip
        self._set("show_window", there)

    def named(self, filename: str | os.PathLike[str]) -> SinkOptions:
        """See :class:`SinkOptions`."""
        return replace(self, save_to_filename=filename)

    @property
    def frame_rate(self) -> Fraction | None:
        """The ``fps`` as an exact ratio."""
        return None if self.fps is None else as_frame_rate(self.fps)


@dataclass(frozen=True, kw_only=True)
class LinePlot(Plot):
    """What the two line plots have in common: numbers over time.

    Samples are a number, an array of numbers, or a dict of them: then each key has a subplot.

    Parameters
    ----------
    labels : sequence of str, or dict of them, optional
        Names of the lines; for samples that are dicts, a dict from key to names.
    x_label, y_label : str
        Default: the stream time, and the stream's units.
    y_log_scale : bool, or sequence of str
        Whether the vertical axes are logarithmic, or the keys of the subplots whose axis is.
    history_length : int
        Samples that are shown.
    """

    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = field(default=None, hash=False)
    x_label: str = ""
    y_label: str = ""
    y_log_scale: bool | Sequence[str] = False
    history_length: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.labels, Mapping):
            labels = {
                checks.text("labels key", k): _checked_names(f"labels[{k!r}]", v)
                for k, v in self.labels.items()
            }
            self._set("labels", labels)
        elif self.labels is not None:
            self._set("labels", _checked_names("labels", self.labels))
        checks.text("x_label", self.x_label)
        checks.text("y_label", self.y_label)
        if not isinstance(self.y_log_scale, bool):
            self._set("y_log_scale", _checked_names("y_log_scale", self.y_log_scale))
        length = checks.whole("history_length", self.history_length, 1, MOST_HISTORY, unit="samples")
        self._set("history_length", length)


@dataclass(frozen=True, kw_only=True)
class MPLLinePlot(LinePlot):
    """Lines over time, drawn by matplotlib; see :class:`LinePlot` and :class:`Plot`."""

    kind: ClassVar[str] = "mpl_line"


@dataclass(frozen=True, kw_only=True)
class PyQtLinePlot(LinePlot):
    """Lines over time, drawn by PyQtGraph; see :class:`LinePlot` and :class:`Plot`."""

    kind: ClassVar[str] = "pyqt_line"


@dataclass(frozen=True, kw_only=True)
class MPLImagePlot(Plot):
    """Images ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``; see :class:`Plot`.

    Parameters
    ----------
    value_range : (float, float), optional
        The values at the ends of the colour scale; default: what the data needs (0 and 255 for uint8).
    """

    kind: ClassVar[str] = "mpl_image"

    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value_range is not None:
            low, high = _checked_numbers("value_range", self.value_range, 2)
            if not low < high:
                raise checks.refuse("value_range", self.value_range, "(low, high) with low < high")
            self._set("value_range", (low, high))


@dataclass(frozen=True, kw_only=True)
class MPLVectorFieldPlot(Plot):
    """Vectors at fixed positions, seen along a direction, coloured by magnitude; see :class:`Plot`.

    Samples are ``(N, 3)`` (or ``(N, 2)``), one vector per position.

    Parameters
    ----------
    positions : array-like, (N, 3) or (N, 2)
    normal : (float, float, float)
        The direction that is looked along: positions and vectors are projected onto the plane across it.
    scale_factor : float
        Length of an arrow, in units of the positions, per unit of the vectors.
    max_magnitude : float
        End of the colour scale, which begins at 0.
    subplot_titles : sequence of str, optional
        One subplot per title; samples are then ``(K, N, 3)``.
    """

    kind: ClassVar[str] = "mpl_vector_field"

    positions: Any = None
    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    scale_factor: float = 1.0
    max_magnitude: float = 1.0
    subplot_titles: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("positions", _checked_positions(self.positions))
        normal = _checked_numbers("normal", self.normal, 3)
        if not any(normal):
            raise checks.refuse("normal", self.normal, "a direction, not (0, 0, 0)")
        self._set("normal", normal)
        unit = "length in the plot per unit of the vectors"
        self._set("scale_factor", checks.positive("scale_factor", self.scale_factor, unit=unit))
        self._set(
            "max_magnitude", checks.positive("max_magnitude", self.max_magnitude, unit="of the vectors")
        )
        if self.subplot_titles is not None:
            titles = _checked_names("subplot_titles", self.subplot_titles)
            if len(titles) > MOST_TITLES:
                raise checks.refuse("subplot_titles", f"{len(titles)} titles", f"at most {MOST_TITLES}")
            self._set("subplot_titles", titles)


def _checked_size(size: Any) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise checks.refuse("window_size", size, "(width, height) in pixels")
    width, height = (checks.whole("window_size", n, LEAST_SIDE, MOST_SIDE, unit="pixels") for n in size)
    return width, height


def _checked_names(where: str, names: Any) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Sequence) or not names:
        raise checks.refuse(where, names, "names: a list of strings")
    return tuple(checks.text(where, name) for name in names)


def _checked_numbers(where: str, values: Any, count: int) -> tuple[float, ...]:
    expected = f"{count} finite numbers"
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise checks.refuse(where, values, expected) from None
    if len(numbers) != count or not all(-1e300 < n < 1e300 for n in numbers):
        raise checks.refuse(where, values, expected)
    return numbers


def _checked_positions(positions: Any) -> tuple[tuple[float, ...], ...]:
    """Positions with three coordinates each."""
    import numpy as np

    try:
        array = np.asarray(positions, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] not in (2, 3) or not 1 <= len(array) <= MOST_POSITIONS:
        got = f"shape {array.shape}" if array.ndim else repr(positions)
        raise checks.refuse(
            "positions", got, f"finite numbers of shape (N, 3) or (N, 2), N from 1 to {MOST_POSITIONS}",
            "give one position per vector",
        )  # fmt: skip
    if not (np.abs(array) < 1e300).all():
        raise checks.refuse("positions", "an array with NaN or infinity", "finite numbers")
    if array.shape[1] == 2:
        array = np.column_stack([array, np.zeros(len(array))])
    return tuple(tuple(row) for row in array.tolist())


def _checked_display(display: Any) -> dict[str, str]:
    if display is None:
        return {name: os.environ[name] for name in DISPLAY_VARIABLES if os.environ.get(name)}
    if not isinstance(display, Mapping) or not set(display) <= set(DISPLAY_VARIABLES):
        raise checks.refuse("display", display, f"a dict with some of {', '.join(DISPLAY_VARIABLES)}")
    return {name: checks.text(f"display[{name!r}]", value, most=4096) for name, value in display.items()}
