"""NPZ files: plain ``np.load`` opens them, nothing in them is pickled.

======================  ==========================================================================
``timestamp``           ``(n,) float64``, stream time in seconds
a field                 ``(n, *shape)`` under its name; a bare sample's under ``data``
a ragged field          all elements one behind the other, ``(total, *element shape)``, and
                        ``NAME_offsets``, ``(n + 1,) int64``: sample ``i`` is
                        ``NAME[offsets[i]:offsets[i + 1]]``
a string field          ``(n,) <U``; if a string has more than 256 characters, ends in NUL or is no
                        UTF-8, all are stored as bytes like a ragged field of ``uint8``
======================  ==========================================================================

An archive's entries lie one behind the other, so each array takes a pass over the log. Arrays that
together fit 64 MiB share one; a larger array is streamed.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from recd_client.errors import SchemaError
from recd_client.options import NPZFile
from recd_client.schema import FIXED, STRING, Field, Schema

from ..batch import Batch, Source, Varying
from .base import BuildSink
from .building import Offsets, Passes
from .names import RENAME_OFFSETS, TIMESTAMP, check_names, offsets_name

#: What arrays that share a pass may take in memory together.
GATHER_BYTES: Final = 64 << 20
#: Longest string, in characters, for which every string takes the room of the longest.
MAX_TEXT: Final = 256
#: Measured against level 6, which numpy takes: of noisy joint angles and velocities it leaves 96.9 % (6:
#: 96.7 %) at 41 MB/s (39), of values held for ten steps 10.5 % (10.3 %) at 424 MB/s (229), of contact
#: flags 5.6 % (3.3 %) at 452 MB/s (116), of times 25 % (30 %) at 167 MB/s (28).
_LEVEL: Final = 1
#: What is compressed at a time; the compressed bytes of a piece are held in memory.
_PIECE_BYTES: Final = 1 << 20


class NPZSink(BuildSink):
    """A numpy archive, one array per field."""

    suffixes = NPZFile.suffixes
    options: NPZFile

    def check(self) -> None:
        """See :class:`SinkBase`: one name per array, also for ``np.load``."""
        fields = self.schema.fields
        names = [TIMESTAMP, *(f.name for f in fields)]
        names += [offsets_name(f.name) for f in fields if f.kind != FIXED]
        check_names(names, f"arrays of {self.options.filename}", RENAME_OFFSETS)
        for name in set(names) & {f"{name}.npy" for name in names}:
            raise SchemaError(
                f"field {name!r}: np.load would open {name[:-4]!r} in its place", "rename the field"
            )

    def build(self, source: Source, path: Path, progress: Callable[[int], None]) -> None:
        """See :class:`BuildSink`."""
        method = zipfile.ZIP_DEFLATED if self.options.compressed else zipfile.ZIP_STORED
        passes = Passes(source, progress)
        groups = list(_groups(_arrays(self.schema, source.count, _survey(self.schema, passes))))
        passes.plan(len(groups))
        with path.open("wb") as file:
            with zipfile.ZipFile(file, "w", method, compresslevel=_LEVEL) as archive:
                for group in groups:
                    if len(group) == 1:
                        _stream(archive, group[0], passes.batches())
                    else:
                        _gather(archive, group, passes.batches())
            file.flush()
            os.fsync(file.fileno())


# --- which arrays --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Array:
    """An entry of the archive: what is in it, and how to get it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    #: The rows that a batch adds; called once per batch, in order.
    rows: Callable[[Batch], NDArray[Any]]
    #: The rows before those of the first batch.
    first: NDArray[Any] | None = None

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class _Extent:
    """What must be known of a field of varying size before its first byte can be written."""

    total: int = 0
    longest: int = 0
    plain_text: bool = True

    def add(self, column: Varying, kind: str) -> None:
        """Count the samples of one batch."""
        self.total += int(column.lengths.sum())
        if kind == STRING:
            for raw in column.split():
                self._look(bytes(raw))

    def _look(self, raw: bytes) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self.plain_text = False
            return
        self.longest = max(self.longest, len(text))
        self.plain_text &= not text.endswith("\0")  # numpy cuts it off

    @property
    def as_text(self) -> bool:
        """Whether the strings are one array of text."""
        return self.plain_text and self.longest <= MAX_TEXT


def _survey(schema: Schema, passes: Passes) -> dict[str, _Extent]:
    """The extents of all fields of varying size, by a pass of its own if there are any."""
    varying = [f for f in schema.fields if f.kind != FIXED]
    extents = {f.name: _Extent() for f in varying}
    if varying:
        passes.plan(2)  # this one, and what it will show to be needed
        for batch in passes.batches():
            for f in varying:
                extents[f.name].add(batch.varying(f.name), f.kind)
    return extents


def _arrays(schema: Schema, count: int, extents: dict[str, _Extent]) -> Iterator[_Array]:
    """The entries of the archive, in order."""
    yield _Array(TIMESTAMP, np.dtype("<f8"), (count,), lambda batch: batch.t)
    for f in schema.fields:
        if f.kind == FIXED:
            yield _Array(f.name, np.dtype(f.dtype), (count, *f.shape), _fixed(f.name))
            continue
        extent = extents[f.name]
        if f.kind == STRING and extent.as_text:
            dtype = np.dtype(f"<U{max(extent.longest, 1)}")
            yield _Array(f.name, dtype, (count,), _texts(f.name, dtype))
        else:
            yield from _with_offsets(f, count, extent.total)


def _with_offsets(f: Field, count: int, total: int) -> Iterator[_Array]:
    yield _Array(f.name, np.dtype(f.dtype), (total, *f.shape), _elements(f.name))
    name = offsets_name(f.name)
    yield _Array(name, np.dtype("<i8"), (count + 1,), Offsets(f.name), np.zeros(1, np.int64))


def _fixed(name: str) -> Callable[[Batch], NDArray[Any]]:
    return lambda batch: batch.fixed(name)


def _elements(name: str) -> Callable[[Batch], NDArray[Any]]:
    return lambda batch: batch.varying(name).values


def _texts(name: str, dtype: np.dtype[Any]) -> Callable[[Batch], NDArray[Any]]:
    return lambda batch: np.array(batch.varying(name).strings(), dtype)


# --- writing them --------------------------------------------------------------------------------


def _groups(arrays: Iterable[_Array]) -> Iterator[list[_Array]]:
    """Neighbouring arrays that share a pass."""
    group: list[_Array] = []
    size_bytes = 0
    for array in arrays:
        size_bytes += array.size_bytes
        if group and size_bytes > GATHER_BYTES:
            yield group
            group, size_bytes = [], array.size_bytes
        group.append(array)
    yield group


def _stream(archive: zipfile.ZipFile, array: _Array, batches: Iterator[Batch]) -> None:
    """Write one array as its rows come."""
    with _entry(archive, array) as entry:
        if array.first is not None:
            _write(entry, array, array.first)
        for batch in batches:
            _write(entry, array, array.rows(batch))


def _gather(archive: zipfile.ZipFile, group: list[_Array], batches: Iterator[Batch]) -> None:
    """Write several small arrays that one pass collects."""
    tables: list[NDArray[Any]] = [np.empty(a.shape, a.dtype) for a in group]
    ends = [0] * len(group)

    def add(i: int, rows: NDArray[Any]) -> None:
        begin, ends[i] = ends[i], ends[i] + len(rows)
        tables[i][begin : ends[i]] = rows

    for i, array in enumerate(group):
        if array.first is not None:
            add(i, array.first)
    for batch in batches:
        for i, array in enumerate(group):
            add(i, array.rows(batch))
    for array, table in zip(group, tables, strict=True):
        with _entry(archive, array) as entry:
            _write(entry, array, table)


@contextmanager
def _entry(archive: zipfile.ZipFile, array: _Array) -> Iterator[IO[bytes]]:
    """The entry of an array, open behind its header."""
    header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with archive.open(f"{array.name}.npy", "w", force_zip64=True) as entry:
        npy.write_array_header_1_0(entry, header)
        yield entry


def _write(entry: IO[bytes], array: _Array, rows: NDArray[Any]) -> None:
    if not rows.size:  # memoryviews of nothing cannot be cast
        return
    data = np.ascontiguousarray(rows, array.dtype).data.cast("B")
    for at in range(0, len(data), _PIECE_BYTES):
        entry.write(data[at : at + _PIECE_BYTES])
