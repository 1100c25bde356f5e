"""A stream of samples in one process: producer, worker, files, and what must be in them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd.log import LogReader
from recd.manifest import stream_result
from recd.runner import Runner, SinkContext
from recd.samples import LogRunner
from recd.sinks import make_sink
from recd.track import Store, Track
from recd_client import layout
from recd_client.options import CSVFile, SinkOptions
from recd_client.schema import Schema
from streams import PLAIN, Feed
from syscall_faults import Clock, InlineFinisher, death, fault

_TICK_S = 0.3


class Recording:
    """Everything of one stream of samples.

    Parameters
    ----------
    directory : Path
    sinks : SinkOptions
    schema : Schema
    store : Store, optional
    capacity_bytes : int
        Of the ring.
    replace, durable : bool
        See :class:`~recd.runner.SinkContext`.
    drops_oldest : bool
        See :class:`~recd.track.Track`.
    """

    def __init__(
        self,
        directory: Path,
        *sinks: SinkOptions,
        schema: Schema = PLAIN,
        store: Store | None = None,
        capacity_bytes: int = layout.MIN_CAPACITY_BYTES,
        replace: bool = False,
        durable: bool = False,
        drops_oldest: bool = False,
    ) -> None:
        self.out = directory / "out"
        self.directory = directory / "s-rows"
        for path in (self.out, self.directory):
            path.mkdir(parents=True)
        self.sinks: Sequence[SinkOptions] = sinks or (CSVFile("rows.csv"),)
        self.schema = schema
        self.store = store or Store(reserve_bytes=0)
        self.replace = replace
        self.durable = durable
        self.drops_oldest = drops_oldest
        self.clock = Clock()
        self.feed = Feed(schema, capacity_bytes)
        self.renamed: dict[int, Path] = {}
        self.start()

    # --- the worker --------------------------------------------------------------------------------
    def start(self) -> None:
        """A worker takes the stream up from what the files tell."""
        self.finisher = InlineFinisher()
        context = SinkContext(
            self.directory,
            self.schema,
            {"name": "rows", "metadata": {}, "clocks": {"wall_ns": 0, "mono_ns": 0}},
            self.finisher,
            self.clock,
            self.replace,
            self.durable,
        )
        self.runners: list[Runner] = [
            LogRunner(
                context,
                i,
                option,
                self.out / (option.path or Path(f"{option.kind}{i}")),
                make_sink(option, self.schema, context.info),
            )
            for i, option in enumerate(self.sinks)
        ]
        for i, path in self.renamed.items():
            self.runners[i].rename(path)
        where = (self.directory, "rows", self.schema, self.store, self.runners)
        self.track = Track(*where, self.feed.segment, self.clock)
        self.track.drops_oldest = self.drops_oldest

    @property
    def runner(self) -> Runner:
        """The first one."""
        return self.runners[0]

    def turn(self, times: int = 1) -> None:
        """The worker's loop runs, and the finisher does one thing."""
        for _ in range(times):
            self.track.drain()
            self.track.work(self.track.drain)
            self.track.finish()
            self.finisher.step()

    def die(self) -> None:
        """The worker is killed, and another one takes its place."""
        self.track.log.close()
        self.start()

    def die_at(self, call: int, *, torn: bool, turns: int = 4) -> bool:
        """The worker is killed at its ``call``-th system call from now on; whether it came to that."""
        with death(call, torn=torn) as state:
            self.turn(turns)
        if state.struck:
            self.die()
        return state.struck

    def fail_at(self, call: int, error: OSError, *, torn: bool, lasts: bool) -> None:
        """The ``call``-th system call from now on fails, or all from then on, for a while."""
        with fault(call, error, torn=torn, lasts=lasts):
            self.turn(4)
        self.clock.pass_(1)

    def stop(self) -> None:
        """The worker stops as it is told to, and another one takes its place."""
        self.track.sync_all()
        self.track.save()
        self.track.close()
        self.start()

    def run_until(self, condition: Callable[[], bool]) -> None:
        """The worker's loop runs until this is true; it must become so soon."""
        for _ in range(3000):
            if condition():
                return
            self.clock.pass_(_TICK_S)
            self.turn()
        pytest.fail(f"nothing moves: {self.track.status()}")

    def settle(self) -> None:
        """Everything that was published is taken."""
        self.run_until(
            lambda: (
                all(r.over or r.position >= self.feed.head for r in self.runners)
                and self.track.journal.position >= self.track.log.end
            )
        )

    def result(self) -> dict[str, Any]:
        """The stream ends, if it did not yet; what the manifest says of it."""
        if self.feed.producer.word("producer_state") != layout.PRODUCER_CLOSED:
            self.feed.close()
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """All files are finished; what the manifest says of the stream."""
        self.run_until(self.track.finish)
        result = stream_result(self.track)
        self.track.save()
        self.track.close()
        return result

    # --- what is there -----------------------------------------------------------------------------
    def logged(self) -> list[int]:
        """Numbers of the samples in the log."""
        reader = LogReader(self.track.log.directory)
        found: list[int] = []
        while (chunk := reader.next()) is not None:
            found += [n for item in chunk.items(self.schema) if hasattr(item.what, "columns")
                      for n in item.what.seq.tolist()]  # fmt: skip
        reader.close()
        return found

    @property
    def files(self) -> list[str]:
        """Names of the files that there are."""
        return sorted(p.name for p in self.out.iterdir())

    def numbers(self, name: str) -> list[int]:
        """Numbers of the samples in a file, by their times."""
        return numbers_of(self.out / name)


def numbers_of(path: Path) -> list[int]:
    """Numbers of the samples in a CSV or NPZ file, by their times."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return [round(t * 8) for t in file["timestamp"].tolist()]
    with path.open(newline="") as file:
        return [round(float(row["timestamp"]) * 8) for row in csv.DictReader(file)]
