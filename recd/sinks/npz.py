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

An archive's entries lie one behind the other, so each array that is streamed takes a pass over the log.
Arrays that together fit 64 MiB are collected in the first one, and lie behind the one that it streams.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from recd_client.errors import SchemaError
from recd_client.options import NPZFile
from recd_client.schema import FIXED, STRING, Field, Schema

from ..ahead import Helpers
from ..batch import Batch, Source, Varying
from .base import BuildSink
from .building import Offsets, Passes, Pieces, elements, fixed
from .deflating import PIECE_BYTES, THREADS, Deflater
from .names import RENAME_OFFSETS, TIMESTAMP, check_names, offsets_name
from .settling import Digest, Settling

#: What arrays that share a pass may take in memory together.
GATHER_BYTES: Final = 64 << 20
#: Longest string, in characters, for which every string takes the room of the longest.
MAX_TEXT: Final = 256


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

    def build(self, source: Source, path: Path, progress: Callable[[int], None]) -> Digest:
        """See :class:`BuildSink`."""
        passes = Passes(source, progress)
        arrays = list(_arrays(self.schema, source.count, _survey(self.schema, passes)))
        groups = _groups(arrays)
        passes.plan(len(groups))
        with path.open("w+b", buffering=0) as file, Settling(file.fileno()) as settling:
            with _Archive(_Stream(file, settling), compressed=self.options.compressed) as archive:
                for streamed, gathered in groups:
                    _write_group(archive, streamed, gathered, passes.batches())
                archive.sort(arrays)
            return settling.finish()


# --- which arrays --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
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
            yield _Array(f.name, np.dtype(f.dtype), (count, *f.shape), fixed(f.name))
            continue
        extent = extents[f.name]
        if f.kind == STRING and extent.as_text:
            dtype = np.dtype(f"<U{max(extent.longest, 1)}")
            yield _Array(f.name, dtype, (count,), _texts(f.name, dtype))
        else:
            yield from _with_offsets(f, count, extent.total)


def _with_offsets(f: Field, count: int, total: int) -> Iterator[_Array]:
    yield _Array(f.name, np.dtype(f.dtype), (total, *f.shape), elements(f.name))
    name = offsets_name(f.name)
    yield _Array(name, np.dtype("<i8"), (count + 1,), Offsets(f.name), np.zeros(1, np.int64))


def _texts(name: str, dtype: np.dtype[Any]) -> Callable[[Batch], NDArray[Any]]:
    return lambda batch: np.array(batch.varying(name).strings(), dtype)


# --- writing them --------------------------------------------------------------------------------


class _Stream:
    """A file that is written from front to back, as :mod:`zipfile` sees by what is missing here."""

    def __init__(self, file: io.FileIO, settling: Settling) -> None:
        self._file = file
        self._settling = settling
        self._end = 0

    def write(self, data: memoryview | bytes) -> int:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            done = self._file.write(rest)
            rest, self._end = rest[done:], self._end + done
        self._settling.settle(self._end)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class _Archive:
    """A zip file that is being written."""

    def __init__(self, stream: _Stream, *, compressed: bool) -> None:
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        self._helpers = Helpers(THREADS)
        self._deflater = Deflater(self._helpers) if compressed else None
        self._zip = zipfile.ZipFile(cast("IO[bytes]", stream), "w", method)

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *error: Any) -> None:
        with self._helpers:
            self._zip.__exit__(*error)

    @contextmanager
    def entry(self, array: _Array) -> Iterator[_Entry]:
        """The entry of an array, open behind its header."""
        header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
        with self._zip.open(_entry_name(array), "w", force_zip64=True) as file:
            if self._deflater is not None:
                # Where zipfile does not know it (any more), it compresses in this thread.
                file._compressor = self._deflater  # type: ignore[attr-defined]
            npy.write_array_header_1_0(file, header)
            entry = _Entry(file, array)
            yield entry
            entry.flush()

    def sort(self, arrays: list[_Array]) -> None:
        """Let the directory name the arrays in this order."""
        order = {_entry_name(array): i for i, array in enumerate(arrays)}
        self._zip.filelist.sort(key=lambda entry: order[entry.filename])


class _Entry(Pieces):
    """An array's rows, written in large pieces."""

    def __init__(self, file: IO[bytes], array: _Array) -> None:
        self._file = file
        row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
        rows = max(1, min(PIECE_BYTES // max(row_bytes, 1), array.shape[0]))
        super().__init__(np.empty((rows, *array.shape[1:]), array.dtype))

    def _write(self, count: int) -> None:
        rows = self._filling[:count]
        if rows.size:  # memoryviews of nothing cannot be cast
            data = rows.data.cast("B")
            for at in range(0, len(data), PIECE_BYTES):
                self._file.write(data[at : at + PIECE_BYTES])


def _entry_name(array: _Array) -> str:
    return f"{array.name}.npy"


_Group = tuple[_Array | None, list[_Array]]


def _groups(arrays: list[_Array]) -> list[_Group]:
    """Arrays that share a pass: one that is written as its rows come, and those that are collected meanwhile."""
    gathered: list[_Array] = []
    size_bytes = 0
    for array in sorted(arrays, key=lambda a: a.size_bytes):
        size_bytes += array.size_bytes
        if size_bytes <= GATHER_BYTES:
            gathered.append(array)
    streamed = [a for a in arrays if a not in gathered]
    if not streamed:
        return [(None, gathered)]
    return [(streamed[0], gathered), *((array, []) for array in streamed[1:])]


def _write_group(
    archive: _Archive, streamed: _Array | None, gathered: list[_Array], batches: Iterator[Batch]
) -> None:
    """Write some arrays with one pass over the log."""
    tables = [_Table(array) for array in gathered]
    with ExitStack() as stack:
        into: list[tuple[_Array, _Table | _Entry]] = [*zip(gathered, tables, strict=True)]
        if streamed is not None:
            into.append((streamed, stack.enter_context(archive.entry(streamed))))
        for array, rows in into:
            if array.first is not None:
                rows.take(array.first)
        for batch in batches:
            for array, rows in into:
                rows.take(array.rows(batch))
    for array, table in zip(gathered, tables, strict=True):
        with archive.entry(array) as entry:
            entry.take(table.rows)


class _Table:
    """A small array that is collected whole."""

    def __init__(self, array: _Array) -> None:
        self.rows: NDArray[Any] = np.empty(array.shape, array.dtype)
        self._end = 0

    def take(self, rows: NDArray[Any]) -> None:
        """Add rows."""
        begin, self._end = self._end, self._end + len(rows)
        self.rows[begin : self._end] = rows
