"""Runs where Minari is installed: what it reads of a dataset, into an npz and a JSON.

``minari_program.py DATASET_ID OUT``: the dataset lies below ``MINARI_DATASETS_PATH``.
"""

import json
import sys
from pathlib import Path

import minari
import numpy as np
from gymnasium import spaces
from minari.serialization import serialize_space


def leaves(value, path=""):
    """The arrays in nested dicts and tuples, by path."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, tuple):
        parts = enumerate(value)
    else:
        yield path, np.asarray(value)
        return
    for key, part in parts:
        yield from leaves(part, f"{path}/{key}")


def rows(value, i):
    """One row of nested arrays."""
    if isinstance(value, dict):
        return {key: rows(part, i) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(rows(part, i) for part in value)
    return value[i]


def read(name: str, out: str) -> None:
    """Write down all that Minari reads; every row lies in its space."""
    dataset = minari.load_dataset(name)
    found = {}
    for episode in dataset.iterate_episodes():
        repr(episode)
        for part in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
            found |= {f"{episode.id}/{part}{path}": v for path, v in leaves(getattr(episode, part))}
        for i in range(len(episode)):
            assert dataset.action_space.contains(rows(episode.actions, i))
            assert dataset.observation_space.contains(rows(episode.observations, i))
    np.savez(out, **found)
    assert isinstance(dataset.observation_space, spaces.Space)
    sampled = dataset.sample_episodes(2)
    told = {
        "id": dataset.id,
        "episodes": dataset.total_episodes,
        "steps": dataset.total_steps,
        "sampled": len(list(sampled)),
        "spaces": [serialize_space(dataset.observation_space), serialize_space(dataset.action_space)],
        "listed": sorted(minari.list_local_datasets()),
    }
    Path(f"{out}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    read(*sys.argv[1:])
