"""One stream inside a worker: its ring, its log, its journal and the runners of its sinks.

Two ways from ring to log:

- Samples are always logged, and freed in the ring once they are in the log.
- Frames for one video go straight from the ring to the encoder (``direct``), and are freed once they
  can be decoded from its file. When frames that are not safe yet fill half the ring, the oldest go to
  the log and are freed: a burst costs disk, not frames.
"""

from __future__ import annotations

import errno
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from recd_client import layout, records, shm
from recd_client.errors import LogDamagedError, RingDamagedError
from recd_client.ring import RingConsumer
from recd_client.schema import Schema

from .batch import Event
from .journal import Journal
from .log import HAS_CONTROL, ChunkInfo, LogReader, LogWriter, event_of, sync_directory
from .runner import RESET, Runner
from .source import RecordSource

CHUNK_BYTES: Final = 1 << 20
_RETRY_NS: Final = 200_000_000

log = logging.getLogger(__name__)


class FrameRunner(Protocol):
    """What a direct track knows of its runner beyond :class:`~recd.runner.Runner`."""

    source: RecordSource
    note: Callable[[Event], None]

    @property
    def safe(self) -> int:
        """Every frame before this position decodes from the file."""
        ...

    def release(self, position: int) -> None:
        """Keep no view of a record before this position."""
        ...


@dataclass(frozen=True)
class Store:
    """Rules of storing that hold for all streams of a session.

    Parameters
    ----------
    durability : {"process", "interval", "strict"}
    spool_limit_bytes : int or None
        Most bytes of one stream's log.
    reserve_bytes : int
        Free disk space below which nothing is written any more.
    """

    durability: str = "process"
    spool_limit_bytes: int | None = None
    reserve_bytes: int = 256 << 20


class Track:
    """Drains one ring; all methods belong to the worker's loop thread.

    Parameters
    ----------
    directory : Path
        The stream's directory under ``.recd``.
    name : str
    schema : Schema
    store : Store
    runners : list of Runner
    frames : FrameRunner, optional
        The only runner, if its frames go straight from the ring to it.
    segment : shm.Segment or None
        None when the ring is gone (after a reboot): then the log is all there is.
    now_ns : callable
        Monotonic clock.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        schema: Schema,
        store: Store,
        runners: list[Runner],
        frames: FrameRunner | None,
        segment: shm.Segment | None,
        now_ns: Callable[[], int],
    ) -> None:
        self.directory = directory
        self.name = name
        self.schema = schema
        self.store = store
        self.runners = runners
        self.segment = segment
        self.now_ns = now_ns
        self.frames = frames
        self.log = LogWriter(directory / "log")
        self.journal = Journal(directory, schema)
        self.state = "recording"
        self.reason = ""
        self.producer_gone = False
        #: Frames before this position go to the log although the encoder keeps up: somebody waits.
        self.flush_to = 0
        self._retry_at_ns = 0
        self._last_t: float | None = self.log.last.t_last if self.log.last else None
        self._journal_reader: LogReader | None = None
        self._space_checked_ns = 0
        self.ring: RingConsumer | None = None
        start = self.log.end
        if frames is not None:
            start = max(start, frames.safe)
            frames.note = self.journal.note
        if segment is not None:
            try:
                self.ring = RingConsumer(segment.memory, start)
            except RingDamagedError as e:
                self._poison(e)
            else:
                self.ring.set_word("epoch", self.ring.word("epoch") + 1)
                self.ring.set_word("worker_pid", os.getpid())
                self.ring.set_word("consumer_state", layout.CONSUMER_RUNNING)
                self.ring.free(start)
                if frames is not None:
                    frames.source.ring = self.ring
        #: End of what can be read: of the ring when frames go straight from it, else of the log.
        self.end = start

    # --- ring -> log -----------------------------------------------------------------------------
    def drain(self) -> bool:
        """Bring what was published to safety; whether anything was."""
        ring = self.ring
        if ring is None or self.state == "damaged":
            return False
        try:
            head = ring.head()
            if self.frames is not None:
                return self._drain_direct(ring, head, self.frames)
            if head == ring.position or self._resting():
                return False
            while ring.position < head:
                self._log_chunk(ring, head)
            self._wake_well(ring)
        except RingDamagedError as e:
            self._poison(e)
        except OSError as e:
            self._stall(e)
        return True

    def _log_chunk(self, ring: RingConsumer, head: int) -> None:
        """Move one chunk into the log and free it."""
        self._check_space()
        region = ring.region(ring.position, head)
        info, damage = self._describe(region, ring.position)
        if info.body_bytes:
            self.log.append(info, region[: info.body_bytes])
            if self.store.durability == "strict":
                self.sync()
            ring.position = info.end
            ring.free(info.end)
            if self.store.durability != "interval":
                ring.set_word("durable_seq", info.next_seq)
        else:
            # Nothing but padding: it is freed with the next chunk, as a successor begins at the
            # log's end and must still find it.
            ring.position = max(info.end, ring.position)
        ring.set_word("spooled_bytes", self.log.bytes)
        self.end = ring.position
        if damage is not None:
            raise damage

    def _describe(self, region: memoryview, begin: int) -> tuple[ChunkInfo, RingDamagedError | None]:
        """The header for the good records at the start of ``region``; and what ended them, if damage did."""
        flags, samples, backward, nans, size, end = 0, 0, 0, 0, 0, 0
        first_seq = next_seq = self.log.last.next_seq if self.log.last else 0
        first: Any = None
        last: Any = None
        damage = None
        try:
            for item in records.split(
                region, begin, self.schema.stride_bytes, self.schema.payload_bytes, limit_bytes=CHUNK_BYTES
            ):
                end = item.offset + item.size
                if isinstance(item, records.Control):
                    if item.kind != layout.PAD:
                        flags |= HAS_CONTROL
                        size = end
                        if event_of(item).data.get("label") == RESET:
                            self._last_t = None
                    continue
                size = end
                stride = item.stride_bytes or item.size
                heads: Any = np.ndarray(
                    (item.count,), layout.HEADER_DTYPE, buffer=region, offset=item.offset, strides=(stride,)
                )
                t = heads["t"]
                before = np.concatenate([[self._last_t if self._last_t is not None else -np.inf], t[:-1]])
                backward += int(np.count_nonzero(t < before))
                nans += int(np.count_nonzero(np.isnan(t)))
                self._last_t = float(t[-1])
                if first is None:
                    first, first_seq = heads[0].copy(), item.first_seq
                last = heads[-1].copy()
                samples += item.count
                next_seq = item.first_seq + item.count
        except RingDamagedError as e:
            damage = e
        head = first if first is not None else np.zeros((), layout.HEADER_DTYPE)
        tail = last if last is not None else head
        body = region[:size]
        info = ChunkInfo(
            flags, zlib.crc32(body), size, begin, begin + end, first_seq, next_seq, samples, backward, nans,
            float(head["t"]), float(tail["t"]), int(head["mono_ns"]), int(tail["mono_ns"]),
            int(head["step"]), int(tail["step"]),
        )  # fmt: skip
        return info, damage

    def _drain_direct(self, ring: RingConsumer, head: int, frames: FrameRunner) -> bool:
        """Free what the encoder's file holds; log the oldest when half the ring is not safe."""
        did = head != self.end
        self.end = head
        safe = max(frames.safe, ring.free_position)
        wanted = max(head - ring.capacity_bytes // 2, min(self.flush_to, head))
        if safe < wanted and not self._resting():
            try:
                ring.position = max(ring.position, safe)
                while ring.position < wanted:
                    self._spill(ring, head)
                self._wake_well(ring)
            except OSError as e:
                self._stall(e)
            did = True
        safe = max(safe, self.log.end)
        if safe > ring.free_position:
            frames.release(safe)
            ring.free(safe)
            ring.set_word("durable_seq", self._safe_seq(ring, safe, head))
            did = True
        return did

    def _spill(self, ring: RingConsumer, head: int) -> None:
        """Log the oldest record that is not safe, without freeing it."""
        self._check_space()
        region = ring.region(ring.position, head)
        item = records.one(region, 0, ring.position, True)
        if isinstance(item, records.Control) and item.kind == layout.PAD:
            ring.position += item.size
            return
        info, damage = self._describe(region[: item.size], ring.position)
        if damage is not None:
            raise damage
        self.log.append(info, region[: item.size])
        if self.store.durability == "strict":
            self.sync()
        ring.position += item.size
        ring.set_word("spooled_bytes", self.log.bytes)

    def _safe_seq(self, ring: RingConsumer, position: int, head: int) -> int:
        """Number of the first sample that is not safe."""
        if position == head:
            return ring.word("next_seq")
        region = ring.region(position, head)
        item = records.one(region, 0, position, True)
        return item.first_seq if isinstance(item, records.Run) else item.seq

    def _wake_well(self, ring: RingConsumer) -> None:
        if self.state == "stalled":
            log.warning("stream %s: stores again", self.name)
            self.state, self.reason = "recording", ""
            ring.set_word("consumer_state", layout.CONSUMER_RUNNING)
            ring.set_error("")

    def _check_space(self) -> None:
        """Raise when the log may not grow: the user's limit, or the reserve of free disk."""
        limit = self.store.spool_limit_bytes
        if limit is not None and self.log.bytes > limit:
            raise OSError(errno.EDQUOT, f"spool_limit of {limit} bytes reached", str(self.log.directory))
        now = self.now_ns()
        if now - self._space_checked_ns < 100_000_000:
            return
        self._space_checked_ns = now
        st = os.statvfs(self.log.directory)
        if st.f_bavail * st.f_frsize < self.store.reserve_bytes:
            self._space_checked_ns = 0
            raise OSError(
                errno.ENOSPC,
                f"less than {self.store.reserve_bytes >> 20} MiB of disk left",
                str(self.log.directory),
            )

    # --- log -> journal and sinks ------------------------------------------------------------------
    def work(self, between: Callable[[], object]) -> bool:
        """Let the journal and each sink take a slice, calling ``between`` after each; whether any did."""
        did = self._advance_journal()
        for runner in self.runners:
            if runner.advance(self.end):
                did = True
                between()
        if did and self.log.segment_count > 1:
            self._trim()
        return did

    def _advance_journal(self) -> bool:
        """Count what is new in the log (a direct track's runner counts as it encodes)."""
        if self.frames is not None or self.journal.position >= self.log.end:
            return False
        if self._journal_reader is None:
            self._journal_reader = LogReader(self.log.directory, self.journal.position)
        chunk = self._journal_reader.next()
        if chunk is None:
            return False
        try:
            self.journal.take(chunk)
        except LogDamagedError as e:
            self.state, self.reason = "damaged", e.what
        return True

    def _trim(self) -> None:
        """Delete the log's segments that nobody needs any more."""
        if self.frames is None:
            self.journal.save()
        if self.store.durability != "process":
            for runner in self.runners:
                runner.sync()
        needed = min([r.needed for r in self.runners], default=self.log.end)
        self.log.trim(needed if self.frames is not None else min(needed, self.journal.position))
        if self.ring is not None:
            self.ring.set_word("spooled_bytes", self.log.bytes)

    def safe(self, position: int) -> bool:
        """Whether everything before ``position`` survives any process, and can be read in files that grow."""
        if self.frames is not None:
            return max(self.frames.safe, self.log.end) >= position
        return self.log.end >= position and all(r.position >= position for r in self.runners if not r.over)

    def sync(self) -> None:
        """Make log, journal and checkpoints durable as they are now."""
        seq = self.log.last.next_seq if self.log.last else 0
        self.log.sync()
        if self.ring is not None and self.frames is None:
            self.ring.set_word("durable_seq", seq)

    def sync_all(self) -> None:
        """Make everything durable, the directory entries too."""
        self.sync()
        for runner in self.runners:
            runner.sync()
        self.journal.save()
        self.journal.sync()
        sync_directory(self.directory)

    # --- the end -----------------------------------------------------------------------------------
    @property
    def drained(self) -> bool:
        """Whether nothing more will come: the producer closed or is gone, and all was taken."""
        ring = self.ring
        if ring is None or self.state == "damaged":
            return True
        closed = self.producer_gone or ring.word("producer_state") == layout.PRODUCER_CLOSED
        return closed and not ring.has_news() and self.end >= ring.word("head")

    def finish(self) -> bool:
        """Once drained, let the runners complete their files; whether all is done."""
        if not self.drained:
            return False
        for runner in self.runners:
            if runner.end_position is None:
                runner.end(self.end)
        journal_done = self.frames is not None or self.journal.position >= self.log.end
        return journal_done and all(r.over for r in self.runners)

    def counters(self) -> dict[str, Any]:
        """Attempts and losses, from the producer's words while they can be read, else from the journal."""
        tally = self.journal.tally
        if self.ring is None:
            lost: dict[str, int] = {}
            for event in self.journal.events():
                for loss in event["data"].get("losses", ()):
                    lost[loss["cause"]] = lost.get(loss["cause"], 0) + loss["count"]
            return {"attempted": tally.next_seq, "lost": lost, "skipped": 0, "marks_lost": 0, "blocked_ns": 0}
        ring = self.ring
        return {
            "attempted": ring.word("next_seq"),
            "lost": {c: n for c in layout.CAUSES if (n := ring.word(f"lost_{c}_count"))},
            "skipped": ring.word("skipped"),
            "marks_lost": ring.word("marks_lost"),
            "blocked_ns": ring.word("blocked_ns"),
        }

    def status(self) -> dict[str, Any]:
        """For ``recd status``."""
        counters = self.counters()
        ring = self.ring
        lost = sum(counters["lost"].values())
        troubled = [r for r in self.runners if r.state in ("stalled", "failed")]
        state, reason = self.state, self.reason
        if state == "recording" and troubled:
            state, reason = troubled[0].state, troubled[0].reason
        return {
            "stream": self.name,
            "state": state,
            "reason": reason,
            **counters,
            "written": counters["attempted"] - lost,
            "durable": (ring.word("durable_seq") if ring else counters["attempted"]) - lost,
            "bytes": self.journal.tally.bytes,
            "buffered_bytes": max(ring.word("head") - ring.free_position, 0) if ring else 0,
            "spooled_bytes": self.log.bytes,
            "capacity_bytes": ring.capacity_bytes if ring else 0,
            "sinks": [r.status() for r in self.runners],
        }

    @property
    def progress(self) -> int:
        """Grows while anything gets on."""
        return self.end + sum(r.progress for r in self.runners)

    def save(self) -> None:
        """Checkpoint everything; a later worker goes on from here."""
        self.journal.save()
        for runner in self.runners:
            runner.stop()

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.journal.close()
        if self._journal_reader is not None:
            self._journal_reader.close()
        if self.ring is not None:
            self.ring.release()
            self.ring = None
        if self.segment is not None:
            self.segment.close()

    # --- trouble -----------------------------------------------------------------------------------
    def _resting(self) -> bool:
        return self.state == "stalled" and self.now_ns() < self._retry_at_ns

    def _stall(self, error: OSError) -> None:
        """Keep what is in the ring and try again soon; the ring's policy holds meanwhile."""
        if self.state != "stalled":
            log.warning("stream %s: cannot store: %s", self.name, error)
        self.state = "stalled"
        self.reason = f"{error.strerror or error}: {error.filename or self.log.directory}"
        self._retry_at_ns = self.now_ns() + _RETRY_NS
        if self.ring is not None:
            self.ring.set_word("consumer_state", layout.CONSUMER_STALLED)
            self.ring.set_error(errno.errorcode.get(error.errno or 0, "OSError"))

    def _poison(self, error: RingDamagedError) -> None:
        """Set the ring aside; what was read before is finished as usual."""
        log.error("stream %s: ring set aside: %s", self.name, error.what)
        self.state, self.reason = "damaged", error.what
        if self.ring is not None:
            self.ring.set_word("consumer_state", layout.CONSUMER_POISONED)
            self.ring.set_error("ring damaged")
