"""A line in a terminal: where playing is, and what is newest."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import Any, Final

import numpy as np

from ...cli._common import clean
from ..event import MARK, Event
from ..playback import Playback
from .base import Output

#: A line that changes is drawn again after so long.
_OFTEN_S: Final = 0.08
#: Numbers of an array that are shown.
_SHOWN: Final = 3


class ShownOutput(Output):
    """Keeps the newest sample of each stream, for the status line to show."""

    def __init__(self) -> None:
        self._newest: dict[str, Event] = {}

    def take(self, event: Event) -> bool:
        """See :class:`Output`."""
        self._newest[event.name] = event
        return True

    @property
    def text(self) -> str:
        """The newest sample of each stream, and the newest mark."""
        return " | ".join(_told(event) for event in self._newest.values())


class StatusLine:
    """One line of stderr that is written over and over.

    Parameters
    ----------
    playback : Playback
    newest : ShownOutput, optional
        Whose values are shown, too.
    """

    def __init__(self, playback: Playback, newest: ShownOutput | None = None) -> None:
        self._playback = playback
        self._newest = newest
        self._last = ""
        self._drawn_s = -math.inf
        #: Something to say once, until the next key.
        self.note = ""

    def draw(self, *, now: bool = True) -> None:
        """Show what is; not too often, unless it is to be seen ``now``."""
        if not now and time.monotonic() - self._drawn_s < _OFTEN_S:
            return
        self._drawn_s = time.monotonic()
        playback = self._playback
        rate = "as fast as it is taken" if playback.rate == 0 else f"x{playback.rate:.4g}"
        parts = [
            f"{'||' if playback.paused else '>'} {playback.position:.3f} / {playback.stop:.3f} s  {rate}",
            *(["paused"] if playback.paused else []),
            *(["at the end: q ends"] if playback.holds and playback.position == playback.stop else []),
            *([self.note] if self.note else []),
            *([self._newest.text] if self._newest is not None and self._newest.text else []),
        ]
        text = clean("  ".join(parts))[: shutil.get_terminal_size().columns - 1]
        if text != self._last:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
            self._last = text

    def leave(self) -> None:
        """What is printed next stands below."""
        sys.stderr.write("\n")
        sys.stderr.flush()
        self._last = ""


def _told(event: Event) -> str:
    if event.name == MARK:
        return f"mark {event.value.label}"
    value = event.value
    if not isinstance(value, dict):
        return f"{event.name} t={event.t:.6g} {_text(value)}"
    return f"{event.name} t={event.t:.6g} " + " ".join(f"{name}={_text(v)}" for name, v in value.items())


def _text(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, str):
        return repr(value[:12])
    array = np.asarray(value)
    if array.ndim > 1 or array.dtype.kind not in "fiub":
        return "x".join(map(str, array.shape))
    cells = [_number(v) for v in array.ravel()[:_SHOWN].tolist()]
    if array.ndim == 0:
        return cells[0]
    return f"[{' '.join(cells)}{' ..' if array.size > _SHOWN else ''}]"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
