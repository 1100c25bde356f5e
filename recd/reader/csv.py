"""Rows of a CSV file, also of one that still grows: as far as its last whole row.

Where a row begins is found by one pass over the file, on the first access to other rows than the first ones;
every so many bytes one place is kept. Rows are parsed a block at a time, and the newest blocks are kept.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from recd_client.errors import OutputError
from recd_client.schema import BARE, FIXED, RAGGED, STRING, Field, Schema

from ..batch import Varying
from ..sinks.csv_rows import column_names
from ..sinks.names import TIMESTAMP
from .tables import Rows, Table, empty, joined, text_rows

_BLOCK_BYTES: Final = 1 << 18
#: Parsed blocks that are kept: what one asks for column by column is parsed once.
_KEPT_BLOCKS: Final = 64
_NUMBERED: Final = re.compile(r"(.+)_(\d+)")
_PYTHON_WORDS: Final = ((b"True", b"1"), (b"False", b"0"), (b"\r\n", b"\n"))


class CSVTable(Table):
    """One part of a stream, in a CSV file.

    Parameters
    ----------
    end_bytes : int, optional
        The file is read up to there; default: up to where it ends now.
    """

    kind: ClassVar = "csv"

    def __init__(self, path: Path, schema: Schema | None = None, end_bytes: int | None = None) -> None:
        self.path = path
        self._end_bytes = end_bytes
        self._parsed: OrderedDict[int, dict[str, Rows]] = OrderedDict()
        super().__init__(path, schema or _schema_of(*self._beginning))
        width = 1 + len(column_names(self.schema))
        if len(self._beginning[0]) != width:
            raise OutputError(
                f"{path} has {len(self._beginning[0])} columns, expected {width}", "see: recd verify"
            )
        self._plain = all(f.kind == FIXED for f in self.schema.fields)

    @cached_property
    def _fd(self) -> int:
        """The file, which may get another name while it is read: its recording goes on."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise OutputError(f"{self.path} cannot be read: {e.strerror}", "open the recording again") from e
        self._closing = weakref.finalize(self, os.close, fd)  # with the table, if nobody closes it
        return fd

    @cached_property
    def _beginning(self) -> tuple[list[str], list[str]]:
        """The header's cells, and those of the first row (none if there is none)."""
        try:
            with open(os.dup(self._fd), newline="", encoding="utf-8", errors="replace") as text:
                text.seek(0)
                reader = csv.reader(text)
                header = next(reader, [])
                first = next(reader, [])
        except (OSError, csv.Error) as e:
            raise OutputError(f"{self.path} is no readable csv file: {e}", "see: recd verify") from e
        if header[:1] != [TIMESTAMP]:
            raise OutputError(f"{self.path} does not begin with {TIMESTAMP!r}", "is it a recording?")
        return header, first if len(first) == len(header) else []

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows at which blocks begin, and where in the file; behind the last one, where the whole rows end."""
        rows, offsets, count, size = [], [], 0, 0
        for block in _blocks(self._fd, self._end_bytes):
            rows.append(count)
            offsets.append(size)
            size += len(block)
            count += _row_ends(block) - (len(rows) == 1)  # less the header
        return np.array([*rows, count]), np.array([*offsets, size])

    @property
    def count(self) -> int:
        """See :class:`Table`."""
        return int(self._places[0][-1])

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """See :class:`Table`."""
        firsts = self._places[0]
        found: list[Rows] = []
        at = max(int(np.searchsorted(firsts, start, "right")) - 1, 0)
        while start < stop:
            first = int(firsts[at])
            column = self._block(at)[name]
            end = min(stop, int(firsts[at + 1]))
            found.append(_cut(column, start - first, end - first))
            start, at = max(start, end), at + 1
        return joined(found) if found else empty(self.schema, name)

    def _block(self, at: int) -> dict[str, Rows]:
        if at in self._parsed:
            self._parsed.move_to_end(at)
            return self._parsed[at]
        begin, end = map(int, self._places[1][at : at + 2])
        raw = os.pread(self._fd, end - begin, begin)
        self._parsed[at] = block = self._parse(raw, begins=at == 0)
        for column in block.values():
            if isinstance(column, np.ndarray):
                column.flags.writeable = False  # it is kept
        while len(self._parsed) > _KEPT_BLOCKS:
            self._parsed.popitem(last=False)
        return block

    def scan(self, names: Sequence[str], rows: int, start: int, stop: int) -> Iterator[dict[str, Rows]]:
        """See :class:`Table`; the file is read once, from front to back."""
        kept: dict[str, list[Rows]] = {name: [] for name in names}
        have, at = 0, 0
        for number, raw in enumerate(_blocks(self._fd, self._end_bytes)):
            if at >= stop:
                break
            ends = _row_ends(raw) - (number == 0)
            begin, at = at, at + ends
            if at <= start:
                continue
            block = self._parse(raw, begins=number == 0)
            first, last = max(start - begin, 0), min(stop - begin, ends)
            have += last - first
            for name in names:
                kept[name].append(_cut(block[name], first, last))
            if have >= rows:
                whole = {name: joined(pieces) for name, pieces in kept.items()}
                for done in range(0, have - have % rows, rows):
                    yield {name: _cut(column, done, done + rows) for name, column in whole.items()}
                left = have - have % rows
                kept = {name: [_cut(column, left, have)] for name, column in whole.items()}
                have -= left
        if have:
            yield {name: joined(pieces) for name, pieces in kept.items()}

    def _parse(self, raw: bytes, *, begins: bool) -> dict[str, Rows]:
        """The columns of some whole rows; the first block begins with the header."""
        try:
            if self._plain:
                return self._parse_numbers(raw[_first_row(raw) :] if begins else raw)
            return self._parse_cells(raw, begins)
        except (ValueError, csv.Error, IndexError) as e:
            raise OutputError(f"{self.path} is no readable csv file: {e}", "see: recd verify") from e

    def _parse_numbers(self, raw: bytes) -> dict[str, Rows]:
        for word, number in _PYTHON_WORDS:
            if word in raw:
                raw = raw.replace(word, number)
        width = len(self._beginning[0])
        cells = _numbers(raw)
        if len(cells) % width:
            raise ValueError(f"a row of other than {width} cells")
        table = np.array(cells, np.float64).reshape(-1, width)
        out: dict[str, Rows] = {TIMESTAMP: table[:, 0]}
        at = 1
        for f in self.schema.fields:
            end = at + math.prod(f.shape)
            if f.dtype in ("<i8", "<u8"):  # a float64 does not hold them all
                column = np.array([cells[i::width] for i in range(at, end)], f.dtype).T
            else:
                column = table[:, at:end].astype(f.dtype)
            out[f.name] = column.reshape(len(table), *f.shape)
            at = end
        return out

    def _parse_cells(self, raw: bytes, begins: bool) -> dict[str, Rows]:
        csv.field_size_limit(1 << 30)
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8", "replace"), newline="")))[begins:]
        columns: list[Sequence[str]] = list(zip(*rows, strict=True)) or [()] * len(self._beginning[0])
        out: dict[str, Rows] = {TIMESTAMP: np.array(columns[0], np.float64)}
        at = 1
        for f in self.schema.fields:
            end = at + (math.prod(f.shape) if f.kind == FIXED else 1)
            out[f.name] = _column(f, columns[at:end], len(rows))
            at = end
        return out

    def close(self) -> None:
        """See :class:`Table`."""
        self._parsed.clear()
        if "_fd" in self.__dict__:
            self._closing()
            del self._fd


def _numbers(raw: bytes) -> list[Any]:
    """The cells of some rows of numbers, one behind the other."""
    flat = raw.rstrip(b"\n").replace(b"\n", b",")
    if b"n" not in flat:
        found: list[Any] = orjson.loads(b"[" + flat + b"]")
        return found
    if b"inf" not in flat:
        found = orjson.loads(b"[" + flat.replace(b"nan", b"null") + b"]")  # None becomes NaN
        return found
    return [
        float(c) if c[-1:] in (b"n", b"f") or b"." in c or b"e" in c else int(c) for c in flat.split(b",")
    ]


def _column(field: Field, columns: Sequence[Sequence[str]], count: int) -> Rows:
    if field.kind == STRING:
        return text_rows(columns[0])
    if field.kind == RAGGED:
        cells = [_ragged(cell, field) for cell in columns[0]]
        values = np.concatenate([np.empty((0, *field.shape), field.dtype), *cells])
        return Varying(values, np.array([len(c) for c in cells], np.int64))
    whole = np.dtype(field.dtype).kind in "iu"
    numbers = [[int(c) if whole else _number(c) for c in column] for column in columns]
    table: NDArray[Any] = np.array(numbers, None if whole else np.float64).T.astype(field.dtype)
    return table.reshape(count, *field.shape)


def _number(cell: str) -> float:
    return {"True": 1.0, "False": 0.0}.get(cell) if cell in ("True", "False") else float(cell)  # type: ignore[return-value]


def _ragged(cell: str, field: Field) -> NDArray[Any]:
    """A JSON array; Python's own writing of NaN and infinity is understood, too."""
    if "n" in cell:
        cell = cell.replace("nan", "NaN").replace("inf", "Infinity")
    if "True" in cell or "False" in cell:
        cell = cell.lower()
    elements = json.loads(cell)
    wide = {"f": "<f8", "u": "<u8"}.get(np.dtype(field.dtype).kind, "<i8")  # all are numbers that it holds
    return np.array(elements, wide).astype(field.dtype).reshape(len(elements), *field.shape)


def _cut(column: Rows, start: int, stop: int) -> Rows:
    if not isinstance(column, Varying):
        part: NDArray[Any] = column[start:stop]
        return part
    begin, end = int(column.lengths[:start].sum()), int(column.lengths[:stop].sum())
    return Varying(column.values[begin:end], column.lengths[start:stop])


def _blocks(fd: int, end_bytes: int | None) -> Iterator[bytes]:
    """Whole rows, some hundred KiB at a time."""
    at, end = 0, end_bytes if end_bytes is not None else os.fstat(fd).st_size
    rest = b""
    while block := os.pread(fd, min(_BLOCK_BYTES, end - at), at):
        at += len(block)
        rest += block
        if behind := _last_end(rest):
            yield rest[:behind]
            rest = rest[behind:]


def _last_end(raw: bytes) -> int:
    """Behind the last whole row; ``raw`` begins with a row."""
    end = raw.rfind(b"\n") + 1
    if b'"' not in raw:
        return end
    while end and raw.count(b'"', 0, end) % 2:  # that line end is part of a string
        end = raw.rfind(b"\n", 0, end - 1) + 1
    return end


def _row_ends(raw: bytes) -> int:
    """Rows in some whole rows."""
    if b'"' not in raw:
        return raw.count(b"\n")
    text = np.frombuffer(raw, np.uint8)
    quoted = np.cumsum(text == ord('"')) % 2
    return int(np.count_nonzero((text == ord("\n")) & (quoted == 0)))


def _first_row(raw: bytes) -> int:
    """Behind the header."""
    end = raw.find(b"\n") + 1
    while end and raw.count(b'"', 0, end) % 2:
        end = raw.find(b"\n", end) + 1
    return end


def _schema_of(header: list[str], first: list[str]) -> Schema:
    """What the samples look like, from header and first row: ``name_0, name_1, ...`` are one array of floats."""
    fields: list[Field] = []
    counts: dict[str, int] = {}
    for name, cell in zip(header[1:], first[1:] or ["0"] * (len(header) - 1), strict=True):
        numbered = _NUMBERED.fullmatch(name)
        kind = _kind_of(cell)
        if numbered and kind == FIXED:
            base, index = numbered[1], int(numbered[2])
            if index == counts.get(base, 0) and (index == 0 or (fields and fields[-1].name == base)):
                counts[base] = index + 1
                array = Field(base, "<f8", (index + 1,))
                fields = [*(fields[:-1] if index else fields), array]
                continue
        fields.append(Field(name, "|u1" if kind == STRING else "<f8", (), kind))
    return Schema(tuple(fields), bare=[f.name for f in fields] == [BARE])


def _kind_of(cell: str) -> str:
    try:
        _number(cell)
    except ValueError:
        return RAGGED if cell.startswith("[") else STRING
    return FIXED
