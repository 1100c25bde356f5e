"""Episodes of an environment: what it observed, did and got, a file for each episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from ..recorder import Recorder
from .tape import Layout, Tape, checked_dt, make_home, step_seconds, stream_name


class RecordEpisode(gymnasium.Wrapper, RecordConstructorArgs):
    """Records every episode to a file of its own: ``episode_0.npz``, ``episode_1.npz``, ...

    A file has one row per observation, so one more than the episode has steps. Row 0 is the reset; row
    ``i`` is what step ``i`` did and brought: ``action`` is the one that led to the row's
    ``observation``, and ``reward``, ``terminated``, ``truncated`` came with it. In row 0 they are zeros.
    :func:`load_episode` gives them back as arrays for training.

    Fields: ``observation`` and ``action`` (of Dict and Tuple spaces one field per part, its name the path:
    ``observation.arm.pos``) in the dtypes of their spaces; ``reward`` float64; ``terminated``,
    ``truncated`` bool; ``episode``, its number, and ``seed`` of its reset (-1 for none) int64;
    ``info.<name>`` float64. ``timestamp`` is the time since the reset.

    Parameters
    ----------
    env : gymnasium.Env or gymnasium.vector.VectorEnv
        Of a vector environment, each sub-environment has files of its own
        (:class:`VectorRecordEpisode`).
    folder : str
        Made if it is not there.
    episode_trigger : callable, optional
        From the number of an episode to whether to record it; default: all. Files are numbered without
        gaps; the field ``episode`` has the number.
    name_prefix : str
        What file names begin with.
    formats : str or sequence of str
        ``"npz"``, ``"hdf5"``, ``"csv"``.
    infos : sequence of str
        Which numbers of the infos to record, NaN where there are none; ``"episode.r"`` is nested.
    dt : float, optional, s
        Length of a step; default: the environment's ``dt``, else ``1 / metadata["render_fps"]``, else 1.
    separator : str
        Between the parts of a field's name.
    overwrite : {"error", "replace", "number"}
        What to do about files that exist, as of :class:`Recorder`.
    recorder : Recorder, optional
        One of yours that is to have the episodes; you close it. Default: one for this wrapper.
    overflow : {"drop_newest", "block", "drop_oldest"}
        What happens where there is no room for a row, as in :meth:`Recorder.stream`.

    Raises
    ------
    OptionError
        An argument is not allowed, or a part of a space cannot be recorded.
    """

    def __new__(cls, env: Any = None, *args: Any, **kwargs: Any) -> Any:
        """A wrapper of the kind that fits the environment."""
        if cls is RecordEpisode and isinstance(env, VectorEnv):
            from .vector_episode import VectorRecordEpisode

            return VectorRecordEpisode(env, *args, **kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        folder: str,
        episode_trigger: Callable[[int], bool] | None = None,
        name_prefix: str = "episode",
        formats: str | Sequence[str] = "npz",
        *,
        infos: Sequence[str] = (),
        dt: float | None = None,
        separator: str = ".",
        overwrite: str = "error",
        recorder: Recorder | None = None,
        overflow: str = "drop_newest",
    ) -> None:
        RecordConstructorArgs.__init__(
            self, folder=folder, episode_trigger=episode_trigger, name_prefix=name_prefix, formats=formats,
            infos=infos, dt=dt, separator=separator, overwrite=overwrite, overflow=overflow,
        )  # fmt: skip
        gymnasium.Wrapper.__init__(self, env)
        self._layout = Layout(env.observation_space, env.action_space, infos, separator, formats)
        self._dt_s = step_seconds(env) if dt is None else checked_dt(dt)
        self._home = make_home(self, env, folder, recorder, overwrite, separator, self._dt_s)
        self.folder, self.name_prefix = self._home.folder, name_prefix
        self._trigger = episode_trigger
        self._overflow = overflow
        self._tape: Tape | None = None
        #: Number of the latest step, over all episodes.
        self.step_id = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment: an episode begins, and with it a file."""
        obs, info = super().reset(seed=seed, options=options)
        if self._tape is None:
            name = stream_name(self.name_prefix)
            sinks = self._layout.sinks(self._home, self.name_prefix)
            stream = self._home.stream(name, *sinks, like=self._layout.like, overflow=self._overflow)
            self._tape = Tape(self._layout, stream, self._dt_s, self._trigger, {})
        self._tape.begin(obs, info, seed, self.step_id)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step through the environment, and record what came of it."""
        obs, reward, terminated, truncated, info = output = self.env.step(action)
        self.step_id += 1
        if self._tape is not None:
            self._tape.add(obs, action, reward, terminated, truncated, info, self.step_id)
        return output

    @property
    def episode_id(self) -> int:
        """Number of the running episode; -1 before the first reset."""
        return -1 if self._tape is None else self._tape.episode

    def close(self) -> None:
        """Close the environment; every file is complete afterwards."""
        try:
            super().close()
        finally:
            self._tape = None
            self._home.close()
