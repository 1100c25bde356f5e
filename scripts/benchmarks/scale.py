"""Whether a call costs the same with a thousand streams in a session, and with many simulations at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from recd_client import NullSink, Recorder, Stream

from .daemon import Bench
from .results import Bar, Table
from .timing import Costs, Step, in_turns, step_of, time_calls, timer_cost_ns

#: What "unchanged" leaves to noise.
_UNCHANGED: Final = 1.1

#: A simulation among many: it says when it is there, and records 100 times per second until it is told to stop.
_CLIENT: Final = """
import sys, threading, time, numpy as np
from recd_client import NullSink, Recorder
with Recorder("client", dir=sys.argv[1], dt=0.01) as rec:
    stream = rec.stream("state", NullSink(), like=np.zeros(50))
    print("ready", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    n = 0
    while not ended.wait(0.01):
        stream.write(np.zeros(50), 0.01 * n)
        n += 1
    rec.flush()
summary = rec.close()["state"]
print(n, summary.written, flush=True)
"""


def measure(bench: Bench) -> Iterator[Table]:
    """Streams, then clients."""
    table = Table("Many at once", ("p50 µs", "p99 µs", "× alone"), key="scale")
    _streams(bench, table)
    _clients(bench, table)
    yield table


def _streams(bench: Bench, table: Table) -> None:
    rounds, calls, count = bench.size(20, 5), bench.size(2000, 1000), bench.size(1000, 100)
    state, step = np.random.default_rng(1).standard_normal(50), step_of(20)
    timer_ns = timer_cost_ns()
    with (
        Recorder("one", dir=bench.new_directory(), dt=0.001) as one,
        Recorder("many", dir=bench.new_directory(), dt=0.001) as many,
    ):
        alone = one.stream("state", NullSink(), like=state, buffer_bytes="1MiB")
        began_s = time.monotonic()
        streams = [many.stream(f"s{n}", NullSink(), like=state, buffer_bytes="1MiB") for n in range(count)]
        declared_ms = 1e3 * (time.monotonic() - began_s) / count
        table.notes.append(
            f"{rounds * calls:,} calls each, in turns, after 20 µs of simulation. {count:,} streams in one session "
            f"were declared in {declared_ms:.1f} ms each. Rotation: every call writes to another stream than the one "
            "before, so that nothing of it is in the processor's cache."
        )
        names = ("alone", "among", "rotation")
        costs = {name: Costs(timer_ns) for name in names}
        for way in in_turns(rounds, names):
            if way == "rotation":
                costs[way].add(_rotate(streams, state, calls, step))
            else:
                stream = alone if way == "alone" else streams[count // 2]
                times = [0.001 * i for i in range(calls)]
                costs[way].add(time_calls(stream.write, state, times, step))
            one.flush()
            many.flush()
        many_summary = many.close()
    written = sum(s.written for s in many_summary.streams.values())
    if lost := 2 * rounds * calls - written:
        table.notes.append(f"{lost:,} samples of the many streams found no room, and were counted")
    base_us = costs["alone"].us(50)
    _row(table, "the only stream of its session", costs["alone"], base_us, None)
    _row(table, f"one of {count:,} streams", costs["among"], base_us, _UNCHANGED)
    _row(table, f"{count:,} streams in rotation", costs["rotation"], base_us, None)


def _rotate(streams: list[Stream], state: np.ndarray, calls: int, step: Step) -> list[int]:
    """Nanoseconds of calls, each of another stream."""
    now, took = time.perf_counter_ns, [0] * calls
    for i in range(calls):
        write = streams[i % len(streams)].write
        step()
        start = now()
        write(state, 0.001 * i)
        took[i] = now() - start
    return took


def _row(table: Table, label: str, cost: Costs, base_us: float, limit: float | None) -> None:
    ratio = cost.us(50) / base_us
    bar = None if limit is None else Bar(ratio, limit, " ×")
    table.add(label, cost.us(50), cost.us(99), ratio, bar=bar)


def _clients(bench: Bench, table: Table) -> None:
    rounds, calls, count = bench.size(10, 3), bench.size(2000, 1000), bench.size(64, 8)
    state, step = np.random.default_rng(1).standard_normal(50), step_of(20)
    timer_ns = timer_cost_ns()
    costs = {name: Costs(timer_ns) for name in ("before", "beside", "after")}
    with Recorder("client", dir=bench.new_directory(), dt=0.001) as rec:
        stream = rec.stream("state", NullSink(), like=state)

        def turn(name: str) -> None:
            for _ in range(rounds):
                costs[name].add(time_calls(stream.write, state, [0.001 * i for i in range(calls)], step))
                rec.flush()

        turn("before")
        others = [_start_client(bench) for _ in range(count - 1)]
        try:
            for other in others:
                assert other.stdout is not None
                if other.stdout.readline() != "ready\n":
                    raise RuntimeError("one of the clients did not get there")
            turn("beside")
        finally:
            ends = [other.communicate("")[0].split() for other in others]
        turn("after")
    attempted, written = (sum(int(end[n]) for end in ends) for n in (0, 1))
    table.notes.append(
        f"{count} simulations at once: {count - 1} processes that record 50 float64 a hundred times per second "
        f"beside the one that is timed; {written:,} of their {attempted:,} samples were recorded. Alone: before they "
        "came and after they had gone."
    )
    base_us = (costs["before"].us(50) + costs["after"].us(50)) / 2
    _row(table, f"one client of {count}", costs["beside"], base_us, _UNCHANGED)
    _row(table, "the same one, before", costs["before"], base_us, None)
    _row(table, "the same one, after", costs["after"], base_us, None)


def _start_client(bench: Bench) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CLIENT, str(bench.new_directory())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
