"""What happened on a stream: counts, gaps, marks; enough to write its part of the manifest.

The journal is a light consumer of the log: it reads chunk headers, and records only where a chunk
holds events. Its totals are checkpointed. Its events are lines of ``journal.jsonl``, keyed by ring
position, so that reading a stretch twice after a kill tells nothing twice; they are written before
the totals move on.
"""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recd_client.schema import Schema

from .batch import RESET, Event
from .checkpoint import Checkpoint
from .chunks import HAS_CONTROL, Chunk, ChunkInfo
from .durable import Syncer


@dataclass
class Tally:
    """Totals of the samples that were stored."""

    samples: int = 0
    bytes: int = 0
    next_seq: int = 0
    t_first: float | None = None
    t_last: float | None = None
    step_first: int | None = None
    step_last: int | None = None
    mono_first_ns: int | None = None
    mono_last_ns: int | None = None
    backward_times: int = 0
    nan_times: int = 0

    def add(self, info: ChunkInfo) -> None:
        """Count a chunk's samples."""
        if not info.samples:
            return
        if self.samples == 0:
            self.t_first, self.step_first = _number(info.t_first), info.step_first
            self.mono_first_ns = info.mono_first_ns
        self.samples += info.samples
        self.bytes += info.payload_bytes
        self.next_seq = max(self.next_seq, info.next_seq)
        self.t_last, self.step_last = _number(info.t_last), info.step_last
        self.mono_last_ns = info.mono_last_ns
        self.backward_times += info.backward_times
        self.nan_times += info.nan_times


def _number(t: float | None) -> float | None:
    return None if t is None or math.isnan(t) else t


class Journal:
    """Totals and events of one stream.

    Parameters
    ----------
    directory : Path
        The stream's directory under ``.recd``.
    schema : Schema
    """

    def __init__(self, directory: Path, schema: Schema) -> None:
        self.schema = schema
        self.tally = Tally()
        #: Everything before this position is in the totals.
        self.position = 0
        self._checkpoint = Checkpoint(directory / "journal.ckpt")
        self._path = directory / "journal.jsonl"
        self._fd = -1
        self._syncer = Syncer(self._path)
        state = self._checkpoint.load()
        if state:
            self.position = state["position"]
            self.tally = Tally(**state["tally"])

    def take(self, chunk: Chunk) -> None:
        """Count a chunk, which begins at or behind :attr:`position`; one that was counted is passed over."""
        info = chunk.info
        if info.begin < self.position:
            return
        if info.flags & HAS_CONTROL:
            for event in chunk.events(self.schema):
                self.note(event)
        self.count(info)

    def count(self, info: ChunkInfo) -> None:
        """Add a chunk to the totals by its header alone."""
        self.tally.add(info)
        self.position = info.end

    def note(self, event: Event) -> None:
        """Write an event down; telling it again changes nothing.

        Raises
        ------
        OSError
            It could not be written (disk full, ...): tell it again.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # The line begins with a line end: a kill, or a full disk, may have cut the one before short.
        line = b"\n" + json.dumps(asdict(event), separators=(",", ":")).encode() + b"\n"
        if os.write(self._fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        if event.kind == "close":
            self.tally.next_seq = max(self.tally.next_seq, int(event.data["next_seq"]))

    def save(self) -> None:
        """Checkpoint the totals."""
        self._checkpoint.save({"position": self.position, "tally": asdict(self.tally)})

    def events(self) -> list[dict[str, Any]]:
        """All events in order, each once."""
        found: dict[int, dict[str, Any]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                event = json.loads(line)
                found[int(event["position"])] = event
            except (ValueError, KeyError, TypeError):
                continue  # a line that a kill cut short; its event is told again
        return [found[p] for p in sorted(found)]

    def sync(self) -> None:
        """Make events and totals durable."""
        if self._syncer.sync():
            self._let_go()
        self._checkpoint.sync()

    def close(self) -> None:
        """Let go of the files."""
        self._checkpoint.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def gaps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every gap that the events tell, by first number."""
    out = [loss for e in events for loss in e["data"].get("losses", ())]
    return sorted(out, key=lambda g: (g["first_seq"], g["cause"]))


def resets(events: list[dict[str, Any]]) -> list[int]:
    """Positions of the resets that the events tell, in order."""
    return [e["position"] for e in events if e["data"].get("label") == RESET]


def marks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every mark that the events tell, in order."""
    return [
        {
            "label": e["data"]["label"],
            "fields": e["data"]["fields"],
            "t": e["t"],
            "step": e["step"],
            "mono_ns": e["mono_ns"],
        }
        for e in events
        if e["kind"] == "mark"
    ]
