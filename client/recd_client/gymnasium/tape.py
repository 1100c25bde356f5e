"""The episodes of one environment, or of one of many: rows, and where each episode begins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gymnasium
import numpy as np

from .. import checks
from ..errors import OptionError, SchemaError
from ..options import CSVFile, HDF5File, NPZFile, SinkOptions
from ..session import MARK_RESET, Mark
from ..stream import Stream
from .home import Home
from .spaces import leaves_of

_FORMATS: Final[dict[str, Callable[..., SinkOptions]]] = {"npz": NPZFile, "hdf5": HDF5File, "csv": CSVFile}
#: Stands in ``seed`` where a reset was given none.
NO_SEED: Final = -1
_MAX_INT: Final = (1 << 63) - 1


class Layout:
    """What a row holds, and how it is made of what an environment returns.

    Parameters
    ----------
    observation_space, action_space : gymnasium.Space
        Of a single environment.
    infos : sequence of str
        Which numbers of the infos to record; the path to a nested one is joined by ``separator``.
    separator : str
    formats : str or sequence of str
        Of ``npz``, ``hdf5``, ``csv``.
    """

    def __init__(
        self, observation_space: Any, action_space: Any, infos: Any, separator: Any, formats: Any
    ) -> None:
        if not isinstance(separator, str) or not separator or set(separator) & set('/\\",'):
            raise checks.refuse(
                "separator", separator, 'a character or two, but none of / \\ " and the comma'
            )
        if isinstance(infos, str) or not all(isinstance(name, str) for name in infos):
            raise checks.refuse("infos", infos, 'names, such as ("x_position", "reward_ctrl")')
        self.formats = [formats] if isinstance(formats, str) else [*formats]
        for form in self.formats:
            checks.one_of("formats", form, tuple(_FORMATS))
        if not self.formats:
            raise OptionError("formats: expected at least one", "write formats='npz'")
        self.separator = separator
        self.observation = leaves_of(observation_space, "observation", separator)
        self.action = leaves_of(action_space, "action", separator)
        self.infos = [(f"info{separator}{name}", name.split(separator)) for name in infos]

    @property
    def like(self) -> dict[str, Any]:
        """An example row."""
        return {
            **{leaf.name: leaf.like for leaf in (*self.observation, *self.action)},
            "reward": 0.0, "terminated": False, "truncated": False, "episode": 0, "seed": 0,
            **{name: 0.0 for name, _ in self.infos},
        }  # fmt: skip

    def sinks(self, home: Home, stem: str) -> list[SinkOptions]:
        """The files, of which every episode gets a part."""
        suffix = {"hdf5": "h5"}
        return [
            _FORMATS[form](home.path(f"{stem}.{suffix.get(form, form)}"), save_on_reset=True)
            for form in self.formats
        ]


class Tape:
    """The stream of one (sub-)environment.

    Parameters
    ----------
    layout : Layout
    stream : Stream
    dt_s : float
        Length of a step.
    trigger : callable, optional
        Which episodes to record.
    fields : dict
        What its marks tell beside episode and seed.
    """

    def __init__(
        self,
        layout: Layout,
        stream: Stream,
        dt_s: float,
        trigger: Callable[[int], bool] | None,
        fields: Mapping[str, Any],
    ) -> None:
        self._layout = layout
        self._stream = stream
        self._dt_s = dt_s
        self._trigger = trigger
        self._fields = dict(fields)
        self._row = 0
        self._seed = NO_SEED
        self.episode = -1
        self.recording = False

    def begin(self, observation: Any, info: Mapping[str, Any], seed: Any, step: int) -> None:
        """An episode begins, with the observation of its reset: a new file."""
        self.episode += 1
        self.recording = self._trigger is None or bool(self._trigger(self.episode))
        if not self.recording:
            return
        self._row = 0
        self._seed = NO_SEED if seed is None else int(seed)
        # A whole reset, but of this stream alone: the other environments' episodes go on.
        told = {
            "envs_idx": None,
            **self._fields,
            "episode": self.episode,
            "seed": None if seed is None else int(seed),
        }
        self._stream.mark(Mark(MARK_RESET, told, 0.0, step, time.monotonic_ns()))
        row = {leaf.name: leaf.of(observation) for leaf in self._layout.observation}
        for leaf in self._layout.action:
            row[leaf.name] = leaf.missing
        self._write(row, 0.0, False, False, info, step)

    def add(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Mapping[str, Any],
        step: int,
    ) -> None:
        """A step was made: the action, and all that came of it."""
        if not self.recording:
            return
        row = {leaf.name: leaf.of(observation) for leaf in self._layout.observation}
        for leaf in self._layout.action:
            row[leaf.name] = leaf.of(action)
        self._write(row, reward, terminated, truncated, info, step)

    def _write(
        self, row: dict[str, Any], reward: Any, terminated: Any, truncated: Any, info: Any, step: int
    ) -> None:
        try:
            row["reward"] = float(reward)
        except (TypeError, ValueError):
            raise SchemaError(
                f"field 'reward': expected a number, got {reward!r:.60}", "make it one in a wrapper below"
            ) from None
        row["terminated"], row["truncated"] = bool(terminated), bool(truncated)
        row["episode"] = self.episode
        row["seed"] = self._seed if self._seed <= _MAX_INT else NO_SEED
        for name, path in self._layout.infos:
            row[name] = number_in(info, path, name)
        self._stream.write(row, self._row * self._dt_s, step)
        self._row += 1


def number_in(info: Any, path: Sequence[str], name: str) -> float:
    """The number that an info holds under a path; NaN if it has no such entry.

    Raises
    ------
    SchemaError
        It is there, and no number.
    """
    for key in path:
        if not isinstance(info, Mapping) or key not in info:
            return np.nan
        info = info[key]
    if isinstance(info, (bool, int, float, np.generic)) or (isinstance(info, np.ndarray) and info.size == 1):
        return float(info if not isinstance(info, np.ndarray) else info.item())
    raise SchemaError(
        f"field {name!r}: expected a number in the info, got {type(info).__name__} {info!r:.60}",
        "leave it out of infos=..., or record it as a stream of your own",
    )


def step_seconds(env: Any) -> float:
    """Length of a step: the environment's own ``dt``, else of a frame as it is shown, else a second."""
    dt = getattr(getattr(env, "unwrapped", env), "dt", None)
    if isinstance(dt, (int, float)) and dt > 0:
        return float(dt)
    fps = env.metadata.get("render_fps")
    return 1.0 / fps if isinstance(fps, (int, float)) and fps > 0 else 1.0


def checked_dt(dt: Any) -> float:
    """A step's length that was given."""
    return checks.positive("dt", dt, unit="seconds per step")


def stream_name(name: str) -> str:
    """The name of a stream after that of its files."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:64] or "episode"


def make_home(
    wrapper: Any, env: Any, folder: Any, recorder: Any, overwrite: str, separator: Any, dt_s: float
) -> Home:
    """Where the episodes of a wrapper go; whoever reads them finds the separator in the manifest."""
    spec = getattr(env, "spec", None)
    return Home(
        wrapper, folder, recorder,
        name="episodes", overwrite=overwrite,
        metadata={
            "env": spec.id if spec is not None else str(env), "separator": separator, "dt": dt_s,
            "gymnasium": gymnasium.__version__,
        },
    )  # fmt: skip
