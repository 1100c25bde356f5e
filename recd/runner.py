"""What runs one sink: reads at its own pace, cuts what it reads into parts, seals finished files.

A runner is advanced from the worker's loop in slices of about a millisecond, so that draining the
rings never waits for it. What takes long goes to the finisher thread.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from recd_client.errors import RecdError
from recd_client.options import SinkOptions
from recd_client.schema import Schema

from .batch import Event
from .checkpoint import Checkpoint
from .durable import CanSync
from .finisher import Finisher, Job, JobCancelledError
from .log import Missing
from .parts import Naming, Part, PartsFile
from .source import RecordSource, Shelf
from .stalls import Stalls

_RETRY_NS: Final = 500_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SinkContext:
    """What a runner needs to know of its stream.

    Parameters
    ----------
    directory : Path
        The stream's directory under ``.recd``.
    schema : Schema
    info : dict
        For the files' attributes: ``name``, ``metadata``, ``fps``.
    finisher : Finisher
    now_ns : callable
        Monotonic clock.
    replace : bool
        Whether an existing file of the final name is replaced.
    durable : bool
        Whether no checkpoint may tell of what a loss of power could take back.
    rebooted : bool
        Whether power may have failed since the files were written.
    shelf : Shelf
        What the runners that read single records have read lately.
    wake : callable
        From any thread: makes the worker look at once.
    run_directory : Path
        The recording's.
    """

    directory: Path
    schema: Schema
    info: dict[str, Any]
    finisher: Finisher
    now_ns: Callable[[], int]
    replace: bool
    durable: bool = False
    rebooted: bool = False
    shelf: Shelf = field(default_factory=Shelf)
    wake: Callable[[], object] = lambda: None
    run_directory: Path = Path()

    @property
    def log_directory(self) -> Path:
        """Where the stream's log is."""
        return self.directory / "log"


class Runner(ABC):
    """What the worker's loop knows of a sink; called from the loop's thread only.

    Attributes
    ----------
    position : int
        Everything in the log before it was taken.
    state : {"recording", "stalled", "finishing", "finished", "failed"}
    reason : str
        Why it is stalled or failed.
    """

    def __init__(self, context: SinkContext, index: int, options: SinkOptions, final: Path) -> None:
        self.context = context
        self.index = index
        self.options = options
        self.split = options.part_limit
        self.naming = Naming.of(options, final)
        self.parts = PartsFile(context.directory / f"sink{index}.parts")
        self.checkpoint = Checkpoint(context.directory / f"sink{index}.ckpt")
        self.position = 0
        self.state = "recording"
        self.reason = ""
        self.end_position: int | None = None
        #: Is told what the log did not give, before the runner goes on behind it; see :meth:`Journal.miss`.
        self.miss: Callable[[Missing], None] = lambda missing: None
        #: Numbers below this one were taken by the client, as far as is known when the stream ends.
        self.end_seq = 0
        #: Makes the log durable; set by the track.
        self.sync_log: Callable[[], object] = lambda: None
        #: Whether checkpoints are written by :meth:`vouch` (:mod:`recd.syncing`), not by a clock of the runner's own.
        self.in_rounds = False
        self._retry_at_ns = 0
        #: The stream's, set by the track.
        self.stalls = Stalls(context.directory / "stalls.json", context.now_ns)
        self._jobs: dict[int, Job] = {}
        # Handed to the finisher when the loop runs: by then a new name from the files of a worker before
        # is known.
        self._complete = [p for p in self.parts.parts.values() if p.state == "sealing"]

    # --- what the track asks for ---------------------------------------------------------------
    def advance(self, log_end: int) -> bool:
        """Take a slice of what is before ``log_end``; whether anything was done."""
        if self.over or self._waiting():
            return False
        did = self._collect_jobs()
        if self.state in ("failed", "stalled"):
            return did
        try:
            if self._step(log_end):
                did = True
                if self.reason:
                    self.reason = ""
                    self.stalls.end()
        except OSError as e:
            if isinstance(e, RecdError):
                self._fail(e)
            else:
                self._stall(e)
                self._go_back_to_safety()
        except Exception as e:
            self._fail(e)
        return did

    @property
    @abstractmethod
    def needed(self) -> int:
        """Records before this position are in a finished file, or in one that can be cut back behind them."""

    def end(self, position: int, next_seq: int = 0) -> None:
        """The stream ends at ``position``: complete the last part once it is taken.

        ``next_seq`` is behind the last sample that is known to have been logged.
        """
        self.end_position, self.end_seq = position, next_seq

    @abstractmethod
    def save(self) -> None:
        """Checkpoint."""

    def save_now(self) -> None:
        """Checkpoint between two slices; after an error, what was done since the last one is done again."""
        try:
            self.save()
        except OSError:
            self._go_back_to_safety()
            raise

    @abstractmethod
    def sync(self) -> None:
        """Checkpoint, and make file and checkpoint durable."""

    def mark(self) -> Sequence[CanSync]:
        """Note how far the runner has come; returns what must be synced before that can be vouched for."""
        return []

    def vouch(self) -> None:  # noqa: B027  - a video's index and file are its checkpoint
        """What was noted is durable: a checkpoint may tell of it."""

    def doubt(self) -> None:  # noqa: B027  - the same
        """It is not: a sync failed. :meth:`sync` follows."""

    @property
    def own_files(self) -> Sequence[CanSync]:
        """What a successor begins with."""
        return [self.parts.syncer, self.checkpoint]

    @abstractmethod
    def stop(self) -> None:
        """Checkpoint and let go of everything; a later worker goes on."""

    def may_drop(self, begin: int, end: int) -> bool:
        """Whether this stretch of the log can be given up now, to make room (:mod:`recd.dropping`)."""
        return True

    def drop(self, begin: int, end: int) -> None:  # noqa: B027  - who reads on meets the loss by itself
        """It is given up, though still there; doing this again changes nothing.

        Raises
        ------
        OSError
            That could not be written down.
        """

    def has(self, position: int) -> bool:
        """Whether what stands before this position has been taken, for whoever waits for that."""
        return self.over or self.position >= position

    def shows(self, position: int) -> bool:
        """Whether it can be read in a file that grows, or ``flush`` does not wait for that."""
        return self.has(position)

    def waits_for(self) -> int:
        """Descriptor that must become writable before there is more to do; -1 if there is none."""
        return -1

    def retime(self, fps: float) -> None:  # noqa: B027  - only a video has a rate
        """Finish a video at another frame rate, without encoding it again."""

    @property
    def progress(self) -> int:
        """Grows while anything gets on."""
        return self.position + sum(job.progress for job in list(self._jobs.values()))

    def rename(self, filename: Path) -> None:
        """Give the parts that are not finished yet another name, which they bear once they are."""
        self.naming = self.naming.renamed(filename)

    @property
    def samples(self) -> int:
        """Samples taken so far, of all parts."""
        return sum(p.samples for p in self.parts.parts.values())

    @property
    def label(self) -> str:
        """What it is called, for people."""
        return self.naming.final.name

    @property
    def standing(self) -> tuple[str, str]:
        """State and reason, as they are told."""
        return self.state, self.reason

    @property
    def word(self) -> str:
        """For the client's ``stats``, where there is little room: what is wrong with this file alone."""
        return f"{self.label:.30} failed, see: recd status" if self.state == "failed" else ""

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, for better or worse."""
        return self.state in ("finished", "failed")

    def files(self) -> list[dict[str, Any]]:
        """The finished files, for the manifest."""
        return [
            {
                "path": p.path,
                "kind": self.options.kind,
                "part": p.number,
                "samples": p.samples,
                "first_seq": p.first_seq,
                "next_seq": p.next_seq,
                "bytes": p.bytes,
                "sha256": p.sha256,
                **p.details,
            }
            for p in sorted(self.parts.parts.values(), key=lambda p: p.number)
            if p.state == "done" and p.path  # a null sink has parts, but no files
        ]

    def status(self) -> dict[str, Any]:
        """For ``recd status``."""
        return {
            "kind": self.options.kind,
            "path": str(self.naming.final),
            "state": self.standing[0],
            "reason": self.standing[1],
            "samples": self.samples,
        }

    # --- what kinds of runners differ in -----------------------------------------------------------
    @abstractmethod
    def _step(self, log_end: int) -> bool:
        """The slice of :meth:`advance`; an ``OSError`` means that it is to be tried again."""

    def _go_back_to_safety(self) -> None:  # noqa: B027  - only what was half written must be undone
        """After such an error: what was done since the last safe state is done again."""

    @abstractmethod
    def _finish_part(self, part: Part, job: Job) -> None:
        """Build (if need be) and seal a complete part; runs in the finisher's thread."""

    # --- complete parts ----------------------------------------------------------------------------
    @property
    def _finishing(self) -> bool:
        """Whether there are complete parts that are not finished files yet."""
        return bool(self._jobs or self._complete)

    def _collect_jobs(self) -> bool:
        """Give complete parts to the finisher, and look at what it has done."""
        for part in self._complete:
            self._jobs[part.number] = self.context.finisher.submit(partial(self._finish_part, part))
        self._complete.clear()
        done = [n for n, job in self._jobs.items() if job.done.is_set()]
        for number in done:
            error = self._jobs.pop(number).error
            if isinstance(error, JobCancelledError):
                self._complete.append(self.parts.parts[number])
            elif isinstance(error, OSError) and not isinstance(error, RecdError):
                self._complete.append(self.parts.parts[number])
                self._stall(error)
            elif error is not None:
                self._fail(error)
        return bool(done)

    # --- trouble -------------------------------------------------------------------------------
    def _stall(self, error: OSError) -> None:
        """Note why nothing can be stored now; it is tried again by itself."""
        reason = f"{error.strerror or error}: {error.filename or self.naming.final}"
        if self.stalls.begin(reason):
            log.warning("%s: stalled: %s", self.naming.final, reason)
        self.state, self.reason = "stalled", reason
        self._retry_at_ns = self.context.now_ns() + _RETRY_NS

    def _fail(self, error: BaseException) -> None:
        """Give this sink up; the log keeps everything."""
        self.state = "failed"
        self.reason = error.what if isinstance(error, RecdError) else f"{type(error).__name__}: {error}"
        log.error("%s: failed: %s", self.naming.final, self.reason, exc_info=error)

    def _waiting(self) -> bool:
        """Whether a stalled runner should not try again yet."""
        if self.state != "stalled":
            return False
        if self.context.now_ns() < self._retry_at_ns:
            return True
        self.state = "recording"
        return False


class FrameRunner(Runner):
    """A runner that takes its records straight from the ring, while they are there."""

    source: RecordSource
    #: Is told what happens on the timeline, before the runner goes on behind it; nobody else sees it.
    note: Callable[[Event], None]

    @property
    @abstractmethod
    def safe(self) -> int:
        """Every frame before this position decodes from the file."""

    @abstractmethod
    def release(self, position: int) -> None:
        """Keep no view of a record before this position."""

    @abstractmethod
    def tally(self, resets: Sequence[int]) -> dict[str, Any]:
        """Totals as in :class:`~recd.journal.Tally`, which nobody else counts."""

    @abstractmethod
    def missing(self) -> list[Missing]:
        """Numbers before the newest frame that no frame has; most were lost before they came."""
