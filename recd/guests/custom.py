"""Runs a user's recorder: reads the log and feeds a guest, which never holds the worker up.

What was sent is ahead of what was answered, by a bounded window::

    log   ───────────┬───────────────┬──────────────┬─────────▶
                  needed           taken         position
            (sync() covered it)  (answered)       (sent)

A checkpoint tells of what the recorder's ``sync()`` covered, with the state that this returned. After a death of
guest or worker the next guest goes on from there: samples since come again. An exception ends this sink only;
the log is kept, so that ``recd recover`` can try again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from recd_client.custom_sink import CustomSink
from recd_client.errors import CustomSinkError

from ..batch import DISCARD, Batch, Event
from ..chunks import Chunk, Item
from ..durable import CanSync, sync_file
from ..finisher import Job
from ..parts import Part
from ..runner import SinkContext
from ..samples import LogRunner
from ..sinks.base import AppendSink
from . import admission
from .channel import Channel
from .host import Guest, GuestDiedError, GuestFailedError
from .wire import encode_batch

_PROGRAM: Final = "recd.guests.recorder:RecorderHost"
_WINDOW_BYTES: Final = 2 << 20
_WINDOW_REQUESTS: Final = 64
#: A guest that dies so often without getting on is given up.
_MAX_DEATHS: Final = 3
#: Of a SIGKILL, which says nothing about it.
_MAX_KILLS: Final = 10
#: A worker that stops waits no longer than this for a last sync.
_STOP_S: Final = 2.0
#: What is not answered for so long is said to hang.
_QUIET_S: Final = 5.0
#: The loop's turns are not further apart, unless it was stopped.
_STEP_S: Final = 1.0
_NICE: Final = 5

log = logging.getLogger(__name__)


class GuestSink(AppendSink):
    """What the runner writes to: requests in a channel."""

    options: CustomSink
    channel: Channel

    def __init__(self, context: SinkContext, options: CustomSink, taken: Callable[[Any], object]) -> None:
        super().__init__(options, context.schema, context.info)
        # Of this object: whether there is a file that recd knows of is the user's choice.
        self.suffixes = options.suffixes  # type: ignore[misc]
        self._taken = taken

    def open(self, path: Path, state: dict[str, Any] | None) -> None:
        """See :class:`AppendSink`."""
        self.channel.put("open", filename=str(path) if self.suffixes else None, **(state or {}))

    def write(self, batch: Batch) -> None:
        """See :class:`AppendSink`; the samples are on their way."""
        fields, buffers = encode_batch(batch)
        self.channel.put("write", self._taken, buffers, **fields)

    def has(self, path: Path, state: dict[str, Any]) -> bool:
        """See :class:`AppendSink`; what survives a loss of power is the recorder's to know."""
        return True

    def state(self) -> dict[str, Any]:
        """See :class:`AppendSink`; only the guest knows, and is asked by the runner."""
        raise NotImplementedError

    sync = finish = state  # type: ignore[assignment]


class CustomRunner(LogRunner):
    """Feeds one guest from the log.

    Parameters
    ----------
    context, index, options, final
        See :class:`~recd.runner.Runner`.
    allowed : bool
        Whether the recorder allows code to travel.
    """

    sink: GuestSink
    options: CustomSink

    def __init__(
        self, context: SinkContext, index: int, options: CustomSink, final: Path, *, allowed: bool
    ) -> None:
        self._allowed = allowed
        #: Behind each batch that is sent and not answered.
        self._sent: deque[int] = deque()
        #: What the guest has done and is not written down yet: a sync, or a part that is complete.
        self._done: deque[Callable[[], object]] = deque()
        self._synced: dict[str, Any] | None = None
        self._deaths = 0
        self._died_at = -1
        self._answered = 0
        #: Traceback, or last words, of what it failed of.
        self.trace = ""
        super().__init__(context, index, options, final, GuestSink(context, options, self._on_taken))
        self._connect()

    # --- the guest -------------------------------------------------------------------------------
    def _connect(self) -> None:
        """There is a channel to a new guest, which starts with the first request."""
        self.sink.channel = self._channel = Channel(self._start_guest, self.context.wake)
        self._sent.clear()
        self._done.clear()
        self._synced = None
        self._syncing = self._loaded = self._discarding = False
        #: How long nothing was answered that was asked.
        self._quiet_s = 0.0
        self._looked_ns = self.context.now_ns()

    def _start_guest(self) -> Guest:
        return Guest(_PROGRAM, f"{self.label} of {self.context.info['name']}", nice=_NICE)

    def _load(self) -> None:
        """Tell a new guest what it is.

        Raises
        ------
        RecdError
            It may not be.
        """
        if self._loaded:
            return
        context, options = self.context, self.options
        admission.check(options, session_allows=self._allowed)
        self._channel.put(
            "load",
            **{name: getattr(options, name) for name in ("target", "code")},
            kwargs=dict(options.kwargs),
            search=[*options.search],
            schema=context.schema.to_json(),
            durable=context.durable,
            lock=str(context.directory / f"sink{self.index}.lock"),
            info={
                "directory": str(context.run_directory),
                "stream": context.info["name"],
                "metadata": context.info.get("metadata") or {},
            },
        )
        self._loaded = True

    def _open_sink(self, sink: AppendSink) -> None:
        if not self._opened:
            self._load()
            # No checkpoint tells of anything in this part: what its file holds is what was discarded, or comes again.
            anew = self._safe <= self.part.begin
            state = {"part": self.part.number, "state": (self._sink_state or {}).get("state"), "anew": anew}
            sink.open(self._path_of(self.part), state)
            self._opened = True

    def _on_taken(self, answer: Any) -> None:
        self._sent.popleft()

    def _bereave(self, death: GuestDiedError) -> None:
        """The guest died by itself: another one goes on from the checkpoint, unless that was of no use."""
        self._deaths = self._deaths + 1 if self._safe == self._died_at else 1
        self._died_at = self._safe
        log.warning("%s: %s", self.label, death)
        if self._deaths >= (_MAX_KILLS if death.by_sigkill else _MAX_DEATHS):
            self.trace = death.said
            raise CustomSinkError(f"{death.how}, {self._deaths} times over the same samples")
        self._replace()

    def _replace(self) -> None:
        """Another guest goes on from the checkpoint."""
        self._answered += self._channel.answered
        self._channel.close()
        super()._go_back_to_safety()
        self._connect()

    def _watch(self) -> None:
        """Count how long the guest has been silent; time in which this process did not run either is not counted."""
        now = self.context.now_ns()
        self._quiet_s += min((now - self._looked_ns) / 1e9, _STEP_S)
        self._looked_ns = now

    def end(self, position: int, next_seq: int = 0) -> None:
        """See :class:`Runner`; its patience begins now, however slow the recorder was before."""
        if self.end_position is None:
            self._watch()
            self._quiet_s = 0.0
        super().end(position, next_seq)

    # --- the loop's slice ------------------------------------------------------------------------
    def _step(self, log_end: int) -> bool:
        self._watch()
        try:
            did = self._channel.collect()
        except GuestFailedError as e:
            self._settle_last()
            self.trace = e.trace
            raise CustomSinkError(e.what) from None
        except GuestDiedError as e:
            self._settle_last()
            self._bereave(e)
            return True
        except OSError:  # it could not be started
            self._settle_last()
            self._replace()
            raise
        if did or not self._channel.waiting:
            self._quiet_s = 0.0
        elif self._is_out_of_patience():
            raise CustomSinkError(self._hangs())
        did |= self._settle()
        if self._discarding:
            return did
        if self._channel.waiting_bytes > _WINDOW_BYTES or self._channel.waiting > _WINDOW_REQUESTS:
            return did
        return super()._step(log_end) or did

    def _is_out_of_patience(self) -> bool:
        """Whether nothing came since the end for too long; how a guest leaves is bounded anyway."""
        return (
            self.end_position is not None
            and self._channel.doing != "exit"
            and self._quiet_s >= self.options.patience
        )

    def _settle(self) -> bool:
        """Write down what the guest has done; whether there was anything."""
        did = bool(self._done)
        while self._done:
            self._done[0]()  # an error leaves it there: it is done again
            self._done.popleft()
        return did

    def _settle_last(self) -> None:
        """The same for a guest that is gone: an error of the disk must not hide that. What it had done comes again."""
        with suppress(OSError):
            self._settle()

    def _take_batch(self, chunk: Chunk, item: Item, batch: Batch) -> None:
        super()._take_batch(chunk, item, batch)
        self._sent.append(self.position)

    def _event(self, event: Event, behind: int) -> None:
        super()._event(event, behind)
        label = event.data.get("label")
        if (
            event.kind == "mark"
            and label != DISCARD
            and not (self._rolls_at(event) and not self.part.samples)
        ):
            self._open_sink(self.sink)
            fields = event.data["fields"]
            self._channel.put("mark", label=label, t=event.t, step=event.step, fields=fields)

    def _go_back_to_safety(self) -> None:
        """After an error of the disk: of what was sent nothing has to be undone."""
        if not hasattr(self, "part"):
            super()._go_back_to_safety()
        self._stop_reading()

    # --- parts -----------------------------------------------------------------------------------
    def _roll(self) -> None:
        """End the running part here; it is complete once its recorder has closed it."""
        part = self.part
        self._open_sink(self.sink)
        part.end, part.next_seq, part.state = self.position, self._next_seq, "sealing"
        self._channel.put("close", lambda answer: self._done.append(partial(self._complete_part, part)))
        self._begin_part(part.number + 1, part.end, part.next_seq)

    def _complete_part(self, part: Part) -> None:
        if self.context.durable:
            self.sync_log()
        self.parts.put(part)
        self._complete.append(part)
        self._safe = max(self._safe, part.end)

    def _finish_part(self, part: Part, job: Job) -> None:
        path = self.naming.part_path(part.number)
        if self.sink.suffixes and not part.path and not path.exists():
            raise CustomSinkError(
                f"when it had closed, its file {path} was not there", "it should write there"
            )
        super()._finish_part(part, job)

    def _discard(self, behind: int) -> None:
        if self._opened or self.part.samples:
            self._load()
            self._channel.put("discard", lambda answer: self._done.append(self._keep_discarded))
            # What follows may empty the file, so it is sent only when a successor would not need that any more.
            self._discarding = True
        self._begin_part(self.part.number, behind, self._next_seq)
        if not self._discarding:
            self.save()

    def _keep_discarded(self) -> None:
        if self.context.durable:
            self.sync_log()
        self._keep(self._state(None))
        self._synced = None  # of before the discard
        if self.context.durable:
            self.checkpoint.sync()
        self._discarding = False

    def _end(self) -> bool:
        if self._channel.waiting or self._done:
            return False
        if self._channel.pid and not self.part.samples and self.parts.parts:
            if self._opened:  # for marks behind the last part
                self._channel.put("discard")
                self._opened = False
            self._channel.leave()
            return True
        done = super()._end()
        if self.over:
            self._channel.close()
        return done

    # --- checkpoints -----------------------------------------------------------------------------
    def save(self) -> None:
        """See :class:`Runner`: the recorder is asked to sync, and a checkpoint follows its answer."""
        self._saved_at_ns = self.context.now_ns()
        if not self._loaded:
            if self.context.durable:
                self.sync_log()
            self._keep(self._state(self._sink_state))
        elif not self._syncing:
            self._syncing = True
            self._channel.put("sync", partial(self._on_synced, self._state(None)))

    def _on_synced(self, state: dict[str, Any], answer: dict[str, Any]) -> None:
        self._syncing = False
        self._done.append(partial(self._keep_synced, {**state, "sink": {"state": answer.get("state")}}))

    def _keep_synced(self, state: dict[str, Any]) -> None:
        if self.in_rounds:
            self._synced = state
            return
        if self.context.durable:
            self.sync_log()
        self._keep(state)
        self._sink_state = None  # of use to a successor only

    def mark(self) -> Sequence[CanSync]:
        """See :class:`Runner`: what the recorder has synced by now."""
        if not self.over and self._safe != self.position:
            self.save()
        self._noted, self._synced = self._synced, None
        return []

    def vouch(self) -> None:
        """See :class:`Runner`."""
        if self._noted is not None and not self.over:
            try:
                self._keep(self._noted)
                self._sink_state = None
            except OSError as e:
                self._stall(e)

    def sync(self) -> None:
        """See :class:`Runner`; the guest's own sync is not waited for: until then the log is kept."""
        if self.sink.suffixes:  # before what tells of them: those that are to be sealed, and the open one
            closed = [p for p in self.parts.parts.values() if p.state == "sealing"]
            for part in (*closed, self.part):
                with suppress(FileNotFoundError):  # sealed meanwhile, or not begun
                    sync_file(self._path_of(part))
        self.parts.sync()
        if not self.over:
            if self._safe != self.position:
                self.save()
            self.checkpoint.sync()

    def stop(self) -> None:
        """See :class:`Runner`; the guest gets a moment, so that nothing has to come again."""
        if not self.over and self._quiet_s < _QUIET_S:
            with suppress(OSError, GuestFailedError, GuestDiedError):
                self._sync_last(time.monotonic() + _STOP_S)
        self._channel.close()
        self._stop_reading()
        self.checkpoint.close()

    def _sync_last(self, deadline_s: float) -> None:
        for _ in range(2):  # a sync that is under way may cover less
            self.save()
            while self._channel.waiting and self._channel.wait(max(deadline_s - time.monotonic(), 0)):
                self._channel.collect()
            self._settle()
        if self._synced is not None:
            self._keep(self._synced)
        if self._channel.pid and not self._channel.waiting:
            self._channel.leave()
            self._channel.wait(max(deadline_s - time.monotonic(), 0))

    # --- what others see ---------------------------------------------------------------------------
    def has(self, position: int) -> bool:
        """See :class:`Runner`."""
        return self.over or (self.position >= position and (not self._sent or self._sent[0] > position))

    def shows(self, position: int) -> bool:
        """See :class:`Runner`: nobody waits for a user's code to flush."""
        return True

    def may_drop(self, begin: int, end: int) -> bool:
        """See :class:`Runner`: not what was sent, and may have to be sent again."""
        return end <= self._safe or begin >= self.position

    @property
    def progress(self) -> int:
        """See :class:`Runner`."""
        return super().progress + self._answered + self._channel.answered

    @property
    def label(self) -> str:
        """See :class:`Runner`."""
        return self.options.name

    @property
    def word(self) -> str:
        """See :class:`Runner`."""
        state, reason = self.standing
        return f"{f'{self.label}: {reason}':.36}; see: recd status" if state in ("failed", "stalled") else ""

    @property
    def standing(self) -> tuple[str, str]:
        """See :class:`Runner`."""
        if not self.over and self._channel.waiting and self._quiet_s >= _QUIET_S:
            return "stalled", self._hangs()
        return super().standing

    def status(self) -> dict[str, Any]:
        """See :class:`Runner`."""
        path = str(self.naming.final) if self.options.suffixes else ""
        own = {"target": self.options.target, "pid": self._channel.pid, "traceback": self.trace}
        return {**super().status(), "path": path, **own}

    def _hangs(self) -> str:
        doing = {"load": "its import", "exit": "its end"}.get(doing := self._channel.doing, f"its {doing}()")
        return f"{doing} has not returned for {self._quiet_s:.0f} s"

    def _fail(self, error: BaseException) -> None:
        super()._fail(error)
        if self.trace:
            log.error("%s: %s", self.label, self.trace)
        self._answered += self._channel.answered
        self._channel.close()
