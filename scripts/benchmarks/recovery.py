"""Recovery of a recording of 1 GB of which every process was killed (256 MB in a quick run)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from .daemon import Bench, other_runtime
from .results import Bar, Table
from .timing import seconds

COLUMNS: Final = 50

#: A simulation that is to be killed: it records so many rows, and then waits.
_VICTIM: Final = """
import sys, time, numpy as np
import recd_client
from recd_client import Recorder
rec = Recorder("victim", dir=sys.argv[1], dt=0.001)
sink = getattr(recd_client, sys.argv[3])
stream = rec.stream("rows", sink("rows" + sink.suffixes[0]), like=np.zeros(50), overflow="block")
rows = np.random.default_rng(1).standard_normal((1000, 50))
for i in range(int(sys.argv[2])):
    stream.write(rows[i % 1000])
rec.flush()
print("ready", flush=True)
time.sleep(3600)
"""


def measure(bench: Bench) -> list[Table]:
    """How long it takes, against copying what is there."""
    rows, rounds = bench.size(2_150_000, 500_000), bench.size(5, 3)
    table = Table("Recovery of a killed recording", ("s", "MB/s", "× plain copy", "× synced copy"))
    size_bytes = 0
    for kind in ("HDF5File", "NPZFile", "CSVFile"):
        took: dict[str, list[float]] = {"recover": [], "plain": [], "synced": []}
        for n in range(rounds):
            ways = ("plain", "synced") if n % 2 else ("synced", "plain")
            size_bytes = _recover_once(bench, kind, rows, ways, took)
        plain, synced, recover = (median(took[way]) for way in ("plain", "synced", "recover"))
        bar = Bar(plain / recover, 0.5, " ×", at_least=True) if kind == "HDF5File" else None
        name = kind.removesuffix("File")
        for label, s in (("plain copy", plain), ("synced copy", synced), ("recd recover", recover)):
            values = (s, size_bytes / s / 1e6, plain / s, synced / s)
            table.add(f"{name}: {label}", *values, bar=bar if s is recover else None)
    table.notes.append(
        f"{rows:,} rows of {COLUMNS} float64, every process killed; medians of {rounds} rounds, in each of which all "
        "three ways work on the same recording, after a copy that warms the memory up and with nothing left to be "
        "synced before. `recd recover`: from its start to its end, with the file built, hashed and synced. Plain "
        "copy: read and written, to the page cache only; the bar stands against this one, although what is "
        "recovered is safe and what is copied so is not. Synced copy: with an fsync of each file. "
        "MB/s: of what is copied."
    )
    return [table]


def _recover_once(
    bench: Bench, kind: str, rows: int, ways: Sequence[str], took: dict[str, list[float]]
) -> int:
    """Record, kill, copy in both ways and recover; the size of what was copied."""
    directory = bench.new_directory()
    copy = directory.with_suffix(".copy")
    with other_runtime(bench.directory / f"{directory.name}.run"):
        _record_and_kill(directory, rows, kind)
        size_bytes = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())
        for way in ("warm-up", *ways):
            os.sync()
            took.setdefault(way, []).append(seconds(_copy, directory, copy, way == "synced"))
            shutil.rmtree(copy)
        os.sync()
        command = [sys.executable, "-m", "recd", "recover", "--json", str(directory)]
        began_s = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        took["recover"].append(time.monotonic() - began_s)
    (report,) = json.loads(done.stdout)["recordings"]
    if report["recovered"]["rows"]["samples"] != rows:
        raise RuntimeError(f"recovered {report['recovered']['rows']['samples']} of {rows} rows")
    shutil.rmtree(directory)
    return size_bytes


def _copy(source: Path, target: Path, synced: bool) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)
    for path in target.rglob("*") if synced else ():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _record_and_kill(directory: Path, rows: int, kind: str) -> None:
    """A recording of which every process was killed."""
    command = [sys.executable, "-c", _VICTIM, str(directory), str(rows), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        if victim.stdout.readline() != "ready\n":
            raise RuntimeError("the simulation that was to be killed did not get there")
        victim.send_signal(signal.SIGSTOP)  # it shall not start a daemon again
        while pids := _processes_of(Path(os.environ["RECD_RUNTIME_DIR"])) - {victim.pid, os.getpid()}:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        victim.kill()


def _processes_of(runtime: Path) -> set[int]:
    """Living processes that were started with this runtime directory."""
    wanted, found = f"RECD_RUNTIME_DIR={runtime}".encode(), set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
        except OSError:  # another user's, or gone
            continue
    return found
