"""The recorder behind a wrapper: the caller's, or one of the wrapper's own, and when that is closed."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Mapping
from typing import Any, Final

from ..errors import OptionError, RecdError
from ..options import SinkOptions
from ..recorder import Recorder
from ..stream import Stream
from ..summary import Summary

#: Streams of one recording, below what a daemon allows by default; then another recording is begun.
_MOST_STREAMS: Final = 512


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
        self._own: Recorder | None = None
        self._finalizer: Any = None
        self._options: dict[str, Any] = {
            "name": name, "dir": self.folder, "overwrite": overwrite, "metadata": metadata,
        }  # fmt: skip
        self._names: set[str] = set()
        self._streams: list[Stream] = []

    @property
    def recorder(self) -> Recorder:
        """The recorder; opened by the first call."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Recorder(**self._options)
            self._finalizer = weakref.finalize(self._owner(), _let_go, self._own)
            self._finalizer.atexit = False  # the recorder sees to that itself, for longer
        return self._own

    def path(self, filename: str) -> str:
        """The file's path: below the folder, whosever the recorder is."""
        return os.path.join(self.folder, filename)

    def stream(self, name: str, *sinks: SinkOptions, **options: Any) -> Stream:
        """A new stream of that name, or of one that is still free."""
        if self._given is None and (name in self._names or len(self._names) >= _MOST_STREAMS):
            self.close()  # a file that is made anew, or a recording that is long enough
        free, n = name, 1
        while free in self.recorder.stats() if self._given is not None else free in self._names:
            n += 1
            free = f"{name[:58]}_{n}"
        stream = self.recorder.stream(free, *sinks, **options)
        self._names.add(free)
        self._streams = [s for s in self._streams if s.is_open]
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """All files are finished; of a recorder that was given: will be, once that one is closed."""
        if self._given is not None:
            for stream in self._streams:
                stream.close()
            self._streams.clear()
            return
        if self._own is None:
            return
        self.summary = summary = self._own.close()
        self._own = None
        self._finalizer.detach()
        self._names.clear()
        self._streams.clear()
        if not summary.complete:
            warnings.warn(f"{summary.session}: {summary.reason}", RuntimeWarning, stacklevel=3)


def _let_go(recorder: Recorder) -> None:
    """Close the recorder of a wrapper that nobody has any more; the daemon finishes its files alone."""
    with contextlib.suppress(RecdError):
        recorder.close(timeout=0)
