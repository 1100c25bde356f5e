"""Plots: drawn in processes of their own, from the log of their stream.

=========  ===============================================================================
series     what a line plot shows; history, its samples, and axes that move in steps
drawing    what a drawing is; stage, a figure in layers; one module per kind of plot
film       a guest that draws every sample of a part into a video; sink asks it to
window     a guest that shows the newest samples; keeper starts and ends it
=========  ===============================================================================

Drawings know of no process, file or log: they take batches of samples, and fill memory or a window.
Libraries that draw are loaded in the guests only.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

from recd_client.errors import MissingLibraryError, OptionError
from recd_client.options import Plot
from recd_client.schema import Schema

#: Module and class that draw each kind; module and function that check that samples fit it; the extra that it needs.
_KINDS: Final = {
    "mpl_line": ("mpl_line:MPLLineDrawing", "series:subplots_of", "plots"),
    "pyqt_line": ("pyqt_line:PyQtLineDrawing", "series:subplots_of", "qt"),
    "mpl_image": ("mpl_image:MPLImageDrawing", "pictures:picture_of", "plots"),
    "mpl_vector_field": ("mpl_vectors:MPLVectorFieldDrawing", "vectors:check", "plots"),
}
KINDS: Final = tuple(_KINDS)
_LIBRARIES: Final = {"plots": ("matplotlib",), "qt": ("pyqtgraph", "PySide6")}


def check(options: Plot, schema: Schema) -> None:
    """These samples can be drawn so.

    Raises
    ------
    SchemaError, OptionError
        They cannot: says why.
    """
    _find(options, 1)(options, schema)


def check_libraries(options: Plot) -> None:
    """What draws this kind of plot is installed here.

    Raises
    ------
    MissingLibraryError
        It is not: says how to install it.
    """
    extra = _kind(options)[2]
    missing = [name for name in _LIBRARIES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingLibraryError(
            f"{type(options).__name__} needs {' and '.join(missing)}, which the environment that recd runs in has not",
            f'install it there: pip install "recd[{extra}]", then: recd restart',
        )


def drawing_of(options: Plot, schema: Schema, *target: Any) -> Any:
    """The :class:`~recd.plots.drawing.Drawing` of this kind, in memory or on ``target``, a window's figure."""
    return _find(options, 0)(options, schema, *target)


def _find(options: Plot, which: int) -> Any:
    module, _, name = _kind(options)[which].partition(":")
    return getattr(importlib.import_module(f".{module}", __name__), name)


def _kind(options: Plot) -> tuple[str, str, str]:
    if options.kind not in _KINDS:
        raise OptionError(f"plot kind {options.kind!r}: expected one of {', '.join(KINDS)}", "update recd")
    return _KINDS[options.kind]
