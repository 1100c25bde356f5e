"""One stream as a watcher sees it: its newest samples, when the last one came, and what it has lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recd_client import layout
from recd_client.session import MARK_PAUSE, MARK_RESUME

from ..batch import Batch, Event
from ..taps.ring import Taken
from ..taps.stream import Live, StreamTap

#: What is evaluated at once: large samples become eight times as large as numbers.
_SLICE_BYTES: Final = 1 << 20
_SECOND_NS: Final = 1_000_000_000


class Eye:
    """Looks at one stream through a tap.

    Parameters
    ----------
    live : Live
    reads_all : bool
        Whether all samples are wanted, not only how the stream stands.
    from_start : bool
        Whether what the ring still holds is wanted, or only what comes.

    Attributes
    ----------
    skipped : int
        Samples that passed by unseen, as far as their numbers tell.
    newly_lost : int
        Samples that were lost between the last two looks.

    Raises
    ------
    NoSuchSessionError
        The stream has just ended.
    RingDamagedError
        Its ring cannot be read.
    """

    def __init__(self, live: Live, *, reads_all: bool, from_start: bool) -> None:
        self.tap = StreamTap(live)
        self.live = live
        self.skipped = 0
        self.newly_lost = 0
        self.over = False
        #: As the daemon says.
        self.cannot_store = False
        self._reads_all = reads_all
        self._paused = False
        self._last_ns = 0
        self._next_seq: int | None = None
        self._lost = 0 if from_start else self._count_lost()
        size_bytes = max(self.tap.schema.payload_bytes, 1)
        self._rows = max(_SLICE_BYTES // size_bytes, 1)
        #: What stands now; what comes from here on is found by the next look.
        self._ahead: list[Batch] = []
        if not from_start:
            taken = self.tap.newest(1)
            self._follow(taken)
            self._ahead = taken.batches

    def look(self) -> list[Batch]:
        """The samples that came since the last look, in slices; only the newest, if not all are wanted."""
        over = self.tap.ended  # asked first, so that nothing stays behind
        lost = self._count_lost()
        self.newly_lost, self._lost = max(lost - self._lost, 0), lost
        batches, self._ahead = self._ahead, []
        if self.tap.moved:
            taken = self.tap.take() if self._reads_all else self.tap.newest(1)
            if self._reads_all:
                self._count_skipped(taken)
            self._follow(taken)
            batches += [part for batch in taken.batches for part in self._parts(batch)]
        self.over = over
        return batches

    def stalled(self, now_ns: int, for_s: float) -> bool:
        """Whether nothing has come for so long, or nothing can be stored; a pause is neither, nor is an end."""
        if self.over:
            return False
        late = bool(self._last_ns) and not self._paused and now_ns - self._last_ns > for_s * _SECOND_NS
        return self.cannot_store or late

    def close(self) -> None:
        """Let go of the stream."""
        self.tap.close()

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        for i in range(0, len(batch), self._rows):
            yield batch[i : i + self._rows]

    def _follow(self, taken: Taken) -> None:
        for batch in taken.batches:
            self._last_ns = int(batch.mono_ns[-1])
            self._next_seq = int(batch.seq[-1]) + 1
        for event in taken.events:
            self._note(event)

    def _note(self, event: Event) -> None:
        label = event.data.get("label")
        if label == MARK_PAUSE:
            self._paused = True
        elif label == MARK_RESUME:
            self._paused = False
            self._last_ns = max(self._last_ns, event.mono_ns)

    def _count_skipped(self, taken: Taken) -> None:
        if not taken.skipped or not taken.batches:
            return
        begin = self._next_seq or 0
        told = sum(int(loss["count"]) for e in taken.events for loss in e.data.get("losses", ()))
        self.skipped += max(int(taken.batches[0].seq[0]) - begin - told, 1)

    def _count_lost(self) -> int:
        return sum(self.tap.word(f"lost_{cause}_count") for cause in layout.ALL_CAUSES)
