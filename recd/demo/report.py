"""What the demo's calls cost, and how the numbers are shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Final, TypeVar

import numpy as np
from rich.console import Console

from recd_client import Summary

from ..cli._common import line, size, table

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One kind of call that the loop makes: on which side, what, and into which file."""

    side: str
    what: str
    into: str


RECD_SAMPLE: Final = Call("recd", "swarm.write(sample)", "CSV + NPZ + HDF5")
RECD_FRAME: Final = Call("recd", "film.write(frame)", "MP4")
INLINE_CSV: Final = Call("inline", "csv.writer.writerow", "CSV")
INLINE_NPZ: Final = Call("inline", "list.append", "NPZ, at the end")
INLINE_HDF5: Final = Call("inline", "h5py resize, assign", "HDF5")
INLINE_FRAME: Final = Call("inline", "write to ffmpeg", "MP4")
IN_LOOP: Final = (RECD_SAMPLE, RECD_FRAME, INLINE_CSV, INLINE_NPZ, INLINE_HDF5, INLINE_FRAME)
RECD_CLOSE: Final = Call("recd", "rec.close()", "all four")
INLINE_CLOSE: Final = Call("inline", "close, savez_compressed", "all four")


class Costs:
    """How long each call held up the loop."""

    def __init__(self) -> None:
        self._ns: dict[Call, list[int]] = {call: [] for call in (*IN_LOOP, RECD_CLOSE, INLINE_CLOSE)}

    def time(self, call: Call, function: Callable[..., T], *args: object) -> T:
        """Call ``function`` and note how long it took."""
        start = time.perf_counter_ns()
        result = function(*args)
        self._ns[call].append(time.perf_counter_ns() - start)
        return result

    def calls(self, call: Call) -> int:
        """How many such calls were made."""
        return len(self._ns[call])

    def percentile_us(self, call: Call, percent: float) -> float:
        """The time that ``percent`` of these calls stayed within, in microseconds."""
        return float(np.percentile(self._ns[call], percent)) / 1e3

    def total_s(self, *calls: Call) -> float:
        """Seconds that all such calls took together."""
        return sum(sum(self._ns[call]) for call in calls) / 1e9


def print_report(console: Console, costs: Costs, directory: Path, summary: Summary) -> None:
    """Print the comparison, the files, and how to look at them."""
    samples, frames = costs.calls(RECD_SAMPLE), costs.calls(RECD_FRAME)
    line(
        console,
        f"{samples:,} samples and {frames:,} frames, recorded twice in one loop: by recd, and inline,",
    )
    line(console, "in the simulation's own process, by hand.")
    line(console)
    _print_costs(console, costs)
    _print_files(console, directory)
    if not summary.complete:
        line(console, "Not all files are finished; the daemon goes on with them: recd status", style="yellow")
    line(console)
    line(console, "Look at them:")
    line(console, f"  recd info {quote(str(directory))}")
    line(console, f"  ffplay {quote(str(directory / 'swarm.mp4'))}        (or any player, or a browser)")
    line(console, f"  recd play {quote(str(directory))}")
    show = "import numpy, sys; print({k: v.shape for k, v in numpy.load(sys.argv[1]).items()})"
    line(console, f"  python3 -c {quote(show)} {quote(str(directory / 'swarm.npz'))}")


def _print_costs(console: Console, costs: Costs) -> None:
    numbers = ("p50 µs", "p99 µs", "in all ms")
    shown = table("", "each call", "into", *numbers, right=numbers)
    for call in IN_LOOP:
        p50, p99 = costs.percentile_us(call, 50), costs.percentile_us(call, 99)
        times = f"{p50:,.1f}", f"{p99:,.1f}", f"{1e3 * costs.total_s(call):,.0f}"
        shown.add_row(call.side, call.what, call.into, *times, style="bold" if call.side == "recd" else "")
    console.print(shown)
    line(console)
    recd_s = costs.total_s(RECD_SAMPLE, RECD_FRAME)
    inline_s = costs.total_s(INLINE_CSV, INLINE_NPZ, INLINE_HDF5, INLINE_FRAME)
    line(
        console,
        f"Recording held up the loop for {recd_s:.2f} s with recd, for {inline_s:.2f} s inline: "
        f"{inline_s / recd_s:.0f} times as long.",
    )
    line(
        console,
        f"After the loop, finishing the files took {costs.total_s(RECD_CLOSE):.1f} s in recd's processes, "
        f"{costs.total_s(INLINE_CLOSE):.1f} s inline.",
    )


def _print_files(console: Console, directory: Path) -> None:
    line(console)
    line(console, f"Recorded in {directory}:")
    for path in sorted(directory.iterdir()):
        if path.is_file():
            line(console, f"  {path.name:<16}{size(path.stat().st_size):>9}")
