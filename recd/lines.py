"""Samples as lines of text: CSV, JSON, or a table."""

from __future__ import annotations

import math
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from .cli._common import clean

if TYPE_CHECKING:
    from .batch import Batch, Event

_CELL: Final = 12


class Format(ABC):
    """How samples are printed.

    Parameters
    ----------
    selection : Selection
    """

    #: What each object of JSON begins with.
    begin: Mapping[str, Any] = {}

    def __init__(self, selection: Any) -> None:
        self.selection = selection

    def samples(self, batch: Batch) -> None:
        """Print these."""
        self.put(self.selection(batch))

    @abstractmethod
    def put(self, batch: Batch) -> None:
        """Print the chosen columns."""

    def event(self, event: Event) -> None:  # noqa: B027  - CSV has no room for it
        """Print what happened on the timeline."""


class _CSV(Format):
    """As in the file that recd would write."""

    def __init__(self, selection: Any) -> None:
        from .sinks.csv_rows import CSVRows, column_names, header_line

        super().__init__(selection)
        self._rows = CSVRows(selection.schema)
        self._write(header_line(column_names(selection.schema)))

    def put(self, batch: Batch) -> None:
        self._write(self._rows.text(batch))

    def _write(self, text: bytes) -> None:
        sys.stdout.buffer.write(text)


class _JSON(Format):
    """One object per line; NaN and infinities are null."""

    def put(self, batch: Batch) -> None:
        import orjson

        option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        columns = {name: _cells(batch, name) for name in batch.columns}
        for i in range(len(batch)):
            one = {"seq": int(batch.seq[i]), "t": float(batch.t[i]), "step": int(batch.step[i])}
            values = {name: cells[i] for name, cells in columns.items()}
            sys.stdout.buffer.write(orjson.dumps({**self.begin, **one, **values}, option=option))

    def event(self, event: Event) -> None:
        import orjson

        told = {
            **self.begin,
            "event": event.kind,
            "seq": event.seq,
            "t": event.t,
            "step": event.step,
            **event.data,
        }
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


class _Table(Format):
    """Columns of one width, as many as the terminal has room for."""

    def __init__(self, selection: Any) -> None:
        from .sinks.csv_rows import column_names

        super().__init__(selection)
        self._names = column_names(selection.schema)
        room = max(shutil.get_terminal_size().columns // (_CELL + 1) - 1, 1)
        self._shown = room if len(self._names) > room else len(self._names)
        more = len(self._names) - self._shown
        self._line(["t", *self._names[: self._shown]])
        if more:
            click.echo(f"({more} more columns: --fields chooses)", err=True)

    def put(self, batch: Batch) -> None:
        columns: list[Any] = []
        for name in batch.columns:
            if len(columns) < self._shown:
                columns += _flat(batch, name, self._shown - len(columns))
        for i in range(len(batch)):
            self._line([f"{batch.t[i]:.6g}", *(_text(column[i]) for column in columns[: self._shown])])

    def event(self, event: Event) -> None:
        what = event.data.get("label") or event.kind
        extra = event.data.get("fields") or event.data.get("losses") or ""
        click.echo(clean(f"-- {what} at t = {event.t:.6g} {extra}"))

    def _line(self, cells: list[str]) -> None:
        click.echo(" ".join(clean(c)[:_CELL].rjust(_CELL) for c in cells))


def _cells(batch: Batch, name: str) -> Any:
    """A column's samples, one by one."""
    import numpy as np

    column = batch.columns[name]
    if isinstance(column, np.ndarray):
        # orjson knows neither half floats nor what is not in one piece
        return np.ascontiguousarray(column, np.float32 if column.dtype == np.float16 else None)
    kind = next(f.kind for f in batch.schema.fields if f.name == name)
    return column.strings() if kind == "string" else list(column.split())


def _flat(batch: Batch, name: str, most: int) -> list[Any]:
    """A column as columns of single cells, at most so many."""
    import numpy as np

    cells = _cells(batch, name)
    if isinstance(cells, np.ndarray):
        flat = cells.reshape(len(cells), -1)
        return [flat[:, i] for i in range(min(most, flat.shape[1]))]
    return [cells]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    size = getattr(value, "size", 1)
    if getattr(value, "ndim", 0):
        return f"[{size}]"
    number = float(value) if getattr(value, "dtype", None) is not None and value.dtype.kind == "f" else value
    return f"{number:.6g}" if isinstance(number, float) and math.isfinite(number) else str(number)


FORMATS: Final[dict[str, Callable[[Any], Format]]] = {"csv": _CSV, "json": _JSON, "table": _Table}
