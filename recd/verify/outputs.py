"""Whether a data file is what its manifest says: its bytes, and what its format's own reader finds.

Everything is read from the first byte to the last, in blocks, so that memory does not grow with the file.
"""

from __future__ import annotations

import csv
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from recd_client.errors import OutputError, RecdError
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema

from ..parts import hash_file
from ..sinks.csv_rows import column_names
from ..sinks.names import TIMESTAMP, offsets_name

_BLOCK_BYTES: Final = 1 << 20
#: What readers raise over a damaged file.
_DAMAGE: Final = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zlib.error, struct.error,
    zipfile.BadZipFile, csv.Error,
)  # fmt: skip

Times = NDArray[np.float64]
_NONE: Final = np.empty(0)


def check_hash(path: Path, sha256: str, advance: Callable[[int], None]) -> str:
    """``ok``, ``differs``, ``missing`` or ``unreadable``.

    Parameters
    ----------
    advance : callable
        Called now and then with the number of bytes read since the last call.
    """
    done = 0

    def step(total: int) -> None:
        nonlocal done
        advance(total - done)
        done = total

    try:
        found, _ = hash_file(path, step)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
    return "ok" if found == sha256 else "differs"


def read_through(path: Path, kind: str, schema: Schema | None) -> Iterator[Times]:
    """The times of all samples in a file, in blocks; the whole file is read, and fits its schema.

    Parameters
    ----------
    schema : Schema, optional
        What a sample must look like.

    Raises
    ------
    OutputError
        The file is damaged: what, and where in it.
    """
    # Variable strings are what its library can loop over; for the others a process each is not worth it.
    if kind == "hdf5" and (schema is None or any(f.kind == STRING for f in schema.fields)):
        from . import apart

        return apart.read_through(path, schema)
    return read_here(path, kind, schema)


def read_here(path: Path, kind: str, schema: Schema | None) -> Iterator[Times]:
    """The same in this process, whatever the format's library does."""
    try:
        yield from _READERS[kind](path, schema)
    except RecdError:
        raise
    except _DAMAGE as e:
        raise OutputError(f"no readable {kind} file: {e}") from e


# --- CSV ------------------------------------------------------------------------------------------


def _csv(path: Path, schema: Schema | None) -> Iterator[Times]:
    csv.field_size_limit(sys.maxsize)
    times: list[float] = []
    with open(path, newline="", encoding="utf-8") as text:
        rows = csv.reader(text, strict=True)
        header = next(rows, [])
        if not header or header[0] != TIMESTAMP:
            raise OutputError("the header is missing")
        if schema is not None and len(header) != 1 + len(column_names(schema)):
            raise OutputError(f"{len(header)} columns instead of {1 + len(column_names(schema))}")
        for number, row in enumerate(rows):
            if len(row) != len(header):
                raise OutputError(
                    f"row {number} (line {rows.line_num}) has {len(row)} cells instead of {len(header)}"
                )
            try:
                times.append(float(row[0]))
            except ValueError:
                raise OutputError(f"row {number} (line {rows.line_num}) begins with no time") from None
            if len(times) == _BLOCK_BYTES // 8:
                yield np.array(times)
                times.clear()
    with open(path, "rb") as f:
        f.seek(-1, 2)
        if f.read(1) != b"\n":
            raise OutputError("the last row is torn")
    yield np.array(times)


# --- NPZ ------------------------------------------------------------------------------------------


def array_header(f: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an entry of an archive, which is read on behind its header."""
    version = npy.read_magic(f)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(f)
    if fortran_order or dtype.hasobject:
        raise OutputError("an array that recd does not write")
    return tuple(shape), dtype


def _npz(path: Path, schema: Schema | None) -> Iterator[Times]:
    with zipfile.ZipFile(path) as archive:
        shapes = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            try:
                with archive.open(member) as f:
                    shape, dtype = shapes[name] = array_header(f)
                    left = math.prod(shape) * dtype.itemsize
                    while block := f.read(_BLOCK_BYTES // 8 * 8):  # its checksum is proved at the end
                        left -= len(block)
                        if name == TIMESTAMP:
                            yield np.frombuffer(block[: len(block) // 8 * 8], "<f8")
                    if left:
                        raise OutputError(
                            f"{-left if left < 0 else left} bytes too {'many' if left < 0 else 'few'}"
                        )
            except _DAMAGE as e:
                raise OutputError(f"array {name!r}: {e}") from e
    with np.load(path, allow_pickle=False) as file:
        if {*file.files} != {*shapes}:
            raise OutputError("np.load finds other arrays")
    _fits(schema, {name: (shape, str(dtype.str)) for name, (shape, dtype) in shapes.items()})


def _fits(schema: Schema | None, shapes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Every field has its array, of the right shape."""
    if TIMESTAMP not in shapes:
        raise OutputError(f"there is no {TIMESTAMP!r}")
    (count,) = shapes[TIMESTAMP][0]
    for f in schema.fields if schema is not None else ():
        expected = {f.name: _expected(f, count, shapes)}
        if f.kind == RAGGED:
            expected[offsets_name(f.name)] = ((count + 1,), "<i8")
        for name, (shape, dtype) in expected.items():
            if name not in shapes:
                raise OutputError(f"there is no {name!r}")
            if shapes[name] != (shape, dtype or shapes[name][1]):
                raise OutputError(f"{name!r} is {shapes[name]}, not {(shape, dtype)}")


def _expected(f: Field, count: int, shapes: dict[str, tuple[tuple[int, ...], str]]) -> tuple[Any, str]:
    """Shape and dtype of a field's array, as far as the schema tells (an empty one: any)."""
    if f.kind == FIXED:
        return (count, *f.shape), f.dtype
    found = shapes.get(f.name, ((0,), ""))[0]
    if f.kind == STRING and offsets_name(f.name) not in shapes:
        return (count,), ""
    return (found[0] if found else 0, *f.shape), "" if f.kind == STRING else f.dtype


# --- HDF5 -----------------------------------------------------------------------------------------


def _hdf5(path: Path, schema: Schema | None) -> Iterator[Times]:
    import h5py

    with h5py.File(path, "r") as file:
        shapes = {}
        for name, dataset in file.items():
            text = h5py.check_string_dtype(dataset.dtype) is not None
            shapes[name] = (tuple(dataset.shape), "" if text else str(dataset.dtype.str))
            _check_rows(name, dataset)
            step = _rows_at_once(dataset)
            for at in range(0, len(dataset), step):
                try:
                    block = dataset[at : at + step]
                except _DAMAGE as e:
                    raise OutputError(f"dataset {name!r}, from row {at}: {e}") from e
                yield block if name == TIMESTAMP else _NONE  # a sign of life
    _fits(schema, shapes)


def _check_rows(name: str, dataset: Any) -> None:
    """Rows that were never written read as zeros, as many as a damaged header says."""
    if dataset.chunks is None:
        raise OutputError(f"dataset {name!r} is none that recd writes")
    if dataset.size and len(dataset) > dataset.id.get_num_chunks() * dataset.chunks[0]:
        raise OutputError(f"dataset {name!r} has {len(dataset)} rows, of which many are not in the file")


def _rows_at_once(dataset: Any) -> int:
    """Rows of a dataset that take about a MiB, in whole chunks."""
    row_bytes = max(int(np.prod(dataset.shape[1:], dtype=np.int64)) * dataset.dtype.itemsize, 1)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    return max(int(_BLOCK_BYTES // row_bytes) // chunk, 1) * int(chunk)


# --- video ----------------------------------------------------------------------------------------


def count_frames(path: Path) -> int:
    """The number of frames, every one of which decodes.

    Raises
    ------
    OutputError
        The file is damaged, or says that it has more.
    """
    from ..video import counting, files

    listed, found = files.describe(path).frames, files.count_frames(path)
    if found != listed:
        raise OutputError(f"{found} frames decode, {listed} are listed")
    if not counting.is_complete(path):
        raise OutputError("it ends too early: its index is missing, or it is not finished")
    return found


_READERS: Final[dict[str, Callable[[Path, Schema | None], Iterator[Times]]]] = {
    "csv": _csv,
    "npz": _npz,
    "hdf5": _hdf5,
}
#: What :func:`read_through` reads.
KINDS: Final = tuple(_READERS)
