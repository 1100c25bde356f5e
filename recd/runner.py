"""Runs one sink: reads the log at its own pace, cuts it into parts, checkpoints, seals finished files.

A runner is advanced from the worker's loop in slices of about a millisecond, so that draining the
rings never waits for it. What takes long goes to the finisher thread.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recd_client.errors import RecdError
from recd_client.options import SinkOptions
from recd_client.schema import Schema

from .batch import DISCARD, RESET, Batch, Event
from .checkpoint import Checkpoint
from .chunks import HAS_CONTROL, Chunk
from .finisher import Finisher, Job, JobCancelledError
from .log import LogReader, LogSource
from .parts import Naming, Part, PartsFile, seal
from .sinks.base import AppendSink, BuildSink

_SLICE_BYTES: Final = 128 << 10
_CHECKPOINT_NS: Final = 250_000_000
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
    """

    directory: Path
    schema: Schema
    info: dict[str, Any]
    finisher: Finisher
    now_ns: Callable[[], int]
    replace: bool

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
        self._retry_at_ns = 0

    # --- what the track asks for ---------------------------------------------------------------
    @abstractmethod
    def advance(self, log_end: int) -> bool:
        """Take a slice of the log; whether anything was done."""

    @property
    @abstractmethod
    def needed(self) -> int:
        """Records before this position are in a finished file, or in one that can be cut back behind them."""

    def end(self, position: int) -> None:
        """The stream ends at ``position``: complete the last part once it is taken."""
        self.end_position = position

    @abstractmethod
    def save(self) -> None:
        """Checkpoint."""

    @abstractmethod
    def sync(self) -> None:
        """Checkpoint, and make file and checkpoint durable."""

    @abstractmethod
    def stop(self) -> None:
        """Checkpoint and let go of everything; a later worker goes on."""

    def waits_for(self) -> int:
        """Descriptor that must become writable before there is more to do; -1 if there is none."""
        return -1

    def retime(self, fps: float) -> None:  # noqa: B027  - only a video has a rate
        """Finish a video at another frame rate, without encoding it again."""

    @property
    @abstractmethod
    def progress(self) -> int:
        """Grows while anything gets on."""

    def rename(self, filename: Path) -> None:
        """Give the parts that are not finished yet another name, which they bear once they are."""
        self.naming = self.naming.renamed(filename)

    @property
    def samples(self) -> int:
        """Samples taken so far, of all parts."""
        return sum(p.samples for p in self.parts.parts.values())

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
            "state": self.state,
            "reason": self.reason,
            "samples": self.samples,
        }

    # --- trouble -------------------------------------------------------------------------------
    def _stall(self, error: OSError) -> None:
        """Note why nothing can be stored now; it is tried again by itself."""
        reason = f"{error.strerror or error}: {error.filename or self.naming.final}"
        if self.state != "stalled" or self.reason != reason:
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
        self.state, self.reason = "recording", ""
        return False


class LogRunner(Runner):
    """Runs a sink that takes samples from the log: CSV, NPZ, HDF5, null."""

    def __init__(
        self,
        context: SinkContext,
        index: int,
        options: SinkOptions,
        final: Path,
        sink: AppendSink | BuildSink,
    ) -> None:
        super().__init__(context, index, options, final)
        self.sink = sink
        self._reader: LogReader | None = None
        self._chunk: Chunk | None = None
        self._jobs: dict[int, Job] = {}
        self._opened = False
        self._saved_at_ns = 0
        self._sink_state: dict[str, Any] | None = None
        self._resume()

    def _resume(self) -> None:
        """Take up where the newest checkpoint or the newest part ends, whichever is later."""
        self._rewind()
        for part in self.parts.parts.values():
            if part.state == "sealing":
                self._submit(part)

    def _rewind(self) -> None:
        """Go back to the last safe state: of the file, of the counts, of the position."""
        known = self.parts.parts
        state = self.checkpoint.load()
        newest = known[max(known)] if known else None
        if state and (newest is None or newest.number <= state["part"]["number"]):
            self.part = Part(**state["part"])
            self.position = state["position"]
            self._sink_state = state["sink"]
            if newest is not None and newest.number == self.part.number and newest.state != "open":
                self._begin_part(newest.number + 1, newest.end)
        elif newest is not None and newest.state != "open":
            self._begin_part(newest.number + 1, newest.end)
        else:
            self._begin_part(0, 0)
        self._safe = self.position
        if self._reader is not None:
            self._reader.close()
        self._reader = self._chunk = None
        self._opened = False

    def _begin_part(self, number: int, position: int) -> None:
        self.part = Part(number, position)
        self.position = position
        self._sink_state = None
        self._opened = False

    @property
    def needed(self) -> int:
        """See :class:`Runner`."""
        open_parts = [p.begin for p in self.parts.parts.values() if p.state == "sealing"]
        if isinstance(self.sink, AppendSink):
            return self._safe
        return min([self.part.begin, *open_parts])

    @property
    def samples(self) -> int:
        """See :class:`Runner`."""
        return super().samples + self.part.samples

    # --- the loop's slice ------------------------------------------------------------------------
    def advance(self, log_end: int) -> bool:
        """See :class:`Runner`."""
        if self.over or self._waiting():
            return False
        did = self._collect_jobs()
        if self.over:
            return did
        try:
            if self.position < log_end:
                self._take_slice(log_end)
                did = True
            elif self.position >= (self.end_position if self.end_position is not None else log_end + 1):
                did = self._end() or did
        except OSError as e:
            if isinstance(e, RecdError):
                self._fail(e)
            else:
                self._stall(e)
                self._rewind()
        except Exception as e:
            self._fail(e)
        return did

    def _take_slice(self, log_end: int) -> None:
        if self._reader is None:
            self._reader = LogReader(self.context.log_directory, self.position)
        chunk = self._chunk = self._chunk or self._reader.next()
        if chunk is None:  # nothing between here and the end: deleted by drop_oldest, or skipped frames
            self.position = log_end
            return
        info = chunk.info
        self.position = max(self.position, info.begin)
        if isinstance(self.sink, BuildSink) and self._fits_whole(chunk):
            self._count(info.samples, info.body_bytes, info.mono_first_ns)
            self.position = info.end
        else:
            for item in chunk.items(self.context.schema, self.position, limit_bytes=_SLICE_BYTES):
                if isinstance(item.what, Batch):
                    self._take_batch(chunk, item.what, item.begin, item.behind)
                else:
                    self._event(item.what, item.behind)
                self.position = item.behind
        if self.position >= info.end:
            self._chunk = None
            self._split_by_size(info.mono_last_ns)
        now = self.context.now_ns()
        if now - self._saved_at_ns > _CHECKPOINT_NS:
            self.save()

    @property
    def _samples_limit(self) -> int | None:
        split = self.split
        return int(split.amount) if split is not None and split.unit == "samples" else None

    def _fits_whole(self, chunk: Chunk) -> bool:
        """Whether a chunk can be counted by its header alone."""
        limit = self._samples_limit
        inside = self.position <= chunk.info.begin
        return (
            inside
            and not chunk.info.flags & HAS_CONTROL
            and (limit is None or self.part.samples + chunk.info.samples < limit)
        )

    def _count(self, samples: int, size_bytes: int, mono_ns: int) -> None:
        if self.part.samples == 0:
            self.part.mono_first_ns = mono_ns
        self.part.samples += samples
        self.part.bytes_logged += size_bytes

    def _take_batch(self, chunk: Chunk, batch: Batch, begin: int, behind: int) -> None:
        limit = self._samples_limit
        if limit is None or self.part.samples + len(batch) < limit:
            self._write(batch, behind - begin)
            return
        room, stride = limit - self.part.samples, self.context.schema.stride_bytes
        if len(batch) == room:
            self._write(batch, behind - begin)
            self._roll(behind)
        elif stride:
            cut = begin + room * stride
            self._write(batch[:room], cut - begin)
            self._roll(cut)
            self._take_batch(chunk, batch[room:], cut, behind)
        else:  # samples of varying size: one by one, as only the log knows where each begins
            while begin < behind:
                for item in chunk.items(self.context.schema, begin, behind, limit_bytes=1):
                    if isinstance(item.what, Batch):
                        self._write(item.what, item.behind - begin)
                    begin = item.behind
                if self.part.samples == limit:
                    self._roll(begin)

    def _write(self, batch: Batch, size_bytes: int) -> None:
        if isinstance(self.sink, AppendSink):
            self._open_sink()
            self.sink.write(batch)
        self._count(len(batch), size_bytes, int(batch.mono_ns[0]))

    def _open_sink(self) -> None:
        if not self._opened and isinstance(self.sink, AppendSink):
            self.sink.open(self.naming.part_path(self.part.number), self._sink_state)
            self._opened = True

    def _event(self, event: Event, behind: int) -> None:
        label = event.data.get("label")
        if label == RESET and self.options.new_part_on_reset and event.data["fields"].get("envs_idx") is None:
            if self.part.samples:
                self._roll(behind)
        elif label == DISCARD:
            self._discard(behind)

    def _discard(self, behind: int) -> None:
        """Drop the running part; the next one takes its number."""
        if isinstance(self.sink, AppendSink) and self._opened:
            self.sink.abandon()
            self.naming.part_path(self.part.number).unlink(missing_ok=True)
        self._begin_part(self.part.number, behind)
        self.save()

    def _split_by_size(self, mono_last_ns: int) -> None:
        split, part = self.split, self.part
        if split is None or not part.samples:
            return
        lasted_s = (mono_last_ns - part.mono_first_ns) / 1e9
        if split.unit == "seconds" and lasted_s >= split.amount:
            self._roll(self.position)
        elif split.unit == "bytes" and part.bytes_logged >= split.amount:
            self._roll(self.position)

    # --- parts -----------------------------------------------------------------------------------
    def _roll(self, position: int) -> None:
        """End the running part at ``position``, hand it to the finisher, begin the next."""
        part = self.part
        if isinstance(self.sink, AppendSink):
            self._open_sink()
            self.sink.finish()
            self._opened = False
        part.end, part.state = position, "sealing"
        self.parts.put(part)
        self._begin_part(part.number + 1, position)
        self.save()
        self._submit(part)

    def _submit(self, part: Part) -> None:
        self._jobs[part.number] = self.context.finisher.submit(lambda job: self._finish_part(part, job))

    def _finish_part(self, part: Part, job: Job) -> None:
        """Build (if need be) and seal a part; runs in the finisher's thread."""
        path = self.naming.part_path(part.number)
        final = self.naming.final_path(part.number)
        if not self.sink.suffixes:  # nothing was written
            part.state = "done"
            self.parts.put(part)
            return
        if isinstance(self.sink, BuildSink) and not part.sha256:
            source = LogSource(
                self.context.log_directory, self.context.schema, part.begin, part.end, part.samples
            )
            self.sink.build(source, path, job.advance)
        seal(part, path, final, self.parts, replace=self.context.replace, job=job)

    def _collect_jobs(self) -> bool:
        """Look at what the finisher has done."""
        done = [n for n, job in self._jobs.items() if job.done.is_set()]
        for number in done:
            error = self._jobs.pop(number).error
            if error is None or isinstance(error, JobCancelledError):
                continue
            if isinstance(error, OSError) and not isinstance(error, RecdError):
                self._stall(error)
                self._submit(self.parts.parts[number])
            else:
                self._fail(error)
        return bool(done)

    def _end(self) -> bool:
        """Complete the last part, then wait for the finisher."""
        if self.state == "recording":
            self.state = "finishing"
            if self.part.samples or self.part.number == 0:
                self._roll(self.position)
                return True
        if not self._jobs:
            self.state = "finished"
            return True
        return False

    @property
    def progress(self) -> int:
        """Grows while anything gets on."""
        return self.position + sum(job.progress for job in list(self._jobs.values()))

    def save(self) -> None:
        """See :class:`Runner`."""
        state = None
        if isinstance(self.sink, AppendSink):
            state = self.sink.state() if self._opened else self._sink_state
        part = {k: v for k, v in vars(self.part).items() if k != "details"}
        self.checkpoint.save({"position": self.position, "part": part, "sink": state})
        self._sink_state = state
        self._safe = self.position
        self._saved_at_ns = self.context.now_ns()

    def sync(self) -> None:
        """See :class:`Runner`."""
        if self.over:
            return
        self.save()
        if isinstance(self.sink, AppendSink) and self._opened:
            self.sink.sync()
        self.checkpoint.sync()

    def stop(self) -> None:
        """See :class:`Runner`."""
        if not self.over:
            self.save()
        if isinstance(self.sink, AppendSink) and self._opened:
            self.sink.abandon()
            self._opened = False
        if self._reader is not None:
            self._reader.close()
        self.checkpoint.close()
