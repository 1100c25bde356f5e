"""What happened on a stream: counts, gaps, marks; enough to write its part of the manifest.

The journal is a light consumer of the log: it reads chunk headers, and records only where a chunk
holds events. Its totals are checkpointed. Its events are lines of ``journal.jsonl``, keyed by ring
position, so that reading a stretch twice after a kill tells nothing twice; they are written before
the totals move on.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from recd_client.schema import Schema

from .batch import RESET, Event
from .checkpoint import Checkpoint
from .chunks import HAS_CONTROL, Chunk, ChunkInfo
from .clockline import ClockLine
from .durable import CanSync, Syncer
from .log import LogReader, Missing

#: Kind of the events that tell what readers of the log missed; no record of the client's.
DAMAGE: Final = "damage"
#: Cause of the loss.
DAMAGED: Final = "log_damaged"

log = logging.getLogger(__name__)


@dataclass
class Tally:
    """Totals of the samples that were stored."""

    samples: int = 0
    bytes: int = 0
    first_seq: int | None = None
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
            self.begin_at(info)
        self.samples += info.samples
        self.bytes += info.payload_bytes
        self.next_seq = max(self.next_seq, info.next_seq)
        self.t_last, self.step_last = _number(info.t_last), info.step_last
        self.mono_last_ns = info.mono_last_ns
        self.backward_times += info.backward_times
        self.nan_times += info.nan_times

    def begin_at(self, info: ChunkInfo) -> None:
        """The first sample of all is that of this chunk."""
        self.first_seq, self.mono_first_ns = info.first_seq, info.mono_first_ns
        self.t_first, self.step_first = _number(info.t_first), info.step_first


def _number(t: float | None) -> float | None:
    return None if t is None or math.isnan(t) else t


class Journal:
    """Totals and events of one stream.

    Parameters
    ----------
    directory : Path
        The stream's directory under ``.recd``.
    schema : Schema
    reads_only : bool
        For whoever only looks: events are kept in memory, nothing is written.
    """

    def __init__(self, directory: Path, schema: Schema, *, reads_only: bool = False) -> None:
        self._noted: list[dict[str, Any]] | None = [] if reads_only else None
        self.schema = schema
        self.tally = Tally()
        #: Everything before this position is in the totals.
        self.position = 0
        #: Everything before this position was deleted from the log because nobody needed it any more.
        self.trimmed = 0
        #: Everything before this position was promised to survive a loss of power.
        self.promised = 0
        self.clock = ClockLine(directory / "clock")
        self._checkpoint = Checkpoint(directory / "journal.ckpt")
        self._path = directory / "journal.jsonl"
        self._fd = -1
        #: A sync that puts a copy in the file's place must not leave behind what another thread appends.
        self._changing = threading.Lock()
        self._missed: set[Missing] = set()
        self._syncer = Syncer(self._path)
        state = self._checkpoint.load()
        if state:
            self.position = state["position"]
            self.trimmed, self.promised = state["trimmed"], state["promised"]
            self.tally = Tally(**state["tally"])
            self.clock.load(state.get("clock", []))  # an older recd kept none
        damages = [e["data"]["end"] for e in self.events() if e["kind"] == DAMAGE]
        #: Whether a reader missed anything, ever.
        self.damaged = bool(damages)
        self._astray = self.position in damages  # right behind a damaged chunk, and its LOSS records

    def take(self, chunk: Chunk, *, damaged: bool = False) -> None:
        """Count a chunk, which begins at or behind :attr:`position`; one that was counted is passed over.

        ``damaged`` says that damage lies before it. Of a chunk that is damaged itself, only its header counts
        if there are no events in it: whoever reads its samples tells what is missing.
        """
        info = chunk.info
        if info.begin < self.position:
            return
        begin, next_seq = self.position, self.tally.next_seq
        jumps = info.begin > begin or self._astray  # perhaps over padding only, and the LOSS record comes
        if jumps and (damaged or info.first_seq > next_seq):
            self.miss(Missing(begin, info.begin, next_seq, info.first_seq, damaged))
        if info.flags & HAS_CONTROL:
            if not chunk.is_whole():
                self.miss(Missing(info.begin, info.end, next_seq, info.next_seq, True))
                self.position, self.tally.next_seq = info.end, max(next_seq, info.next_seq)
                self._astray = True
                return
            for event in chunk.events(self.schema):
                self.note(event)
        self._astray = False
        self.count(info)

    def count(self, info: ChunkInfo) -> None:
        """Add a chunk to the totals by its header alone."""
        self.tally.add(info)
        if info.samples:
            self.clock.add(info.first_seq, info.mono_first_ns)
            self.clock.add(info.next_seq - 1, info.mono_last_ns)
        self.position = info.end

    def note(self, event: Event) -> None:
        """Write an event down; telling it again changes nothing.

        Raises
        ------
        OSError
            It could not be written (disk full, ...): tell it again.
        """
        self.damaged |= event.kind == DAMAGE
        if event.kind == "close":
            self.tally.next_seq = max(self.tally.next_seq, int(event.data["next_seq"]))
        if self._noted is not None:
            self._noted.append(asdict(event))
            return
        # The line begins with a line end: a kill, or a full disk, may have cut the one before short.
        line = b"\n" + json.dumps(asdict(event), separators=(",", ":")).encode() + b"\n"
        with self._changing:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if os.write(self._fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def miss(self, missing: Missing) -> None:
        """Write down what a reader of the log did not find there, before it goes on; from any thread."""
        if missing in self._missed or missing.end <= self.trimmed:
            # Another reader told the same; or it is in a file, or was thrown away. After a loss of power with
            # durability "process" (no other: those sync files and checkpoints before they trim) a CSV's newest
            # checkpoint may be gone, and what it misses here with it: from what was thrown away by a discard, of
            # which nothing is left in the log either, it cannot be told.
            return
        self.note(missed(missing))
        self._missed.add(missing)
        if missing.seen and self._noted is None:
            log.error(
                "%s: the log is damaged from position %d to %d: numbers %d to %d are missing, if they were there",
                self._path.parent, missing.begin, missing.end, missing.first_seq, missing.next_seq - 1,
            )  # fmt: skip

    def save(self) -> None:
        """Checkpoint the totals."""
        self._checkpoint.save(
            {
                "position": self.position,
                "trimmed": self.trimmed,
                "promised": self.promised,
                "tally": asdict(self.tally),
                "clock": self.clock.save(),
            }
        )

    def events(self) -> list[dict[str, Any]]:
        """All events in order, each once."""
        found: dict[tuple[int, ...], dict[str, Any]] = {}
        for event in self._lines():
            try:
                more = (event["seq"], event["data"]["next_seq"]) if event["kind"] == DAMAGE else ()
                place = (int(event["position"]), *map(int, more))
            except (KeyError, TypeError):
                continue
            found[place] = event
        return [found[p] for p in sorted(found)]

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            with suppress(ValueError):  # a line that a kill cut short; its event is told again
                yield json.loads(line)
        yield from self._noted or ()

    def sync(self) -> None:
        """Make events and totals durable."""
        with self._changing:
            if self._syncer.sync():
                self._let_go()
        self._checkpoint.sync()

    @property
    def syncers(self) -> Sequence[CanSync]:
        """What :meth:`sync` makes durable."""
        return [self._syncer, self._checkpoint]

    def close(self) -> None:
        """Let go of the files."""
        self._checkpoint.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Counting:
    """Lets a journal take what is new in its log, a chunk at a time.

    Parameters
    ----------
    journal : Journal
    directory : Path
        Of the log.
    """

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal = journal
        self._directory = directory
        self._reader: LogReader | None = None
        self._chunk: Chunk | None = None

    def advance(self, end: int) -> bool:
        """Take the next chunk before ``end``; whether there was one that could be taken."""
        if self._journal.position >= end:
            return False
        if self._reader is None:
            self._reader = LogReader(self._directory, self._journal.position)
        try:
            chunk = self._chunk = self._chunk or self._reader.next()
            if chunk is None:
                return False
            self._journal.take(chunk, damaged=self._reader.damaged)
        except OSError:  # the disk is full, of which the log tells; the same chunk again later
            return False
        self._chunk = None
        return True

    def close(self) -> None:
        """Forget the chunk that could not be taken, and let go of the log."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._chunk = None


def missed(missing: Missing) -> Event:
    """The event that tells what a reader of the log missed; see :meth:`Journal.miss`."""
    begin, end, first_seq, next_seq, seen = missing
    data = {"end": end, "seen": seen, "first_seq": first_seq, "next_seq": max(first_seq, next_seq)}
    return Event(DAMAGE, begin, first_seq, 0.0, -1, 0, data)


def gaps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every gap that the events tell, by first number; also those that damage of the log has left."""
    told = [loss for e in events for loss in e["data"].get("losses", ())]
    return sorted(told + _damage_gaps(events, told), key=lambda g: (g["first_seq"], g["cause"]))


def _damage_gaps(events: list[dict[str, Any]], told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What readers missed in the log and no LOSS record tells of.

    A LOSS record stands before the next sample, so it tells of numbers that were all missed, or none.
    """
    ranges: list[list[int]] = []
    for first, behind in sorted(
        (int(e["data"]["first_seq"]), int(e["data"]["next_seq"])) for e in events if e["kind"] == DAMAGE
    ):
        if ranges and first <= ranges[-1][1]:
            ranges[-1][1] = max(ranges[-1][1], behind)
        else:
            ranges.append([first, behind])
    out = []
    for first, behind in ranges:
        known = sum(int(g["count"]) for g in told if first <= g["first_seq"] and g["last_seq"] < behind)
        if behind - first > known:
            out.append(
                {"cause": DAMAGED, "first_seq": first, "last_seq": behind - 1, "count": behind - first - known,
                 "bytes": None, "t_first": None, "t_last": None}
            )  # fmt: skip
    return out


def lost(events: list[dict[str, Any]]) -> dict[str, int]:
    """Samples lost by cause, as far as the events tell."""
    out: dict[str, int] = {}
    for gap in gaps(events):
        out[gap["cause"]] = out.get(gap["cause"], 0) + int(gap["count"])
    return out


def damage(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Ring positions from and to which damage of the log was seen."""
    return [(e["position"], e["data"]["end"]) for e in events if e["kind"] == DAMAGE and e["data"]["seen"]]


def resets(events: list[dict[str, Any]]) -> list[int]:
    """Positions of the resets that the events tell, in order."""
    return [e["position"] for e in events if e["data"].get("label") == RESET]


def marks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every mark that the events tell, in order; ``seq`` is the number of the sample that follows it."""
    return [
        {
            "label": e["data"]["label"],
            "fields": e["data"]["fields"],
            "seq": e["seq"],
            "t": e["t"],
            "step": e["step"],
            "mono_ns": e["mono_ns"],
        }
        for e in events
        if e["kind"] == "mark"
    ]


def merged_marks(streams: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The marks of a recording from those of its streams, each once: ``seq`` by the stream that it stands in.

    The same mark stands in every ring; streams that began later have fewer.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for stream, told in streams.items():
        for mark in told:
            key = mark["mono_ns"], mark["label"], repr(mark["fields"])
            one = merged.setdefault(key, {**mark, "seq": {}})
            if "seq" in mark:  # not in what an older recd wrote
                one["seq"][stream] = mark["seq"]
    return sorted(merged.values(), key=lambda m: m["mono_ns"])
