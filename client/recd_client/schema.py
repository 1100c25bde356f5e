"""What a sample looks like: fields, dtypes, shapes, units; and its bytes in a record.

Payload of a sample with fixed sizes (all fields 8-aligned, in order)::

    | field 0 | field 1 | ... |             one packed struct, viewable as a numpy record

Payload of a sample with ragged or string fields: in the struct, such a field is one u64 *count*
(elements along the leading axis; bytes of a string). Their elements follow, in field order, each
block 8-aligned::

    | fixed | count of a | fixed | count of b | elements of a ... | elements of b ... |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from . import layout
from .errors import SchemaError

#: Field name of a sample that is a bare scalar, array or string.
BARE: Final = "data"
MAX_FIELDS: Final = 4096
MAX_FIELD_BYTES: Final = 1 << 32
MAX_NDIM: Final = 16
#: All that every sink can hold.
_DTYPES: Final = frozenset(
    ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
)
_NAME: Final = re.compile(r"[^\x00-\x1f/\\\",]{1,128}")
#: Names that each file uses for its own columns.
RESERVED: Final = frozenset({"timestamp"})

FIXED: Final = "fixed"
RAGGED: Final = "ragged"
STRING: Final = "string"


@dataclass(frozen=True)
class Ragged:
    """Declares, in ``like``, a field whose leading axis varies from sample to sample.

    Parameters
    ----------
    shape : tuple of int
        Shape of one element, without the leading axis: contacts ``(n, 7)`` are ``Ragged((7,))``.
        A leading ``None`` (``(None, 7)``) is accepted and means the same.
    dtype : dtype-like
        Type of the elements.
    """

    shape: tuple[int | None, ...] = ()
    dtype: Any = "float64"

    @property
    def element_shape(self) -> tuple[int, ...]:
        """Shape of one element."""
        shape = self.shape[1:] if self.shape and self.shape[0] is None else self.shape
        if any(not isinstance(n, int) or n < 0 for n in shape):
            raise SchemaError(
                f"Ragged shape {self.shape}: only the leading axis may vary",
                "give the shape of one element, for example Ragged((7,)) for (n, 7)",
            )
        return tuple(int(n) for n in shape if n is not None)


def check_dtype(dtype: Any, field: str) -> str:
    """The whitelisted dtype string of ``dtype``; a clear error for what cannot be recorded."""
    try:
        dt = np.dtype(dtype)
    except TypeError as e:
        raise SchemaError(f"field {field!r}: {dtype!r} is not a dtype ({e})", "use a numpy dtype") from None
    name = str(dt.newbyteorder("<").str)
    if name not in _DTYPES:
        hint = {
            "O": "object arrays cannot be recorded; make it a numeric array, or several fields",
            "c": "record real and imaginary parts as two fields",
            "M": "convert times to float seconds or int64 nanoseconds",
            "m": "convert durations to float seconds or int64 nanoseconds",
            "U": "record one string per field (str or bytes), not an array of strings",
            "S": "record one string per field (str or bytes), not an array of strings",
        }.get(dt.kind, "convert it to one of bool, int8..int64, uint8..uint64, float16..float64")
        raise SchemaError(f"field {field!r}: dtype {dt} cannot be recorded", hint)
    return name


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SchemaError(
            f"field name {name!r}: expected 1 to 128 characters, no control ones, no '/', '\\', '\"' or ','",
            "rename the field",
        )
    if name in RESERVED:
        raise SchemaError(f"field name {name!r} is that of the time column in every file", "rename the field")
    return name


@dataclass(frozen=True)
class Field:
    """One named value of a sample.

    Parameters
    ----------
    name : str
    dtype : str
        Little-endian numpy dtype string, ``"<f8"``; of the elements when ragged; ``"|u1"`` for strings.
    shape : tuple of int
        Shape of the value; of one element when ragged; ``()`` for strings.
    kind : {"fixed", "ragged", "string"}
    unit : str
        Physical unit, free text, ``""`` if none was given.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    kind: str = FIXED
    unit: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.dtype not in _DTYPES:
            check_dtype(self.dtype, self.name)
        if self.kind not in (FIXED, RAGGED, STRING):
            raise SchemaError(f"field {self.name!r}: kind {self.kind!r}", "use fixed, ragged or string")
        if len(self.shape) > MAX_NDIM or self.element_bytes > MAX_FIELD_BYTES:
            raise SchemaError(
                f"field {self.name!r}: shape {self.shape} of {self.dtype} is too large to record",
                f"at most {MAX_NDIM} axes and {MAX_FIELD_BYTES} bytes",
            )

    @property
    def element_bytes(self) -> int:
        """Bytes of the value, or of one element when ragged."""
        n = np.dtype(self.dtype).itemsize
        for d in self.shape:
            n *= d
        return n

    def __str__(self) -> str:
        if self.kind == STRING:
            return "string"
        dims = [*(["n"] if self.kind == RAGGED else []), *map(str, self.shape)]
        return f"({', '.join(dims)}{',' if len(dims) == 1 else ''}) {np.dtype(self.dtype).name}"


@dataclass(frozen=True)
class Schema:
    """The fields of a stream's samples, in order.

    Parameters
    ----------
    fields : tuple of Field
    bare : bool
        The samples are not dicts: one field, named ``data``.
    """

    fields: tuple[Field, ...]
    bare: bool = False

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if not names:
            raise SchemaError("a sample without fields: {}", "write at least one value")
        if len(names) > MAX_FIELDS:
            raise SchemaError(f"{len(names)} fields; at most {MAX_FIELDS}", "put values into arrays")
        if len(set(names)) < len(names):
            raise SchemaError(f"field names repeat: {names}", "give every field a name of its own")

    # --- how a payload lies in memory ----------------------------------------------------------
    @cached_property
    def fixed_size(self) -> bool:
        """Whether every sample has the same number of bytes."""
        return all(f.kind == FIXED for f in self.fields)

    @cached_property
    def struct_dtype(self) -> np.dtype[Any]:
        """The packed struct at the start of each payload (see the module head)."""
        formats: list[Any] = []
        offsets, at = [], 0
        for f in self.fields:
            fmt = (f.dtype, f.shape) if f.kind == FIXED else "<u8"
            formats.append(fmt)
            offsets.append(at)
            size = f.element_bytes if f.kind == FIXED else 8
            at += (size + 7) // 8 * 8
        names = [f.name for f in self.fields]
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})

    @cached_property
    def payload_bytes(self) -> int:
        """Bytes of a payload with fixed sizes; otherwise of its struct, the least it can be."""
        return int(self.struct_dtype.itemsize)

    @cached_property
    def stride_bytes(self) -> int:
        """Bytes from one record to the next; 0 when samples vary in size."""
        return layout.record_bytes(self.payload_bytes) if self.fixed_size else 0

    @cached_property
    def record_dtype(self) -> np.dtype[Any]:
        """Header and payload of one record as one dtype (samples of fixed size only).

        A run of records is one structured array: header words under their names in
        ``layout.HEADER_DTYPE``, the payload under ``"payload"``.
        """
        head = layout.HEADER_DTYPE
        names = [*(head.names or ()), "payload"]
        formats = [*(head.fields[n][0] for n in head.names or ()), self.struct_dtype]  # type: ignore[index]
        offsets = [*(head.fields[n][1] for n in head.names or ()), layout.HEADER_BYTES]  # type: ignore[index]
        return np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "itemsize": self.stride_bytes}
        )

    def is_image(self) -> bool:
        """Whether samples are single images: ``(H, W)``, ``(H, W, 1 | 3 | 4)``."""
        if not self.bare or self.fields[0].kind != FIXED:
            return False
        shape = self.fields[0].shape
        return all(n > 0 for n in shape) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)))

    def with_units(self, units: Mapping[str, str] | str | None) -> Schema:
        """The same schema with units; an error for a name that is not a field."""
        if not units:
            return self
        table = {BARE: units} if isinstance(units, str) else dict(units)
        known = {f.name for f in self.fields}
        for name, unit in table.items():
            if name not in known:
                raise SchemaError(
                    f"units name {name!r}, which is no field of the sample (fields: {sorted(known)})",
                    "use the names of the fields",
                )
            if not isinstance(unit, str):
                raise SchemaError(f"unit of {name!r} is {unit!r}", "give a string such as 'rad/s'")
        fields = tuple(
            Field(f.name, f.dtype, f.shape, f.kind, table.get(f.name, f.unit)) for f in self.fields
        )
        return Schema(fields, self.bare)

    # --- JSON ----------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """Plain data for messages and manifests."""
        return {
            "bare": self.bare,
            "fields": [
                {"name": f.name, "dtype": f.dtype, "shape": list(f.shape), "kind": f.kind, "unit": f.unit}
                for f in self.fields
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> Schema:
        """The schema that :meth:`to_json` described; everything is checked again."""
        try:
            fields = tuple(
                Field(
                    str(f["name"]),
                    str(f["dtype"]),
                    tuple(_dimension(n) for n in f["shape"]),
                    str(f.get("kind", FIXED)),
                    str(f.get("unit", "")),
                )
                for f in data["fields"]
            )
            return cls(fields, bool(data.get("bare", False)))
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            if isinstance(e, SchemaError):
                raise
            raise SchemaError(f"malformed schema: {e!r}", "use Schema.to_json") from None


def _dimension(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < 1 << 40:
        raise SchemaError(f"dimension {n!r}: expected a whole number >= 0", "check the sample's shape")
    return n


def fields_of(sample: Any) -> tuple[Iterable[tuple[str, Any]], bool]:
    """The ``(name, value)`` pairs of a sample, and whether it is bare.

    Dicts, named tuples and structured numpy records have fields; everything else is bare.
    """
    if isinstance(sample, Mapping):
        return sample.items(), False
    names = getattr(sample, "_fields", None)
    if isinstance(sample, tuple) and names is not None:
        return zip(names, sample, strict=True), False
    if isinstance(sample, (np.ndarray, np.void)) and sample.dtype.names is not None:
        return [(n, sample[n]) for n in sample.dtype.names], False
    return [(BARE, sample)], True
