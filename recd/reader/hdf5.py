"""Rows of an HDF5 file, read as they are asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recd_client.errors import OutputError
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema

from ..sinks.names import TIMESTAMP, offsets_name
from .tables import Rows, Table, field_of, split_at, text_rows


class HDF5Table(Table):
    """One part of a stream, in an HDF5 file."""

    kind: ClassVar = "hdf5"

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        self.path = path
        self._datasets: dict[str, Any] = {}
        super().__init__(path, schema or self._own_schema())

    @cached_property
    def _file(self) -> Any:
        import h5py

        try:
            # No lock: a directory that cannot be written, or a file system without locks, can be read all the same.
            return h5py.File(self.path, "r", locking=False)
        except OSError as e:
            raise self._unreadable(e) from e

    @property
    def count(self) -> int:
        """See :class:`Table`."""
        return int(self._dataset(TIMESTAMP).shape[0])

    def _dataset(self, name: str) -> Any:
        if name not in self._datasets:
            if name not in self._file:
                raise OutputError(
                    f"{self.path} has no dataset {name!r}, only {', '.join(self._file) or 'none'}",
                    "look closer with: recd verify",
                )
            self._datasets[name] = self._file[name]
        return self._datasets[name]

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """See :class:`Table`."""
        field, dataset = field_of(self.schema, name), self._dataset(name)
        try:
            if field is None or field.kind == FIXED:
                return np.asarray(dataset[start:stop])
            if field.kind == STRING and offsets_name(name) not in self._file:
                return text_rows(dataset.asstr(errors="replace")[start:stop].tolist())
            offsets = np.asarray(self._dataset(offsets_name(name))[start : stop + 1])
            return split_at(offsets, np.asarray(dataset[offsets[0] : offsets[-1]]))
        except (OSError, ValueError) as e:
            raise self._unreadable(e) from e

    def _own_schema(self) -> Schema:
        """What the samples look like, from the datasets alone."""
        import h5py

        names = [n for n, item in self._file.items() if isinstance(item, h5py.Dataset) and n != TIMESTAMP]
        offsets = {offsets_name(name) for name in names} & {*names}
        fields = []
        for name in names:
            dataset = self._file[name]
            unit = dataset.attrs.get("units", "")
            unit = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)
            if name in offsets:
                continue
            if h5py.check_string_dtype(dataset.dtype) is not None:
                fields.append(Field(name, "|u1", (), STRING, unit))
            else:
                kind = RAGGED if offsets_name(name) in offsets else FIXED
                fields.append(Field(name, dataset.dtype.str, tuple(dataset.shape[1:]), kind, unit))
        return Schema(tuple(fields), bare=[f.name for f in fields] == ["data"])

    def _unreadable(self, error: Exception) -> OutputError:
        return OutputError(f"{self.path} is no readable hdf5 file: {error}", "look closer with: recd verify")

    def close(self) -> None:
        """See :class:`Table`."""
        if "_file" in self.__dict__:
            self._datasets.clear()
            self._file.close()
            del self._file
