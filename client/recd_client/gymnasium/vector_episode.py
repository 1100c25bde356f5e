"""Episodes of a vector environment: each sub-environment's kept apart, however it resets itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from ..errors import OptionError, SchemaError
from ..plain import indices
from ..recorder import Recorder
from .autoreset import autoreset_mode_of, reset_mask_of
from .tape import Layout, Tape, checked_dt, make_home, step_seconds, stream_name


class VectorRecordEpisode(VectorWrapper, RecordConstructorArgs):
    """Records every episode of every sub-environment: ``episode-env-3_0.npz``, ``episode-env-3_1.npz``, ...

    The files are those of :class:`RecordEpisode` around each sub-environment, in every autoreset mode:

    - next-step: the step behind an episode's last one takes no action and brings the observation of the
      reset, so it is row 0 of the next file;
    - same-step: the last observation is taken from ``info["final_obs"]`` (and ``final_info``), the one
      that the step returns is row 0 of the next file;
    - disabled: ``reset(options={"reset_mask": ...})`` begins the episodes of those it resets.

    Parameters
    ----------
    env : gymnasium.vector.VectorEnv
    folder, episode_trigger, name_prefix, formats, infos, dt, separator, overwrite, recorder, overflow
        As of :class:`RecordEpisode`; episodes are counted for each sub-environment.
    envs_idx : sequence of int, optional
        Sub-environments to record, as indices or a mask; default: all. Each is a stream.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        folder: str,
        episode_trigger: Callable[[int], bool] | None = None,
        name_prefix: str = "episode",
        formats: str | Sequence[str] = "npz",
        *,
        envs_idx: Any = None,
        infos: Sequence[str] = (),
        dt: float | None = None,
        separator: str = ".",
        overwrite: str = "error",
        recorder: Recorder | None = None,
        overflow: str = "drop_newest",
    ) -> None:
        VectorWrapper.__init__(self, env)
        RecordConstructorArgs.__init__(
            self, folder=folder, episode_trigger=episode_trigger, name_prefix=name_prefix, formats=formats,
            envs_idx=envs_idx, infos=infos, dt=dt, separator=separator, overwrite=overwrite,
            overflow=overflow,
        )  # fmt: skip
        self._layout = Layout(
            env.single_observation_space, env.single_action_space, infos, separator, formats
        )
        self._dt_s = step_seconds(env) if dt is None else checked_dt(dt)
        self._home = make_home(self, env, folder, recorder, overwrite, separator, self._dt_s)
        self.folder, self.name_prefix = self._home.folder, name_prefix
        self.autoreset_mode = autoreset_mode_of(env)
        self._chosen = [*range(env.num_envs)] if envs_idx is None else chosen(envs_idx, env.num_envs)
        self._trigger = episode_trigger
        self._overflow = overflow
        self._tapes: dict[int, Tape] = {}
        self._over = np.zeros(env.num_envs, np.bool_)
        #: Number of the latest step.
        self.step_id = -1

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or those of ``options["reset_mask"]``: their episodes begin."""
        mask = reset_mask_of(options, self.num_envs)
        obs, info = super().reset(seed=seed, options=options)
        self._over[mask] = False
        if not self._tapes:
            self._tapes = {i: self._new_tape(i) for i in self._chosen}
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]  # as Gymnasium spreads it
        for i, ob in self._each(self.observation_space, obs):
            if mask[i]:
                self._tapes[i].begin(ob, Of(info, i), seeds[i], self.step_id)
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step through all sub-environments, and record what came of it."""
        obs, rewards, terminated, truncated, info = output = self.env.step(actions)
        self.step_id += 1
        over = np.logical_or(terminated, truncated)
        if self._tapes:
            step, mode = self.step_id, self.autoreset_mode
            acts = dict(self._each(self.action_space, actions))
            for i, ob in self._each(self.observation_space, obs):
                tape, told = self._tapes[i], Of(info, i)
                if mode is AutoresetMode.NEXT_STEP and self._over[i]:
                    tape.begin(ob, told, None, step)
                    continue
                ended = mode is AutoresetMode.SAME_STEP and over[i]
                last = self._final(info, i) if ended else (ob, told)
                tape.add(last[0], acts[i], rewards[i], terminated[i], truncated[i], last[1], step)
                if ended:
                    tape.begin(ob, told, None, step)
        self._over = over
        return output

    def close(self, **kwargs: Any) -> None:
        """Close the environment; every file is complete afterwards."""
        try:
            super().close(**kwargs)
        finally:
            self._tapes = {}
            self._home.close()

    @property
    def episode_ids(self) -> dict[int, int]:
        """Number of the running episode of each recorded sub-environment."""
        return {i: tape.episode for i, tape in self._tapes.items()}

    def _new_tape(self, i: int) -> Tape:
        name = f"{self.name_prefix}-env-{i}"
        sinks = self._layout.sinks(self._home, name)
        like = self._layout.like
        stream = self._home.stream(stream_name(name), *sinks, like=like, overflow=self._overflow)
        return Tape(self._layout, stream, self._dt_s, self._trigger, {"env": i})

    def _each(self, space: Any, batch: Any) -> Iterator[tuple[int, Any]]:
        """The values of the recorded sub-environments, out of a batch of all."""
        values = enumerate(iterate(space, batch))
        return values if len(self._chosen) == self.num_envs else (x for x in values if x[0] in self._tapes)

    def _final(self, info: Mapping[str, Any], i: int) -> tuple[Any, Mapping[str, Any]]:
        final = info.get("final_obs")
        if final is None:
            raise SchemaError(
                "the environment resets in the same step, but its info has no 'final_obs'",
                "without it the last observation of an episode is nowhere: use next-step autoreset",
            )
        if not (isinstance(final, np.ndarray) and final.dtype == object):
            final = [*iterate(self.observation_space, final)]
        return final[i], Of(info.get("final_info", {}), i)


class Of(Mapping[str, Any]):
    """One sub-environment's part of a vector environment's infos, taken out when it is asked for.

    Parameters
    ----------
    infos : dict
        Arrays by sub-environment; ``_key`` beside ``key`` says which of them have one.
    i : int
    """

    def __init__(self, infos: Mapping[str, Any], i: int) -> None:
        self._infos = infos
        self._i = i

    def __getitem__(self, key: str) -> Any:
        value = self._infos[key]
        if isinstance(value, Mapping):
            return Of(value, self._i)
        there = self._infos.get(f"_{key}")
        if there is not None and not there[self._i]:
            raise KeyError(key)
        return value[self._i]

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._infos if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def chosen(envs_idx: Any, num_envs: int) -> list[int]:
    """The sub-environments that were chosen, each once, in order."""
    picked = sorted({*indices(envs_idx, "envs_idx")})
    if picked and not 0 <= picked[0] <= picked[-1] < num_envs:
        raise OptionError(
            f"envs_idx={picked}: there are {num_envs} sub-environments", f"choose of 0 to {num_envs - 1}"
        )
    return picked
