"""Whether a stream's log may grow: the user's limit, and disk that stays free for everybody else."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .dropping import Dropper

if TYPE_CHECKING:
    from .track import Track

_LOOK_AT_DISK_NS: Final = 100_000_000


@dataclass(frozen=True)
class Store:
    """Rules of storing that hold for all streams of a session.

    Parameters
    ----------
    durability : {"process", "interval", "strict"}
    spool_limit_bytes : int or None
        Most bytes of one stream's log.
    reserve_bytes : int
        Free disk space below which nothing is written any more.
    """

    durability: str = "process"
    spool_limit_bytes: int | None = None
    reserve_bytes: int = 256 << 20


class Room:
    """The room that one track has; called from the worker's loop thread.

    Parameters
    ----------
    track : Track
    dropper : Dropper
        Of the same track.
    """

    def __init__(self, track: Track, dropper: Dropper) -> None:
        self._track = track
        self._dropper = dropper
        self._checked_ns = 0

    def check(self, *, closed: bool) -> None:
        """Raise when the log may not grow: the user's limit, or the reserve of free disk.

        At the end (``closed``) it may: no more comes than a ring holds, without which no file could be completed.
        """
        if closed:
            return
        track = self._track
        limit = track.store.spool_limit_bytes
        # The newest segment is never deleted: alone it may go beyond the limit, or nothing ever went on.
        if limit is not None and track.log.bytes > limit and track.log.segment_count > 1:
            if self._make():
                return
            raise OSError(errno.EDQUOT, f"spool_limit of {limit} bytes reached", str(track.log.directory))
        now = track.now_ns()
        if now - self._checked_ns < _LOOK_AT_DISK_NS:
            return
        self._checked_ns = now
        st = os.statvfs(track.log.directory)
        # Of a small file system, a twentieth: nobody wants a quarter of a RAM disk kept free.
        reserve = min(track.store.reserve_bytes, st.f_blocks * st.f_frsize // 20)
        if st.f_bavail * st.f_frsize < reserve:
            self._checked_ns = 0
            if self._make():
                return
            raise OSError(
                errno.ENOSPC,
                f"less than {reserve / 1e6:.1f} MB of disk left",
                str(track.log.directory),
            )

    def _make(self) -> bool:
        """Delete what nobody needs; else give up the oldest; whether that helped.

        What the readers have, but have not saved yet, would be needed: it is not waited for that they are due, or
        that a round ends.
        """
        track = self._track
        if not self._dropper.pending:
            track.save_readers()
            if track.log.has_before(track.needed):
                track.trim_now()
                return not track.log.has_before(track.needed)
        return track.drops_oldest and self._dropper.make_room()
