"""One field of a stream, as an array that is read when it is sliced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError, OutOfRangeError
from recd_client.schema import FIXED, STRING, Field

from ..batch import Varying

if TYPE_CHECKING:
    from .arrays import ArrayStream

#: Rows that lie so close to each other are read in one go, and those between them dropped.
_NEAR: Final = 64
_ITERATED: Final = 4096


class Lists(Sequence[NDArray[Any]]):
    """Rows that differ in length: of a ragged field.

    Parameters
    ----------
    values : ndarray, (total, *element shape)
        All elements, one behind the other.
    offsets : ndarray, (n + 1,) int64
        Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, i: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[NDArray[Any]]: ...
    def __getitem__(self, i: int | slice) -> NDArray[Any] | Sequence[NDArray[Any]]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise OutOfRangeError(f"row {i} of {len(self)}", "use an index within")
        i %= len(self)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.values.dtype} {self.values.shape[1:]}>"


Values = NDArray[Any] | Lists | list[NDArray[Any]]


def as_values(rows: NDArray[Any] | Varying, field: Field | None) -> NDArray[Any] | Lists:
    """Rows of a table as users see them: an array, an object array of str, or :class:`Lists`."""
    if not isinstance(rows, Varying):
        return rows
    if field is not None and field.kind == STRING:
        return np.array([*rows.strings(), None], object)[:-1]  # never taken for an array of characters
    values = rows.values.view()
    values.flags.writeable = False  # others may be given the same ones
    return Lists(values, np.concatenate([[0], np.cumsum(rows.lengths)]).astype(np.int64))


class Column:
    """A field of all samples. Lazy: what a slice asks for is read then, and no more.

    Indices are as of a numpy array whose first axis is the sample: numbers, slices, arrays of numbers, masks,
    and further indices for the other axes. What comes back is an ndarray, perhaps a read-only view of the file;
    of a ragged field one ndarray, or a list of them; of a string field a str, or an object array of them.
    """

    def __init__(self, stream: ArrayStream, field: Field) -> None:
        self._stream = stream
        self._field = field

    @property
    def name(self) -> str:
        """The field's name."""
        return self._field.name

    @property
    def units(self) -> str:
        """Physical unit; ``""`` if none was given."""
        return self._field.unit

    @property
    def kind(self) -> str:
        """``fixed``, ``ragged`` or ``string``."""
        return self._field.kind

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an element; ``object`` for strings."""
        return np.dtype(object if self.kind == STRING else self._field.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, *shape of a sample)``; of a field that varies ``(n,)``."""
        return (len(self._stream), *(self._field.shape if self.kind == FIXED else ()))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def element_shape(self) -> tuple[int, ...]:
        """Shape of one sample's value; of one element of a ragged field."""
        return self._field.shape

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first, rest = slice(None), ([Ellipsis, *rest] if rest else [])
        if rest and self.kind != FIXED:
            raise OptionError(
                f"field {self.name!r} is {self.kind}: it has one axis only, got {key!r}",
                "index the rows alone",
            )
        found = self._rows(first)
        if not rest:
            return found
        try:
            if found.ndim == len(self._field.shape):  # one sample
                return found[tuple(rest)]
            behind = (slice(None), *rest)
            return found[behind]
        except IndexError as e:
            raise OutOfRangeError(f"field {self.name!r}: {e}", f"its shape is {self.shape}") from None

    def _rows(self, key: Any) -> Any:
        n = len(self)
        if key is None or isinstance(key, (str, bytes, float)):
            raise OptionError(
                f"field {self.name!r}: index {key!r}", "use numbers, slices, arrays of numbers, or a mask"
            )
        if isinstance(key, slice):
            return self._slice(*key.indices(n))
        if np.ndim(key) == 0 and not isinstance(key, (bool, np.bool_)):
            i = self._stream._index(key)
            return self._read(i, i + 1)[0]
        index = np.asarray(key)
        if index.dtype == bool:
            if index.shape != (n,):
                raise OutOfRangeError(
                    f"field {self.name!r}: a mask of shape {index.shape}", f"expected one of shape ({n},)"
                )
            index = np.flatnonzero(index)
        if index.size == 0:
            return self._read(0, 0)
        if index.dtype.kind not in "iu" or index.ndim != 1:
            raise OptionError(
                f"field {self.name!r}: an index of {index.dtype} {index.shape}",
                "use one axis of whole numbers",
            )
        if index.min() < -n or index.max() >= n:
            raise OutOfRangeError(
                f"stream {self._stream.name!r}: samples {index.min()} to {index.max()} of {n}",
                f"use -{n} to {n - 1}",
            )
        return self._pick(np.where(index < 0, index + n, index).astype(np.int64))

    def _slice(self, start: int, stop: int, step: int) -> Any:
        if step == 1:
            return self._read(start, max(start, stop))
        if 1 < abs(step) <= _NEAR and len(range(start, stop, step)):
            indices = range(start, stop, step)
            low, high = min(indices[0], indices[-1]), max(indices[0], indices[-1])
            rows = self._read(low, high + 1)
            return rows[::step] if step > 0 else rows[::-1][::-step]
        return self._pick(np.arange(start, stop, step))

    def _pick(self, index: NDArray[np.int64]) -> Any:
        """Rows in any order; neighbours are read together."""
        if not len(index):
            return self._read(0, 0)
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        cuts = np.flatnonzero(np.diff(ordered) > _NEAR) + 1
        found = [
            rows[i - some[0]]
            for some in np.split(ordered, cuts)
            for rows in (self._read(int(some[0]), int(some[-1]) + 1),)
            for i in some
        ]
        if self.kind == FIXED:
            picked = np.empty((len(index), *self._field.shape), self.dtype)
            for at, row in zip(order, found, strict=True):
                picked[at] = row
            return picked
        out: list[Any] = [None] * len(index)
        for at, row in zip(order, found, strict=True):
            out[at] = row
        return np.array([*out, None], object)[:-1] if self.kind == STRING else out

    def _read(self, start: int, stop: int) -> Any:
        values = as_values(self._stream._rows(self.name, start, stop), self._field)
        return list(values) if isinstance(values, Lists) else values

    def lists(self, start: int = 0, stop: int | None = None) -> Lists:
        """The rows of a ragged field from ``start`` to ``stop`` as they are stored: elements and offsets."""
        start, stop, _ = slice(start, stop).indices(len(self))
        values = as_values(self._stream._rows(self.name, start, stop), self._field)
        if not isinstance(values, Lists):
            raise OptionError(f"field {self.name!r} is {self.kind}, not ragged", "slice it")
        return values

    def __iter__(self) -> Iterator[Any]:
        for at in range(0, len(self), _ITERATED):
            yield from self._read(at, min(at + _ITERATED, len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        rows = self[:]
        if isinstance(rows, list):
            ragged = np.empty(len(rows), object)
            ragged[:] = rows
            rows = ragged
        if dtype is not None and rows.dtype != dtype:
            return np.asarray(rows, dtype)
        return np.array(rows) if copy else np.asarray(rows)

    def __repr__(self) -> str:
        unit = f", {self.units}" if self.units else ""
        return f"<recd column {self.name!r}: {len(self)} x {self._field}{unit}>"
