"""Which encoder works for a video on this machine: found out by trying it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from recd_client.errors import CodecError, RecdError
from recd_client.options import CODECS, VideoFile

from . import ffmpeg
from .catalog import ANY, ENCODERS, FAMILIES
from .command import arguments
from .counting import count_listed
from .settings import VideoSettings

__all__ = ["VideoSettings", "available", "choose"]

_PROBE_FRAMES: Final = 3
_PROBE_TIMEOUT_S: Final = 20.0


def choose(settings: VideoSettings, suffix: str = ".mp4") -> str:
    """The encoder to use: it has really encoded a few frames of this size into such a file here.

    Hardware comes first and is fallen back from. Runs ffmpeg once for each encoder that it tries (40 ms for
    libx264 at 640x480) and remembers what worked. Blocks; any thread may call it.

    Raises
    ------
    CodecError
        Nothing that was asked for works; the message says why, and what this ffmpeg has.
    """
    if suffix not in VideoFile.suffixes:
        raise CodecError(f"{suffix!r} files hold no video", f"use one of {', '.join(VideoFile.suffixes)}")
    asked = settings.codec
    candidates = ANY if asked is None else FAMILIES.get(asked, (asked,))
    reasons = []
    for name in candidates:
        if name not in ffmpeg.encoders():
            reasons.append(f"{name} is not in this ffmpeg ({ffmpeg.version()})")
        elif name != asked and not ENCODERS[name].may_work:
            reasons.append(f"{name} finds no such hardware")
        else:
            try:
                _try(settings, name, suffix)
            except RecdError as e:
                reasons.append(f"{name}: {e.what}{f' ({e.do})' if e.do else ''}")
            else:
                return name
    what = "no codec works" if asked is None else f"codec={asked!r} does not work"
    raise CodecError(
        f"{what} here for {settings.width}x{settings.height} frames as {settings.pixel_format} in {suffix}: "
        + "; ".join(reasons),
        f"leave out what you do not need to set; codecs of this ffmpeg: {', '.join(available())}",
    )


def available() -> tuple[str, ...]:
    """Values of ``codec`` for which this ffmpeg has an encoder (hardware only where its device is there)."""
    have = {name for name, spec in ENCODERS.items() if name in ffmpeg.encoders() and spec.may_work}
    return tuple(c for c in CODECS if c in have or have.intersection(FAMILIES.get(c, ())))


def _try(settings: VideoSettings, encoder: str, suffix: str) -> None:
    """Raise a :class:`RecdError` if the encoder does not work for this."""
    options = tuple(sorted(settings.codec_options.items()))
    _try_once(ffmpeg.executable(), encoder, replace(settings, codec_options={}, title=""), options, suffix)


@lru_cache(maxsize=256)  # keeps what worked; a failure may pass (no space, all hardware sessions in use)
def _try_once(
    _program: str,
    encoder: str,
    settings: VideoSettings,
    options: tuple[tuple[str, str | int | float], ...],
    suffix: str,
) -> None:
    settings = replace(settings, codec_options=dict(options))
    width, height = settings.file_size
    black = bytes(width * height * settings.channels * settings.value_bytes * _PROBE_FRAMES)
    fd = os.memfd_create("recd-probe", os.MFD_CLOEXEC)  # a file that nobody's death leaves behind
    try:
        path = Path(f"/proc/self/fd/{fd}")
        command = arguments(settings, encoder, path, suffix)
        done = ffmpeg.run(command, data=black, timeout_s=_PROBE_TIMEOUT_S, keep_fds=(fd,))
        if done.returncode != 0:
            raise CodecError(done.reason)
        if (frames := count_listed(path, suffix)) != _PROBE_FRAMES:
            raise CodecError(f"{frames} of {_PROBE_FRAMES} frames came out")
    finally:
        os.close(fd)
