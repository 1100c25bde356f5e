"""The text of CSV rows: every number reads back bit for bit after a cast to its dtype.

How a field becomes columns:

==========================  ==================================================================
a number                    one column, the field's name
an array                    one column per element in C order, ``name_0, name_1, ...``
an array without elements   no column
a ragged array              one column: a JSON array, quoted (nested for elements with axes)
a string                    one column, quoted where it holds ``,`` ``"`` or a line break
==========================  ==================================================================

Floats are the shortest decimals that give the same bits, ``nan``, ``inf``, ``-inf`` (inside JSON arrays
``NaN``, ``Infinity``, ``-Infinity``, as Python's ``json`` reads them); bools are 0 and 1. Bytes of a
string that are no UTF-8 become U+FFFD. Rows end with a line feed, the text is UTF-8 (RFC 4180 otherwise).

Numbers are formatted by orjson, whole tables at a time: about 14 times the rows per second of
``csv.writer`` for 50 float64 columns. Neighbouring columns that print alike form one such table; the
rows of several tables are joined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from recd_client.schema import FIXED, RAGGED, Field, Schema

from ..batch import Batch, Varying
from .names import TIMESTAMP

#: Cells of a table, so that its text stays in the processor's cache: 1.6 times as fast as whole batches
#: of megabytes.
_CELLS_AT_ONCE: Final = 1 << 14
_SPECIAL: Final = re.compile(r'[",\r\n]')
#: orjson writes all three as ``null``; these are their names, in the order of :func:`_name_nulls`.
_WORDS: Final = np.array([b"nan", b"inf", b"-inf"], object)
_JSON_WORDS: Final = np.array([b"NaN", b"Infinity", b"-Infinity"], object)
#: The only float32 (of all, tried) whose shortest decimal, read as a float64 and cast, gives another
#: float32, its neighbour; and a decimal of it that survives this.
_TWICE_ROUNDED: Final = (b"7.038531e-26", b"7.0385309e-26")


def column_names(schema: Schema) -> list[str]:
    """Names of the columns behind ``timestamp``."""
    names: list[str] = []
    for f in schema.fields:
        one = f.kind != FIXED or not f.shape
        names += [f.name] if one else [f"{f.name}_{i}" for i in range(_width(f))]
    return names


def header_line(names: Sequence[str]) -> bytes:
    """The first line of a file, for these columns behind ``timestamp``."""
    return ",".join([TIMESTAMP, *map(_quoted, names)]).encode("utf-8", "replace") + b"\n"


class CSVRows:
    """Turns batches into the text of rows.

    Parameters
    ----------
    schema : Schema
        Of all batches to come.
    """

    def __init__(self, schema: Schema) -> None:
        self._blocks = _blocks(schema)
        self._rows_at_once = max(1, _CELLS_AT_ONCE // (1 + len(column_names(schema))))

    def text(self, batch: Batch) -> bytes:
        """One line per sample, each with its line feed."""
        step = self._rows_at_once
        return b"".join(self._lines(batch[at : at + step]) for at in range(0, len(batch), step))

    def _lines(self, batch: Batch) -> bytes:
        with np.errstate(invalid="ignore"):  # casting a signalling NaN
            blocks = [block.rows(batch) for block in self._blocks]
        lines = blocks[0] if len(blocks) == 1 else map(b",".join, zip(*blocks, strict=True))
        return b"\n".join(lines) + b"\n"


class _Block(Protocol):
    """Some neighbouring columns."""

    def rows(self, batch: Batch) -> list[bytes]:
        """Their cells, joined by commas, for each sample."""
        ...


@dataclass
class _Numbers:
    """Numbers that print alike: as one table of this dtype."""

    dtype: str
    #: Field name (or ``timestamp``) and number of columns.
    columns: list[tuple[str, int]]

    def rows(self, batch: Batch) -> list[bytes]:
        """See :class:`_Block`."""
        table: NDArray[Any] = np.empty((len(batch), sum(width for _, width in self.columns)), self.dtype)
        at = 0
        for name, width in self.columns:
            column = batch.t if name == TIMESTAMP else batch.fixed(name)
            table[:, at : at + width] = column.reshape(len(batch), width)
            at += width
        if table.shape[1] == 1:
            return _named(_json(table.ravel()), table, _WORDS)[1:-1].split(b",")
        return _named(_json(table), table, _WORDS)[2:-2].split(b"],[")


@dataclass
class _JSONCells:
    """One ragged field."""

    name: str
    dtype: str

    def rows(self, batch: Batch) -> list[bytes]:
        """See :class:`_Block`."""
        column = batch.varying(self.name)
        values = np.ascontiguousarray(column.values, self.dtype)
        text = b"\n".join(map(_json, Varying(values, column.lengths).split()))
        return [b'"%b"' % cell for cell in _named(text, values, _JSON_WORDS).split(b"\n")]


@dataclass
class _Strings:
    """One string field."""

    name: str

    def rows(self, batch: Batch) -> list[bytes]:
        """See :class:`_Block`."""
        return [_quoted(text).encode() for text in batch.varying(self.name).strings()]


def _blocks(schema: Schema) -> list[_Block]:
    """The columns of a file, as few blocks as their order allows."""
    numbers = _Numbers("<f8", [(TIMESTAMP, 1)])
    blocks: list[_Block] = [numbers]
    for f in schema.fields:
        if f.kind == RAGGED:
            blocks.append(_JSONCells(f.name, _printed_as(f.dtype)))
        elif f.kind != FIXED:
            blocks.append(_Strings(f.name))
        elif _width(f):
            dtype = _printed_as(f.dtype)
            if blocks[-1] is not numbers or numbers.dtype != dtype:
                numbers = _Numbers(dtype, [])
                blocks.append(numbers)
            numbers.columns.append((f.name, _width(f)))
    return blocks


def _width(field: Field) -> int:
    return math.prod(field.shape)


def _printed_as(dtype: str) -> str:
    """The dtype whose numbers look the same: so fields of several dtypes share a table."""
    if dtype == "<f2":
        return "<f4"
    return dtype if dtype in ("<f4", "<f8", "<u8") else "<i8"


def _json(values: NDArray[Any]) -> bytes:
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return text.replace(*_TWICE_ROUNDED) if values.dtype == np.float32 else text


def _named(text: bytes, values: NDArray[Any], words: NDArray[np.object_]) -> bytes:
    """``text`` of ``values``, its nulls replaced by what they stand for."""
    if values.dtype.kind != "f":
        return text
    lost = values[~np.isfinite(values)]
    if not lost.size:
        return text
    which = np.where(np.isnan(lost), 0, 1 + np.signbit(lost))
    if not which.any():
        return text.replace(b"null", words[0])
    return text.replace(b"null", b"%b") % tuple(words[which])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text
