"""The way of frames that belong to one video: straight from the ring to the encoder.

They are freed once they can be decoded from its file. When frames that are not safe yet fill half the
ring, the oldest go to the log and are freed: a burst costs disk, not frames.

Where the ring was freed to is written down before: a successor finds its frames behind it in the ring,
and those before it in the file or in the log, although it must wait for the encoder to know which.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recd_client import layout, records, shm
from recd_client.errors import RingDamagedError
from recd_client.ring import RingConsumer
from recd_client.schema import Schema

from .checkpoint import Checkpoint
from .track import FrameRunner, Store, Track


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
        super().__init__(directory, name, schema, store, [frames], segment, now_ns)
        frames.note = self.journal.note
        frames.source.ring = self.ring

    def _first_position(self) -> int:
        state = self._freed.load() or {"position": 0}
        return max(self.log.end, int(state["position"]))

    def _store(self, ring: RingConsumer, head: int) -> bool:
        """Free what the encoder's file holds; log the oldest when half the ring is not safe."""
        did = self.end < head
        try:
            self._prove(ring, head)
        finally:  # damage ends what can be read, not what was
            safe = max(self.frames.safe, ring.free_position)
            wanted = min(max(head - ring.capacity_bytes // 2, self.flush_to), self.end)
            if safe < wanted and not self._resting():
                did = True
                ring.position = max(ring.position, safe)
                while ring.position < wanted:
                    self._spill(ring)
            if safe >= wanted or did
            self._free_safe(ring)
        return did
