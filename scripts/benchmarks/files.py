"""Recordings made as fast as they go, until the file is complete: rate, memory and bytes on disk."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from .daemon import Bench
from .host import Outcome, open_hosts
from .kinds import DICT, ENVS, STATE, VGA, Kind
from .results import Table
from .timing import in_turns
from .ways import ALL, BareCopy, ListAppend, RecdClaim

COLUMNS = ("samples/s", "MB/s", "bytes/sample on disk", "MiB, simulation", "MiB, other processes")
_NO_FILE = (BareCopy, RecdClaim, ListAppend)


def measure(bench: Bench) -> Iterator[Table]:
    """A table per kind of sample; quickly, of the first only."""
    sizes = (
        (STATE, bench.size(20_000, 5_000)),
        (DICT, 6_000),
        (ENVS, 300),
        (VGA, 400),
    )
    for kind, count in sizes[: bench.size(4, 1)]:
        yield _table(bench, kind, count)


def _table(bench: Bench, kind: Kind, count: int) -> Table:
    rounds = bench.size(3, 1)
    table = Table(f"Whole recordings: {kind.title}", COLUMNS, key=f"files.{kind.name}")
    table.notes.append(
        f"{count:,} samples one after the other, none the same as the one before, medians of {rounds} recordings. From "
        "the first call until the file is closed and complete, with every sample in it. recd waits for room "
        '(`overflow="block"`). Simulation: by how much its process grew, at most (the ring, of 8 MiB or more, and '
        "imports included). Other processes: their share of memory at the end; recd's supervisor is one of them."
    )
    seen: dict[str, list[tuple[float, Outcome]]] = {}
    ways = tuple(way for way in ALL if way not in _NO_FILE)
    for _ in in_turns(rounds, ("round",)):
        notes: list[str] = []
        hosts = open_hosts(ways, kind, bench.new_directory, 20, notes, block=True)
        try:
            for host in hosts:
                seen.setdefault(host.name, []).append(host.burst(count))
        finally:
            for host in hosts:
                host.end()
    table.notes.extend(notes)
    for name, runs in seen.items():
        rate = count / median(took_s for took_s, _ in runs)
        outcomes = [outcome for _, outcome in runs]
        table.add(
            name,
            rate,
            rate * kind.bytes() / 1e6,
            median(o.disk_bytes for o in outcomes) / count,
            median(o.own_mib for o in outcomes),
            median(o.helpers_mib for o in outcomes),
        )
    return table
