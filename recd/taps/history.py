"""What a stream's log still holds, read backwards, beside everybody else, for those who come late.

The worker deletes segments as soon as no file needs them, and is asked nothing here: what is gone ends the reading. A
segment that is deleted while it is read keeps its room on the disk until that piece of it is done with; one segment is
open at a time, and never while the reader waits for whoever asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recd_client.errors import LogDamagedError
from recd_client.schema import Schema

from ..batch import Batch
from ..chunks import Chunk
from ..log import segment_path, segments
from ..scan import Found, find, header_at
from .ring import Taken

#: Records that are read at once.
PIECE_BYTES: Final = 2 << 20


class LogTap:
    """The records of a log before a ring position, newest first.

    Parameters
    ----------
    directory : Path
        Of the log.
    schema : Schema
    end : int
        Position behind the last record that is wanted.
    """

    def __init__(self, directory: Path, schema: Schema, end: int) -> None:
        self._directory = directory
        self._schema = schema
        self._end = end
        #: Of records, so far.
        self.read_bytes = 0

    def extent(self) -> tuple[int, int]:
        """Number of the oldest sample that is there, and bytes of the log; (0, 0) for none."""
        size_bytes, first_seq = 0, 0
        for begin in reversed(segments(self._directory)):
            try:
                with open(segment_path(self._directory, begin), "rb") as file:
                    info = header_at(file.fileno(), 0)
                    size_bytes += os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                break
            first_seq = info.first_seq if info is not None else first_seq
        return first_seq, size_bytes

    def pieces(self) -> Iterator[Taken]:
        """Records in their order, the newest piece of the log first; damaged chunks are passed over."""
        for begin in reversed(segments(self._directory)):
            if begin >= self._end:
                continue
            try:
                places = self._places(begin)
                for piece in reversed(list(_grouped(places))):
                    yield self._read(begin, piece)
            except FileNotFoundError:  # deleted meanwhile, and everything before it sooner
                return

    def _places(self, begin: int) -> list[Found]:
        """The chunks of a segment, by their headers alone where these are sound."""
        found: list[Found] = []
        with open(segment_path(self._directory, begin), "rb") as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size
            offset, position = 0, begin
            while True:
                info = header_at(fd, offset)
                chunk = Found(offset, info) if info is not None else find(fd, offset, position)
                if chunk is None or chunk.behind > size or chunk.info.begin >= self._end:
                    return found
                found.append(chunk)
                offset, position = chunk.behind, chunk.info.end

    def _read(self, begin: int, places: list[Found]) -> Taken:
        taken = Taken(begin=places[0].info.begin)
        with open(segment_path(self._directory, begin), "rb") as file:
            for place in places:
                try:
                    self.read_bytes += place.info.body_bytes
                    chunk = Chunk(place.info, file.fileno(), place.offset)
                    for item in chunk.items(self._schema, 0, self._end):
                        if isinstance(item.what, Batch):
                            taken.batches.append(item.what)
                        else:
                            taken.events.append(item.what)
                except LogDamagedError:  # the worker's readers say so
                    taken.skipped = True
        return taken


def _grouped(places: list[Found]) -> Iterator[list[Found]]:
    """Neighbours, about :data:`PIECE_BYTES` of them at a time; a chunk is never cut."""
    piece: list[Found] = []
    size_bytes = 0
    for place in places:
        piece.append(place)
        size_bytes += place.info.body_bytes
        if size_bytes >= PIECE_BYTES:
            yield piece
            piece, size_bytes = [], 0
    if piece:
        yield piece
