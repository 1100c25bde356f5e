"""One stream inside a worker: its ring, its log, its journal and the runners of its sinks.

Samples are always logged, and freed in the ring once they are in the log. (Frames for one video take
another way: :mod:`recd.direct`.)
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recd_client import layout, shm
from recd_client.backend import RingConsumer
from recd_client.errors import RingDamagedError
from recd_client.schema import Schema

from . import ring_image
from .batch import RESET
from .chunks import HAS_CONTROL, ChunkInfo, describe
from .dropping import Dropper
from .durable import sync_directory
from .journal import DAMAGED, Counting, Journal, lost
from .log import LogReader
from .log_writer import LogWriter
from .room import Room, Store
from .runner import FrameRunner, Runner
from .stalls import Stalls
from .stopping import Stopping

if TYPE_CHECKING:
    from .syncing import Rounds

CHUNK_BYTES: Final = 1 << 20
_RETRY_NS: Final = 200_000_000

log = logging.getLogger(__name__)


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
    segment : shm.Segment or None
        None when the ring is gone (after a reboot): then the log is all there is.
    now_ns : callable
        Monotonic clock.
    """

    #: The only runner, if its frames go straight from the ring to it.
    frames: FrameRunner | None = None
    #: Who syncs, checkpoints and trims; None if the loop does it by itself.
    rounds: Rounds | None = None

    def __init__(
        self,
        directory: Path,
        name: str,
        schema: Schema,
        store: Store,
        runners: Sequence[Runner],
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
        # Four segments within the limit, as only whole ones can be deleted.
        limit = store.spool_limit_bytes
        self.log = LogWriter(directory / "log", None if limit is None else max(limit // 4, 1))
        self.journal = Journal(directory, schema)
        if store.durability != "process":  # as of the runners' checkpoints
            with contextlib.suppress(OSError):
                self.journal.sync()
        self.stalls = Stalls(directory / "stalls.json", now_ns)
        for runner in runners:
            runner.sync_log, runner.stalls = self.log.sync, self.stalls
        self.state = "recording"
        self.reason = ""
        self.producer_gone = False
        #: Somebody waits for what is before this position.
        self.flush_to = 0
        #: Everything before this position was made durable for somebody.
        self.durable_to = 0
        self._retry_at_ns = 0
        self._word = ""
        self.stopping = Stopping(directory, now_ns)
        self._last_t = self._newest_time()
        self._counting = Counting(self.journal, self.log.directory)
        #: Why there is no ring any more, if that is so.
        self.ring_gone = ""
        #: Whether the oldest samples in a full log make room for the newest.
        self.drops_oldest = False
        #: End of what can be read: of the log, or of the ring when frames go straight from it.
        self.end = self._first_position()
        self.ring = self._take_ring(self.end)
        #: Samples below this number were in the log once.
        self._known_seq = max(self.journal.tally.next_seq, self.log.cut.next_seq if self.log.cut else 0)
        for runner in runners:
            runner.miss = self.journal.miss
        if self.ring is not None and self.ring.word("stop_asked"):  # of a worker before
            self.ask_to_stop()
        self._dropper = Dropper(self)
        self._room = Room(self, self._dropper)

    @property
    def deleted(self) -> bool:
        """Whether its files were deleted under it: only what begins anew with what is there can go on."""
        return self.log.deleted

    def _first_position(self) -> int:
        """Where the ring is read on; everything before was freed, or is safe and can be.

        If the log's end was damaged and is cut off, that is where it had ended.
        """
        cut = self.log.cut.end if self.log.cut else 0
        return max(self.log.end, self.journal.position, cut)

    def _take_ring(self, position: int) -> RingConsumer | None:
        if self.segment is None:
            return None
        try:
            ring = RingConsumer(self.segment.memory, position)
            freed = ring.word("free_pos")
            # (Of what was cut off behind damage, the numbers of what follows tell.)
            cut = any(self.log.directory.glob("*.cut"))
            if not cut and position < freed <= ring.word("head") and freed % layout.ALIGN_BYTES == 0:
                log.error("stream %s: its log has lost what was freed up to position %d", self.name, freed)
                ring.release()
                ring, self.end = RingConsumer(self.segment.memory, freed), freed
                position = freed
        except RingDamagedError as e:
            self.state, self.reason = "damaged", e.what
            log.error("stream %s: ring set aside: %s", self.name, e.what)
            return None
        ring.set_word("epoch", ring.word("epoch") + 1)
        ring.set_word("worker_pid", os.getpid())
        ring.set_word("consumer_state", layout.CONSUMER_RUNNING)
        ring.set_error("")
        ring.free(position)
        return ring

    def _newest_time(self) -> float:
        """Stream time of the newest sample in the log; NaN when the next one may have any."""
        last = self.log.last
        if last is None:
            return math.nan
        if last.flags & HAS_CONTROL:
            reader = LogReader(self.log.directory, last.begin)
            chunk = reader.next()
            events = [] if chunk is None else [*chunk.events(self.schema)]
            reader.close()
            if any(e.seq >= last.next_seq and e.data.get("label") == RESET for e in events):
                return math.nan
        return last.t_last

    # --- ring -> log -----------------------------------------------------------------------------
    def drain(self) -> bool:
        """Bring what was published to safety; whether anything was."""
        ring = self.ring
        if ring is None or self.state == "damaged":
            return False
        damage = None
        try:
            head = ring.head()
            if self.stopping.asked and (self.stopping.cut_at is not None or not self._closed):
                head = self.stopping.head(ring, head, self.end, self.counters)
        except RingDamagedError as e:  # headers prove themselves: take what is whole
            damage, head = e, ring.free_position + ring.capacity_bytes
        try:
            did = self._store(ring, head)
        except RingDamagedError as e:
            self._poison(ring, damage or e)
            return True
        except OSError as e:
            self.stall(e)
            return False
        if damage is not None and not self.resting:
            self._poison(ring, damage)
        return did

    def _store(self, ring: RingConsumer, head: int) -> bool:
        """Move everything before ``head`` into the log."""
        owed = ring.free_position < self.log.end  # a sync failed after its chunk was in the log
        if self.resting:
            return False
        if not (owed or ring.position < head):
            self._wake_well(ring)
            return False
        self._free(ring)
        while ring.position < head:
            self._log_chunk(ring, head)
        self._wake_well(ring)
        return True

    def _log_chunk(self, ring: RingConsumer, head: int) -> None:
        """Move one chunk into the log and free it."""
        self._room.check(closed=self._closed)
        region = ring.region(ring.position, head)
        info, last_t, damage = self._describe(region, ring.position)
        if info.body_bytes:
            self.log.append(info, region[: info.body_bytes])
        # Padding alone is freed with the next chunk: a successor begins at the log's end and must find it.
        ring.position = self.end = info.end
        self._last_t = last_t
        self._free(ring)
        if damage is not None:
            raise damage

    def _describe(
        self, region: memoryview, position: int
    ) -> tuple[ChunkInfo, float, RingDamagedError | None]:
        next_seq = self.log.last.next_seq if self.log.last else 0
        return describe(self.schema, region, position, next_seq, self._last_t, CHUNK_BYTES)

    def _free(self, ring: RingConsumer) -> None:
        """Let the producer overwrite what is in the log, once it is there as the user wants it."""
        ring.set_word("spooled_bytes", self.log.bytes)
        last = self.log.last
        if last is None or last.end <= ring.free_position:
            return
        if self.store.durability == "strict":
            self.log.sync()
        ring.free(last.end)
        if self.store.durability != "interval":
            ring.set_word("durable_seq", last.next_seq)

    def _wake_well(self, ring: RingConsumer) -> None:
        if self.state == "stalled":
            log.info("stream %s: stores again", self.name)
            self.stalls.end()
            self.state, self.reason = "recording", ""
            ring.set_word("consumer_state", layout.CONSUMER_RUNNING)
            ring.set_error("")
            self._word = ""

    # --- log -> journal and sinks ------------------------------------------------------------------
    def work(self, between: Callable[[], object]) -> bool:
        """Let the journal and each sink take a slice, calling ``between`` after each; whether any did."""
        if not self._finish_dropping():
            return False
        did = self._advance_journal()
        for runner in self.runners:
            if runner.advance(self.end):
                did = True
                between()
        if did:
            self._trim()
        self._pass_on_failure()
        return did

    def _finish_dropping(self) -> bool:
        """Whether the log is what its readers should see."""
        if not self._dropper.pending:
            return True
        if self.resting:
            return False
        try:
            return self._dropper.finish()
        except OSError as e:
            self.stall(e)
            return False

    def _pass_on_failure(self) -> None:
        """Leave word of a file that was given up, or hangs, for the client's ``stats``; the others go on."""
        if self.ring is None or self.state != "recording":
            return
        failed = [r for r in self.runners if r.state == "failed"]
        word = next((w for r in [*failed, *self.runners] if (w := r.word)), "")
        if word != self._word:
            self._word = word
            self.ring.set_error(word)
        if failed:
            self.ring.set_word("consumer_state", layout.CONSUMER_FAILED)

    def _advance_journal(self) -> bool:
        """Count what is new in the log."""
        return self._counting.advance(self.log.end)

    def read_journal_to(self, position: int) -> bool:
        """Let the journal count everything before ``position``, and forget the chunk behind; whether it could."""
        while self.frames is None and self.journal.position < position:
            if not self._advance_journal():
                return False
        self._counting.close()
        return True

    def _trim(self) -> None:
        """Delete the log's segments that nobody needs any more, or have it done after the next round."""
        if not self.log.has_before(self.needed):
            return
        if self.rounds is not None:
            self.rounds.trims = True
        else:
            self.trim_now()

    def trim_now(self) -> None:
        """Delete them, once what is to survive them is safe."""
        needed = self.needed
        try:
            promised = self.log.begin < self.journal.promised
            self.tell_trim(needed)
            # What a flush made durable in the log must not depend on files that are not; and of a film nobody could
            # tell after a loss of power whether it had the frames that the log has no more.
            films = any(r.options.kind == "video" for r in self.runners)
            if self.store.durability != "process" or films or promised:
                self.sync_readers()
            self.log.trim(needed)
        except OSError as e:
            self.stall(e)

    def tell_trim(self, position: int) -> None:
        """Write down that what is missing before this position is no damage."""
        self.journal.trimmed = max(self.journal.trimmed, position)
        self.journal.save()

    @property
    def needed(self) -> int:
        """Nobody needs what stands in the log before this position."""
        return min([self._told, *(r.needed for r in self.runners)])

    @property
    def _told(self) -> int:
        """Everything in the log before this position is in the journal."""
        return self.journal.position

    def safe(self, position: int) -> bool:
        """Whether everything before ``position`` survives any process, and can be read in files that grow."""
        return self.end >= position and all(r.shows(position) for r in self.runners)

    def sync(self) -> bool:
        """Make the log durable as it is now; whether that worked."""
        last = self.log.last
        try:
            self.log.sync()
        except OSError as e:
            self.stall(e)
            return False
        if self.ring is not None and self.frames is None and last is not None:
            self.ring.set_word("durable_seq", max(last.next_seq, self.ring.word("durable_seq")))
        return True

    def sync_all(self) -> bool:
        """Make everything durable, the directory entries too; whether that worked."""
        if not self.sync():  # first: no checkpoint may tell of what the log could lose
            return False
        try:
            self.journal.promised = self.log.end
            self.sync_readers()
            sync_directory(self.directory)
        except OSError as e:
            self.stall(e)
            return False
        return True

    def save_readers(self) -> None:
        """Let the readers of the log checkpoint what they have.

        Raises
        ------
        OSError
            One could not.
        """
        for runner in self.runners:
            if not runner.over:
                runner.save_now()

    def sync_readers(self) -> None:
        """Make what the readers of the log have, and know, durable."""
        self.log.sync()
        for runner in self.runners:
            runner.sync()
        self.journal.save()
        self.journal.sync()

    def durable_next(self) -> int:
        """Number behind the last sample that is durable once everything is synced."""
        return self.log.last.next_seq if self.log.last else 0

    # --- the end -----------------------------------------------------------------------------------
    def ask_to_stop(self) -> None:
        """Have the producer end the stream at its next call; if it makes none, the ring is cut off where it is."""
        if self.ring is not None and not self._closed:
            self.stopping.ask(self.ring)

    @property
    def drained(self) -> bool:
        """Whether nothing more will come: the producer closed or is gone, and all was taken."""
        ring = self.ring
        if ring is None or self.state == "damaged":
            return True
        if self.stopping.cut_at is not None:
            return self.end >= self.stopping.cut_at
        return self._closed and not ring.has_news() and self.end >= ring.word("head")

    @property
    def _closed(self) -> bool:
        """Whether nothing more is published."""
        ring = self.ring
        closed = ring is None or ring.word("producer_state") == layout.PRODUCER_CLOSED
        return self.producer_gone or closed or self.stopping.cut_at is not None

    def finish(self) -> bool:
        """Once drained, let the runners complete their files; whether all is done."""
        if not self.drained:
            return False
        for runner in self.runners:
            if runner.end_position is None:
                runner.end(self.end, self._known_seq)
        return self._told >= self.log.end and all(r.over for r in self.runners)

    def counters(self) -> dict[str, Any]:
        """Attempts and losses, from the producer's words while they can be read, else from the journal."""
        tally = self.journal.tally
        if (
            at_cut := self.stopping.counters
        ) is not None:  # what the producer counts from there on is its own affair
            return {**at_cut, "lost": {**at_cut["lost"]}}
        if self.ring is None or self.stopping.cut_at is not None:
            return {
                "attempted": tally.next_seq,
                "lost": lost(self.journal.events()),
                "skipped": 0,
                "marks_lost": 0,
                "blocked_s": 0.0,
            }
        ring = self.ring
        damaged = lost(self.journal.events()).get(DAMAGED) if self.journal.damaged else None
        by_cause = {c: n for c in layout.ALL_CAUSES if (n := ring.word(f"lost_{c}_count"))}
        return {
            "attempted": ring.word("next_seq"),
            "lost": {**by_cause, DAMAGED: damaged} if damaged else by_cause,
            "skipped": ring.word("skipped"),
            "marks_lost": ring.word("marks_lost"),
            "blocked_s": ring.word("blocked_ns") / 1e9,
        }

    def status(self) -> dict[str, Any]:
        """For ``recd status``."""
        counters = self.counters()
        ring = self.ring
        gone = sum(counters["lost"].values())
        troubled = [r.standing for r in self.runners if r.standing[0] in ("stalled", "failed")]
        state, reason = self.state, self.reason
        if state == "recording" and troubled:
            state, reason = troubled[0]
        reason = reason or next((r.standing[1] for r in self.runners if r.standing[1]), "")
        return {
            "stream": self.name,
            "state": state,
            "reason": reason,
            **counters,
            "written": counters["attempted"] - gone,
            "durable": max((ring.word("durable_seq") if ring else counters["attempted"]) - gone, 0),
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
        with contextlib.suppress(OSError):  # the disk is full: an older state is as good a place to go on
            self.journal.save()
        for runner in self.runners:
            runner.stop()

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.journal.close()
        self._counting.close()
        if self.ring is not None:
            self.ring.release()
            self.ring = None
        if self.segment is not None:
            self.segment.close()

    # --- trouble -----------------------------------------------------------------------------------
    @property
    def resting(self) -> bool:
        """Whether it is too early to try again what failed."""
        return self.now_ns() < self._retry_at_ns

    def stall(self, error: OSError) -> None:
        """Keep what is in the ring and try again soon; the ring's policy holds meanwhile."""
        reason = f"{error.strerror or error}: {error.filename or self.log.directory}"
        self._retry_at_ns = self.now_ns() + _RETRY_NS
        if self.stalls.begin(reason):
            log.warning("stream %s: cannot store: %s", self.name, reason)
        if self.state == "damaged":
            return
        self.state, self.reason = "stalled", reason
        if self.ring is not None:
            # before the state, so that whoever sees that finds its reason
            self.ring.set_error(error.strerror or type(error).__name__)
            self.ring.set_word("consumer_state", layout.CONSUMER_STALLED)

    def _poison(self, ring: RingConsumer, error: RingDamagedError) -> None:
        """Set the ring aside; what was read before is finished as usual."""
        log.error("stream %s: ring set aside: %s", self.name, error.what)
        self.state, self.reason = "damaged", error.what
        try:
            ring_image.keep(ring, self.directory / "ring.image")
        except OSError as e:  # it is only for the curious
            log.warning("stream %s: no image of its ring is kept: %s", self.name, e)
        ring.set_error("ring damaged")
        ring.set_word("consumer_state", layout.CONSUMER_POISONED)
