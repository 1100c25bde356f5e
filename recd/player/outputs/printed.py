"""Samples printed as lines, for pipes: CSV of one stream, JSON of any number."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError
from recd_client.schema import FIXED, STRING, Field, Schema

from ...batch import Batch, Varying
from ...batch import Event as BatchEvent
from ...lines import FORMATS, Format
from ...reader import VideoStream
from ...taps.select import Selection
from ..event import Event
from ..playback import Playback
from .base import Output
from .sinks import AnyStream

#: Samples that are held back at most before they are printed in one go.
_MOST: Final = 1024
#: Of a picture is printed what it looks like, not its pixels.
_PICTURE: Final = Schema((Field("height", "<i8"), Field("width", "<i8")))


class PrintedOutput(Output):
    """Prints to stdout, in the formats of ``recd tail``.

    Parameters
    ----------
    form : {"csv", "json", "table"}
    streams : dict
        That are played.

    Raises
    ------
    OptionError
        CSV, or a table, of several streams, or of pictures.
    """

    def __init__(self, form: str, streams: Mapping[str, AnyStream]) -> None:
        pictures = [name for name, s in streams.items() if isinstance(s, VideoStream)]
        if form != "json" and (len(streams) > 1 or pictures):
            raise OptionError(
                f"format={form!r} prints one stream of numbers, and these are played: {', '.join(streams)}",
                "choose one with --streams, or print --format json",
            )
        self._form = form
        self._printers: dict[str, Format] = {}
        self._schemas: dict[str, Schema] = {}
        self._held: list[Event] = []

    def open(self, playback: Playback) -> None:
        """See :class:`Output`."""
        for name, stream in playback.timeline.streams.items():
            schema = _PICTURE if isinstance(stream, VideoStream) else stream.schema
            self._schemas[name] = schema
            self._printers[name] = FORMATS[self._form](Selection(schema))
            self._printers[name].begin = {"stream": name}

    def take(self, event: Event) -> bool:
        """See :class:`Output`."""
        if event.mark is not None:
            self._print()
            mark = event.mark
            told = {"label": mark.label, "fields": dict(mark.fields)}
            printer = next(iter(self._printers.values()))
            begin, printer.begin = printer.begin, {}
            printer.event(BatchEvent("mark", 0, -1, mark.t, mark.step, mark.mono_ns, told))
            printer.begin = begin
            return True
        if self._held and (self._held[0].name != event.name or len(self._held) >= _MOST):
            self._print()
        self._held.append(event)
        return True

    def settle(self) -> None:
        """See :class:`Output`."""
        self._print()
        sys.stdout.flush()

    def close(self, *, whole: bool) -> list[str]:
        """See :class:`Output`."""
        self.settle()
        return []

    def _print(self) -> None:
        if self._held:
            name = self._held[0].name
            self._printers[name].samples(_batch(self._schemas[name], self._held))
            self._held.clear()


def _batch(schema: Schema, events: Sequence[Event]) -> Batch:
    """Some samples of one stream as columns."""
    columns: dict[str, NDArray[Any] | Varying] = {}
    for f in schema.fields:
        if schema is _PICTURE:
            values: list[Any] = [e.value.shape[0 if f.name == "height" else 1] for e in events]
        else:
            values = [e.value if schema.bare else e.value[f.name] for e in events]
        if f.kind == FIXED:
            columns[f.name] = np.array(values, f.dtype).reshape(len(values), *f.shape)
            continue
        if f.kind == STRING:
            values = [np.frombuffer(text.encode(), np.uint8) for text in values]
        lengths = np.array([len(v) for v in values], np.int64)
        columns[f.name] = Varying(np.concatenate(values), lengths)
    seq, t, step, mono_ns = zip(*((e.seq, e.t, e.step, e.mono_ns) for e in events), strict=True)
    return Batch(schema, np.array(seq), np.array(t), np.array(step), np.array(mono_ns), columns)
