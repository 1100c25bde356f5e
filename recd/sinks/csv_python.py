"""The text of CSV rows as Python's ``csv.writer`` gives it (``CSVFile(dialect="python")``).

For files that must not differ from those of a program that writes its own: rows end with CR LF, numbers are
what ``ndarray.tolist`` makes of them, so a float32 has the digits of the float64 of the same value, and bools
are True and False. A fourteenth of the speed of :mod:`.csv_rows`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from recd_client.options import CSVFile
from recd_client.schema import FIXED, STRING, Field, Schema

from ..batch import Batch
from .csv_rows import CSVRows, column_names, header_line
from .names import TIMESTAMP


class PythonRows:
    """Turns batches into the text of rows.

    Parameters
    ----------
    schema : Schema
        Of all batches to come.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def text(self, batch: Batch) -> bytes:
        """One line per sample, each with its line end."""
        cells = [_cells(batch, field) for field in self._schema.fields]
        rows = zip(batch.t.tolist(), *cells, strict=True)
        return _written([t, *(cell for part in parts for cell in part)] for t, *parts in rows)


def text_of(options: CSVFile, schema: Schema) -> tuple[bytes, CSVRows | PythonRows]:
    """A file's first line, and what makes its rows."""
    names = column_names(schema) if options.header is None else options.header
    if options.dialect == "python":
        return _written([[TIMESTAMP, *names]]), PythonRows(schema)
    return header_line(names), CSVRows(schema)


def _cells(batch: Batch, field: Field) -> Iterable[Sequence[Any]]:
    """The cells of one field in each row."""
    if field.kind == FIXED:
        return batch.fixed(field.name).reshape(len(batch), math.prod(field.shape)).tolist()
    column = batch.varying(field.name)
    if field.kind == STRING:
        return ([text] for text in column.strings())
    return ([values.tolist()] for values in column.split())


def _written(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
