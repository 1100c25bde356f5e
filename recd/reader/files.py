"""Which format a file has, and a recording of files alone, without a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from recd_client.errors import OutputError
from recd_client.schema import Schema

from .data import PartData, StreamData
from .tables import Table

#: Suffix to the format's name, as in a manifest.
SUFFIXES: Final = {
    ".csv": "csv",
    ".npz": "npz",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mp4": "video",
    ".mov": "video",
    ".mkv": "video",
}
KINDS: Final = frozenset(SUFFIXES.values())


def opener(path: Path, kind: str, end_bytes: int | None = None) -> Callable[[Schema | None], Table] | None:
    """What opens a data file as a table; None for a video."""

    def open_table(schema: Schema | None) -> Table:
        if kind == "npz":
            from .npz import NPZTable

            return NPZTable(path, schema)
        if kind == "hdf5":
            from .hdf5 import HDF5Table

            return HDF5Table(path, schema)
        from .csv import CSVTable

        return CSVTable(path, schema, end_bytes)

    return None if kind == "video" else open_table


def kind_of(path: Path) -> str:
    """The format of a data file, by its name.

    Raises
    ------
    OutputError
        There is no such file, or recd writes none such.
    """
    if not path.exists():
        raise OutputError(f"{path} does not exist", "check the path; recordings are listed by: recd ls")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise OutputError(
            f"{path} is no recording: recd writes no {path.suffix or 'such'} files",
            f"give a recording's directory, a manifest.json, or one of {', '.join(SUFFIXES)}",
        )
    return kind


def stream_of(name: str, paths: list[Path]) -> StreamData:
    """A stream of files that no manifest tells of: parts of one kind, in this order."""
    kinds = {kind_of(path) for path in paths}
    if len(kinds) > 1:
        raise OutputError(
            f"parts of different formats: {', '.join(map(str, paths))}",
            "give the parts of one file, in order",
        )
    (kind,) = kinds
    parts = [PartData(path, kind, k, open_table=opener(path, kind)) for k, path in enumerate(paths)]
    return StreamData(name, None, {kind: parts}, is_video=kind == "video")
