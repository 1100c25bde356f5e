"""Films out of films: copied wherever a keyframe allows, the rest encoded once more; and films out of images.

Packets of recd's films lie in the order in which they are shown, and a keyframe comes every two seconds. A clip that
begins at one is copied. Of one that begins in between, the frames up to the next keyframe are encoded again, and what
follows is copied behind them where the two fit together, as those of one encoder do.
"""

from __future__ import annotations

import errno
import math
import os
import subprocess
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ..reader.decoding import Film
from ..video import codecs, ffmpeg, files
from ..video.command import arguments, transcoding
from ..video.counting import count_listed
from ..video.pixels import Padder
from ..video.settings import VideoSettings
from .episodes import Clip


def write(clip: Clip, out: Path, fps: Fraction | None = None, title: str = "") -> int:
    """``out`` has the frames of a clip, at a constant rate.

    Parameters
    ----------
    clip : Clip
    out : Path
        ``.mp4``, ``.mov`` or ``.mkv``; what is there is replaced.
    fps : Fraction, optional
        Default: the film's.
    title : str
        Goes into the file's metadata.

    Returns
    -------
    int
        How many frames were encoded again: 0 if all could be copied.

    Raises
    ------
    OutputError, CodecError
        The film cannot be read, or ``out`` not written.
    OSError
        There is no room.
    """
    film, fps = clip.film, fps or clip.fps
    first, end = clip.first_frame, clip.first_frame + clip.frames
    if first == 0 and clip.frames == film.frames:
        files.retime(film.path, out, fps, title)
        return 0
    keys = _keyframes(film.path, film.path.stat().st_mtime_ns, film.fps)
    at = bisect_left(keys, first)
    key = keys[at] if at < len(keys) else end
    if key == first:
        files.take(film.path, out, fps, first, clip.frames, film.fps, title)
        return 0
    if key < end:
        head, tail = (out.with_name(f"{out.stem}-{which}{out.suffix}") for which in ("head", "tail"))
        try:
            _encode_again(film, first, key - first, head)
            files.take(film.path, tail, film.fps, key, end - key, film.fps)
            if files.same_kind(head, tail):
                files.join([head, tail], out, fps, title)
                return key - first
        finally:
            head.unlink(missing_ok=True)
            tail.unlink(missing_ok=True)
    whole = out.with_name(f"{out.stem}-whole{out.suffix}")
    try:
        _encode_again(film, first, clip.frames, whole)
        files.retime(whole, out, fps, title)
    finally:
        whole.unlink(missing_ok=True)
    return clip.frames


def join(clips: Sequence[Clip], out: Path, fps: Fraction | None = None, title: str = "") -> int:
    """``out`` has the frames of several clips, one behind the other; how many were encoded again. As :func:`write`.

    Raises
    ------
    OutputError
        They come from different encoders, or differ in size.
    """
    if len(clips) == 1:
        return write(clips[0], out, fps, title)
    pieces = [out.with_name(f"{out.stem}-piece{i}{out.suffix}") for i in range(len(clips))]
    try:
        encoded = sum(write(clip, piece) for clip, piece in zip(clips, pieces, strict=True))
        if not all(
            files.same_kind(pieces[0], piece) for piece in pieces[1:]
        ):  # not of one encoder: now they are
            for clip, piece in zip(clips, pieces, strict=True):
                _encode_again(clip.film, clip.first_frame, clip.frames, piece)
            encoded = sum(clip.frames for clip in clips)
        files.join(pieces, out, fps or clips[0].fps, title)
    finally:
        for piece in pieces:
            piece.unlink(missing_ok=True)
    return encoded


@lru_cache(maxsize=64)
def _keyframes(path: Path, _changed_ns: int, rate: Fraction) -> list[int]:
    return files.keyframes(path, rate)


def _encode_again(film: Film, start: int, count: int, out: Path) -> None:
    settings = VideoSettings(
        film.width, film.height, 1 if film.is_gray else 3, film.fps, codec=_family(film.codec),
        pixel_format=film.pixel_format,
    )  # fmt: skip
    encoder = codecs.choose(settings, out.suffix)
    begin = float((start - Fraction(1, 2)) / film.fps) if start else 0.0
    done = ffmpeg.run(transcoding(settings, encoder, film.path, begin, count, out))
    _check(done.returncode, done.stderr, done.reason, out)
    found = count_listed(out)
    if found != count:
        raise OutputError(
            f"{film.path}: {found} of {count} frames from {start} on decode", "see: recd verify"
        )


def _family(codec: str) -> str | None:
    """The codec as an option names it."""
    from ..video.catalog import FAMILIES

    return codec if codec in FAMILIES else None


class Encoding:
    """A film that is made of images, which are fed one by one; blocks as ffmpeg needs.

    Parameters
    ----------
    out : Path
        What is there is replaced.
    shape : tuple of int
        Of an image: ``(H, W)`` or ``(H, W, 1 | 3 | 4)``.
    fps : Fraction
    codec, crf, pixel_format
        As of :class:`recd_client.VideoFile`.
    title : str

    Raises
    ------
    CodecError, OptionError
        It cannot be encoded like this here.
    """

    def __init__(
        self,
        out: Path,
        shape: tuple[int, ...],
        fps: Fraction,
        *,
        codec: str | None = None,
        crf: float | None = None,
        pixel_format: str = "yuv420p",
        title: str = "",
    ) -> None:
        height, width, *rest = shape
        settings = VideoSettings(
            width,
            height,
            rest[0] if rest else 1,
            fps,
            codec=codec,
            crf=crf,
            pixel_format=pixel_format,
            title=title,
        )
        self._out, self._settings = out, settings
        self._raw = out.with_name(f"{out.stem}-raw{out.suffix}")
        right, bottom = settings.padding
        self._padder = Padder((height, width, settings.channels), right, bottom) if right or bottom else None
        self.frames = 0
        encoder = codecs.choose(settings, out.suffix)
        self._pipe = Pipe(arguments(settings, encoder, self._raw), out)

    def feed(self, image: NDArray[Any]) -> None:
        """The next frame: uint8, or uint16 where the pixel format is ``gray16le``."""
        frame = np.ascontiguousarray(image).data.cast("B")
        self._pipe.write(frame if self._padder is None else self._padder(frame))
        self.frames += 1

    def finish(self) -> int:
        """The film is complete; its number of frames."""
        self._pipe.finish()
        files.join([self._raw], self._out, self._settings.fps, self._settings.title)
        self._raw.unlink()
        return self.frames

    def abandon(self) -> None:
        """End ffmpeg, and leave no film."""
        self._pipe.kill()
        self._raw.unlink(missing_ok=True)

    def __enter__(self) -> Encoding:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.abandon()


def encode(
    images: Iterator[NDArray[Any]], out: Path, shape: tuple[int, ...], fps: Fraction, **options: Any
) -> int:
    """``out`` has these images, as :class:`Encoding` does it; how many there were."""
    with Encoding(out, shape, fps, **options) as film:
        for image in images:
            film.feed(image)
        return film.finish()


class Pipe:
    """An ffmpeg that reads from us.

    Parameters
    ----------
    command : list of str
        Everything after the executable.
    out : Path
        What it makes, for messages.
    """

    def __init__(self, command: list[str], out: Path) -> None:
        self._out = out
        self._process = subprocess.Popen(
            [ffmpeg.executable(), *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            bufsize=0, cwd="/", env=ffmpeg.environment(), start_new_session=True,
        )  # fmt: skip

    def write(self, data: memoryview) -> None:
        """Hand over all of it."""
        assert self._process.stdin is not None
        try:
            while data:
                data = data[self._process.stdin.write(data) or 0 :]
        except BrokenPipeError:
            self.finish()
            raise OutputError(f"the encoder of {self._out} ended too early", "see: recd doctor") from None

    def finish(self) -> None:
        """Wait until it has made what it has to.

        Raises
        ------
        OutputError
            It could not.
        """
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        said = self._process.stderr.read().decode("utf-8", "replace").strip()
        self._process.stderr.close()
        code = self._process.wait()
        _check(code, said, said.splitlines()[0] if said else f"exit code {code}", self._out)

    def kill(self) -> None:
        """End it at once; nothing if it has ended."""
        if self._process.returncode is None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stderr):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process.wait()


def _check(code: int, said: str, reason: str, out: Path) -> None:
    if code == 0:
        return
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in said:
            raise OSError(number, os.strerror(number), str(out))
    raise OutputError(f"{out} cannot be encoded: {reason}", "see: recd doctor")


def rate_of(t: NDArray[np.float64], hz: float | None) -> Fraction:
    """Frames per second for samples at these times: their usual rate, or the one that was asked for."""
    steps = np.diff(t)
    steps = steps[np.isfinite(steps) & (steps > 0)]
    rate = 1 / float(np.median(steps)) if len(steps) else (hz or 30.0)
    near = round(rate)
    if near and math.isclose(rate, near, rel_tol=1e-3):
        return Fraction(near)
    return Fraction(rate).limit_denominator(1001)
