"""What one call costs the simulation, beside other ways to get the same sample out of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from recd_client import BACKEND

from .daemon import Bench
from .host import Host, open_hosts
from .kinds import DICT, ENVS, FRAMES, HD, STATE, VGA, Kind
from .results import Bar, Table, aim
from .timing import Costs, in_turns, timer_cost_ns
from .ways import ALL, RECD, BareCopy, ListAppend, QueueAndThread, RecdHDF5, RecdNPZ, Way

PERCENTILES: Final = ("p50 µs", "p99 µs", "p99.9 µs", "max µs")

#: Where the call is the same as ``RecdWrite``'s, and only the file is another.
_SAME_CALL: Final = (RecdNPZ, RecdHDF5)


@dataclass(frozen=True)
class _Size:
    """How much is measured of a kind: rounds, calls in each, and microseconds of simulation before each call."""

    kind: Kind
    rounds: int
    calls: int
    step_us: float


def measure(bench: Bench) -> Iterator[Table]:
    """A table per kind of sample; quickly, of the first two kinds only."""
    sizes = (
        _Size(STATE, bench.size(12, 3), bench.size(3000, 1000), 20),
        _Size(VGA, bench.size(16, 2), bench.size(30, 10), 2000),
        _Size(DICT, 12, 1500, 20),
        _Size(ENVS, 10, 30, 500),
        _Size(HD, 8, 12, 4000),
    )
    for size in sizes[: bench.size(5, 2)]:
        yield _table(bench, size)


def _table(bench: Bench, size: _Size) -> Table:
    table = Table(
        f"One call in the simulation: {size.kind.title}", PERCENTILES, key=f"calls.{size.kind.name}"
    )
    timer_ns = timer_cost_ns()
    table.notes.append(
        f"{size.rounds * size.calls:,} calls each, in turns of {size.calls:,}, each after {size.step_us:,g} µs of "
        f"simulation, at the end of which the sample is new; the timer's own {timer_ns:.0f} ns are taken off. Each "
        "way has a process of its own, and goes on once the one before has written everything. Every file was "
        "complete: as many samples in it as were written."
    )
    ways = tuple(way for way in ALL if way not in _SAME_CALL)
    hosts = open_hosts(ways, size.kind, bench.new_directory, size.step_us, table.notes)
    try:
        costs = {host: Costs(timer_ns) for host in hosts}
        for host in in_turns(size.rounds, hosts):
            costs[host].add(host.block(size.calls))
        outcomes = {host: host.finish() for host in hosts}
    finally:
        for host in hosts:
            host.end()
    bars = _bars(size.kind, {host: cost for host, cost in costs.items() if host.own_core})
    for host in hosts:
        table.add(host.name, *costs[host].columns(), bar=bars.get(host))
        if outcomes[host].lost:
            table.notes.append(
                f"{host.name}: {outcomes[host].lost:,} samples found the ring full, and were counted"
            )
    return table


def _bars(kind: Kind, costs: dict[Host, Costs]) -> dict[Host, Bar]:
    """What recd is held to; where that is a peer's own number, the bar stands in the peer's row."""
    by_way: dict[type[Way], Host] = {host.way: host for host in costs}
    write, claim, bare = (by_way.get(way) for way in (*RECD, BareCopy))
    bars: dict[Host, Bar] = {}
    if write is None:
        return bars
    if kind is STATE:
        bars[write] = Bar(costs[write].us(50), aim(0.3, 2.5), " µs")
    if kind is STATE and BACKEND == "native":
        kept, queued = by_way[ListAppend], by_way[QueueAndThread]
        bars[kept] = Bar(costs[write].us(50) / costs[kept].us(50), 1.0, " × its p50 for recd write")
        bars[queued] = Bar(costs[write].us(99.9) / costs[queued].us(99.9), 0.1, " × its p99.9 for recd write")
    if kind is DICT and BACKEND == "native":
        bars[write] = Bar(costs[write].us(50), 0.7, " µs")
    # frames are held to theirs in `frames`, where an encoder runs beside the bare copies, too
    if kind.family != FRAMES and claim is not None and bare is not None:
        over_us = costs[claim].us(50) - costs[bare].us(50)
        bars[claim] = Bar(over_us, aim(1.0, 5.0), " µs beyond the copy")
    return bars
