"""rrd: one file for each recording, as the Rerun viewer opens it.

==========================  =======================================================================================
numbers                     ``/NAME/FIELD``: ``Scalars``, an array's elements as instances of one entity
integers of 64 bits         also as they are, component ``exact``: scalars are float64
text                        ``/NAME/FIELD``: ``TextLog``
images                      ``/NAME/FIELD``: ``Image``; 16 bits and floats ``DepthImage``
films                       ``/NAME``: ``AssetVideo``, and a ``VideoFrameReference`` for each sample
marks, resets, losses       ``/events``: ``TextLog``
==========================  =======================================================================================

Timelines: ``time`` is stream time; ``wall``, ``step`` and ``seq`` are there where the recording tells them of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from ..selection import Samples, Selected
from .base import Progress, StreamTarget

#: Bytes that an entity's film may have: Arrow counts them in 32 bits.
_MOST_FILM_BYTES: Final = (1 << 31) - 1


class RRDTarget(StreamTarget):
    """A Rerun recording for each recording."""

    name = "rrd"
    extra = "rerun"
    libraries = ("rerun",)
    suffix = ".rrd"
    whole_run = True
    holds_provenance = True
    options: ClassVar = {}

    def refuses(self, samples: Samples) -> str:
        """See :class:`StreamTarget`."""
        if samples.kind == "video":
            return "" if len(samples) else "it has no frame"
        return "" if any(0 not in f.shape for f in samples.schema.fields) else "its samples hold no numbers"

    def check(self, streams: Sequence[Samples]) -> None:
        """See :class:`StreamTarget`."""
        from .rrd_video import check

        for samples in streams:
            if samples.kind == "video":
                check(samples, _MOST_FILM_BYTES)

    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """See :class:`StreamTarget`."""
        from .rrd_file import File

        with File(path, streams[0].run, self.info.provenance) as file:
            file.events(streams)
            for samples in streams:
                assert isinstance(samples, Selected)
                if samples.kind == "video":
                    file.films(samples, progress)
                else:
                    file.samples(samples, progress)
            file.finish()
