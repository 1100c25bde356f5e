"""A stream that somebody outside wants to end: its producer is asked, and cut off where it does not obey in time.

Both words of a stop stay in the ring, where a successor finds them; what the producer had counted at a cut is kept
beside the log (``cut.json``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recd_client import layout
from recd_client.backend import RingConsumer

from .session import read_json, write_json

#: How long the producer has to end its stream when that is asked for.
OBEY_NS: Final = 2_000_000_000

log = logging.getLogger(__name__)

Counters = dict[str, Any]


class Stopping:
    """The stop of one stream, if there is one; used in the worker's loop.

    Parameters
    ----------
    directory : Path
        The stream's directory under ``.recd``.
    now_ns : callable
        Monotonic clock.
    """

    def __init__(self, directory: Path, now_ns: Callable[[], int]) -> None:
        self._path = directory / "cut.json"
        self._name = directory.name
        self._now_ns = now_ns
        self._obey_by_ns: int | None = None
        #: Position from which on nothing is recorded any more; None while the ring is not cut off.
        self.cut_at: int | None = None
        #: The producer's counters at the cut; None if it wrote too fast for them to be read, or they are not known.
        self.counters: Counters | None = None

    @property
    def asked(self) -> bool:
        """Whether the stream is to end."""
        return self._obey_by_ns is not None

    def ask(self, ring: RingConsumer) -> None:
        """Have the producer end the stream at its next call."""
        if self.asked:
            return
        self._obey_by_ns = self._now_ns() + OBEY_NS
        if not ring.word("stop_asked"):
            ring.set_word("stop_asked", layout.STOP_ASKED)
        ring.announce_sleep()  # whoever publishes rings, and looks

    def head(self, ring: RingConsumer, head: int, end: int, counters: Callable[[], Counters]) -> int:
        """The head as far as it counts: where the ring is cut off, if it is, by now or by a worker before.

        Parameters
        ----------
        ring : RingConsumer
            Still open: its producer has not ended the stream.
        head, end : int
            Positions up to which it is published, and was taken.
        counters : callable
            Gives the producer's.
        """
        if self.cut_at is None:
            told = ring.word("stop_at")
            before = ring.word("stop_asked") == layout.STOP_CUT and told % layout.ALIGN_BYTES == 0
            if before and end <= told <= head:
                self.cut_at, self.counters = told, self._kept_at(told)
            elif (late_ns := self._now_ns() - (self._obey_by_ns or 0)) >= 0:
                attempted = ring.word("next_seq")
                found: Counters | None = counters()
                # It is just writing: it will see, unless it never looks.
                if (ring.word("head"), ring.word("next_seq")) != (head, attempted):
                    if late_ns < OBEY_NS:
                        return head
                    found = None
                self._cut_off(ring, head, found)
        return head if self.cut_at is None else min(head, self.cut_at)

    def _cut_off(self, ring: RingConsumer, head: int, counters: Counters | None) -> None:
        """What is published from here on is recorded nowhere."""
        with contextlib.suppress(OSError):  # the disk is full: the log tells nearly as much
            write_json(self._path, {"position": head, "counters": counters})
        ring.set_word("stop_at", head)
        ring.set_word("stop_asked", layout.STOP_CUT)
        self.cut_at, self.counters = head, counters
        log.info("stream %s: its producer is silent; cut off at position %d", self._name, head)

    def _kept_at(self, position: int) -> Counters | None:
        """The producer's counters when a worker before this one cut the ring off there."""
        with contextlib.suppress(ValueError):
            kept = read_json(self._path) or {}
            if kept.get("position") == position:
                counters: Counters | None = kept.get("counters")
                return counters
        return None
