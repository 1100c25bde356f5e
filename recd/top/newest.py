"""The newest samples of one stream, element by element, with what came before them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import FIXED

from ..batch import Batch
from ..taps.stream import Live, StreamTap

#: Samples that a sparkline is made of.
HISTORY: Final = 2048
#: Elements of a stream that are shown: nobody reads more.
MOST_ELEMENTS: Final = 256
#: What one look copies at most.
_LIMIT_BYTES: Final = 2 << 20
_BARS: Final = "▁▂▃▄▅▆▇█"


class Newest:
    """Looks at a live stream again and again; costs its simulation nothing.

    Parameters
    ----------
    live : Live

    Raises
    ------
    NoSuchSessionError, RingDamagedError
        It has just ended, or cannot be read.
    """

    def __init__(self, live: Live) -> None:
        self._tap = StreamTap(live)
        self.schema = self._tap.schema
        self.is_image = self.schema.is_image()
        self._columns = [] if self.is_image else _columns(self.schema)
        #: Names of the elements, as ``recd tail --fields`` takes them.
        self.names = [name for name, _, _ in self._columns]
        #: Elements that are not shown.
        self.more = 0 if self.is_image else sum(_elements(f) for f in self.schema.fields) - len(self.names)
        self._t: NDArray[np.float64] = np.empty(0)
        self._values: NDArray[np.float64] = np.empty((0, len(self._columns)))
        #: The newest sample's number, step and time; None before there is one.
        self.at: tuple[int, int, float] | None = None
        #: The newest value of each element.
        self.values: list[Any] = [""] * len(self._columns)
        self.image: NDArray[Any] | None = None
        self._first = True

    @property
    def ended(self) -> bool:
        """Whether nothing will follow."""
        return self._tap.ended

    def look(self) -> None:
        """Everything tells of the newest samples from now on."""
        if self.is_image:
            taken = self._tap.newest(1)
        elif self._first:
            stride = self.schema.stride_bytes or 1 << 12
            taken = self._tap.newest(max(min(HISTORY, _LIMIT_BYTES // stride), 1))
        else:
            taken = self._tap.take(max(_LIMIT_BYTES, 2 * (self.schema.stride_bytes or 0)))
        self._first = False
        batches = [batch for batch in taken.batches if len(batch)]
        if not batches:
            return
        last = batches[-1]
        self.at = int(last.seq[-1]), int(last.step[-1]), float(last.t[-1])
        if self.is_image:
            self.image = last.fixed(self.schema.fields[0].name)[-1]
            return
        self.values = [_newest(last, field, index) for _, field, index in self._columns]
        for batch in batches:
            self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        part = batch[-HISTORY:] if len(batch) > HISTORY else batch
        rows = np.full((len(part), len(self._columns)), np.nan)
        for i, (_, field, index) in enumerate(self._columns):
            if field.kind == FIXED:
                at: Any = (slice(None), *index)
                rows[:, i] = part.fixed(field.name)[at]
        self._t = np.concatenate([self._t, part.t])[-HISTORY:]
        self._values = np.concatenate([self._values, rows])[-HISTORY:]

    @property
    def span_s(self) -> float:
        """Stream time that the sparklines are over."""
        return float(self._t[-1] - self._t[0]) if len(self._t) else 0.0

    def sparkline(self, element: int, width: int) -> tuple[str, float, float]:
        """How an element went, with the least and the greatest value; NaN where it has none."""
        values = self._values[:, element]
        known = values[np.isfinite(values)]
        if not known.size:
            return "", math.nan, math.nan
        return bars(values, width), float(known.min()), float(known.max())

    def close(self) -> None:
        """Let go of the stream."""
        self._tap.close()


def bars(values: NDArray[np.float64], width: int) -> str:
    """Values as a row of bars, at most ``width`` of them, each the mean of its share; a gap where none is finite."""
    width = min(width, len(values))
    if not width:
        return ""
    starts = np.linspace(0, len(values), width, endpoint=False).astype(int)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(float), starts)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(np.where(finite, values, 0.0), starts) / counts
    low, high = np.nanmin(values[finite], initial=np.inf), np.nanmax(values[finite], initial=-np.inf)
    span = high - low
    levels = (means - low) / span if span > 0 else means * 0.0
    return "".join(
        _BARS[min(int(level * len(_BARS)), len(_BARS) - 1)] if np.isfinite(level) else " " for level in levels
    )


def _elements(field: Any) -> int:
    return math.prod(field.shape) if field.kind == FIXED else 1


def _columns(schema: Any) -> list[tuple[str, Any, tuple[int, ...]]]:
    """The first elements: name, field, index."""
    found: list[tuple[str, Any, tuple[int, ...]]] = []
    for field in schema.fields:
        shape: Sequence[int] = field.shape if field.kind == FIXED else ()
        for index in np.ndindex(*shape):
            if len(found) == MOST_ELEMENTS:
                return found
            name = f"{field.name}[{','.join(map(str, index))}]" if index else str(field.name)
            found.append((name, field, tuple(index)))
    return found


def _newest(batch: Batch, field: Any, index: tuple[int, ...]) -> Any:
    if field.kind == FIXED:
        at: Any = (-1, *index)
        return batch.fixed(field.name)[at].item()
    column = batch.varying(field.name)
    if field.kind == "string":
        return column.strings()[-1]
    return f"array of {len(list(column.split())[-1])}"
