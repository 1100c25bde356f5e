"""A small target for episodes: what every one must do, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recd.converter.episodes import EpisodeData
from recd.converter.features import IMAGE, Feature
from recd.converter.targets.base import DatasetInfo, EpisodeTarget

#: Called before an episode is written, with its index: tests put what is to happen here.
before: list[Callable[[int], None]] = []


class ToyTarget(EpisodeTarget):
    """A directory with an archive for each episode."""

    name = "toy"

    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(info)
        self.features: Sequence[Feature] = ()

    def check(self, features: Sequence[Feature], fps: float | None) -> None:
        """Everything fits."""

    def open(self, path: Path, features: Sequence[Feature], fps: float | None, done: int) -> None:
        """Cut what lies behind the episodes that are done."""
        self.path, self.features = path, features
        path.mkdir(exist_ok=done > 0)
        for old in path.glob("*.npz"):
            if int(old.stem) >= done:
                old.unlink()

    def write_episode(self, episode: EpisodeData) -> None:
        """All features, as a whole."""
        for call in before:
            call(episode.index)
        columns = {f.name: episode.column(f.name) for f in self.features if f.kind != IMAGE}
        images = {f.name: np.array([*episode.images(f.name)]) for f in self.features if f.kind == IMAGE}
        told = {
            "length": episode.length, "seed": episode.seed, "success": episode.success, "task": episode.task,
            "fps": episode.fps, "number": episode.number, "metadata": dict(episode.metadata),
        }  # fmt: skip
        np.savez(self.path / f"{episode.index}.npz", t=episode.t, told=json.dumps(told), **columns, **images)

    def close(self) -> None:
        """The last file is the end."""
        (self.path / "done").touch()
