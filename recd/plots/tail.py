"""The newest samples of a log that somebody else writes: read beside it, holding nobody up."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from recd_client.schema import Schema

from ..batch import Batch
from ..chunks import Chunk
from ..log import LogReader, segments


class Tail:
    """Follows a log.

    Parameters
    ----------
    directory : Path
        Of the log.
    schema : Schema
    wants : int
        Of samples that came since the last look, only so many of the newest are given.
    """

    def __init__(self, directory: Path, schema: Schema, wants: int) -> None:
        self._directory = directory
        self._schema = schema
        self._wants = wants
        self._reader: _Reader | None = None

    def news(self) -> Iterator[Batch]:
        """What has come since the last call, in order; a batch is there until the next one is asked for."""
        try:
            reader = self._reader = self._reader or _Reader(self._directory, self._newest())
            yield from self._newest_of(reader)
            reader.release()
        except FileNotFoundError:  # deleted between a look and the next: on with what is there now
            self.close()

    def _newest(self) -> int:
        """Where the newest segment begins: what lies before need not be read to get there."""
        begins = segments(self._directory)
        return begins[-1] if begins else 0

    def _newest_of(self, reader: _Reader) -> Iterator[Batch]:
        chunks: deque[Chunk] = deque()
        samples = 0
        while (chunk := reader.next()) is not None:
            chunks.append(chunk)
            samples += chunk.info.samples
            while samples - chunks[0].info.samples >= self._wants:
                samples -= chunks.popleft().info.samples
        for chunk in chunks:
            if chunk.is_whole():
                for item in chunk.items(self._schema, chunk.info.begin):
                    if isinstance(item.what, Batch):
                        yield item.what

    def close(self) -> None:
        """Let go of the log."""
        if self._reader is not None:
            self._reader.close()
            self._reader.release()
            self._reader = None


class _Reader(LogReader):
    """Keeps segments that it has left open, so that their chunks can still be read."""

    def __init__(self, directory: Path, position: int) -> None:
        super().__init__(directory, position)
        self._left: list[int] = []

    def close(self) -> None:
        """See :class:`LogReader`; the file stays open until :meth:`release`."""
        if self._fd >= 0:
            self._left.append(self._fd)
            self._fd = -1

    def release(self) -> None:
        """No chunk is read any more of segments that were left."""
        while self._left:
            os.close(self._left.pop())
