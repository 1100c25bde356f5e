"""Rows of an NPZ file. Arrays that are not compressed are mapped into memory where they stand in the archive."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from recd_client.errors import OutputError, RecdError
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema

from ..sinks.names import TIMESTAMP, offsets_name
from .tables import Rows, Table, field_of, items_in, split_at, text_rows

_LOCAL_HEADER: Final = struct.Struct("<4s5HIIIHH")
_DAMAGE: Final = (OSError, ValueError, KeyError, EOFError, zlib.error, struct.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class _Entry:
    """An array of the archive."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: Where its elements begin in the file; None if they are compressed.
    offset: int | None


class NPZTable(Table):
    """One part of a stream, in an archive."""

    kind: ClassVar = "npz"

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        self.path = path
        self._kept: dict[str, NDArray[Any]] = {}
        super().__init__(path, schema or _schema_of(self._entries))

    @cached_property
    def _entries(self) -> dict[str, _Entry]:
        try:
            with zipfile.ZipFile(self.path) as archive, open(self.path, "rb") as raw:
                return {m.filename.removesuffix(".npy"): _entry(archive, m, raw) for m in archive.infolist()}
        except _DAMAGE as e:
            raise _unreadable(self.path, e) from e

    @property
    def count(self) -> int:
        """See :class:`Table`."""
        return self._entry(TIMESTAMP).shape[0]

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise OutputError(
                f"{self.path} has no array {name!r}, only {', '.join(self._entries) or 'none'}",
                "look closer with: recd verify",
            ) from None

    def mapped(self, name: str) -> NDArray[Any] | None:
        """See :class:`Table`."""
        entry, field = self._entry(name), field_of(self.schema, name)
        if entry.offset is None or (field is not None and field.kind != FIXED):
            return None
        return self._array(name)

    def _array(self, name: str) -> NDArray[Any]:
        """A whole array: mapped, or (it was compressed) unpacked once and kept."""
        if name not in self._kept:
            entry = self._entry(name)
            try:
                if entry.offset is not None and items_in(entry.shape) and entry.dtype.itemsize:
                    self._kept[name] = np.memmap(self.path, entry.dtype, "r", entry.offset, entry.shape)
                else:
                    with np.load(self.path, allow_pickle=False) as archive:
                        self._kept[name] = archive[name]
                    self._kept[name].flags.writeable = False
            except _DAMAGE as e:
                raise _unreadable(self.path, e) from e
        return self._kept[name]

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """See :class:`Table`."""
        field = field_of(self.schema, name)
        array = self._array(name)
        if field is None or field.kind == FIXED:
            return array[start:stop]
        if array.dtype.kind == "U":
            return text_rows(array[start:stop].tolist())
        offsets = self._array(offsets_name(name))[start : stop + 1]
        return split_at(offsets, array[offsets[0] : offsets[-1]])

    def scan(self, names: Sequence[str], rows: int, start: int, stop: int) -> Iterator[dict[str, Rows]]:
        """See :class:`Table`; what is compressed is unpacked as it goes, and not kept."""
        if all(e.offset is not None for e in self._entries.values()):
            yield from super().scan(names, rows, start, stop)
            return
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                flows = {name: _Flow(self, archive, stack, name) for name in names}
                for flow in flows.values():
                    flow.skip(start)
                for at in range(start, stop, rows):
                    yield {name: flow.take(min(rows, stop - at)) for name, flow in flows.items()}
            except RecdError:
                raise
            except _DAMAGE as e:
                raise _unreadable(self.path, e) from e

    def close(self) -> None:
        """See :class:`Table`; arrays that were given out stay valid."""
        self._kept.clear()


class _Flow:
    """One column, unpacked from front to back."""

    def __init__(self, table: NPZTable, archive: zipfile.ZipFile, stack: ExitStack, name: str) -> None:
        self._values = _Stream(archive, stack, name)
        field = field_of(table.schema, name)
        self._text = self._values.dtype.kind == "U"
        varies = field is not None and field.kind != FIXED and not self._text
        self._offsets = _Stream(archive, stack, offsets_name(name)) if varies else None
        self._last = self._offsets.take(1) if self._offsets is not None else None

    def skip(self, count: int) -> None:
        while count > 0:
            step = min(count, 1 << 14)
            self.take(step)
            count -= step

    def take(self, count: int) -> Rows:
        if self._offsets is None or self._last is None:
            rows = self._values.take(count)
            return text_rows(rows.tolist()) if self._text else rows
        offsets = np.concatenate([self._last, self._offsets.take(count)])
        self._last = offsets[-1:]
        return split_at(offsets, self._values.take(int(offsets[-1] - offsets[0])))


class _Stream:
    """An array of an archive, unpacked from front to back."""

    def __init__(self, archive: zipfile.ZipFile, stack: ExitStack, name: str) -> None:
        self._file = stack.enter_context(archive.open(f"{name}.npy"))
        shape, self.dtype = _npy_header(self._file)
        self._shape = shape[1:]
        self._row_bytes = math.prod(self._shape) * self.dtype.itemsize

    def take(self, count: int) -> NDArray[Any]:
        raw = self._file.read(count * self._row_bytes)
        if len(raw) < count * self._row_bytes:
            raise EOFError("an array ends too early")
        return np.frombuffer(raw, self.dtype).reshape(count, *self._shape)


def _entry(archive: zipfile.ZipFile, member: zipfile.ZipInfo, raw: IO[bytes]) -> _Entry:
    with archive.open(member) as file:
        shape, dtype = _npy_header(file)
        header_bytes = file.tell()
    if member.compress_type != zipfile.ZIP_STORED:
        return _Entry(shape, dtype, None)
    raw.seek(member.header_offset)
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
    begin = member.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    return _Entry(shape, dtype, begin + header_bytes)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if fortran_order or dtype.hasobject:
        raise ValueError("an array that recd does not write")
    return tuple(shape), dtype


def _schema_of(entries: dict[str, _Entry]) -> Schema:
    """What the samples look like, from the arrays alone."""
    offsets = {offsets_name(name) for name in entries if offsets_name(name) in entries}
    fields = []
    for name, entry in entries.items():
        if name == TIMESTAMP or name in offsets:
            continue
        if entry.dtype.kind == "U":
            fields.append(Field(name, "|u1", (), STRING))
        else:
            kind = RAGGED if offsets_name(name) in offsets else FIXED
            fields.append(Field(name, entry.dtype.str, entry.shape[1:], kind))
    return Schema(tuple(fields), bare=[f.name for f in fields] == ["data"])


def _unreadable(path: Path, error: Exception) -> OutputError:
    return OutputError(f"{path} is no readable npz file: {error}", "look closer with: recd verify")
