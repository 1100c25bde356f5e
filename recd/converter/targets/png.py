"""PNG: each frame a file, with a table of which sample it is; or some of them on one sheet.

``layout = "frames"``: a directory per stream, ``000000.png`` and so on, and ``frames.csv``. ``layout = "sheet"``: one
picture per stream, of frames at equal distances.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ...video import ffmpeg
from ...video.pictures import grid
from ..clips import Pipe
from ..selection import Samples, Selected
from .base import DatasetInfo, Progress, StreamTarget
from .mp4 import no_images

_FORMATS: Final = {1: "gray", 3: "rgb24", 4: "rgba"}
_SHEET_FRAMES: Final = 25
_SHEET_PIXELS: Final = 320
_GAP_PIXELS: Final = 4


class PNGTarget(StreamTarget):
    """Pictures of each stream of images."""

    name = "png"
    options: ClassVar = {"layout": ("frames", "sheet"), "frames": int}

    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(info)
        self._sheet = self.option("layout") == "sheet"
        self.suffix = ".png" if self._sheet else ""

    def refuses(self, samples: Samples) -> str:
        """See :class:`StreamTarget`."""
        return no_images(samples)

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        (samples,) = streams
        assert isinstance(samples, Selected)
        if self._sheet:
            self._write_sheet(path, samples, progress)
        else:
            self._write_frames(path, samples, progress)

    def _write_frames(self, path: Path, samples: Selected, progress: Progress) -> None:
        path.mkdir()
        stream = samples.stream
        t, seq = samples.column(stream.t), samples.column(stream.seq)
        digits = max(6, len(str(len(samples))))
        pipe: Pipe | None = None
        with (path / "frames.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "timestamp", "seq", "episode"])
            for i, (episode, image) in enumerate(_images(samples)):
                if pipe is None:
                    target = f"file:{str(path.absolute()).replace('%', '%%')}/%0{digits}d.png"
                    pipe = Pipe([*_raw(image), "-start_number", "0", "-f", "image2", target], path)
                pipe.write(_bytes(image))
                told = "" if episode < 0 else episode
                table.writerow([f"{i:0{digits}d}.png", repr(float(t[i])), int(seq[i]), told])
                progress(1)
        if pipe is not None:
            pipe.finish()

    def _write_sheet(self, path: Path, samples: Selected, progress: Progress) -> None:
        count = max(1, min(self.option("frames") or _SHEET_FRAMES, len(samples)))
        wanted = {*np.linspace(0, len(samples) - 1, count).round().astype(int).tolist()}
        small = [_thumb(image) for i, (_, image) in enumerate(_images(samples)) if i in wanted]
        rows, columns = grid(len(small))
        height, width = (n + _GAP_PIXELS for n in small[0].shape[:2])
        sheet = np.full((rows * height, columns * width, *small[0].shape[2:]), 32, small[0].dtype)
        for k, image in enumerate(small):
            top, left = k // columns * height, k % columns * width
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
        pipe = Pipe([*_raw(sheet), "-frames:v", "1", "-update", "1", "-f", "image2", ffmpeg.url(path)], path)
        pipe.write(_bytes(sheet))
        pipe.finish()
        progress(len(samples))


def _images(samples: Selected) -> Iterator[tuple[int, NDArray[Any]]]:
    """Every wanted picture, with its episode, -1 where there is no more than one."""
    stream: Any = samples.stream
    if samples.kind == "video":
        for span in samples.spans:
            for image in stream.frames_between(span.start, span.stop):
                yield -1 if span.episode is None else span.episode, image
        return
    (field,) = samples.schema.fields
    for block in samples.batches():
        yield from zip(samples.episodes_of(block).tolist(), np.asarray(block[field.name]), strict=True)


def _thumb(image: NDArray[Any]) -> NDArray[Any]:
    """The picture, small enough for a sheet: means of squares of pixels."""
    step = max(1, math.ceil(max(image.shape[:2]) / _SHEET_PIXELS))
    if step == 1:
        return image
    height, width = (n // step for n in image.shape[:2])
    cut = image[: height * step, : width * step]
    squares = cut.reshape(height, step, width, step, *image.shape[2:])
    return np.asarray(squares.mean((1, 3)).round().astype(image.dtype))


def _raw(image: NDArray[Any]) -> list[str]:
    """How ffmpeg is told of pictures like this one."""
    height, width, *rest = image.shape
    form = "gray16le" if image.dtype == np.uint16 else _FORMATS[rest[0] if rest else 1]
    size = ("-pix_fmt", form, "-video_size", f"{width}x{height}")
    return [*ffmpeg.QUIET, "-y", *ffmpeg.LOCAL_ONLY, "-f", "rawvideo", *size, "-i", "pipe:0"]


def _bytes(image: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(image).data.cast("B")
