"""Environments for tests of the Gymnasium wrappers: every frame and every observation tells where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from recordings import numbered

if find_spec("gymnasium"):
    import gymnasium
    from gymnasium import spaces

    Env: Any = gymnasium.Env
    BOX = spaces.Box(-1e6, 1e6, (3,), np.float64)
    ACTION = spaces.Box(-1, 1, (2,), np.float32)
    NESTED = spaces.Dict(
        {
            "arm": spaces.Dict({"pos": spaces.Box(-9, 1e6, (2, 2), np.float32), "grip": spaces.Discrete(9)}),
            "eyes": spaces.Tuple((spaces.MultiBinary(3), spaces.Box(0, 255, (4, 5), np.uint8))),
            "mode": spaces.MultiDiscrete([4, 5]),
        }
    )
    NESTED_ACTION = spaces.Dict({"move": ACTION, "jump": spaces.Discrete(2)})
else:  # every test that uses these says what it requires
    Env = object
    BOX = ACTION = NESTED = NESTED_ACTION = None


class Counting(Env):
    """Counts episodes and steps, in its observations, rewards, infos and frames.

    Parameters
    ----------
    lengths : sequence of int
        Steps of its episodes, over and over.
    truncates : bool
        Its episodes end by truncation, not by termination.
    nested : bool
        Observations and actions are dicts.
    copies : bool
        Each observation is an array of its own (Gymnasium itself needs that for ``final_obs``).
    """

    metadata = {"render_modes": ["rgb_array", "rgb_array_list", "ansi"], "render_fps": 16}  # noqa: RUF012

    def __init__(
        self,
        lengths: tuple[int, ...] = (4, 2, 5),
        *,
        truncates: bool = False,
        nested: bool = False,
        copies: bool = False,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.lengths = lengths
        self.truncates = truncates
        self.nested = nested
        self.copies = copies
        self.render_mode = render_mode
        self.observation_space = NESTED if nested else BOX
        self.action_space = NESTED_ACTION if nested else ACTION
        self.episode = self.count = -1
        self.drawn = 0
        self._shown: list[Any] = []
        #: One buffer for all observations: whoever keeps one without a copy is found out.
        self._buffer = np.zeros(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        self._shown = [self._frame()]
        return self._observation(0.0), {"count": 0, "only_at_reset": self.episode, "deep": {"er": 0.5}}

    def step(self, action: Any) -> Any:
        self.count += 1
        over = self.count >= self.lengths[self.episode % len(self.lengths)]
        pushed = float(np.sum(action["move"] if self.nested else action))
        self._shown.append(self._frame())
        info = {"count": self.count, "half": self.count / 2, "deep": {"er": self.count + 0.25}, "text": "x"}
        reward = self.episode + self.count / 16
        return self._observation(pushed), reward, over and not self.truncates, over and self.truncates, info

    def render(self) -> Any:
        if self.render_mode == "rgb_array_list":
            shown, self._shown = self._shown, []
            return shown
        return self._frame()

    def _frame(self) -> Any:
        return numbered(10 * (self.episode % 4) + self.count % 10)

    def _observation(self, pushed: float) -> Any:
        if self.nested:
            return {
                "arm": {"pos": np.full((2, 2), self.count + pushed, np.float32), "grip": self.count % 9},
                "eyes": (np.array([self.count & 1, 1, 0], np.int8), np.full((4, 5), self.count, np.uint8)),
                "mode": np.array([self.count % 4, self.episode % 5]),
            }
        self._buffer[:] = self.episode, self.count, pushed
        return self._buffer.copy() if self.copies else self._buffer


def several(count: int, **options: Any) -> list[Callable[[], Counting]]:
    """Makers of environments whose episodes end at different times."""
    return [lambda i=i: Counting((3 + i, 2, 4), **options) for i in range(count)]


def actions_of(space: Any, count: int, seed: int = 3) -> list[Any]:
    """Random actions."""
    space.seed(seed)
    return [space.sample() for _ in range(count)]
