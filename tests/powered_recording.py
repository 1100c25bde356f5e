"""A worker that records what its script says, run as a process of its own under strace; and its successor.

Usage: powered_recording.py ROOT DURABILITY KIND. The disk is ROOT: ``run`` is the run directory, ``state`` holds
the index. Each promise that was given is a note in the trace (:mod:`crash_disk`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crash_disk import NOTE
from recd import log_writer, samples, session, syncing, worker
from recd.link import NoLink
from recd_client import layout, process, shm
from recd_client.options import CSVFile, HDF5File, NPZFile, NullSink, SinkOptions, VideoFile
from recd_client.ring import RingProducer
from recd_client.schema import FIXED, Schema
from recordings import numbered
from sink_samples import fields
from streams import PLAIN, payload_of, value_of

SESSION = "s1"
STEPS = 40
FILM = Schema(fields(data=(FIXED, "|u1", (48, 64, 3))).fields, bare=True)
#: What happens before a step, besides two samples in each step.
EVENTS: dict[int, list[str]] = {
    6: ["reset"], 9: ["mark"], 14: ["reset"], 19: ["flush"], 22: ["discard"], 26: ["reset"], 31: ["lose"],
    33: ["flush", "mark"], 37: ["discard"],
}  # fmt: skip


def streams(kind: str) -> dict[str, list[SinkOptions]]:
    """The streams of a script and their files."""
    if kind == "film":
        return {"film": [VideoFile("film.mp4", fps=10)]}
    return {
        "whole": [CSVFile("whole.csv"), NPZFile("whole.npz"), HDF5File("whole.h5")],
        "parts": [
            CSVFile("split.csv", split=12), NPZFile("reset.npz", save_on_reset=True),
            CSVFile("reset.csv", save_on_reset=True), NullSink(),
        ],
    }  # fmt: skip


def story(kind: str) -> list[str]:
    """What happens in each stream, in order: samples, losses, resets, discards, marks."""
    events = []
    for step in range(STEPS):
        events += [e for e in EVENTS.get(step, ()) if e != "flush"]
        events += ["sample"] * 2
    return events


class Line(NoLink):
    """Stands for the worker's link to a supervisor: asks what the script asks, notes what is answered."""

    def __init__(self) -> None:
        self.script: Iterator[dict[str, Any] | None] = iter(())
        self.replies: dict[int, dict[str, Any]] = {}

    def requests(self) -> Iterator[dict[str, Any]]:
        """The next step of the script, and what it asks."""
        request = next(self.script, None)
        if request is not None:
            yield request

    def send(self, message: dict[str, Any]) -> None:
        """An answer."""
        self.replies[message["id"]] = message


def note(text: str) -> None:
    """Leave a note in the trace."""
    os.access(NOTE + text, os.F_OK)


class Script:
    """The simulation, in the worker's own thread: a step for each turn of its loop."""

    def __init__(self, line: Line, kind: str) -> None:
        self.line = line
        self.kind = kind
        self.schema = FILM if kind == "film" else PLAIN
        self.rings: dict[str, tuple[shm.Segment, RingProducer]] = {}
        self.told: dict[str, int] = {}
        self.asked = 0

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.asked += 1
        return {"id": self.asked, "op": op, "timeout_s": 60.0, **fields}

    def run(self) -> Iterator[dict[str, Any] | None]:
        """Requests, None for a turn without one."""
        for name, sinks in streams(self.kind).items():
            yield self._ask(
                "attach", stream=name, schema=self.schema.to_json(), sinks=[s.to_json() for s in sinks],
                buffer_bytes=1 << 16 if self.kind == "arrays" else 1 << 20,
            )  # fmt: skip
            while self.asked not in self.line.replies:
                yield None
            reply = self.line.replies[self.asked]
            assert reply["ok"], reply
            segment = shm.Segment.open(reply["ring"])
            self.rings[name] = (segment, RingProducer(segment.memory))
            note(f"attached {name}")
        for step in range(STEPS):
            for event in EVENTS.get(step, ()):
                if event == "flush":
                    yield from self._flush()
                else:
                    self._happen(event)
            for _ in range(2):
                self._happen("sample")
            for _ in range(2):
                yield self._look()
            if self.kind == "film":
                yield from self._wait(0.004)
        for _, producer in self.rings.values():
            producer.close(0.0, 0, time.monotonic_ns())
        yield self._ask("close")
        while True:
            yield None

    def _happen(self, event: str) -> None:
        for _, producer in self.rings.values():
            n = producer.next_seq
            when = (n / 8, n * 10, time.monotonic_ns())
            if event == "sample":
                payload = (
                    numbered(n).tobytes() if self.kind == "film" else payload_of(PLAIN, value_of(PLAIN, n))
                )
                size = layout.record_bytes(len(payload))
                at = producer.reserve(size) + layout.HEADER_BYTES
                producer.buffer[at : at + len(payload)] = payload
                producer.publish(size, len(payload), *when)
            elif event == "lose":
                producer.lose("interrupted", self.schema.payload_bytes, when[0], when[2])
            elif event == "mark":
                producer.mark("m", {}, *when)
            else:
                fields = {"envs_idx": None} if event == "reset" else {}
                producer.mark(f"recd.{event}", fields, *when)

    def _flush(self) -> Iterator[dict[str, Any] | None]:
        heads = {name: producer.head for name, (_, producer) in self.rings.items()}
        sent = {name: producer.next_seq for name, (_, producer) in self.rings.items()}
        yield self._ask("flush", heads=heads, durable=True)
        while self.asked not in self.line.replies:
            yield None
        assert self.line.replies[self.asked]["done"]
        for name, seq in sent.items():
            note(f"flushed {name} {seq}")

    def _wait(self, seconds: float) -> Iterator[None]:
        """Let ffmpeg get on."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield self._look()

    def _look(self) -> None:
        """Note what the client reads as durable."""
        for name, (_, producer) in self.rings.items():
            if (seq := producer.word("durable_seq")) != self.told.get(name, 0):
                self.told[name] = seq
                note(f"durable {name} {seq}")


def hurry(patch: pytest.MonkeyPatch) -> None:
    """All that happens now and then happens often; segments of the log are small."""
    patch.setattr(syncing, "EVERY_NS", 3_000_000)
    patch.setattr(worker, "_LOOK_EVERY_NS", 3_000_000)
    patch.setattr(samples, "_CHECKPOINT_NS", 2_000_000)
    patch.setattr(log_writer, "SEGMENT_BYTES", 4000)


def main() -> None:
    """Record."""
    root, durability, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    hurry(pytest.MonkeyPatch())
    line = Line()
    line.script = Script(line, kind).run()
    worker.NoLink = lambda: line  # type: ignore[misc,assignment]
    spec = {
        "session": SESSION, "name": "power", "directory": str(root / "run"), "cwd": str(root), "dt": None,
        "metadata": {}, "durability": durability, "overwrite": "error", "spool_limit_bytes": None, "code": None,
        "clocks": {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns()}, "client_pid": os.getpid(),
        "client_ticks": process.start_ticks(os.getpid()), "runtime_dir": os.environ["RECD_RUNTIME_DIR"],
        "boot_id": process.boot_id().hex(), "recd": "0",
    }  # fmt: skip
    session.VideoFile = type(None)  # type: ignore[misc,assignment]  # a video is served by this worker, too
    worker.main(os.environ["RECD_RUNTIME_DIR"], spec["directory"], SESSION, "main", spec, alone=True)


if __name__ == "__main__":
    main()
