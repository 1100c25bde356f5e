"""A recording: its streams, what happened on its timeline, and samples of all streams at one time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recd_client.errors import NoSuchNameError

from .arrays import ArrayStream
from .data import Mark, RunData
from .episodes import Episode, episodes_of
from .problems import tell
from .stream import Stream
from .video import VideoStream


class Run:
    """A recording, opened by :func:`recd.open`. Reading needs no daemon and writes nothing.

    ``run["state"]`` is a stream, and so are the values of :attr:`streams`. Iterating gives names.
    """

    def __init__(self, data: RunData) -> None:
        self._data = data
        self._problems: list[str] = []
        for problem in [*data.problems, *(p for s in data.streams for p in s.problems)]:
            tell(self._problems, problem)

    # --- what it is ------------------------------------------------------------------------------
    @property
    def path(self) -> Path:
        """Its directory; of a lone file the file."""
        return self._data.path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands on disk; empty where there is none yet."""
        return self._data.manifest

    @property
    def name(self) -> str:
        """As the recorder was called."""
        return self._data.name

    @property
    def session(self) -> str:
        """The recording's id."""
        return self._data.session

    @property
    def state(self) -> str:
        """``complete``, ``client died``, ``failed``, ``live``, ``unfinished``; ``unknown`` without a manifest."""
        return self._data.state

    @property
    def complete(self) -> bool:
        """Whether it has ended with all that was recorded, and all of it is there."""
        return self._data.complete and not self.problems

    @property
    def metadata(self) -> dict[str, Any]:
        """What the recorder was given."""
        return self._data.metadata

    @property
    def dt(self) -> float | None:
        """Length of a step, s."""
        return self._data.clocks.dt

    @property
    def start_wall_ns(self) -> int | None:
        """The clock on the wall when the recorder was opened, Unix ns."""
        return self._data.clocks.start_wall_ns

    @property
    def start_mono_ns(self) -> int | None:
        """The monotonic clock at the same time, ns."""
        return self._data.clocks.start_mono_ns

    @property
    def problems(self) -> list[str]:
        """What is missing or contradicts the manifest, as far as it was met: files are opened when they are used."""
        streams = self.__dict__.get("streams", {})
        met = [p for stream in streams.values() for p in stream.problems if p not in self._problems]
        return [*self._problems, *met]

    # --- streams -----------------------------------------------------------------------------------
    @cached_property
    def streams(self) -> Mapping[str, ArrayStream | VideoStream]:
        """Name to stream, in the order in which they were declared."""
        made: dict[str, ArrayStream | VideoStream] = {}
        for data in self._data.streams:
            made[data.name] = VideoStream(data) if data.is_video else ArrayStream(data)
        return MappingProxyType(made)

    def __getitem__(self, name: str) -> Any:  # an ArrayStream or a VideoStream: its user knows which
        try:
            return self.streams[name]
        except KeyError:
            raise NoSuchNameError(
                f"{self.path} has no stream {name!r}, only {', '.join(self.streams) or 'none'}",
                "use one of these",
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def __len__(self) -> int:
        return len(self.streams)

    def __contains__(self, name: object) -> bool:
        return name in self.streams

    # --- the timeline --------------------------------------------------------------------------------
    @property
    def marks(self) -> list[Mark]:
        """What happened, in order: resets, and the simulation's own marks."""
        return list(self._data.marks)

    def episodes(self, stream: str | None = None) -> list[Episode]:
        """From one whole reset to the next; where no stream has a sample in between, there is none.

        Parameters
        ----------
        stream : str, optional
            Those of one stream alone. Default: those of all together. Then a reset that stands in some streams
            only, while others went on (environments that are recorded beside each other), is no boundary.
        """
        return episodes_of(self, stream)

    def at(self, t: float, method: str = "previous", tolerance: float | None = None) -> dict[str, Any]:
        """One aligned sample of all streams: name to ``{field: value}``, of a video to the frame.

        Parameters
        ----------
        t : float, s
            Stream time.
        method : {"previous", "nearest", "linear"}
            ``previous``: of each stream the newest sample that is not behind ``t``; ``nearest``: the closest;
            ``linear``: floats are interpolated, all else is as for ``previous``. Nothing is extrapolated.
        tolerance : float, s, optional
            A sample that is further away does not count.

        Returns
        -------
        dict
            None for a stream that has no such sample (``t`` lies outside of it), or cannot be read.

        Raises
        ------
        OptionError
            The method is unknown; or time goes back in a stream (a reset): ask an episode.
        """
        return {
            name: stream.at(t, method, tolerance) if stream.readable else None
            for name, stream in self.streams.items()
        }

    # --- its life ------------------------------------------------------------------------------------
    def close(self) -> None:
        """Let go of all files. Arrays that were given out stay; what is asked for later opens files again."""
        for stream in self.__dict__.get("streams", {}).values():
            stream.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<recd run {self.name or self.path.name!r} ({self.state}): {', '.join(self.streams) or 'no streams'}>"


__all__ = ["Run", "Stream"]
