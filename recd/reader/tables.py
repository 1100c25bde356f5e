"""What a file of samples looks like to the rest of the reader, whatever its format: a table of rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import FIXED, Field, Schema

from ..batch import Varying

#: A column's rows: an array, or elements and lengths where they differ in size.
Rows = NDArray[Any] | Varying
#: What a log tells of each sample beside its time; a data file has none of them.
CLOCKS = ("seq", "step", "mono_ns")


class Table(ABC):
    """Rows of samples in one file, or in a stretch of a log. Nothing is read before it is asked for.

    Parameters
    ----------
    path : Path
    schema : Schema
    """

    #: Of the format, as in a manifest.
    kind: ClassVar[str]
    #: Whether :meth:`clock` tells number, step and monotonic time of each sample.
    has_clocks: ClassVar[bool] = False

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.schema = schema

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of samples."""

    @abstractmethod
    def rows(self, name: str, start: int, stop: int) -> Rows:
        """A column's rows from ``start`` to ``stop``, both within the table; ``timestamp`` is the time.

        Raises
        ------
        OutputError
            The file has none such, or cannot be read there.
        """

    def scan(self, names: Sequence[str], rows: int, start: int, stop: int) -> Iterator[dict[str, Rows]]:
        """Some columns, ``rows`` samples at a time, in constant memory; for the log its clocks, too."""
        for at in range(start, stop, rows):
            end = min(at + rows, stop)
            yield {name: self.rows(name, at, end) for name in names} | self._clocks(at, end)

    def _clocks(self, start: int, stop: int) -> dict[str, Rows]:
        return {name: self.clock(name, start, stop) for name in CLOCKS} if self.has_clocks else {}

    def mapped(self, name: str) -> NDArray[Any] | None:
        """All rows of a column as a memory map; None where the format does not allow it."""
        return None

    def clock(self, name: str, start: int, stop: int) -> NDArray[np.int64]:
        """``seq``, ``step`` or ``mono_ns`` of some samples, if :attr:`has_clocks`."""
        raise NotImplementedError(self.kind)

    def close(self) -> None:  # noqa: B027  - not every format holds a file open
        """Let go of the file."""


def field_of(schema: Schema, name: str) -> Field | None:
    """The field of that name; None for the time, and for what is none."""
    return next((f for f in schema.fields if f.name == name), None)


def is_fixed(schema: Schema, name: str) -> bool:
    """Whether a column's rows are of one size."""
    field = field_of(schema, name)
    return field is None or field.kind == FIXED


def row_bytes(schema: Schema) -> int:
    """Bytes of one sample in memory; of what varies in size a guess."""
    return 8 + sum(f.element_bytes * (1 if f.kind == FIXED else 16) for f in schema.fields)


def joined(rows: Sequence[Rows]) -> Rows:
    """Rows of one column one behind the other; at least one piece."""
    if len(rows) == 1:
        return rows[0]
    arrays = [r.values if isinstance(r, Varying) else r for r in rows]
    values = np.concatenate(arrays)
    lengths = [r.lengths for r in rows if isinstance(r, Varying)]
    return Varying(values, np.concatenate(lengths)) if lengths else values


def split_at(offsets: NDArray[np.int64], values: NDArray[Any]) -> Varying:
    """The samples between ``offsets``, of which the first is where ``values`` begin."""
    return Varying(values, np.diff(offsets))


def text_rows(strings: Sequence[str]) -> Varying:
    """Strings as a column of varying size: their bytes."""
    raw = [text.encode("utf-8", "replace") for text in strings]
    values = np.frombuffer(b"".join(raw), np.uint8)
    return Varying(values, np.array([len(r) for r in raw], np.int64))


def empty(schema: Schema, name: str) -> Rows:
    """No rows of a column."""
    field = field_of(schema, name)
    if field is None:
        return np.empty(0)
    values: NDArray[Any] = np.empty((0, *field.shape), field.dtype)
    return values if field.kind == FIXED else Varying(values, np.empty(0, np.int64))


def items_in(shape: tuple[int, ...]) -> int:
    """Number of elements of this shape."""
    return math.prod(shape)
