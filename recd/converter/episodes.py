"""One episode of all features on one time axis, read piece by piece: what episode targets write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import NoSuchNameError, OptionError

from .features import ARRAY, IMAGE, TEXT, Feature
from .windows import Window, Windows

if TYPE_CHECKING:
    from ..reader import Run, VideoStream
    from ..reader.decoding import Film

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Rows at a time of a column that is read whole.
_ROWS: Final = 4096
#: Images that lie in arrays are read so many bytes at a time.
_IMAGE_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class Clip:
    """A stretch of a film whose frames are an episode's rows, one by one.

    Parameters
    ----------
    film : Film
        Path, codec, pixel format, size and padding of the whole file.
    first_frame, frames : int
        Which of its frames.
    """

    film: Film
    first_frame: int
    frames: int

    @property
    def path(self) -> Path:
        """The whole film."""
        return self.film.path

    @property
    def fps(self) -> Fraction:
        """Frames per second of the film: not always the episode's rate."""
        return self.film.fps

    @property
    def codec(self) -> str:
        """As ffmpeg names it."""
        return self.film.codec

    @property
    def has_padding(self) -> bool:
        """Whether the film has rows or columns that are no part of the picture: a copy has them, too."""
        return bool(self.film.right or self.film.bottom)


@dataclass(frozen=True)
class Placed:
    """Which samples of a stream an episode's rows show.

    Parameters
    ----------
    first : ndarray, (length,) int64
        Index of the sample for each row, never falling.
    share : ndarray, (length,) float64, or None
        How far from it to the sample behind it the row lies, 0 to 1; None: nothing is interpolated.
    """

    first: Ints
    share: Floats | None = None

    @property
    def is_run(self) -> bool:
        """Whether the rows are samples that follow each other, as they are."""
        n = len(self.first)
        return self.share is None and (n == 0 or bool((np.diff(self.first) == 1).all()))


@dataclass
class EpisodeData:
    """One episode.

    Values may be views that are there until the next ones are asked for.

    Parameters
    ----------
    index : int
        In the output, from 0 on.
    run : Run
        The recording that it is from.
    number : int
        Its number in that.
    features : sequence of Feature
    t : ndarray, (length,) float64, s
        Since the episode's first row.
    placed : dict
        By stream, which of its samples the rows are.
    fps : float or None, 1/s
        Rows lie ``1 / fps`` apart; None where they have no constant rate.
    t0 : float, s
        Stream time of the first row.
    seed : int or None
    success : bool or None
    task : str
    metadata : dict
        Fields of the marks within, and of the reset that it began with.
    problems : list of str
        What is to be known of its rows: gaps that they span.
    reached : callable
        Told the number of rows that were read, as far as any feature was.
    windows : Windows
        What is open of the recordings' files.
    """

    index: int
    run: Run
    number: int
    features: Sequence[Feature]
    t: Floats
    placed: Mapping[str, Placed]
    fps: float | None = None
    t0: float = 0.0
    seed: int | None = None
    success: bool | None = None
    task: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    reached: Callable[[int], None] = lambda rows: None
    windows: Windows = field(default_factory=Windows, repr=False)

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(self.t)

    def feature(self, name: str) -> Feature:
        """The feature of that name."""
        for found in self.features:
            if found.name == name:
                return found
        known = ", ".join(f.name for f in self.features)
        raise NoSuchNameError(f"no feature {name!r}, only {known}", "use one of these")

    # --- arrays and texts ----------------------------------------------------------------------------
    def chunks(
        self, rows: int = _ROWS, names: Sequence[str] | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """All rows in order, some at a time: name to ``(n, *shape)`` array, of texts ``(n,)`` of str.

        Parameters
        ----------
        rows : int
            At most so many at a time.
        names : sequence of str, optional
            Only these features; default: all that are no images.
        """
        if names is None:
            wanted = [f for f in self.features if f.kind in (ARRAY, TEXT)]
        else:
            wanted = [self.feature(name) for name in names]
        windows = {
            name: self._window(name, wanted) for name in dict.fromkeys(_streams(wanted)) if self.length
        }
        for begin in range(0, self.length, rows):
            end = min(begin + rows, self.length)
            yield {f.name: self._values(f, windows, begin, end) for f in wanted}
            self.reached(end)

    def column(self, name: str) -> NDArray[Any]:
        """All rows of a feature, ``(length, *shape)``: in memory as a whole."""
        wanted = self.feature(name)
        found = [chunk[name].copy() for chunk in self.chunks(names=[name])]
        return np.concatenate(found) if found else np.empty((0, *wanted.shape), wanted.dtype)

    def final(self) -> dict[str, NDArray[Any]] | None:
        """What the recording has behind the last row, by feature: the observations that the last action led to.

        Only of streams in which some features are shifted against others (see :class:`Feature`): there a row holds
        what a step did *and* what came of it, and the last row has its observation left. None if there is no such.
        """
        acting = {p.stream for f in self.features if f.shift for p in f.pieces}
        if not acting or not self.length:
            return None
        left = {name for name in acting if self.run[name].kind == "array"}
        found: dict[str, NDArray[Any]] = {}
        for f in self.features:
            if f.shift or not left.issuperset(p.stream for p in f.pieces):
                continue
            at = int(self.placed[f.stream].first[-1]) + 1
            index = np.array([at])
            rows = [
                self.windows.at(self.run, p.stream, [p.field], at, use="final").take(p.field, index)
                for p in f.pieces
            ]
            (value,) = f.assembled(rows)
            found[f.name] = value.reshape(f.shape) if f.kind == IMAGE else value
        return found

    def _window(self, stream: str, wanted: Sequence[Feature]) -> Window:
        """The rows of one stream, for some features, from the first sample that is needed on."""
        fields = list(dict.fromkeys(p.field for f in wanted for p in f.pieces if p.stream == stream))
        shifts = [f.shift for f in wanted if any(p.stream == stream for p in f.pieces)]
        return self.windows.at(self.run, stream, fields, int(self.placed[stream].first[0]) + min(shifts))

    def _values(self, f: Feature, windows: Mapping[str, Window], begin: int, end: int) -> NDArray[Any]:
        rows = []
        for piece in f.pieces:
            placed = self.placed[piece.stream]
            first = placed.first[begin:end] + f.shift
            window = windows[piece.stream]
            values = window.take(piece.field, first)
            if placed.share is not None and values.dtype.kind == "f":
                share = placed.share[begin:end].reshape(-1, *(1 for _ in values.shape[1:]))
                behind = window.take(piece.field, np.where(placed.share[begin:end] > 0, first + 1, first))
                values = (values + share * (behind.astype(np.float64) - values)).astype(values.dtype)
            rows.append(values)
        return f.assembled(rows)

    # --- images --------------------------------------------------------------------------------------
    def images(self, name: str) -> Iterator[NDArray[Any]]:
        """The images of a feature, row by row, ``(H, W, C)`` of its dtype (nearly always uint8)."""
        f = self.feature(name)
        if f.kind != IMAGE:
            raise OptionError(f"feature {name!r} holds {f.kind}s, not images", "use column() or chunks()")
        piece, placed = f.pieces[0], self.placed[f.stream]
        source = self.run[piece.stream]
        if source.kind == "video":
            found = _frames(source, placed.first + f.shift)
        else:
            row_bytes = max(1, f.size * f.dtype.itemsize)
            chunks = self.chunks(max(1, _IMAGE_BYTES // row_bytes), [name])
            found = (image for chunk in chunks for image in chunk[name])
        for done, image in enumerate(found, 1):
            yield np.asarray(image, f.dtype).reshape(f.shape)
            self.reached(done)

    def clip(self, name: str) -> Clip | None:
        """The stretch of a film that shows exactly the rows of an image feature, so that it may be copied.

        None where rows are not a film's frames one by one: it lies in arrays, was put on another rate, or goes
        over several files. Then encode :meth:`images`.
        """
        f = self.feature(name)
        source = self.run[f.stream]
        if f.kind != IMAGE or source.kind != "video" or f.pieces[0].index or not self.length:
            return None
        return clip_of(source, self.placed[f.stream].first + f.shift)


def clip_of(stream: VideoStream, samples: Ints) -> Clip | None:
    """The frames that show these samples of a video one by one; None if there is no such stretch of one film."""
    table = stream.frames
    shown = np.cumsum(~table.repeated) - 1  # the sample that each frame shows
    begin = int(np.searchsorted(shown, samples[0]))
    rows = slice(begin, begin + len(samples))
    if not np.array_equal(shown[rows], samples) or len({*table.part[rows].tolist()}) != 1:
        return None
    if not (np.diff(table.frame[rows]) == 1).all():
        return None
    return Clip(stream.films[int(table.part[begin])], int(table.frame[begin]), len(samples))


def _frames(stream: VideoStream, wanted: Ints) -> Iterator[NDArray[Any]]:
    """Samples of a video in rising order, some perhaps several times, decoded once."""
    if not len(wanted):
        return
    start = int(wanted[0])
    decoded = enumerate(stream.frames_between(start, int(wanted[-1]) + 1), start)
    at, frame = next(decoded)
    for index in wanted.tolist():
        while at < index:
            at, frame = next(decoded)
        yield frame


def _streams(features: Sequence[Feature]) -> Iterator[str]:
    return (piece.stream for f in features for piece in f.pieces)
