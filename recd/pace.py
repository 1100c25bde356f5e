"""When a worker looks at its rings: so often that none gets full, and so seldom that a look is worth it.

A look costs some hundred microseconds however little it finds, and takes them from a simulation that
wants every core. So records gather between looks, up to an eighth of the ring.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_SHORTEST_S: Final = 0.0002
#: What a sample may wait for its look; whoever waits for it (flush, close) rings the doorbell.
LONGEST_S: Final = 0.01
_SHARE: Final = 1 / 8
#: Without news for so long, a worker sleeps until the doorbell rings.
_QUIET_S: Final = 0.1


class Pace:
    """The time of the next look, from how much the last ones found.

    Parameters
    ----------
    now_s : callable
        Monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._pause_s = _SHORTEST_S
        self._due_s = self._news_s = now_s()

    def wait_s(self) -> float:
        """Time until the next look; 0 when it is due."""
        return max(0.0, self._due_s - self._now_s())

    def hurry(self) -> None:
        """The next look is due now: somebody waits, or a ring is half full."""
        self._due_s = self._now_s()

    def looked(self, share: float) -> None:
        """Plan the next look after one that found the fullest ring this full, from 0 to 1."""
        now_s = self._now_s()
        if share > 0:
            self._news_s = now_s
        longer = 2.0 if share < _SHARE / 2 else _SHARE / share
        self._pause_s = min(max(self._pause_s * longer, _SHORTEST_S), LONGEST_S)
        self._due_s = now_s + self._pause_s

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come for a while."""
        return self._now_s() - self._news_s > _QUIET_S
