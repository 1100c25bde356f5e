"""``durability="interval"``: what is there is made durable every 200 ms, in a thread beside the worker's loop.

At its full speed a disk is always busy: a loop that waited for it would not drain. So they share a *round*:

::

    loop    mark: what is there now ─┐                              ┌─▶ vouch, or repair ─▶ the next mark
    thread                           └─▶ sync the files that hold it ┘

Only when all of it is durable does the loop say so: ``durable_seq`` moves to where it was marked, checkpoints that
tell of it are written, and what a round made sure that nobody needs any more is deleted from the log. The thread
does nothing but sync; all that decides or writes is the loop's. A file that the thread was refused to sync is
marked as not to be believed (:mod:`recd.durable`), whoever asks next; then the loop repairs it, with a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .durable import CanSync
from .finisher import Finisher, Job

if TYPE_CHECKING:
    from .track import Track

EVERY_NS: Final = 200_000_000
#: Rounds of so many streams are synced side by side: file systems gather what is asked of them at once, so that a
#: disk with 6 ms per sync takes 0.4 ms of each of 400 files.
THREADS: Final = 8


@dataclass(frozen=True)
class Mark:
    """How far a stream had come when a round began.

    Parameters
    ----------
    next_seq : int
        Number behind the last sample that is durable once the files are.
    files : sequence of CanSync
        In the order in which they are synced.
    trimmed : int
        What is before this position in the log is not needed any more once the files are durable.
    """

    next_seq: int
    files: Sequence[CanSync]
    trimmed: int = 0

    def sync(self, job: Job) -> None:
        """Make it durable; runs in the syncing thread."""
        for file in self.files:
            file.sync_in_place()


class Rounds:
    """The rounds of one track, one at a time; called from the loop's thread.

    Parameters
    ----------
    track : Track
        Leaves checkpoints and trimming to the rounds from now on.
    thread : Finisher
        Shared by all tracks of the worker; may be several.
    now_ns : callable
        Monotonic clock.
    """

    def __init__(self, track: Track, thread: Finisher, now_ns: Callable[[], int]) -> None:
        self._track = track
        self._thread = thread
        self._now_ns = now_ns
        self._mark: Mark | None = None
        self._job: Job | None = None
        self._began_ns = 0
        #: Whether something can be deleted from the log after the next round, which therefore begins at once.
        self.trims = False
        track.rounds = self
        for runner in track.runners:
            runner.in_rounds = True

    def look(self) -> None:
        """End the round that is done, and begin one that is due."""
        job, mark = self._job, self._mark
        if job is not None and mark is not None:
            if not job.done.is_set():
                return
            self._job = None
            if job.error is None:
                self._vouch(mark)
            elif isinstance(job.error, OSError):
                self._repair(mark)
            else:
                raise job.error
        now = self._now_ns()
        if self.trims or now - self._began_ns > EVERY_NS:
            self._began_ns, self.trims = now, False
            self._mark = mark = self._note()
            if mark is not None and mark.files:
                self._job = self._thread.submit(mark.sync)
            elif mark is not None:
                self._vouch(mark)

    def _note(self) -> Mark | None:
        """What is there now, and what must be synced for it to be durable; None if that cannot be written down."""
        track = self._track
        files: list[CanSync] = [] if track.log.is_synced else [track.log]
        for runner in track.runners:
            files += runner.mark()
        trimmed = track.needed if track.log.has_before(track.needed) else 0
        if trimmed or track.frames is not None:
            try:
                track.tell_trim(trimmed)
            except OSError as e:
                track.stall(e)
                return None
            for runner in track.runners:
                files += runner.own_files
            files += track.journal.syncers
        return Mark(track.durable_next(), files, trimmed)

    def _vouch(self, mark: Mark) -> None:
        """What was marked is durable."""
        track = self._track
        if track.ring is not None:
            track.ring.set_word("durable_seq", max(mark.next_seq, track.ring.word("durable_seq")))
        for runner in track.runners:
            runner.vouch()
        if track.log.has_before(mark.trimmed):
            try:
                track.log.trim(min(mark.trimmed, track.needed))
            except OSError as e:
                track.stall(e)

    def _repair(self, mark: Mark) -> None:
        """A sync was refused: make everything durable here, with copies of what is not to be believed."""
        track = self._track
        for runner in track.runners:
            runner.doubt()
        try:
            track.sync_readers()
        except OSError as e:
            track.stall(e)
        else:
            self._vouch(mark)
