"""What Genesis' options mean here. Pure: it looks at attributes, and imports nothing of Genesis."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from .. import plot_options
from ..errors import OptionError
from ..options import CSVFile, NPZFile, SinkOptions, VideoFile

_MEBIBIT: Final = 8 * 1024**2
#: Of Genesis' plots, what recd's draw only if it is left as it is.
_PLAIN: Final = {"twist_scale_factor": None, "twist_max_magnitude": 1.0}


def translate(options: Any, rate_hz: float) -> SinkOptions:
    """Recd's description of the file or plot that Genesis' options describe.

    Parameters
    ----------
    options : RecorderOptions of Genesis
    rate_hz : float
        Samples per second of simulated time that Genesis takes.

    Raises
    ------
    OptionError
        They are of no kind in :data:`NAMES`, or ask for what recd does not have.
    """
    make = _MAKERS.get(type(options).__name__)
    if make is None:
        raise OptionError(f"{type(options).__name__} of Genesis is not known here", "leave it to Genesis")
    common = {"buffer_size": options.buffer_size, "buffer_full_wait_time": options.buffer_full_wait_time}
    return make(options, rate_hz, common)


def _csv(options: Any, rate_hz: float, common: dict[str, Any]) -> SinkOptions:
    return CSVFile(
        options.filename, header=options.header, save_every_write=options.save_every_write,
        save_on_reset=_rotates(options), dialect="python", **common,
    )  # fmt: skip


def _npz(options: Any, rate_hz: float, common: dict[str, Any]) -> SinkOptions:
    return NPZFile(options.filename, save_on_reset=_rotates(options), **common)


def _video(options: Any, rate_hz: float, common: dict[str, Any]) -> SinkOptions:
    rounds = hasattr(options, "save_on_reset")  # 0.4.5 does
    fps = options.fps or (round(rate_hz) if rounds else Fraction(rate_hz).limit_denominator(1000))
    return VideoFile(
        options.filename, fps=fps, name=options.name or _stem(options.filename), codec=options.codec or None,
        bitrate=int(options.bitrate * _MEBIBIT), codec_options=options.codec_options,
        save_on_reset=_rotates(options), **common,
    )  # fmt: skip


def _plot(options: Any, rate_hz: float, common: dict[str, Any]) -> SinkOptions:
    name = type(options).__name__
    cls = getattr(plot_options, name)
    given = {k: getattr(options, k) for k in type(options).model_fields if k not in common and k != "hz"}
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    for key in sorted(given.keys() - known):
        if given.pop(key) != _PLAIN.get(key):
            raise OptionError(f"{name}: recd draws no {key}", "leave it out, or this plot to Genesis")
    return cls(**given, **common)  # type: ignore[no-any-return]


def _rotates(options: Any) -> bool:
    return bool(getattr(options, "save_on_reset", False))


def _stem(filename: str) -> str:
    return os.path.splitext(os.path.basename(filename))[0]


_MAKERS: Final[dict[str, Callable[[Any, float, dict[str, Any]], SinkOptions]]] = {
    "CSVFile": _csv,
    "NPZFile": _npz,
    "VideoFile": _video,
    "MPLLinePlot": _plot,
    "PyQtLinePlot": _plot,
    "MPLImagePlot": _plot,
    "MPLVectorFieldPlot": _plot,
}
#: Genesis' options that are rerouted.
NAMES: Final = tuple(_MAKERS)
PLOTS: Final = tuple(name for name, make in _MAKERS.items() if make is _plot)


def csv_header(sample: Any) -> list[str]:
    """The names that Genesis gives to a sample's columns behind ``timestamp``.

    Unlike recd, it numbers the values of a sample that is no dict from 1, and those of 0-d arrays too.
    """
    fields = getattr(sample, "_asdict", None)
    if fields is not None:
        sample = fields()
    if not isinstance(sample, Mapping):
        return [f"data_{i}" for i in range(1, 1 + _width(sample))]
    names: list[str] = []
    for key, value in sample.items():
        alone = not hasattr(value, "__len__")
        names += [str(key)] if alone else [f"{key}_{i}" for i in range(_width(value))]
    return names


def _width(value: Any) -> int:
    """Values in an array, a sequence (of arrays), or a number."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        width = 1
        for n in shape:
            width *= int(n)
        return width
    return sum(map(_width, value)) if isinstance(value, (list, tuple)) else 1
