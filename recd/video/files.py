"""Finished pieces of video: counted, described, joined and retimed, never encoded again.

All functions block while ffmpeg runs: for a finisher's thread, not for a worker's loop.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from recd_client.errors import OutputError

from . import ffmpeg
from .counting import count_listed
from .settings import MP4_SUFFIXES


@dataclass(frozen=True)
class VideoInfo:
    """What is in a video file.

    Parameters
    ----------
    codec, pixel_format : str
        As ffmpeg names them.
    width, height : int, pixels
    fps : Fraction
        Frames per second.
    frames : int
        Number of frames that the file lists (:func:`count_frames` decodes them).
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    fps: Fraction
    frames: int

    @property
    def duration_s(self) -> float:
        """Playing time."""
        return float(self.frames / self.fps)


def count_frames(path: Path) -> int:
    """The number of frames that can be decoded: every one of them has been.

    Raises
    ------
    OutputError
        There is no such file.
    """
    _require(path)
    # No errors asked for: each damaged frame would write a line. The null output drops and repeats nothing.
    quiet = ("-nostdin", "-hide_banner", "-loglevel", "quiet", "-nostats", "-progress", "pipe:1")
    source = (*ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(path), "-map", "0:v:0")
    done = ffmpeg.run([*quiet, *source, "-f", "null", "-"])
    found = re.findall(rb"^frame= *(\d+)", done.stdout, re.MULTILINE)
    return int(found[-1]) if found else 0


def count_intact(path: Path) -> int:
    """The number of frames before the first that is damaged or gives no picture, or all of them."""
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, "-xerror", "-err_detect", "explode", *ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(path)),
            *("-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc", "-"),
        ]
    )
    count = 0
    for line in done.stdout.splitlines():
        if line.startswith(b"#"):
            continue
        _, _, shown_at, duration, *_ = map(str.strip, line.decode().split(","))
        if round(int(shown_at) / max(int(duration), 1)) != count:
            break
        count += 1
    return count


def keep_first(path: Path, frames: int) -> None:
    """The file has only its first frames, as they were encoded."""
    out = path.with_name(f"{path.stem}-kept{path.suffix}")
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, "-y", *ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(path), "-map", "0:v:0", "-c", "copy"),
            *("-frames:v", str(frames), "-f", path.suffix[1:] if path.suffix in MP4_SUFFIXES else "matroska"),
            ffmpeg.url(out),
        ]
    )
    if done.returncode != 0:
        raise OutputError(f"{path} cannot be cut behind {frames} frames: {done.reason}", "see: recd doctor")
    os.replace(out, path)


def describe(path: Path) -> VideoInfo:
    """What is in the file.

    Raises
    ------
    OutputError
        There is no such file, or it is no video.
    """
    _require(path)
    # An MP4's first packet has the exact rate; for Matroska, which rounds times, the decoder infers it.
    how = ("-c", "copy") if path.suffix in MP4_SUFFIXES else ()
    done = ffmpeg.run(
        [
            *("-nostdin", "-hide_banner", *ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(path), "-map", "0:v:0"),
            *(*how, "-frames:v", "1", "-f", "framecrc", "-"),
        ]
    )
    text = done.stdout.decode("utf-8", "replace")
    unit = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
    length = re.search(r"^0, *-?\d+, *-?\d+, *([1-9]\d*),", text, re.MULTILINE)
    size = re.search(r"^#dimensions 0: (\d+)x(\d+)", text, re.MULTILINE)
    stream = re.search(r"Stream #0:\d.*?: Video: (\w+).*?, (\w+)[(,]", done.stderr)
    if unit is None or length is None or size is None or stream is None:
        raise OutputError(f"{path} is no video: {done.reason}", "run: recd recover, if it is a recording's")
    return VideoInfo(
        codec=stream[1],
        pixel_format=stream[2],
        width=int(size[1]),
        height=int(size[2]),
        fps=Fraction(int(unit[2]), int(unit[1]) * int(length[1])),
        frames=count_listed(path),
    )


def join(pieces: Sequence[Path], out: Path, fps: Fraction, title: str = "") -> None:
    """``out`` has the frames of all pieces, in order, at a constant rate; it is complete and on the disk.

    The pieces stay. One piece is allowed: a fragmented file becomes a plain one.

    Parameters
    ----------
    pieces : sequence of Path
        Files of one encoder, size and format, none of them empty. Of one whose ffmpeg was killed,
        :func:`~recd.video.counting.cut` has removed what is not whole.
    out : Path
        Of the same suffix; an old one is replaced.
    fps : Fraction
        Frame ``i`` is shown at ``i / fps``, whatever times the pieces have.
    title : str
        Goes into the file's metadata.

    Raises
    ------
    OutputError
        The pieces do not fit together or cannot be written as one file.
    OSError
        There is no room for it: to be tried again.
    """
    for piece in pieces:
        _require(piece)
    kinds = {_parameters(p) for p in pieces} if len(pieces) > 1 else set()
    if len(kinds) > 1:
        raise OutputError(
            f"{len(pieces)} pieces of {out.name} come from different encoders and do not join",
            "keep them as numbered files, or encode them again with ffmpeg",
        )
    quoted = (ffmpeg.url(piece).replace("'", "'\\''") for piece in pieces)
    listing = "".join(["ffconcat version 1.0\n", *(f"file '{name}'\n" for name in quoted)])
    _copy(("-f", "concat", "-safe", "0", "-i", "pipe:0"), out, fps, title, listing.encode())


def retime(path: Path, out: Path, fps: Fraction, title: str = "") -> None:
    """``out`` has the same frames at another constant rate; it is complete and on the disk.

    Raises
    ------
    OutputError
        The file cannot be read or ``out`` not written.
    """
    _require(path)
    _copy(("-i", ffmpeg.url(path)), out, fps, title)


def take(
    path: Path, out: Path, fps: Fraction, start: int, count: int, rate: Fraction, title: str = ""
) -> None:
    """``out`` has ``count`` frames of the file, from frame ``start`` on, which is a keyframe; nothing is encoded.

    Parameters
    ----------
    path, out : Path
    fps : Fraction
        Frames per second of ``out``.
    start, count : int
        One of :func:`keyframes`, and how many frames from there on.
    rate : Fraction
        Frames per second of the file.

    Raises
    ------
    OutputError
        The file cannot be read or ``out`` not written.
    """
    _require(path)
    # Half a frame late: a seek goes back to the keyframe before, and what is copied begins with that.
    seek = ("-ss", f"{float((start + Fraction(1, 2)) / rate):.6f}") if start else ()
    _copy((*seek, "-i", ffmpeg.url(path)), out, fps, title, frames=count)


def keyframes(path: Path, rate: Fraction) -> list[int]:
    """Numbers of the frames from which decoding can begin; ``rate`` is the file's, in frames per second.

    Raises
    ------
    OutputError
        The file cannot be read.
    """
    _require(path)
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, *ffmpeg.LOCAL_ONLY, "-discard", "nokey", "-i", ffmpeg.url(path)),
            *("-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"),
        ]
    )
    text = done.stdout.decode("utf-8", "replace")
    unit = re.search(r"^#tb 0: (\d+)/(\d+)", text, re.MULTILINE)
    if unit is None:
        raise OutputError(f"{path} is no video: {done.reason}", "look closer with: recd verify")
    second = Fraction(int(unit[1]), int(unit[2]))
    packets = re.findall(r"^0, *-?\d+, *(-?\d+),.*?(?:F=0x(\w+).*)?$", text, re.MULTILINE)
    # Flags are shown where they are not just that of a keyframe. Matroska's reader gives all packets.
    return [round(int(at) * second * rate) for at, flags in packets if not flags or int(flags, 16) & 1]


def same_kind(first: Path, second: Path) -> bool:
    """Whether packets of two files can be decoded as one stream, so that :func:`join` takes them."""
    return _parameters(first) == _parameters(second)


def _copy(
    source: Sequence[str], out: Path, fps: Fraction, title: str, data: bytes = b"", frames: int | None = None
) -> None:
    """Copy packets, the i-th at ``i / fps``. Packets lie in showing order: no encoder here reorders."""
    out.unlink(missing_ok=True)  # an orphaned ffmpeg may still write the old one: let it have that
    times = f"setts=ts=N:duration=1:time_base={fps.denominator}/{fps.numerator}"
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, "-y", *ffmpeg.LOCAL_ONLY, *source, "-map", "0:v:0", "-c", "copy"),
            *("-bsf:v", times, "-r", str(fps), *(() if frames is None else ("-frames:v", str(frames)))),
            *(["-metadata", f"title={title}"] if title else []),
            *("-f", out.suffix[1:] if out.suffix in MP4_SUFFIXES else "matroska", ffmpeg.url(out)),
        ],
        data=data,
    )
    if done.returncode != 0:
        for code in (errno.ENOSPC, errno.EDQUOT):  # it is tried again when there is room
            if os.strerror(code) in done.stderr:
                raise OSError(code, os.strerror(code), str(out))
        raise OutputError(
            f"{out} cannot be written: {done.reason}", "make room on the disk, then run: recd recover"
        )
    fd = os.open(out, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _parameters(path: Path) -> tuple[str, ...]:
    """What must be equal for packets of two files to be decoded as one stream."""
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, *ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(path), "-map", "0:v:0", "-c", "copy"),
            *("-frames:v", "1", "-f", "framecrc", "-"),
        ]
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return tuple(line for line in lines if line.startswith(("#extradata", "#codec_id", "#dimensions")))


def _require(path: Path) -> None:
    if not path.is_file():
        raise OutputError(f"there is no file {path}", "check the name")
