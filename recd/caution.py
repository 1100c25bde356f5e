"""Which ring kills its worker: found out by those that come after one that crashed.

A crash is a worker's own: a SIGBUS, a SIGSEGV, an error; not a SIGKILL, which comes from outside and says
nothing about any ring. Whoever follows a crashed worker is careful for a while: before it touches a ring, it writes
the stream's name into a file::

    <session>/<group>.caution    a slot of 264 bytes per careful worker: the stream that it had in hand last

A stream that two careful workers had in hand when they crashed is blamed, and its ring is not taken up again: it
was three deaths within seconds, of which the first one could not tell. Without a crash all this costs one comparison.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

#: A stream's name, of at most 64 characters, and blanks behind it.
_SLOT_BYTES: Final = 264
#: How long nothing must happen until the crash is forgotten.
CAREFUL_S: Final = 10.0
_BLAMED_AFTER: Final = 2


class Caution:
    """What a worker knows of its predecessors' crashes, and tells its successor.

    Parameters
    ----------
    path : Path
        The group's file; there only while somebody is careful.
    crashed : bool
        The predecessor died by itself.
    now_s : callable
        Monotonic clock.
    """

    def __init__(self, path: Path, crashed: bool, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._fd = -1
        self._slot = 0
        #: The stream that is in hand.
        self.stream = ""
        #: Streams whose rings must be left alone.
        self.blamed: frozenset[str] = frozenset()
        if crashed or path.exists():
            with suppress(OSError):  # a full disk: then nobody can be blamed
                self._begin(crashed)

    def _begin(self, crashed: bool) -> None:
        self._until_s = self._now_s() + CAREFUL_S
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        raw = os.pread(self._fd, 1 << 20, 0)
        slots = [
            raw[i : i + _SLOT_BYTES].strip().decode(errors="replace") for i in range(0, len(raw), _SLOT_BYTES)
        ]
        if slots and not crashed:  # killed from outside: whatever it had in hand is not to blame
            slots[-1] = ""
            self._write(len(slots) - 1, "")
        self._slot = len(slots)
        self.blamed = frozenset(name for name, n in Counter(slots).items() if name and n >= _BLAMED_AFTER)
        self._write(self._slot, "")

    def hold(self, stream: str) -> None:
        """That stream is in hand from now on; ``""``: none."""
        self.stream = stream
        if self._fd >= 0:
            with suppress(OSError):
                self._write(self._slot, stream)

    def _write(self, slot: int, stream: str) -> None:
        os.pwrite(self._fd, stream.encode().ljust(_SLOT_BYTES), slot * _SLOT_BYTES)

    def look(self) -> None:
        """Called now and then: when all has gone well for a while, nothing is left of the crash."""
        if self._fd >= 0 and self._now_s() > self._until_s:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)


def why(stream: str) -> str:
    """Why a blamed stream's ring is left alone."""
    return f"the worker crashed {_BLAMED_AFTER + 1} times within seconds over the ring of {stream!r}: it was set aside"
