"""What a stream's log holds of the time before anybody looked, made small: for all streams, in one thread.

It takes a piece of one stream's log, then of the next one's, and rests after each as long as that took: half a core at
most, for as long as the logs last. It is not made nicer than the server: it shares the interpreter with it, and whoever
is made to wait while it holds that makes the pages wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from recd_client.errors import RecdError
from recd_client.schema import Schema

from ..batch import Event
from ..taps.history import LogTap
from ..taps.ring import Taken
from .decimate import Floats
from .fields import Columns
from .rows import Rows, extremes, joined, with_holes

#: Older pieces of a log are not read: hours of most streams.
MOST_BYTES: Final = 4 << 30
#: What was found is handed over about so often: each time all plots are drawn anew.
_HAND_OVER_S: Final = 0.3
#: Rest after a piece, as a share of the time that it took; a rest is this long at least.
_REST: Final = 1.0
_LEAST_REST_S: Final = 0.001

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """Something older than all that was found before.

    Parameters
    ----------
    rows : Rows, optional
    epoch_seq : int, optional
        Where stream time last went back, if it is in here.
    events : list of Event
    """

    rows: Rows | None
    epoch_seq: int | None
    events: list[Event]


class Older:
    """The log of one stream, read from the newest on.

    Parameters
    ----------
    directory : Path
        Of the log.
    schema : Schema
    before : int
        Ring position behind what is wanted.
    room : int
        About so many rows are made of it.
    wall_offset_s : float
        What to add to the monotonic clock for Unix time.
    """

    def __init__(self, directory: Path, schema: Schema, before: int, room: int, wall_offset_s: float) -> None:
        self._tap = LogTap(directory, schema, before)
        self._pieces = self._tap.pieces()
        self._columns = Columns(schema)
        self._room = room
        self._wall_offset_s = wall_offset_s
        self._group = 0
        self._later_t = -np.inf  # of the oldest sample so far; -inf: none
        self._later_seq = 0
        self._epoch_known = False
        self._rows: list[Rows] = []
        self._events: list[Event] = []
        self._epoch_seq: int | None = None
        self._handed_over_s = 0.0
        #: What was found, for the server to take; the oldest last.
        self.found: deque[Found] = deque()
        #: Whether nothing will follow.
        self.done = False
        #: Whether anybody still looks at the stream.
        self.wanted = True

    def step(self) -> None:
        """Read one piece, and hand over what was found every now and then. For one thread."""
        taken = next(self._pieces, None)
        if taken is not None:
            self._take(taken)
        done = taken is None or self._tap.read_bytes >= MOST_BYTES
        now = time.monotonic()
        if done or now - self._handed_over_s > _HAND_OVER_S:
            self._handed_over_s = now
            rows = joined(self._rows[::-1]) if self._rows else None
            if rows is not None or self._events:
                self.found.append(Found(rows, self._epoch_seq, self._events[::-1]))
            self._rows, self._events, self._epoch_seq = [], [], None
        self.done = done  # behind what it is the end of

    def _take(self, taken: Taken) -> None:
        self._events += taken.events[::-1]
        batches = [b for b in taken.batches if len(b)]
        if not batches:
            return
        seq = np.concatenate([b.seq for b in batches]).astype(np.int64)
        t = np.concatenate([b.t for b in batches])
        wall = np.concatenate([b.mono_ns for b in batches]) / 1e9 + self._wall_offset_s
        y = np.concatenate([self._columns.table(b) for b in batches])
        if not self._group:
            self._choose_group(int(seq[-1]) + 1)
        self._see_epoch(t, seq)
        rows = with_holes(Rows(np.stack([t, wall], 1), seq, y), -1)
        self._rows.append(extremes(rows, rows.seq // self._group) if self._group > 2 else rows)

    def _choose_group(self, behind_seq: int) -> None:
        first_seq, size_bytes = self._tap.extent()
        share = min(MOST_BYTES / max(size_bytes, 1), 1.0)
        samples = (behind_seq - first_seq) * share
        self._group = 1 if samples <= self._room else int(np.ceil(2 * samples / self._room))

    def _see_epoch(self, t: Floats, seq: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        if not self._epoch_known:
            back = np.flatnonzero(np.append(t[1:], self._later_t if self._later_t > -np.inf else np.inf) < t)
            if len(back):
                self._epoch_seq = int(np.append(seq, self._later_seq)[back[-1] + 1])
                self._epoch_known = True
        self._later_t, self._later_seq = float(t[0]), int(seq[0])


class Readers:
    """The thread that reads logs, while there is anything to read."""

    def __init__(self) -> None:
        self._waiting: deque[Older] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def read(self, older: Older) -> None:
        """Begin with a stream's log, piece by piece beside the others."""
        with self._lock:
            self._waiting.append(older)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="older", daemon=True)
                self._thread.start()

    def forget(self, older: Older) -> None:
        """Nobody wants it any more."""
        older.wanted = False

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        with self._lock:
            self._waiting.clear()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._closed:
                    self._thread = None
                    return
                older = self._waiting.popleft()
            if not older.wanted:
                continue
            began_s = time.monotonic()
            try:
                older.step()
            except (RecdError, OSError, ValueError) as e:  # what is there is shown, the rest is not
                log.warning("the log of a stream cannot be read: %s", e)
                older.done = True
            if not older.done:
                with self._lock:
                    self._waiting.append(older)
            time.sleep(max((time.monotonic() - began_s) * _REST, _LEAST_REST_S))
