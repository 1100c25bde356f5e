"""Samples for tests of sinks: made of plain values, cut into batches anywhere, read back and compared."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from recd.batch import Batch, Varying, batch_of_run
from recd.sinks import make_sink
from recd.sinks.base import AppendSink
from recd_client.options import SinkOptions
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema

Values = dict[str, list[Any]]


class Samples:
    """Samples of one stream: a source of batches.

    Parameters
    ----------
    schema : Schema
    values : dict
        Field name to one value per sample: an array, or a string (bytes as they are).
    t : sequence of float, optional
        Stream times; default 0, 0.1, 0.2, ...
    cuts : sequence of int
        Where batches end.
    """

    def __init__(
        self, schema: Schema, values: Values, t: Sequence[float] | None = None, cuts: Sequence[int] = ()
    ) -> None:
        self.schema = schema
        self.values = values
        self.count = len(next(iter(values.values())))
        self.t = np.array([0.1 * i for i in range(self.count)] if t is None else t, np.float64)
        self.cuts = list(cuts)

    def cut(self, cuts: Sequence[int]) -> Samples:
        """The same samples in other batches."""
        return Samples(self.schema, self.values, [float(t) for t in self.t], cuts)

    def batches(self) -> Iterator[Batch]:
        """See :class:`recd.batch.Source`."""
        for begin, end in itertools.pairwise([0, *self.cuts, self.count]):
            yield self.batch(begin, end)

    def batch(self, begin: int, end: int) -> Batch:
        """Some of the samples; in record memory, as they come from a log, where their size is fixed."""
        n, schema = end - begin, self.schema
        if schema.fixed_size:
            return batch_of_run(schema, memoryview(self.records(begin, end).tobytes()), 0, n)
        columns = {f.name: _column(f, self.values[f.name][begin:end]) for f in schema.fields}
        numbers = np.arange(begin, end)
        unsigned = numbers.astype(np.uint64)
        return Batch(schema, unsigned, self.t[begin:end], numbers, unsigned, columns)

    def records(self, begin: int, end: int) -> NDArray[Any]:
        """Some of the samples, which have a fixed size, as they lie in a log."""
        records: NDArray[Any] = np.zeros(end - begin, self.schema.record_dtype)
        records["seq"] = np.arange(begin, end)
        records["t"] = self.t[begin:end]
        for i, f in itertools.product(range(end - begin), self.schema.fields):
            records["payload"][f.name][i] = self.values[f.name][begin + i]
        return records


def _column(f: Field, values: list[Any]) -> NDArray[Any] | Varying:
    if f.kind == FIXED:
        return np.array(values, f.dtype).reshape(len(values), *f.shape)
    if f.kind == STRING:
        values = [np.frombuffer(v if isinstance(v, bytes) else v.encode(), np.uint8) for v in values]
    flat = np.concatenate(values) if values else np.empty((0, *f.shape), f.dtype)
    return Varying(flat, np.array([len(v) for v in values], np.int64))


def record(options: SinkOptions, samples: Samples, path: Path, **info: Any) -> Path:
    """Write the samples, in their batches, to a finished file."""
    sink = make_sink(options, samples.schema, info)
    if isinstance(sink, AppendSink):
        sink.open(path, None)
        for batch in samples.batches():
            sink.write(batch)
        sink.finish()
    else:
        sink.build(samples, path, lambda done: None)
    return path


# --- reading, each format with its own reader -----------------------------------------------------


def read(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """Values and times of a file that has the suffix of its kind."""
    return _READERS[path.suffix](path, schema)


def read_csv(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """What Python's ``csv`` finds, cast to the dtypes of the fields."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "timestamp"
    assert all(len(row) == len(header) for row in rows)
    values: Values = {f.name: [] for f in schema.fields}
    for row in rows:
        cells = iter(row[1:])
        for f in schema.fields:
            if f.kind == STRING:
                values[f.name].append(next(cells))
            elif f.kind == RAGGED:
                elements = json.loads(next(cells))
                flat = np.array(elements, _wide(f.dtype)).astype(f.dtype)
                values[f.name].append(flat.reshape(len(elements), *f.shape))
            else:
                read_cell = float if np.dtype(f.dtype).kind == "f" else int
                found = [read_cell(next(cells)) for _ in range(math.prod(f.shape))]
                values[f.name].append(np.array(found, _wide(f.dtype)).astype(f.dtype).reshape(f.shape))
    return values, [float(row[0]) for row in rows]


def _wide(dtype: str) -> str:
    """The dtype in which a reader that knows of none would hold these numbers."""
    return "<f8" if np.dtype(dtype).kind == "f" else "<u8" if dtype == "<u8" else "<i8"


def read_npz(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """What ``np.load`` finds, without unpickling."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return _by_sample(arrays, schema), [float(t) for t in arrays["timestamp"]]


def read_hdf5(path: Path, schema: Schema) -> tuple[Values, list[float]]:
    """What h5py finds."""
    with h5py.File(path) as file:
        arrays = {
            name: file[name].asstr()[:] if h5py.check_string_dtype(file[name].dtype) else file[name][:]
            for name in file
        }
    return _by_sample(arrays, schema), [float(t) for t in arrays["timestamp"]]


def _by_sample(arrays: dict[str, NDArray[Any]], schema: Schema) -> Values:
    values: Values = {}
    for f in schema.fields:
        if f.kind == RAGGED:
            values[f.name] = np.split(arrays[f.name], arrays[f"{f.name}_offsets"])[1:-1]
        else:
            values[f.name] = [str(v) if f.kind == STRING else np.asarray(v) for v in arrays[f.name]]
    return values


_READERS: dict[str, Callable[[Path, Schema], tuple[Values, list[float]]]] = {
    ".csv": read_csv,
    ".npz": read_npz,
    ".h5": read_hdf5,
}


# --- comparing ------------------------------------------------------------------------------------


def same(found: Values, expected: Values) -> bool:
    """Whether fields, order, dtypes, shapes and bits are the same; one NaN is as good as another."""
    return [*found] == [*expected] and all(
        [_bits(v) for v in found[name]] == [_bits(v) for v in expected[name]] for name in expected
    )


def _bits(value: Any) -> Any:
    if isinstance(value, str):
        return value
    value = np.array(value)
    if value.dtype.kind == "f":
        value[np.isnan(value)] = np.nan
    return value.dtype.str, value.shape, value.tobytes()


# --- making ---------------------------------------------------------------------------------------


def extremes(dtype: str) -> NDArray[Any]:
    """What a format could get wrong about numbers of this type."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array([True, False])
    if kind.kind != "f":
        limits = np.iinfo(kind)
        return np.array([limits.min, limits.max, 0, 1, limits.max // 3], kind)
    info = np.finfo(kind)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1 / 3, -1.5]
    return np.array([*special, info.max, info.min, info.tiny, info.smallest_subnormal, info.eps], kind)


def fields(**described: tuple[str, str, tuple[int, ...]]) -> Schema:
    """A schema of ``name=(kind, dtype, shape)``."""
    return Schema(tuple(Field(name, d, shape, kind) for name, (kind, d, shape) in described.items()))


def of_extremes(schema: Schema, count: int) -> Samples:
    """Samples full of them; ragged fields have 0, 1, 2, 3, 0, ... elements, strings grow likewise."""
    values: Values = {}
    for f in schema.fields:
        supply = itertools.cycle(extremes(f.dtype))
        values[f.name] = []
        for i in range(count):
            if f.kind == STRING:
                values[f.name].append('ab,"\n\r é漢🙂'[: i % 11])
                continue
            shape = f.shape if f.kind == FIXED else (i % 4, *f.shape)
            numbers = list(itertools.islice(supply, math.prod(shape)))
            values[f.name].append(np.array(numbers, f.dtype).reshape(shape))
    return Samples(schema, values)
