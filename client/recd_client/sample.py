"""From a value to the bytes of a record: inferring a schema, checking a sample, copying it into its place.

The places of a field in all possible records are one numpy array with a row per 64 bytes of the ring
(rows overlap; a record uses the row at its position): nothing is allocated to find a place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from . import layout
from .arrays import Source, host_source, source_of
from .errors import SchemaError
from .schema import FIXED, RAGGED, STRING, Field, Ragged, Schema, check_dtype, fields_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What belongs to no dtype of its own and takes the field's.
_PYTHON: Final = (bool, int, float, list, tuple)
#: Kinds of dtype that a Python value of another kind may become without loss of meaning.
_WIDENS: Final = {"b": "b", "i": "iuf", "u": "iuf", "f": "f"}
_SCALARS: Final[dict[str, type]] = {"<f8": float, "<i8": int, "|b1": bool}
_NUMBERS: Final = {"<f8": "f", "<i8": "i", "|b1": "b"}
_NAMES: Final = ((Mapping, "a dict"), ((str, bytes), "a string"), ((list, tuple), "no regular array"))
_MAX_INT: Final = (1 << 63) - 1
_FIRST_PAYLOAD: Final = layout.DATA_OFFSET + layout.HEADER_BYTES


# --- inferring -------------------------------------------------------------------------------------
def infer(sample: Any) -> Schema:
    """The schema of the samples that look like this one.

    Raises
    ------
    SchemaError
        It holds something that cannot be recorded; names the field.
    """
    values, bare = fields_of(sample)
    return Schema(tuple(_infer_field(name, value) for name, value in values), bare)


def _infer_field(name: str, value: Any) -> Field:
    if isinstance(value, Ragged):
        return Field(name, check_dtype(value.dtype, name), value.element_shape, RAGGED)
    if isinstance(value, (str, bytes)):
        return Field(name, "|u1", (), STRING)
    source = _source_of(name, value)
    return Field(name, check_dtype(source.dtype, name), source.shape)


def _source_of(name: str, value: Any) -> Source:
    """Any value but strings as a source; a :class:`SchemaError` names the field."""
    if value is None:
        raise SchemaError(f"field {name!r} is None", "write a number or an array, NaN for a missing float")
    if isinstance(value, Mapping):
        raise SchemaError(f"field {name!r} is a dict inside a dict", f"write flat fields such as '{name}.x'")
    try:
        return source_of(value)
    except SchemaError as e:
        raise SchemaError(f"field {name!r}: {e.what}", e.do) from None


# --- checking --------------------------------------------------------------------------------------
def fit(field: Field, value: Any) -> Source:
    """The value as a source that may be copied into the field's place.

    Arrays keep to dtype and shape exactly. Python numbers and sequences take the field's dtype where
    that is safe: int to float, but no float to int.

    Raises
    ------
    SchemaError
        It does not fit; names field, expected and got.
    """
    if field.kind == STRING:
        if not isinstance(value, (str, bytes)):
            raise _mismatch(field, value)
        raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
        return host_source(np.frombuffer(raw, np.uint8))
    if value is None or isinstance(value, (Mapping, str, bytes, Ragged)):
        raise _mismatch(field, value)
    if isinstance(value, _PYTHON) and not isinstance(value, np.generic):
        source, same = _converted(field, value), True
    else:
        source = _source_of(field.name, value)
        same = source.dtype.newbyteorder("<") == np.dtype(field.dtype)
        if isinstance(value, np.generic):
            same = np.can_cast(source.dtype, field.dtype, "safe")
    shape = source.shape[1:] if field.kind == RAGGED and source.shape else source.shape
    if not same or shape != field.shape or (field.kind == RAGGED and not source.shape):
        raise _mismatch(field, value, source)
    return source


def _converted(field: Field, value: Any) -> Source:
    """A Python value in the field's dtype, or a :class:`SchemaError`; nothing wraps or overflows silently."""
    try:
        array: NDArray[Any] = np.asarray(value)
    except Exception:  # sequences of unequal length, of things that refuse to become numbers
        raise _mismatch(field, value) from None
    dtype: np.dtype[Any] = np.dtype(field.dtype)
    if array.size == 0:
        empty = (0, *field.shape) if field.kind == RAGGED and array.ndim == 1 else array.shape
        return host_source(np.empty(empty, dtype))
    if array.dtype == dtype:  # a list or tuple of floats, as simulators' functions give them
        return host_source(array)
    fits = dtype.kind in _WIDENS.get(array.dtype.kind, "")
    if fits and dtype.kind in "iu":
        info = np.iinfo(dtype)
        fits = info.min <= int(array.min()) and int(array.max()) <= info.max
    if fits:
        with np.errstate(over="ignore"):
            converted = array.astype(dtype)
        if dtype.kind != "f" or not (np.isinf(converted) & ~np.isinf(array)).any():
            return host_source(converted)
    raise _mismatch(field, value, host_source(array))


def _mismatch(field: Field, value: Any, source: Source | None = None) -> SchemaError:
    if source is None:
        got = next((n for kind, n in _NAMES if isinstance(value, kind)), None) or f"{value!r:.60}"
    elif isinstance(value, (bool, int, float)):
        got = f"{value!r} ({type(value).__name__})"
    else:
        got = f"{_shape_text(source.shape)} {source.dtype.name} ({type(value).__name__})"
    return SchemaError(
        f"field {field.name!r}: expected {field} as in the first sample, got {got}",
        "convert it, or record it as a stream of its own; this sample was left out, the stream goes on",
    )


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def values_of(schema: Schema, sample: Any) -> list[Any]:
    """The sample's values in the order of the fields.

    Raises
    ------
    SchemaError
        Its fields are not those of the schema; names the differences.
    """
    if schema.bare and not isinstance(sample, Mapping):
        return [sample]
    pairs, bare = fields_of(sample)
    values = dict(pairs)
    names = [f.name for f in schema.fields]
    if bare == schema.bare and values.keys() == set(names):
        return [values[n] for n in names]
    expected = f"{schema.fields[0]}" if schema.bare else f"a dict with {', '.join(map(repr, names))}"
    fields = ", ".join(map(repr, values)) or "no fields"
    got = type(sample).__name__ if bare else f"a dict with {fields}"
    raise SchemaError(
        f"expected {expected} as in the first sample, got {got}",
        "write the same fields every time; this sample was left out, the stream goes on",
    )


# --- copying ---------------------------------------------------------------------------------------
class FixedPlan:
    """How samples of fixed size lie in the records of one ring.

    Parameters
    ----------
    schema : Schema
    memory : ndarray, uint8
        The whole segment. Arrays made of it keep the mapping alive.
    capacity_bytes : int
    """

    varying: Final = False

    def __init__(self, schema: Schema, memory: NDArray[np.uint8], capacity_bytes: int) -> None:
        self.schema = schema
        self.payload_bytes = schema.payload_bytes
        rows = max(0, (capacity_bytes - schema.stride_bytes) // layout.ALIGN_BYTES + 1)
        fields: Mapping[str, Any] = schema.struct_dtype.fields or {}
        self._places: list[NDArray[Any]] = []
        for f in schema.fields:
            inner = np.empty((1, *f.shape), f.dtype).strides[1:]
            start = _FIRST_PAYLOAD + fields[f.name][1]
            self._places.append(
                np.ndarray((rows, *f.shape), f.dtype, memory, start, (layout.ALIGN_BYTES, *inner))
            )
        #: Of each field name, dtype, shape, offset in the payload, kind of the number that fits it, and its arrays.
        self.for_c = tuple(
            (
                f.name,
                np.dtype(f.dtype),
                f.shape,
                fields[f.name][1],
                "" if f.shape else _NUMBERS.get(f.dtype, ""),
                place,
            )
            for f, place in zip(schema.fields, self._places, strict=True)
        )
        #: Copies a sample into the record at an offset of the segment.
        self.encode: Callable[[int, Any], None] = (
            _bare_encoder(schema, self._places[0]) if schema.bare else _dict_encoder(schema, self._places)
        )

    def prepare(self, sample: Any) -> tuple[Any, int]:
        """The sample, proved to fit, and its payload's size."""
        for f, value in zip(self.schema.fields, values_of(self.schema, sample), strict=True):
            fit(f, value)
        return sample, self.payload_bytes

    def claim(self, offset: int) -> Any:
        """The arrays of the record at ``offset``: one, or a dict of them."""
        row = (offset - layout.DATA_OFFSET) >> 6
        if self.schema.bare:
            return self._places[0][row, ...]
        return self._shaped([place[row, ...] for place in self._places])

    def scratch(self) -> Any:
        """What :meth:`claim` gives, in memory that is thrown away."""
        return self._shaped([np.zeros(f.shape, f.dtype) for f in self.schema.fields])

    def _shaped(self, arrays: list[NDArray[Any]]) -> Any:
        if self.schema.bare:
            return arrays[0]
        return {f.name: a for f, a in zip(self.schema.fields, arrays, strict=True)}


def _c_strides(field: Field) -> tuple[int, ...]:
    strides, step = [], np.dtype(field.dtype).itemsize
    for n in reversed(field.shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _bare_encoder(schema: Schema, place: NDArray[Any]) -> Callable[[int, Any], None]:
    field = schema.fields[0]
    dtype, shape = np.dtype(field.dtype), field.shape
    ndarray = np.ndarray
    scalar = _SCALARS.get(field.dtype) if shape == () else None
    first = layout.DATA_OFFSET

    def encode(offset: int, sample: Any) -> None:
        row = (offset - first) >> 6
        kind = type(sample)
        if (kind is ndarray and sample.dtype is dtype and sample.shape == shape) or (
            kind is scalar and -_MAX_INT <= sample <= _MAX_INT
        ):
            place[row] = sample
        else:
            (value,) = values_of(schema, sample)
            fit(field, value).copy_to(place[row, ...])

    return encode


def _dict_encoder(schema: Schema, places: list[NDArray[Any]]) -> Callable[[int, Any], None]:
    table = tuple(
        (f, f.name, place, np.dtype(f.dtype), f.shape, None if f.shape else _SCALARS.get(f.dtype))
        for f, place in zip(schema.fields, places, strict=True)
    )
    names = [f.name for f in schema.fields]
    count = len(names)
    ndarray = np.ndarray
    first = layout.DATA_OFFSET

    def encode(offset: int, sample: Any) -> None:
        row = (offset - first) >> 6
        if type(sample) is not dict or len(sample) != count:
            sample = dict(zip(names, values_of(schema, sample), strict=True))
        try:
            for field, name, place, dtype, shape, scalar in table:
                value = sample[name]
                kind = type(value)
                if (kind is ndarray and value.dtype is dtype and value.shape == shape) or (
                    kind is scalar and -_MAX_INT <= value <= _MAX_INT
                ):
                    place[row] = value
                else:
                    fit(field, value).copy_to(place[row, ...])
        except KeyError:
            values_of(schema, sample)  # says which fields differ
            raise

    return encode


class VaryingPlan:
    """How samples with ragged or string fields lie in the records of one ring (see :mod:`.schema`)."""

    varying: Final = True

    def __init__(self, schema: Schema, memory: NDArray[np.uint8]) -> None:
        self.schema = schema
        self.payload_bytes = schema.payload_bytes
        self._memory = memory
        fields: Mapping[str, Any] = schema.struct_dtype.fields or {}
        self._starts = [int(fields[f.name][1]) for f in schema.fields]

    def prepare(self, sample: Any) -> tuple[list[Source], int]:
        """The sample's values, proved to fit, and the size of the payload that they make."""
        sources = [fit(f, v) for f, v in zip(self.schema.fields, values_of(self.schema, sample), strict=True)]
        size = self.payload_bytes
        for f, s in zip(self.schema.fields, sources, strict=True):
            if f.kind != FIXED:
                size += _aligned(s.shape[0] * f.element_bytes)
        return sources, size

    def encode(self, offset: int, sources: list[Source]) -> None:
        """Copy prepared values into the record at an offset of the segment."""
        start = offset + layout.HEADER_BYTES
        at = start + self.payload_bytes
        memory = self._memory
        for f, s, field_start in zip(self.schema.fields, sources, self._starts, strict=True):
            place = start + field_start
            if f.kind != FIXED:
                np.ndarray((), "<u8", memory, place)[...] = s.shape[0]
                place = at
                at += _aligned(s.shape[0] * f.element_bytes)
            s.copy_to(np.ndarray(s.shape, f.dtype, memory, place))


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8


Plan = FixedPlan | VaryingPlan


def make_plan(schema: Schema, memory: NDArray[np.uint8], capacity_bytes: int) -> Plan:
    """The plan that fits the schema."""
    if schema.fixed_size:
        return FixedPlan(schema, memory, capacity_bytes)
    return VaryingPlan(schema, memory)
