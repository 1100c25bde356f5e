"""Minari: a dataset of ``data/main_data.hdf5`` and ``data/metadata.json``, as Minari 0.5 reads it.

::

    episode_0               attributes: id, seed, total_steps, success, task
    ├─ observations         one row more than steps: the last one is what the last action led to
    ├─ actions  rewards  terminations  truncations
    └─ infos/<name>         one row more, too

Dict and Tuple spaces are groups. Images are stored as they are, not as JPEG.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ..episodes import EpisodeData
from ..features import ACTION, INFO, OBSERVATION, REWARD, SUCCESS, TERMINATED, TEXT, TRUNCATED, Feature
from .base import DatasetInfo, EpisodeTarget
from .episode_files import Column, EpisodeFiles, only_one, own_name, rows_of, tell
from .spaces import Leaf, told, tree_of

#: The release whose layout this is.
_VERSION: Final = "0.5.4"
_DATASET_ID: Final = re.compile(r"([-_\w][-_\w/]*[-_\w]+/)?[-_\w]+?(-v\d+)?")


class MinariTarget(EpisodeTarget):
    """A directory that ``minari.MinariDataset(directory / "data")`` reads; below Minari's own, ``load_dataset``."""

    name = "minari"
    holds_provenance = True
    options: ClassVar = {
        "dataset_id": str,
        "observation_space": str,
        "action_space": str,
        "env_spec": str,
        "author": str,
        "description": str,
        "algorithm_name": str,
        "compression": ("none", "gzip", "lzf"),
    }

    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(info)
        chosen = self.option("compression")
        self._compression = None if chosen == "none" else chosen

    # --- what it can hold ------------------------------------------------------------------------
    def check(self, features: Sequence[Feature], fps: float | None) -> None:
        """See :class:`EpisodeTarget`."""
        for role, names in (
            (OBSERVATION, "observations: no feature is one"),
            (ACTION, "actions: no feature is one"),
        ):
            found = _of(features, role)
            if not found:
                raise OptionError(
                    f"Minari needs {names}", f"give one role = {role!r} in the map, see --map-out"
                )
            tree_of(found, role == ACTION)
        for role, what in ((REWARD, "rewards"), (TERMINATED, "terminations"), (TRUNCATED, "truncations")):
            only = only_one(features, role, f"Minari has {what}")
            if only is not None and only.size != 1:
                raise OptionError(
                    f"feature {only.name!r}: {what} are one number per step, this has shape {only.shape}",
                    "choose one in the map, such as state/reward[0]",
                )
        infos = [f for f in features if _is_info(f)]
        for f in infos:
            if [own_name(other) for other in infos].count(own_name(f)) > 1:
                raise OptionError(
                    f"feature {f.name!r}: two infos would be called {own_name(f)!r}", "rename one"
                )
        for option in ("observation_space", "action_space"):
            if self.option(option) is not None:
                told(self.option(option), option)
        _dataset_id(self.option("dataset_id"), "recording")

    # --- writing ---------------------------------------------------------------------------------
    def open(self, path: Path, features: Sequence[Feature], fps: float | None, done: int) -> None:
        """See :class:`EpisodeTarget`."""
        self._path, self._features = path, features
        self._observations = tree_of(_of(features, OBSERVATION), False)
        self._actions = tree_of(_of(features, ACTION), True)
        path.mkdir(exist_ok=True)
        self._files = EpisodeFiles(path.with_name(f"{path.name}.episodes"), done)
        self._count = done
        for index in range(done):
            with self._files.group(index) as file:
                for leaf in self._actions.leaves():
                    leaf.see(file[f"episode/{_at('actions', leaf)}"][()] if leaf.is_choice else np.empty(0))

    def write_episode(self, episode: EpisodeData) -> None:
        """See :class:`EpisodeTarget`."""
        n = episode.length
        with self._files.writing(episode.index) as group:
            group.create_group("infos")
            columns: dict[str, Column] = {}
            behind = [*((_at("observations", leaf), leaf.feature) for leaf in self._observations.leaves())]
            behind += [(f"infos/{own_name(f)}", f) for f in self._features if _is_info(f)]
            for place, f in behind:
                columns[f.name] = Column(group, place, n + 1, f, None, self._compression)
            choices: dict[str, Leaf] = {}
            for leaf in self._actions.leaves():
                f = leaf.feature
                choices[f.name] = leaf
                columns[f.name] = Column(group, _at("actions", leaf), n, f, None, self._compression)
            for rows in rows_of(episode, list(columns)):
                for name, values in rows.items():
                    columns[name].add(values)
                    if name in choices:
                        choices[name].see(values)
            self._finish(group, episode, columns, [f for _, f in behind])
            self._ends(group, episode)
            group.attrs["id"] = episode.index
            group.attrs["total_steps"] = episode.length
            tell(group, episode)
        self._count = episode.index + 1

    @staticmethod
    def _finish(
        group: h5py.Group, episode: EpisodeData, columns: Mapping[str, Column], behind: Sequence[Feature]
    ) -> None:
        """What the last action led to: recorded, or, where the recording ends before, the row before again."""
        final = episode.final() or {}
        repeated = []
        for f in behind:
            if f.name in final:
                columns[f.name].add(np.asarray(final[f.name])[None])
            if columns[f.name].fill():
                repeated.append(f.name)
        if repeated:
            group.attrs["final_repeated"] = repeated

    def _ends(self, group: h5py.Group, episode: EpisodeData) -> None:
        found: dict[str, NDArray[Any]] = {}
        for role, name, dtype in (
            (REWARD, "rewards", np.float64),
            (TERMINATED, "terminations", np.bool_),
            (TRUNCATED, "truncations", np.bool_),
        ):
            values = [episode.column(f.name).reshape(-1) for f in self._features if f.role == role]
            found[name] = (values[0] if values else np.zeros(episode.length)).astype(dtype)
        if episode.length and not (found["terminations"][-1] or found["truncations"][-1]):
            found["truncations"][-1] = True  # the recording ends here, whatever would have come
        for name, column in found.items():
            group[name] = column

    # --- all of them -----------------------------------------------------------------------------
    def close(self) -> None:
        """See :class:`EpisodeTarget`."""
        data = self._path / "data"
        data.mkdir(parents=True, exist_ok=True)
        with h5py.File(data / "main_data.hdf5", "w", track_order=True) as file:
            self._files.gather(file, lambda index: f"episode_{index}", self._count)
            steps = sum(int(group.attrs["total_steps"]) for group in file.values())
        size = (data / "main_data.hdf5").stat().st_size
        metadata = self._metadata(steps) | {"dataset_size": round(size / 1e6, 1)}
        (data / "metadata.json").write_text(json.dumps(metadata, default=str))

    def _metadata(self, steps: int) -> dict[str, Any]:
        spaces = {"observation_space": self._observations, "action_space": self._actions}
        metadata = {
            "total_episodes": self._count,
            "total_steps": steps,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            **{name: self.option(name) or json.dumps(tree.space()) for name, tree in spaces.items()},
            "dataset_id": _dataset_id(self.option("dataset_id"), self.info.name),
            "minari_version": _VERSION,
            "recd": dict(self.info.provenance),
        }
        if self.option("author"):
            metadata["author"] = [self.option("author")]
        for name in ("env_spec", "description", "algorithm_name"):
            if self.option(name):
                metadata[name] = self.option(name)
        return metadata


def _at(group: str, leaf: Leaf) -> str:
    return f"{group}/{leaf.path}" if leaf.path else group


def _of(features: Sequence[Feature], role: str) -> list[Feature]:
    """The features that make a space; texts are in none."""
    return [f for f in features if f.role == role and f.kind != TEXT]


def _is_info(f: Feature) -> bool:
    return f.role in (INFO, SUCCESS) or (f.kind == TEXT and f.role in (OBSERVATION, ACTION))


def _dataset_id(told: str | None, name: str) -> str:
    """The name that Minari knows the dataset by."""
    found = told or f"{re.sub(r'[^-_0-9A-Za-z]+', '-', name).strip('-') or 'recording'}-v0"
    if not _DATASET_ID.fullmatch(found):
        raise OptionError(
            f"dataset_id: expected a name such as walk/expert-v0, got {found!r}", "letters, digits, - _ and /"
        )
    return found
