"""The recorder behind a wrapper: the caller's, or one of the wrapper's own, and when that is closed."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..errors import OptionError, RecdError
from ..options import SinkOptions
from ..recorder import Recorder
from ..stream import Stream
from ..summary import Summary

#: Streams of one recording, below what a daemon allows by default; then another recording is begun, beside
#: the full one while that has open streams.
_MOST_STREAMS: Final = 512


class _Own(NamedTuple):
    """A recorder of the wrapper's own."""

    recorder: Recorder
    finalizer: Any
    #: Those that were open when it was last looked at.
    streams: list[Stream]

    def is_recording(self) -> bool:
        """Whether somebody still holds an open stream of it."""
        self.streams[:] = [s for s in self.streams if s.is_open]
        return bool(self.streams)


class Home:
    """Where the streams of one wrapper are.

    Nothing is opened before the first stream: a wrapper that is made in one process and used in another
    (a vector environment with processes of its own) opens its recorder where it is used.

    Parameters
    ----------
    owner : object
        The wrapper. When it is garbage collected, a recorder of its own is closed.
    folder : str or path-like
        Where a recorder of its own puts its files.
    recorder : Recorder, optional
        The caller's, who closes it.
    name : str
        Of a recorder of its own.
    overwrite : str
        As of :class:`Recorder`.
    metadata : dict
    """

    def __init__(
        self,
        owner: Any,
        folder: str | os.PathLike[str],
        recorder: Recorder | None,
        *,
        name: str,
        overwrite: str,
        metadata: Mapping[str, Any],
    ) -> None:
        if recorder is not None and not isinstance(recorder, Recorder):
            raise OptionError(
                f"recorder={recorder!r:.60}: expected a recd_client.Recorder",
                "leave it out: the wrapper opens one of its own",
            )
        self.folder = os.path.abspath(folder)
        self.summary: Summary | None = None
        self._owner = weakref.ref(owner)
        self._given = recorder
        self._own: _Own | None = None
        #: With as many streams as a recording takes, of which some are open.
        self._retiring: list[_Own] = []
        self._options: dict[str, Any] = {
            "name": name, "dir": self.folder, "overwrite": overwrite, "metadata": metadata,
        }  # fmt: skip
        self._names: set[str] = set()
        self._given_streams: list[Stream] = []

    @property
    def recorder(self) -> Recorder:
        """The recorder; opened by the first call."""
        if self._given is not None:
            return self._given
        if self._own is None:
            recorder = Recorder(**self._options)
            finalizer = weakref.finalize(self._owner(), _let_go, recorder)
            finalizer.atexit = False  # the recorder sees to that itself, for longer
            self._own = _Own(recorder, finalizer, [])
        return self._own.recorder

    def path(self, filename: str) -> str:
        """The file's path: below the folder, whosever the recorder is."""
        return os.path.join(self.folder, filename)

    def stream(self, name: str, *sinks: SinkOptions, **options: Any) -> Stream:
        """A new stream of that name, or of one that is still free."""
        if self._own is not None:
            full = len(self._names) >= _MOST_STREAMS
            if full or (name in self._names and not self._own.is_recording()):  # a file that is made anew
                self._retiring.append(self._own)
                self._own = None
                self._names.clear()
        self._close([own for own in self._retiring if not own.is_recording()])
        free, n = name, 1
        while free in self.recorder.stats() if self._given is not None else free in self._names:
            n += 1
            free = f"{name[:58]}_{n}"
        stream = self.recorder.stream(free, *sinks, **options)
        self._names.add(free)
        streams = self._given_streams if self._own is None else self._own.streams
        streams[:] = [*(s for s in streams if s.is_open), stream]
        return stream

    def close(self) -> None:
        """All files are finished; of a recorder that was given: will be, once that one is closed."""
        if self._given is not None:
            for stream in self._given_streams:
                stream.close()
            self._given_streams.clear()
            return
        if self._own is not None:
            self._retiring.append(self._own)
            self._own = None
            self._names.clear()
        self._close([*self._retiring])

    def _close(self, owns: list[_Own]) -> None:
        with contextlib.ExitStack() as all_of_them:  # also behind one that fails
            for own in reversed(owns):
                all_of_them.callback(self._close_one, own)

    def _close_one(self, own: _Own) -> None:
        self._retiring.remove(own)
        self.summary = summary = own.recorder.close()
        own.finalizer.detach()
        if not summary.complete:
            warnings.warn(f"{summary.session}: {summary.reason}", RuntimeWarning, stacklevel=5)


def _let_go(recorder: Recorder) -> None:
    """Close the recorder of a wrapper that nobody has any more; the daemon finishes its files alone."""
    with contextlib.suppress(RecdError):
        recorder.close(timeout=0)
