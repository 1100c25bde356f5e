"""Episodes in HDF5: a file for each until all are there, then one for all.

A file of HDF5 that is being written is whole only when it is closed, so a kill would cost all episodes in it. An
episode's own file is closed, and gets its name, before the next one begins; the one for all is made of them by
copying what they hold as it is stored.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ..episodes import EpisodeData
from ..features import IMAGE, TEXT, Feature

#: Every episode's group in its own file.
GROUP: Final = "episode"
#: What the features of a role may be called in front of their own names.
_PREFIX: Final = re.compile(r"^(observations?|obs|actions?|infos?)[./]")


class EpisodeFiles:
    """The files of the episodes that are done, in a directory of their own.

    Parameters
    ----------
    directory : Path
    done : int
        How many are to stay; the others are removed.
    """

    def __init__(self, directory: Path, done: int) -> None:
        self._directory = directory
        if not done:
            shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(exist_ok=True)
        kept = {self._path(index) for index in range(done)}
        for path in set(directory.iterdir()) - kept:
            path.unlink()

    def _path(self, index: int) -> Path:
        return self._directory / f"{index:06d}.h5"

    @contextmanager
    def writing(self, index: int) -> Iterator[h5py.Group]:
        """The group of an episode, to be filled; the episode is done when this ends without an error."""
        half = self._directory / "half.h5"
        with h5py.File(half, "w") as file:
            yield file.create_group(GROUP, track_order=True)
        os.replace(half, self._path(index))

    def group(self, index: int) -> h5py.File:
        """The file of an episode that is done."""
        return h5py.File(self._path(index), "r")

    def gather(self, into: h5py.Group, name: Callable[[int], str], count: int) -> None:
        """All episodes are groups of ``into``, under the names that ``name`` gives."""
        for index in range(count):
            with self.group(index) as file:
                into.copy(file[GROUP], into, name(index))


def own_name(f: Feature) -> str:
    """A feature's name without that of its role: ``pos`` for ``observation.pos``."""
    return _PREFIX.sub("", f.name)


def only_one(features: Sequence[Feature], role: str, what: str) -> Feature | None:
    """The feature of a role of which there may be one."""
    found = [f for f in features if f.role == role]
    if len(found) > 1:
        raise OptionError(
            f"{what} of one feature, not of {', '.join(f.name for f in found)}",
            "name the others in the map with role = 'info', or join their fields into one feature",
        )
    return found[0] if found else None


def tell(group: h5py.Group, episode: EpisodeData) -> None:
    """What is known of an episode stands in its group's attributes."""
    if episode.seed is not None:
        group.attrs["seed"] = episode.seed
    if episode.success is not None:
        group.attrs["success"] = bool(episode.success)
    if episode.task:
        group.attrs["task"] = episode.task
    if episode.metadata:
        group.attrs["metadata"] = json.dumps(dict(episode.metadata), default=str)
    if episode.problems:
        group.attrs["problems"] = list(episode.problems)


class Column:
    """A dataset of known length, filled from front to back.

    Parameters
    ----------
    group : h5py.Group
    name : str
        With slashes between groups and itself.
    rows : int
    f : Feature
    shape : tuple of int, optional
        Of a row, if not the feature's.
    compression : str, optional
        As h5py has it.
    skip : int
        Leave out so many of the first rows that are added.
    """

    def __init__(
        self,
        group: h5py.Group,
        name: str,
        rows: int,
        f: Feature,
        shape: tuple[int, ...] | None = None,
        compression: str | None = None,
        skip: int = 0,
    ) -> None:
        dtype = h5py.string_dtype() if f.kind == TEXT else f.dtype
        self._shape = f.shape if shape is None else shape
        extra = {}
        if compression and f.size:
            at_once = 1 if f.kind == IMAGE else max(1, min(rows, 65536 // max(1, f.size * f.dtype.itemsize)))
            extra = {"compression": compression, "chunks": (at_once, *self._shape)}
        self._data = group.create_dataset(name, (rows, *self._shape), dtype, **extra)
        if f.units:
            self._data.attrs["units"] = f.units
        if f.names:
            self._data.attrs["names"] = list(f.names)
        self._at = 0
        self._skip = skip
        self._last: NDArray[Any] | None = None

    def add(self, rows: NDArray[Any]) -> None:
        """Rows behind those that are there; what does not fit any more is left out."""
        if not len(rows):
            return
        if rows.dtype.kind == "U":
            rows = rows.astype(object)
        self._last = rows[-1].copy() if isinstance(rows[-1], np.ndarray) else rows[-1]
        skipped = min(self._skip, len(rows))
        self._skip -= skipped
        rows = rows[skipped : skipped + len(self._data) - self._at]
        rows = rows.reshape(len(rows), *self._shape)
        if len(rows):
            self._data[self._at : self._at + len(rows)] = rows
            self._at += len(rows)

    def fill(self) -> bool:
        """Repeat the last row until all are there; whether that was needed."""
        missing = len(self._data) - self._at
        if missing and self._last is not None:
            last = np.reshape(np.asarray(self._last, self._data.dtype), self._shape)
            self._data[self._at :] = np.broadcast_to(last, (missing, *self._shape))
            self._at += missing
        return missing > 0


def rows_of(episode: EpisodeData, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
    """All rows of these features, images among them, some at a time."""
    arrays = [name for name in names if episode.feature(name).kind != IMAGE]
    if arrays:
        yield from episode.chunks(names=arrays)
    for name in names:
        if episode.feature(name).kind == IMAGE:
            for image in episode.images(name):
                yield {name: image[None]}
