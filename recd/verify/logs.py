"""Whether a stream's log is whole: every chunk of it, in order, without a number missing that is not told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recd_client.schema import Schema

from ..chunks import HEADER_BYTES, Chunk
from ..journal import DAMAGED, Journal, Tally, gaps
from ..log import LogReader, Missing, segments
from ..scan import is_torn
from ..session import is_direct
from .finding import DAMAGE, KEEP, NOTE, OK, Finding


class LogCheck:
    """Reads one log from its first byte to its last.

    Parameters
    ----------
    directory : Path
        The stream's, with ``log`` in it.
    spec : dict
        As ``stream.json`` tells it.
    live : bool
        Whether a worker may be appending.
    """

    def __init__(self, directory: Path, spec: dict[str, Any], *, live: bool) -> None:
        self.directory = directory
        self.path = directory / "log"
        self.spec = spec
        self.schema = Schema.from_json(spec["schema"])
        self.live = live
        begins = segments(self.path)
        #: Position that it begins at; None if there is no log (any more).
        self.begin = begins[0] if begins else None
        self.end = 0
        #: Whether anything of it is damaged.
        self.damaged = False
        self._direct = is_direct(spec)

    @property
    def size_bytes(self) -> int:
        """How much there is to read."""
        return sum(p.stat().st_size for p in self.path.glob("*.log"))

    def run(self, advance: Callable[[int], None]) -> Iterator[Finding]:
        """Every finding; the last one says what is there.

        Parameters
        ----------
        advance : callable
            Called now and then with the number of bytes read since the last call.
        """
        for copy in sorted(self.path.glob("*.cut")):
            yield self._bad(copy, "a damaged end of the log was put aside here by an earlier worker")
        journal = Journal(self.directory, self.schema, reads_only=True)
        if self.begin is None:
            if journal.position and not (self.directory / "result.json").exists():
                yield self._bad(self.path, f"there is no log, and it had reached position {journal.position}")
            return
        known, journal.position, journal.tally = journal.position, self.begin, Tally()  # count all of it anew
        self.end = self.begin
        reader = LogReader(self.path)
        samples = chunks = 0
        try:
            at = 0  # offset behind the newest chunk
            while (chunk := reader.next()) is not None:
                info = chunk.info
                if not chunks and self.begin:  # what came before was needed no more, and is deleted
                    journal.tally.next_seq = info.first_seq
                if reader.damaged:
                    yield self._bad(
                        reader.path,
                        f"no chunk for positions {self.end} to {info.begin}{_from_byte(at, chunk)}",
                    )
                if not chunk.is_whole():
                    yield self._bad(
                        reader.path,
                        f"the chunk at byte {chunk.offset} is damaged: positions {info.begin} to {info.end}, "
                        f"{info.samples} samples from number {info.first_seq} on",
                    )
                    journal.miss(Missing(info.begin, info.end, journal.tally.next_seq, info.next_seq, True))
                if not self._direct:
                    journal.take(chunk, damaged=reader.damaged)
                samples, chunks = samples + info.samples, chunks + 1
                self.end, at = info.end, reader.offset
                advance(HEADER_BYTES + info.body_bytes)
            yield from self._tail(reader)
        finally:
            reader.close()
        if known > self.end and not self._direct:
            yield self._bad(self.path, f"it ends at position {self.end}, and had reached {known}")
        yield from self._missing(journal)
        if not self.damaged:
            yield Finding(OK, self.path, f"{chunks} chunks with {samples} samples are whole")

    def _bad(self, path: Path, what: str) -> Finding:
        self.damaged = True
        return Finding(DAMAGE, path, what, KEEP)

    def _tail(self, reader: LogReader) -> Iterator[Finding]:
        """What lies behind the last chunk."""
        newest = reader.path
        if self.live or not newest.exists():
            return
        size = newest.stat().st_size
        offset = reader.offset if size >= reader.offset else 0
        if size == offset:
            return
        fd = os.open(newest, os.O_RDONLY | os.O_CLOEXEC)
        try:
            torn = is_torn(fd, offset)
        finally:
            os.close(fd)
        if torn:
            yield Finding(
                NOTE, newest, f"its end, from byte {offset} on, was being written when it was killed"
            )
        else:
            yield self._bad(newest, f"no chunk can be read from byte {offset} on")

    def _missing(self, journal: Journal) -> Iterator[Finding]:
        for gap in gaps(journal.events()):
            if gap["cause"] == DAMAGED:
                yield self._bad(
                    self.path,
                    f"{gap['count']} samples are missing, number {gap['first_seq']} to {gap['last_seq']}",
                )


def _from_byte(at: int, chunk: Chunk) -> str:
    """Where between two chunks the damage lies."""
    return f": bytes {at} to {chunk.offset}" if at < chunk.offset else f": bytes 0 to {chunk.offset}"
