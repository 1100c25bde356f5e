"""What a simulation does without recd: writes every format itself, in its loop. The demo's yardstick."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from ..video import codecs, command, ffmpeg

Sample = Mapping[str, npt.NDArray[np.float64]]


class InlineRecorder:
    """Writes samples and frames the way that one would by hand; each method is one call of the loop.

    Parameters
    ----------
    directory : Path
        Where the files go.
    sample : dict of arrays
        An example of what will be written.
    frame : (height, width, 3) uint8
        Likewise.
    fps : int
        Frames per second of the video.
    """

    def __init__(self, directory: Path, sample: Sample, frame: npt.NDArray[np.uint8], *, fps: int) -> None:
        self._npz_path = directory / "inline.npz"
        self._samples: list[tuple[float, dict[str, npt.NDArray[np.float64]]]] = []

        self._csv_file = (directory / "inline.csv").open("w", newline="")
        self._csv = csv.writer(self._csv_file)
        columns = (f"{name}_{i}" for name, a in sample.items() for i in range(a.size))
        self._csv.writerow(["timestamp", *columns])

        self._hdf5 = h5py.File(directory / "inline.h5", "w")
        self._time = self._hdf5.create_dataset("timestamp", (0,), maxshape=(None,), dtype=np.float64)
        self._datasets = {
            name: self._hdf5.create_dataset(name, (0, *a.shape), maxshape=(None, *a.shape), dtype=a.dtype)
            for name, a in sample.items()
        }
        self._ffmpeg = _start_ffmpeg(directory / "inline.mp4", frame, fps)

    def __enter__(self) -> InlineRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def write_csv(self, sample: Sample, t: float) -> None:
        """Format one row."""
        self._csv.writerow([t, *(value for a in sample.values() for value in a.ravel().tolist())])

    def write_npz(self, sample: Sample, t: float) -> None:
        """Keep a copy in memory: the format has no way to append."""
        self._samples.append((t, {name: a.copy() for name, a in sample.items()}))

    def write_hdf5(self, sample: Sample, t: float) -> None:
        """Make each dataset longer by one."""
        n = self._time.shape[0]
        self._time.resize(n + 1, axis=0)
        self._time[n] = t
        for name, dataset in self._datasets.items():
            dataset.resize(n + 1, axis=0)
            dataset[n] = sample[name]

    def write_frame(self, frame: npt.NDArray[np.uint8], _t: float) -> None:
        """Hand a frame to ffmpeg, waiting while its pipe is full."""
        cast(IO[bytes], self._ffmpeg.stdin).write(frame.data)

    def close(self) -> None:
        """Finish all four files; again does nothing."""
        if self._csv_file.closed:
            return
        self._csv_file.close()
        columns: dict[str, Any] = {
            name: np.stack([s[name] for _, s in self._samples]) for name in self._datasets
        }
        np.savez_compressed(self._npz_path, timestamp=np.array([t for t, _ in self._samples]), **columns)
        self._hdf5.close()
        self._ffmpeg.communicate()


def _start_ffmpeg(path: Path, frame: npt.NDArray[np.uint8], fps: int) -> subprocess.Popen[bytes]:
    """An ffmpeg with the very encoder and settings that recd chooses for such frames."""
    height, width, channels = frame.shape
    settings = codecs.VideoSettings(width, height, channels, Fraction(fps))
    arguments = command.arguments(settings, codecs.choose(settings), path)
    return subprocess.Popen(
        [ffmpeg.executable(), *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
