"""What recording costs a step of Genesis: thrown away, with its own recorders, with recd."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import numpy as np

from .daemon import Bench
from .results import Bar, Table

_INTERPRETER: Final = "RECD_GENESIS_1_4_5"
_PROGRAM: Final = Path(__file__).parent / "programs" / "genesis_steps.py"
_LABELS: Final = {
    "csv": f"CSV of {50} floats",
    "npz": f"NPZ of {50} floats",
    "video": "640x480 video, 50 a second",
    "plot": "line plot saved to MP4",
    "camera": "camera 640x480, step + render",
}
_WAYS: Final = {
    "none": "no recorder",
    "thrown": "data_func, thrown away",
    "own": "Genesis' own",
    "recd": "recd",
}
#: The most that recd may add to a step, in µs.
_MOST_US: Final = {"csv": 8, "npz": 8, "video": 150, "plot": 15}


def measure(bench: Bench) -> Iterator[Table]:
    """One table of steps, of one run with all ways in turns."""
    columns = ("µs/step", "beyond thrown away", "p99 µs", "most µs")
    table = Table("A step of Genesis 1.4.5 (CPU, a box over a plane)", columns, key="genesis")
    if _INTERPRETER not in os.environ:
        table.notes.append(f"not measured: {_INTERPRETER} names no interpreter that has Genesis 1.4.5")
        yield table
        return
    found = _run(bench)
    for subject, result in found.items():
        _add(table, subject, result)
    table.notes.append(
        "All ways step in turns, at most 50 steps each, every one a scene of its own in one process. µs/step is the "
        "median over the blocks of their mean, p99 and most are of single steps. The first 20 steps are not counted."
    )
    missing = [label for name, label in _LABELS.items() if name not in found]
    table.notes += [f"not measured: {label}" for label in missing]
    yield table


def _run(bench: Bench) -> dict[str, Any]:
    sizes = [bench.size(5000, 500), bench.size(1000, 100), bench.size(200, 50)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [os.environ[_INTERPRETER], str(_PROGRAM), str(bench.new_directory()), *map(str, sizes)],
        env={"PYOPENGL_PLATFORM": "egl", **os.environ, "PYTHONPATH": f"{root / 'client'}:{root}"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _add(table: Table, subject: str, result: dict[str, Any]) -> None:
    """The rows of one subject, recd's with the bars."""
    took_us = {way: np.array(us) for way, us in result["us"].items()}
    typical = {
        way: median(map(mean, np.array_split(us, len(us) // result["block"]))) for way, us in took_us.items()
    }
    for way, us in took_us.items():
        more = typical[way] - typical["thrown"]
        bar = None
        if way == "recd" and subject == "camera":
            bar = Bar(100 * more / typical["thrown"], 1, " % of step + render")
        elif way == "recd":
            bar = Bar(more, _MOST_US[subject], " µs")
        label, p99 = f"{_LABELS[subject]}: {_WAYS[way]}", float(np.percentile(us, 99))
        table.add(label, typical[way], None if way == "thrown" else more, p99, float(us.max()), bar=bar)
        if way == "recd" and subject == "video":
            table.add("the longest of these steps", None, None, None, None,
                      bar=Bar(float(us.max()), 5000, " µs"))  # fmt: skip
    grown_mib = result["recd_grew_bytes"] / 2**20
    table.notes.append(f"{_LABELS[subject]}: in recd's blocks the process grew by {grown_mib:.1f} MiB")
