"""MCAP: one file for each recording, with a channel for each stream, as Foxglove and PlotJuggler read it.

=======================  ==========================================================================================
numbers, text            ``/NAME``: ROS 2 messages with their definition, or JSON with a JSON Schema
films                    ``/NAME``: ``foxglove.CompressedVideo``, H.264; 16 bits per pixel: ``foxglove.RawImage``
fields that are images   ``/NAME/FIELD``: ``foxglove.CompressedImage``, or ``foxglove.RawImage``
marks, resets, losses    ``/events``: ``foxglove.Log``
=======================  ==========================================================================================

Each message has one time, as its log time and its publish time. Metadata ``recd`` has the provenance, metadata
``recording`` what the recorder was given; the manifest is attached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ...foxglove.options import ENCODINGS
from ..selection import Samples, Selected
from .base import Progress, StreamTarget
from .viewing import nanoseconds

if TYPE_CHECKING:
    from ...reader import Run


class MCAPTarget(StreamTarget):
    """An MCAP file for each recording."""

    name = "mcap"
    extra = "foxglove"
    libraries = ("foxglove", "PIL")
    suffix = ".mcap"
    whole_run = True
    holds_provenance = True
    options: ClassVar = {
        "encoding": ENCODINGS,
        "clock": ("auto", "wall", "stream"),
        "images": ("png", "jpeg", "raw"),
        "compression": ("lz4", "zstd", "none"),
    }

    def refuses(self, samples: Samples) -> str:
        """See :class:`StreamTarget`."""
        if samples.kind == "video":
            return "" if len(samples) else "it has no frame"
        return "" if any(0 not in f.shape for f in samples.schema.fields) else "its samples hold no numbers"

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        from .mcap_video import check

        clock_of(streams, self.option("clock"))
        for samples in streams:
            if samples.kind == "video":
                check(samples)

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        from .mcap_file import File

        clock = clock_of(streams, self.option("clock"))
        with File(path, self.option("compression")) as file:
            file.tell_of(streams[0].run, self.info.provenance, clock)
            file.events(streams, clock)
            for samples in streams:
                assert isinstance(samples, Selected)
                if samples.kind == "video":
                    file.films(samples, clock, progress)
                else:
                    file.samples(samples, clock, progress, self.option("encoding"), self.option("images"))
            file.finish()


@dataclass(frozen=True)
class Clock:
    """The time of messages: the same kind for all of a file, so that streams stay beside each other.

    Parameters
    ----------
    wall : bool
        The clock on the wall; else stream time, from 1970 on.
    offset_ns : int
        What to add to the monotonic clock for Unix time.
    """

    wall: bool
    offset_ns: int = 0

    def times_ns(self, t: NDArray[np.float64], mono_ns: NDArray[np.int64]) -> list[int]:
        """Of samples; what is no time has that of the sample before, and nothing is before 0."""
        if self.wall:
            return list((mono_ns + self.offset_ns).tolist())
        return list(np.maximum(nanoseconds(t), 0).tolist())


def clock_of(streams: Sequence[Samples], choice: str) -> Clock:
    """The clock of a file.

    Raises
    ------
    OptionError
        The clock on the wall is asked for, but the recording does not tell it of all streams.
    """
    run: Run = streams[0].run
    untold = [s.name for s in streams if isinstance(s, Selected) and "wall" not in s.stream.known]
    told = run.start_wall_ns is not None and run.start_mono_ns is not None
    if choice == "wall" and (untold or not told):
        raise OptionError(
            f"[target] clock = 'wall': nobody knows when samples of {', '.join(untold) or 'it'} were written",
            "use clock = 'stream'",
        )
    if choice == "stream" or untold or not told:
        return Clock(wall=False)
    assert run.start_wall_ns is not None
    assert run.start_mono_ns is not None
    return Clock(wall=True, offset_ns=run.start_wall_ns - run.start_mono_ns)
