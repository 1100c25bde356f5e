"""What a live view costs each step of the simulation: recd's, and others'."""

from __future__ import annotations

from typing import Final

from ..daemon import Bench
from ..host import Host
from ..kinds import STATE
from ..results import Bar, Table
from ..timing import Costs, in_turns, timer_cost_ns
from ..ways.base import Way
from ..ways.shown import FoxgloveLive, Matplotlib, RecdUnwatched, RecdWatched, RerunLive

_WAYS: Final = (RecdUnwatched, RecdWatched, RerunLive, FoxgloveLive, Matplotlib)
_STEP_US: Final = 1000
_UNCHANGED: Final = 1.1


def table(bench: Bench) -> Table:
    """One call of each way, in turns."""
    rounds, calls = bench.size(8, 2), bench.size(1000, 200)
    result = Table(
        "A live view, as the simulation pays for it", ("p50 µs", "p99 µs", "max µs"), key="live.peers"
    )
    timer_ns = timer_cost_ns()
    hosts = [Host(way, STATE, bench.new_directory(), _STEP_US) for way in _WAYS]
    try:
        missing = sorted({str(host.missing) for host in hosts if not host.ready()})
        result.notes += [f"not compared: {name} is not installed" for name in missing]
        there = [host for host in hosts if host.missing is None]
        costs = {host.way: Costs(timer_ns) for host in there}
        for host in in_turns(rounds, there):
            costs[host.way].add(host.block(_calls(host.way, calls)))
        for host in there:
            host.finish()
    finally:
        for host in hosts:
            host.end()
    for way, cost in costs.items():
        bar = None
        if way is RecdWatched:
            bar = Bar(cost.us(50) / costs[RecdUnwatched].us(50), _UNCHANGED, " × what it costs unwatched")
        result.add(way.name, cost.us(50), cost.us(99), cost.us(100), bar=bar)
    result.notes.append(
        f"50 float64 in each step; {rounds * calls:,} calls each ({rounds * _calls(Matplotlib, calls):,} of "
        f"matplotlib), in turns, after {_STEP_US:,} µs of simulation. Each view is on and is read: by a page of "
        "`recd ui`, by `rerun --save` as the receiving process, by one subscriber of Foxglove's server; matplotlib "
        "draws the last 200 samples of 50 lines into memory."
    )
    return result


def _calls(way: type[Way], calls: int) -> int:
    """Calls in a turn: of what takes milliseconds, fewer."""
    return calls // 25 if way is Matplotlib else calls
