"""A worker: one process that drains the rings of one group into logs and files.

The loop: answer the supervisor, drain every ring, give each sink a slice, look whether anything
ended, sleep a little when nothing was done. A worker begins, always, by reading what is on disk; a
new session is one with no streams yet, and a restart after a crash is nothing special.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from recd_client import process, shm
from recd_client.errors import (
    NoSuchSessionError,
    OptionError,
    OutputError,
    ProtocolError,
    RecdError,
    RingDamagedError,
    to_wire,
)
from recd_client.options import SinkOptions, VideoFile
from recd_client.schema import Schema

from . import __version__, caution, fit, index, manifest, places, sinks
from .caution import Caution
from .direct import DirectTrack, FrameRunner
from .finisher import Finisher
from .link import Link, NoLink
from .pace import Pace
from .registry import EXIT_LATER, EXIT_LOCKED, MAIN_GROUP
from .runner import Runner, SinkContext
from .samples import LogRunner
from .session import GroupLock, SessionStore, doorbell_name
from .stalls import tell_rings
from .track import Store, Track

_SLEEP_S: Final = 0.05
_FAREWELL_S: Final = 2.0
_TRIAL_S: Final = 60.0
_SYNC_EVERY_NS: Final = 200_000_000
_LOOK_EVERY_NS: Final = 20_000_000
_END_AGAIN_NS: Final = 1_000_000_000

log = logging.getLogger(__name__)


class Pending:
    """A request that is answered when a condition holds, or unanswered at its deadline."""

    def __init__(self, request: dict[str, Any], ready: Callable[[], dict[str, Any] | None]) -> None:
        self.id = request["id"]
        self.deadline = time.monotonic() + min(float(request.get("timeout_s") or 0.0), 60.0)
        self.ready = ready


class Worker:
    """Serves one group of one session until everything in it is finished.

    Parameters
    ----------
    runtime : Path
        The daemon's runtime directory.
    store : SessionStore
    group : str
    lock : GroupLock
        Held, for as long as the worker lives.
    link : Link or NoLink
    crashed : bool
        The worker before this one died by itself.
    """

    def __init__(
        self,
        runtime: Path,
        store: SessionStore,
        group: str,
        lock: GroupLock,
        link: Link | NoLink,
        crashed: bool = False,
    ) -> None:
        self.store = store
        self.group = group
        self.lock = lock
        self.tracks: dict[str, Track] = {}
        self.closing = store.closing
        self.stopping = False
        self._stop_id: int | None = None
        self._stop_deadline = 0.0
        self.ended = False
        self.pending: list[Pending] = []
        self.renames: dict[str, dict[str, Any]] = {}
        spec = store.spec
        self.tag = shm.runtime_tag(runtime)
        self.doorbell = shm.Doorbell(doorbell_name(self.tag, store.session, group), create=True)
        self.finisher = Finisher(self.doorbell.ring)
        #: Tries encoders out, for streams that are to begin: they do not wait for files that are being built.
        self.trials = Finisher(self.doorbell.ring)
        self.link = link
        limit = spec.get("spool_limit_bytes")
        self.rules = Store(str(spec["durability"]), int(limit) if limit else None)
        self.client = (int(spec["client_pid"]), int(spec["client_ticks"]))
        #: Also when the machine has restarted since: then another process may have its pid and start time.
        self.client_gone = spec["boot_id"] != process.boot_id().hex()
        self._outcome: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._finished_progress = 0
        self._looked_ns = 0
        self._synced_ns = 0
        self._pace = Pace()
        self.caution = Caution(store.path / f"{group}.caution", crashed)
        #: Streams that ended otherwise than they should, for ``recd status``.
        self.spoilt: dict[str, dict[str, Any]] = {}
        for stream in store.streams():
            if stream["group"] == group:
                result = store.result(stream["stream"])
                if result is None:
                    self._load(stream)
                elif not result["complete"]:
                    self.spoilt[stream["stream"]] = manifest.stream_status(stream["stream"], result)

    # --- the loop --------------------------------------------------------------------------------
    def run(self) -> None:
        """Work until all is finished, or until told to stop."""
        while not self.ended:
            for request in self.link.requests():
                self._handle(request)
                self._pace.hurry()
            did = self._drain()
            for track in list(self.tracks.values()):
                self.caution.hold(track.name)
                did |= track.work(self._drain)
            self._look_around()
            did |= self._finish_tracks()
            self._answer_pending()
            if self.stopping and not did and self._stop():
                return
            if not did and not self.ended:
                self._sleep()

    def _drain(self) -> bool:
        """Bring what was published to safety, if it is time to look; whether anything was."""
        if self._pace.wait_s() > 0:
            return False
        did, share, in_hand = False, 0.0, self.caution.stream
        for track in self.tracks.values():
            self.caution.hold(track.name)
            before = track.end
            did |= track.drain()
            if track.ring is not None:
                share = max(share, (track.end - before) / track.ring.capacity_bytes)
        self._pace.looked(share)
        self.caution.hold(in_hand)
        return did

    def _sleep(self) -> None:
        """Wait for the next look; when nothing has come for a while, ask for the doorbell and wait for it.

        A missed wake-up costs latency, never correctness: no wait is longer than 50 ms.
        """
        descriptors = [fd for t in self.tracks.values() for r in t.runners if (fd := r.waits_for()) >= 0]
        wait_s = self._pace.wait_s()
        if descriptors:
            poll = select.poll()
            for fd in descriptors:
                poll.register(fd, select.POLLOUT)
            poll.poll(wait_s * 1000)
            return
        if self._pace.is_quiet:
            rings = [(t.name, t.ring) for t in self.tracks.values() if t.ring is not None]
            for name, ring in rings:
                self.caution.hold(name)
                ring.announce_sleep()
            wait_s = 0.0 if any(ring.has_news() for _, ring in rings) else _SLEEP_S
        if self.doorbell.wait(wait_s) or wait_s == 0:
            self._pace.hurry()

    def _look_around(self) -> None:
        """Now and then: is the client alive, is a sync due."""
        now = time.monotonic_ns()
        if now - self._looked_ns < _LOOK_EVERY_NS:
            return
        self._looked_ns = now
        self.caution.look()
        if any(track.deleted for track in self.tracks.values()):
            self._leave_deleted()
        if not self.tracks and (self.group != MAIN_GROUP or self.closing or self.client_gone):
            try:
                self._end()
            except OSError as e:  # tried again: a full disk has room some time
                self._looked_ns = now + _END_AGAIN_NS
                log.warning("the session's end cannot be written down: %s", e)
        if not self.client_gone and not process.is_alive(*self.client):
            log.info("session %s: its process is gone; finishing its files", self.store.session)
            self.client_gone = True
            for track in self.tracks.values():
                track.producer_gone = True
        if self.rules.durability == "interval" and now - self._synced_ns > _SYNC_EVERY_NS:
            self._synced_ns = now
            for track in self.tracks.values():
                track.sync()

    def _leave_deleted(self) -> NoReturn:
        """Somebody has deleted the session's files: a worker that begins once they are back goes on from there."""
        log.error("session %s: its files in %s were deleted", self.store.session, self.store.path)
        logging.shutdown()
        os._exit(EXIT_LATER)

    # --- streams -----------------------------------------------------------------------------------
    def _load(self, spec: dict[str, Any]) -> Track:
        """Take up a stream as its files describe it."""
        name = str(spec["stream"])
        directory = self.store.stream_path(name)
        schema = Schema.from_json(spec["schema"])
        context = SinkContext(
            directory,
            schema,
            {
                "name": name,
                "metadata": self.store.spec.get("metadata") or {},
                "clocks": self.store.spec["clocks"],
            },
            self.finisher,
            time.monotonic_ns,
            self.store.spec["overwrite"] == "replace",
            self.rules.durability != "process",
            spec["boot_id"] != process.boot_id().hex(),
        )
        options = [SinkOptions.from_json(s) for s in spec["sinks"]]
        frames: FrameRunner | None = None
        runners: list[Runner] = []
        for i, (option, final) in enumerate(zip(options, map(Path, spec["finals"]), strict=True)):
            if isinstance(option, VideoFile):
                from .frames import VideoRunner

                video = VideoRunner(context, i, option, final)
                frames = video if len(options) == 1 else None
                runners.append(video)
            else:
                runners.append(
                    LogRunner(context, i, option, final, sinks.make_sink(option, schema, context.info))
                )
        where, now_ns = (directory, name, schema, self.rules), time.monotonic_ns
        self.caution.hold(name)
        blamed = name in self.caution.blamed
        segment, ring_gone = (None, "") if blamed else _open_ring(spec)
        if frames is not None:
            track: Track = DirectTrack(*where, frames, segment, now_ns)
        else:
            track = Track(*where, runners, segment, now_ns)
        track.ring_gone = ring_gone
        if blamed:
            track.state, track.reason = "damaged", caution.why(name)
            log.error("stream %s: %s", name, track.reason)
        track.drops_oldest = spec["overflow"] == "drop_oldest"
        track.producer_gone = self.client_gone
        self.tracks[name] = track
        if change := self.store.rename_of(name):
            self._rename(name, change)
        return track

    def _finish_tracks(self) -> bool:
        """Write down the outcome of every track that is done, and let go of it."""
        did = False
        for name, track in list(self.tracks.items()):
            self.caution.hold(name)
            if track.resting or not track.finish():
                continue
            try:
                result = manifest.stream_result(track)
                self.store.put_result(name, result)
            except OSError as e:
                track.stall(e)
                continue
            if not result["complete"]:
                self.spoilt[name] = manifest.stream_status(name, result)
            segment = track.segment
            self._finished_progress += track.progress + 1
            track.save()
            track.close()
            if segment is not None:
                segment.unlink()
            if result["finished"]:
                shutil.rmtree(track.directory / "log", ignore_errors=True)
            del self.tracks[name]
            did = True
        return did

    def _end(self) -> None:
        """Everything of this group is finished; the main worker also ends the session."""
        if self.group == MAIN_GROUP:
            streams = self.store.streams()
            if any(self.store.result(s["stream"]) is None for s in streams):
                return
            # Again, for a worker that died before it could; also of an attach that it did not come to the end of.
            shm.unlink_session(self.tag, self.store.session)
            if self._outcome is None:  # else the index could not be written
                gone = self.client_gone and not self.closing
                self._outcome = manifest.end_session(self.store, client_gone=gone)
            summary, entry = self._outcome
            index.write(entry)
            for pending in self.pending:
                self._reply(pending.id, {"done": True, "progress": 0, "summary": summary})
            self.pending.clear()
        self.doorbell.unlink()  # before the supervisor knows: it would not look after one that dies in between
        self.link.leave(_FAREWELL_S)
        self.ended = True

    # --- requests ----------------------------------------------------------------------------------
    def _handle(self, request: dict[str, Any]) -> None:
        try:
            operation = {
                "attach": self._attach,
                "flush": self._flush,
                "taken": self._taken,
                "close_stream": self._close_stream,
                "close": self._close,
                "status": self._status,
                "stop": self._ask_stop,
            }.get(str(request.get("op")))
            if operation is None:
                raise ProtocolError(f"unknown operation {request.get('op')!r}", "update recd")
            reply = operation(request)
            if reply is not None:
                self._reply(request["id"], reply)
        except Exception as e:
            self._refuse(request.get("id"), e)

    def _reply(self, request_id: int, reply: dict[str, Any]) -> None:
        self.link.send({"id": request_id, "ok": True, **reply})

    def _refuse(self, request_id: Any, error: BaseException) -> None:
        if not isinstance(error, RecdError):
            log.error("request %s", request_id, exc_info=error)
        self.link.send({"id": request_id, "ok": False, "error": to_wire(error)})

    def _attach(self, request: dict[str, Any]) -> dict[str, Any] | None:
        sinks_asked = [SinkOptions.from_json(s) for s in request.get("sinks") or []]
        videos = fit.to_try(sinks_asked, Schema.from_json(request.get("schema")))
        if not videos:
            return self._attached(request)
        trial = self.trials.submit(lambda job: fit.try_out(videos))

        def ready() -> dict[str, Any] | None:
            if not trial.done.is_set():
                return None
            if trial.error is not None:
                raise trial.error
            return self._attached(request)

        self.pending.append(Pending({**request, "timeout_s": _TRIAL_S}, ready))
        return None

    def _attached(self, request: dict[str, Any]) -> dict[str, Any]:
        spec = self.store.attach(request, self.tag)
        if spec["group"] == self.group and spec["stream"] not in self.tracks:
            self._load(spec)
        elif spec["group"] != self.group:  # the client must find it although that worker only starts
            shm.Doorbell(spec["doorbell"], create=True).close()
        files = [f for f, sink in zip(spec["finals"], spec["sinks"], strict=True) if sink["kind"] != "null"]
        return {**{k: spec[k] for k in ("ring", "doorbell", "group")}, "files": files}

    def _track(self, request: dict[str, Any]) -> Track:
        track = self.tracks.get(str(request.get("stream")))
        if track is None:
            raise NoSuchSessionError(f"no stream {request.get('stream')!r} here", "attach it first")
        return track

    def _flush(self, request: dict[str, Any]) -> None:
        heads = {str(k): int(v) for k, v in request["heads"].items() if k in self.tracks}
        for name, head in heads.items():
            self.tracks[name].flush_to = max(self.tracks[name].flush_to, head)

        def ready() -> dict[str, Any] | None:
            for name, head in heads.items():
                if name in self.tracks and not self.tracks[name].safe(head):
                    return None
            if request.get("durable"):
                tracks = [self.tracks[name] for name in heads if name in self.tracks]
                if not all(track.sync_all() for track in tracks):
                    return None
            return {"done": True, "progress": self._progress()}

        self.pending.append(Pending(request, ready))

    def _taken(self, request: dict[str, Any]) -> None:
        track, sink, position = self._track(request), int(request["sink"]), int(request["position"])
        runner = track.runners[sink]
        self.pending.append(
            Pending(
                request,
                lambda: {"done": True} if runner.over or runner.position >= position else None,
            )
        )

    def _close_stream(self, request: dict[str, Any]) -> dict[str, Any]:
        track = self._track(request)
        change = {"filename": request.get("filename"), "fps": request.get("fps")}
        if change["filename"]:
            final = Path(os.path.normpath(self.store.directory / change["filename"]))
            bearers = [r for r in track.runners if final.suffix.lower() in r.options.suffixes]
            if len(bearers) != 1:
                raise OptionError(f"{final} fits {len(bearers)} files of {track.name!r}", "name one")
            change["filename"] = str(places.change(bearers[0].naming, final, self.store.spec["overwrite"]))
        if change["filename"] or change["fps"]:
            self.store.put_rename(track.name, change)
            self._rename(track.name, change)
        return {"files": [str(r.naming.final) for r in track.runners if r.options.suffixes]}

    def _rename(self, name: str, change: dict[str, Any]) -> None:
        """Files of the stream that are not finished yet take another name, videos another speed."""
        for runner in self.tracks[name].runners:
            filename = change.get("filename")
            if filename and Path(filename).suffix.lower() in runner.options.suffixes:
                runner.rename(Path(filename))
            if change.get("fps"):
                runner.retime(float(change["fps"]))

    def _close(self, request: dict[str, Any]) -> None:
        self.closing = True
        with suppress(OSError):  # it is asked again
            self.store.put_closing()
        self.pending.append(Pending(request, lambda: None))

    def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        streams = [*self.spoilt.values()]
        for track in self.tracks.values():
            self.caution.hold(track.name)
            streams.append(track.status())
        return {"streams": streams, "progress": self._progress()}

    def _progress(self) -> int:
        return self._finished_progress + sum(t.progress for t in self.tracks.values())

    def _answer_pending(self) -> None:
        now = time.monotonic()
        for pending in list(self.pending):
            try:
                reply = pending.ready()
            except (RecdError, OSError) as e:
                self.pending.remove(pending)
                self._refuse(pending.id, e)
                continue
            if reply is None and now >= pending.deadline:
                reply = {"done": False, "progress": self._progress(), "summary": None}
            if reply is not None:
                self.pending.remove(pending)
                self._reply(pending.id, reply)

    # --- stopping ------------------------------------------------------------------------------------
    def _ask_stop(self, request: dict[str, Any]) -> None:
        self.stopping = True
        self._stop_id = int(request["id"])
        self._stop_deadline = time.monotonic() + float(request.get("deadline_s") or 0.0)

    def _stop(self) -> bool:
        """Put everything away such that a later worker goes on; waits for files that are being finished."""
        finishing = self.closing or self.client_gone
        if finishing and self.tracks and time.monotonic() < self._stop_deadline:
            return False
        for track in self.tracks.values():
            track.sync_all()
            track.save()
        self.finisher.stop(5.0)
        why = "its process still runs" if not finishing else "its files were not finished in time"
        if self._stop_id is not None:
            self._reply(self._stop_id, {"finished": not self.tracks and finishing, "why": why})
        for track in self.tracks.values():
            track.close()
        if self._stop_id is not None:
            self.link.wait_hung_up(_FAREWELL_S)
        return True


def _only_tell(store: SessionStore, runtime: Path, link: Link | NoLink) -> None:
    """Say that the session is over: its last worker died when all was finished, before it could.

    Raises
    ------
    FileNotFoundError
        It is not over: its directory has been moved away, or removed.
    """
    if manifest.has_ended(store):
        shm.unlink_session(shm.runtime_tag(runtime), store.session)
    elif isinstance(link, Link):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(store.path))
    if isinstance(link, Link):
        link.connect()
    link.leave(_FAREWELL_S)


def _try_later(socket_path: Path, join: dict[str, Any], e: OSError) -> NoReturn:
    """The disk lets this worker not begin: say why, and leave the next try to another one."""
    error = OutputError(f"{e.strerror or e}: {e.filename or join['directory']}", "see: recd status")
    log.warning("cannot begin yet: %s", error.what)
    tell_rings(shm.runtime_tag(socket_path.parent), join["session"], e.strerror or str(e))
    with suppress(RecdError, OSError):  # no supervisor: the next one tries
        Link(socket_path, __version__, {**join, "error": to_wire(error)}).connect()
    logging.shutdown()
    os._exit(EXIT_LATER)


def _open_ring(spec: dict[str, Any]) -> tuple[shm.Segment | None, str]:
    """A stream's ring; None, and why, when it is gone."""
    if spec["boot_id"] != process.boot_id().hex():
        return None, "the machine has restarted since"
    try:
        return shm.Segment.open(spec["ring"]), ""
    except FileNotFoundError:
        return None, f"its ring {spec['ring']} is gone from /dev/shm"
    except RingDamagedError as e:
        return None, e.what


def main(
    runtime: str,
    directory: str,
    session: str,
    group: str,
    create: dict[str, Any] | None = None,
    *,
    alone: bool = False,
    crashed: bool = False,
) -> None:
    """Body of a worker process.

    Parameters
    ----------
    create : dict, optional
        Describes a session to begin.
    alone : bool
        There is no supervisor: finish what is there.
    crashed : bool
        The worker before this one died by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=os.environ.get("RECD_LOG_LEVEL", "INFO"),
        format=f"%(asctime)s %(levelname)s worker[{os.getpid()}] {session}/{group}: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    store = SessionStore(Path(directory), session)
    socket_path = Path(runtime) / "recd.sock"
    bell = doorbell_name(shm.runtime_tag(Path(runtime)), session, group)
    join: dict[str, Any] = {"session": session, "directory": directory, "group": group, "doorbell": bell}
    link = NoLink() if alone else Link(socket_path, __version__, join)
    try:
        if create is not None:
            store.create(create)
    except RecdError as e:
        Link(socket_path, __version__, {**join, "error": to_wire(e)}).connect()
        return
    except BlockingIOError:
        os._exit(EXIT_LOCKED)
    try:
        if not store.spec:
            _only_tell(store, Path(runtime), link)
            return
        lock = store.lock(group)
        worker = Worker(Path(runtime), store, group, lock, link, crashed)
    except BlockingIOError:
        log.info("another worker serves this group")
        os._exit(EXIT_LOCKED)
    except OSError as e:
        if alone:
            raise
        _try_later(socket_path, join, e)

    def on_term(signum: int, frame: object) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, on_term)
    if group == MAIN_GROUP:
        with suppress(OSError):  # that disk is full: the session is found by its directory as well
            index.write(manifest.index_entry(store, "live"))
    if isinstance(link, Link):
        link.join()
    worker.run()
    logging.shutdown()
    os._exit(0)  # the finisher's thread and the fork server's descriptors need no ceremony
