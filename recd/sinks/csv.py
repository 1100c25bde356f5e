"""CSV files: readable while they grow, cut back to a whole row after a fault.

What the columns are and how values look: :mod:`recd.sinks.csv_rows`, or :mod:`recd.sinks.csv_python`.

Every batch leaves the process with one ``write(2)`` as soon as it is taken, so ``save_every_write``
changes nothing here: it promises no more than that, and not an fsync (``Recorder.flush`` with
``durable=True`` does).
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OptionError, OutputError
from recd_client.options import CSVFile, SinkOptions
from recd_client.schema import Schema

from ..batch import Batch
from ..durable import renew
from .base import AppendSink
from .csv_python import text_of
from .csv_rows import column_names
from .names import TIMESTAMP, check_names

_BLOCK_BYTES: Final = 1 << 20


class CSVSink(AppendSink):
    """A CSV file, one row per sample."""

    suffixes = CSVFile.suffixes
    options: CSVFile

    def __init__(self, options: SinkOptions, schema: Schema, info: dict[str, Any]) -> None:
        super().__init__(options, schema, info)
        self._header, self._text = text_of(self.options, schema)
        self._fd = -1
        self._bytes = 0
        self._rows = 0
        self._crc32 = 0

    def check(self) -> None:
        """See :class:`SinkBase`: one name per column, and no name twice."""
        columns = column_names(self.schema)
        header = self.options.header
        if header is not None and len(header) != len(columns):
            raise OptionError(
                f"header of {self.options.filename}: expected {_counted(columns)}, got {_counted(header)}",
                f"give {len(columns)} names ({TIMESTAMP!r} is put in front of them), or leave header out",
            )
        where = f"columns of {self.options.filename}"
        check_names([TIMESTAMP, *self._names], where, "rename a field, or give CSVFile another header")

    @property
    def _names(self) -> Sequence[str]:
        return column_names(self.schema) if self.options.header is None else self.options.header

    def open(self, path: Path, state: dict[str, Any] | None) -> None:
        """See :class:`AppendSink`.

        Raises
        ------
        OutputError
            The file has fewer bytes than ``state`` says were safe.
        """
        self.abandon()
        try:
            if state is None:
                self._begin(path)
            else:
                self._go_on(path, int(state["bytes"]), int(state["rows"]), int(state["crc32"]))
        except BaseException:
            self.abandon()
            raise

    def _begin(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._bytes = self._rows = self._crc32 = 0
        self._put(self._header)

    def _go_on(self, path: Path, safe_bytes: int, rows: int, crc32: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size_bytes = os.fstat(self._fd).st_size
        if size_bytes < safe_bytes:
            raise OutputError(
                f"{path}: expected the {safe_bytes} bytes that were written, found {size_bytes}",
                "something else changed the file; its samples are still in the log",
            )
        os.ftruncate(self._fd, safe_bytes)
        self._bytes, self._rows, self._crc32 = safe_bytes, rows, crc32

    def write(self, batch: Batch) -> None:
        """See :class:`AppendSink`."""
        self._put(self._text.text(batch))
        self._rows += len(batch)

    def _put(self, text: bytes) -> None:
        """Write all of ``text`` behind what is there, or nothing of it."""
        at, rest = self._bytes, memoryview(text)
        try:
            while rest:
                done = os.pwrite(self._fd, rest, at)
                at, rest = at + done, rest[done:]
        except OSError:
            with contextlib.suppress(OSError):  # open() cuts the file as well
                os.ftruncate(self._fd, self._bytes)
            raise
        self._bytes, self._crc32 = at, zlib.crc32(text, self._crc32)

    def state(self) -> dict[str, Any]:
        """See :class:`AppendSink`: the length of the file, which ends on a whole row, its rows and checksum."""
        return {"bytes": self._bytes, "rows": self._rows, "crc32": self._crc32}

    def has(self, path: Path, state: dict[str, Any]) -> bool:
        """See :class:`AppendSink`."""
        crc32, left = 0, int(state["bytes"])
        try:
            with path.open("rb") as file:
                while left and (block := file.read(min(left, _BLOCK_BYTES))):
                    crc32, left = zlib.crc32(block, crc32), left - len(block)
        except FileNotFoundError:
            return False
        return left == 0 and crc32 == state["crc32"]

    def renew(self, path: Path, state: dict[str, Any] | None) -> None:
        """See :class:`AppendSink`.

        Raises
        ------
        OutputError
            What can still be read of the old file is not what was written.
        """
        self.abandon()
        if state is not None and not self.has(path, state):
            raise OutputError(f"{path}: the disk lost what was written", "its samples are still in the log")
        os.truncate(path, int(state["bytes"]) if state is not None else 0)
        renew(path)

    def sync(self) -> None:
        """See :class:`AppendSink`."""
        os.fdatasync(self._fd)

    def finish(self) -> None:
        """See :class:`AppendSink`."""
        os.fsync(self._fd)
        self.abandon()

    def abandon(self) -> None:
        """See :class:`AppendSink`."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def _counted(names: Sequence[str]) -> str:
    """How many, and which."""
    shown = [*names] if len(names) <= 6 else [*names[:3], "...", names[-1]]
    return f"{len(names)} ({', '.join(shown)})"
