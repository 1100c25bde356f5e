"""When the samples of a stream were written, as a line through few of them: no data file holds that of each.

Every chunk of the log tells number and monotonic time of its first and last sample. Of these points those are kept
between which all others lie on a straight line, within a tolerance: the *fan* (also *swinging door*) algorithm of
Bristol (1990), which takes constant time and memory a point. Between two points the clock ran on, so that nowhere is
the line off by more than the time between them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

TOLERANCE_NS: Final = 1_000_000
#: With more points the tolerance is doubled: a manifest tells them all, of every stream.
MOST_POINTS: Final = 2_000
_LINE: Final = struct.Struct("<QQ")
#: A loss of power may leave anything of lines that were not synced. They are not: the points around still tell.
_CRC: Final = struct.Struct("<I")
_SIZE: Final = _LINE.size + _CRC.size


class Point(NamedTuple):
    """Number of a sample, and the monotonic clock at its write."""

    seq: int
    mono_ns: int


class ClockLine:
    """The line of one stream; one writer, the worker that holds the group's lock.

    Parameters
    ----------
    path : Path or None
        Where its points are kept beside a checkpoint; None: nowhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.tolerance_ns = TOLERANCE_NS
        self._path = path
        self._kept: list[Point] = []
        #: The newest point: kept as soon as the line would miss it, or another one.
        self._newest: Point | None = None
        #: Slopes, in ns per sample, from the last kept point past all points since, within the tolerance.
        self._slopes = (-math.inf, math.inf)
        self._stored = 0

    @property
    def points(self) -> list[Point]:
        """The points of the line, ascending; the newest is its end."""
        return [*self._kept, *([self._newest] if self._newest else ())]

    def add(self, seq: int, mono_ns: int) -> None:
        """Go on to another point; one that is not ahead is passed over."""
        point = Point(seq, mono_ns)
        if not self._kept:
            self._kept.append(point)
            return
        if seq <= (self._newest or self._kept[-1]).seq:
            return
        if self._newest is not None and not self._slopes[0] <= self._slope(point) <= self._slopes[1]:
            self._keep(self._newest)
        slope, spread = self._slope(point), self.tolerance_ns / (seq - self._kept[-1].seq)
        self._slopes = max(self._slopes[0], slope - spread), min(self._slopes[1], slope + spread)
        self._newest = point

    def _slope(self, point: Point) -> float:
        begin = self._kept[-1]
        return (point.mono_ns - begin.mono_ns) / (point.seq - begin.seq)

    def _keep(self, point: Point) -> None:
        self._kept.append(point)
        self._newest, self._slopes = None, (-math.inf, math.inf)
        if len(self._kept) > MOST_POINTS:
            points, self._kept, self._stored = self._kept, [], 0
            self.tolerance_ns *= 2
            for old in points:
                self.add(*old)
            if self._newest is not None:  # the last one, where the line begins that goes on
                self._kept.append(self._newest)
                self._newest, self._slopes = None, (-math.inf, math.inf)

    def to_json(self) -> dict[str, Any]:
        """What a manifest tells of it."""
        points = self.points
        return {
            "seq": [p.seq for p in points],
            "mono_ns": [p.mono_ns for p in points],
            "tolerance_ns": self.tolerance_ns,
        }

    # --- beside a checkpoint -------------------------------------------------------------------------
    def save(self) -> list[int]:
        """Store what was kept since, and return the rest, for a checkpoint.

        What is on the disk are true points at any moment, whichever of them: a kill in between spoils nothing.

        Raises
        ------
        OSError
            It could not be written whole (disk full, ...): to be tried again.
        """
        new = self._kept[self._stored :]
        if new and self._path is not None:
            lines = b"".join(map(_packed, new))
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.pwrite(fd, lines, self._stored * _SIZE) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            finally:
                os.close(fd)
            self._stored = len(self._kept)
        return [*self.points[-1], self.tolerance_ns] if self._kept else []

    def load(self, saved: list[int]) -> None:
        """Take up where :meth:`save` returned this; what was stored since comes again, and is passed over."""
        if not saved:
            return
        *newest, self.tolerance_ns = saved
        found = {Point(*newest)}
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                raw = self._path.read_bytes()
                found.update(_points(raw))
        self._kept = sorted(point for point in found if point.seq <= newest[0])
        self._stored = 0


def _packed(point: Point) -> bytes:
    line = _LINE.pack(*point)
    return line + _CRC.pack(zlib.crc32(line))


def _points(raw: bytes) -> list[Point]:
    """Those of the lines that are whole."""
    found = []
    for at in range(0, len(raw) // _SIZE * _SIZE, _SIZE):
        line, crc32 = raw[at : at + _LINE.size], raw[at + _LINE.size : at + _SIZE]
        if _CRC.unpack(crc32)[0] == zlib.crc32(line):
            found.append(Point(*_LINE.unpack(line)))
    return found
