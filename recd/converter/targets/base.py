"""What a target is: something that makes files of one format from recordings. Two kinds.

A :class:`StreamTarget` writes each stream as it was recorded, at its own rate; a unit of work is one output
file. An :class:`EpisodeTarget` writes episodes in which all features share one time axis; a unit of work is
an episode. Neither knows of names, resuming, progress or provenance files: :mod:`recd.converter.work` gives each
the path of an output that is not there yet, and renames what is complete.

Both are told what they are to write before anything is written (``check``), so that a format that cannot hold
it says so then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..episodes import EpisodeData
from ..features import Feature
from ..selection import Samples

#: Receives the number of samples that were done since it was called last.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of an output as a whole: for metadata of the format.

    Parameters
    ----------
    name : str
        Of the recordings, or of the output where they differ.
    task : str
        What was to be done, in a sentence; each episode may have its own.
    tasks : tuple of str
        Of all episodes, each once, in order.
    episodes : int
        Number of episodes that will be written.
    robot : str
        Type of robot; empty where nobody told.
    env : dict
        What the recordings tell of the environment: ``name`` or ``id``, and whatever stands beside it.
    metadata : dict
        Of the recordings; a key that differs between them is left out.
    provenance : dict
        ``recd`` (version), ``command``, and ``sources``: of each its session, path and the SHA-256 of its manifest.
    options : dict
        The table ``[target]`` of the map: choices that only this format has, see :attr:`Target.options`.
    """

    name: str = ""
    task: str = ""
    tasks: tuple[str, ...] = ()
    episodes: int = 0
    robot: str = ""
    env: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Target(ABC):
    """What both kinds have."""

    #: As in ``--to``.
    name: ClassVar[str]
    #: The extra of recd that brings its libraries; empty if it needs none.
    extra: ClassVar[str] = ""
    #: Modules that must be importable.
    libraries: ClassVar[tuple[str, ...]] = ()
    #: Of its files. Empty: the output is a directory.
    suffix: str = ""
    #: Other suffixes that mean it.
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: Choices of this format: name to what it may be (a tuple), or to a type. The first, or none, is the default.
    options: ClassVar[Mapping[str, tuple[str, ...] | type]] = {}
    #: Whether the format has a place for provenance, so that no file beside it is needed.
    holds_provenance: ClassVar[bool] = False

    def __init__(self, info: DatasetInfo) -> None:
        self.info = info

    def option(self, name: str) -> Any:
        """What was chosen for one of :attr:`options`; the default if nothing was, of a type None."""
        allowed = self.options[name]
        return self.info.options.get(name, allowed[0] if isinstance(allowed, tuple) else None)


class StreamTarget(Target):
    """Streams as they were recorded."""

    #: One file holds all streams of a run; else there is a file (or directory) for each.
    whole_run: ClassVar[bool] = False
    #: Whether features of several streams can be written as one table (a map, or ``--fps``).
    tables: ClassVar[bool] = False

    def refuses(self, samples: Samples) -> str:
        """Why a stream has no place in the format at all, so that it is left out; empty: it has one."""
        return "" if samples.kind == "array" else f"{self.name} holds no video"

    @abstractmethod
    def check(self, streams: Sequence[Samples]) -> None:
        """Raise :class:`~recd_client.errors.OptionError` for what the format cannot hold.

        ``streams`` are those of one output: all of a run if :attr:`whole_run`, else one.
        """

    @abstractmethod
    def write(self, path: Path, streams: Sequence[Samples], progress: Progress) -> None:
        """Write one output, in constant memory. What an earlier try left at ``path`` is gone.

        Parameters
        ----------
        path : Path
            Of a file, or of a directory to make; it does not exist, the directory above it does.
        streams : sequence of Samples
            As in :meth:`check`.
        progress : callable
            To be called after each batch, with its samples.
        """

    def told(self, samples: Samples) -> dict[str, Any]:
        """What the provenance says of a stream beyond its samples, fields and gaps: plain data."""
        return {}


class EpisodeTarget(Target):
    """Episodes in which all features share one time axis."""

    #: Rows are at multiples of ``1 / fps``: what is not, is put there. Else rows are the samples of the leading
    #: stream, and ``fps`` is None where they have no constant rate.
    constant_rate: ClassVar[bool] = False
    #: An output that was left half done is gone on with. Else it is begun anew.
    resumes: ClassVar[bool] = True

    @abstractmethod
    def check(self, features: Sequence[Feature], fps: float | None) -> None:
        """Raise :class:`~recd_client.errors.OptionError` for what the format cannot hold."""

    @abstractmethod
    def open(self, path: Path, features: Sequence[Feature], fps: float | None, done: int) -> None:
        """Begin the output at ``path``, or go on with one.

        Parameters
        ----------
        path : Path
            Of a file, or of a directory to make. The directory above it exists and is the converter's own: what
            is needed on the way may lie there, too, under other names than ``progress.json`` and ``lock``.
        features : sequence of Feature
        fps : float or None, 1/s
        done : int
            Number of episodes that are there already. 0: nothing is at ``path``. Else (only if :attr:`resumes`)
            what lies behind them is to be cut off: the process was killed in the middle of it, or just behind it.
        """

    @abstractmethod
    def write_episode(self, episode: EpisodeData) -> None:
        """Write one episode, in constant memory, in the order of their indices.

        When it returns, the episode must survive a kill of this process.
        """

    @abstractmethod
    def close(self) -> None:
        """Complete the output; all episodes are written."""

    def abandon(self) -> None:
        """Let go of what is open, without completing it: something went wrong."""
