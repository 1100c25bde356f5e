"""Whether an output file is what its stretch of the log says, sample by sample, bit by bit."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError
from recd_client.options import CSVFile, SinkOptions
from recd_client.schema import FIXED, STRING, Schema

from ..batch import Batch, Source
from ..sinks.csv_python import text_of
from ..sinks.names import TIMESTAMP, offsets_name
from .outputs import array_header


def compare(
    path: Path,
    options: SinkOptions,
    source: Source,
    advance: Callable[[int], None],
    size_bytes: int | None = None,
) -> str:
    """Where the file first differs from the log; empty if it does not.

    Parameters
    ----------
    source : Source
        The part's stretch of the log.
    advance : callable
        Called now and then with the bytes of records that were compared since the last call.
    size_bytes : int, optional
        A file that still grows is compared up to here.

    Raises
    ------
    OutputError, OSError, ValueError
        The file cannot be read.
    """
    if options.kind == "csv":
        return _compare_csv(path, options, source, advance, size_bytes)
    with ExitStack() as stack:
        table: _Table = (_NpzTable if options.kind == "npz" else _HDF5Table)(path, stack)
        return _compare_table(table, source, advance)


#: Kinds of files that can be compared: lossy pictures cannot.
KINDS: Final = frozenset({"csv", "npz", "hdf5"})


def _bytes_of(batch: Batch) -> int:
    return len(batch) * max(batch.schema.stride_bytes, 64)


# --- CSV ------------------------------------------------------------------------------------------


def _compare_csv(
    path: Path,
    options: SinkOptions,
    source: Source,
    advance: Callable[[int], None],
    size_bytes: int | None,
) -> str:
    row = 0
    head, rows = text_of(options if isinstance(options, CSVFile) else CSVFile(path), source.schema)
    with open(path, "rb") as f:
        if f.read(len(head)) != head:
            return "the header is another one"
        for batch in source.batches():
            expected = rows.text(batch)
            found = f.read(len(expected))
            if found != expected:
                pairs = zip(expected.splitlines(), found.splitlines(), strict=False)
                same = sum(1 for _ in itertools.takewhile(lambda p: p[0] == p[1], pairs))
                return f"it differs from the log in row {row + same}"
            row += len(batch)
            advance(_bytes_of(batch))
        more = (size_bytes is None and f.read(1)) or (size_bytes is not None and f.tell() != size_bytes)
        return f"it has something behind row {row - 1}, the last one in the log" if more else ""


# --- arrays ---------------------------------------------------------------------------------------


class _Table(Protocol):
    """Arrays of a file, each read from the first row to the last."""

    def take(self, name: str, count: int) -> NDArray[Any] | None:
        """The next rows, fewer at the end; None if there is no such array."""
        ...


class _NpzTable:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        archive = stack.enter_context(zipfile.ZipFile(path))
        self._entries: dict[str, tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]] = {}
        for member in archive.infolist():
            entry = stack.enter_context(archive.open(member))
            shape, dtype = array_header(entry)
            self._entries[member.filename.removesuffix(".npy")] = (entry, shape[1:], dtype)

    def take(self, name: str, count: int) -> NDArray[Any] | None:
        if name not in self._entries:
            return None
        entry, shape, dtype = self._entries[name]
        row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not row_bytes:
            return np.empty((count, *shape), dtype)
        raw = entry.read(count * row_bytes)
        return np.frombuffer(raw[: len(raw) // row_bytes * row_bytes], dtype).reshape(-1, *shape)


class _HDF5Table:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        import h5py

        self._is_text = h5py.check_string_dtype
        self._file = stack.enter_context(h5py.File(path, "r"))
        self._at: dict[str, int] = {}

    def take(self, name: str, count: int) -> NDArray[Any] | None:
        if name not in self._file:
            return None
        dataset, at = self._file[name], self._at.get(name, 0)
        self._at[name] = at + count
        if self._is_text(dataset.dtype) is not None:
            return np.array(dataset.asstr(errors="replace")[at : at + count], object)
        rows: NDArray[Any] = dataset[at : at + count]
        return rows


def _compare_table(table: _Table, source: Source, advance: Callable[[int], None]) -> str:
    schema, row = source.schema, 0
    ends = {f.name: 0 for f in schema.fields if f.kind != FIXED}
    for name in ends:
        first = table.take(offsets_name(name), 1)
        if first is not None and first.tolist() != [0]:
            return f"{offsets_name(name)!r} does not begin with 0"
    for batch in source.batches():
        for name, expected in _columns(schema, batch, ends, table):
            found = table.take(name, len(expected))
            if found is None:
                return f"there is no {name!r}"
            at = _first_difference(found, expected)
            if at is not None:
                where = f"sample {row + at}" if len(expected) == len(batch) else f"samples from {row} on"
                return f"{name!r} differs from the log in {where}"
        row += len(batch)
        advance(_bytes_of(batch))
    for name in (TIMESTAMP, *(f.name for f in schema.fields)):
        more = table.take(name, 1)
        if more is not None and len(more) and more.size:
            return f"{name!r} has more than the {row} samples in the log"
    return ""


def _columns(
    schema: Schema, batch: Batch, ends: dict[str, int], table: _Table
) -> Iterator[tuple[str, NDArray[Any]]]:
    """What the arrays must hold for these samples."""
    yield TIMESTAMP, batch.t
    for f in schema.fields:
        if f.kind == FIXED:
            yield f.name, batch.fixed(f.name)
            continue
        column = batch.varying(f.name)
        offsets = ends[f.name] + np.cumsum(column.lengths, dtype=np.int64)
        if f.kind == STRING and table.take(offsets_name(f.name), 0) is None:
            yield f.name, np.array(column.strings(), object)
            continue
        ends[f.name] = int(offsets[-1]) if len(offsets) else ends[f.name]
        yield f.name, column.values
        yield offsets_name(f.name), offsets


def _first_difference(found: NDArray[Any], expected: NDArray[Any]) -> int | None:
    """The first row that is not, bit by bit, what it must be."""
    n = min(len(found), len(expected))
    if expected.dtype == object:
        texts = [str(text) for text in found.tolist()]
        same = [a in (b, b.replace("\0", "\ufffd")) for a, b in zip(texts, expected.tolist(), strict=False)]
        return (
            None if len(found) == len(expected) and all(same) else (same.index(False) if False in same else n)
        )
    if found.shape[1:] != expected.shape[1:] or found.dtype.newbyteorder("=") != expected.dtype.newbyteorder(
        "="
    ):
        raise OutputError(
            f"it holds {found.dtype} {found.shape[1:]}, not {expected.dtype} {expected.shape[1:]}"
        )
    a, b = (
        np.ascontiguousarray(x[:n]).view(np.uint8).reshape(n, -1) if n else x[:0] for x in (found, expected)
    )
    if not np.array_equal(a, b):
        return int(np.flatnonzero((a != b).any(axis=1))[0])
    return None if len(found) == len(expected) else n
