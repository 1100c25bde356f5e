"""A stream of images, in the video files that were made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OutOfRangeError, OutputError, RecdError
from recd_client.schema import Field, Schema

from .arrays import ArrayStream
from .data import PartData, StreamData
from .decoding import Decoder, Film, film_of, frames, undecoded
from .numbering import UNKNOWN
from .problems import tell
from .stream import Floats, Ints, Stream

#: A decoder that runs is used again for a frame that is so close: seeking costs more.
_NEAR = 8


@dataclass(frozen=True)
class FrameTable:
    """Which sample each frame of the films is, part after part.

    Attributes
    ----------
    seq, step : ndarray, (frames,) int64
    t : ndarray, (frames,) float64, s
    mono_ns : ndarray, (frames,) int64, ns
        -1 where unknown, as for ``seq`` and ``step``.
    repeated : ndarray, (frames,) bool
        The frame is no sample: it is the one before again, in place of a sample that was lost.
    part, frame : ndarray, (frames,) int64
        In which film it is, and where in that.
    """

    seq: Ints
    step: Ints
    t: Floats
    mono_ns: Ints
    repeated: NDArray[np.bool_]
    part: Ints
    frame: Ints

    def __len__(self) -> int:
        return len(self.seq)


class VideoStream(Stream):
    """Images: ``stream[k]`` is sample ``k``, decoded; ``stream.frame(i)`` frame ``i`` of the film.

    A frame is ``(H, W, 3) uint8``, as a player shows it; of a film with one value per pixel (``gray``,
    ``gray16le``) ``(H, W)``, uint8 or uint16, each value as it is in the file. Padding is cut off.
    """

    kind: ClassVar = "video"

    def __init__(self, data: StreamData, source: str = "video", *, exact: bool = False) -> None:
        super().__init__(data)
        self._source = source
        self._exact = exact
        self._decoder: tuple[int, Decoder] | None = None

    # --- what it is ------------------------------------------------------------------------------
    @cached_property
    def _films(self) -> list[tuple[PartData, Film]]:
        """The films that can be read."""
        out = []
        for part in self._data.sources.get(self._source, ()):
            try:
                told = part.video.get("frames") or {}
                count = len(told["seq"]) if "seq" in told else None
                film = film_of(part.path, dict(part.video), count)
                out.append((part, replace(film, exact=self._exact)))
            except RecdError as e:
                tell(self.problems, e.what)
        return out

    @property
    def _film(self) -> Film:
        if not self._films:
            raise OutputError(
                f"stream {self.name!r} has no video that can be read"
                + "".join(f"; {p}" for p in self.problems),
                "look closer with: recd info, recd verify",
            )
        return self._films[0][1]

    def exact(self) -> VideoStream:
        """The same stream, its colours decoded without ffmpeg's shortcut: true to 1 of 255 and not to 3.

        At a quarter of the speed. Films with RGB or gray values in them lose nothing either way.
        """
        return VideoStream(self._data, self._source, exact=True)

    @cached_property
    def videos(self) -> list[VideoStream]:
        """All videos of the stream, itself first: of a batch with ``batch="separate"`` one per image."""
        kinds = [kind for kind in self._data.sources if kind.startswith("video") and kind != self._source]
        return [self, *(VideoStream(self._data, kind) for kind in kinds)]

    @cached_property
    def arrays(self) -> ArrayStream | None:
        """The same samples as arrays, where the stream was recorded into such a file, too (or is in a log)."""
        kinds = [kind for kind in self._data.sources if not kind.startswith("video")]
        return ArrayStream(self._data) if kinds else None

    @property
    def schema(self) -> Schema:
        """What the simulation wrote; :attr:`shape` and :attr:`dtype` are those of decoded frames."""
        if self._data.schema is not None:
            return self._data.schema
        return Schema((Field("data", self.dtype.newbyteorder("<").str, self.shape),), bare=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a decoded frame: ``(H, W, 3)``, or ``(H, W)``."""
        return self._film.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a decoded frame."""
        return self._film.dtype

    @property
    def width(self) -> int:
        """Of a frame, in pixels, without padding."""
        return self.shape[1]

    @property
    def height(self) -> int:
        """Of a frame, in pixels, without padding."""
        return self.shape[0]

    @property
    def fps(self) -> float:
        """Frames per second of the film."""
        return float(self._film.fps)

    @property
    def codec(self) -> str:
        """As ffmpeg names it."""
        return self._film.codec

    @property
    def pixel_format(self) -> str:
        """As ffmpeg names it."""
        return self._film.pixel_format

    @property
    def films(self) -> list[Film]:
        """The files, part after part: path, codec, size, rate, padding."""
        return [film for _, film in self._films]

    @property
    def path(self) -> Any:
        """The (first) file."""
        return self._film.path

    @property
    def scale(self) -> dict[str, Any] | None:
        """``low``, ``high``, ``levels``, ``step`` of scaled values: ``low + step * frame`` gives them back."""
        return self._films[0][0].video.get("scale") if self._films else None

    # --- the timeline ------------------------------------------------------------------------------
    @cached_property
    def frames(self) -> FrameTable:
        """Which sample each frame is, repetitions included."""
        return _table([_part_table(k, *each, self._data) for k, each in enumerate(self._films)])

    @cached_property
    def _samples(self) -> Ints:
        """Row in :attr:`frames` of each sample."""
        return np.flatnonzero(~self.frames.repeated)

    def __len__(self) -> int:
        return len(self._samples)

    @cached_property
    def t(self) -> Floats:
        """See :class:`Stream`; of a film alone, without a manifest, when each frame is shown."""
        return self.frames.t[self._samples]

    @property
    def seq(self) -> Ints:
        """See :class:`Stream`."""
        return self.frames.seq[self._samples]

    @property
    def step(self) -> Ints:
        """See :class:`Stream`."""
        return self.frames.step[self._samples]

    @property
    def mono_ns(self) -> Ints:
        """See :class:`Stream`."""
        return self.frames.mono_ns[self._samples]

    @property
    def known(self) -> frozenset[str]:
        """See :class:`Stream`."""
        told = all((part.video.get("frames") or {}).get("seq") is not None for part, _ in self._films)
        return frozenset({"seq", "step", "wall"}) if told and self._films else frozenset()

    @property
    def parts(self) -> list[slice]:
        """See :class:`Stream`."""
        counts = np.bincount(self.frames.part[self._samples], minlength=len(self._films))
        ends = np.cumsum(counts)
        return [slice(int(end - n), int(end)) for end, n in zip(ends, counts, strict=True)]

    # --- frames ------------------------------------------------------------------------------------
    def __getitem__(self, k: int) -> NDArray[Any]:
        """Sample ``k``, decoded: from the keyframe before it on, or where the last access ended."""
        return self.frame(int(self._samples[self._index(k)]))

    def frame(self, i: int) -> NDArray[Any]:
        """Frame ``i`` of the films one behind the other, repetitions included."""
        count = len(self.frames)
        if not -count <= i < count:
            raise OutOfRangeError(f"stream {self.name!r}: frame {i} of {count}", f"use 0 to {count - 1}")
        i %= count
        part, number = int(self.frames.part[i]), int(self.frames.frame[i])
        film = self._films[part][1]
        decoder = self._at(part, film, number)
        found = decoder.read()
        if found is None:
            reason = decoder.reason
            self.close()
            raise undecoded(film, number, reason)
        return found

    def _at(self, part: int, film: Film, number: int) -> Decoder:
        """A decoder whose next frame is this one."""
        if self._decoder is not None:
            running, decoder = self._decoder
            if (
                running == part
                and 0 <= number - decoder.next <= _NEAR
                and decoder.skip(number - decoder.next)
            ):
                return decoder
            decoder.close()
        decoder = Decoder(film, number)
        self._decoder = part, decoder
        return decoder

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self.frames_between()

    def frames_between(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[Any]]:
        """The samples from ``start`` to ``stop``, decoded one after the other by one ffmpeg per part."""
        start, stop, _ = slice(start, stop).indices(len(self))
        rows = self._samples[start:stop]
        for part, (_, film) in enumerate(self._films):
            wanted = self.frames.frame[rows[self.frames.part[rows] == part]]
            if not len(wanted):
                continue
            number = int(wanted[0])
            at = iter(wanted.tolist())
            following = next(at)
            for frame in frames(film, number, int(wanted[-1]) + 1):
                if number == following:
                    yield frame
                    following = next(at, -1)
                number += 1

    def at(
        self, t: float, method: str = "previous", tolerance: float | None = None, within: slice | None = None
    ) -> NDArray[Any] | None:
        """The frame that holds at a time, see :meth:`index_at`; never a mixture of two. None if there is none."""
        found = self.index_at(t, method, tolerance, within)
        return None if found is None else self[found]

    def close(self) -> None:
        """See :class:`Stream`: ends the decoder."""
        if self._decoder is not None:
            self._decoder[1].close()
            self._decoder = None


def _part_table(number: int, part: PartData, film: Film, data: StreamData) -> FrameTable:
    """The frames of one film; without a manifest only its own times are known."""
    told = part.video.get("frames") or {}
    count = film.frames
    index = np.arange(count, dtype=np.int64)
    unknown = np.full(count, UNKNOWN, np.int64)
    repeated = np.zeros(count, np.bool_)
    if "seq" not in told:
        t = index / float(film.fps)
        return FrameTable(unknown, unknown, t, unknown, repeated, np.full(count, number), index)
    repeated[np.asarray(told.get("repeated", ()), np.int64)] = True
    clocks = data.clocks
    offset = (clocks.start_wall_ns or 0) - (clocks.start_mono_ns or 0)
    wall = np.asarray(told["wall_ns"], np.int64)
    t = np.array([math.nan if t is None else t for t in told["t"]], np.float64)
    return FrameTable(
        np.asarray(told["seq"], np.int64), np.asarray(told["step"], np.int64), t, wall - offset, repeated,
        np.full(count, number), index,
    )  # fmt: skip


def _table(parts: list[FrameTable]) -> FrameTable:
    if not parts:
        none = np.empty(0, np.int64)
        return FrameTable(none, none, np.empty(0), none, np.empty(0, np.bool_), none, none)
    columns = (np.concatenate([getattr(p, name) for p in parts]) for name in FrameTable.__dataclass_fields__)
    return FrameTable(*columns)
