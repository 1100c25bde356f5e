"""One stream: samples of one shape, and the files that they go to."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from . import settings as defaults
from .errors import ClosedError, OptionError, RecdError, SchemaError
from .options import Plot, VideoFile, checked_fps
from .sample import infer
from .schema import Schema
from .session import MARK_PAUSE, MARK_RESUME, Mark, Session
from .settings import StreamSettings
from .stats import STOPPED, empty_stats
from .writer import BUSY, CLOSED, refusal

if TYPE_CHECKING:
    from .attachment import Attachment

_TAKEN_SLICE_S: Final = 1.0

Write = Callable[..., bool]


class Stream:
    """A named sequence of samples of one shape; made by :meth:`Recorder.stream`.

    The ring is made by the first :meth:`write` (tens of milliseconds, once), or at once when the stream
    was declared with ``like``. Any thread of the process that opened the recorder may call any method; a
    process forked from it may call none.
    """

    def __init__(self, session: Session, name: str, settings: StreamSettings) -> None:
        self.name = name
        self._session = session
        self._settings = settings
        self._ring: Attachment | None = None
        self._attaching = False
        self._paused = False
        self._closed = False
        self._skipped_early = 0
        #: Somebody outside has asked that the stream end, and it has.
        self._stop_asked = self._stopped = False
        self._refused = 0
        self._taken_seq = 0
        #: Sinks with ``async_mode=False``, by index.
        self._waited_for: list[int] = []
        self._write: Write = self._first_write

    # --- samples -----------------------------------------------------------------------------------
    def write(self, data: Any, t: float | None = None, step: int | None = None) -> bool:
        """The sample is in shared memory and will be in the files; returns False only if it was lost.

        The data is copied: a buffer that is reused afterwards never shows. A sample that is not due
        (``hz``) or falls into a pause is skipped and counted, and is no loss.

        Parameters
        ----------
        data : scalar, array, sequence, str, or flat dict or named tuple of them
            Of numpy, torch, jax, cupy, warp, or anything with the buffer protocol,
            ``__array_interface__`` or DLPack. The first sample fixes fields, dtypes and shapes.
        t : float, optional, s
            Stream time. Default: ``step * dt`` if the recorder knows ``dt``, else seconds since it opened.
        step : int, optional
            Number of the simulation step. Default: the recorder's, once its ``step()`` was used.

        Raises
        ------
        SchemaError
            The sample cannot be recorded, or differs from the first one. It is left out; the stream goes
            on.
        RecordTooLargeError
            The ring takes no record of that size. Counted as lost.
        ClosedError, ForkedHandleError, ReentrantWriteError
            The stream is closed, belongs to another process, or is in the middle of a write that this
            call interrupted (a signal handler).
        """
        return self._write(data, t, step)

    def claim(self, t: float | None = None, step: int | None = None) -> AbstractContextManager[Any]:
        """A context manager that gives the next record's memory, to be filled in place, without a copy.

        Gives one array, or a dict of arrays for samples that are dicts; their content is undefined at
        first. The sample is published when the block ends, and dropped if it raises. If there is no room,
        or the sample is not due, the block gets memory that is thrown away, and the loss or skip is
        counted: the caller's code needs no branch. Until the block ends, other threads' writes wait.

        Raises
        ------
        SchemaError
            The stream has no schema yet (declare it with ``like``), or has ragged or string fields.
        """
        if self._stop_asked:
            return self._claim_after_stop(t, step)
        self._check_usable()
        if self._ring is None:
            raise SchemaError(
                f"stream {self.name!r} does not know yet what its samples look like",
                "declare it with like=..., or write one sample first",
            )
        claimed = self._ring.writer.claim(t, step)
        return self._and_wait(claimed) if self._waited_for else claimed

    # --- control -----------------------------------------------------------------------------------
    def pause(self) -> None:
        """Samples are skipped from now on, until :meth:`resume`."""
        self._set_paused(True)

    def resume(self) -> None:
        """Samples are taken again (unless the whole recorder is paused)."""
        self._set_paused(False)

    def close(self, filename: str | None = None, fps: float | None = None) -> None:
        """No sample follows, and the files are being finished; :meth:`Recorder.close` waits for them.

        Parameters
        ----------
        filename : str, optional
            Another name for the file that can bear it (its suffix decides).
        fps : float, optional
            Another frame rate for the video; nothing is encoded again.

        Raises
        ------
        OptionError
            No file of this stream can take that name, or it has no video.
        StreamExistsError, OutputExistsError
            The name is taken. The stream stays open.
        """
        if self._stop_asked and self._end_stopped():
            self._stopped = False
            self._write = self.__dict__["write"] = self._refuse
            self.release()
            if filename is not None or fps is not None:
                warnings.warn(
                    f"stream {self.name!r}: the recording was stopped from outside; its files keep name and rate",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if self._closed:
            return
        self._check_usable()
        session = self._session
        with session.lock:
            change, taken = self._checked_change(filename, fps)
            if change and self._ring is not None:
                try:
                    reply = session.connection.call("close_stream", stream=self.name, **change)
                except BaseException:
                    session.give_back_files(taken)
                    raise
                self._ring.files = [str(f) for f in reply.get("files") or self._ring.files]
            self.end(*session.clock.event())
            self.release()

    @property
    def stats(self) -> dict[str, Any]:
        """Counters and state of this stream, read from shared memory (see :meth:`Recorder.stats`)."""
        paused = self.is_paused
        if self._ring is None:
            state = "finished" if self._closed else "paused" if paused else "waiting"
            stats = empty_stats(self._skipped_early, state)
        else:
            stats = self._ring.stats()
        if self._refused:
            stats["attempted"] += self._refused
            stats["lost"] = {**stats["lost"], STOPPED: stats["lost"].get(STOPPED, 0) + self._refused}
        if stats["state"] == "recording" and (self._closed or paused):
            stats["state"] = "finishing" if self._closed else "paused"
        return stats

    @property
    def schema(self) -> Schema | None:
        """What the samples look like; None before the first."""
        return None if self._ring is None else self._ring.schema

    @property
    def files(self) -> list[str]:
        """Final names of the files, absolute; known from the first sample on."""
        return [] if self._ring is None else list(self._ring.files)

    def __repr__(self) -> str:
        fields = ", ".join(f"{f.name}: {f}" for f in self.schema.fields) if self.schema else "no sample yet"
        return f"<Stream {self.name!r} ({fields})>"

    def __reduce__(self) -> Any:
        raise OptionError(
            f"stream {self.name!r} cannot be sent to another process", "open a Recorder of its own there"
        )

    # --- what the recorder uses ----------------------------------------------------------------------
    @property
    def is_open(self) -> bool:
        """Whether samples may still be written."""
        return not self._closed

    @property
    def is_paused(self) -> bool:
        """Whether samples are skipped now, by the stream's own pause or the recorder's."""
        return self._paused or self._session.paused

    @property
    def is_video(self) -> bool:
        """Whether the samples are to be images, as one of the files is a video."""
        return any(isinstance(sink, VideoFile) for sink in self._settings.sinks)

    @property
    def ring(self) -> Attachment | None:
        """The stream's ring; None before the first sample."""
        return self._ring

    def attach(self, sample: Any, *, may_start: bool) -> None:
        """The stream has a ring for samples that look like this one."""
        try:
            if self.is_video and isinstance(sample, tuple):
                raise SchemaError(
                    f"a video needs images, got a tuple of {len(sample)}, as a camera's render() returns",
                    "write one of them: rgb, depth, *_ = camera.render()",
                )
            schema = infer(sample).with_units(self._settings.units)
        except SchemaError as e:
            raise SchemaError(f"stream {self.name!r}: {e.what}", e.do) from None
        with self._session.lock:
            if self._ring is not None:
                return
            if self._attaching:  # by this very thread, below a signal handler
                raise refusal(f"stream {self.name!r}", BUSY)
            self._attaching = True
            try:
                self._attach(schema, may_start)
            finally:
                self._attaching = False

    def mark(self, mark: Mark) -> bool:
        """Put an event behind the samples so far; False if there is no ring to put it into."""
        if self._ring is None or self._closed:
            return False
        self._ring.writer.mark(*mark)
        return True

    def restart_gate(self) -> None:
        """Make the next sample due."""
        if self._ring is not None and not self._closed:
            self._ring.writer.restart_gate()

    def follow_pause(self, at: tuple[float, int, int], fields: dict[str, Any]) -> None:
        """Act upon a change, at this time, of this stream's pause or the recorder's."""
        if self._ring is None or self._closed:
            return
        paused = self.is_paused
        if self._ring.writer.set_paused(paused):
            self.mark(Mark(MARK_PAUSE if paused else MARK_RESUME, fields, *at))

    def end(self, t: float, step: int, mono_ns: int) -> None:
        """Publish the end of the stream; every later write is refused."""
        if self._closed:
            return
        if self._ring is not None:
            self._ring.writer.close(t, step, mono_ns)
        self._closed = True
        self._write = self.__dict__["write"] = self._write_after_stop if self._stopped else self._refuse
        self.__dict__.pop("claim", None)

    def follow_stop(self) -> None:
        """Have the next call end the stream, as somebody outside wants; one may be in the middle of a write."""
        self._stop_asked = True
        self._write = self.__dict__["write"] = self._write_after_stop
        self.__dict__.pop("claim", None)

    def release(self) -> None:
        """Let go of the ring; what it counted stays."""
        if self._ring is not None:
            self._ring.release()

    # --- the first sample ----------------------------------------------------------------------------
    def _first_write(self, data: Any, t: float | None = None, step: int | None = None) -> bool:
        self._check_usable()
        if self.is_paused:
            self._skipped_early += 1
            return True
        if not self._session.stopped:
            try:
                self.attach(data, may_start=False)
                return self._switched()(data, t, step)
            except ClosedError:  # by the daemon: the recording was stopped before this stream's first sample
                if self._closed or self._ring is not None:
                    raise
        self.follow_stop()
        return self._write_after_stop(data, t, step)

    def _attach(self, schema: Schema, may_start: bool) -> None:
        """Ask for a ring, map it, and switch ``write`` over to it."""
        from .attachment import Attachment  # loads shared memory, which importing the package need not

        session, settings = self._session, self._settings
        sinks = settings.sinks or defaults.default_sinks(self.name, schema)
        sinks = defaults.for_samples(self.name, sinks, schema, settings.hz, session.clock.dt)
        if sinks != settings.sinks:
            session.take_files(self.name, sinks)
        self._settings = settings = settings.with_sinks(sinks)
        reply = session.connection.call(
            "attach",
            may_start=may_start,
            revives=True,
            stream=self.name,
            schema=schema.to_json(),
            sinks=[s.to_json() for s in sinks],
            hz=settings.hz,
            overflow=settings.overflow,
            timeout_s=settings.timeout_s,
            buffer_bytes=settings.ring_bytes(schema),
        )
        ring = Attachment(
            self.name, reply, schema, settings, session.clock, session.connection.hung_up, self._heard_of_stop
        )
        ring.writer.skip(self._skipped_early)
        for mark in session.early_marks:
            ring.writer.mark(*mark)
        self._waited_for = [i for i, s in enumerate(sinks) if not s.async_mode]
        self._ring = ring
        self.follow_pause(session.clock.event(), {"stream": self.name})
        self._switched()

    def _switched(self) -> Write:
        """``write`` as it is from now on; asked again if an interrupt came between the ring and this."""
        if self._ring is not None and not self._closed and not self._stop_asked:
            write = self._ring.writer.write
            self._write = self._and_then_wait(write) if self._waited_for else write
            # found before the class's methods of these names: one call less per sample
            self.__dict__["write"] = self._write
            if not self._waited_for:
                self.__dict__["claim"] = self._ring.writer.claim
        return self._write

    # --- stopped from outside --------------------------------------------------------------------------
    def _heard_of_stop(self) -> None:
        """The first stream that hears of it tells the others, whose workers may not wait for them."""
        if not self._stop_asked:
            self._session.follow_stop()
            self.follow_stop()  # it may not be among them yet

    def _end_stopped(self) -> bool:
        """The stream has ended, as somebody outside wants; whether that is why it has."""
        with self._session.lock:
            if not self._closed:
                self._stopped = True
                self.end(*self._session.clock.event())
        self._session.stop()
        return self._stopped

    def _write_after_stop(self, data: Any, t: float | None = None, step: int | None = None) -> bool:
        self._session.check_usable(f"stream {self.name!r}")
        if not self._end_stopped():
            return self._refuse(data, t, step)
        if self._paused or self._session.paused:
            return True
        if self._ring is not None and not self._ring.writer.would_take(t, step):
            return True
        with self._session.lock:
            self._refused += 1
        return False

    @contextmanager
    def _claim_after_stop(self, t: float | None, step: int | None) -> Iterator[Any]:
        """Memory that is thrown away; counted as a write."""
        self._session.check_usable(f"stream {self.name!r}")
        if not self._end_stopped() or self._ring is None:
            raise refusal(f"stream {self.name!r}", CLOSED)
        yield self._ring.writer.scratch()
        self._write_after_stop(None, t, step)

    # --- sinks with async_mode=False -------------------------------------------------------------------
    def _and_then_wait(self, write: Write) -> Write:
        def write_and_wait(data: Any, t: float | None = None, step: int | None = None) -> bool:
            written = write(data, t, step)
            if written:
                self._wait_taken()
            return written

        return write_and_wait

    @contextmanager
    def _and_wait(self, claimed: AbstractContextManager[Any]) -> Iterator[Any]:
        with claimed as arrays:
            yield arrays
        self._wait_taken()

    def _wait_taken(self) -> None:
        """The sinks that are waited for have what is published, or the stream's timeout is over."""
        ring, timeout_s = self._ring, self._settings.timeout_s
        if ring is None or ring.next_seq == self._taken_seq:  # the sample was not due
            return
        self._taken_seq, position = ring.next_seq, ring.head
        ring.ring_doorbell()
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        for sink in self._waited_for:
            done = False
            while not done:
                slice_s = _TAKEN_SLICE_S if end_s is None else min(_TAKEN_SLICE_S, end_s - time.monotonic())
                done = slice_s <= 0 or self._is_taken(sink, position, slice_s)

    def _is_taken(self, sink: int, position: int, slice_s: float) -> bool:
        """Whether a sink has everything before ``position``; also true when nobody can tell any more."""
        ask: dict[str, Any] = {"stream": self.name, "sink": sink, "position": position, "timeout_s": slice_s}
        try:
            reply = self._session.connection.call("taken", 2 * slice_s + 1.0, may_start=False, **ask)
        except RecdError as e:
            text = f"stream {self.name!r}: nobody tells whether its sink took a sample: {e.what}"
            warnings.warn(text, RuntimeWarning, stacklevel=5)
            return True
        return bool(reply.get("done"))

    # --- small things ------------------------------------------------------------------------------------
    def _set_paused(self, paused: bool) -> None:
        self._check_usable()
        with self._session.lock:
            self._paused = paused
            self.follow_pause(self._session.clock.event(), {"stream": self.name})

    def _checked_change(self, filename: Any, fps: Any) -> tuple[dict[str, Any], dict[str, str | None]]:
        """What ``close`` asks the daemon to change, and the files that were taken for it."""
        sinks = self._settings.sinks
        taken: dict[str, str | None] = {}
        if fps is not None and not any(isinstance(s, (VideoFile, Plot)) and s.suffixes for s in sinks):
            raise OptionError(f"stream {self.name!r} has no video for fps={fps!r}", "leave fps out")
        rate = checked_fps(fps)
        if filename is not None:
            bearer = defaults.renamed(self.name, sinks, filename)
            taken = self._session.take_files(self.name, [bearer])
            filename = str(bearer.filename)
        if filename is None and rate is None:
            return {}, taken
        return {"filename": filename, "fps": None if rate is None else float(rate)}, taken

    def _check_usable(self) -> None:
        self._session.check_usable(f"stream {self.name!r}")
        if self._closed:
            raise refusal(f"stream {self.name!r}", CLOSED)

    def _refuse(self, data: Any, t: float | None = None, step: int | None = None) -> bool:
        self._session.check_usable(f"stream {self.name!r}")
        raise refusal(f"stream {self.name!r}", CLOSED)
