"""What ``recd play`` waits with: keys are heard and the status line is kept, until the next event is due."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from . import keys
from .outputs.base import Output
from .playback import Playback

if TYPE_CHECKING:
    from .outputs.shown import StatusLine

_STATUS_S: Final = 0.1
_SHORT_JUMP_S: Final = 1.0
_LONG_JUMP_S: Final = 10.0
_FASTER: Final = 1.1
#: A status line is not drawn where an event is due so soon.
_CLOSE_S: Final = 0.01


class Console:
    """Waits for the playback, while keys are heard and the status line is kept.

    Parameters
    ----------
    output : Output
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.playback: Playback | None = None
        self.keys: keys.Keys | None = None
        self.status: StatusLine | None = None

    # --- waiting -------------------------------------------------------------------------------------
    def wait(self, timeout_s: float | None) -> None:
        """See :class:`recd.player.playback.Waiting`."""
        if timeout_s != 0.0:
            self._output.settle()
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if end_s is None else max(end_s - time.monotonic(), 0.0)
            if self.status is not None and (left_s is None or left_s > _CLOSE_S or timeout_s == 0.0):
                self.status.draw(now=left_s is None)
                left_s = _STATUS_S if left_s is None else min(left_s, _STATUS_S)
            if self._wait(left_s) or (end_s is not None and time.monotonic() >= end_s):
                return

    def _wait(self, timeout_s: float | None) -> bool:
        if self.keys is not None:
            return self.keys.wait(timeout_s)
        time.sleep(_STATUS_S if timeout_s is None else min(timeout_s, _STATUS_S))
        return self.playback is not None and self.playback.ended

    def wake(self) -> None:
        """See :class:`recd.player.playback.Waiting`."""
        if self.keys is not None:
            self.keys.wake()

    def leave(self) -> None:
        """The status line stays as it is now."""
        if self.status is not None:
            self.status.draw()
            self.status.leave()

    # --- keys ----------------------------------------------------------------------------------------
    def press(self, key: str) -> None:
        """Do what a key says."""
        playback = self.playback
        assert playback is not None
        note = ""
        jumps = {
            "[": -_SHORT_JUMP_S,
            "]": _SHORT_JUMP_S,
            keys.PAGE_UP: -_LONG_JUMP_S,
            keys.PAGE_DOWN: _LONG_JUMP_S,
        }
        if key == "q":
            playback.close()
        elif key == keys.SPACE:
            (playback.resume if playback.paused else playback.pause)()
        elif key == keys.RIGHT:
            playback.step()
        elif key in (keys.UP, keys.DOWN):
            playback.rate *= _FASTER if key == keys.UP else 1 / _FASTER
        elif key in (keys.LEFT, keys.HOME, *jumps) and not self._output.rewinds:
            note = "(it is being recorded: no way but on)"
        elif key == keys.LEFT:
            playback.back()
        elif key == keys.HOME:
            playback.seek(playback.start)
        elif key in jumps:
            playback.seek(playback.position + jumps[key])
        if self.status is not None:
            self.status.note = note
