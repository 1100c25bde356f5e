"""Which sample each frame of a video is: the index, one line per frame, written before the frame is fed."""

from __future__ import annotations

import errno
import math
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .durable import Syncer
from .source import Frame

#: Where to read again to make this frame, what lies behind that record, and the sample. A repeated frame
#: stands for the lost sample of that number; the rest of its line is that of the record behind the gap.
_LINE: Final = struct.Struct("<QQQdqQI")
#: Behind each line its checksum: a loss of power may leave anything of the newest ones.
_CRC: Final = struct.Struct("<I")
_SIZE: Final = _LINE.size + _CRC.size
_DTYPE: Final = np.dtype(
    [("position", "<u8"), ("behind", "<u8"), ("seq", "<u8"), ("t", "<f8"), ("step", "<i8"),
     ("mono_ns", "<u8"), ("repeated", "<u4"), ("crc32", "<u4")]
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One frame for ffmpeg: its pixels, and the sample that it stands for."""

    data: memoryview
    seq: int
    repeated: bool


class ShotIndex:
    """The index of one part.

    Parameters
    ----------
    path : Path
        Made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self.syncer = Syncer(path)

    def lines(self) -> NDArray[Any]:
        """All lines up to the first that is not whole, as a structured array."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            raw = b""
        lines = np.frombuffer(raw[: len(raw) // _SIZE * _SIZE], _DTYPE)
        for i, crc32 in enumerate(lines["crc32"].tolist()):
            if zlib.crc32(raw[i * _SIZE : i * _SIZE + _LINE.size]) != crc32:
                return lines[:i]
        return lines

    def put(self, number: int, shot: Shot, frame: Frame) -> None:
        """Write the line of frame ``number`` of the part, which is made of this record."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._put(
            number,
            _LINE.pack(
                frame.begin, frame.behind, shot.seq, frame.t, frame.step, frame.mono_ns, shot.repeated
            ),
        )

    def _put(self, number: int, line: bytes) -> None:
        line += _CRC.pack(zlib.crc32(line))
        if os.pwrite(self._fd, line, number * _SIZE) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def fill(self, frames: int, position: int, first_seq: int) -> None:
        """There are lines for so many frames: of those that a loss of power has taken, only the number is known.

        ``position`` and ``first_seq`` are the part's.
        """
        lines = self.lines()
        if len(lines):
            position, first_seq = place_behind(lines)[0], int(lines[0]["seq"])
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for number in range(len(lines), frames):
            self._put(number, _LINE.pack(position, position, first_seq + number, math.nan, -1, 0, False))

    def cut(self, frames: int) -> None:
        """Forget all lines but the first ``frames``."""
        if self.path.exists():
            os.truncate(self.path, frames * _SIZE)

    def sync(self) -> None:
        """Make the lines durable; also those that a worker before has written."""
        if self.syncer.sync():
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def place_behind(lines: NDArray[Any]) -> tuple[int, int]:
    """Where to read on behind these frames, at least one, and the number of the next sample."""
    last = lines[-1]
    # A repetition stands before the frame that was read: that one is still to come.
    return int(last["position"] if last["repeated"] else last["behind"]), int(last["seq"]) + 1


def frames_table(lines: NDArray[Any], wall_offset_ns: int) -> dict[str, list[Any]]:
    """What the manifest says of each frame."""
    return {
        "seq": lines["seq"].tolist(),
        "step": lines["step"].tolist(),
        "t": lines["t"].tolist(),
        "wall_ns": (lines["mono_ns"].astype(np.int64) + wall_offset_ns).tolist(),
        "repeated": np.flatnonzero(lines["repeated"]).tolist(),
    }


def _by_number(indexes: Iterable[ShotIndex]) -> NDArray[Any]:
    """The lines of all samples, without repetitions."""
    lines = np.concatenate([np.empty(0, _DTYPE), *(index.lines() for index in indexes)])
    return np.sort(lines[lines["repeated"] == 0], order="seq")


def missing_in(indexes: Iterable[ShotIndex]) -> list[tuple[int, int, int]]:
    """Which numbers before the last one no index has: position of what follows, the first, the one behind."""
    lines = _by_number(indexes)
    behind = np.concatenate([[0], lines["seq"].astype(np.int64) + 1])
    jumps = np.flatnonzero(lines["seq"] > behind[:-1])
    return [(int(lines["position"][i]), int(behind[i]), int(lines["seq"][i])) for i in jumps]


def tally_of(indexes: Iterable[ShotIndex], payload_bytes: int, resets: Sequence[int]) -> dict[str, Any]:
    """Totals as in :class:`~recd.journal.Tally` of all samples in these indexes.

    Behind the positions in ``resets``, which ascend, time may begin anew.
    """
    lines = _by_number(indexes)
    if not len(lines):
        return {"samples": 0}
    first, last = lines[0], lines[-1]
    timed = lines[~np.isnan(lines["t"])]
    anew = np.diff(np.searchsorted(resets, timed["position"])) > 0
    return {
        "samples": len(lines),
        "bytes": len(lines) * payload_bytes,
        "next_seq": int(last["seq"]) + 1,
        "t_first": None if np.isnan(first["t"]) else float(first["t"]),
        "t_last": None if np.isnan(last["t"]) else float(last["t"]),
        "step_first": int(first["step"]),
        "step_last": int(last["step"]),
        "mono_first_ns": int(first["mono_ns"]),
        "mono_last_ns": int(last["mono_ns"]),
        "backward_times": int(np.count_nonzero((timed["t"][1:] < timed["t"][:-1]) & ~anew)),
        "nan_times": len(lines) - len(timed),
    }
