"""Which fields of a stream are sent as numbers, under which names, and what both encodings of them share."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import FIXED, STRING, Field, Schema

from ..batch import Batch
from ..ui.fields import PICTURE, kind_of

#: A field with more elements than that is nothing to plot; of one that varies in size, so many are sent.
MAX_ELEMENTS: Final = 4096
#: What stands in each message before the stream's own fields, with its meaning.
HEAD: Final = {"t": "stream time, s", "seq": "number of the sample", "step": "simulation step, -1: unknown"}
_NO_NAME: Final = re.compile(r"\W", re.ASCII)


class Column(NamedTuple):
    """A field, and what it is called in messages."""

    name: str
    field: Field

    @property
    def size(self) -> int:
        """Elements of a value; of one element where it varies in size."""
        return int(np.prod(self.field.shape, dtype=int))

    @property
    def about(self) -> str:
        """What a reader should know of it: type, shape and unit."""
        return f"{self.field}{', ' if self.field.unit else ''}{self.field.unit}"


class Encoding(ABC):
    """Samples as messages of a self-describing format.

    Parameters
    ----------
    fields : list of Field
    stream : str
        Its name.
    limit : int, optional
        Elements that are sent of a value that varies in size, at most; None: all of them.

    Attributes
    ----------
    message, schema_encoding : str
        The format, and that of its definitions, as a channel is told of them.
    schema_name : str
    definition : bytes
    """

    message: ClassVar[str]
    schema_encoding: ClassVar[str]
    #: How names of definitions begin.
    _package: ClassVar[str]
    #: Whether names of columns are plain, see :func:`columns`.
    _plain: ClassVar[bool]

    def __init__(self, fields: list[Field], stream: str, limit: int | None = MAX_ELEMENTS) -> None:
        self._limit = limit
        named = columns(fields, plain=self._plain)
        self._fixed = [c for c in named if c.field.kind == FIXED]
        self._varying = [c for c in named if c.field.kind != FIXED]
        self.definition = self._define(named)
        self.schema_name = f"{self._package}{type_name(self.definition, stream)}"

    @abstractmethod
    def _define(self, named: list[Column]) -> bytes:
        """What messages of these columns look like."""

    @abstractmethod
    def encode(self, batch: Batch, rows: NDArray[np.intp]) -> list[bytes]:
        """The chosen samples, one message each."""


def sent(schema: Schema) -> list[Field]:
    """The fields that are sent as numbers (or text): no pictures, nothing huge, nothing empty."""
    return [
        f
        for f in schema.fields
        if 0 not in f.shape
        and kind_of(f) != PICTURE
        and (f.kind == STRING or int(np.prod(f.shape, dtype=int)) <= MAX_ELEMENTS)
    ]


def left_out(schema: Schema) -> list[str]:
    """The fields that cannot be shown at all, described."""
    shown = sent(schema)
    return [f"{f.name} {f}" for f in schema.fields if f not in shown and kind_of(f) != PICTURE]


def pictures(schema: Schema) -> list[Field]:
    """The fields that are sent as pictures."""
    return [f for f in schema.fields if kind_of(f) == PICTURE]


def columns(fields: Iterable[Field], *, plain: bool) -> list[Column]:
    """The fields with names that differ from each other and from those of the head.

    Parameters
    ----------
    plain : bool
        Only ASCII letters, digits and underscores, a letter first.
    """
    taken = {*HEAD}
    found = []
    for f in fields:
        name = f.name
        if plain:
            name = _NO_NAME.sub("_", name)
            name = name if name[0].isalpha() else f"f_{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(Column(name, f))
    return found


def type_name(definition: bytes, stream: str) -> str:
    """A name for a definition; viewers believe that what is called the same is the same."""
    plain = "".join(part[:1].upper() + part[1:] for part in _NO_NAME.sub("_", stream).split("_"))
    return f"Stream{plain}{hashlib.sha256(definition).hexdigest()[:8]}"


def numbers_of(batch: Batch, column: Column, rows: NDArray[np.intp]) -> NDArray[np.generic]:
    """A fixed field's values, (rows, *shape), in types that every format has."""
    values = batch.fixed(column.field.name)[rows]
    return values.astype(np.float32) if values.dtype == np.float16 else values


def varying_of(
    batch: Batch, column: Column, rows: NDArray[np.intp], limit: int | None
) -> list[NDArray[np.generic]] | list[str]:
    """A field's values that vary in size: text, or elements in one row, at most ``limit`` of each value."""
    whole = batch.varying(column.field.name)
    ends = np.cumsum(whole.lengths)
    spans = zip((ends - whole.lengths)[rows].tolist(), ends[rows].tolist(), strict=True)
    values = whole.values
    if column.field.kind == STRING:
        return [bytes(values[a:b]).decode("utf-8", "replace") for a, b in spans]
    values = values.astype(np.float32) if values.dtype == np.float16 else values
    return [values[a:b].reshape(-1)[:limit] for a, b in spans]
