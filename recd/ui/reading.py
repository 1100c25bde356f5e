"""Numbers out of recorded files: one field of a stream, over all its parts, as a plot needs it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError, OutputError
from recd_client.schema import Schema

from ..sinks.names import TIMESTAMP
from .decimate import Floats

#: What was read is kept, up to so much: zooming asks again and again.
_KEPT_BYTES: Final = 256 << 20
#: Text is slow to read: larger files are left to be downloaded.
MAX_CSV_BYTES: Final = 512 << 20
#: Best first: the quickest to read one field of.
KINDS: Final = ("hdf5", "npz", "csv")


class Reader:
    """Reads fields of recordings, and keeps the newest of what it read. May be used by several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], tuple[Floats, Floats]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, stream: dict[str, Any], field: str) -> tuple[Floats, Floats]:
        """The times, (n,) s, and values, (n, elements), of a field.

        Parameters
        ----------
        stream : dict
            Its description, as in :func:`recd.cli._recordings.describe_manifest`.

        Raises
        ------
        OptionError
            It has no such field.
        OutputError
            No file of it can be read.
        """
        if field not in (f["name"] for f in stream["fields"]):
            raise OptionError(f"stream {stream['name']!r} has no field {field!r}", "reload the page")
        paths = files_to_read(stream)
        if not paths:
            raise OutputError(f"stream {stream['name']!r} has no file that can be plotted", "see: recd info")
        kind, files = paths
        try:
            key = (field, *((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files))
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            schema = Schema.from_json({"fields": stream["fields"]})
            parts = [_READERS[kind](path, schema, field) for path in files]
        except (OSError, KeyError, ValueError, IndexError) as e:
            raise OutputError(f"{files[0]} cannot be read: {e}", "look closer with: recd verify") from None
        t = np.concatenate([p[0] for p in parts])
        y = np.concatenate([p[1] for p in parts])
        if len(t) > 1 and np.any(
            t[1:] < t[:-1]
        ):  # stream time went back: in the order of time, as a plot wants it
            order = np.argsort(t, kind="stable")
            t, y = t[order], y[order]
        with self._lock:
            self._kept[key] = t, y
            while (
                len(self._kept) > 1 and sum(a.nbytes + b.nbytes for a, b in self._kept.values()) > _KEPT_BYTES
            ):
                self._kept.popitem(last=False)
        return t, y


def files_to_read(stream: dict[str, Any]) -> tuple[str, list[Path]] | None:
    """The kind of file to plot from, and its parts in order; None if there is none."""
    for kind in KINDS:
        files = [f for f in stream["files"] if f["kind"] == kind and f["presence"] == "ok" and f["samples"]]
        if files and (kind != "csv" or sum(f["bytes"] for f in files) <= MAX_CSV_BYTES):
            return kind, [Path(f["path"]) for f in sorted(files, key=lambda f: f["part"] or 0)]
    return None


def _npz(path: Path, schema: Schema, field: str) -> tuple[Floats, Floats]:
    with np.load(path, allow_pickle=False) as archive:
        return _shaped(archive[TIMESTAMP], archive[field])


def _hdf5(path: Path, schema: Schema, field: str) -> tuple[Floats, Floats]:
    import h5py

    with h5py.File(path, "r") as file:
        return _shaped(file[TIMESTAMP][()], file[field][()])


def _csv(path: Path, schema: Schema, field: str) -> tuple[Floats, Floats]:
    from ..sinks.csv_rows import column_names

    one = next(f for f in schema.fields if f.name == field)
    before = Schema(tuple(schema.fields[: schema.fields.index(one)])) if one is not schema.fields[0] else None
    begin = 1 + (len(column_names(before)) if before else 0)
    columns = range(begin, begin + len(column_names(Schema((one,)))))
    table = np.loadtxt(
        path, delimiter=",", skiprows=1, usecols=(0, *columns), quotechar='"', encoding="utf-8", ndmin=2,
        comments=None,
    )  # fmt: skip
    return _shaped(table[:, 0], table[:, 1:])


def _shaped(t: NDArray[Any], y: NDArray[Any]) -> tuple[Floats, Floats]:
    return np.asarray(t, np.float64), np.asarray(y, np.float64).reshape(len(t), -1)


_READERS: Final[dict[str, Callable[[Path, Schema, str], tuple[Floats, Floats]]]] = {
    "npz": _npz,
    "hdf5": _hdf5,
    "csv": _csv,
}
