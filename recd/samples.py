"""Runs a sink that takes samples from the log: CSV, NPZ, HDF5, null."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client.errors import LogDamagedError, OutputError
from recd_client.options import SinkOptions

from .batch import DISCARD, RESET, Batch, Event
from .chunks import HAS_CONTROL, Chunk, Item
from .dropping import count_samples
from .durable import CanSync, Syncer, sync_directory
from .finisher import Job
from .log import LogReader, LogSource, Missing, segments
from .parts import Part, seal
from .runner import Runner, SinkContext
from .sinks.base import AppendSink, BuildSink
from .sinks.settling import Digest

_SLICE_BYTES: Final = 128 << 10
_CHECKPOINT_NS: Final = 250_000_000

log = logging.getLogger(__name__)


class LogRunner(Runner):
    """Reads a log into one sink.

    Parameters
    ----------
    context, index, options, final
        See :class:`~recd.runner.Runner`.
    sink : AppendSink or BuildSink
    """

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
        self._astray = True  # whether the chunk before may have been damaged, and its LOSS records
        self._chunk: Chunk | None = None
        self._opened = False
        self._saved_at_ns = 0
        self._sink_state: dict[str, Any] | None = None
        self._noted: dict[str, Any] | None = None  # a checkpoint that waits for a sync
        self._file = Syncer(self.naming.part_path(0))  # the open one
        if context.rebooted:
            self._distrust_parts()
        self._go_back_to_safety()
        if (
            context.durable
        ):  # what the worker before saved last may not be on the disk, and is what counts from now on
            with suppress(OSError):
                self.checkpoint.sync()
        if context.rebooted:
            self._distrust_file()

    def _go_back_to_safety(self) -> None:
        """Take up where the newest checkpoint or the newest part ends, whichever is later."""
        known = self.parts.parts
        state = self.checkpoint.load()
        newest = max(known, default=-1)
        if state and state["part"]["number"] == newest + 1:
            self.part = Part(**state["part"])
            self.position, self._sink_state = state["position"], state["sink"]
            self._next_seq = state["next_seq"]
            self._opened = False
        elif known:  # the newest part was completed since, or its completion was lost with the power
            self._begin_part(newest + 1, known[newest].end, known[newest].next_seq)
        else:
            self._begin_part(0, 0, 0)
        self._safe = self.position
        self._noted = None
        self._astray = True
        self._stop_reading()

    def _distrust_parts(self) -> None:
        """Forget parts whose file a loss of power has taken, and those behind them: they are done again."""
        known = self.parts.parts
        for number in range(max(known, default=-1) + 1):
            part = known.get(number)
            gone = part is not None and part.state == "sealing" and not part.path and not self._has_file(part)
            if part is None or gone:
                for later in [n for n in known if n >= number]:
                    del known[later]
                self._complete = [p for p in self._complete if p.number < number]

    def _has_file(self, part: Part) -> bool:
        """Whether the file of a complete part is there, or is still to be built."""
        return isinstance(self.sink, BuildSink) or not self.sink.suffixes or self._path_of(part).exists()

    def _distrust_file(self) -> None:
        """After a loss of power, a file that has not what was written is begun again, from the log."""
        if not isinstance(self.sink, AppendSink) or self._sink_state is None:
            return
        path = self._path_of(self.part)
        if not self.sink.has(path, self._sink_state):
            log.warning("%s lost with the power what was written; writing it again", path)
            self._begin_part(self.part.number, self.part.begin, self.part.first_seq)
            self._safe = self.position
            begins = segments(self.context.log_directory)
            if begins and begins[0] > self.part.begin:
                self._fail(
                    OutputError(f"{path} lost with the power what was deleted from the log", "see: recd info")
                )

    def _path_of(self, part: Part) -> Path:
        return self.naming.part_path(part.number)

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._chunk = None

    def _begin_part(self, number: int, position: int, next_seq: int) -> None:
        self.part = Part(number, position, first_seq=next_seq)
        self.position = position
        self._next_seq = next_seq
        self._sink_state = self._noted = None
        self._opened = False

    @property
    def needed(self) -> int:
        """See :class:`Runner`."""
        if isinstance(self.sink, AppendSink):
            return self._safe
        return min([self.part.begin, *(p.begin for p in self.parts.parts.values() if p.state == "sealing")])

    def may_drop(self, begin: int, end: int) -> bool:
        """See :class:`Runner`; a file that is built from the log gives up its beginning, and nothing else."""
        if isinstance(self.sink, AppendSink) or end <= self.needed:
            return True
        return begin <= self.part.begin == self.needed and end <= self.position

    def drop(self, begin: int, end: int) -> None:
        """See :class:`Runner`."""
        self._stop_reading()
        part = self.part
        if isinstance(self.sink, BuildSink) and part.begin < end <= self.position:
            count, size_bytes = count_samples(
                self.context.log_directory, self.context.schema, part.begin, end
            )
            part.begin, part.samples = end, part.samples - count
            part.bytes_logged -= size_bytes
            self.save()

    @property
    def samples(self) -> int:
        """See :class:`Runner`."""
        return super().samples + self.part.samples

    # --- the loop's slice ------------------------------------------------------------------------
    def _step(self, log_end: int) -> bool:
        if self.position < log_end:
            self._take_slice(log_end)
            return True
        if self.end_position is not None and self.position >= self.end_position:
            return self._end()
        return self._save_if_due()

    def _take_slice(self, log_end: int) -> None:
        if self._reader is None:
            self._reader = LogReader(self.context.log_directory, self.position)
        chunk = self._chunk = self._chunk or self._reader.next()
        if chunk is None:  # padding at the end
            self.position = log_end
            return
        info = chunk.info
        if self.position < info.begin or (self._astray and self.position == info.begin):
            self._miss(info.begin, info.first_seq, damaged=self._reader.damaged)
        self._astray = False
        if info.is_loss and self.position > info.begin:  # some of it was taken before it was given up
            self.position, self._next_seq = info.end, info.next_seq
        elif isinstance(self.sink, BuildSink) and self._fits_whole(chunk):
            self._count(info.samples, info.body_bytes, info.mono_first_ns)
            self._next_seq = max(self._next_seq, info.next_seq)
            self.position = info.end
        elif not chunk.is_whole():
            self._miss(info.end, info.next_seq, damaged=True)
            self._astray = True
        else:
            self._take_items(chunk)
        if self.position >= info.end:
            self._chunk = None
            self._split_by_size(info.mono_last_ns)
        self._save_if_due()

    def _miss(self, position: int, next_seq: int, *, damaged: bool) -> None:
        """Go on at ``position``, behind what the log does not give."""
        if damaged or next_seq > self._next_seq:
            self.miss(Missing(self.position, position, self._next_seq, next_seq, damaged))
        self.position, self._next_seq = position, max(self._next_seq, next_seq)

    def _take_items(self, chunk: Chunk) -> None:
        """Samples and events, up to the slice's size or the end of a part."""
        part = self.part
        for item in chunk.items(self.context.schema, self.position, limit_bytes=_SLICE_BYTES):
            if isinstance(item.what, Batch):
                self._take_batch(chunk, item, item.what)
            else:
                self.position = item.behind
                self._event(item.what, item.behind)
            if self.part is not part:
                return  # what follows is read again, from where the new part begins

    def _fits_whole(self, chunk: Chunk) -> bool:
        """Whether a chunk can be counted by its header alone."""
        info, room = chunk.info, self._room
        whole = self.position <= info.begin and not info.flags & HAS_CONTROL
        return whole and (room is None or info.samples < room)

    @property
    def _room(self) -> int | None:
        """How many samples the running part still takes; None if they are not limited."""
        split = self.split
        return (
            int(split.amount) - self.part.samples if split is not None and split.unit == "samples" else None
        )

    def _take_batch(self, chunk: Chunk, item: Item, batch: Batch) -> None:
        """As many samples as the part takes."""
        room, behind = self._room, item.behind
        if room is not None and room < len(batch):
            batch, behind = batch[:room], chunk.behind(item.begin, room)
        if isinstance(self.sink, AppendSink):
            self._open_sink(self.sink)
            self.sink.write(batch)
        self._count(len(batch), behind - item.begin, int(batch.mono_ns[0]))
        self.position, self._next_seq = behind, int(batch.seq[-1]) + 1
        if self._room == 0:
            self._roll()

    def _count(self, samples: int, size_bytes: int, mono_ns: int) -> None:
        if self.part.samples == 0:
            self.part.mono_first_ns = mono_ns
        self.part.samples += samples
        self.part.bytes_logged += size_bytes

    def _open_sink(self, sink: AppendSink) -> None:
        if not self._opened:
            path = self._path_of(self.part)
            if self._file.path != path:
                self._file = Syncer(path)
            if self._file.distrusted:
                sink.renew(path, self._sink_state)
                self._file.distrusted = False
            sink.open(path, self._sink_state)
            self._opened = True
            if self.context.durable and sink.suffixes and self._sink_state is None:
                sync_directory(path.parent)

    def _event(self, event: Event, behind: int) -> None:
        label = event.data.get("label")
        if self._rolls_at(event):
            if self.part.samples:
                self._roll()
        elif label == DISCARD:
            self._discard(behind)

    def _rolls_at(self, event: Event) -> bool:
        """Whether a part ends here, if it has begun."""
        whole = event.data.get("label") == RESET and event.data["fields"].get("envs_idx") is None
        return whole and self.options.new_part_on_reset

    def _discard(self, behind: int) -> None:
        """Drop the running part; the next one takes its number."""
        if isinstance(self.sink, AppendSink) and self._opened:
            self.sink.abandon()
        self._begin_part(self.part.number, behind, self._next_seq)
        self.save()
        if self.sink.suffixes:
            with suppress(FileNotFoundError):  # not removed: it holds the name's place
                os.truncate(self.naming.part_path(self.part.number), 0)

    def _split_by_size(self, mono_last_ns: int) -> None:
        split, part = self.split, self.part
        if split is None or not part.samples:
            return
        lasted_s = (mono_last_ns - part.mono_first_ns) / 1e9
        if (split.unit == "seconds" and lasted_s >= split.amount) or (
            split.unit == "bytes" and part.bytes_logged >= split.amount
        ):
            self._roll()

    def retime(self, fps: float) -> None:
        """See :class:`Runner`."""
        self.sink.retime(fps)

    # --- parts -----------------------------------------------------------------------------------
    def _roll(self) -> None:
        """End the running part here, and begin the next."""
        part = self.part
        if self.context.durable:
            self.sync_log()
        if isinstance(self.sink, AppendSink):
            self._open_sink(self.sink)
            self._make_durable(self.sink.finish)
            self._opened = False
            # A sync of it may be under way, whose failure whoever seals it must not miss.
            self.parts.syncers[self.part.number] = self._file
        part.end, part.next_seq, part.state = self.position, self._next_seq, "sealing"
        self.parts.put(part)
        self._complete.append(part)
        self._begin_part(part.number + 1, part.end, part.next_seq)
        self.save()

    def _finish_part(self, part: Part, job: Job) -> None:
        path = self.naming.part_path(part.number)
        final = self.naming.final_path(part.number)
        if not self.sink.suffixes:  # nothing was written
            part.state = "done"
            self.parts.put(part)
            return
        digest = None
        if isinstance(self.sink, BuildSink) and not part.sha256:
            digest = self._build(self.sink, part, path, job)
        seal(part, path, final, self.parts, replace=self.context.replace, job=job, digest=digest)

    def _build(self, sink: BuildSink, part: Part, path: Path, job: Job) -> Digest:
        """Build the file; if the log has fewer samples than were counted, of those that it has."""
        source = LogSource(
            self.context.log_directory, self.context.schema, part.begin, part.end, part.samples
        )
        try:
            return sink.build(source, path, job.advance)
        except LogDamagedError:
            missing = source.prove(part.first_seq, part.next_seq)
            if source.count == part.samples:
                raise
            for stretch in missing:
                self.miss(stretch)
            part.samples = source.count
            return sink.build(source, path, job.advance)

    def _end(self) -> bool:
        """Complete the last part, then wait for the finisher."""
        if self._next_seq < self.end_seq:
            self._miss(self.position, self.end_seq, damaged=False)
        if self.part.samples or not self.parts.parts:  # a stream without samples has a file without rows
            self._roll()
            self.state = "finishing"
            return True
        if self._finishing:
            return False
        if self.sink.suffixes:  # what was discarded last has left the place that it took
            self.naming.part_path(self.part.number).unlink(missing_ok=True)
        self.state = "finished"
        return True

    # --- checkpoints -----------------------------------------------------------------------------
    def _save_if_due(self) -> bool:
        now = self.context.now_ns()
        if self.in_rounds or self._safe == self.position or now - self._saved_at_ns <= _CHECKPOINT_NS:
            return False
        self.save()
        return True

    def save(self) -> None:
        """See :class:`Runner`."""
        state = self._sink_state
        if self.context.durable:
            self.sync_log()
        if isinstance(self.sink, AppendSink) and self._opened:
            if self.context.durable:
                self._make_durable(self.sink.sync)
            state = self.sink.state()
        self._keep(self._state(state))

    def _state(self, sink: dict[str, Any] | None) -> dict[str, Any]:
        """A checkpoint that tells of everything up to here."""
        part = {k: v for k, v in vars(self.part).items() if k != "details"}
        return {"position": self.position, "next_seq": self._next_seq, "part": part, "sink": sink}

    def _keep(self, state: dict[str, Any]) -> None:
        """From now on this is where a successor begins, or this runner after an error."""
        self.checkpoint.save(state)
        self._sink_state, self._safe = state["sink"], state["position"]
        self._saved_at_ns = self.context.now_ns()
        self._noted = None

    def mark(self) -> Sequence[CanSync]:
        """See :class:`Runner`."""
        if self.over or self._safe == self.position:
            return []
        if not isinstance(self.sink, AppendSink) or not self._opened:
            self._noted = self._state(self._sink_state)
            return []
        self._noted = self._state(self.sink.state())
        return [self._file] if self.sink.suffixes else []

    def vouch(self) -> None:
        """See :class:`Runner`."""
        if self._noted is None:  # it has gone on in another file since, or back
            return
        try:
            self._keep(self._noted)
        except OSError as e:
            self._stall(e)
            self._go_back_to_safety()

    def doubt(self) -> None:
        """See :class:`Runner`; what it wrote since the last checkpoint is written again, to another file."""
        if self._file.distrusted and not self.over:
            log.warning("%s could not be synced; what is there is copied to a new file", self._file.path)
            self._go_back_to_safety()

    def sync(self) -> None:
        """See :class:`Runner`."""
        self.parts.sync()
        if self.over:
            return
        try:
            if isinstance(self.sink, AppendSink):
                if self._sink_state is not None:  # what a worker before wrote may not be on the disk either
                    self._open_sink(self.sink)
                if self._opened:
                    self._make_durable(self.sink.sync)
            self.save()
        except OSError:  # not to go on with a file of which an fsync failed: the next would lie
            self._go_back_to_safety()
            raise
        self.checkpoint.sync()

    def _make_durable(self, sync: Callable[[], object]) -> None:
        try:
            sync()
        except OSError:
            self._file.distrusted = True
            raise

    def stop(self) -> None:
        """See :class:`Runner`."""
        if not self.over:
            with suppress(OSError):  # the disk is full: an older state is as good a place to go on
                self.save()
        if isinstance(self.sink, AppendSink) and self._opened:
            self.sink.abandon()
            self._opened = False
        self._stop_reading()
        self.checkpoint.close()
