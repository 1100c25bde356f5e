"""What safety costs, and how soon everything is well again after a death."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest import mock

import numpy as np

from recd import sinks
from recd.checkpoint import Checkpoint
from recd.finisher import Finisher
from recd.parts import PartsFile
from recd.runner import SinkContext
from recd.samples import LogRunner
from recd.track import Store, Track
from recd_client import CSVFile, NPZFile, NullSink, Recorder, SinkOptions, __version__, process, shm
from recd_client.control import Caller
from recd_client.ring import RingProducer
from recd_client.schema import Schema

from .daemon import Bench, buffered_bytes, other_runtime, producer, supervisor_pid
from .results import Bar, Table
from .timing import in_turns, seconds, wait_until

COLUMNS: Final = 50
STREAMS: Final = 100
_SYNC_S: Final = 0.2

#: A simulation that is to be killed: it records so many rows, and then waits.
_VICTIM: Final = """
import sys, time, numpy as np
from recd_client import HDF5File, Recorder
rec = Recorder("victim", dir=sys.argv[1], dt=0.001)
stream = rec.stream("rows", HDF5File("rows.h5"), like=np.zeros(50), overflow="block")
rows = np.random.default_rng(1).standard_normal((1000, 50))
for i in range(int(sys.argv[2])):
    stream.write(rows[i % 1000])
rec.flush()
print("ready", flush=True)
time.sleep(3600)
"""


def measure(bench: Bench) -> Iterator[Table]:
    """Deaths, recovery, and the price of durability."""
    yield _deaths(bench)
    yield _recovery(bench)
    yield _durability(bench)


# --- deaths ----------------------------------------------------------------------------------------
def _deaths(bench: Bench) -> Table:
    table = Table("After a death", ("median ms", "most ms"))
    rounds = bench.size(15, 4)
    took = [1e3 * s for s in _worker_deaths(bench, rounds)]
    bar = Bar(median(took), 300, " ms")
    table.add(
        "worker killed, until a sample that is written then is in the log", median(took), max(took), bar=bar
    )
    took = [1e3 * s for s in _supervisor_deaths(bench, bench.size(7, 3))]
    bar = Bar(median(took), 1000, " ms")
    label = f"supervisor killed, from `recd start` until it knows {STREAMS} live streams again"
    table.add(label, median(took), max(took), bar=bar)
    return table


def _worker_deaths(bench: Bench, rounds: int) -> list[float]:
    took = []
    with Recorder("death", dir=bench.new_directory(), dt=0.001) as rec:
        stream = rec.stream("rows", CSVFile("rows.csv"), like=np.zeros(COLUMNS))
        for _ in range(rounds):
            stream.write(np.zeros(COLUMNS))
            rec.flush()
            os.kill(producer(stream).word("worker_pid"), signal.SIGKILL)
            began_s = time.monotonic()
            stream.write(np.zeros(COLUMNS))
            took.append(wait_until(lambda: buffered_bytes(stream) == 0) - began_s)
            time.sleep(2.5)  # five deaths within ten seconds would be too many
    return took


def _supervisor_deaths(bench: Bench, rounds: int) -> list[float]:
    took = []
    with Recorder("restart", dir=bench.new_directory(), dt=0.001) as rec:
        for n in range(STREAMS):
            rec.stream(f"s{n}", NullSink(), like=np.zeros(4))
        for _ in range(rounds):
            os.kill(supervisor_pid(), signal.SIGKILL)
            began_s = time.monotonic()
            subprocess.run([sys.executable, "-m", "recd", "start"], stdout=subprocess.DEVNULL, check=True)
            took.append(wait_until(lambda: _live_streams() == STREAMS, pause_s=0.01) - began_s)
    return took


def _live_streams() -> int:
    caller = Caller(process.socket_path(), role="bench", version=__version__)
    try:
        status = caller.call("status", 10.0)
    finally:
        caller.close()
    return sum(len(s["streams"]) for s in status["sessions"] if s["state"] == "recording")


# --- recovery --------------------------------------------------------------------------------------
def _recovery(bench: Bench) -> Table:
    rows, rounds = bench.size(2_150_000, 500_000), bench.size(3, 2)
    table = Table("Recovery of a killed recording: HDF5", ("s", "MB/s", "× copying"))
    recover_s, copy_s, size_bytes = [], [], 0
    for n in range(rounds):
        directory = bench.new_directory()
        with other_runtime(bench.directory / f"recovery{n}"):
            _record_and_kill(directory, rows)
            size_bytes = sum(p.stat().st_size for p in directory.rglob("*.log"))
            copy_s.append(seconds(_copy, directory / ".recd", directory.with_suffix(".copy")))
            shutil.rmtree(directory.with_suffix(".copy"))
            command = [sys.executable, "-m", "recd", "recover", "--json", str(directory)]
            began_s = time.monotonic()
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            recover_s.append(time.monotonic() - began_s)
        (report,) = json.loads(done.stdout)["recordings"]
        if report["recovered"]["rows"]["samples"] != rows:
            raise RuntimeError(f"recovered {report['recovered']['rows']['samples']} of {rows} rows")
        shutil.rmtree(directory)
    table.notes.append(
        f"{size_bytes / 1e6:,.0f} MB of log, every process killed; medians of {rounds} rounds. `recd recover`: from "
        "its start to its end, with the file built, hashed and synced. Copying: the log, read, written and synced."
    )
    ratio = median(copy_s) / median(recover_s)
    bar = Bar(ratio, 0.5, " ×", at_least=True)
    table.add("recd recover", median(recover_s), size_bytes / median(recover_s) / 1e6, ratio, bar=bar)
    table.add("copying the log", median(copy_s), size_bytes / median(copy_s) / 1e6, 1.0)
    return table


def _record_and_kill(directory: Path, rows: int) -> None:
    """A recording of which every process was killed."""
    command = [sys.executable, "-c", _VICTIM, str(directory), str(rows)]
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


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


# --- durability ------------------------------------------------------------------------------------
def _durability(bench: Bench) -> Table:
    rows, rounds = bench.size(400_000, 100_000), bench.size(9, 5)
    table = Table("What safety costs the worker", ("thousand rows/s", "% of no safety"))
    table.notes.append(
        f"{rows:,} rows of {COLUMNS} float64, ring to log to sink in one process; medians of {rounds} rounds in turns. "
        "No safety: the same, with checkpoints and part files that are not written. interval: a sync every 200 ms."
    )
    for sink, bars in ((NPZFile("rows.npz"), True), (CSVFile("rows.csv"), True)):
        few = rows if isinstance(sink, NPZFile) else rows // 4
        rates: dict[str, list[float]] = {}
        for way in in_turns(rounds, ("none", "process", "interval")):
            rates.setdefault(way, []).append(few / _drain(bench, sink, few, way))
        base = median(rates["none"])
        name = sink.kind.upper()
        table.add(f"{name}: no safety", base / 1e3, 100.0)
        for way, least in (("process", 97), ("interval", 90)):
            share = 100 * median(rates[way]) / base
            bar = Bar(share, least, " %", at_least=True) if bars else None
            table.add(f'{name}: durability="{way}"', median(rates[way]) / 1e3, share, bar=bar)
    return table


def _drain(bench: Bench, sink: SinkOptions, rows: int, way: str) -> float:
    """Seconds of the worker's own work until so many rows are in the log and taken by the sink."""
    directory = bench.new_directory()
    schema = Schema.from_json(_schema())
    durability = "interval" if way == "interval" else "process"
    with _ring() as ring, _unsafe() if way == "none" else nullcontext():
        info = {"name": "rows", "metadata": {}, "clocks": {"wall_ns": 0, "mono_ns": 0}}
        context = SinkContext(
            directory, schema, info, Finisher(lambda: None), time.monotonic_ns, False, durability != "process"
        )
        made = sinks.make_sink(sink, schema, info)
        runner = LogRunner(context, 0, sink, directory / str(sink.path), made)
        segment = shm.Segment.open(ring.name)
        track = Track(
            directory, "rows", schema, Store(durability, None, 0), [runner], segment, time.monotonic_ns
        )
        took_s, synced_s = 0.0, time.monotonic()
        row = np.random.default_rng(1).standard_normal(COLUMNS).tobytes()
        left = rows
        while left:
            left -= _fill(ring.producer, row, left)
            began_s = time.monotonic()
            track.drain()
            while track.work(track.drain):
                if way == "interval" and time.monotonic() - synced_s > _SYNC_S:
                    track.sync()
                    synced_s = time.monotonic()
            took_s += time.monotonic() - began_s
        track.save()
        track.close()
    shutil.rmtree(directory)
    return took_s


@contextmanager
def _unsafe() -> Iterator[None]:
    """No checkpoint is written, nor a line about a part."""
    nothing: Callable[..., None] = lambda *args, **options: None  # noqa: E731
    with (
        mock.patch.multiple(Checkpoint, save=nothing, sync=nothing),
        mock.patch.object(PartsFile, "put", nothing),
    ):
        yield


class _Ring:
    """A ring in shared memory and its producer."""

    def __init__(self) -> None:
        self.name = f"/{shm.PREFIX}-bench-{os.getpid()}"
        self.segment = shm.Segment.create(self.name, 8 << 20, {"producer_pid": os.getpid()})
        self.producer = RingProducer(self.segment.memory)


@contextmanager
def _ring() -> Iterator[_Ring]:
    ring = _Ring()
    try:
        yield ring
    finally:
        ring.segment.unlink()
        ring.producer.release()
        ring.segment.close()


def _schema() -> dict[str, Any]:
    from recd_client.sample import infer

    schema: dict[str, Any] = infer(np.zeros(COLUMNS)).to_json()
    return schema


def _fill(ring: RingProducer, row: bytes, most: int) -> int:
    """Write rows until the ring is full; how many."""
    size = 64 + len(row) + (-len(row)) % 64
    for n in range(most):
        at = ring.reserve(size)
        if at < 0:
            return n
        ring.buffer[at + 64 : at + 64 + len(row)] = row
        ring.publish(size, len(row), n * 1e-3, n, n)
    return most
