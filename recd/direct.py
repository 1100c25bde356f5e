"""The way of frames that belong to one video: straight from the ring to the encoder.

They are freed once they can be decoded from its file. When frames that are not safe yet fill half the
ring, the oldest go to the log and are freed: a burst costs disk, not frames.

Where the ring was freed to is written down before: a successor finds its frames behind it in the ring,
and those before it in the file or in the log, although it must wait for the encoder to know which.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recd_client import layout, records, shm
from recd_client.backend import RingConsumer
from recd_client.errors import RingDamagedError
from recd_client.schema import Schema

from .checkpoint import Checkpoint
from .room import Store
from .runner import FrameRunner
from .track import Track


class DirectTrack(Track):
    """A track whose ring is freed by its video.

    Parameters
    ----------
    frames : FrameRunner
        The only runner.
    directory, name, schema, store, segment, now_ns
        See :class:`~recd.track.Track`.
    """

    frames: FrameRunner

    def __init__(
        self,
        directory: Path,
        name: str,
        schema: Schema,
        store: Store,
        frames: FrameRunner,
        segment: shm.Segment | None,
        now_ns: Callable[[], int],
    ) -> None:
        self.frames = frames
        self._freed = Checkpoint(directory / "ring.ckpt")
        #: Number behind the last record that was proved.
        self._proved_seq = 0
        super().__init__(directory, name, schema, store, [frames], segment, now_ns)
        frames.note = self.journal.note
        frames.source.ring = self.ring

    @property
    def deleted(self) -> bool:
        """See :class:`~recd.track.Track`."""
        return super().deleted or self._freed.deleted

    def _first_position(self) -> int:
        state = self._freed.load() or {"position": 0}
        return max(self.log.end, int(state["position"]))

    def _store(self, ring: RingConsumer, head: int) -> bool:
        """Free what the encoder's file holds; log the oldest when half the ring is not safe."""
        did = self._prove(ring, head)
        did |= self._spill_oldest(ring)
        return self._free_safe(ring) or did

    def _prove(self, ring: RingConsumer, head: int) -> bool:
        """Let the runner read what is new, once every header is proved; whether anything is."""
        before = self.end
        while self.end < head:
            region = ring.region(self.end, head)
            for item in records.split(region, self.end, self.schema.stride_bytes, self.schema.payload_bytes):
                if isinstance(item, records.Run) and not item.stride_bytes:
                    raise RingDamagedError(
                        f"a frame of another size at position {self.end}",
                        "the rest of this ring was set aside",
                    )
                self.end += item.size
                self._proved_seq = item.first_seq + item.count if isinstance(item, records.Run) else item.seq
        return self.end > before

    def _spill_oldest(self, ring: RingConsumer) -> bool:
        """Log frames that are not safe while they fill half the ring, or somebody waits for them."""
        ring.position = max(ring.position, self.frames.safe)
        wanted = min(max(self.end - ring.capacity_bytes // 2, self.flush_to), self.end)
        if self.frames.state == "failed":  # nobody else keeps them
            wanted = self.end
        if ring.position < wanted and self.resting:
            return False
        did = ring.position < wanted
        try:
            while ring.position < wanted:
                self._spill(ring)
        except OSError as e:  # what is safe is freed nevertheless
            self.stall(e)
        else:
            self._wake_well(ring)
        return did

    def _spill(self, ring: RingConsumer) -> None:
        """Log the oldest record that is not safe."""
        self._room.check(closed=self._closed)
        region = ring.region(ring.position, self.end)
        item = records.one(region, 0, ring.position, True)
        if not (isinstance(item, records.Control) and item.kind == layout.PAD):
            body = region[: item.size]
            info, last_t, damage = self._describe(body, ring.position)
            if damage is not None:
                raise damage
            self.log.append(info, body)
            self._last_t = last_t
        ring.position += item.size

    def _free_safe(self, ring: RingConsumer) -> bool:
        """Let the producer overwrite what is in the video or in the log; whether that is more than before."""
        position = ring.position
        ring.set_word("spooled_bytes", self.log.bytes)
        if position <= ring.free_position:
            return False
        if self.store.durability == "strict":
            self.sync_readers()
        self.frames.release(position)
        self._freed.save({"position": position})
        ring.free(position)
        if self.store.durability != "interval":
            ring.set_word("durable_seq", max(self._first_unsafe(ring), ring.word("durable_seq")))
        return True

    def sync(self) -> bool:
        """See :class:`~recd.track.Track`; what is in the video is not in the log."""
        seq = self.durable_next()
        try:
            self.sync_readers()
        except OSError as e:
            self.stall(e)
            return False
        if self.ring is not None:
            self.ring.set_word("durable_seq", max(seq, self.ring.word("durable_seq")))
        return True

    def durable_next(self) -> int:
        """See :class:`~recd.track.Track`."""
        ring = self.ring
        return 0 if ring is None or self.state == "damaged" else self._first_unsafe(ring)

    def _first_unsafe(self, ring: RingConsumer) -> int:
        """Number of the first sample that is not safe."""
        if ring.position == self.end:  # not the producer's word: it may have gone on since
            return self._proved_seq
        item = records.one(ring.region(ring.position, self.end), 0, ring.position, True)
        return item.first_seq if isinstance(item, records.Run) else item.seq

    def _advance_journal(self) -> bool:
        """Nothing to do: the runner tells the journal what happens, and counts the frames."""
        return False

    @property
    def _told(self) -> int:
        return self.log.end

    @property
    def drained(self) -> bool:
        """See :class:`~recd.track.Track`; what a video that was given up has not, must be in the log."""
        ring = self.ring
        kept = self.frames.state != "failed" or ring is None or ring.position >= self.end
        return super().drained and (kept or self.state == "damaged")

    def safe(self, position: int) -> bool:
        """See :class:`~recd.track.Track`."""
        logged = self.log.end if self.ring is None else self.ring.position
        return max(self.frames.safe, logged) >= position

    def status(self) -> dict[str, Any]:
        """See :class:`~recd.track.Track`; no journal counts the bytes of frames."""
        told = super().status()
        return {**told, "bytes": told["written"] * self.schema.payload_bytes}

    def close(self) -> None:
        """See :class:`~recd.track.Track`."""
        self.frames.source.ring = None
        self._freed.close()
        super().close()
