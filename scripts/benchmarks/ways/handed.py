"""A queue, and somebody else who writes what comes out of it, in the best way there is for the kind of sample."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

from ..kinds import ARRAYS, FIELDS, FRAMES, ROWS, Kind, Sample
from .base import Way
from .inline import CSVInline, HDF5Inline
from .video import FFmpegInline

#: What may be in a queue beside samples.
_END: Final = "end"
_SETTLE: Final = "settle"
_PATIENCE_S: Final = 120

_WRITERS: Final[dict[str, type[Way]]] = {
    ROWS: CSVInline,
    FIELDS: CSVInline,
    ARRAYS: HDF5Inline,
    FRAMES: FFmpegInline,
}
_NEEDS: Final = {ARRAYS: "h5py", FRAMES: "imageio_ffmpeg"}


class _HandedOver(Way):
    """A queue, and somebody else who writes what comes out of it."""

    families: ClassVar = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    _queue: Any
    _idle: Any
    _other: Any

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        needed = _NEEDS.get(kind.family)
        if needed is not None and find_spec(needed) is None:
            raise ImportError(name=needed)
        self._is_dict = kind.family == FIELDS

    def write(self, data: Sample, t: float) -> object:
        """Hand a copy over: whoever takes it comes to look at it later."""
        copy = {name: value.copy() for name, value in data.items()} if self._is_dict else data.copy()
        self._queue.put((t, copy))
        return None

    def settle(self) -> None:
        """Everything is written."""
        self._idle.clear()
        self._queue.put(_SETTLE)
        if not self._idle.wait(_PATIENCE_S):
            raise TimeoutError(f"{self.name}: the other side does not answer")

    def close(self) -> None:
        """End the other one."""
        self._queue.put(_END)
        self._other.join()

    def found(self) -> int | None:
        """What the other one's file holds."""
        return int((self.directory / "found").read_text())


class QueueAndThread(_HandedOver):
    """``queue.Queue`` and a thread."""

    name = "queue + thread"

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        self._queue, self._idle = queue.Queue(), threading.Event()
        self._other = threading.Thread(target=_serve, args=(self._queue, self._idle, directory, kind))
        self._other.start()


class ProcessQueue(_HandedOver):
    """``multiprocessing.Queue`` and a process."""

    name = "multiprocessing.Queue + process"

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        context = multiprocessing.get_context("spawn")
        self._queue, self._idle = context.Queue(), context.Event()
        self._other = context.Process(target=_serve, args=(self._queue, self._idle, directory, kind))
        self._other.start()

    def helpers(self) -> list[int]:
        """The process."""
        return [self._other.pid]


def _serve(source: Any, idle: Any, directory: Path, kind: Kind) -> None:
    """Write samples to a file until the queue says that it is over."""
    writer = _WRITERS[kind.family](directory, kind)
    while True:
        item = source.get()
        if isinstance(item, tuple):
            t, data = item
            writer.write(data, t)
        elif item == _SETTLE:
            idle.set()
        else:
            break
    writer.close()
    (directory / "found").write_text(str(writer.found()))
