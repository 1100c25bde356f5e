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
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from recd_client import process, shm
from recd_client.errors import OutputError, RecdError, to_wire

from . import __version__, index, manifest, syncing
from .caution import Caution
from .finisher import Finisher
from .guests import consent
from .link import Link, NoLink
from .loading import Loader
from .marks import Marks
from .pace import Pace
from .registry import EXIT_LATER, EXIT_LOCKED, MAIN_GROUP
from .requests import Requests
from .session import GroupLock, SessionStore, doorbell_name
from .stalls import tell_rings
from .track import Track

if TYPE_CHECKING:
    from .alerts.keeper import Keeper

_SLEEP_S: Final = 0.05
_FAREWELL_S: Final = 2.0
_LOOK_EVERY_NS: Final = 20_000_000
#: How often it is looked whether somebody has deleted the files that are written to.
_DELETED_EVERY_NS: Final = 500_000_000
_END_AGAIN_NS: Final = 1_000_000_000

log = logging.getLogger(__name__)


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
        self._stopped = store.stopped is not None
        self.stopping = False
        self.ended = False
        self.requests = Requests(self)
        #: Those from outside; the main worker keeps them.
        self.marks = Marks(store.path) if group == MAIN_GROUP else None
        spec = store.spec
        self.tag = shm.runtime_tag(runtime)
        self.doorbell = shm.Doorbell(doorbell_name(self.tag, store.session, group), create=True)
        self.finisher = Finisher(self.doorbell.ring)
        #: Tries encoders out, for streams that are to begin: they do not wait for files that are being built.
        self.trials = Finisher(self.doorbell.ring)
        self.link = link
        self._client = process.Watch(int(spec["client_pid"]), int(spec["client_ticks"]))
        #: Also when the machine has restarted since: then another process may have its pid and start time.
        self.client_gone = spec["boot_id"] != process.boot_id().hex()
        #: Only while there is a daemon, and a simulation: not where somebody else's recording is finished.
        self.alerts: Keeper | None = None
        if group == MAIN_GROUP and store.spec.get("alerts") and isinstance(link, Link):
            from .alerts.keeper import Keeper

            self.alerts = Keeper(store, runtime / "recd.sock")
        self._outcome: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._finished_progress = 0
        self._looked_ns = self._deleted_due_ns = 0
        self._pace = Pace()
        self.caution = Caution(store.path / f"{group}.caution", crashed)
        self._painter = Finisher(self.doorbell.ring)
        syncer = Finisher(self.doorbell.ring, syncing.THREADS)
        self._loader = Loader(store, self.caution, self.finisher, syncer, self._painter)
        #: Streams that ended otherwise than they should, for ``recd status``.
        self.spoilt: dict[str, dict[str, Any]] = {}
        for stream in store.streams():
            if stream["group"] == group:
                result = store.result(stream["stream"])
                if result is None:
                    self.load(stream)
                    continue
                # What a worker did not come to that died behind the outcome: a long session does not keep it.
                shm.unlink_segment(stream["ring"])
                self.store.tidy(stream["stream"], result)
                if not result["complete"]:
                    self.spoilt[stream["stream"]] = manifest.stream_status(stream["stream"], result)

    # --- the loop --------------------------------------------------------------------------------
    def run(self) -> None:
        """Work until all is finished, or until told to stop."""
        while not self.ended:
            for request in self.link.requests():
                self.requests.handle(request)
                self._pace.hurry()
            did = self._drain()
            for track in list(self.tracks.values()):
                self.caution.hold(track.name)
                did |= track.work(self._drain)
            self._look_around()
            did |= self._finish_tracks()
            self.requests.answer_pending()
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
        """Now and then: is the client alive, is a sync due, or done."""
        now = time.monotonic_ns()
        if now - self._looked_ns < _LOOK_EVERY_NS:
            return
        self._looked_ns = now
        self.caution.look()
        if now > self._deleted_due_ns:
            self._deleted_due_ns = now + _DELETED_EVERY_NS
            if any(track.deleted for track in self.tracks.values()):
                self._leave_deleted()
            if (
                not self._stopped and self.store.stopped is not None
            ):  # the supervisor died before it told this worker
                self._end_streams()
        if not self.tracks and (self.group != MAIN_GROUP or self.closing or self.client_gone):
            try:
                self._end()
            except OSError as e:  # tried again: a full disk has room some time
                self._looked_ns = now + _END_AGAIN_NS
                log.warning("the session's end cannot be written down: %s", e)
        if not self.client_gone and not self._client.is_alive():
            log.info("session %s: its process is gone; finishing its files", self.store.session)
            self.client_gone = True
            for track in self.tracks.values():
                track.producer_gone = True
        for track in self.tracks.values():
            if track.rounds is not None:
                track.rounds.look()

    def _leave_deleted(self) -> NoReturn:
        """Somebody has deleted the session's files: a worker that begins once they are back goes on from there."""
        log.error("session %s: its files in %s were deleted", self.store.session, self.store.path)
        logging.shutdown()
        os._exit(EXIT_LATER)

    def stop_recording(self, by: str) -> None:
        """Somebody outside wants the session to end: its streams do, and no more are attached."""
        if self.group == MAIN_GROUP:  # the one who writes the session's files
            with suppress(OSError):  # the disk is full: the rings and the supervisor know
                self.store.put_stopped(by)
        self._end_streams()

    def _end_streams(self) -> None:
        self.closing = self._stopped = True
        for track in self.tracks.values():
            track.ask_to_stop()

    @property
    def told(self) -> bool:
        """Whether the manifest is written: nothing can be added to the session any more."""
        return self._outcome is not None

    # --- streams -----------------------------------------------------------------------------------
    def load(self, spec: dict[str, Any]) -> None:
        """Take up a stream as its files describe it."""
        name = str(spec["stream"])
        live = not (self.closing or self.client_gone) and self._client.is_alive()
        track = self._loader.load(spec, live=live)
        track.producer_gone = self.client_gone
        self.tracks[name] = track
        if change := self.store.rename_of(name):
            self.rename(name, change)
        if self._stopped:
            track.ask_to_stop()

    def _finish_tracks(self) -> bool:
        """Write down the outcome of every track that is done, and let go of it."""
        did = False
        for name, track in list(self.tracks.items()):
            self.caution.hold(name)
            if track.resting or not track.finish():
                continue
            if self.alerts is not None and self.alerts.waits_for(name):
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
            self.store.tidy(name, result)
            del self.tracks[name]
            did = True
        return did

    def _end(self) -> None:
        """Everything of this group is finished; the main worker also ends the session."""
        if self.group == MAIN_GROUP:
            streams = self.store.streams()
            if not all(self.store.has_result(s["stream"]) for s in streams):
                return
            # Again, for a worker that died before it could; also of an attach that it did not come to the end of.
            shm.unlink_session(self.tag, self.store.session)
            if self.alerts is not None and not self.alerts.finished():
                return
            if self._outcome is None:  # else the index could not be written
                gone = self.client_gone and not self.closing
                self._outcome = manifest.end_session(self.store, client_gone=gone)
            summary, entry = self._outcome
            index.write(entry)
            self.requests.answer_close(summary)
        self.doorbell.unlink()  # before the supervisor knows: it would not look after one that dies in between
        self.link.leave(_FAREWELL_S)
        self.ended = True

    def rename(self, name: str, change: dict[str, Any]) -> None:
        """Files of the stream that are not finished yet take another name, videos another speed."""
        for runner in self.tracks[name].runners:
            filename = change.get("filename")
            if filename and Path(filename).suffix.lower() in runner.options.suffixes:
                runner.rename(Path(filename))
            if change.get("fps"):
                runner.retime(float(change["fps"]))

    @property
    def progress(self) -> int:
        """Grows while anything gets on."""
        return self._finished_progress + sum(t.progress for t in self.tracks.values())

    # --- stopping ------------------------------------------------------------------------------------
    def _stop(self) -> bool:
        """Put everything away such that a later worker goes on; waits for files that are being finished."""
        finishing = self.closing or self.client_gone
        if finishing and self.tracks and self.requests.may_finish:
            return False
        for track in self.tracks.values():
            track.sync_all()
            track.save()
        if self.alerts is not None:
            self.alerts.stop()
        self.finisher.stop(5.0)
        self._painter.stop(5.0)
        why = "its process still runs" if not finishing else "its files were not finished in time"
        asked = self.requests.answer_stop(finished=not self.tracks and finishing, why=why)
        for track in self.tracks.values():
            track.close()
        if asked:
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
    if group == MAIN_GROUP and not consent.foreign():  # a daemon that took it up would trust it
        with suppress(OSError):  # that disk is full: the session is found by its directory as well
            index.write(manifest.index_entry(store, "live"))
    if isinstance(link, Link):
        link.join()
    worker.run()
    logging.shutdown()
    os._exit(0)  # the finisher's thread and the fork server's descriptors need no ceremony
