"""An episode's file as arrays for training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingLibraryError, OptionError
from .spaces import nested


@dataclass(frozen=True)
class Episode:
    """One episode of ``T`` steps, as :class:`RecordEpisode` has recorded it.

    Observation ``i`` is what action ``i`` was chosen by, observation ``i + 1`` what it led to.

    Parameters
    ----------
    observations : array, dict or tuple
        ``(T + 1, ...)``; of Dict and Tuple spaces in dicts and tuples.
    actions : array, dict or tuple
        ``(T, ...)``.
    rewards : ndarray, (T,) float64
    terminations, truncations : ndarray, (T,) bool
    infos : dict
        ``(T + 1,)`` float64 by name; the first is the reset's.
    times : ndarray, (T + 1,) float64, s
        Since the reset.
    episode : int
        Its number.
    seed : int or None
        That its reset was given.
    """

    observations: Any
    actions: Any
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    infos: dict[str, NDArray[np.float64]]
    times: NDArray[np.float64]
    episode: int
    seed: int | None

    def __len__(self) -> int:
        return len(self.rewards)


def load_episode(path: str | os.PathLike[str], separator: str = ".") -> Episode:
    """The episode in a file that :class:`RecordEpisode` has made.

    Parameters
    ----------
    path : str or path-like
        ``.npz``, or ``.h5`` (needs h5py).
    separator : str
        The one that it was recorded with.

    Raises
    ------
    OptionError
        It is no file of an episode.
    MissingLibraryError
        There is no h5py.
    """
    path = Path(path)
    fields = _read(path)
    if not {"reward", "terminated", "truncated", "episode", "seed", "timestamp"} <= fields.keys():
        raise OptionError(
            f"{path}: this is no episode, it has {', '.join(fields)}", "record it with RecordEpisode"
        )
    fields = _ragged(fields)
    actions = {name: value[1:] for name, value in fields.items()}
    start = f"info{separator}"
    return Episode(
        nested(fields, "observation", separator),
        nested(actions, "action", separator),
        fields["reward"][1:],
        fields["terminated"][1:],
        fields["truncated"][1:],
        {name[len(start) :]: value for name, value in fields.items() if name.startswith(start)},
        fields["timestamp"],
        int(fields["episode"][0]),
        int(fields["seed"][0]) if fields["seed"][0] >= 0 else None,
    )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix != ".h5":
        raise OptionError(f"{path}: expected a file .npz or .h5", "record with formats='npz' or 'hdf5'")
    try:
        h5py = import_module("h5py")
    except ModuleNotFoundError:
        raise MissingLibraryError(f"{path}: reading HDF5 needs h5py", "pip install h5py") from None
    with h5py.File(path) as file:
        return {name: data.asstr()[:] if data.dtype == object else data[:] for name, data in file.items()}


def _ragged(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields; those whose rows differ in length as lists of arrays, one for each row."""
    found = {}
    for name, value in fields.items():
        offsets = fields.get(f"{name}_offsets")
        if offsets is not None:
            found[name] = [value[a:b] for a, b in pairwise(offsets)]
        elif not (name.endswith("_offsets") and name[: -len("_offsets")] in fields):
            found[name] = value
    return found
