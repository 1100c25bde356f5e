"""Frames out of a video file, through ffmpeg: one after the other, or a single one from its keyframe on."""

from __future__ import annotations

import fcntl
import re
import subprocess
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ..video import ffmpeg

#: YUV to RGB without a shortcut: colours are true to 1 of 255, not to 3, at a quarter of the speed.
_EXACT: Final = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,"
#: A pipe with room for more than ffmpeg writes at once.
_PIPE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Film:
    """One video file, and how its frames lie.

    Parameters
    ----------
    path : Path
    width, height : int, pixels
        In the file, padding included.
    fps : Fraction
        Frame ``i`` is shown at ``i / fps``.
    frames : int
    pixel_format, codec : str
        As ffmpeg names them.
    right, bottom : int, pixels
        Padding.
    exact : bool
        Whether colours are decoded without a shortcut.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    frames: int
    pixel_format: str
    codec: str
    right: int = 0
    bottom: int = 0
    exact: bool = False

    @property
    def is_gray(self) -> bool:
        """Whether a frame has one value per pixel."""
        return self.pixel_format.startswith("gray")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a decoded frame."""
        deep = self.is_gray and re.search(r"gray(9|1\d)", self.pixel_format)
        return np.dtype("<u2" if deep else "u1")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a decoded frame, without padding."""
        shape = (self.height - self.bottom, self.width - self.right)
        return shape if self.is_gray else (*shape, 3)

    @property
    def raw_format(self) -> str:
        """What ffmpeg is asked for."""
        return ("gray16le" if self.dtype.itemsize == 2 else "gray") if self.is_gray else "rgb24"


class Decoder:
    """Decodes frames of a film in order, from ``start`` on, as quickly as they are taken.

    Parameters
    ----------
    film : Film
    start : int
        Number of the first frame. It is decoded from the keyframe before it on.
    count : int, optional
        Decode so many frames; default: up to the end.
    select : str, optional
        Give only frames for which this holds; in the language of ffmpeg's filter of that name, ``n`` is 0 at ``start``.
        :attr:`next` does not know of those between.
    halvings : int
        Leave out every second row, so many times over: it saves their way through the pipe.
    """

    def __init__(
        self, film: Film, start: int = 0, count: int | None = None, *, select: str = "", halvings: int = 0
    ) -> None:
        self._film = film
        self.next = start
        self._rows, self._shown = (-(-rows >> halvings) for rows in (film.height, film.shape[0]))
        # Half a frame early: the first frame that is not before that is the one.
        seek = () if start == 0 else ("-ss", f"{float((start - Fraction(1, 2)) / film.fps):.9f}")
        pixels = f"{_EXACT if film.exact else ''}format={film.raw_format}" + ",field=top" * halvings
        if select:
            pixels = f"select='{select}',{pixels}"
        several = () if count is None else ("-frames:v", str(count))
        self._process = subprocess.Popen(
            [
                *(ffmpeg.executable(), *ffmpeg.QUIET, *ffmpeg.LOCAL_ONLY, *seek, "-i", ffmpeg.url(film.path)),
                *("-map", "0:v:0", "-vf", pixels, "-fps_mode", "passthrough", *several),
                *("-f", "rawvideo", "pipe:1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=ffmpeg.environment(),
            start_new_session=True,
        )  # fmt: skip
        with suppress(OSError):  # only quicker
            assert self._process.stdout is not None
            fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._finalizer = weakref.finalize(self, _end, self._process)

    def read(self) -> NDArray[Any] | None:
        """The next frame, in memory of its own; None behind the last one that decodes."""
        film = self._film
        frame = np.empty((self._rows, film.width, *film.shape[2:]), film.dtype)
        assert self._process.stdout is not None
        if not _fill(self._process.stdout, frame.data.cast("B")):
            return None
        self.next += 1
        whole = not film.right and not film.bottom
        return frame if whole else np.ascontiguousarray(frame[: self._shown, : film.shape[1]])

    def skip(self, count: int) -> bool:
        """Pass over some frames; whether they were there."""
        return all(self.read() is not None for _ in range(count))

    @property
    def reason(self) -> str:
        """What ffmpeg said at its end."""
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            return self._process.stderr.read().decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """End ffmpeg."""
        self._finalizer()


def _fill(pipe: IO[bytes], view: memoryview) -> bool:
    """Read until ``view`` is full; whether it is."""
    got = 0
    while got < len(view):
        n = pipe.readinto(view[got:])  # type: ignore[attr-defined]
        if not n:
            return False
        got += n
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def frames(film: Film, start: int, stop: int) -> Iterator[NDArray[Any]]:
    """The frames from ``start`` to ``stop``, by one ffmpeg.

    Raises
    ------
    OutputError
        One of them does not decode.
    """
    if start >= stop:
        return
    decoder = Decoder(film, start, stop - start)
    try:
        for number in range(start, stop):
            frame = decoder.read()
            if frame is None:
                raise undecoded(film, number, decoder.reason)
            yield frame
    finally:
        decoder.close()


def undecoded(film: Film, number: int, reason: str) -> OutputError:
    """The error about a frame that is not there."""
    return OutputError(
        f"{film.path}: frame {number} of {film.frames} does not decode" + (f": {reason}" if reason else ""),
        "look closer with: recd verify",
    )


def film_of(path: Path, video: dict[str, Any], frames: int | None) -> Film:
    """The film that a manifest describes; what it does not tell, the file does.

    Raises
    ------
    OutputError
        The file is no video.
    """
    padding = video.get("padding") or {}
    right, bottom = int(padding.get("right", 0)), int(padding.get("bottom", 0))
    keys = ("codec", "pixel_format", "width", "height", "fps_fraction")
    if frames is None or any(video.get(key) is None for key in keys):
        from ..video.files import describe

        info = describe(path)
        frames = info.frames if frames is None else frames
        return Film(
            path, info.width, info.height, info.fps, frames, info.pixel_format, info.codec, right, bottom
        )
    return Film(
        path, int(video["width"]), int(video["height"]), Fraction(video["fps_fraction"]), frames,
        str(video["pixel_format"]), str(video["codec"]), right, bottom,
    )  # fmt: skip
