"""The video files of a LeRobot dataset: stretches of films one behind the other, copied, not encoded, where they fit.

An episode's frames lie in a file from ``from_timestamp`` on. So a copied stretch may begin at the keyframe before the
episode, and several episodes of a film are one stretch with what is between them, if that is little.

LeRobot finds a frame by its time, as float32, and refuses what is 0.1 ms off. Late in a long file float32 is no longer
that exact: an episode that would lie there begins a file of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutputError

from ....reader.decoding import Film
from ....video import codecs, command, files
from ....video.counting import count_listed
from ....video.settings import MP4_SUFFIXES, VideoSettings
from ... import clips
from ...episodes import Clip
from .shelf import MB, Place

#: What LeRobot's decoders take, in MP4.
_CODECS: Final = ("h264", "hevc", "av1", "vp9")
#: LeRobot's tolerance, with something to spare.
_TOLERANCE_S: Final = 0.9e-4
#: Keyframes of what is encoded here lie so close because training asks for frames at random.
_KEYFRAMES_APART: Final = 2


@dataclass(frozen=True)
class Stretch:
    """Frames of a film that follow each other; an episode's.

    Parameters
    ----------
    path : Path
    first, frames : int
    keyframe : int
        The one that the first frame is decoded from.
    rate : str
        Frames per second of the film, as a fraction.
    film_frames : int
        Of the whole film.
    """

    path: Path
    first: int
    frames: int
    keyframe: int
    rate: str
    film_frames: int

    @property
    def end(self) -> int:
        """The frame behind the last one."""
        return self.first + self.frames


@dataclass
class _Piece:
    """What is copied at once: a stretch from a keyframe on, with the episodes that lie in it."""

    path: Path
    begin: int
    end: int
    rate: str
    film_frames: int
    episodes: list[int] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return self.begin == 0 and self.end == self.film_frames

    @property
    def bytes(self) -> float:
        return self.path.stat().st_size * (self.end - self.begin) / max(1, self.film_frames)


@dataclass(frozen=True)
class Shown:
    """Where an episode's frames are.

    Parameters
    ----------
    place : Place
        Of the file.
    offset : int
        The first one's number in it.
    frames : int
    """

    place: Place
    offset: int
    frames: int


def can_be_copied(film: Film) -> bool:
    """Whether LeRobot shows a film's frames as they are."""
    fits = film.codec in _CODECS and film.pixel_format.startswith(("yuv", "nv12"))
    return fits and not film.right and not film.bottom and film.path.suffix in MP4_SUFFIXES


def stretch_of(clip: Clip, keyframes: Sequence[int], fps: Fraction) -> Stretch | None:
    """An episode's stretch of a film; None if it is so far behind a keyframe that LeRobot would not find it."""
    before = bisect_right(keyframes, clip.first_frame)
    if not before:
        return None
    keyframe = keyframes[before - 1]
    if not is_exact(clip.first_frame - keyframe, clip.frames, fps):
        return None
    return Stretch(clip.path, clip.first_frame, clip.frames, keyframe, str(clip.fps), clip.film.frames)


def is_exact(offset: int, frames: int, fps: Fraction) -> bool:
    """Whether LeRobot finds each frame of an episode that begins with frame ``offset`` of a file."""
    rate = float(fps)
    asked = offset / rate + (np.arange(frames) / rate).astype(np.float32).astype(np.float64)
    shown = (offset + np.arange(frames)) / rate
    apart = np.abs(asked.astype(np.float32) - shown.astype(np.float32))
    return bool((apart < _TOLERANCE_S).all())


class FilmWriter:
    """Encodes an episode's images into a file of their own.

    Parameters
    ----------
    path : Path
    width, height : int, pixels
    fps : Fraction
    codec : str
    crf : int or None

    Raises
    ------
    CodecError
        Nothing here encodes that.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: Fraction, codec: str, crf: int | None
    ) -> None:
        # Odd sizes have no place in yuv420p, and LeRobot none for padding.
        pixel_format = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        settings = VideoSettings(
            width, height, 3, fps, codec, crf=crf, pixel_format=pixel_format, codec_options={"g": _KEYFRAMES_APART}
        )  # fmt: skip
        self._pipe = clips.Pipe(command.arguments(settings, codecs.choose(settings), path), path)

    def write(self, image: NDArray[np.uint8]) -> None:
        """The next one, ``(H, W, 3)``."""
        self._pipe.write(np.ascontiguousarray(image).data.cast("B"))

    def finish(self) -> None:
        """The file is complete."""
        self._pipe.finish()

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.kill()


def write_films(
    stretches: Sequence[Stretch],
    root: Path,
    pattern: str,
    key: str,
    fps: Fraction,
    file_mb: float,
    scratch: Path,
) -> Iterator[Shown]:
    """Write the video files of one feature, and tell where each episode is.

    Parameters
    ----------
    stretches : sequence of Stretch
        By episode; of one that was encoded its whole file.
    root : Path
        Of the dataset.
    pattern, key : str
        Of the files' names.
    fps : Fraction
    file_mb : float
        A file is full from here on.
    scratch : Path
        A directory for what is cut out of films.
    """  # fmt: skip
    place = Place()
    for number, file in enumerate(_files(_pieces(stretches), stretches, fps, file_mb * MB)):
        place = place.behind if number else place
        out = root / place.path(pattern, key)
        out.parent.mkdir(parents=True, exist_ok=True)
        files.join([_cut_out(piece, scratch / f"{i}.mp4") for i, piece in enumerate(file)], out, fps)
        offset = 0
        for piece in file:
            for index in piece.episodes:
                yield Shown(place, offset + stretches[index].first - piece.begin, stretches[index].frames)
            offset += piece.end - piece.begin
        if (written := count_listed(out)) != offset:
            raise OutputError(f"{out} has {written} frames instead of {offset}", "see: recd doctor")


def _pieces(stretches: Sequence[Stretch]) -> list[_Piece]:
    """What is copied at once: an episode joins the one before if it begins within, or within a keyframe's reach."""
    found: list[_Piece] = []
    for index, s in enumerate(stretches):
        last = found[-1] if found else None
        if last is None or s.path != last.path or s.first < last.end or s.keyframe > last.end:
            found.append(last := _Piece(s.path, s.keyframe, s.end, s.rate, s.film_frames))
        last.end = s.end
        last.episodes.append(index)
    return found


def _files(
    pieces: Sequence[_Piece], stretches: Sequence[Stretch], fps: Fraction, full_bytes: float
) -> Iterator[list[_Piece]]:
    """The pieces of each file: of one encoder, not too large, and each frame where LeRobot finds it."""
    file: list[_Piece] = []
    size, offset = 0.0, 0
    for piece in pieces:
        for part in _parts(piece, stretches, fps, full_bytes):
            if file and (
                size + part.bytes >= full_bytes
                or not _all_exact(part, stretches, offset, fps)
                or not (part.path == file[-1].path or files.same_kind(part.path, file[-1].path))
            ):
                yield file
                file, size, offset = [], 0.0, 0
            file.append(part)
            size += part.bytes
            offset += part.end - part.begin
    if file:
        yield file


def _parts(piece: _Piece, stretches: Sequence[Stretch], fps: Fraction, full_bytes: float) -> Iterator[_Piece]:
    """A piece, cut between episodes where it is too large for one file, or too long."""
    part: _Piece | None = None
    for index in piece.episodes:
        s = stretches[index]
        if part is not None:
            longer = replace(part, end=s.end, episodes=[*part.episodes, index])
            if longer.bytes < full_bytes and is_exact(s.first - part.begin, s.frames, fps):
                part = longer
                continue
            yield part
        part = _Piece(s.path, s.keyframe, s.end, s.rate, s.film_frames, [index])
    if part is not None:
        yield part


def _all_exact(piece: _Piece, stretches: Sequence[Stretch], offset: int, fps: Fraction) -> bool:
    return all(
        is_exact(offset + stretches[i].first - piece.begin, stretches[i].frames, fps) for i in piece.episodes
    )


def _cut_out(piece: _Piece, out: Path) -> Path:
    """A file of a piece's frames, copied; the film itself if it is all of that."""
    if piece.is_whole:
        return piece.path
    rate = Fraction(piece.rate)
    files.take(piece.path, out, rate, piece.begin, piece.end - piece.begin, rate)
    return out


def told_of(path: Path) -> dict[str, Any]:
    """What ``info.json`` tells of the video files, of which this is the first."""
    info = files.describe(path)
    whole = info.fps.denominator == 1
    return {
        "video.height": info.height, "video.width": info.width, "video.codec": info.codec,
        "video.pix_fmt": info.pixel_format, "video.is_depth_map": False,
        "video.fps": int(info.fps) if whole else float(info.fps), "video.channels": 3, "has_audio": False,
    }  # fmt: skip
