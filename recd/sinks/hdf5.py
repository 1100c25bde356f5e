"""HDF5 files: one resizable dataset per field, in one pass over the log.

======================  ==========================================================================
``timestamp``           ``(n,) float64``, stream time; its attribute ``units`` is ``"s"``
a field                 ``(n, *shape)`` under its name, with ``units`` if the field has a unit
a ragged field          all elements one behind the other, ``(total, *element shape)``, and
                        ``NAME_offsets``, ``(n + 1,) int64``: sample ``i`` is
                        ``NAME[offsets[i]:offsets[i + 1]]``
a string field          ``(n,)`` UTF-8 strings of variable length, never compressed. They can hold no
                        NUL: it becomes U+FFFD, and so do bytes that are no UTF-8
the file                attributes ``stream`` and ``metadata`` (JSON, the whole of it), and every
                        string, number and bool of the metadata once more under its own name
======================  ==========================================================================

The format is that of HDF5 1.8 (2008), so old readers open it. With ``compression``, bytes are
shuffled first, which makes floats compressible.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from recd_client.errors import SchemaError
from recd_client.options import HDF5File
from recd_client.schema import FIXED, RAGGED

from ..batch import Batch, Source
from .base import BuildSink
from .building import Offsets, Passes, Pieces, elements, fixed
from .hdf5_output import Output
from .names import RENAME_OFFSETS, TIMESTAMP, check_names, offsets_name
from .settling import Digest, Settling

#: A chunk of HDF5 must be smaller.
_MAX_CHUNK_BYTES: Final = 1 << 32
#: What the chunks that are being filled may take in memory together, if chunks of 4 KiB allow it.
_FILLING_BYTES: Final = 64 << 20
_LEAST_CHUNK_BYTES: Final = 4096
#: Elements per sample that a ragged field is taken to have. It matters to short files only: a chunk
#: takes its whole room on disk, however little is in it.
_RAGGED_GUESS: Final = 16
#: References to strings take 16 bytes each; the strings lie elsewhere in the file.
_STRINGS_PER_CHUNK: Final = 4096


class HDF5Sink(BuildSink):
    """An HDF5 file, one dataset per field."""

    suffixes = HDF5File.suffixes
    options: HDF5File

    def check(self) -> None:
        """See :class:`SinkBase`: one name per dataset, and sizes that HDF5 has room for."""
        fields = self.schema.fields
        offsets = [offsets_name(f.name) for f in fields if f.kind == RAGGED]
        names = [TIMESTAMP, *(f.name for f in fields), *offsets]
        check_names(names, f"datasets of {self.options.filename}", RENAME_OFFSETS)
        for f in fields:
            if f.name == ".":
                raise SchemaError("field '.': HDF5 means the file itself by this name", "rename the field")
            if f.element_bytes >= _MAX_CHUNK_BYTES:
                raise SchemaError(
                    f"field {f.name!r}: expected less than 4 GiB per sample, got {f}", "split the field"
                )

    def build(self, source: Source, path: Path, progress: Callable[[int], None]) -> Digest:
        """See :class:`BuildSink`."""
        # Whole chunks are written, so HDF5's own cache of chunks would only cost memory.
        layout = {"libver": ("v108", "v108"), "track_order": True, "rdcc_nbytes": 0}
        batches = Passes(source, progress).batches()
        with Output(path) as output, Settling(output.fileno()) as settling:
            with h5py.File(path, "w", "fileobj", fileobj=output, **layout) as file:
                self._describe(file)
                columns = self._columns(file, source.count)
                placed = [c for c in columns if isinstance(c, _Chunked)] if self._plain else []
                _lay_out(output, placed, source.count)
                if not placed:
                    for batch in batches:
                        for column in columns:
                            column.add(batch)
                        output.check()
                    for column in columns:
                        column.finish()
            output.check()
            if placed:
                size_bytes = os.fstat(output.fileno()).st_size
                for batch in batches:
                    for chunked in placed:
                        chunked.add(batch)
                    settling.settle(min(size_bytes, *(c.reached for c in placed)))
                for chunked in placed:
                    chunked.finish()
            return settling.finish()

    @property
    def _plain(self) -> bool:
        """Whether every chunk's size is known before its content."""
        return self.options.compression is None and self.schema.fixed_size

    def _describe(self, file: h5py.File) -> None:
        """Attributes of the whole file."""
        metadata: Mapping[str, Any] = self.info.get("metadata") or {}
        own = {"stream": str(self.info.get("name", "")), "metadata": json.dumps(metadata)}
        for key, value in {**metadata, **own}.items():
            if 0 < len(key) <= 255 and key == _text(key) and _is_plain(value):
                file.attrs[key] = _text(value) if isinstance(value, str) else value

    def _columns(self, file: h5py.File, count: int) -> list[_Column]:
        """The datasets, made in the order of the fields."""
        room_bytes = _FILLING_BYTES // (len(self.schema.fields) + 1)
        chunk_bytes = min(self.options.chunk_bytes, max(room_bytes, _LEAST_CHUNK_BYTES))
        make = _DatasetMaker(file, chunk_bytes, self.options.compression)
        columns: list[_Column] = [_Chunked(make(TIMESTAMP, "<f8", (), count, "s"), lambda batch: batch.t)]
        for f in self.schema.fields:
            if f.kind == FIXED:
                columns.append(_Chunked(make(f.name, f.dtype, f.shape, count, f.unit), fixed(f.name)))
            elif f.kind == RAGGED:
                most = count * _RAGGED_GUESS
                columns.append(_Chunked(make(f.name, f.dtype, f.shape, most, f.unit), elements(f.name)))
                offsets = make(offsets_name(f.name), "<i8", (), count + 1, "")
                columns.append(_Chunked(offsets, Offsets(f.name), np.zeros(1, np.int64)))
            else:
                columns.append(_Strings(make.strings(f.name, count, f.unit), f.name))
        return columns


def _is_plain(value: object) -> bool:
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, (str, float))


def _text(text: str) -> str:
    """``text`` as HDF5 can hold it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


# --- datasets ------------------------------------------------------------------------------------


class _DatasetMaker:
    """Makes empty datasets that can grow."""

    def __init__(self, file: h5py.File, chunk_bytes: int, compression: str | None) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._filters = {"compression": compression, "shuffle": True} if compression else {}

    def __call__(self, name: str, dtype: str, shape: tuple[int, ...], most: int, unit: str) -> h5py.Dataset:
        """A dataset whose chunks are no larger than ``most`` rows can fill."""
        row_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        rows = max(1, min(self._chunk_bytes // max(row_bytes, 1), most))
        return self._made(name, np.dtype(dtype), shape, rows, unit, **self._filters)

    def strings(self, name: str, most: int, unit: str) -> h5py.Dataset:
        """A dataset of strings."""
        rows = max(1, min(_STRINGS_PER_CHUNK, most))
        return self._made(name, h5py.string_dtype(), (), rows, unit)

    def _made(
        self, name: str, dtype: Any, shape: tuple[int, ...], chunk_rows: int, unit: str, **filters: Any
    ) -> h5py.Dataset:
        dataset = self._file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *(n or None for n in shape)),  # HDF5 fixes no axis at length 0
            chunks=(chunk_rows, *(n or 1 for n in shape)),
            dtype=dtype,
            **filters,
        )
        if unit:
            dataset.attrs["units"] = _text(unit)
        return dataset


class _Chunked(Pieces):
    """A dataset that is written in whole chunks, each of which is filled first."""

    def __init__(
        self,
        dataset: h5py.Dataset,
        rows: Callable[[Batch], NDArray[Any]],
        first: NDArray[Any] | None = None,
    ) -> None:
        super().__init__(np.zeros((dataset.chunks[0], *dataset.shape[1:]), dataset.dtype))
        self._dataset = dataset
        self._rows = rows
        self._written = 0
        self._output: Output | None = None
        #: Offsets of the chunks that are still to be written, the next one last.
        self._places: list[int] = []
        if first is not None:
            self.take(first)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        self.take(self._rows(batch))

    def finish(self) -> None:
        """Write what there is of the last chunk, and zeros behind it."""
        self._filling[self._filled :] = np.zeros((), self._filling.dtype)
        self.flush()

    def _write(self, count: int) -> None:
        begin, self._written = self._written, self._written + count
        if self._output is not None:
            if self._places:
                self._output.put(self._filling.data.cast("B"), self._places.pop())
            return
        self._dataset.resize(self._written, axis=0)
        if self._dataset.compression is not None:
            self._dataset[begin:] = self._filling[:count]
        elif self._filling.size:
            self._write_past_filters(begin)

    def _write_past_filters(self, begin: int) -> None:
        """Give the chunk to the file as it is."""
        self._dataset.id.write_direct_chunk((begin, *(0 for _ in self._filling.shape[1:])), self._filling)

    # --- chunks that have their places before they are written ---

    def ends(self, count: int, index: int) -> Iterator[tuple[int, int]]:
        """For each of the chunks of ``count`` rows: the row behind it, and ``index``."""
        size = len(self._filling)
        return ((end, index) for end in range(size, count + size, size))

    def resize(self, count: int) -> None:
        """The dataset has its final size."""
        self._dataset.resize(count, axis=0)

    def place(self, output: Output, end: int) -> None:
        """Let HDF5 find the place of the chunk that ends before row ``end``, without writing it."""
        self._output = output
        if self._filling.size:
            output.placeholder = self._filling
            self._write_past_filters(end - len(self._filling))
            (place,) = output.places
            output.places.clear()
            self._places.append(place)

    def begin(self) -> None:
        """All chunks have their places."""
        self._places.reverse()

    @property
    def reached(self) -> int:
        """Nothing before this offset will be written any more."""
        return self._places[-1] if self._places else sys.maxsize


def _lay_out(output: Output, columns: list[_Chunked], count: int) -> None:
    """Give all chunks their places, in the order in which they will be full.

    So the file is complete but for them, and can be written, hashed and synced from front to back.
    """
    for column in columns:
        column.resize(count)
    for end, index in heapq.merge(*(column.ends(count, i) for i, column in enumerate(columns))):
        columns[index].place(output, end)
    output.placeholder = None
    for column in columns:
        column.begin()


class _Strings:
    """A dataset of strings; what is written are references, so whole chunks matter little."""

    def __init__(self, dataset: h5py.Dataset, name: str) -> None:
        self._dataset = dataset
        self._name = name

    def add(self, batch: Batch) -> None:
        """Take the strings of a batch."""
        strings = [text.replace("\0", "\ufffd") for text in batch.varying(self._name).strings()]
        end = len(self._dataset)
        self._dataset.resize(end + len(strings), axis=0)
        if strings:
            self._dataset[end:] = np.array(strings, object)

    def finish(self) -> None:
        """Nothing is held back."""


_Column = _Chunked | _Strings
