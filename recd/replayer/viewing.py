"""Stepping through a recording in MuJoCo's viewer."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from recd_client.errors import OptionError

from ..player.pacer import Pacer
from ..player.playback import Playback, Sleep
from ..player.timeline import Timeline

if TYPE_CHECKING:
    from .mujoco import MujocoReplay

#: The window is looked at so often while nothing is due.
_LOOK_S: Final = 0.05
#: A screen shows no more.
_SHOWN_HZ: Final = 60.0
#: Keys as GLFW numbers them.
_SPACE, _RIGHT, _LEFT, _DOWN, _UP = 32, 262, 263, 264, 265


class Shown(Sleep):
    """Draws what was set, no more often than a screen shows; ends the playback when its window is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.playback: Playback | None = None
        self.window: Any = None
        self._drawn = 0.0
        self._changed = False

    def wait(self, timeout_s: float | None) -> None:
        """See :class:`~recd.player.playback.Waiting`."""
        self.draw()
        super().wait(_LOOK_S if timeout_s is None else min(timeout_s, _LOOK_S))
        if self.window is not None and self.playback is not None and not self.window.is_running():
            self.playback.close()

    def set(self, replay: MujocoReplay, t: float, values: Any) -> None:
        """Set a state, with the window kept from drawing half of it."""
        with self.window.lock():
            replay.set_values(t, values)
        self._changed = True
        self.draw()

    def draw(self) -> None:
        """Draw, if something changed and it is time."""
        now = time.monotonic()
        if self._changed and now - self._drawn >= 1 / _SHOWN_HZ:
            self.window.sync()
            self._drawn, self._changed = now, False


def press(playback: Playback, key: int) -> None:
    """Do what a key of the viewer means; others are the viewer's own."""
    if key == _SPACE:
        (playback.resume if playback.paused else playback.pause)()
    elif key == _RIGHT:
        playback.step()
    elif key == _LEFT:
        playback.back()
    elif key in (_UP, _DOWN) and playback.rate:
        playback.rate = playback.rate * (2.0 if key == _UP else 0.5)


def show(replay: MujocoReplay, rate: float, *, loop: bool, start_paused: bool) -> None:
    """See :meth:`MujocoReplay.show`."""
    windows = _windows()
    shown = Shown()
    timeline = Timeline(replay.run, {replay.stream.name: replay.stream})
    playback = Playback(timeline, Pacer(rate), loop=loop, marks=False, waiting=shown)
    playback.holds = True  # until the window is closed
    if start_paused:
        playback.pause()
        playback.step()  # so that there is something to see
    shown.window = windows.launch_passive(
        replay.model, replay.data, key_callback=lambda key: press(playback, key)
    )
    shown.playback = playback
    with shown.window:
        for event in playback:
            shown.set(replay, event.t, event.value)


def _windows() -> Any:
    """MuJoCo's viewer, proved to have a display: without one it would end the process."""
    import glfw
    from mujoco import viewer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GLFW's own way to say that there is none
        there = glfw.init()
    if not there:
        raise OptionError(
            "no window can be opened here: there is no display", "film it: render(camera, to=...)"
        )
    glfw.terminate()  # the viewer's thread begins anew
    return viewer
