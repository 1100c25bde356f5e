"""The recording of one scene: opened by its first recorder, complete when the last one has stopped."""

from __future__ import annotations

import dataclasses
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from typing import Any, Final

from ..errors import OptionError
from ..options import SinkOptions
from ..recorder import Recorder
from ..stream import Stream
from .settings import Settings

#: Of scenes that are built from now on.
settings = Settings()

_ATTRIBUTE: Final = "_recd_recording"


def recording_of(manager: Any) -> SceneRecording:
    """The recording of the scene whose recorders Genesis' manager keeps."""
    found = getattr(manager, _ATTRIBUTE, None)
    if found is None or found.over:
        found = SceneRecording(manager._step_dt)
        setattr(manager, _ATTRIBUTE, found)
    return found


def open_recorder(name: str, dt: float, chosen: Settings) -> Recorder:
    """A recorder with the settings."""
    gs = sys.modules.get("genesis")
    metadata = {"genesis": getattr(gs, "__version__", None), **(chosen.metadata or {})}
    return Recorder(
        name, dir=chosen.dir, dt=dt, overwrite=chosen.overwrite, durability=chosen.durability, metadata=metadata,
        spool_limit=chosen.spool_limit,
    )  # fmt: skip


class SceneRecording:
    """One session of recd, and who records in it.

    Parameters
    ----------
    dt : float, s
        Length of a step.
    """

    def __init__(self, dt: float) -> None:
        self.settings = settings
        self.over = False
        self._recorder = open_recorder("genesis", dt, settings)
        self._members: list[Any] = []

    def join(self, member: Any) -> None:
        """One more records here."""
        self._members.append(member)

    def leave(self, member: Any) -> None:
        """It records no more. The last one to leave waits until all files are complete."""
        if member in self._members:
            self._members.remove(member)
        if not self._members and not self.over:
            self.over = True
            close(self._recorder)

    def stream(self, data_func: Any, sink: SinkOptions, rate_hz: float) -> Stream:
        """A stream for samples that come at this rate, as Genesis asks for them."""
        if sink.filename is not None:
            sink = sink.named(self.settings.path(sink.filename))
        return self._recorder.start_recording(data_func, dataclasses.replace(sink, hz=rate_hz))

    def flush(self, timeout_s: float | None) -> None:
        """What was recorded so far can be read."""
        self._recorder.flush(timeout=timeout_s)

    def reset(self, member: Any, envs_idx: Any) -> None:
        """Mark a reset, which Genesis tells each member, once."""
        if not self._members or member is not self._members[0]:
            return
        try:
            self._recorder.reset(envs_idx)
        except OptionError:  # a slice, for example
            self._recorder.mark("genesis.reset", envs_idx=repr(envs_idx)[:256])


def stop_at_exit(member: Any, stop: str) -> None:
    """A method that is called when the interpreter ends, before Genesis' own clean-up asks for samples again.

    That is how Genesis itself ends recordings which a program leaves open: ``atexit`` would be too late.
    """
    alive = weakref.ref(member)

    def call() -> None:
        found = alive()
        if found is not None:
            getattr(found, stop)()

    with suppress(AttributeError, RuntimeError):  # a Python without it, or one that is ending already
        threading._register_atexit(call)  # type: ignore[attr-defined]


def close(recorder: Recorder) -> None:
    """All files are complete, or a warning says which are not."""
    summary = recorder.close()
    if not summary.complete:
        text = f"recording in {recorder.directory} is not complete: {summary.reason or 'see its manifest'}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
