"""A stream of arrays, over all the files that it was recorded into."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import NoSuchNameError, OptionError, OutputError, RecdError
from recd_client.schema import Schema

from ..sinks.names import TIMESTAMP
from .clocks import Derived, Line
from .column import Column, Lists, as_values
from .data import PartData, StreamData
from .numbering import UNKNOWN, Numbering
from .problems import tell
from .stream import Floats, Ints, Stream
from .tables import Rows, Table, empty, field_of, joined, row_bytes

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import xarray

#: Best first: what is quick to slice, before what must be unpacked or parsed.
PREFERRED: Final = ("log", "hdf5", "npz", "csv")
_BLOCK_BYTES: Final = 8 << 20


class Block(dict[str, "NDArray[Any] | Lists"]):
    """Some samples: field name to its values.

    Fixed fields are ``(n, *shape)`` arrays, ragged ones :class:`~recd.reader.column.Lists` (``values`` and
    ``offsets``), strings object arrays of str. They may be views of a file, and are read-only then.

    Attributes
    ----------
    start : int
        Index of its first sample in the stream.
    t : ndarray, (n,) float64, s
    seq, step, mono_ns : ndarray, (n,) int64
        As of the stream: -1 where unknown; ``mono_ns`` and ``wall`` about, where ``known`` has no ``wall``.
    wall : ndarray, (n,) float64
        Unix seconds, NaN where unknown.
    """

    start: int
    t: Floats
    seq: Ints
    step: Ints
    mono_ns: Ints
    wall: Floats

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.t)


@dataclass(frozen=True)
class _Opened:
    """A part that is read, and the number of its samples."""

    part: PartData
    table: Table
    count: int


class ArrayStream(Stream):
    """A stream of samples that are numbers, arrays, strings, or dicts of them: ``stream["qpos"][100:200]``."""

    kind: ClassVar = "array"

    def __init__(self, data: StreamData, chosen: tuple[str, ...] = ()) -> None:
        super().__init__(data)
        self._chosen = chosen

    # --- what it is read from ------------------------------------------------------------------------
    @property
    def sources(self) -> tuple[str, ...]:
        """The formats that it can be read from, the best first."""
        kinds = [kind for kind in self._data.sources if not kind.startswith("video")]
        return tuple(sorted(kinds, key=lambda kind: (PREFERRED.index(kind.partition(":")[0]), kind)))

    @property
    def source(self) -> str:
        """The format that it is read from: that with the most samples, and of several the quickest."""
        return self._choice[0]

    def read_from(self, *sources: str) -> ArrayStream:
        """The same stream, read from another format: ``"hdf5"``, ``"npz"``, ``"csv"``, ``"log"``.

        Of several the best is chosen, as of all.

        Raises
        ------
        OptionError
            It was not recorded into that.
        """
        for source in sources:
            if source not in self.sources:
                raise OptionError(
                    f"stream {self.name!r} has no source {source!r}, only {', '.join(self.sources) or 'none'}",
                    "choose one of these",
                )
        return ArrayStream(self._data, sources)

    def paths(self, source: str) -> list[Path]:
        """Its files in one of :attr:`sources`, in order; of a log its directory, once."""
        return list(dict.fromkeys(part.path for part in self._data.sources[source]))

    @cached_property
    def _choice(self) -> tuple[str, list[_Opened]]:
        """The format, and its parts that can be read; where some cannot, other formats are tried, too."""
        kinds = [kind for kind in self.sources if kind in self._chosen or not self._chosen]
        kinds.sort(key=lambda kind: -sum(p.samples or 0 for p in self._data.sources[kind]))
        errors: list[RecdError] = []
        best: tuple[str, list[_Opened]] | None = None
        for kind in kinds:
            failed = len(errors)
            parts = self._open(kind, errors)
            if best is None or sum(p.count for p in parts) > sum(p.count for p in best[1]):
                best = kind, parts
            if len(errors) == failed:
                break
        if best is not None and best[1]:
            for error in errors:
                tell(self.problems, error.what)
            return best
        if errors:
            raise errors[0]
        raise OutputError(
            f"stream {self.name!r} has no file that can be read" + "".join(f"; {p}" for p in self.problems),
            "look closer with: recd info, recd verify",
        )

    def _open(self, kind: str, errors: list[RecdError]) -> list[_Opened]:
        """The parts of a format that can be read."""
        out, schema = [], self._data.schema
        for part in self._data.sources[kind]:
            assert part.open_table is not None
            try:
                table = part.open_table(schema)
                # A CSV's rows are only counted by reading it: what is told of one that was not changed is believed.
                told = part.samples if part.intact and part.kind == "csv" else None
                count = table.count if told is None else told
            except RecdError as e:
                errors.append(e)
                continue
            if part.samples not in (None, count):
                tell(self.problems, f"{part.path} holds {count} samples, the manifest says {part.samples}")
            schema = schema or table.schema
            out.append(_Opened(part, table, count))
        return out

    @property
    def _opened(self) -> list[_Opened]:
        return self._choice[1]

    @cached_property
    def _begins(self) -> list[int]:
        """Index of the first sample of each part, and behind the last one."""
        return [0, *np.cumsum([opened.count for opened in self._opened]).tolist()]

    @property
    def _spans(self) -> list[slice]:
        """The samples of each table."""
        return [slice(a, b) for a, b in itertools.pairwise(self._begins)]

    @property
    def parts(self) -> list[slice]:
        """See :class:`Stream`."""
        # Of a part that is still written, some may be in a file, the rest in a log.
        found: dict[int, slice] = {}
        for opened, span in zip(self._opened, self._spans, strict=True):
            number = opened.part.number
            found[number] = slice(found[number].start, span.stop) if number in found else span
        return list(found.values())

    @property
    def schema(self) -> Schema:
        """See :class:`Stream`."""
        if self._data.schema is not None:
            return self._data.schema
        return self._opened[0].table.schema

    def __len__(self) -> int:
        return self._begins[-1]

    # --- samples -----------------------------------------------------------------------------------
    def __getitem__(self, field: str) -> Column:
        found = field_of(self.schema, field) if isinstance(field, str) else None
        if found is None:
            raise NoSuchNameError(
                f"stream {self.name!r} has no field {field!r}, only {', '.join(self.fields)}",
                "use one of these; of one sample: stream.sample(i)",
            )
        return Column(self, found)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __contains__(self, field: object) -> bool:
        return field in self.fields

    def _rows(self, name: str, start: int, stop: int) -> Rows:
        """A column's rows over all parts."""
        found = []
        at = max(bisect_right(self._begins, start) - 1, 0)
        while start < stop:
            begin, end = self._begins[at : at + 2]
            if start < end:
                found.append(self._opened[at].table.rows(name, start - begin, min(stop, end) - begin))
            start, at = max(start, min(stop, end)), at + 1
        return joined(found) if found else empty(self.schema, name)

    def sample(self, i: int) -> dict[str, Any]:
        """One sample: field name to its value."""
        index = self._index(i)
        return {name: self[name][index] for name in self.fields}

    def at(
        self, t: float, method: str = "previous", tolerance: float | None = None, within: slice | None = None
    ) -> Mapping[str, Any] | None:
        """The sample that holds at a time: field name to its value; None if there is none.

        As :meth:`index_at`; ``linear`` interpolates floats of fixed shape, of all else it takes the sample before.
        """
        found = self._around(t, method, tolerance, within)
        if found is None:
            return None
        first, second, share = found
        sample = self.sample(first)
        if share:
            for f in self.schema.fields:
                if f.kind == "fixed" and np.dtype(f.dtype).kind == "f":
                    before, behind = (np.asarray(self[f.name][i], np.float64) for i in (first, second))
                    value = before + share * (behind - before)
                    sample[f.name] = value.astype(f.dtype)[()]
        return sample

    def batches(
        self,
        rows: int | None = None,
        bytes: int | None = None,
        *,
        fields: list[str] | tuple[str, ...] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Block]:
        """All samples in order, some at a time, in constant memory: as quickly as the format gives them.

        Parameters
        ----------
        rows : int, optional
            Samples at a time; fewer at the end of each part.
        bytes : int, optional
            Or so many bytes at a time, about. Default: 8 MiB.
        fields : list of str, optional
            Only these.
        start, stop : int
            From this sample on, up to that one: an episode's.
        """
        names = list(self.fields if fields is None else fields)
        for name in names:
            self[name]
        if rows is None:
            rows = max(1, (bytes or _BLOCK_BYTES) // max(row_bytes(self.schema), 1))
        if rows < 1:
            raise OptionError(f"rows={rows!r}: expected a number of samples >= 1", "leave it out")
        start, stop, _ = slice(start, stop).indices(len(self))
        return self._batches(rows, names, start, stop)

    def _batches(self, rows: int, names: list[str], start: int, stop: int) -> Iterator[Block]:
        for at, opened in enumerate(self._opened):
            table = opened.table
            begin, end = self._begins[at : at + 2]
            first, last = max(start, begin), min(stop, end)
            if first >= last:
                continue
            for found in table.scan([TIMESTAMP, *names], rows, first - begin, last - begin):
                t = np.asarray(found[TIMESTAMP])
                yield self._block({name: found[name] for name in names}, t, first, found, table)
                first += len(t)

    def _block(
        self, rows: dict[str, Rows], t: Floats, at: int, found: dict[str, Rows], table: Table
    ) -> Block:
        block = Block((name, as_values(r, field_of(self.schema, name))) for name, r in rows.items())
        block.start, block.t = at, t
        if table.has_clocks:
            block.seq, block.step, block.mono_ns = (np.asarray(found[n]) for n in ("seq", "step", "mono_ns"))
        else:
            block.seq = self._seq(at, at + len(t))
            block.step, block.mono_ns = self._derived.step(t), self._derived.mono_ns(t, block.seq)
        block.wall = self._wall_of(block.mono_ns)
        return block

    # --- the timeline --------------------------------------------------------------------------------
    @cached_property
    def t(self) -> Floats:
        """See :class:`Stream`."""
        return np.asarray(self._rows(TIMESTAMP, 0, len(self)), np.float64)

    @cached_property
    def seq(self) -> Ints:
        """See :class:`Stream`."""
        return self._seq(0, len(self))

    def _seq(self, start: int, stop: int) -> Ints:
        out = np.full(stop - start, UNKNOWN, np.int64)
        for numbering, opened, span in zip(self._numberings, self._opened, self._spans, strict=True):
            table = opened.table
            first, last = max(start, span.start), min(stop, span.stop)
            if first < last:
                here = first - span.start, last - span.start
                numbers = table.clock("seq", *here) if table.has_clocks else numbering.read(*here)
                out[first - start : last - start] = numbers
        return out

    @cached_property
    def _numberings(self) -> list[Numbering]:
        """How the samples of each part are numbered."""
        parts = [opened.part for opened in self._opened]
        untold = all(part.first_seq is None for part in parts)
        attempted = self._data.told.get("attempted")
        if untold and attempted is not None and len(parts) == len(self._data.sources[self.source]):
            whole = Numbering.between(0, int(attempted), self._data.gaps, len(self))
            return [whole.part(span.start, span.stop) for span in self._spans]
        return [
            Numbering.between(p.first_seq, p.next_seq, self._data.gaps, count)
            if p.first_seq is not None and p.next_seq is not None
            else Numbering.unknown(count)
            for p, count in ((opened.part, opened.count) for opened in self._opened)
        ]

    @cached_property
    def _derived(self) -> Derived:
        return Derived.of(self._data)

    @property
    def step(self) -> Ints:
        """See :class:`Stream`."""
        return self._clock("step", lambda span: self._derived.step(self.t[span]))

    @property
    def mono_ns(self) -> Ints:
        """See :class:`Stream`."""
        return self._clock("mono_ns", lambda span: self._derived.mono_ns(self.t[span], self.seq[span]))

    def _clock(self, name: str, derived: Callable[[slice], Ints]) -> Ints:
        found = [np.empty(0, np.int64)]
        for opened, span in zip(self._opened, self._spans, strict=True):
            table = opened.table
            count = span.stop - span.start
            found.append(table.clock(name, 0, count) if table.has_clocks else derived(span))
        return np.concatenate(found)

    @property
    def line(self) -> Line | None:
        """What tells about when samples were written whose time does not; None if nothing does."""
        return self._derived.line

    @property
    def tells_wall(self) -> bool:
        """See :class:`Stream`."""
        return super().tells_wall or (self.line is not None and "seq" in self.known)

    @cached_property
    def known(self) -> frozenset[str]:
        """See :class:`Stream`."""
        known = {"seq", "step", "wall"}
        for opened, numbering in zip(self._opened, self._numberings, strict=True):
            if not opened.table.has_clocks:
                known &= self._derived.known | ({"seq"} if numbering.exact else set())
        return frozenset(known)

    # --- other libraries -------------------------------------------------------------------------------
    def to_pandas(self, fields: list[str] | None = None) -> pandas.DataFrame:
        """A table with the stream time as its index, arrays flattened to ``name_0, name_1, ...``; see docs."""
        from .tabular import to_pandas

        return to_pandas(self, fields)

    def to_arrow(self, fields: list[str] | None = None) -> pyarrow.Table:
        """A table with the column ``timestamp``; arrays are fixed-size lists, ragged fields lists."""
        from .tabular import to_arrow

        return to_arrow(self, fields)

    def to_xarray(self, fields: list[str] | None = None) -> xarray.Dataset:
        """A dataset along ``time``, with units."""
        from .tabular import to_xarray

        return to_xarray(self, fields)

    def close(self) -> None:
        """See :class:`Stream`."""
        if "_choice" in self.__dict__:
            for opened in self._opened:
                opened.table.close()
