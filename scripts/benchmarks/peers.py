"""What a simulation can do instead of calling recd: the same sample, kept or written by hand."""

from __future__ import annotations

import csv
import multiprocessing
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .timing import Step, time_calls

Sample = Any
#: What may be in a queue beside samples.
_END: Final = "end"
_SETTLE: Final = "settle"


class Way(ABC):
    """One way to get samples out of a loop.

    Parameters
    ----------
    name : str
        What the table calls it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each call, each after a step of the simulation."""
        return time_calls(self.write, data, times, step)

    @abstractmethod
    def write(self, data: Sample, t: float) -> object:
        """The call that is timed."""

    def settle(self) -> None:  # noqa: B027  - most have nothing in the air
        """Nothing of it goes on in the background any more."""

    def close(self) -> None:  # noqa: B027  - not all hold something
        """Let go of everything."""


class CSVInline(Way):
    """``csv.writer``, in the loop."""

    def __init__(self, path: Path) -> None:
        super().__init__("csv.writer, inline")
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)

    def write(self, data: Sample, t: float) -> object:
        """Format a row."""
        return self._writer.writerow([t, *data.tolist()])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class HDF5Inline(Way):
    """h5py, in the loop: one dataset, longer by one with each sample.

    Raises
    ------
    ImportError
        There is no h5py.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        import h5py

        super().__init__("h5py resize and assign, inline")
        self._file = h5py.File(path, "w")
        self._dataset = self._file.create_dataset("data", (0, *shape), "f8", maxshape=(None, *shape))

    def write(self, data: Sample, t: float) -> object:
        """Append a row."""
        n = self._dataset.shape[0]
        self._dataset.resize(n + 1, axis=0)
        self._dataset[n] = data
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ListAppend(Way):
    """Copies in a list: the cheapest that there is, and all of it is lost with the process."""

    def __init__(self) -> None:
        super().__init__("list.append(x.copy()), never saved")
        self._kept: list[NDArray[np.float64]] = []

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Written out, as a call of our own would be a fifth of the cost."""
        now, append, took = time.perf_counter_ns, self._kept.append, [0] * len(times)
        for i in range(len(times)):
            step()
            start = now()
            append(data.copy())
            took[i] = now() - start
        return took

    def write(self, data: Sample, t: float) -> object:
        """Keep a copy."""
        self._kept.append(data.copy())
        return None

    def settle(self) -> None:
        """Memory stays bounded."""
        self._kept.clear()


class DictAppend(Way):
    """Copies of dicts in a list."""

    def __init__(self) -> None:
        super().__init__("list.append of a dict of copies, never saved")
        self._kept: list[dict[str, NDArray[np.float64]]] = []

    def write(self, data: Sample, t: float) -> object:
        """Keep a copy."""
        self._kept.append({name: value.copy() for name, value in data.items()})
        return None

    def settle(self) -> None:
        """Memory stays bounded."""
        self._kept.clear()


class _HandedOver(Way):
    """A queue, and somebody else who writes what comes out of it."""

    _queue: Any
    _idle: Any
    _other: Any

    def write(self, data: Sample, t: float) -> object:
        """Hand a copy over: whoever takes it comes to look at it later."""
        self._queue.put((t, data.copy()))
        return None

    def settle(self) -> None:
        """Everything is written."""
        self._idle.clear()
        self._queue.put(_SETTLE)
        self._idle.wait()

    def close(self) -> None:
        """End the other one."""
        self._queue.put(_END)
        self._other.join()


class QueueAndThread(_HandedOver):
    """``queue.Queue`` and a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__("queue, and a thread that writes CSV")
        self._queue, self._idle = queue.Queue(), threading.Event()
        self._other = threading.Thread(target=_write_csv, args=(self._queue, self._idle, path))
        self._other.start()


class ProcessQueue(_HandedOver):
    """``multiprocessing.Queue`` and a process."""

    def __init__(self, path: Path) -> None:
        super().__init__("multiprocessing.Queue, and a process that writes CSV")
        context = multiprocessing.get_context("spawn")
        self._queue, self._idle = context.Queue(), context.Event()
        self._other = context.Process(target=_write_csv, args=(self._queue, self._idle, path))
        self._other.start()


def _write_csv(source: Any, idle: Any, path: Path) -> None:
    """Write samples to a CSV file until the queue says that it is over."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        while (item := source.get()) != _END:
            if item == _SETTLE:
                idle.set()
                continue
            t, data = item
            writer.writerow([t, *data.tolist()])


class FFmpegInline(Way):
    """Frames written to ffmpeg by imageio-ffmpeg, with its own settings, in the loop.

    Raises
    ------
    ImportError
        There is no imageio-ffmpeg.
    """

    def __init__(self, path: Path, width: int, height: int, fps: int) -> None:
        import imageio_ffmpeg

        super().__init__("imageio-ffmpeg, inline")
        self._writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=fps)
        self._writer.send(None)

    def write(self, data: Sample, t: float) -> object:
        """Hand a frame to ffmpeg, waiting while its pipe is full."""
        return self._writer.send(data)

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()
