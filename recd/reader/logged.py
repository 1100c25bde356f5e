"""Rows of a stretch of a log: also of a recording that goes on, or was killed before its files were made.

The log may be trimmed while it is read, once its samples are in a file. So its segments are mapped when the table
is made, as far as they are a reasonable number: a mapped file stays, though it has no name any more.
"""

from __future__ import annotations

import mmap
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError
from recd_client.schema import Schema

from ..batch import Batch
from ..chunks import HEADER_BYTES, ChunkInfo, split_items
from ..log import LogReader
from ..sinks.names import TIMESTAMP
from .problems import tell
from .tables import CLOCKS, Rows, Table, empty, joined

_MAPPED: Final = 256
#: Chunks whose records were proved and split; of a MiB each at most.
_KEPT: Final = 16


@dataclass(frozen=True)
class _Place:
    """A chunk, and where it stands."""

    info: ChunkInfo
    segment: Path
    offset: int


class LogTable(Table):
    """The samples of a stretch of a stream's log, as it was when the table was made.

    Parameters
    ----------
    path : Path
        The log's directory.
    schema : Schema
    begin, end : int, int or None
        Ring positions from and to which; None: up to the end of the log as it is now.
    problems : list of str
        Is told of damage.
    """

    kind: ClassVar = "log"
    has_clocks: ClassVar = True

    def __init__(self, path: Path, schema: Schema, begin: int, end: int | None, problems: list[str]) -> None:
        super().__init__(path, schema)
        self._problems = problems
        self._maps: dict[Path, mmap.mmap] = {}
        self._kept: OrderedDict[int, list[Batch]] = OrderedDict()
        #: Each chunk, and the positions within that count.
        self._places: list[tuple[_Place, int, int]] = []
        self._begins = [0]
        self._look(begin, end)

    @property
    def begins(self) -> int:
        """Ring position of the first chunk that was there; -1 if there was none."""
        return self._places[0][0].info.begin if self._places else -1

    def _look(self, begin: int, end: int | None) -> None:
        """Note where the chunks of a stretch stand."""
        reader = LogReader(self.path, begin, end)
        try:
            while (chunk := reader.next()) is not None:
                info = chunk.info
                self._places.append(
                    (
                        _Place(info, reader.path, chunk.offset),
                        max(begin, info.begin),
                        info.end if end is None else min(end, info.end),
                    )
                )
                if len(self._maps) < _MAPPED:
                    self._map(reader.path)
                self._begins.append(self._begins[-1] + self._samples(len(self._places) - 1))
        finally:
            reader.close()

    def _samples(self, at: int) -> int:
        place, begin, end = self._places[at]
        if (begin, end) == (place.info.begin, place.info.end):
            return place.info.samples
        return sum(map(len, self._batches(at)))

    @property
    def count(self) -> int:
        """See :class:`Table`."""
        return self._begins[-1]

    def _map(self, segment: Path) -> mmap.mmap:
        if segment not in self._maps:
            try:
                with open(segment, "rb") as file:
                    self._maps[segment] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as e:
                raise OutputError(
                    f"{segment} cannot be read: {e}",
                    "its samples are in a file by now: open the recording again",
                ) from e
        found = self._maps[segment]
        while len(self._maps) > _MAPPED:
            self._maps.pop(next(iter(self._maps)))
        return found

    def _body(self, place: _Place) -> memoryview:
        """The records of a chunk, proved.

        Raises
        ------
        OutputError
            The disk has changed them.
        """
        begin = place.offset + HEADER_BYTES
        mapped = self._map(place.segment)
        if begin + place.info.body_bytes > len(mapped):  # it has grown since
            del self._maps[place.segment]
            mapped = self._map(place.segment)
        body = memoryview(mapped)[begin : begin + place.info.body_bytes]
        if len(body) < place.info.body_bytes or zlib.crc32(body) != place.info.body_crc32:
            info = place.info
            what = f"{place.segment}: the log is damaged, samples {info.first_seq} to {info.next_seq - 1} are lost"
            tell(self._problems, what)
            raise OutputError(what, "read the others: batches() passes over them; or finish it: recd recover")
        return body

    def _batches(self, at: int) -> list[Batch]:
        """The samples of a chunk, as far as they count."""
        if at not in self._kept:
            place, begin, end = self._places[at]
            info = place.info
            stop = min(end - info.begin, info.body_bytes)
            body = self._body(place)[begin - info.begin : stop]
            items = split_items(self.schema, body, begin, end)
            self._kept[at] = [item.what for item in items if isinstance(item.what, Batch)]
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(at)
        return self._kept[at]

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """See :class:`Table`."""
        pieces = [_column(batch, name) for batch in self._between(start, stop)]
        if not pieces:
            return empty(self.schema, name)
        found = joined(pieces)
        # Not a view of the map: what is given out outlives it.
        return np.array(found) if isinstance(found, np.ndarray) and len(pieces) == 1 else found

    def clock(self, name: str, start: int, stop: int) -> NDArray[np.int64]:
        """See :class:`Table`."""
        pieces = [getattr(batch, name).astype(np.int64) for batch in self._between(start, stop)]
        return np.concatenate([np.empty(0, np.int64), *pieces])

    def _between(self, start: int, stop: int) -> Iterator[Batch]:
        at = max(bisect_right(self._begins, start) - 1, 0)
        while start < stop:
            first = self._begins[at]
            for batch in self._batches(at):
                low, high = max(start - first, 0), min(stop - first, len(batch))
                if low < high:
                    yield batch[low:high]
                first += len(batch)
            start, at = max(start, self._begins[at + 1]), at + 1

    def scan(self, names: Sequence[str], rows: int, start: int, stop: int) -> Iterator[dict[str, Rows]]:
        """See :class:`Table`; samples in damaged chunks are passed over."""
        names = [*names, *CLOCKS]
        kept: dict[str, list[Rows]] = {name: [] for name in names}
        have = 0
        for batch in self._readable(start, stop):
            at = 0
            while at < len(batch):
                some = batch[at : at + rows - have]
                for name in names:
                    kept[name].append(_column(some, name))
                have, at = have + len(some), at + len(some)
                if have == rows:
                    yield {name: _owned(pieces) for name, pieces in kept.items()}
                    kept, have = {name: [] for name in names}, 0
        if have:
            yield {name: _owned(pieces) for name, pieces in kept.items()}

    def _readable(self, start: int, stop: int) -> Iterator[Batch]:
        while start < stop:
            at = bisect_right(self._begins, start) - 1
            end = min(stop, self._begins[at + 1])
            try:
                self._batches(at)
            except OutputError:
                pass
            else:
                yield from self._between(start, end)
            start = end

    def close(self) -> None:
        """See :class:`Table`."""
        self._kept.clear()
        self._maps.clear()  # unmapped once nothing points there any more


def _column(batch: Batch, name: str) -> Rows:
    if name == TIMESTAMP:
        return batch.t
    if name in CLOCKS and name not in batch.columns:
        return np.asarray(getattr(batch, name)).astype(np.int64)
    return batch.columns[name]


def _owned(pieces: list[Rows]) -> Rows:
    found = joined(pieces)
    return np.array(found) if isinstance(found, np.ndarray) and len(pieces) == 1 else found


def trimmed_to(directory: Path) -> int:
    """The ring position that the log begins with; what is before it is in files."""
    from ..log import segments

    begins = segments(directory)
    return begins[0] if begins else 0
