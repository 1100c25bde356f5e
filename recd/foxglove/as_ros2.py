"""Samples as ROS 2 messages: CDR, little endian, described by the text of a ``.msg`` file.

What every viewer of this protocol reads: Foxglove, and PlotJuggler, whose plugin took nothing else for years. No ROS is
needed, on either side. NaN and infinity travel as they are. Fields of fixed size come first, as one packed struct::

    0     4 bytes   00 01 00 00: plain CDR, little endian; positions count from behind it
    4     t         float64 | seq uint64 | step int64
    28    fields of fixed size, each at a multiple of its element's size; arrays without a count
    then  fields that vary: u32 count, elements; text: u32 bytes with the zero, UTF-8, a zero
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import STRING, Field

from ..batch import Batch
from .columns import HEAD, Column, Encoding, numbers_of, varying_of

_ENCAPSULATION: Final = b"\x00\x01\x00\x00"
_TYPES: Final = {"t": "float64", "seq": "uint64", "step": "int64"}


class Ros2(Encoding):
    """See :class:`~recd.foxglove.columns.Encoding`."""

    message = "cdr"
    schema_encoding = "ros2msg"
    _package = "recd/msg/"
    _plain = True

    def _define(self, named: list[Column]) -> bytes:
        lines = [f"{_TYPES[name]} {name}  # {about}" for name, about in HEAD.items()]
        lines += [f"{_type_of(c)} {c.name}  # {_comment(c)}" for c in (*self._fixed, *self._varying)]
        return "\n".join([*lines, ""]).encode()

    @cached_property
    def _struct(self) -> np.dtype[Any]:
        return _packed(self._fixed)

    def encode(self, batch: Batch, rows: NDArray[np.intp]) -> list[bytes]:
        """The chosen samples, one message each."""
        table = np.zeros(len(rows), self._struct)
        table["head"] = np.frombuffer(_ENCAPSULATION, np.uint8)
        for name in HEAD:
            table[name] = getattr(batch, name)[rows]
        for i, column in enumerate(self._fixed):
            table[f"f{i}"] = numbers_of(batch, column, rows)
        size, packed = table.itemsize, table.tobytes()
        fixed = [packed[at : at + size] for at in range(0, len(packed), size)]
        if not self._varying:
            return fixed
        values = zip(*(varying_of(batch, c, rows, self._limit) for c in self._varying), strict=True)
        return [_with_varying(*each) for each in zip(fixed, values, strict=True)]


def _with_varying(fixed: bytes, values: Iterable[NDArray[np.generic] | str]) -> bytes:
    out = bytearray(fixed)
    for value in values:
        _align(out, 4)
        if isinstance(value, str):
            text = value.encode() + b"\0"
            out += struct.pack("<I", len(text)) + text
        else:
            out += struct.pack("<I", value.size)
            if value.size:
                _align(out, value.itemsize)
                out += value.tobytes()
    return bytes(out)


def _align(out: bytearray, size: int) -> None:
    out += bytes(-(len(out) - len(_ENCAPSULATION)) % size)


def _packed(fixed: list[Column]) -> np.dtype[Any]:
    names, offsets = ["head"], [0]
    formats: list[Any] = [("u1", (len(_ENCAPSULATION),))]
    at = len(_ENCAPSULATION)
    places: list[tuple[str, np.dtype[Any], tuple[int, ...]]]
    places = [(name, np.dtype(_TYPES[name]).newbyteorder("<"), ()) for name in HEAD]
    places += [(f"f{i}", _dtype_of(c.field), c.field.shape) for i, c in enumerate(fixed)]
    for name, dtype, shape in places:
        at += -(at - len(_ENCAPSULATION)) % dtype.itemsize
        names.append(name)
        formats.append((dtype.str, shape))
        offsets.append(at)
        at += dtype.itemsize * int(np.prod(shape, dtype=int))
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def _dtype_of(field: Field) -> np.dtype[Any]:
    return np.dtype("<f4") if field.dtype == "<f2" else np.dtype(field.dtype)


def _type_of(column: Column) -> str:
    field = column.field
    if field.kind == STRING:
        return "string"
    name = _dtype_of(field).name
    if field.kind != "fixed":
        return f"{name}[]"
    return f"{name}[{column.size}]" if field.shape else name


def _comment(column: Column) -> str:
    """Its own name where that is not a plain one, its shape, and its unit."""
    field = column.field
    told = [field.name] if field.name != column.name else []
    told += [str(field)] if len(field.shape) > 1 else []
    told += [" ".join(field.unit.split())] if field.unit else []
    return ", ".join(told) or "no unit"
