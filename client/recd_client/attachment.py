"""A stream's ring in this process: mapped, with its writer; made once per stream, let go of once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import layout, process, shm
from .backend import RingProducer, Writer
from .clock import Clock, Gate
from .errors import WorkerError
from .sample import make_plan
from .schema import Schema
from .settings import StreamSettings
from .stats import STOPPED, ring_stats


class Attachment:
    """The mapped ring of one stream.

    Parameters
    ----------
    name : str
        Of the stream.
    reply : dict
        The daemon's answer to ``attach``.
    schema : Schema
    settings : StreamSettings
    clock : Clock
    hung_up : callable
        Whether the connection to the daemon is closed.
    on_stop : callable
        Is called, maybe again and again and in the middle of a write, once somebody outside has asked that the
        stream end.

    Raises
    ------
    WorkerError
        The ring is not there (any more).
    """

    def __init__(
        self,
        name: str,
        reply: dict[str, Any],
        schema: Schema,
        settings: StreamSettings,
        clock: Clock,
        hung_up: Callable[[], bool],
        on_stop: Callable[[], object] = lambda: None,
    ) -> None:
        self.schema = schema
        self.files = [str(f) for f in reply.get("files") or []]
        self._hung_up = hung_up
        self._on_stop = on_stop
        try:
            self._segment = shm.Segment.open(str(reply["ring"]))
            self._doorbell = shm.Doorbell(str(reply["doorbell"]))
        except FileNotFoundError as e:
            raise WorkerError(
                f"stream {name!r}: its ring is gone ({e.filename})", "see: recd status, and the daemon's log"
            ) from None
        self._producer = RingProducer(self._segment.memory, self._ring_bell)
        # through frombuffer: arrays made of it keep the mapping from being closed under them
        memory = np.frombuffer(self._segment.memory, np.uint8)
        self.writer = Writer(
            name,
            self._producer,
            make_plan(schema, memory, self._producer.capacity_bytes),
            clock,
            gate=Gate(settings.hz, clock.dt) if settings.hz and settings.gated else None,
            block=settings.overflow == "block",
            timeout_s=settings.timeout_s,
            is_gone=self.nobody_there,
        )
        self._released: dict[str, Any] | None = None

    @property
    def head(self) -> int:
        """End of what is published."""
        return self._producer.head

    @property
    def next_seq(self) -> int:
        """The number of the next attempt."""
        return self._producer.next_seq

    def ring_doorbell(self) -> None:
        """Wake the worker; from any thread: no word of the ring is touched, at which a write may be."""
        self._doorbell.ring_if_open()

    def _ring_bell(self) -> None:
        """Wake the worker; it has slept since the last time, so there may be news from it."""
        self._doorbell.ring()
        if self.stop_asked:
            self._on_stop()

    @property
    def stop_asked(self) -> bool:
        """Whether somebody outside wants the stream to end."""
        return bool(self._released is None and self._producer.word("stop_asked"))

    def _cut(self) -> int:
        """Samples that were published after the worker had given up waiting for the stream's end: no file has them."""
        producer = self._producer
        if producer.word("stop_asked") != layout.STOP_CUT:
            return 0
        end, capacity = producer.word("head"), producer.capacity_bytes
        begin = max(producer.word("stop_at"), end - capacity)
        data = producer.buffer[layout.DATA_OFFSET : layout.DATA_OFFSET + capacity]
        samples = 0
        while begin < end:
            offset = begin % capacity
            (_, _, _, length, kind, *_) = layout.HEADER_BODY.unpack_from(
                data, offset + layout.HEADER_BODY_OFFSET
            )
            samples += kind == layout.DATA
            begin += layout.record_bytes(length)
        return samples

    def nobody_there(self) -> bool:
        """Whether neither a daemon nor a worker is left that could make room, or would: the stream is to end."""
        if self._producer.word("stop_asked"):
            return True
        return self._hung_up() and not process.start_ticks(self._producer.word("worker_pid"))

    def stats(self) -> dict[str, Any]:
        """The ring's counters; the last ones once it is released."""
        if self._released is not None:
            return dict(self._released)
        try:
            stats = ring_stats(self._producer, self.writer.payload_bytes_total)
            cut, stop_asked = self._cut(), self.stop_asked
        except ValueError:  # released by another thread meanwhile
            return self.stats()
        if cut:
            stats["lost"][STOPPED] = cut
            stats["written"] -= cut
        if stop_asked:
            return {
                **stats,
                "state": "finished",
                "reason": "stopped from outside (recd stop, recd top, recd ui)",
            }
        pid = stats["state"] == "recording" and self._producer.word("worker_pid")
        if stats["state"] == "recording" and self.nobody_there():
            stats.update(state="stalled", reason="recd does not run; samples wait in shared memory")
        elif pid and not process.start_ticks(pid):  # its successor comes in a moment, or cannot begin
            stats.update(
                state="stalled",
                reason="no worker serves it (see: recd status); samples wait in shared memory",
            )
        return stats

    def release(self) -> None:
        """Let go of the ring. Memory of which a claimed array is alive stays mapped until that is gone."""
        if self._released is not None:
            return
        self._released = self.stats()
        self.writer.release()
        self._segment.close()  # False while a claimed array lives: then the mapping goes with it
        self._doorbell.close()
