"""A simulation that records against the same one that does not: all costs, of all processes, together."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from recd_client import BACKEND

from .daemon import Bench
from .host import open_hosts
from .kinds import FPS, STATE, VGA, Kind
from .results import Bar, Table
from .timing import in_turns
from .ways import RecdWrite, Way
from .ways.handed import ProcessQueue, QueueAndThread
from .ways.inline import CSVInline
from .ways.mcap import FoxgloveJSON
from .ways.rrd import Rerun
from .ways.video import FFmpegInline, PyAVInline

STEP_US: Final = 200
COLUMNS: Final = ("steps/s unrecorded", "steps/s recorded", "recorded / unrecorded", "samples", "lost")

_STATE_WAYS: Final = (RecdWrite, QueueAndThread, ProcessQueue, CSVInline, Rerun, FoxgloveJSON)
_CAMERA_WAYS: Final = (RecdWrite, QueueAndThread, FFmpegInline, PyAVInline, Rerun)


def measure(bench: Bench) -> Iterator[Table]:
    """Steps with a state, and steps with a camera."""
    yield _table(bench, STATE, _STATE_WAYS, "50 float64 in each step", 0.99)
    yield _table(bench, VGA, _CAMERA_WAYS, f"640x480x3, {FPS} per second of wall time", 0.95)


def _table(bench: Bench, kind: Kind, ways: tuple[type[Way], ...], title: str, least: float) -> Table:
    pairs, chunk_s = bench.size(8, 2), bench.size(10, 3) / 10
    table = Table(f"A whole loop: {title}", COLUMNS, key=f"loop.{kind.name}")
    table.notes.append(
        f"A step is a fixed amount of work of about {STEP_US} µs. Medians of {pairs} pairs of {chunk_s:g} s, "
        "one of each with recording and one without, the first in turns; all that is left to write is written between "
        "them. recd, the queues and csv.writer write CSV, or MP4 by ffmpeg."
    )
    hosts = open_hosts(ways, kind, bench.new_directory, STEP_US, table.notes)
    rates: dict[tuple[str, bool], list[float]] = {}
    try:
        for n, host in enumerate(in_turns(pairs, hosts)):
            for recorded in (False, True) if n // len(hosts) % 2 else (True, False):
                rates.setdefault((host.name, recorded), []).append(host.loop(chunk_s, recorded=recorded))
        outcomes = {host: host.finish() for host in hosts}
    finally:
        for host in hosts:
            host.end()
    for host in hosts:
        bare, recorded = rates[host.name, False], rates[host.name, True]
        ratio = median(r / b for r, b in zip(recorded, bare, strict=True))
        held = host.way is RecdWrite and host.own_core and BACKEND == "native"
        bar = Bar(ratio, least, " ×", at_least=True) if held else None
        outcome = outcomes[host]
        table.add(host.name, median(bare), median(recorded), ratio, outcome.written, outcome.lost, bar=bar)
    return table
