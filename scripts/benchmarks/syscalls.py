"""System calls of the simulation's process while it writes, counted by strace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .daemon import Bench
from .results import Bar, Table

#: Writes between two calls that nobody else makes; says how many samples were lost.
_SIMULATION: Final = """
import os, sys, numpy as np
from recd_client import NullSink, Recorder
state = np.random.default_rng(1).standard_normal(50)
with Recorder("syscalls", dir=sys.argv[1], dt=0.001) as rec:
    stream = rec.stream("state", NullSink(), like=state, buffer_bytes=64 << 20)
    write, n = stream.write, int(sys.argv[2])
    for i in range(1000):
        write(state, 0.001 * i)
    os.getpgid(0)
    for i in range(n):
        write(state, 0.001 * i)
    os.getpgid(0)
print(rec.close()["state"].lost_total)
"""
_MARK: Final = "getpgid"


def measure(bench: Bench) -> Iterator[Table]:
    """One row: writes without a pause, so that the worker always has something to do."""
    count = bench.size(1_000_000, 200_000)
    table = Table("System calls", ("writes", "system calls", "lost"), key="syscalls")
    table.notes.append(
        "All system calls of the simulation's process between the first and the last of the writes, which follow one "
        "another without a pause, by strace."
    )
    if shutil.which("strace") is None:
        table.notes.append("not measured: strace is not installed")
        yield table
        return
    log = bench.new_directory() / "strace"
    command = [sys.executable, "-c", _SIMULATION, str(bench.new_directory()), str(count)]
    traced = subprocess.run(
        ["strace", "-f", "-o", str(log), *command], capture_output=True, text=True, check=False
    )
    if traced.returncode != 0 or not traced.stdout.strip().isdigit():
        table.notes.append(f"not measured: strace failed: {traced.stderr.strip()[-200:]}")
        yield table
        return
    calls = _between_marks(log)
    if calls:
        table.notes.append("; ".join(f"{name} {n:,}" for name, n in calls.most_common()))
    total = sum(calls.values())
    table.add("50 float64: recd write", count, total, int(traced.stdout), bar=Bar(total, 0))
    yield table


def _between_marks(log: Path) -> Counter[str]:
    """System calls by name, signals left out, of a trace with two marks in it."""
    lines = log.read_text().splitlines()
    first, last = (n for n, line in enumerate(lines) if f" {_MARK}(" in line)
    names = (re.match(r"\d+ +(\w+)\(", line) for line in lines[first + 1 : last])
    return Counter(match[1] for match in names if match)
