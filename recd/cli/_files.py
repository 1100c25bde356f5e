"""What a data file holds, as far as its format tells; any file, recd's or not, in constant memory.

A description: ``{"kind", "samples", "t_first", "t_last", "fields", "details"}``; what the format does not
tell is None. A field: ``{"name", "dtype", "shape", "unit"}``, the shape that of one sample.
"""

from __future__ import annotations

import csv
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from recd_client.errors import OutputError, RecdError

_BLOCK_BYTES: Final = 1 << 20
_TIME: Final = "timestamp"
#: What the readers of the formats raise over a damaged file.
_DAMAGE: Final = (
    OSError, ValueError, KeyError, EOFError, zlib.error, struct.error, zipfile.BadZipFile, csv.Error,
)  # fmt: skip


def kind_of(path: Path) -> str | None:
    """The format that the file's name stands for; None if recd writes none such."""
    return _KINDS.get(path.suffix.lower())


def describe_file(path: Path) -> dict[str, Any]:
    """What the file holds.

    Raises
    ------
    OutputError
        It is missing, cannot be read, is damaged, or has a format that recd does not write.
    """
    kind = kind_of(path)
    if kind is None:
        raise OutputError(
            f"{path}: recd writes no {path.suffix or 'such'} files",
            f"give one of {', '.join(_KINDS)}, a manifest.json, or a recording's directory",
        )
    found: dict[str, Any] = {
        "kind": kind,
        "samples": None,
        "t_first": None,
        "t_last": None,
        "fields": [],
        "details": {},
    }
    try:
        found.update(_READERS[kind](path))
    except RecdError:
        raise
    except PermissionError as e:
        raise OutputError(f"{path} cannot be read: {e.strerror}", "check its permissions") from e
    except _DAMAGE as e:
        raise OutputError(
            f"{path} is no readable {kind} file: {e}",
            "it is damaged or not finished; what recd knows of it: recd info on its directory",
        ) from e
    return found


# --- CSV ------------------------------------------------------------------------------------------


def _csv(path: Path) -> dict[str, Any]:
    with open(path, "rb") as f:
        head = f.readline()
        columns = next(csv.reader([head.decode("utf-8")]), [])
        first = f.readline()
        f.seek(len(head))
        rows, quoted, whole = _count_rows(f)
        last = _last_row(f, len(head)) if rows else b""
    if quoted:  # strings may hold line ends: only a parser can tell where rows begin
        with open(path, newline="", encoding="utf-8") as text:
            rows = sum(1 for _ in csv.reader(text)) - 1
    timed = bool(rows) and columns[:1] == [_TIME]
    names = columns[1:] if columns[:1] == [_TIME] else columns
    return {
        "samples": rows,
        "t_first": _csv_time(first) if timed else None,
        "t_last": _csv_time(last) if timed and not quoted else None,
        "fields": [_field(name) for name in names],
        "details": {"columns": len(columns), "ends_on_a_whole_row": whole},
    }


def _count_rows(f: IO[bytes]) -> tuple[int, bool, bool]:
    """Whole rows from here on; whether quotes were seen; whether the last row is whole."""
    rows, quoted, end = 0, False, b"\n"
    while block := f.read(_BLOCK_BYTES):
        rows += block.count(b"\n")
        quoted = quoted or b'"' in block
        end = block[-1:]
    return rows, quoted, end == b"\n"


def _last_row(f: IO[bytes], begin: int) -> bytes:
    """The last whole row of a file whose rows start at ``begin``."""
    end = f.seek(0, os.SEEK_END)
    span = 1 << 12
    while True:
        at = max(begin, end - span)
        f.seek(at)
        lines = f.read(end - at).split(b"\n")[:-1]  # what stands behind the last line end is no whole row
        if len(lines) > 1 or (lines and at == begin):
            return lines[-1]
        span *= 8


def _csv_time(row: bytes) -> float | None:
    try:
        return float(row.split(b",", 1)[0])
    except ValueError:
        return None


# --- NPZ ------------------------------------------------------------------------------------------


def _npz(path: Path) -> dict[str, Any]:
    arrays: dict[str, tuple[tuple[int, ...], str]] = {}
    t_first = t_last = None
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as f:
                shape, dtype = _npy_header(f)
                arrays[name] = (shape, str(dtype))
                if name == _TIME and dtype.kind == "f" and dtype.itemsize == 8:
                    t_first, t_last = _first_and_last(f)
    samples = arrays[_TIME][0][0] if _TIME in arrays and arrays[_TIME][0] else None
    return {
        "samples": samples,
        "t_first": t_first,
        "t_last": t_last,
        "fields": [
            _field(name, dtype, shape[1:] if shape[:1] == (samples,) else shape)
            for name, (shape, dtype) in arrays.items()
            if name != _TIME
        ],
        "details": {"arrays": {name: [*shape] for name, (shape, _) in arrays.items()}},
    }


def _npy_header(f: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    from numpy.lib import format as npy

    version = npy.read_magic(f)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(f)
    return tuple(shape), dtype


def _first_and_last(f: IO[bytes]) -> tuple[float | None, float | None]:
    """First and last of the float64 values that a stream holds from here on."""
    first = last = f.read(8)
    while block := f.read(_BLOCK_BYTES):
        last = (last + block)[-8:]
    if len(last) < 8:
        return None, None
    return struct.unpack("<d", first)[0], struct.unpack("<d", last)[0]


# --- HDF5 -----------------------------------------------------------------------------------------


def _hdf5(path: Path) -> dict[str, Any]:
    import h5py

    fields, samples, t_first, t_last = [], None, None, None
    with h5py.File(path, "r") as file:
        times = file.get(_TIME)
        if isinstance(times, h5py.Dataset) and times.ndim == 1:
            samples = int(times.shape[0])
            if samples:
                t_first, t_last = float(times[0]), float(times[-1])
        datasets: list[tuple[str, Any]] = []
        file.visititems(lambda name, item: datasets.append((name, item)))
        for name, item in datasets:
            if isinstance(item, h5py.Dataset) and name != _TIME:
                shape = tuple(item.shape or ())
                per_sample = shape[1:] if shape[:1] == (samples,) else shape
                dtype = "string" if h5py.check_string_dtype(item.dtype) else str(item.dtype)
                fields.append(_field(name, dtype, per_sample, _plain(item.attrs.get("units"))))
        attributes = {str(k): _plain(v) for k, v in file.attrs.items()}
    return {
        "samples": samples,
        "t_first": t_first,
        "t_last": t_last,
        "fields": fields,
        "details": {"attributes": attributes},
    }


def _plain(value: Any) -> Any:
    """An HDF5 attribute as plain data."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else value


# --- video ----------------------------------------------------------------------------------------


def _video(path: Path) -> dict[str, Any]:
    from ..video.files import describe

    info = describe(path)
    keys = ("codec", "pixel_format", "width", "height")
    details = {key: getattr(info, key) for key in keys}
    return {
        "samples": info.frames,
        "details": {**details, "fps": str(info.fps), "duration_s": round(info.duration_s, 6)},
    }


def _field(
    name: str, dtype: str | None = None, shape: tuple[int, ...] = (), unit: Any = None
) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), "unit": unit}


_KINDS: Final = {
    ".csv": "csv",
    ".npz": "npz",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".mp4": "video",
    ".mov": "video",
    ".mkv": "video",
}
_READERS: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {
    "csv": _csv,
    "npz": _npz,
    "hdf5": _hdf5,
    "video": _video,
}
