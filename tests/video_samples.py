"""Frames for tests of video that tell their number by their gray level, and how to get them in and out."""

from __future__ import annotations

import select
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd.video import ffmpeg
from recd.video.codecs import choose
from recd.video.encoder import Encoder, wait_gone
from recd.video.settings import VideoSettings

Pixels = NDArray[np.uint8]

#: A bound for tests that hang, not a promise about speed.
PATIENCE_S = 60.0
#: After this many frames the gray levels begin again: far enough apart to be told after encoding.
LEVELS = 50


def settings(**changes: Any) -> VideoSettings:
    """Settings of a small gray video, with changes."""
    small: dict[str, Any] = {
        "width": 64,
        "height": 48,
        "channels": 1,
        "fps": Fraction(60),
        "codec": "libx264",
    }
    return VideoSettings(**(small | changes))


def frame(i: int, s: VideoSettings) -> memoryview:
    """A flat frame that tells its number."""
    return memoryview(np.full(s.frame_bytes, 5 + 5 * (i % LEVELS), np.uint8))


def numbers(path: Path) -> list[int]:
    """What the frames of a file tell, in order."""
    return [round((float(p.mean()) - 5) / 5) for p in decode(path, settings(), "gray")]


def expected(first: int, end: int) -> list[int]:
    """What frames ``first`` to ``end`` tell."""
    return [i % LEVELS for i in range(first, end)]


def feed(encoder: Encoder, end: int) -> None:
    """Feed the frames up to number ``end``, waiting for room as a worker's loop does."""
    feed_all(encoder, (frame(i, encoder.settings) for i in range(encoder.fed, end)))


def feed_all(encoder: Encoder, frames: Iterable[memoryview]) -> None:
    """Feed these frames, waiting for room as a worker's loop does."""
    poller = select.poll()
    poller.register(encoder.fileno(), select.POLLOUT)
    for f in frames:
        while not encoder.feed(f):
            assert not encoder.broken, encoder.errors()
            assert poller.poll(PATIENCE_S * 1000), "ffmpeg takes nothing"


def ended(encoder: Encoder) -> int:
    """The exit code, once there is one."""
    assert wait_gone(encoder.pid, encoder.ticks, PATIENCE_S), "ffmpeg does not end"
    code = encoder.poll()
    assert code is not None
    return code


def encode(path: Path, s: VideoSettings, images: Iterable[Pixels]) -> Path:
    """A finished file of these images."""
    encoder = Encoder(path, s, choose(s, path.suffix))
    feed_all(encoder, (np.ascontiguousarray(image).data.cast("B") for image in images))
    encoder.finish()
    assert ended(encoder) == 0, encoder.errors()
    encoder.close()
    return path


def numbered(path: Path, first: int, end: int, s: VideoSettings | None = None) -> Path:
    """A finished file of the frames ``first`` to ``end``."""
    s = s or settings()
    return encode(path, s, (np.asarray(frame(i, s)) for i in range(first, end)))


def decode(path: Path, s: VideoSettings, pixel_format: str) -> Pixels:
    """All frames of a file as ``(n, height, width, channels)``, padding included."""
    exact = f"scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format={pixel_format}"
    source = ("-i", ffmpeg.url(path), "-vf", exact)
    done = ffmpeg.run([*ffmpeg.QUIET, *source, "-f", "rawvideo", "-"])
    width, height = s.file_size
    channels = {"gray": 1, "rgb24": 3, "rgba": 4}[pixel_format]
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, channels)
