"""MCAP: one file for each recording, with a channel for each stream, as Foxglove and PlotJuggler read it.

=======================  ==========================================================================================
numbers, text            ``/NAME``: ROS 2 messages with their definition, or JSON with a JSON Schema
films                    ``/NAME``: ``foxglove.CompressedVideo``, H.264; 16 bits per pixel: ``foxglove.RawImage``
fields that are images   ``/NAME/FIELD``: ``foxglove.CompressedImage``, or ``foxglove.RawImage``
marks, resets, losses    ``/events``: ``foxglove.Log``
=======================  ==========================================================================================

Each message has one time, as its log time and its publish time: :mod:`recd.converter.targets.mcap_clock`. Metadata
``recd`` has the provenance, metadata ``recording`` what the recorder was given; the manifest is attached.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ...foxglove.options import ENCODINGS
from ..selection import Samples, Selected
from .base import Progress, StreamTarget
from .mcap_clock import clock_of


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
