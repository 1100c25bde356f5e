"""What the recorder and its streams share: the connection, the clock, the directory, and the registry."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import forks, layout
from .clock import Clock
from .errors import DataLossWarning, OptionError, OutputExistsError, RecordTooLargeError, StreamExistsError
from .options import SinkOptions
from .plain import plain
from .writer import CLOSED, FORKED, IDLE, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from .connection import Connection
    from .stream import Stream

#: Labels of marks that recd itself sets.
SYSTEM_PREFIX: Final = "recd."
MARK_RESET: Final = "recd.reset"
MARK_DISCARD: Final = "recd.discard"
MARK_PAUSE: Final = "recd.pause"
MARK_RESUME: Final = "recd.resume"
#: Marks that are kept for streams whose first sample is still to come.
MAX_EARLY_MARKS: Final = 64


class Mark(NamedTuple):
    """An event on the timeline."""

    label: str
    fields: dict[str, Any]
    t: float
    step: int
    mono_ns: int


class Session:
    """The state of one open recorder.

    Parameters
    ----------
    connection : Connection
    clock : Clock
    directory : Path
        Where relative filenames land.
    overwrite : str
    """

    def __init__(self, connection: Connection, clock: Clock, directory: Path, overwrite: str) -> None:
        self.connection = connection
        self.clock = clock
        self.directory = directory
        #: Held while the registry changes and while a stream is attached.
        self.lock = threading.RLock()
        self.streams: dict[str, Stream] = {}
        self.paused = False
        #: Whether somebody outside has stopped the recording (``recd stop``, ``recd top``).
        self.stopped = False
        self.early_marks: list[Mark] = []
        self._overwrite = overwrite
        self._files: dict[str, str] = {}
        self._state = IDLE
        forks.track(self)

    # --- use ---------------------------------------------------------------------------------------
    def check_usable(self, what: str = "this recorder") -> None:
        """Raise if the recorder is closed or belongs to another process."""
        if self._state != IDLE:
            raise refusal(what, self._state)

    def follow_stop(self) -> None:
        """Have the next call of each stream end it, as somebody outside wants."""
        for stream in list(self.streams.values()):
            stream.follow_stop()

    def stop(self) -> None:
        """Nothing is recorded any more, as somebody outside wants; says so once."""
        with self.lock:
            if self.stopped:
                return
            self.stopped = True
        warnings.warn(
            f"recording {self.connection.session} was stopped from outside (recd stop, recd top, recd ui): "
            "what is written from now on is in no file",
            DataLossWarning,
            stacklevel=4,
        )

    def end(self) -> None:
        """Refuse everything new from now on."""
        self._state = max(self._state, CLOSED)

    @property
    def forked(self) -> bool:
        """Whether this process inherited the session through a fork."""
        return self._state == FORKED

    def after_fork(self) -> None:
        """In a forked child: refuse everything."""
        self.lock = threading.RLock()
        self._state = FORKED

    # --- registry ----------------------------------------------------------------------------------
    def final_path(self, filename: str | os.PathLike[str]) -> str:
        """Where a file of that name ends up."""
        return os.path.normpath(self.directory / filename)

    def take_files(self, stream: str, sinks: Iterable[SinkOptions]) -> dict[str, str | None]:
        """Give the sinks' files to a stream; returns whose those were that it did not have before, None: nobody's.

        Raises
        ------
        StreamExistsError
            One of them has a writer already; nothing was given.
        OutputExistsError
            One of them exists, and may not be replaced.
        """
        wanted: dict[str, str] = {}
        for sink in sinks:
            if sink.filename is None:
                continue
            path = self.final_path(sink.filename)
            owner = wanted.get(path) or self._files.get(path)
            before = self.streams.get(owner) if owner not in (None, stream) else None
            if before is not None and not before.is_open:
                if before.ring is not None and self._overwrite == "error":
                    raise OutputExistsError(
                        f"stream {stream!r}: {sink.filename} was written by stream {owner!r} of this recording",
                        "choose another name, or pass overwrite='replace' or 'number' to Recorder",
                    )
            elif owner is not None and (owner != stream or path in wanted):
                by = "another sink of this stream" if owner == stream else f"stream {owner!r}"
                raise StreamExistsError(
                    f"stream {stream!r}: {sink.filename} is already written by {by}",
                    "give each sink a file of its own",
                )
            if self._overwrite == "error" and not sink.in_parts and os.path.lexists(path):
                raise OutputExistsError(
                    f"stream {stream!r}: {path} exists",
                    "record into another directory, or pass overwrite='replace' or 'number' to Recorder",
                )
            wanted[path] = stream
        before_it = {path: self._files.get(path) for path in wanted if self._files.get(path) != stream}
        self._files.update(wanted)
        return before_it

    def give_back_files(self, taken: Mapping[str, str | None]) -> None:
        """Undo :meth:`take_files`, which returned this."""
        for path, owner in taken.items():
            if owner is None:
                self._files.pop(path, None)
            else:
                self._files[path] = owner

    # --- marks -------------------------------------------------------------------------------------
    def mark(self, label: str, fields: dict[str, Any]) -> None:
        """Put an event into every attached stream; before the first one, keep it for all to come."""
        at = Mark(label, fields, *self.clock.event())
        with self.lock:
            attached = [s for s in self.streams.values() if s.mark(at)]
            if attached or label.startswith(SYSTEM_PREFIX) or any(s.ring for s in self.streams.values()):
                return
            if len(self.early_marks) < MAX_EARLY_MARKS:
                self.early_marks.append(at)
                return
        warnings.warn(
            f"mark {label!r} was dropped: only the first {MAX_EARLY_MARKS} marks before any sample are kept",
            DataLossWarning,
            stacklevel=3,
        )


def checked_mark(label: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a user's mark as plain data.

    Raises
    ------
    OptionError
        The label or a field is not what a mark can hold.
    RecordTooLargeError
        All of it takes too many bytes.
    """
    if not isinstance(label, str) or not label or label.startswith(SYSTEM_PREFIX):
        raise OptionError(
            f"mark label {label!r}: expected a string that does not begin with {SYSTEM_PREFIX!r}",
            "rename the mark",
        )
    flat: dict[str, Any] = plain(fields, f"mark {label!r}")
    size = len(json.dumps({"label": label, "fields": flat}, separators=(",", ":")).encode())
    if size > layout.MAX_MARK_BYTES:
        raise RecordTooLargeError(
            f"mark {label!r} takes {size} bytes, at most {layout.MAX_MARK_BYTES} are allowed",
            "record large values as a stream",
        )
    return flat
