"""Zarr version 3: a group for each stream, an array per field, in chunks along time.

Arrays are as in NPZ and HDF5 files of recd (a ragged field is ``NAME`` and ``NAME_offsets``); their dimensions are
named, so that xarray opens a group as a dataset along ``timestamp``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError, SchemaError
from recd_client.schema import FIXED, RAGGED

from ...batch import Batch
from ...sinks.building import Offsets, Pieces, elements, fixed
from ...sinks.names import RENAME_OFFSETS, TIMESTAMP, check_names, offsets_name
from ..selection import Samples
from .base import Progress, StreamTarget
from .tables import table_batches, table_schema

_CHUNK_BYTES: Final = 4 << 20
_STRING_ROWS: Final = 4096


class ZarrTarget(StreamTarget):
    """A Zarr group for each stream."""

    name = "zarr"
    extra = "convert"
    libraries = ("zarr",)
    suffix = ".zarr"
    tables = True
    options: ClassVar = {"compression": ("zstd", "none")}
    holds_provenance = True

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        for samples in streams:
            fields = table_schema(samples).fields
            names = [TIMESTAMP, *(f.name for f in fields)]
            names += [offsets_name(f.name) for f in fields if f.kind == RAGGED]
            try:
                check_names(names, f"arrays of {samples.name}", RENAME_OFFSETS)
            except SchemaError as e:
                raise OptionError(e.what, e.do) from None
            for name in names:
                if name.startswith("__") or set(name) == {"."}:
                    raise OptionError(
                        f"stream {samples.name!r}: Zarr has no arrays named {name!r}", "rename it with a map"
                    )

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        import zarr

        (samples,) = streams
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # strings have no final specification in version 3 yet
            group = zarr.create_group(path, zarr_format=3)
            group.attrs.update(
                {
                    "stream": samples.name,
                    "metadata": _plain(samples.run.metadata),
                    "gaps": samples.gaps,
                    "recd": _plain(self.info.provenance),
                }
            )
            columns = self._columns(group, samples)
            for batch in table_batches(samples):
                for column in columns:
                    column.add(batch)
                progress(len(batch))
            for column in columns:
                column.flush()

    def _columns(self, group: Any, samples: Samples) -> list[_Column]:
        count = len(samples)
        columns = [_Column(self._made(group, TIMESTAMP, "<f8", (), count, "s"), lambda batch: batch.t)]
        for f in table_schema(samples).fields:
            if f.kind == FIXED:
                columns.append(
                    _Column(self._made(group, f.name, f.dtype, f.shape, count, f.unit), fixed(f.name))
                )
            elif f.kind == RAGGED:
                # How many elements there will be is known at the end.
                values = self._made(group, f.name, f.dtype, f.shape, 0, f.unit, dimension=f"{f.name}_element")
                columns.append(_Column(values, elements(f.name)))
                ends = offsets_name(f.name)
                offsets = self._made(group, ends, "<i8", (), count + 1, "", dimension=f"{f.name}_boundary")
                columns.append(_Column(offsets, Offsets(f.name), np.zeros(1, np.int64)))
            else:
                columns.append(_Column(self._made(group, f.name, str, (), count, f.unit), _texts(f.name)))
        return columns

    def _made(
        self,
        group: Any,
        name: str,
        dtype: Any,
        shape: tuple[int, ...],
        count: int,
        unit: str,
        *,
        dimension: str = TIMESTAMP,
    ) -> Any:
        row_bytes = 0 if dtype is str else math.prod(shape) * np.dtype(dtype).itemsize
        rows = max(1, min(_CHUNK_BYTES // row_bytes if row_bytes else _STRING_ROWS, count or 1 << 16))
        return group.create_array(
            name,
            shape=(count, *shape),
            dtype=dtype,
            chunks=(rows, *(n or 1 for n in shape)),
            compressors="auto" if self.option("compression") == "zstd" else None,
            dimension_names=[dimension, *(f"{name}_{axis}" for axis in range(len(shape)))],
            attributes={"units": unit} if unit else {},
        )


class _Column(Pieces):
    """An array that is written in whole chunks."""

    def __init__(
        self, array: Any, rows: Callable[[Batch], NDArray[Any]], first: NDArray[Any] | None = None
    ) -> None:
        dtype = object if array.dtype.kind not in "biuf" else array.dtype
        super().__init__(np.empty((array.chunks[0], *array.shape[1:]), dtype))
        self._array, self._rows = array, rows
        self._written = 0
        if first is not None:
            self.take(first)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        self.take(self._rows(batch))

    def _write(self, count: int) -> None:
        end = self._written + count
        if end > self._array.shape[0]:
            self._array.resize((end, *self._array.shape[1:]))
        if self._filling.size:
            self._array[self._written : end] = self._filling[:count]
        self._written = end


def _texts(name: str) -> Callable[[Batch], NDArray[Any]]:
    return lambda batch: np.array([*batch.varying(name).strings(), None], object)[:-1]


def _plain(data: Any) -> Any:
    import json

    return json.loads(json.dumps(data, default=str))
