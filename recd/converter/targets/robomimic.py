"""robomimic's HDF5, and Isaac Lab's, which grew from it.

::

    data                    attributes: total, env_args (JSON), recd (JSON: where it is from)
    └─ demo_0               attributes: num_samples, seed, success, task
       ├─ actions  rewards  dones  states
       ├─ obs/<name>        what was observed when the action was chosen
       ├─ next_obs/<name>   what the action led to
       └─ infos/<name>
    mask/train, valid, success     names of episodes

Isaac Lab has no ``next_obs`` and no ``mask``, nests observations and states in groups, and begins an episode
with ``initial_state``: the first row of its states.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import h5py
import numpy as np

from recd_client.errors import OptionError

from ..episodes import EpisodeData
from ..features import ACTION, OBSERVATION, REWARD, TERMINATED, TEXT, TRUNCATED, Feature
from .base import DatasetInfo, EpisodeTarget
from .episode_files import Column, EpisodeFiles, only_one, own_name, rows_of, tell

#: robomimic's EnvType.
_ENV_TYPES: Final = {"gym": 2, "robosuite": 1, "ig_momart": 3}
_STATES: Final = "states"
#: Both make `dones`.
_ENDS: Final = (TERMINATED, TRUNCATED)


class RobomimicTarget(EpisodeTarget):
    """One file that ``SequenceDataset`` of robomimic reads, or the dataset tools of Isaac Lab."""

    name = "robomimic"
    suffix = ".hdf5"
    suffixes = (".h5",)
    holds_provenance = True
    options: ClassVar = {
        "layout": ("robomimic", "isaaclab"),
        "env_type": tuple(_ENV_TYPES),
        "env_name": str,
        "next_obs": ("yes", "no"),
        "validation": float,
        "compression": ("none", "gzip", "lzf"),
    }

    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(info)
        self._isaac = self.option("layout") == "isaaclab"
        chosen = self.option("compression")
        self._compression = None if chosen == "none" else chosen
        self._next = self.option("next_obs") == "yes" and not self._isaac

    # --- what it can hold ------------------------------------------------------------------------
    def check(self, features: Sequence[Feature], fps: float | None) -> None:
        """See :class:`EpisodeTarget`."""
        if only_one(features, ACTION, "robomimic has actions") is None:
            raise OptionError(
                "robomimic: no feature is the action", "give one role = 'action' in the map, see --map-out"
            )
        reward = only_one(features, REWARD, "robomimic has rewards")
        if reward is not None and reward.size != 1:
            raise OptionError(
                f"feature {reward.name!r}: rewards are one number per step, this has shape {reward.shape}",
                "choose one in the map, such as state/reward[0]",
            )
        part = self.option("validation")
        if part is not None and not 0 < part < 1:
            raise OptionError(
                f"validation: expected a share between 0 and 1, got {part:g}", "write validation = 0.1"
            )
        places: dict[str, str] = {}
        for f in features:
            if f.kind == TEXT and f.role in (ACTION, REWARD):
                raise OptionError(f"feature {f.name!r}: texts are no {f.role}s", "give it role = 'info'")
            place = self._place(f)
            other = places.setdefault(place, f.name)
            if other != f.name and f.role not in _ENDS:
                raise OptionError(f"features {other!r} and {f.name!r} would both be {place!r}", "rename one")
            for above in ("/".join(place.split("/")[:n]) for n in range(2, place.count("/") + 1)):
                if above in places:
                    raise OptionError(
                        f"feature {f.name!r} would lie in {above!r}, which is feature {places[above]!r}",
                        "rename one",
                    )

    def _place(self, f: Feature) -> str:
        """The dataset of a feature, below its episode."""
        fixed = {ACTION: "actions", REWARD: "rewards", TERMINATED: "dones", TRUNCATED: "dones"}
        if f.role in fixed:
            return fixed[f.role]
        name = own_name(f).replace(".", "/") if self._isaac else own_name(f)
        if name == _STATES or (self._isaac and name.startswith(f"{_STATES}/")):
            return name
        # Texts are no observations that a network can be given.
        return f"{'obs' if f.role == OBSERVATION and f.kind != TEXT else 'infos'}/{name}"

    # --- writing ---------------------------------------------------------------------------------
    def open(self, path: Path, features: Sequence[Feature], fps: float | None, done: int) -> None:
        """See :class:`EpisodeTarget`."""
        self._path, self._features, self._fps = path, features, fps
        path.touch()
        self._files = EpisodeFiles(path.with_name(f"{path.name}.episodes"), done)
        self._count = done

    def write_episode(self, episode: EpisodeData) -> None:
        """See :class:`EpisodeTarget`."""
        with self._files.writing(episode.index) as demo:
            demo.attrs["num_samples"] = episode.length
            tell(demo, episode)
            columns = {
                f.name: self._columns(demo, f, episode.length) for f in self._features if f.role not in _ENDS
            }
            over = np.zeros(episode.length, np.int64)
            ends = [f.name for f in self._features if f.role in _ENDS]
            for name in ends:
                over |= episode.column(name).reshape(episode.length, -1).any(axis=1)
            for rows in rows_of(episode, list(columns)):
                for name, values in rows.items():
                    for column in columns[name]:
                        column.add(values)
            self._finish(demo, episode, columns)
            if not ends and len(over):
                over[-1] = 1
            demo["dones"] = over
            if "rewards" not in demo:
                demo["rewards"] = np.zeros(episode.length)
            if self._isaac:
                _initial_state(demo)
        self._count = episode.index + 1

    def _columns(self, demo: h5py.Group, f: Feature, rows: int) -> list[Column]:
        """Where a feature's rows go: into one dataset, of observations also into that of what comes next."""
        shape = f.shape
        if f.role == ACTION:
            shape = (f.size,)
        elif f.role == REWARD:
            shape = ()
        elif not shape and f.kind != TEXT:
            shape = (1,)
        place = self._place(f)
        found = [Column(demo, place, rows, f, shape, self._compression)]
        if self._next and place.startswith("obs/"):
            found.append(Column(demo, f"next_{place}", rows, f, shape, self._compression, skip=1))
        return found

    def _finish(self, demo: h5py.Group, episode: EpisodeData, columns: Mapping[str, list[Column]]) -> None:
        """The last row of what comes next: recorded, or, where the recording ends before, the one before again."""
        final = episode.final() or {}
        repeated = []
        for name, places in columns.items():
            for column in places[1:]:
                if name in final:
                    column.add(np.asarray(final[name])[None])
                if column.fill():
                    repeated.append(own_name(episode.feature(name)))
        if repeated:
            demo.attrs["next_obs_repeated"] = repeated

    # --- all of them -----------------------------------------------------------------------------
    def close(self) -> None:
        """See :class:`EpisodeTarget`."""
        with h5py.File(self._path, "w") as file:
            data = file.create_group("data")
            self._files.gather(data, lambda index: f"demo_{index}", self._count)
            data.attrs["total"] = sum(int(demo.attrs["num_samples"]) for demo in data.values())
            data.attrs["env_args"] = json.dumps(self._env_args(), default=str)
            data.attrs["recd"] = json.dumps(dict(self.info.provenance), default=str)
            if not self._isaac:
                self._masks(file, data)

    def _env_args(self) -> dict[str, Any]:
        env = dict(self.info.env)
        told = env.pop("id", None) or env.pop("name", None) or ""
        env.pop("name", None)
        number = _ENV_TYPES[self.option("env_type")]
        # robomimic's code reads "type", its documents say "env_type".
        return {
            "env_name": self.option("env_name") or str(told), "type": number, "env_type": number, "env_kwargs": env
        }  # fmt: skip

    def _masks(self, file: h5py.File, data: h5py.Group) -> None:
        demos = [f"demo_{index}" for index in range(self._count)]
        masks: dict[str, list[str]] = {}
        part = self.option("validation")
        if part is not None:
            count = min(max(1, round(part * self._count)), self._count - 1) if self._count > 1 else 0
            held = {demos[i] for i in np.random.default_rng(0).permutation(self._count)[:count]}
            masks = {
                "train": [d for d in demos if d not in held],
                "valid": [d for d in demos if d in held],
            }
        if any("success" in data[d].attrs for d in demos):
            masks["success"] = [d for d in demos if data[d].attrs.get("success", False)]
        for name, found in masks.items():
            file[f"mask/{name}"] = np.array(found, dtype="S")


def _initial_state(demo: h5py.Group) -> None:
    """Isaac Lab's: each state's first row, under the names that they have among the states."""
    if _STATES not in demo:
        return
    states = demo[_STATES]
    if isinstance(states, h5py.Dataset):
        demo["initial_state"] = states[:1]
        return

    def copy(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            demo[f"initial_state/{name}"] = item[:1]

    states.visititems(copy)
