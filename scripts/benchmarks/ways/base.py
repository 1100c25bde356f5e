"""What all ways to get samples out of a loop have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ..kinds import Kind, Sample
from ..timing import Step, time_calls


class Way(ABC):
    """One way to get samples out of a loop.

    Parameters
    ----------
    directory : Path
        Its own; everything that it writes goes here.
    kind : Kind
        Of all samples.

    Raises
    ------
    ImportError
        A package that it needs is not installed.
    """

    #: What tables call it.
    name: ClassVar[str]
    #: Families of samples that it takes.
    families: ClassVar[frozenset[str]]

    def __init__(self, directory: Path, kind: Kind) -> None:
        self.directory = directory
        self.kind = kind

    def block(self, data: Sample, times: Sequence[float], step: Step) -> list[int]:
        """Nanoseconds of each call, each after a step of the simulation."""
        return time_calls(self.write, data, times, step)

    @abstractmethod
    def write(self, data: Sample, t: float) -> object:
        """The call that is timed."""

    def await_room(self) -> None:  # noqa: B027  - most take whatever comes
        """There is room for a sample."""

    def settle(self) -> None:  # noqa: B027  - most have nothing in the air
        """Nothing of it goes on in the background any more."""

    def close(self) -> None:  # noqa: B027  - not all hold something
        """Everything is in its file, complete."""

    def found(self) -> int | None:
        """Samples in its closed file; None: it keeps none."""
        return None

    def lost(self) -> int:
        """Samples that it dropped, and told."""
        return 0

    def helpers(self) -> list[int]:
        """Processes that work for it."""
        return []
