"""Kinds of files, looked up by name and imported when first asked for (h5py takes 35 ms, orjson 5).

Videos are no sink of this kind: their frames go to an encoder, not through the log (:mod:`recd.video`).
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from recd_client.errors import OptionError
from recd_client.options import Plot, SinkOptions
from recd_client.schema import Schema
from recd_client.sink import Sink as Sink  # the base class of users' own recorders

from .. import plots
from .base import AppendSink, BuildSink

_CLASSES: Final = {
    "csv": ("sinks.csv", "CSVSink"),
    "npz": ("sinks.npz", "NPZSink"),
    "hdf5": ("sinks.hdf5", "HDF5Sink"),
    "null": ("sinks.null", "NullSink"),
    **dict.fromkeys(plots.KINDS, ("plots.sink", "PlotSink")),
}
#: What :func:`sink_class` knows.
KINDS: Final = tuple(_CLASSES)


def sink_class(kind: str) -> type[AppendSink] | type[BuildSink]:
    """The class that writes files of this kind.

    Raises
    ------
    OptionError
        There is no such kind.
    """
    if kind not in _CLASSES:
        raise OptionError(f"sink kind {kind!r}: expected one of {', '.join(KINDS)}", "update recd")
    module, name = _CLASSES[kind]
    found: type[AppendSink] | type[BuildSink] = getattr(
        importlib.import_module(f"..{module}", __name__), name
    )
    return found


def make_sink(options: SinkOptions, schema: Schema, info: dict[str, Any]) -> AppendSink | BuildSink:
    """The sink for these options, whose format takes these samples.

    Raises
    ------
    OptionError, SchemaError
        The samples do not fit the format or the options.
    """
    if isinstance(options, Plot) and not options.suffixes:
        from ..plots.sink import WindowOnlySink

        return WindowOnlySink(options, schema, info)
    return sink_class(options.kind)(options, schema, info)
