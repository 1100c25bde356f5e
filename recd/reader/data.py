"""What is known of a recording before any of its samples is read: from a manifest, a log, or a file alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recd_client.schema import Schema

from .tables import Table


@dataclass(frozen=True)
class Gap:
    """Samples that were lost.

    Parameters
    ----------
    first_seq, last_seq : int
        Numbers from and to which; the losses of several causes may interleave.
    count : int
        How many of these were lost for this cause.
    cause : str
        ``full``, ``timeout``, ``dropped_oldest``, ``log_damaged``, ...
    """

    first_seq: int
    last_seq: int
    count: int
    cause: str


@dataclass(frozen=True)
class Mark:
    """An event on the timeline.

    Parameters
    ----------
    label : str
        ``recd.reset`` for a reset.
    fields : dict
    t : float, s
        Stream time of the latest sample when it was made; NaN where nobody told.
    step : int
        The same for the step, -1 where unknown.
    seq : dict
        By stream, the number of the sample that follows it; only of streams that it stands in. Empty where
        the recording does not tell.
    mono_ns : int
        Monotonic clock.
    source : {"recorder", "outside", "alert"}
        Who made it: the simulation; somebody outside (``recd mark``, the page); a condition that held.
    """

    label: str
    fields: Mapping[str, Any]
    t: float
    step: int
    seq: Mapping[str, int]
    mono_ns: int
    source: str = "recorder"


@dataclass(frozen=True)
class PartData:
    """One file of a stream, or a stretch of its log.

    Parameters
    ----------
    path : Path
    kind : str
        As in a manifest: ``hdf5``, ``npz``, ``csv``, ``video``; or ``log``.
    number : int
    samples : int or None
        None where only the file itself tells.
    first_seq, next_seq : int or None
        Number that a sample at its begin would have, and the one behind its last.
    open_table : callable
        Opens the file, with the schema if it is known.
    video : dict
        What a manifest tells of a video, ``frames`` included.
    intact : bool
        It has the size that it is told to have: what else is told of it is believed.
    """

    path: Path
    kind: str
    number: int = 0
    samples: int | None = None
    first_seq: int | None = None
    next_seq: int | None = None
    open_table: Callable[[Schema | None], Table] | None = None
    video: Mapping[str, Any] = field(default_factory=dict)
    intact: bool = False


@dataclass(frozen=True)
class Clocks:
    """How monotonic time and the clock on the wall lie to each other; None where nobody knows.

    Parameters
    ----------
    dt : float or None, s
    start_mono_ns, start_wall_ns : int or None
    """

    dt: float | None = None
    start_mono_ns: int | None = None
    start_wall_ns: int | None = None


@dataclass
class StreamData:
    """One stream.

    Parameters
    ----------
    name : str
    schema : Schema or None
        None where only its files tell.
    sources : dict
        Kind to the parts in order.
    told : dict
        The stream's share of the manifest, as it stands there: counts, first and last times.
    is_video : bool
        It is (also) in a video.
    """

    name: str
    schema: Schema | None
    sources: dict[str, list[PartData]]
    hz: float | None = None
    state: str = "unknown"
    reason: str = ""
    complete: bool = False
    gaps: list[Gap] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)
    clocks: Clocks = Clocks()
    problems: list[str] = field(default_factory=list)
    is_video: bool = False


@dataclass
class RunData:
    """One recording."""

    path: Path
    streams: list[StreamData]
    manifest: dict[str, Any]
    name: str = ""
    session: str = ""
    state: str = "unknown"
    complete: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    clocks: Clocks = Clocks()
    marks: list[Mark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
