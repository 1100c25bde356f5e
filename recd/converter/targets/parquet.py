"""Parquet: a file for each stream, in row groups of bounded size.

==============================  ==================================================================================
``timestamp``                   float64, stream time in seconds
``seq``, ``episode``            int64, as in the other tables
a number                        one column, the field's name
an array, ``arrays = "wide"``   one column per element in C order, ``name_0, name_1, ...``: for pandas, PlotJuggler
an array, ``arrays = "list"``   one column of fixed-size lists, nested for several axes: for Hugging Face, polars
an array without elements       no column
a ragged array                  one column of lists
a string                        one column of strings
==============================  ==================================================================================

Units and shapes are in the metadata of the columns (``unit``, ``shape``), where it comes from in that of the file
(``recd``). Without dictionaries a wide table of floats is written nine times as fast, and is not larger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError
from recd_client.schema import FIXED, RAGGED, Field

from ...sinks.names import TIMESTAMP
from ..selection import Samples
from .base import Progress, StreamTarget
from .tables import table_batches, table_schema

if TYPE_CHECKING:
    import pyarrow as pa

#: Of values in memory; also the most that is held.
_ROW_GROUP_BYTES: Final = 32 << 20
_ROW_GROUP_ROWS: Final = 1 << 20
#: A file with more columns takes long to open, and a picture is no table.
_MOST_COLUMNS: Final = 10_000


class ParquetTarget(StreamTarget):
    """A Parquet file for each stream."""

    name = "parquet"
    extra = "convert"
    libraries = ("pyarrow",)
    suffix = ".parquet"
    tables = True
    options: ClassVar = {"arrays": ("wide", "list"), "compression": ("snappy", "zstd", "none")}
    holds_provenance = True

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        for samples in streams:
            names = [TIMESTAMP, *(name for f in table_schema(samples).fields for name in self._names(f))]
            if len(names) > _MOST_COLUMNS:
                widest = max(
                    samples.schema.fields, key=lambda f: math.prod(f.shape) if f.kind == FIXED else 0
                )
                raise OptionError(
                    f"stream {samples.name!r} would have {len(names)} columns; {widest.name!r} is {widest}",
                    'write arrays = "list" below [target] in a map, or leave the stream out with --streams',
                )
            double = next((name for name in names if names.count(name) > 1), None)
            if double is not None:
                raise OptionError(
                    f"stream {samples.name!r} would have two columns {double!r}",
                    'write arrays = "list" below [target] in a map',
                )

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        import pyarrow as pa
        from pyarrow import parquet

        (samples,) = streams
        schema = self._schema(samples)
        with parquet.ParquetWriter(
            path, schema, use_dictionary=False, compression=self.option("compression"), write_statistics=True
        ) as writer:
            for batches in self._groups(samples, schema):
                writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=_ROW_GROUP_ROWS)
                progress(sum(len(batch) for batch in batches))
            if not len(samples):
                writer.write_table(schema.empty_table())

    def _groups(self, samples: Samples, schema: pa.Schema) -> Iterator[list[pa.RecordBatch]]:
        """Batches that make a row group."""
        import pyarrow as pa

        group: list[pa.RecordBatch] = []
        rows = size_bytes = 0
        for batch in table_batches(samples):
            columns = [pa.array(batch.t)]
            for f in batch.schema.fields:
                columns += self._columns(f, batch.columns[f.name])
            group.append(pa.RecordBatch.from_arrays(columns, schema=schema))
            rows, size_bytes = rows + len(batch), size_bytes + group[-1].nbytes
            if size_bytes >= _ROW_GROUP_BYTES or rows >= _ROW_GROUP_ROWS:
                yield group
                group, rows, size_bytes = [], 0, 0
        if group:
            yield group

    def _is_wide(self, f: Field) -> bool:
        return f.kind == FIXED and bool(f.shape) and self.option("arrays") == "wide"

    def _names(self, f: Field) -> list[str]:
        if f.kind == FIXED and 0 in f.shape:
            return []
        return [f"{f.name}_{i}" for i in range(math.prod(f.shape))] if self._is_wide(f) else [f.name]

    def _schema(self, samples: Samples) -> pa.Schema:
        import pyarrow as pa

        fields = [pa.field(TIMESTAMP, pa.float64(), nullable=False, metadata={"unit": "s"})]
        for f in table_schema(samples).fields:
            metadata = {"unit": f.unit, "shape": json.dumps(f.shape)}
            kind = pa.from_numpy_dtype(np.dtype(f.dtype)) if self._is_wide(f) else _type_of(f)
            fields += [pa.field(name, kind, nullable=False, metadata=metadata) for name in self._names(f)]
        told = {
            "stream": samples.name, "metadata": dict(samples.run.metadata), "gaps": samples.gaps,
            **self.info.provenance,
        }  # fmt: skip
        return pa.schema(fields, metadata={"recd": json.dumps(told, default=str)})

    def _columns(self, f: Field, values: Any) -> list[pa.Array]:
        """The column of a field, or (wide) those of its elements."""
        import pyarrow as pa

        if f.kind == RAGGED:
            offsets = np.concatenate([[0], np.cumsum(values.lengths)])
            return [pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), _nested(values.values))]
        if 0 in f.shape:
            return []
        if f.kind != FIXED:
            return [pa.array(values.strings(), pa.string())]
        if self._is_wide(f):
            across = np.ascontiguousarray(values.reshape(len(values), math.prod(f.shape)).T)
            return [pa.array(column) for column in across]
        return [_nested(values)]


def _type_of(f: Field) -> pa.DataType:
    import pyarrow as pa

    if f.kind not in (FIXED, RAGGED):
        return pa.string()
    kind = pa.from_numpy_dtype(np.dtype(f.dtype))
    for length in reversed(f.shape):
        kind = pa.list_(kind, length)
    return pa.large_list(kind) if f.kind == RAGGED else kind


def _nested(values: NDArray[Any]) -> pa.Array:
    """``(n, *shape)`` numbers as fixed-size lists."""
    import pyarrow as pa

    made = pa.array(np.ascontiguousarray(values).reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        made = pa.FixedSizeListArray.from_arrays(made, values.shape[axis])
    return made
