"""Gymnasium: recorded actions into an environment that was reset with the recorded seed, or states of MuJoCo's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from recd_client.errors import OptionError, ReplayWarning
from recd_client.gymnasium.spaces import Leaf, leaves_of
from recd_client.gymnasium.tape import number_in

from ..reader import ArrayStream, Run
from .report import Report, Skipped
from .rows import Row, Stretch, find_stream, rows, stretches

if TYPE_CHECKING:
    from .mujoco import MujocoReplay

_NEEDED: Final = ("reward", "terminated", "truncated", "episode", "seed")


@dataclass(frozen=True)
class Step:
    """What the environment did with a recorded action.

    Parameters
    ----------
    index : int
        Of the sample in its stream.
    t : float, s
        Since the episode's reset, as it was recorded.
    episode : int
        Its number, as it was recorded.
    action : Any
        None at the reset.
    observation, reward, terminated, truncated, info
        What the environment returned; at the reset ``0.0, False, False``.
    values : dict
        What was recorded.
    """

    index: int
    t: float
    episode: int
    action: Any
    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    values: dict[str, Any]


class GymnasiumReplay:
    """Episodes of :class:`recd_client.gymnasium.RecordEpisode` once more: iterating gives a :class:`Step` for each row.

    An episode begins with ``reset`` and its seed, and takes its recorded actions. One without a seed of its own goes
    on from the one before, where that is recorded to its end and was replayed.

    Parameters
    ----------
    run : Run
    env : gymnasium.Env
        Made as the recorded one was; wrap it in ``RecordVideo`` to film it.
    stream : str, optional
        Which holds the episodes; of a vector environment that of one sub-environment.
    episodes : sequence of int, optional
        Only these files, from 0 on.

    Attributes
    ----------
    skipped : list of Skipped
        What could not be replayed.

    Raises
    ------
    OptionError
        The recording has no episodes, or its actions and observations do not fit the environment's spaces.
    """

    def __init__(
        self, run: Run, env: Any, *, stream: str | None = None, episodes: Sequence[int] | None = None
    ) -> None:
        if isinstance(env, VectorEnv):
            raise OptionError(
                f"sim: {type(env).__name__} is a vector environment; what is replayed is one of it",
                "pass a single environment, and the stream of one sub-environment: stream='episode-env-0'",
            )
        self.run, self.env = run, env
        self.stream = find_stream(
            run, stream, _has_episodes, "a stream of recd_client.gymnasium.RecordEpisode, with action, observation, "
            + ", ".join(_NEEDED),
        )  # fmt: skip
        self._separator = str(run.metadata.get("separator", "."))
        self._actions = self._leaves(env.action_space, "action")
        self._observations = self._leaves(env.observation_space, "observation")
        start = f"info{self._separator}"
        self._infos = {
            f: f[len(start) :].split(self._separator) for f in self.stream.fields if f.startswith(start)
        }
        self._stretches = stretches(run, self.stream, episodes)
        self.skipped: list[Skipped] = []
        self.notes = self._differing()
        for note in self.notes:
            warnings.warn(note, ReplayWarning, stacklevel=4)

    def _leaves(self, space: Any, name: str) -> list[Leaf]:
        """The parts of a space, each proved to be recorded as such."""
        leaves = leaves_of(space, name, self._separator)
        start = f"{name}{self._separator}"
        own = {leaf.name for leaf in leaves}
        there = {f for f in self.stream.fields if f == name or f.startswith(start)}
        if own != there:
            raise OptionError(
                f"stream {self.stream.name!r} has {', '.join(sorted(there))}, the environment's {name}_space {space} "
                f"has {', '.join(sorted(own))}",
                "pass the environment that was recorded, with the same wrappers",
            )
        for leaf in leaves:
            like = np.asarray(leaf.like) if isinstance(leaf.like, np.ndarray) else None
            found = self.stream[leaf.name]
            if like is not None and (found.kind != "fixed" or found.element_shape != like.shape):
                raise OptionError(
                    f"stream {self.stream.name!r}: {leaf.name} was recorded with the shape {found.element_shape}, the "
                    f"environment's space has {like.shape}",
                    "pass the environment that was recorded, with the same wrappers",
                )
        return leaves

    def _differing(self) -> list[str]:
        notes = []
        recorded, spec = self.run.metadata.get("env"), getattr(self.env, "spec", None)
        if recorded and spec is not None and recorded != spec.id:
            notes.append(f"recorded of {recorded}, this is {spec.id}")
        version = self.run.metadata.get("gymnasium")
        if version not in (None, gymnasium.__version__):
            notes.append(f"recorded with Gymnasium {version}, this is {gymnasium.__version__}")
        return notes

    # --- by actions ------------------------------------------------------------------------------------
    def __iter__(self) -> Iterator[Step]:
        """Reset and step through the episodes; what cannot be replayed is in ``skipped`` afterwards."""
        self.skipped = []
        # Number of the episode that the environment has behind it, and where it ended; None: nobody knows.
        after: int | None = None
        done = -1
        for part in self._stretches:
            row = next(self._rows(Stretch(part.start, part.start + 1)))
            number, seed = int(row.values["episode"]), int(row.values["seed"])
            why = None
            if part.lost:
                why = f"{part.lost} samples before it were lost, and with them actions"
            elif seed < 0 and not (done == part.start and after == number - 1):
                why = f"episode {number} was reset without a seed, and the one before it is not replayed"
            if why is not None:
                self.skipped.append(Skipped(part.start, part.stop, why))
                after = None
                continue
            yield from self._episode(part, None if seed < 0 else seed)
            done, after = part.stop, number

    def _episode(self, part: Stretch, seed: int | None) -> Iterator[Step]:
        for row in self._rows(part):
            number = int(row.values["episode"])
            if row.index == part.start:
                observation, info = self.env.reset(seed=seed)
                yield Step(
                    row.index, row.t, number, None, observation, 0.0, False, False, info, dict(row.values)
                )
                continue
            action = _assembled(self.env.action_space, "action", row.values, self._separator)
            observation, reward, terminated, truncated, info = self.env.step(action)
            yield Step(
                row.index, row.t, number, action,
                observation, reward, terminated, truncated, info, dict(row.values),
            )  # fmt: skip

    def _rows(self, part: Stretch) -> Iterator[Row]:
        return rows(self.stream, part.start, part.stop, self.stream.fields)

    def check(self, *, tolerance: float = 0.0) -> Report:
        """Feed the recorded actions to the environment, and compare all that it returns with what was recorded.

        Observations, rewards, ``terminated``, ``truncated``, and those infos that were recorded.

        Parameters
        ----------
        tolerance : float
            Largest difference that counts as none; 0: equal bit for bit.
        """
        if not tolerance >= 0:
            raise OptionError(f"tolerance={tolerance!r}: expected a number >= 0", "0 is bit for bit")
        report = Report(self.stream.name, tolerance)
        for step in self:
            report.starts += step.action is None
            came = {leaf.name: leaf.of(step.observation) for leaf in self._observations}
            came |= {
                "reward": np.float64(step.reward),
                "terminated": np.bool_(step.terminated),
                "truncated": np.bool_(step.truncated),
            }
            for name, path in self._infos.items():
                came[name] = np.float64(number_in(step.info, path, name))
            report.compare(step.index, step.t, {name: step.values[name] for name in came}, came)
        report.skipped += self.skipped
        report.notes += self.notes
        return report


def adapter(
    run: Run, env: Any, *, stream: str | None = None, episodes: Sequence[int] | None = None
) -> GymnasiumReplay | MujocoReplay:
    """By actions, where episodes are recorded; by states, where only those are and the environment is MuJoCo's."""
    own = getattr(env, "unwrapped", env)
    chosen = run.streams if stream is None else {stream: run.streams.get(stream)}
    arrays = [s for s in chosen.values() if isinstance(s, ArrayStream)]
    if (
        any(map(_has_episodes, arrays))
        or not any("qpos" in s.fields for s in arrays)
        or not hasattr(own, "set_state")
    ):
        return GymnasiumReplay(run, env, stream=stream, episodes=episodes)
    from .mujoco import MujocoReplay

    env.reset()  # else it refuses to render
    return MujocoReplay(run, (own.model, own.data), stream=stream, episodes=episodes)


def _has_episodes(stream: ArrayStream) -> bool:
    names = {name.partition(".")[0] for name in stream.fields}
    whole = {*_NEEDED} <= {*stream.fields}
    return (
        whole
        and any(n.startswith("action") for n in names)
        and any(n.startswith("observation") for n in names)
    )


def _assembled(space: Any, name: str, values: Any, separator: str) -> Any:
    """The value of a space out of its fields, as an environment expects it."""
    if isinstance(space, spaces.Dict):
        return {k: _assembled(s, f"{name}{separator}{k}", values, separator) for k, s in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_assembled(s, f"{name}{separator}{k}", values, separator) for k, s in enumerate(space))
    value = values[name]
    if isinstance(space, spaces.Text):
        return str(value)
    if isinstance(space, spaces.Sequence):
        return value.copy() if space.stack else tuple(np.array(one)[()] for one in value)
    return np.array(value)[()] if isinstance(space, spaces.Discrete) else np.array(value)
