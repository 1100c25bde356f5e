"""What taps cost the one who writes: a single stream as fast as a loop can, with 0, 1 and 5 taps at 60 Hz."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from recd_client import NullSink, Recorder

from ..daemon import Bench
from ..results import Bar, Table
from ..timing import Costs, in_turns, step_of, time_calls, timer_cost_ns

_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "tap_poller.py"
_TAPS: Final = (0, 1, 5)
_UNCHANGED: Final = 1.1


class Poller:
    """A process with a tap."""

    def __init__(self, stream: str) -> None:
        command = [sys.executable, str(_PROGRAM), stream]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def heard(self) -> None:
        """It has done what it was told last."""
        if self._process.stdout is None or self._process.stdout.readline() != "ok\n":
            raise RuntimeError("a tap ended")

    def tell(self, word: str) -> None:
        """``go`` or ``stop``."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        self.heard()

    def end(self) -> int:
        """Samples that it saw."""
        said, _ = self._process.communicate()
        return int(said or 0)

    def close(self) -> None:
        """It is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def table(bench: Bench) -> Table:
    """The same stream, written to in turns with so many taps."""
    rounds, calls = bench.size(20, 3), bench.size(20_000, 4_000)
    timer_ns, step, state = timer_cost_ns(), step_of(20), np.random.default_rng(1).standard_normal(50)
    result = Table(
        "What taps cost the writer: 50 float64", ("p50 µs", "p99 µs", "p99.9 µs", "× p50"), key="live.taps"
    )
    costs = {count: Costs(timer_ns) for count in _TAPS}
    pollers: list[Poller] = []
    with Recorder("taps", dir=bench.new_directory(), dt=0.001) as rec:
        stream = rec.stream("state", NullSink(), like=state)
        try:
            pollers += [Poller("taps/state") for _ in range(max(_TAPS))]
            for poller in pollers:
                poller.heard()
            for count in in_turns(rounds, _TAPS):
                for poller in pollers[:count]:
                    poller.tell("go")
                costs[count].add(time_calls(stream.write, state, [0.001 * i for i in range(calls)], step))
                for poller in pollers[:count]:
                    poller.tell("stop")
                rec.flush()
            seen = sum(poller.end() for poller in pollers)
        finally:
            for poller in pollers:
                poller.close()
    for count in _TAPS:
        p50, p99, p999, _ = costs[count].columns()
        ratio = p50 / costs[0].us(50)
        bar = Bar(ratio, _UNCHANGED, " ×") if count else None
        result.add(f"{count} taps" if count != 1 else "1 tap", p50, p99, p999, ratio, bar=bar)
    result.notes.append(
        f"{rounds * calls:,} calls each, in turns of {calls:,}, after 20 µs of simulation. Each tap is a process that "
        f"copies and proves all that is new, 60 times per second; they saw {seen:,} samples."
    )
    return result
