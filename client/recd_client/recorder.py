"""The recorder: what a simulation holds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from . import checks, forks, origin
from .alert import checked_alerts
from .clock import Clock
from .errors import FlushTimeout, OptionError, RecdError, StreamExistsError
from .images import separated
from .options import SinkOptions
from .plain import indices
from .pull import ON_ERROR, Pull, Readable, Schedule, name_after, numbered, paced, sampler
from .session import MARK_DISCARD, MARK_RESET, Session, checked_mark
from .settings import StreamSettings, check_code, pull_settings, stream_settings
from .stream import Stream
from .summary import Summary, make_summary, warn_of_losses

if TYPE_CHECKING:
    from pathlib import Path

    from .alert import Alert

_OVERWRITE: Final = ("error", "replace", "number")
_DURABILITY: Final = ("process", "interval", "strict")
#: Environments of one partial reset per mark, so that a mark stays small.
_RESET_CHUNK: Final = 100


class Recorder:
    """An open recording; joins the running recd, or starts one.

    Parameters
    ----------
    name : str
        Of the recording: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
    dir : str or path-like, optional
        Where relative filenames land; default: a new ``recordings/<name>/<UTC timestamp>/`` here.
    dt : float, optional, s
        Length of a simulation step.
    autostart : bool
        Start a daemon if none runs.
    overwrite : {"error", "replace", "number"}
        What to do about files that exist: refuse, replace when the new one is complete, or number it.
    metadata : dict, optional
        Anything JSON can hold, up to 256 KiB; it ends up in the manifest and in the files.
    durability : {"process", "interval", "strict"}
        What a written sample survives: the death of any process; also a power loss, 200 ms later; also a
        power loss, once its memory is used again.
    spool_limit : int or str, optional
        Disk that unfinished samples may use (``"10GB"``); default: the daemon's.
    allow_code : bool
        Let the code of a :class:`CustomSink` travel that stands in no module. The daemon must allow that too:
        ``recd start --allow-code``.
    alerts : sequence of str or Alert
        Conditions over what is recorded, as for ``recd watch``: ``["state.qpos[2] < 0.2"]``. When one begins to
        hold, a mark is set; the simulation is not touched.

    Raises
    ------
    OptionError
        An argument is not allowed.
    DaemonNotRunningError, DaemonStartError
        No daemon, and none may be, or could be, started.
    OutputError
        The directory cannot be made or written.

    Examples
    --------
    >>> with Recorder("walk", dt=0.01) as rec:  # doctest: +SKIP
    ...     state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
    ...     for _ in range(1000):
    ...         sim.step()
    ...         state.write({"qpos": sim.qpos, "qvel": sim.qvel}, t=sim.time)
    """

    def __init__(
        self,
        name: str = "run",
        *,
        dir: str | os.PathLike[str] | None = None,
        dt: float | None = None,
        autostart: bool = True,
        overwrite: str = "error",
        metadata: Mapping[str, Any] | None = None,
        durability: str = "process",
        spool_limit: int | str | None = None,
        allow_code: bool = False,
        alerts: Sequence[str | Alert] = (),
    ) -> None:
        # Here, so that importing the package stays quick: sockets, shared memory, paths.
        from pathlib import Path

        from . import process, shm
        from .connection import Connection

        shm.check_platform()
        self.name = checks.plain_name("name", name)
        clock = Clock(None if dt is None else checks.positive("dt", dt, unit="seconds per step"))
        request = {
            "name": self.name,
            "directory": None if dir is None else os.path.abspath(checks.path_text("dir", dir)),
            "cwd": os.getcwd(),
            "dt": clock.dt,
            "metadata": origin.checked_metadata(metadata),
            "durability": checks.one_of("durability", durability, _DURABILITY),
            "overwrite": checks.one_of("overwrite", overwrite, _OVERWRITE),
            "spool_limit_bytes": _checked_size("spool_limit", spool_limit),
            "allow_code": checks.flag("allow_code", allow_code),
            "alerts": checked_alerts(alerts, allow_code=allow_code),
            "code": origin.describe_code(),
            "clocks": {"wall_ns": clock.opened_wall_ns, "mono_ns": clock.opened_ns},
        }
        connection = Connection(process.socket_path(), autostart=checks.flag("autostart", autostart))
        reply = connection.open(**request)
        self._session = Session(connection, clock, Path(reply["directory"]), overwrite)
        self._code_allowed = allow_code, bool(reply.get("allow_code", True))
        self._schedule = Schedule()
        self._close_lock = threading.RLock()
        self._summary: Summary | None = None
        forks.close_at_exit(self)

    @property
    def directory(self) -> Path:
        """Where relative filenames land."""
        return self._session.directory

    @property
    def session(self) -> str:
        """The session's id, as ``recd status`` shows it."""
        return self._session.connection.session

    # --- streams -----------------------------------------------------------------------------------
    def stream(
        self,
        name: str,
        *sinks: SinkOptions,
        like: Any = None,
        hz: float | None = None,
        overflow: str = "drop_newest",
        timeout: float | None = None,
        buffer_bytes: int | str | None = None,
        units: Mapping[str, str] | str | None = None,
    ) -> Stream:
        """A new stream, whose samples go to these files.

        Parameters
        ----------
        name : str
            1 to 64 of ``A-Z a-z 0-9 _ . -``, once per recording.
        *sinks : SinkOptions
            None: a video if the first sample is a picture, otherwise an NPZ, named like the stream.
        like : sample, optional
            An example: the ring is made at once, and ``claim`` can be used. May hold :class:`Ragged`.
        hz : float, optional
            Keep so many samples per second of stream time, and skip the others.
        overflow : {"drop_newest", "block", "drop_oldest"}
            What happens when neither ring nor log has room: the sample is lost and counted, ``write``
            waits, or the oldest samples in a log that has reached ``spool_limit`` make room.
        timeout : float, optional, s
            How long ``block``, or a sink with ``async_mode=False``, may hold up a write; default: as long
            as the daemon lives.
        buffer_bytes : int or str, optional
            Size of the ring in shared memory. A record may take a quarter of it.
        units : dict or str, optional
            Physical units by field; one string for samples that are no dicts.

        Raises
        ------
        StreamExistsError
            The name, or a file, is taken.
        OptionError, SchemaError, OutputExistsError
            An argument is not allowed, ``like`` cannot be recorded, or a file exists.
        """
        settings = stream_settings(
            sinks, hz=hz, overflow=overflow, timeout=timeout, buffer_bytes=buffer_bytes, units=units
        )
        return self._add_stream(name, settings, like)

    def log(self, name: str, data: Any, t: float | None = None) -> bool:
        """Write a sample to the stream of that name, which is made on first use; False if it was lost.

        Its file is ``<name>.mp4`` if the first sample is a picture (uint8), otherwise ``<name>.npz``.
        """
        stream = self._session.streams.get(name)
        if stream is None:
            stream = self._add_stream(name, StreamSettings(), None)
        return stream.write(data, t)

    def _add_stream(self, name: str, settings: StreamSettings, like: Any) -> Stream:
        session = self._session
        session.check_usable(f"recorder {self.name!r}")
        checks.plain_name("stream name", name)
        check_code(name, settings.sinks, *self._code_allowed)
        with session.lock:
            if name in session.streams:
                raise StreamExistsError(f"stream {name!r} exists in this recording", "choose another name")
            taken = session.take_files(name, separated(name, settings.sinks))
            stream = Stream(session, name, settings)
            try:
                if like is not None:
                    stream.attach(like, may_start=True)
            except BaseException:
                session.give_back_files(taken)
                raise
            session.streams[name] = stream
        return stream

    # --- pull form -----------------------------------------------------------------------------------
    def start_recording(
        self,
        data_func: Callable[[], Any] | Readable,
        rec_options: SinkOptions,
        name: str | None = None,
        on_error: str = "raise",
    ) -> Stream:
        """A new stream, whose samples :meth:`step` gets from ``data_func`` whenever they are due.

        Parameters
        ----------
        data_func : callable, or object with a method ``read``
            Gives the next sample. Of a tuple, as a camera's ``render`` returns, a video shows the first
            image that is not None.
        rec_options : SinkOptions
            The file. Its ``hz``, ``buffer_size`` and ``buffer_full_wait_time`` are the stream's.
        name : str, optional
            Default: after the file. If a stream of that name has ended, the new one is ``<name>_2``, ...
        on_error : {"raise", "warn"}
            What an error in ``data_func``, or of its sample, does to :meth:`step`.

        Raises
        ------
        OptionError, StreamExistsError, OutputExistsError
            An argument is not allowed, the name or the file is taken, or the file exists (``overwrite``).
        """
        sample = sampler(data_func)
        checks.one_of("on_error", on_error, ON_ERROR)
        clock, streams = self._session.clock, self._session.streams
        settings, every, gate = paced(pull_settings(rec_options), clock.dt)
        if name is None:
            name = numbered(name_after(rec_options, data_func), streams)
        elif name in streams and not streams[name].is_open:
            name = numbered(checks.plain_name("stream name", name), streams)
        stream = self._add_stream(name, settings, None)
        self._schedule.add(Pull(stream, sample, on_error, every, gate), clock.step + 1)
        return stream

    def step(self, t: float | None = None) -> None:
        """A simulation step is over: the samples of the streams that are due are taken, of no other.

        The first call is step 0. Writes that are given no step carry the number of the last call.

        Raises
        ------
        DataFunctionError
            A ``data_func`` raised (see ``on_error``); the other streams have their samples.
        """
        session = self._session
        session.check_usable(f"recorder {self.name!r}")
        clock = session.clock
        clock.step += 1
        if not session.paused:
            at, step = clock.resolve(t, None, clock.step, time.monotonic_ns())
            self._schedule.run(at, step)

    def stop_recording(self) -> None:
        """Every stream of :meth:`start_recording` is closed; the recorder and other streams go on."""
        for stream in self._schedule.streams():
            stream.close()
        self._schedule.clear()

    # --- the timeline ------------------------------------------------------------------------------
    def reset(self, envs_idx: Any = None) -> None:
        """The simulation was reset, as a whole or (``envs_idx``: indices or a mask) in some environments.

        A whole reset makes every stream due, and begins a new part of files with ``save_on_reset``.
        A partial one is an event on the timeline.
        """
        session = self._session
        session.check_usable(f"recorder {self.name!r}")
        if envs_idx is not None:
            chosen = indices(envs_idx, "envs_idx")
            for i in range(0, len(chosen), _RESET_CHUNK):
                session.mark(MARK_RESET, {"envs_idx": chosen[i : i + _RESET_CHUNK]})
            return
        session.mark(MARK_RESET, {"envs_idx": None})
        for stream in list(session.streams.values()):
            stream.restart_gate()
        self._schedule.restart(session.clock.step + 1)

    def mark(self, label: str, **fields: Any) -> None:
        """An event stands on the timeline of every stream, and in the manifest.

        Parameters
        ----------
        label : str
        **fields
            Anything JSON can hold; at most 1 KiB in all.
        """
        self._session.check_usable(f"recorder {self.name!r}")
        self._session.mark(label, checked_mark(label, fields))

    def discard(self) -> None:
        """The running part of every file is dropped: all since the last reset or split, else the start."""
        self._session.check_usable(f"recorder {self.name!r}")
        self._session.mark(MARK_DISCARD, {})

    def pause(self) -> None:
        """Samples of all streams are skipped from now on, until :meth:`resume`."""
        self._set_paused(True)

    def resume(self) -> None:
        """Samples are taken again."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        session = self._session
        session.check_usable(f"recorder {self.name!r}")
        with session.lock:
            session.paused = paused
            at = session.clock.event()  # one event, whatever the number of streams
            for stream in session.streams.values():
                stream.follow_pause(at, {})

    # --- state and end -------------------------------------------------------------------------------
    def stats(self) -> dict[str, dict[str, Any]]:
        """Counters and state of each stream, without asking the daemon.

        ``attempted`` writes; ``written`` of them into the ring; ``durable`` at the session's durability,
        at least; ``skipped``, because not due or paused; ``lost``, by cause; ``bytes`` of payload;
        ``buffered_bytes`` of shared memory in use; ``spooled_bytes`` of log; ``blocked_s``; ``state``
        (``waiting`` for the first sample, ``recording``, ``paused``, ``stalled``: nothing can be stored,
        ``failed``: one of its files was given up, ``damaged``, ``finishing``, ``finished``) and its
        ``reason``.
        """
        return {name: stream.stats for name, stream in list(self._session.streams.items())}

    def flush(self, durable: bool = False, timeout: float | None = None) -> None:
        """Every earlier sample is in the log, and readable in CSV files; with ``durable`` also synced.

        Raises
        ------
        FlushTimeout
            Not within ``timeout`` seconds, or (None) nothing moved for a minute. The daemon goes on.
        """
        session = self._session
        session.check_usable(f"recorder {self.name!r}")
        checks.flag("durable", durable)
        timeout_s = _checked_timeout(timeout)
        heads = {}
        for name, stream in list(session.streams.items()):
            if stream.ring is not None:
                stream.ring.ring_doorbell()
                heads[name] = stream.ring.head
        if heads and session.connection.wait("flush", timeout_s, heads=heads, durable=durable) is None:
            behind = {n: s["state"] for n, s in self.stats().items() if s["buffered_bytes"]}
            raise FlushTimeout(
                f"not everything was in the log in time; behind: {behind or 'unknown'}", "see: recd status"
            )

    def close(self, timeout: float | None = None) -> Summary:
        """Nothing more is recorded, and every file is finished.

        Parameters
        ----------
        timeout : float, optional, s
            After that, the summary is not ``complete`` and the daemon finishes alone. Default: wait as
            long as there is progress.

        Returns
        -------
        Summary
            The same one when called again. Any loss also issues a ``DataLossWarning``.
        """
        timeout_s = _checked_timeout(timeout)
        session = self._session
        if session.forked:
            session.check_usable(f"recorder {self.name!r}")
        with self._close_lock:
            if self._summary is not None:
                return self._summary
            session.end()
            now = session.clock.event()
            for stream in session.streams.values():
                stream.end(*now)
            told, reason = None, "time is up; the daemon finishes alone (recd status)"
            try:
                reply = session.connection.wait("close", timeout_s)
                told = None if reply is None else reply.get("summary")
            except RecdError as e:
                reason = str(e)
            own = {n: {**s.stats, "files": s.files} for n, s in session.streams.items()}
            summary = make_summary(self.session, self.directory, own, told, reason)
            for stream in session.streams.values():
                stream.release()
            session.connection.close()
            forks.closed(self)
            self._summary = summary
        warn_of_losses(summary, stacklevel=2)
        return summary

    def __enter__(self) -> Recorder:
        self._session.check_usable(f"recorder {self.name!r}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._session.forked:  # a forked child that leaves the block has nothing to close
            self.close()

    def __repr__(self) -> str:
        return f"<Recorder {self.name!r}: {len(self._session.streams)} streams in {self.directory}>"

    def __reduce__(self) -> Any:
        raise OptionError(
            f"recorder {self.name!r} cannot be sent to another process", "open a Recorder of its own there"
        )


def _checked_timeout(timeout: Any) -> float | None:
    return None if timeout is None else checks.positive("timeout", timeout, unit="seconds", zero=True)


def _checked_size(where: str, size: Any) -> int | None:
    return None if size is None else checks.size_bytes(where, size)
