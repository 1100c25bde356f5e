"""``overflow="drop_oldest"``: the oldest samples in a full log make room for the newest, and their loss is told.

A segment is not just deleted: a *tombstone* takes its place, the same stretch of the log without its
samples, each run of them replaced by a LOSS record. Positions stay unbroken, and whoever reads the log meets the
loss where it happened, between the marks and resets that stood there.

::

    segment:    [ samples | mark | samples, samples ]
    tombstone:  [ LOSS    | mark | LOSS             ]

The tombstone is written beside the segment first (``.drop``), then everybody takes note, then it takes its
place; a successor that finds one does the rest again.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recd_client import layout, records
from recd_client.errors import LogDamagedError, RingDamagedError
from recd_client.schema import Schema

from .batch import Event
from .chunks import HEADER_BYTES, Chunk, ChunkInfo, describe, event_of
from .durable import sync_file
from .journal import gaps
from .log import LogReader

if TYPE_CHECKING:
    from .track import Track

CAUSE: Final = layout.WORKER_CAUSES[0]

log = logging.getLogger(__name__)
_WORD: Final = f"lost_{CAUSE}_count"
_CODE: Final = layout.ALL_CAUSES.index(CAUSE)


class Dropper:
    """Gives up the oldest samples of one track; called from the worker's loop thread.

    Parameters
    ----------
    track : Track
    """

    def __init__(self, track: Track) -> None:
        self._track = track
        self._directory = track.log.directory
        self._emptied: set[int] = set()  # segments that have no samples any more
        #: Whether a tombstone waits for its place: nobody may read on before it has it.
        self.pending = any(self._path(begin).exists() for begin, _ in track.log.closed_segments())

    def finish(self) -> bool:
        """Do what was begun, here or by a worker before; whether all is done.

        Raises
        ------
        OSError
            It cannot be done now.
        """
        for begin, end in self._track.log.closed_segments() if self.pending else ():
            path = self._path(begin)
            if path.exists():
                if not self._track.read_journal_to(end):
                    return False
                losses = losses_of(path.read_bytes())
                if not losses:  # a loss of power has taken what was in it: the segment stays
                    path.unlink()
                    continue
                self._bury(begin, losses[0].position, end, losses)
        self.pending = False
        return True

    def make_room(self) -> bool:
        """Give up the oldest samples that wait in a segment; whether there are any that may be given up now.

        Raises
        ------
        OSError
            It cannot be done now.
        """
        track = self._track
        if not self.finish():
            return False
        track.save_readers()  # what they have is not given up, and no successor must stand before that
        floor = min([track.log.end, *(r.needed for r in track.runners)])
        for begin, end in track.log.closed_segments():
            start = max(begin, floor)
            if (
                begin in self._emptied
                or start >= end
                or not all(r.may_drop(start, end) for r in track.runners)
            ):
                continue
            if not track.read_journal_to(end):
                return False
            data, losses = tombstone(self._directory, track.schema, begin, start, end)
            if not losses:
                self._emptied.add(begin)
            else:
                new = self._path(begin).with_suffix(".new")
                new.write_bytes(data)
                sync_file(new)  # its name may reach the disk before it, and a reader would find nothing
                new.rename(self._path(begin))
                self.pending = True
                return self.finish()
        return False

    def _bury(self, begin: int, start: int, end: int, losses: list[Event]) -> None:
        """All take note of a tombstone, then it takes its segment's place."""
        track = self._track
        if not self._emptied:
            log.warning("stream %s: its log is full; from now on it gives up the oldest samples", track.name)
        if track.frames is None:
            for event in losses:
                track.journal.note(event)
            if track.journal.tally.first_seq == losses[0].seq:
                self._begin_behind(end)
        track.journal.save()
        for runner in track.runners:
            runner.drop(start, end)
        if track.store.durability != "process":
            track.sync_readers()
        track.log.substitute(begin, self._path(begin))
        self._emptied.add(begin)
        if track.ring is not None:
            track.ring.set_word(_WORD, max(track.ring.word(_WORD) + total(losses), self._told()))

    def _told(self) -> int:
        """How many samples the journal says were given up."""
        told = (loss for loss in gaps(self._track.journal.events()) if loss["cause"] == CAUSE)
        return sum(int(loss["count"]) for loss in told)

    def _begin_behind(self, position: int) -> None:
        """The first sample that was counted is given up: the first that is left is behind ``position``."""
        reader = LogReader(self._directory, position)
        try:
            while (chunk := reader.next()) is not None:
                if chunk.info.samples:
                    self._track.journal.tally.begin_at(chunk.info)
                    return
        finally:
            reader.close()

    def _path(self, begin: int) -> Path:
        return self._directory / f"{begin:016x}.drop"


@dataclass
class _Run:
    """Samples that stand one behind the other, and the loss record that takes their place."""

    begin: int
    end: int
    first_seq: int
    last_seq: int
    count: int
    size_bytes: int
    t_first: float
    t_last: float
    mono_first_ns: int
    mono_last_ns: int

    def grow(self, other: _Run) -> None:
        self.end, self.last_seq = other.end, other.last_seq
        self.count += other.count
        self.size_bytes += other.size_bytes
        self.t_last, self.mono_last_ns = other.t_last, other.mono_last_ns

    def record(self) -> bytes:
        """The LOSS record."""
        payload = layout.LOSS_ENTRY.pack(
            _CODE, self.first_seq, self.last_seq, self.count, self.size_bytes,
            self.t_first, self.t_last, self.mono_first_ns, self.mono_last_ns,
        )  # fmt: skip
        body = layout.HEADER_BODY.pack(
            layout.MAGIC_RECORD, self.begin, self.first_seq, len(payload), layout.LOSS, 0,
            self.t_last, 0, self.mono_last_ns, 0,
        )  # fmt: skip
        record = layout.HEADER_SEAL.pack(zlib.crc32(body), body) + payload
        return record.ljust(layout.record_bytes(len(payload)), b"\0")


def tombstone(directory: Path, schema: Schema, begin: int, start: int, end: int) -> tuple[bytes, list[Event]]:
    """What takes the place of the segment from ``begin`` to ``end``, and the losses that it tells.

    Parameters
    ----------
    start : int
        Nobody needs what stands before it: that is left out without a loss.
    """
    out = bytearray()
    losses: list[Event] = []
    stretches = [*_merged(directory, schema, begin, start, end)]
    seq = next((what.first_seq for what, _, _ in stretches if isinstance(what, _Run)), 0)
    for what, first, behind in stretches:
        body = b""
        if isinstance(what, bytes):
            body = what
        elif isinstance(what, _Run):
            body = what.record()
            losses.append(_event(body, first))
        info, _, _ = describe(schema, memoryview(body), first, seq, math.nan, len(body))
        if isinstance(what, _Run):
            seq = what.last_seq + 1
            info = replace(info, first_seq=what.first_seq, next_seq=seq)
        out += replace(info, end=behind).pack() + body
    return bytes(out), losses


def losses_of(data: bytes) -> list[Event]:
    """The losses that a tombstone tells."""
    out, at = [], 0
    while (info := ChunkInfo.unpack(data[at : at + HEADER_BYTES])) is not None:
        at += HEADER_BYTES
        body = data[at : at + info.body_bytes]
        at += info.body_bytes
        if body and (event := _event(body, info.begin)).kind == "loss" and _is_ours(event):
            out.append(event)
    return out


def count_samples(directory: Path, schema: Schema, begin: int, end: int) -> tuple[int, int]:
    """Number of samples, and bytes of their records, between two positions of a log."""
    count = size = 0
    for what, first, behind in _merged(directory, schema, begin, begin, end):
        if isinstance(what, _Run):
            count, size = count + what.count, size + behind - first
    return count, size


def total(events: Sequence[Event]) -> int:
    """How many samples these losses took."""
    return sum(int(loss["count"]) for e in events for loss in e.data["losses"])


# --- reading ------------------------------------------------------------------------------------


def _merged(
    directory: Path, schema: Schema, begin: int, start: int, end: int
) -> Iterator[tuple[_Run | bytes | None, int, int]]:
    """Runs of samples, control records' bytes, and stretches of nothing: each with its positions."""
    run: _Run | None = None
    at = begin
    for what, first, behind in _pieces(directory, schema, begin, start, end):
        if run is not None and isinstance(what, _Run):
            run.grow(replace(what, end=behind))
            at = behind
            continue
        if run is not None:
            yield run, run.begin, first
            run = None
        elif at < first:
            yield None, at, first
        if isinstance(what, _Run):
            run = replace(what, end=behind)
        else:
            yield what, first, behind
        at = behind
    if run is not None:
        yield run, run.begin, end
    elif at < end:
        yield None, at, end


def _pieces(
    directory: Path, schema: Schema, begin: int, start: int, end: int
) -> Iterator[tuple[_Run | bytes, int, int]]:
    reader = LogReader(directory, begin, end)
    try:
        while (chunk := reader.next()) is not None:
            if chunk.info.end <= start:
                continue
            try:
                yield from list(_of_chunk(chunk, schema, start))
            except LogDamagedError:
                yield _whole(chunk.info), chunk.info.begin, chunk.info.end
    finally:
        reader.close()


def _of_chunk(chunk: Chunk, schema: Schema, start: int) -> Iterator[tuple[_Run | bytes, int, int]]:
    body, base = chunk.body(), chunk.info.begin
    try:
        for item in records.split(body, base, schema.stride_bytes, schema.payload_bytes, prove=False):
            first, behind = base + item.offset, base + item.offset + item.size
            if behind <= start:
                continue
            if isinstance(item, records.Control):
                if item.kind != layout.PAD:
                    yield bytes(body[item.offset : item.offset + item.size]), first, behind
                continue
            strides = (item.stride_bytes or item.size,)
            heads: Any = np.ndarray((item.count,), layout.HEADER_DTYPE, body, item.offset, strides)
            heads = heads[max(start - first, 0) // strides[0] :]
            yield _run_of(heads, max(first, start), behind), max(first, start), behind
    except RingDamagedError as e:
        raise LogDamagedError(e.what, e.do) from None


def _run_of(heads: Any, begin: int, end: int) -> _Run:
    first, last = heads[0], heads[-1]
    return _Run(
        begin, end, int(first["seq"]), int(last["seq"]), len(heads), int(heads["length"].sum(dtype=np.uint64)),
        float(first["t"]), float(last["t"]), int(first["mono_ns"]), int(last["mono_ns"]),
    )  # fmt: skip


def _whole(info: ChunkInfo) -> _Run:
    """The samples of a chunk that cannot be read, as its header tells them."""
    return _Run(
        info.begin, info.end, info.first_seq, max(info.next_seq - 1, info.first_seq), info.samples,
        info.payload_bytes, info.t_first, info.t_last, info.mono_first_ns, info.mono_last_ns,
    )  # fmt: skip


def _event(record: bytes, position: int) -> Event:
    control = records.one(memoryview(record), 0, position, False)
    assert isinstance(control, records.Control)
    return event_of(control)


def _is_ours(event: Event) -> bool:
    return any(loss["cause"] == CAUSE for loss in event.data["losses"])
