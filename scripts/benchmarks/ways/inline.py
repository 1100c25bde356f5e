"""Files written by hand, in the loop."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

from ..kinds import ARRAYS, FIELDS, FRAMES, ROWS, Kind, Sample
from .base import Way


class CSVInline(Way):
    """``csv.writer``, in the loop."""

    name = "csv.writer, inline"
    families = frozenset({ROWS, FIELDS})

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        self._path = directory / "inline.csv"
        self._file = self._path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._is_dict = kind.family == FIELDS

    def write(self, data: Sample, t: float) -> object:
        """Format a row."""
        if self._is_dict:
            return self._writer.writerow([t, *chain.from_iterable(v.tolist() for v in data.values())])
        return self._writer.writerow([t, *data.tolist()])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def found(self) -> int | None:
        """Lines."""
        return count_lines(self._path)


class HDF5Inline(Way):
    """h5py, in the loop: a dataset per field, longer by one with each sample."""

    name = "h5py resize and assign, inline"
    families = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import h5py

        super().__init__(directory, kind)
        self._path = directory / "inline.h5"
        self._file = h5py.File(self._path, "w")
        first = kind.pool()[0]
        arrays = first if isinstance(first, dict) else {"data": first}
        self._datasets = {
            name: self._file.create_dataset(
                name,
                (0, *v.shape),
                v.dtype,
                maxshape=(None, *v.shape),
                # whole samples where they are large, h5py's guess where they are small
                chunks=(1, *v.shape) if v.nbytes > 1 << 16 else True,
            )
            for name, v in arrays.items()
        }
        self._n = 0

    def write(self, data: Sample, t: float) -> object:
        """Append a row."""
        n = self._n
        for name, dataset in self._datasets.items():
            dataset.resize(n + 1, axis=0)
            dataset[n] = data[name] if self.kind.family == FIELDS else data
        self._n = n + 1
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def found(self) -> int | None:
        """Rows of the shortest dataset."""
        import h5py

        with h5py.File(self._path) as file:
            return min(dataset.shape[0] for dataset in file.values())


def count_lines(path: Path) -> int:
    """Lines of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
