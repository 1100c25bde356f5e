"""Numbers out of recordings, as plots of the page need them: one field of a stream, by :mod:`recd.reader`.

What is the page's own: what was read is kept, what takes too long is not read at all, and one thread reads at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recd_client.errors import OptionError, OutputError

from ..reader import ArrayStream, VideoStream
from ..reader.files import SUFFIXES
from .decimate import Floats
from .fields import Columns

#: What was read is kept, up to so much: zooming asks again and again.
_KEPT_BYTES: Final = 256 << 20
#: About so much is read at once.
_BLOCK_BYTES: Final = 8 << 20
#: What must be read as a whole to know one field of it, and more of it than that is not plotted: text, which is left
#: to be downloaded, and the log of a recording that was killed.
MOST_BYTES: Final = {"csv": 512 << 20, "log": 4 << 30}


class Points(NamedTuple):
    """A field of all samples, in the order of their times.

    Parameters
    ----------
    t : ndarray, (n,), s
    y : ndarray, (n, elements)
    problems : tuple of str
        What of the stream could not be read; what is seen without reading it stands in the run's problems.
    """

    t: Floats
    y: Floats
    problems: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about: fields of a stream may share their times."""
        return self.t.nbytes + self.y.nbytes


class Reader:
    """Reads fields of recordings, and keeps the newest of what it read. May be used by several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Points] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def read(self, stream: ArrayStream | VideoStream, field: str) -> Points:
        """The times and values of a field.

        Raises
        ------
        OptionError
            It has no such field, or none that is drawn as lines.
        OutputError
            Nothing of it can be read.
        """
        arrays = plotted(stream)
        if arrays is None:
            raise OutputError(f"stream {stream.name!r} has no file that can be plotted", "see: recd info")
        widths = {name: len(place) for name, place in Columns(arrays.schema).places.items()}
        if field not in widths:
            raise OptionError(
                f"stream {stream.name!r} has no field {field!r} that is drawn", "reload the page"
            )
        try:
            of = tuple(_stamp(path) for source in arrays.sources for path in arrays.paths(source))
            found = self._find((field, of))
            if found is None:
                # One reads at a time: whoever waits for the same then finds it, and memory is bounded.
                with self._turn, closing(arrays):
                    found = self._find((field, of)) or self._read(arrays, field, widths, of)
        except (OSError, ValueError) as e:  # it has just gone, or contradicts the manifest
            raise OutputError(
                f"stream {stream.name!r} cannot be read: {e}", "look closer with: recd verify"
            ) from e
        return found

    def _find(self, key: tuple[Any, ...]) -> Points | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _read(self, stream: ArrayStream, field: str, widths: dict[str, int], of: tuple[Any, ...]) -> Points:
        known = frozenset(stream.problems)
        wanted = {field: widths[field]}
        all_bytes = 8 * len(stream) * (len(widths) + sum(widths.values()))
        if stream.source.partition(":")[0] in MOST_BYTES and all_bytes <= _KEPT_BYTES:
            wanted = widths  # one alone would take as long
        found = _points(stream, wanted, known)
        with self._lock:
            self._kept |= {(name, of): points for name, points in found.items()}
            self._kept.move_to_end((field, of))
            while len(self._kept) > 1 and sum(p.nbytes for p in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return found[field]


def plotted(stream: ArrayStream | VideoStream) -> ArrayStream | None:
    """The stream as it is plotted: from what the reader chooses, but for what is too large; None: nothing is left."""
    arrays = stream.arrays if isinstance(stream, VideoStream) else stream
    quick = [source for source in arrays.sources if _is_quick(arrays, source)] if arrays is not None else []
    return arrays.read_from(*quick) if arrays is not None and quick else None


def _is_quick(stream: ArrayStream, source: str) -> bool:
    sizes = dict.fromkeys(MOST_BYTES, 0)
    for path in stream.paths(source):
        kind = "log" if path.is_dir() else SUFFIXES.get(path.suffix.lower())
        if kind in sizes:
            sizes[kind] += _size_bytes(path)
    return all(size <= MOST_BYTES[kind] for kind, size in sizes.items())


def _points(stream: ArrayStream, widths: dict[str, int], known: frozenset[str]) -> dict[str, Points]:
    """Some fields, by their numbers of elements, in constant memory beside what they are themselves."""
    t = np.empty(len(stream))
    columns = {name: np.empty((len(t), width)) for name, width in widths.items()}
    rows = max(_BLOCK_BYTES // (8 + 8 * sum(widths.values())), 1)
    end = 0
    for block in stream.batches(rows, fields=list(widths)):
        begin, end = end, end + block.count
        t[begin:end] = block.t
        for name, column in columns.items():
            column[begin:end] = np.asarray(block[name]).reshape(block.count, -1)
    t = t[:end]  # what is damaged in a log is passed over
    columns = {name: column[:end] for name, column in columns.items()}
    if np.isnan(t).any() or np.any(t[1:] < t[:-1]):
        # Stream time went back, or was none: in the order of time, as a plot wants it.
        order = np.argsort(t, kind="stable")[: np.count_nonzero(~np.isnan(t))]  # NaN comes last
        t, columns = t[order], {name: column[order] for name, column in columns.items()}
    problems = tuple(p for p in stream.problems if p not in known)
    return {name: Points(t, y, problems) for name, y in columns.items()}


# --- files ----------------------------------------------------------------------------------------


def _stamp(path: Path) -> tuple[Any, ...]:
    """By which it is seen that a file, or one of a log's, has changed."""
    stats = [(p.name, p.stat()) for p in _files(path)]
    return str(path), *((name, s.st_mtime_ns, s.st_size) for name, s in stats)


def _size_bytes(path: Path) -> int:
    with suppress(OSError):
        return sum(p.stat().st_size for p in _files(path))
    return 0  # it has gone: whoever reads it says so


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]
