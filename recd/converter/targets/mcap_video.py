"""Frames of films as H.264 in Annex B, one access unit per frame, as ``foxglove.CompressedVideo`` asks for it.

Between keyframes each frame is made of the one before. So a stretch from one keyframe to the next is copied if what is
wanted of it begins there and has no hole, and encoded again otherwise: where an episode begins in between, and where a
frame that stands in for a lost one is left out. Films of other codecs or pixels, or whose frames are reordered, are
encoded as a whole.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ...reader.decoding import Film, frames
from ...video import codecs, ffmpeg
from ...video.settings import VideoSettings
from .. import clips

if TYPE_CHECKING:
    from ...reader import VideoStream
    from ..selection import Samples

#: What browsers decode.
_PIXELS: Final = ("yuv420p", "yuvj420p")
#: An access unit delimiter: the first thing in each frame, put there by ffmpeg, and nowhere else.
_BEGIN: Final = b"\0\0\0\1\x09"
_READ_BYTES: Final = 1 << 18
_CRF: Final = 16


@dataclass(frozen=True)
class Piece:
    """Some frames of one film.

    Parameters
    ----------
    film : Film
    numbers : ndarray, (n,) int64
        Of the frames, rising.
    copied : bool
        They begin at a keyframe and have no hole; else they are encoded again.
    """

    film: Film
    numbers: NDArray[np.int64]
    copied: bool


def check(samples: Samples) -> None:
    """Raise :class:`~recd_client.errors.CodecError` if frames must be encoded again, and there is no encoder."""
    stream: VideoStream = samples.stream  # type: ignore[attr-defined]
    film = stream.films[0]
    if stream.dtype == np.uint16:
        return
    if not _is_plain(film) or stream.frames.repeated.any() or len(samples) < len(stream):
        codecs.choose(VideoSettings(film.width, film.height, 3, film.fps, codec="h264"), ".mp4")


def plan(video: VideoStream, wanted: NDArray[np.int64]) -> list[Piece]:
    """What is copied, and what is encoded again, of the samples with these (rising) indices."""
    table = video.frames
    rows = np.flatnonzero(~table.repeated)[wanted]
    pieces: list[Piece] = []
    for part, film in enumerate(video.films):
        numbers = table.frame[rows[table.part[rows] == part]]
        if not len(numbers):
            continue
        keys = _keys(film) if _is_plain(film) else None
        if keys is None:
            pieces.append(Piece(film, numbers, copied=False))
            continue
        runs = _runs(numbers, [*keys, film.frames])
        pieces += [Piece(film, numbers[first:last], copied) for first, last, copied in runs]
    return pieces


def _runs(numbers: NDArray[np.int64], cuts: list[int]) -> list[tuple[int, int, bool]]:
    """Stretches of the wanted frames (from, to) that are made in one go, and whether they are copied."""
    runs: list[tuple[int, int, bool]] = []
    ends = np.searchsorted(numbers, cuts).tolist()
    for begin, (first, last) in zip(cuts, pairwise(ends), strict=False):
        if first == last:
            continue
        copied = bool(numbers[first] == begin and numbers[last - 1] - begin + 1 == last - first)
        if runs and runs[-1][2] == copied and (not copied or numbers[first - 1] + 1 == begin):
            runs[-1] = (runs[-1][0], last, copied)
        else:
            runs.append((first, last, copied))
    return runs


def told(pieces: Sequence[Piece]) -> str:
    """How many frames are as they were recorded, and how many are not."""
    copied, encoded = (sum(len(p.numbers) for p in pieces if p.copied is which) for which in (True, False))
    return f"{copied} frames copied, {encoded} encoded again"


def access_units(pieces: Sequence[Piece], near: Path) -> Iterator[bytes]:
    """A frame at a time.

    Parameters
    ----------
    pieces : sequence of Piece
    near : Path
        What is encoded again lies beside this file for a while.

    Raises
    ------
    OutputError, CodecError
        A film cannot be read, or not be encoded.
    OSError
        There is no room.
    """
    for piece in pieces:
        if piece.copied:
            yield from _copied(piece.film.path, int(piece.numbers[0]), len(piece.numbers), piece.film)
            continue
        again = near.with_name(f"{near.name}-again.mp4")
        try:
            film, count = piece.film, len(piece.numbers)
            shape = film.shape if not film.is_gray else (*film.shape, 1)
            with clips.Encoding(again, shape, film.fps, codec="h264", crf=_CRF) as encoding:
                wanted = iter(piece.numbers.tolist())
                following = next(wanted)
                start, stop = following, int(piece.numbers[-1]) + 1
                for number, frame in enumerate(frames(film, start, stop), start):
                    if number == following:
                        encoding.feed(frame)
                        following = next(wanted, -1)
                encoding.finish()
            yield from _copied(again, 0, count, film)
        finally:
            again.unlink(missing_ok=True)


def _is_plain(film: Film) -> bool:
    return film.codec == "h264" and film.pixel_format in _PIXELS


def _keys(film: Film) -> list[int] | None:
    """Numbers of the frames that need no other; None if frames do not lie in the order in which they are shown."""
    done = ffmpeg.run(
        [
            *(*ffmpeg.QUIET, *ffmpeg.LOCAL_ONLY, "-i", ffmpeg.url(film.path), "-map", "0:v:0"),
            *("-c", "copy", "-f", "framecrc", "-"),
        ]
    )
    listed = done.stdout.decode("utf-8", "replace")
    # stream, dts, pts, duration, size, checksum, and flags where it is no keyframe
    packets = re.findall(r"^0, *(-?\d+), *(-?\d+),[^,\n]*,[^,\n]*,[^,\n]*(, F=0x0)?", listed, re.MULTILINE)
    shown = [int(pts) for _, pts, _ in packets]
    if len(packets) != film.frames or any(b <= a for a, b in pairwise(shown)):
        return None
    keys = [i for i, (_, _, flags) in enumerate(packets) if not flags]
    return keys if keys and keys[0] == 0 else None


def _copied(path: Path, start: int, count: int, film: Film) -> Iterator[bytes]:
    """The frames from a keyframe on, by one ffmpeg; parameter sets stand before each keyframe."""
    micros = -(-start * 1_000_000 // film.fps) if start else 0  # rounded up: at, not before, the keyframe
    seek = ("-ss", f"{micros}us") if start else ()
    process = subprocess.Popen(
        [
            *(ffmpeg.executable(), *ffmpeg.QUIET, *ffmpeg.LOCAL_ONLY, *seek, "-i", ffmpeg.url(path)),
            *("-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb,h264_metadata=aud=insert"),
            *("-frames:v", str(count), "-f", "h264", "pipe:1"),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd="/",
        env=ffmpeg.environment(), start_new_session=True,
    )  # fmt: skip
    found = 0
    try:
        for unit in _split(process):
            found += 1
            yield unit
        if found != count:
            assert process.stderr is not None
            said = process.stderr.read().decode("utf-8", "replace").strip()
            raise OutputError(
                f"{path}: {found} of {count} frames from {start} on can be read"
                + (f": {said}" if said else ""),
                "look closer with: recd verify",
            )
    finally:
        process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()


def _split(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What comes, cut in front of each delimiter."""
    assert process.stdout is not None
    held = bytearray()
    looked = len(_BEGIN)
    while data := process.stdout.read(_READ_BYTES):
        held += data
        while (at := held.find(_BEGIN, looked)) >= 0:
            yield bytes(held[:at])
            del held[:at]
            looked = len(_BEGIN)
        looked = max(len(held) - len(_BEGIN), len(_BEGIN))
    if held:
        yield bytes(held)
