"""Samples as columns: what sinks receive. Views of records where samples have a fixed size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recd_client import layout
from recd_client.errors import LogDamagedError
from recd_client.schema import FIXED, STRING, Field, Schema

#: Labels of marks on which files act.
RESET: Final = "recd.reset"
DISCARD: Final = "recd.discard"


@dataclass(frozen=True)
class Varying:
    """A column whose samples differ in length.

    Parameters
    ----------
    values : ndarray, (sum(lengths), *element shape)
        The elements of all samples, one behind the other; bytes of UTF-8 for strings.
    lengths : ndarray, (n,) int64
        Elements of each sample.
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64]

    def split(self) -> Iterator[NDArray[Any]]:
        """The elements of each sample."""
        return iter(np.split(self.values, np.cumsum(self.lengths)[:-1])) if len(self.lengths) else iter(())

    def strings(self) -> list[str]:
        """The samples of a string field."""
        return [bytes(v).decode("utf-8", "replace") for v in self.split()]


@dataclass(frozen=True)
class Batch:
    """``n`` samples of one stream, in order.

    Parameters
    ----------
    schema : Schema
    seq : ndarray, (n,) uint64
        Numbers of the samples; a jump is a loss.
    t : ndarray, (n,) float64, s
        Stream time.
    step : ndarray, (n,) int64
        Step of the simulation, -1 where unknown.
    mono_ns : ndarray, (n,) uint64, ns
        Monotonic clock at the write.
    columns : dict
        Field name to ``(n, *shape)`` array, or :class:`Varying`.
    """

    schema: Schema
    seq: NDArray[np.uint64]
    t: NDArray[np.float64]
    step: NDArray[np.int64]
    mono_ns: NDArray[np.uint64]
    columns: dict[str, NDArray[Any] | Varying]

    def __len__(self) -> int:
        return len(self.seq)

    def fixed(self, name: str) -> NDArray[Any]:
        """The column of a field of fixed shape."""
        column = self.columns[name]
        if isinstance(column, Varying):
            raise TypeError(f"{name!r} varies in size: use varying()")
        return column

    def varying(self, name: str) -> Varying:
        """The column of a ragged or string field."""
        column = self.columns[name]
        if not isinstance(column, Varying):
            raise TypeError(f"{name!r} has a fixed shape: use fixed()")
        return column

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the samples; views where sizes are fixed."""
        columns: dict[str, NDArray[Any] | Varying] = {}
        for name, column in self.columns.items():
            if isinstance(column, Varying):
                ends = np.concatenate([[0], np.cumsum(column.lengths)])
                start, stop, _ = rows.indices(len(self))
                columns[name] = Varying(
                    column.values[ends[start] : ends[max(start, stop)]], column.lengths[rows]
                )
            else:
                columns[name] = column[rows]
        return Batch(self.schema, self.seq[rows], self.t[rows], self.step[rows], self.mono_ns[rows], columns)


@dataclass(frozen=True)
class Event:
    """Something on a stream's timeline that is no sample.

    Parameters
    ----------
    kind : {"loss", "mark", "close"}
    position : int
        Where it stands in the ring.
    seq : int
        Number of the next sample.
    t, step, mono_ns
        Clocks of the event.
    data : dict
        ``mark``: label and fields. ``loss``, ``close``: ``losses``, a list of dicts with the names of
        ``layout.LOSS_ENTRY_NAMES`` (the cause as its name); ``close`` also ``next_seq``, ``marks_lost``.
    """

    kind: str
    position: int
    seq: int
    t: float
    step: int
    mono_ns: int
    data: dict[str, Any]


class Source(Protocol):
    """A stretch of a stream that can be read as often as wanted, in constant memory."""

    schema: Schema
    #: Number of samples in it.
    count: int

    def batches(self) -> Iterator[Batch]:
        """The samples from the first to the last, in batches of at most a few MiB.

        What a batch holds is there until the next one is asked for.
        """
        ...


def batch_of_run(schema: Schema, region: memoryview, offset: int, count: int) -> Batch:
    """Views of ``count`` records of fixed size that lie one behind the other."""
    records: NDArray[Any] = np.ndarray((count,), schema.record_dtype, buffer=region, offset=offset)
    payload = records["payload"]
    return Batch(
        schema,
        records["seq"],
        records["t"],
        records["step"],
        records["mono_ns"],
        {f.name: payload[f.name] for f in schema.fields},
    )


def batch_of_records(schema: Schema, region: memoryview, offsets: Sequence[int]) -> Batch:
    """Columns gathered from single records of varying size at ``offsets``.

    Raises
    ------
    LogDamagedError
        A count in a payload does not fit the payload's length.
    """
    n = len(offsets)
    heads = np.empty(n, layout.HEADER_DTYPE)
    parts: dict[str, list[NDArray[Any]]] = {f.name: [] for f in schema.fields}
    for i, at in enumerate(offsets):
        head = np.frombuffer(region, layout.HEADER_DTYPE, 1, at)
        heads[i] = head[0]
        start = at + layout.HEADER_BYTES
        _gather(schema, region[start : start + int(head["length"][0])], parts)
    columns: dict[str, NDArray[Any] | Varying] = {}
    for f in schema.fields:
        values = parts[f.name]
        if f.kind == FIXED:
            columns[f.name] = np.stack(values) if n else np.empty((0, *f.shape), f.dtype)
        else:
            flat = np.concatenate(values) if n else np.empty((0, *f.shape), f.dtype)
            columns[f.name] = Varying(flat, np.array([len(v) for v in values], np.int64))
    return Batch(schema, heads["seq"], heads["t"], heads["step"], heads["mono_ns"], columns)


def _gather(schema: Schema, payload: memoryview, parts: dict[str, list[NDArray[Any]]]) -> None:
    """Append the fields of one payload of varying size to ``parts``."""
    if len(payload) < schema.payload_bytes:
        raise LogDamagedError(f"a sample of {len(payload)} bytes is too short", "the record is left out")
    struct: Any = np.frombuffer(payload, schema.struct_dtype, 1)[0]
    at = schema.payload_bytes
    for f in schema.fields:
        if f.kind == FIXED:
            parts[f.name].append(struct[f.name])
            continue
        count = int(struct[f.name])
        size = count * f.element_bytes
        if size > len(payload) - at:
            raise LogDamagedError(f"field {f.name!r} claims {count} elements", "the record is left out")
        flat = np.frombuffer(payload, _element_dtype(f), size // np.dtype(f.dtype).itemsize, at)
        parts[f.name].append(flat.reshape(count, *f.shape))
        at += (size + 7) // 8 * 8


def _element_dtype(field: Field) -> np.dtype[Any]:
    return np.dtype("u1" if field.kind == STRING else field.dtype)
