"""What a sink is. Two kinds, because formats come in two kinds.

An :class:`AppendSink`'s format can be appended to safely: it writes samples as they come, and can be
cut back to any state that it reported. A :class:`BuildSink`'s format cannot: it is built from the log,
in one go, when its part is complete. Neither knows of rings, logs, parts or names: the runner
(:mod:`recd.runner`) gives each a path inside the output directory and renames the finished file.

All methods are called from one thread of one worker; ``build`` runs in the worker's finisher thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from recd_client.options import SinkOptions
from recd_client.schema import Schema

from ..batch import Batch, Source
from .settling import Digest


class SinkBase:
    """One output file of one stream.

    Parameters
    ----------
    options : SinkOptions
        The user's choices, already checked.
    schema : Schema
    info : dict
        ``name`` of the stream, ``metadata`` of the session, ``fps`` hint; plain data for attributes.
    """

    #: File suffixes that the format goes by.
    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: SinkOptions, schema: Schema, info: dict[str, Any]) -> None:
        self.options = options
        self.schema = schema
        self.info = info
        self.check()

    def check(self) -> None:
        """Raise a clear :class:`~recd_client.errors.RecdError` if these samples do not fit the format."""

    def retime(self, fps: float) -> None:
        """Finish a video at another frame rate; other files have none."""


class AppendSink(SinkBase, ABC):
    """A file that grows with the samples and can be read while it grows."""

    @abstractmethod
    def open(self, path: Path, state: dict[str, Any] | None) -> None:
        """Begin the file, or go on with one whose last safe state was ``state``, cutting what came after."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Add samples.

        After an ``OSError`` (disk full) the runner calls :meth:`open` again with the last safe state, and
        later the same batch.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything written so far, as small plain data that :meth:`open` understands.

        What it covers has left this process (``write(2)`` returned).
        """

    @abstractmethod
    def has(self, path: Path, state: dict[str, Any]) -> bool:
        """Whether the file still holds what ``state`` covers, byte for byte: power may have failed."""

    def renew(self, path: Path, state: dict[str, Any] | None) -> None:
        """A new file, durable, takes the place of one that an ``fsync`` failed for; it has what ``state`` covers."""

    @abstractmethod
    def sync(self) -> None:
        """Make what :meth:`state` covers durable (``fdatasync``)."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the file, sync it and close it."""

    def abandon(self) -> None:
        """Let go of the file without completing it."""


class BuildSink(SinkBase, ABC):
    """A file that appears only when it is complete."""

    @abstractmethod
    def build(self, source: Source, path: Path, progress: Callable[[int], None]) -> Digest:
        """Write the whole of ``source`` to ``path`` in constant memory, sync it, and tell its digest.

        ``progress`` is called now and then with the number of samples done so far (of all passes
        together it may run from 0 to ``source.count`` once); it raises to cancel the build.
        """
