"""What safety costs, and how soon everything goes on after a death."""

from __future__ import annotations

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
from recd.finisher import Finisher, Job
from recd.parts import PartsFile
from recd.room import Store
from recd.runner import SinkContext
from recd.samples import LogRunner
from recd.syncing import Rounds
from recd.track import Track
from recd_client import CSVFile, NPZFile, NullSink, Recorder, SinkOptions, __version__, layout, process, shm
from recd_client.control import Caller
from recd_client.ring import RingProducer
from recd_client.sample import infer

from .daemon import Bench, buffered_bytes, producer, supervisor_pid
from .results import Bar, Table
from .timing import in_turns, wait_until

COLUMNS: Final = 50
STREAMS: Final = 100
#: As often as the worker does.
_LOOK_S: Final = 0.02
_STEP_BYTES: Final = 4 << 20


def measure(bench: Bench) -> Iterator[Table]:
    """Deaths, and the price of durability."""
    yield _deaths(bench)
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


# --- durability ------------------------------------------------------------------------------------
def _durability(bench: Bench) -> Table:
    rounds = bench.size(7, 5)
    table = Table("What safety costs the worker", ("thousand rows/s", "% of no safety"))
    fewest = 10**6
    with _ring() as ring:
        for sink, passes, rows in (
            (NPZFile("rows.npz"), bench.size(8, 4), ring.rows),
            (CSVFile("rows.csv"), 1, bench.size(ring.rows, ring.rows // 2)),
        ):
            rates: dict[str, list[float]] = {}
            for way in in_turns(rounds, ("none", "process", "interval")):
                took_s, syncs = _drain(bench, sink, ring, passes, rows, way)
                rates.setdefault(way, []).append(passes * rows / took_s)
                if way == "interval":
                    fewest = min(fewest, syncs)
            base = median(rates["none"])
            name = sink.kind.upper()
            table.add(f"{name}: no safety", base / 1e3, 100.0)
            for way, least in (("process", 97), ("interval", 90)):
                share = 100 * median(rates[way]) / base
                bar = Bar(share, least, " %", at_least=True)
                table.add(f'{name}: durability="{way}"', median(rates[way]) / 1e3, share, bar=bar)
    table.notes.append(
        f"Rows of {COLUMNS} float64, ring to log to sink in one process, which never waits for the rows: they stand "
        f"in memory, {ring.rows:,} for each of {bench.size(8, 4)} streams one after the other (CSV: one). Medians of "
        f"{rounds} rounds in turns. No safety: the same, with checkpoints and part files that are not written. "
        f"interval: a sync every 200 ms; {fewest} or more in each round."
    )
    return table


class _Ring:
    """A big ring that was filled once; each pass publishes it anew, step by step."""

    def __init__(self) -> None:
        self.name = f"/{shm.PREFIX}-bench-{os.getpid()}"
        self.segment = shm.Segment.create(self.name, 256 << 20, {"producer_pid": os.getpid()})
        producer = RingProducer(self.segment.memory)
        row = np.random.default_rng(1).standard_normal(COLUMNS).tobytes()
        self.stride_bytes = layout.record_bytes(len(row))
        self.rows = 0
        while (at := producer.reserve(self.stride_bytes)) >= 0:
            producer.buffer[at + layout.HEADER_BYTES : at + layout.HEADER_BYTES + len(row)] = row
            producer.publish(self.stride_bytes, len(row), self.rows * 1e-3, self.rows, self.rows)
            self.rows += 1
        producer.release()
        self._words = memoryview(self.segment.memory).cast("B")[: layout.DATA_OFFSET].cast("Q")

    def rewind(self) -> None:
        """Nothing was published or freed yet."""
        for word in (layout.PRODUCER["head"], layout.CONSUMER["free_pos"], layout.CONSUMER["durable_seq"]):
            self._words[word // 8] = 0

    def publish(self, rows: int) -> Iterator[None]:
        """So many rows come, a few megabytes at a time; each time is the worker's."""
        step = _STEP_BYTES // self.stride_bytes
        for n in range(step, rows + step, step):
            self._words[layout.PRODUCER["head"] // 8] = min(n, rows) * self.stride_bytes
            yield

    def close(self) -> None:
        """It is gone."""
        self._words.release()
        self.segment.unlink()
        self.segment.close()


@contextmanager
def _ring() -> Iterator[_Ring]:
    ring = _Ring()
    try:
        yield ring
    finally:
        ring.close()


class _Counted(Finisher):
    """The syncing thread, and how often it was asked."""

    asked = 0

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """See :class:`Finisher`."""
        self.asked += 1
        return super().submit(work)


def _drain(
    bench: Bench, sink: SinkOptions, ring: _Ring, passes: int, rows: int, way: str
) -> tuple[float, int]:
    """Seconds of the worker's own work until so many rows are in the log and taken by the sink; number of syncs."""
    top, syncer = bench.new_directory(), _Counted(lambda: None)
    with _unsafe() if way == "none" else nullcontext():
        ring.rewind()
        tracks = [_track(top / str(n), sink, ring, way, syncer) for n in range(passes)]
        began_s = looked_s = time.monotonic()
        for track in tracks:
            for _ in ring.publish(rows):
                while track.drain() | track.work(track.drain):
                    if time.monotonic() - looked_s > _LOOK_S:
                        looked_s = time.monotonic()
                        for each in tracks:
                            if each.rounds is not None:
                                each.rounds.look()
            if track.log.last is None or track.log.last.next_seq != rows:
                raise RuntimeError("not all rows came to the log")
        took_s = time.monotonic() - began_s
        syncer.stop(60.0)
        for track in tracks:
            track.save()
            track.close()
    shutil.rmtree(top)
    return took_s, syncer.asked


def _track(directory: Path, sink: SinkOptions, ring: _Ring, way: str, syncer: Finisher) -> Track:
    """A stream of its own that reads the ring, which is in memory."""
    directory.mkdir()
    schema = infer(np.zeros(COLUMNS))
    durability = "interval" if way == "interval" else "process"
    info = {"name": "rows", "metadata": {}, "clocks": {"wall_ns": 0, "mono_ns": 0}}
    context = SinkContext(
        directory, schema, info, Finisher(lambda: None), time.monotonic_ns, False, durability != "process"
    )
    made = sinks.make_sink(sink, schema, info)
    runner = LogRunner(context, 0, sink, directory / str(sink.path), made)
    segment = shm.Segment.open(ring.name)
    np.frombuffer(segment.memory, np.uint8)[:: os.sysconf("SC_PAGE_SIZE")].sum()
    track = Track(directory, "rows", schema, Store(durability, None, 0), [runner], segment, time.monotonic_ns)
    if way == "interval":
        Rounds(track, syncer, time.monotonic_ns)
    return track


@contextmanager
def _unsafe() -> Iterator[None]:
    """No checkpoint is written, nor a line about a part."""
    nothing: Callable[..., None] = lambda *args, **options: None  # noqa: E731
    with (
        mock.patch.multiple(Checkpoint, save=nothing, sync=nothing),
        mock.patch.object(PartsFile, "put", nothing),
    ):
        yield
