"""Films as Rerun holds them: whole MP4 files, and for each sample the frame that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ...reader.decoding import Film, frames
from ...video import codecs
from ...video.settings import VideoSettings
from .. import clips
from ..episodes import Clip

if TYPE_CHECKING:
    from ...reader import VideoStream
    from ..selection import Samples

_CODECS: Final = ("h264", "hevc", "av1")
_PIXELS: Final = ("yuv420p", "yuvj420p")
_CRF: Final = 16

Frames = NDArray[np.int64]


def check(samples: Samples, most_bytes: int) -> None:
    """Raise for a film that is too large for an entity, or that must be encoded again where there is no encoder."""
    stream: VideoStream = samples.stream  # type: ignore[attr-defined]
    if stream.dtype == np.uint16:
        return
    for film in stream.films:
        if film.path.stat().st_size > most_bytes:
            raise OptionError(
                f"stream {samples.name!r}: {film.path.name} has more than 2 GiB, which an rrd file does not hold",
                "convert episodes one by one with --episodes, or to mcap",
            )
        if not _is_held(film):
            codecs.choose(VideoSettings(film.width, film.height, 3, film.fps, codec="h264"), ".mp4")


def films(
    video: VideoStream, wanted: Frames, near: Path
) -> Iterator[tuple[Frames, AbstractContextManager[tuple[Path, Frames]]]]:
    """By part: the samples of it among the wanted ones; a context that gives a film, and the frame of each.

    Frames that stand in for lost ones are in the film, and no sample's. What is made lies beside ``near``.
    """
    table = video.frames
    rows = np.flatnonzero(~table.repeated)[wanted]
    for part, film in enumerate(video.films):
        mine = table.part[rows] == part
        numbers = table.frame[rows[mine]]
        if len(numbers):
            yield wanted[mine], _made(film, numbers, near.with_name(f"{near.name}-film.mp4"))


@contextmanager
def _made(film: Film, numbers: Frames, at: Path) -> Iterator[tuple[Path, Frames]]:
    first, count = int(numbers[0]), int(numbers[-1] - numbers[0] + 1)
    held = _is_held(film)
    if held and count == film.frames:
        yield film.path, numbers
        return
    try:
        if held:
            clips.write(Clip(film, first, count), at)
        else:
            shape = (*film.shape, 1) if film.is_gray else film.shape
            clips.encode(frames(film, first, first + count), at, shape, film.fps, codec="h264", crf=_CRF)
        yield at, numbers - first
    finally:
        at.unlink(missing_ok=True)


def _is_held(film: Film) -> bool:
    return film.path.suffix == ".mp4" and film.codec in _CODECS and film.pixel_format in _PIXELS
