"""What a worker is asked: by clients, the command line and the supervisor, through its link.

Most answers wait for a condition, which the loop looks at in every turn: :class:`Pending`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recd_client import shm
from recd_client.errors import (
    NoSuchSessionError,
    OptionError,
    OutputError,
    OutputExistsError,
    ProtocolError,
    RecdError,
    to_wire,
)
from recd_client.options import SinkOptions
from recd_client.schema import Schema

from . import fit, marks, places
from .registry import over

if TYPE_CHECKING:
    from .track import Track
    from .worker import Worker

#: Less than a client waits for its answer.
_TRIAL_S: Final = 25.0
#: Characters of the name of who stopped a session.
_MAX_NAME: Final = 100
#: How long a turn of the loop syncs for a flush, and at least one stream.
_SYNC_SLICE_S: Final = 0.02
_KEY_CHARACTERS: Final = 64

log = logging.getLogger(__name__)


class Pending:
    """A request that is answered when a condition holds, or unanswered (``late``: refused) at its deadline."""

    def __init__(
        self,
        request: dict[str, Any],
        ready: Callable[[], dict[str, Any] | None],
        late: Callable[[], RecdError] | None = None,
    ) -> None:
        self.id = request["id"]
        self.deadline = time.monotonic() + min(float(request.get("timeout_s") or 0.0), 60.0)
        self.ready = ready
        self.late = late


class Requests:
    """Answers requests; called from the worker's loop thread.

    Parameters
    ----------
    worker : Worker
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pending: list[Pending] = []
        self._stop_id: int | None = None
        self._stop_deadline = 0.0

    def handle(self, request: dict[str, Any]) -> None:
        """Answer a request, now or once its condition holds."""
        try:
            operation = {
                "attach": self._attach,
                "flush": self._flush,
                "taken": self._taken,
                "close_stream": self._close_stream,
                "close": self._close,
                "stop_session": self._stop_session,
                "mark": self._mark,
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
        self._worker.link.send({"id": request_id, "ok": True, **reply})

    def _refuse(self, request_id: Any, error: BaseException) -> None:
        if not isinstance(error, RecdError):
            log.error("request %s", request_id, exc_info=error)
        self._worker.link.send({"id": request_id, "ok": False, "error": to_wire(error)})

    def _attach(self, request: dict[str, Any]) -> dict[str, Any] | None:
        sinks_asked = [SinkOptions.from_json(s) for s in request.get("sinks") or []]
        videos = fit.to_try(sinks_asked, Schema.from_json(request.get("schema")))
        if not videos and not self._worker.store.ending(request):
            return self._attached(request)
        trial = self._worker.trials.submit(lambda job: fit.try_out(videos))

        def ready() -> dict[str, Any] | None:
            if not trial.done.is_set():
                return None
            if trial.error is not None:
                raise trial.error
            if self._worker.store.ending(request):
                return None
            return self._attached(request)

        def late() -> RecdError:
            names = ", ".join(map(repr, self._worker.store.ending(request)))
            what = (
                f"stream {names} is still being finished"
                if names
                else "its encoder could not be tried in time"
            )
            return OutputExistsError(
                f"stream {request.get('stream')!r}: {what}", "try again, or choose another filename"
            )

        self._pending.append(Pending({**request, "timeout_s": _TRIAL_S}, ready, late))
        return None

    def _attached(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._worker.closing:
            raise over(self._worker.store.session)
        spec = self._worker.store.attach(request, self._worker.tag)
        if spec["group"] == self._worker.group and spec["stream"] not in self._worker.tracks:
            self._worker.load(spec)
        elif spec["group"] != self._worker.group:  # the client must find it although that worker only starts
            shm.Doorbell(spec["doorbell"], create=True).close()
        options = [SinkOptions.from_json(sink) for sink in spec["sinks"]]
        files = [f for f, option in zip(spec["finals"], options, strict=True) if option.suffixes]
        return {**{k: spec[k] for k in ("ring", "doorbell", "group")}, "files": files}

    def _track(self, request: dict[str, Any]) -> Track:
        track = self._worker.tracks.get(str(request.get("stream")))
        if track is None:
            raise NoSuchSessionError(f"no stream {request.get('stream')!r} here", "attach it first")
        return track

    def _flush(self, request: dict[str, Any]) -> None:
        heads = {str(k): int(v) for k, v in request["heads"].items() if k in self._worker.tracks}
        for name, head in heads.items():
            self._worker.tracks[name].flush_to = max(self._worker.tracks[name].flush_to, head)

        def ready() -> dict[str, Any] | None:
            for name, head in heads.items():
                if name in self._worker.tracks and not self._worker.tracks[name].safe(head):
                    return None
            if request.get("durable") and not self._make_durable(heads):
                return None
            return {"done": True, "progress": self._worker.progress}

        self._pending.append(Pending(request, ready))

    def _make_durable(self, heads: dict[str, int]) -> bool:
        """Make everything before these positions durable; whether all is.

        Some streams in each turn of the loop, as many take seconds, in which no ring may fill up; and no stream
        again for whoever asks once more, or many would never be done within one question.
        """
        end_s = time.monotonic() + _SYNC_SLICE_S
        for name, head in heads.items():
            track = self._worker.tracks.get(name)
            if track is None or track.durable_to >= head:
                continue
            if not track.sync_all():
                return False
            track.durable_to = head
            if time.monotonic() >= end_s:
                self._worker.doorbell.ring()  # the next turn comes at once
                return False
        return True

    def _taken(self, request: dict[str, Any]) -> None:
        track, sink, position = self._track(request), int(request["sink"]), int(request["position"])
        runner = track.runners[sink]
        self._pending.append(
            Pending(
                request,
                lambda: {"done": True} if runner.has(position) else None,
            )
        )

    def _close_stream(self, request: dict[str, Any]) -> dict[str, Any]:
        track = self._track(request)
        change = {"filename": request.get("filename"), "fps": request.get("fps")}
        if change["filename"]:
            final = Path(os.path.normpath(self._worker.store.directory / change["filename"]))
            bearers = [r for r in track.runners if final.suffix.lower() in r.options.suffixes]
            if len(bearers) != 1:
                raise OptionError(f"{final} fits {len(bearers)} files of {track.name!r}", "name one")
            change["filename"] = str(
                places.change(bearers[0].naming, final, self._worker.store.spec["overwrite"])
            )
        if change["filename"] or change["fps"]:
            self._worker.store.put_rename(track.name, change)
            self._worker.rename(track.name, change)
        return {"files": [str(r.naming.final) for r in track.runners if r.options.suffixes]}

    def _close(self, request: dict[str, Any]) -> None:
        self._worker.closing = True
        with suppress(OSError):  # it is asked again
            self._worker.store.put_closing()
        self._pending.append(Pending(request, lambda: None))

    def _stop_session(self, request: dict[str, Any]) -> dict[str, Any]:
        self._worker.stop_recording(str(request.get("by") or "recd stop")[:_MAX_NAME])
        return {}

    def _mark(self, request: dict[str, Any]) -> dict[str, Any]:
        kept, store = self._worker.marks, self._worker.store
        if kept is None or self._worker.told:
            raise over(store.session)
        mark = marks.checked(request, [s["stream"] for s in store.streams()])
        try:
            return {"mark": kept.add(mark, str(request.get("key"))[:_KEY_CHARACTERS])}
        except OSError as e:
            raise OutputError(
                f"mark {mark['label']!r} cannot be stored: {e.strerror or e}: {store.path}",
                "see: recd status",
            ) from None

    def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        streams = [*self._worker.spoilt.values()]
        for track in self._worker.tracks.values():
            self._worker.caution.hold(track.name)
            streams.append(track.status())
        told = {} if self._worker.marks is None else self._worker.marks.status()
        told["alerts"] = [] if self._worker.alerts is None else self._worker.alerts.status()
        return {"streams": streams, "progress": self._worker.progress, **told}

    def answer_pending(self) -> None:
        """Answer what waits, where its condition holds or its deadline has come."""
        now = time.monotonic()
        for pending in list(self._pending):
            try:
                reply = pending.ready()
            except (RecdError, OSError) as e:
                self._pending.remove(pending)
                self._refuse(pending.id, e)
                continue
            if reply is None and now >= pending.deadline:
                if pending.late is not None:
                    self._pending.remove(pending)
                    self._refuse(pending.id, pending.late())
                    continue
                reply = {"done": False, "progress": self._worker.progress, "summary": None}
            if reply is not None:
                self._pending.remove(pending)
                self._reply(pending.id, reply)

    def _ask_stop(self, request: dict[str, Any]) -> None:
        self._worker.stopping = True
        self._stop_id = int(request["id"])
        self._stop_deadline = time.monotonic() + float(request.get("deadline_s") or 0.0)

    @property
    def may_finish(self) -> bool:
        """Whether whoever asked to stop still waits for files to be finished."""
        return time.monotonic() < self._stop_deadline

    def answer_stop(self, *, finished: bool, why: str) -> bool:
        """Everything is put away; whether somebody asked for it."""
        if self._stop_id is None:
            return False
        self._reply(self._stop_id, {"finished": finished, "why": why})
        return True

    def answer_close(self, summary: dict[str, Any]) -> None:
        """The session has ended: nothing else is waited for."""
        for pending in self._pending:
            self._reply(pending.id, {"done": True, "progress": 0, "summary": summary})
        self._pending.clear()
