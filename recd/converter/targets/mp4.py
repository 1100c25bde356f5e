"""MP4: the films of a recording, or stretches of them, re-wrapped; images that were recorded as arrays, encoded.

Which sample each frame is stands in ``recd-provenance.json``. Frames that stand in for lost ones stay, so that a film
keeps its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError
from recd_client.options import CODECS

from ...reader import VideoStream
from .. import clips
from ..episodes import Clip
from ..selection import Samples, Selected
from .base import Progress, StreamTarget

#: What recd encodes with, of the codecs that have a place in MP4.
_CODECS: Final = {"h264", "hevc", "av1", "vp9", "mpeg4"}


class MP4Target(StreamTarget):
    """A film for each stream of images."""

    name = "mp4"
    suffix = ".mp4"
    options: ClassVar = {"codec": ("", *CODECS)}

    def refuses(self, samples: Samples) -> str:
        """See :class:`StreamTarget`."""
        reason = no_images(samples)
        if not reason and isinstance(samples, Selected) and isinstance(samples.stream, VideoStream):
            foreign = {film.codec for film in samples.stream.films} - _CODECS
            reason = f"MP4 holds no {', '.join(foreign)}: png has every bit" if foreign else ""
        return reason

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        for samples in streams:
            if not len(samples):
                raise OptionError(
                    f"stream {samples.name!r} has no frame to show", "leave it out with --streams"
                )

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        (samples,) = streams
        assert isinstance(samples, Selected)
        if samples.kind == "video":
            clips.join(list(clips_of(samples)), path, title=samples.name)
            progress(len(samples))
            return
        (field,) = samples.schema.fields
        t = samples.column(samples.stream.t)
        rate = clips.rate_of(t, samples.stream.hz)
        codec = self.option("codec") or None
        with clips.Encoding(path, field.shape, rate, codec=codec, title=samples.name) as film:
            for block in samples.batches():
                for image in np.asarray(block[field.name]):
                    film.feed(image)
                progress(block.count)
            film.finish()

    def told(self, samples: Samples) -> dict[str, Any]:
        """See :class:`StreamTarget`: which sample each frame is."""
        assert isinstance(samples, Selected)
        return {"frames": frames_told(samples)}


def no_images(samples: Samples) -> str:
    """Why a stream cannot be shown as pictures; empty: it can."""
    if samples.kind == "video":
        return "" if len(samples) else "it has no frame"
    if not samples.schema.is_image() or samples.schema.fields[0].dtype != "|u1":
        return "its samples are no pictures of uint8, (H, W) or (H, W, 1, 3 or 4)"
    return "" if len(samples) else "it has no sample"


def clips_of(samples: Selected) -> Iterator[Clip]:
    """The stretches of films in which the wanted samples lie, with what stands in for lost ones in between."""
    last: Clip | None = None
    for clip in _clips(samples):
        if last is not None and last.path == clip.path and last.first_frame + last.frames == clip.first_frame:
            last = Clip(last.film, last.first_frame, last.frames + clip.frames)
            continue
        if last is not None:
            yield last
        last = clip
    if last is not None:
        yield last


def _clips(samples: Selected) -> Iterator[Clip]:
    stream: Any = samples.stream
    table = stream.frames
    rows = np.flatnonzero(~table.repeated)
    for span in samples.spans:
        if not len(span):
            continue
        wanted = np.arange(rows[span.start], rows[span.stop - 1] + 1)
        for part in dict.fromkeys(table.part[wanted].tolist()):
            here: NDArray[np.int64] = table.frame[wanted[table.part[wanted] == part]]
            yield Clip(stream.films[part], int(here[0]), int(here[-1] - here[0] + 1))


def frames_told(samples: Selected) -> dict[str, Any]:
    """By frame: number, time and step of the sample that it shows; which ones stand in for a lost one."""
    stream: Any = samples.stream
    if samples.kind != "video":
        return {"seq": samples.column(stream.seq).tolist(), "t": samples.column(stream.t).tolist()}
    table = stream.frames
    rows = np.flatnonzero(~table.repeated)
    spans = [np.arange(rows[s.start], rows[s.stop - 1] + 1) for s in samples.spans if len(s)]
    shown = np.concatenate(spans)
    return {
        "seq": table.seq[shown].tolist(), "t": table.t[shown].tolist(), "step": table.step[shown].tolist(),
        "repeated": np.flatnonzero(table.repeated[shown]).tolist(), "fps": str(Fraction(stream.films[0].fps)),
    }  # fmt: skip
