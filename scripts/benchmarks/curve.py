"""Cost against size, from a number to a large tensor, with a bare copy as the limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .daemon import Bench
from .host import open_hosts
from .kinds import flat
from .results import Table
from .timing import Costs, in_turns, timer_cost_ns
from .ways import BareCopy, RecdClaim, RecdWrite

SIZES: Final = (8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20, 32 << 20)
#: Bytes that are copied for one size, by one way, in one round.
_ROUND_BYTES: Final = 96 << 20


def measure(bench: Bench) -> Iterator[Table]:
    """One row per size, one column per way."""
    rounds = bench.size(6, 2)
    rows: list[tuple[str, dict[str, float]]] = []
    notes = [
        f"Medians of {rounds} turns each; contiguous float32, in the processor's cache as far as it fits, after "
        "20 µs of simulation; timer cost taken off. The bare copy goes to memory as large as the ring, which another "
        "process reads as the worker reads the ring. Nothing is kept of these samples but a log, soon trimmed."
    ]
    for size_bytes in SIZES[:: bench.size(1, 3)]:
        timer_ns = timer_cost_ns()
        hosts = open_hosts(
            (RecdWrite, RecdClaim, BareCopy), flat(size_bytes), bench.new_directory, 20, notes, keep=False
        )
        try:
            costs = {host: Costs(timer_ns) for host in hosts}
            calls = max(
                3, min(bench.size(1000, 300), bench.size(_ROUND_BYTES, _ROUND_BYTES // 8) // size_bytes)
            )
            for host in in_turns(rounds, hosts):
                costs[host].add(host.block(calls))
            for host in hosts:
                host.finish()
        finally:
            for host in hosts:
                host.end()
        rows.append((_size(size_bytes), {host.name: cost.us(50) for host, cost in costs.items()}))
    names = list(rows[0][1])
    table = Table("Cost against size", [f"{name} µs" for name in names], key="curve", notes=notes)
    for label, cells in rows:
        table.add(label, *(cells[name] for name in names))
    yield table


def _size(size_bytes: int) -> str:
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= factor:
            return f"{size_bytes // factor} {unit}"
    return f"{size_bytes} B"
