"""Several recordings as one: parts of a run one behind the other, clients and ranks beside each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from recd_client import checks
from recd_client.errors import OptionError, RecdError

from ..converter.choosing import opened
from ..reader import ArrayStream, Run
from . import derived, gaps
from .cutting import CLOCKS, SIM, WALL, clocks_of, extent, mark_told, numbered_anew, numbers_of_run, plan_of
from .derived import Made, Plan, Series
from .stretches import Axis, Stretch, everything, readable, stretches, views

#: Prefixes are made of the recordings' ranks or names.
AUTO: Final = "auto"
#: On one host since one boot the two clocks lie alike to each other, but for what the one on the wall was set.
_ONE_BOOT_NS: Final = 5_000_000_000


def merge(
    sources: Sequence[Any],
    destination: Any,
    *,
    clock: str | None = None,
    prefix: str | Sequence[str] | None = None,
    overwrite: bool = False,
    progress: derived.Told | None = None,
    command: str = "",
) -> Made:
    """Several recordings as one, on the clocks of the one that began first.

    Streams of one name become one stream, part behind part; they must not overlap. Cuts of one recording are put
    together by their samples' numbers, others by time, and their numbers then go on where those before end.

    Parameters
    ----------
    sources : sequence of path or Run
    destination : path
        Its directory.
    clock : {"sim", "wall"}, optional
        ``sim``: stream times are taken as they are. ``wall``: each is moved by how much later its recording began: as
        the monotonic clock tells on one host, else the clock on the wall. Default: ``sim`` for parts of one recording
        and where all have the same ``dt``, else ``wall``.
    prefix : str or sequence of str, optional
        Streams of source ``k`` are called ``prefix[k]_name``, and none are joined. ``"auto"``: ``rank3`` where the
        metadata has a rank, else as the recording is called.
    overwrite, progress, command
        As for :func:`recd.tools.cut`.

    Raises
    ------
    OptionError
        An argument; streams of one name overlap, or are not alike.
    OutputExistsError
        The destination exists.
    OutputError
        A recording cannot be read, or there is no room.
    """
    runs = opened(sources)
    if len(runs) < 2:
        raise OptionError("one source: there is nothing to merge it with", "give two recordings or more")
    derived.check_sources(runs)
    clock = _clock(runs, clock)
    prefixes = _prefixes(runs, prefix)
    first = min(runs, key=lambda run: run.start_wall_ns or 0)
    axes = [_axis(run, first, clock) for run in runs]
    problems: list[str] = []
    joins = _joins(runs, prefixes, axes, problems)
    plans = [join.plan(problems) for join in joins]
    same = len({numbers_of_run(run) for run in runs}) == 1
    manifest = {
        "name": runs[0].name if len({run.name for run in runs}) == 1 else Path(destination).name,
        "host": _common([run.manifest.get("host", {}) for run in runs]),
        "code": first.manifest.get("code", {}),
        "metadata": _common([run.metadata for run in runs]),
        "dt": runs[0].dt if len({run.dt for run in runs}) == 1 else None,
        "durability": first.manifest.get("durability", "process"),
        "clocks": _clocks(runs, first, axes), "marks": _marks(runs, joins, axes),
    }  # fmt: skip
    told = [
        {"prefix": p, "offset_s": axis.offset_s, "metadata": run.metadata}
        for run, p, axis in zip(runs, prefixes, axes, strict=True)
    ]
    provenance = {
        "command": command, "asked": {"clock": clock, "prefix": prefix}, "problems": problems, "sources": told,
        "numbers_of": numbers_of_run(first) if same and prefix is None else None,
    }  # fmt: skip
    return derived.write(
        Path(destination), "merge", runs, plans, manifest, provenance, overwrite=overwrite, progress=progress
    )


# --- what the arguments mean --------------------------------------------------------------------------


def _clock(runs: Sequence[Run], clock: str | None) -> str:
    if clock is None:
        parts = len({numbers_of_run(run) for run in runs}) == 1
        alike = len({run.dt for run in runs}) == 1 and runs[0].dt is not None
        return SIM if parts or alike else WALL
    if clock not in CLOCKS:
        raise OptionError(f"clock={clock!r}: expected sim or wall", "choose one of these")
    return clock


def _prefixes(runs: Sequence[Run], prefix: str | Sequence[str] | None) -> list[str]:
    if prefix is None:
        return [""] * len(runs)
    if prefix == AUTO:
        found: list[str] = []
        for run in runs:
            rank = run.metadata.get("rank")
            stem = f"rank{rank}" if rank is not None else run.name or "run"
            name, n = stem, 2
            while name in found:
                name, n = f"{stem}{n}", n + 1
            found.append(name)
    else:
        found = [prefix] if isinstance(prefix, str) else list(prefix)
    if len(found) != len(runs) or len(set(found)) != len(found):
        raise OptionError(
            f"--prefix {','.join(found)}: expected {len(runs)} names that differ, one for each recording",
            "or: --prefix auto",
        )
    return [checks.plain_name("--prefix", name) for name in found]


def _axis(run: Run, first: Run, clock: str) -> Axis:
    """Where a recording's clocks lie on those of the first one."""
    opened_ns, origin_ns = run.start_mono_ns or 0, first.start_mono_ns or 0
    apart = ((run.start_wall_ns or 0) - opened_ns) - ((first.start_wall_ns or 0) - origin_ns)
    hosts = {(r.manifest.get("host") or {}).get("hostname") for r in (run, first)}
    if len(hosts) == 1 and abs(apart) < _ONE_BOOT_NS:
        apart = 0
    offset_s = (opened_ns + apart - origin_ns) / 1e9 if clock == WALL else 0.0
    return Axis(offset_s, apart, opened_ns, origin_ns)


# --- streams ------------------------------------------------------------------------------------------


@dataclass
class _Member:
    """A stream of one of the recordings.

    Parameters
    ----------
    run : Run
    stream : ArrayStream or VideoStream
    axis : Axis
    origin : str
        The session whose numbers its samples have; empty if nobody knows them.
    found : list of list of Stretch
        Of each view of it.
    shift : int
        What is added to its numbers.
    """

    run: Run
    stream: Any
    axis: Axis
    origin: str
    found: list[list[Stretch]]
    shift: int = 0

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [
            gaps.shifted(g, self.shift, self.axis.offset_s) for g in gaps.told(self.stream) if self.origin
        ]

    def ends(self, main: int = 0) -> tuple[int, int]:
        """Its first number, and the one behind its last, before the shift; those of its gaps counted."""
        told = gaps.told(self.stream) if self.origin else []
        firsts = [s.first_seq for s in self.found[main]] + [int(g["first_seq"]) for g in told]
        behind = [s.next_seq for s in self.found[main]] + [int(g["last_seq"]) + 1 for g in told]
        return min(firsts, default=0), max(behind, default=0)


class _Join:
    """Streams that become one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[_Member] = []

    def add(self, run: Run, stream: Any, axis: Axis, problems: list[str]) -> None:
        """One more of them; it is looked through.

        Raises
        ------
        OptionError
            It is not like those before.
        """
        for other in self.members[:1]:
            if stream.kind != other.stream.kind or stream.schema.to_json() != other.stream.schema.to_json():
                raise OptionError(
                    f"stream {self.name!r} is {stream!r} in {run.path} and {other.stream!r} in {other.run.path}",
                    "keep them apart: --prefix auto",
                )
        found, numbered = [], True
        for view in views(stream):
            len(view)
            some = readable(stretches(run, view, everything, axis), problems)
            if "seq" not in view.known:
                some, numbered = numbered_anew(some), False
                problems.append(
                    f"{run.path}: stream {self.name!r}: nobody knows the numbers of its samples: they begin at 0"
                )
            found.append(some)
        self.members.append(_Member(run, stream, axis, numbers_of_run(run) if numbered else "", found))

    def plan(self, problems: list[str]) -> Plan:
        """The stream that is made of them."""
        blocks = self._blocks()
        at = None
        for block in blocks:
            begin = min(m.ends()[0] for m in block)
            shift = 0 if at is None else at - begin
            for member in block:
                member.shift = shift
            at = max(m.ends()[1] for m in block) + shift
        first = self.members[0]
        series = []
        for k, view in enumerate(views(first.stream)):
            found: list[Stretch] = []
            for block in blocks:
                some = [s for m in block if k < len(m.found) for s in m.found[k]]
                some.sort(key=lambda s: s.first_seq)
                self._check(some, block)
                found += [replace(s, seq_shift=block[0].shift) for s in some]
            if not found and isinstance(view, ArrayStream):
                found = [Stretch(first.run, view, 0, 0, 0)]
            series.append(Series(derived.kinds_of(first.run, view), found))
        kept = {(g["first_seq"], g["last_seq"], g["cause"]): g for m in self.members for g in m.gaps}
        hz = {m.stream.hz for m in self.members}
        made = plan_of(self.name, first.stream, series, [kept[key] for key in sorted(kept)], problems)
        return replace(made, hz=hz.pop() if len(hz) == 1 else None)

    def _blocks(self) -> list[list[_Member]]:
        """What is put together by number, in the order of time.

        Raises
        ------
        OptionError
            Two of them overlap.
        """
        groups: dict[object, list[_Member]] = {}
        for member in self.members:
            if any(member.found):
                groups.setdefault(member.origin or id(member), []).append(member)
        timed = []
        for block in groups.values():
            spans = [_extent(m) for m in block]
            timed.append((min(s[0] for s in spans), max(s[1] for s in spans), block))
        timed.sort(key=lambda each: each[:2])
        for before, after in itertools.pairwise(timed):
            if after[0] <= before[1]:
                raise self._overlap(
                    before[2][0], after[2][0], f"{before[0]} to {before[1]} s", f"{after[0]} to {after[1]} s"
                )
        # All samples of it were lost, or discarded: its losses keep numbers of their own.
        empty = [[member] for member in self.members if not any(member.found) and member.gaps]
        return [*(block for _, _, block in timed), *empty]

    def _check(self, found: Sequence[Stretch], block: Sequence[_Member]) -> None:
        for before, after in itertools.pairwise(found):
            if after.first_seq < before.next_seq:
                first, second = (next(m for m in block if m.run is s.run) for s in (before, after))
                raise self._overlap(
                    first, second, f"samples {before.first_seq} to {before.next_seq - 1}",
                    f"samples {after.first_seq} to {after.next_seq - 1}",
                )  # fmt: skip

    def _overlap(self, first: _Member, second: _Member, here: str, there: str) -> OptionError:
        return OptionError(
            f"stream {self.name!r} overlaps: {here} in {first.run.path}, {there} in {second.run.path}",
            "keep them apart with --prefix auto; or, if they only have the same stream times: --clock wall",
        )


def _extent(member: _Member) -> tuple[float, float]:
    span = extent(member.stream)
    return (
        (math.inf, math.inf)
        if span is None
        else (span[0] + member.axis.offset_s, span[1] + member.axis.offset_s)
    )


def _joins(
    runs: Sequence[Run], prefixes: Sequence[str], axes: Sequence[Axis], problems: list[str]
) -> list[_Join]:
    joins: dict[str, _Join] = {}
    for run, prefix, axis in zip(runs, prefixes, axes, strict=True):
        for name, stream in run.streams.items():
            final = f"{prefix}_{name}" if prefix else name
            try:
                join = joins.get(final) or _Join(final)
                join.add(run, stream, axis, problems)
                joins[final] = join
            except RecdError as e:
                if isinstance(e, OptionError):
                    raise
                problems.append(f"{run.path}: left out: {e.what}")
    if not any(member.found and any(member.found) for join in joins.values() for member in join.members):
        raise OptionError("the recordings have no sample that can be read", "see: recd info")
    return [*joins.values()]


# --- the rest of the manifest ---------------------------------------------------------------------------


def _marks(runs: Sequence[Run], joins: Sequence[_Join], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """The marks of all, in order; one that several cuts of a recording have only once."""
    found: list[dict[str, Any]] = []
    for run, axis in zip(runs, axes, strict=True):
        names = {m.stream.name: (join.name, m.shift) for join in joins for m in join.members if m.run is run}
        for mark in run.marks:
            seq = {names[n][0]: s + names[n][1] for n, s in mark.seq.items() if n in names}
            told = mark_told(mark, seq, axis.offset_s, axis.offset_ns)
            twin = next((other for other in found if {**other, "seq": {}} == {**told, "seq": {}}), None)
            if twin is None:
                found.append(told)
            else:
                twin["seq"].update(seq)
    return sorted(found, key=lambda mark: int(mark["mono_ns"]))


def _common(told: Sequence[Any]) -> dict[str, Any]:
    """What all of them say."""
    return {key: value for key, value in told[0].items() if all(key in t and t[key] == value for t in told)}


def _clocks(runs: Sequence[Run], first: Run, axes: Sequence[Axis]) -> dict[str, Any]:
    ends = [clocks_of(run)["end_mono_ns"] + axis.offset_ns for run, axis in zip(runs, axes, strict=True)]
    offset = (first.start_wall_ns or 0) - (first.start_mono_ns or 0)
    return {**clocks_of(first), "end_mono_ns": max(ends), "end_wall_ns": max(ends) + offset}
