"""A process that forks workers and kills them where it is told; see :mod:`sweeping`.

Usage: executioner.py. It has everything imported, so a worker costs milliseconds. A request is a line of JSON:

``runtime``, ``directory``, ``session``, ``group``
    Whom the worker serves. It has no supervisor.
``environment``
    Variables to set.
``constants``
    Values by ``module:NAME``: small chunks and segments, so that a short run has many steps.
``at``
    The system call at which it is killed, counted from 1; 0: none.
``step``
    Or ``[label, "before" | "after", n]``: it kills itself at the n-th time of a step in :data:`STEPS`.
``asked``
    A file: while it is there somebody asks for the session to be stopped, and removes it once that is answered.
``full``
    Or ``[label, n]``: the disk is full for the first n times of a step.
``stderr``
    File for what it says.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import kill_points
from recd import frames, link, worker
from recd.fit import settings_of
from recd.registry import MAIN_GROUP
from recd.session import SessionStore
from recd.sinks import csv, hdf5, npz
from recd.video import codecs
from recd_client.options import SinkOptions
from recd_client.schema import Schema

LOADED: Final = (frames, csv, hdf5, npz)
_PATIENCE_S: Final = 60
#: The labelled steps from the ring to a finished recording, as ``module:Class.function``.
STEPS: Final = {
    "log append": ("recd.log_writer:LogWriter.append",),
    "log cut": ("recd.log_writer:LogWriter.trim",),
    "free": ("recd_client.backend:RingConsumer.free",),
    "checkpoint save": ("recd.checkpoint:Checkpoint.save",),
    "journal note": ("recd.journal:Journal.note",),
    "csv write": ("recd.sinks.csv:CSVSink.write",),
    "csv finish": ("recd.sinks.csv:CSVSink.finish",),
    "build": ("recd.sinks.npz:NPZSink.build", "recd.sinks.hdf5:HDF5Sink.build"),
    "part put": ("recd.parts:PartsFile.put",),
    "seal": ("recd.samples:seal", "recd.films:seal"),
    "seal: hash": ("recd.parts:hash_file",),
    "seal: sync": ("recd.parts:sync_directory",),
    "rename": ("os:rename", "recd.parts:rename_new"),
    "result": ("recd.session:SessionStore.put_result",),
    "ring removed": ("recd_client.shm:Segment.unlink",),
    "manifest": ("recd.manifest:write_text",),
    "index": ("recd.index:write",),
    "remove": ("recd.session:SessionStore.remove",),
}
#: Those of a video.
VIDEO_STEPS: Final = {
    "shot put": ("recd.shots:ShotIndex.put",),
    "shot cut": ("recd.shots:ShotIndex.cut",),
    "ffmpeg start": ("recd.pieces:Encoder",),
    "ffmpeg feed": ("recd.video.encoder:Encoder.feed",),
    "ffmpeg finish": ("recd.video.encoder:Encoder.finish",),
    "count": ("recd.pieces:_count",),
    "join": ("recd.video.files:join",),
    **{
        label: STEPS[label] for label in ("log append", "free", "checkpoint save", "journal note", "part put")
    },
    **{label: STEPS[label] for label in ("seal", "seal: hash", "seal: sync", "rename", "result")},
}


#: Those of a stop from outside; the last one only where the simulation does not end its stream by itself.
STOP_STEPS: Final = {
    "stop noted": ("recd.session:SessionStore.put_stopped",),
    "stop asked": ("recd.track:Track.ask_to_stop",),
    "stop answered": ("recd.requests:Requests._stop_session",),
    "cut noted": ("recd.stopping:write_json",),
    "cut off": ("recd.stopping:Stopping._cut_off",),
}


def _place(dotted: str) -> tuple[Any, str]:
    """Owner and name of what is to be replaced."""
    module, _, path = dotted.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def _replace_step(label: str, replacement: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    for dotted in {**STEPS, **VIDEO_STEPS, **STOP_STEPS}[label]:
        owner, name = _place(dotted)
        setattr(owner, name, replacement(getattr(owner, name)))


def _be_full(label: str, times: int) -> None:
    """The first so many times of a step there is no room."""
    left = times

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return call

    _replace_step(label, failing)


def _die_at(label: str, when: str, nth: int) -> None:
    """Kill this process before or after the n-th time of a step."""
    count = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            mine = count == nth
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **named)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    _replace_step(label, dying)


def _ask_to_stop(asked: Path) -> None:
    """Have the worker asked to stop its session, as long as the file is there."""

    def requests(self: link.NoLink) -> Iterator[dict[str, Any]]:
        if asked.exists():
            yield {"id": 0, "op": "stop_session", "by": "recd stop"}
            asked.unlink(missing_ok=True)

    link.NoLink.requests = requests  # type: ignore[method-assign]


def _work(request: dict[str, Any]) -> None:
    """Be the worker; one that never ends is ended, and its test fails."""
    signal.alarm(_PATIENCE_S)
    os.environ.update(request["environment"])
    said = os.open(request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 2)
    os.close(said)
    for dotted, value in request["constants"].items():
        owner, name = _place(dotted)
        setattr(owner, name, type(getattr(owner, name))(value))
    if request.get("step"):
        _die_at(*request["step"])
    if request.get("asked"):
        _ask_to_stop(Path(request["asked"]))
    if request.get("full"):
        _be_full(*request["full"])
    worker.main(*(request[k] for k in ("runtime", "directory", "session", "group")), alone=True)
    os._exit(0)


def _try_encoders(store: SessionStore) -> None:
    """Find the encoder out here, once for all the workers."""
    for stream in store.streams():
        for sink in stream["sinks"]:
            if sink["kind"] == "video":
                options = SinkOptions.from_json(sink)
                codecs.choose(settings_of(options, Schema.from_json(stream["schema"])), ".mp4")


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["group"] != MAIN_GROUP:
            _try_encoders(SessionStore(Path(request["directory"]), request["session"]))
        ended = kill_points.run(lambda request=request: _work(request), request.get("at", 0))  # type: ignore[misc]
        print(json.dumps(vars(ended)), flush=True)


if __name__ == "__main__":
    main()
