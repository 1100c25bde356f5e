"""Runs where robomimic is installed: what ``SequenceDataset`` reads of a file, into an npz.

``robomimic_program.py FILE OUT OBSERVATIONS [FILTER]``: every sequence of one step.
"""

import sys

import numpy as np
from robomimic.utils import obs_utils
from robomimic.utils.dataset import SequenceDataset


def read(path: str, out: str, names: str, chosen: str | None = None) -> None:
    """Write down all that robomimic reads."""
    keys = names.split(",")
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": keys}})
    for cache in ("all", None):
        dataset = SequenceDataset(
            path, keys, ("actions", "rewards", "dones"), seq_length=1, hdf5_cache_mode=cache, filter_by_attribute=chosen
        )  # fmt: skip
        items = [dataset[i] for i in range(len(dataset))]
        found = {key: np.array([item[key][0] for item in items]) for key in ("actions", "rewards", "dones")}
        for group in ("obs", "next_obs"):
            found |= {f"{group}/{key}": np.array([item[group][key][0] for item in items]) for key in keys}
        np.savez(f"{out}-{cache}.npz", **found)


if __name__ == "__main__":
    read(*sys.argv[1:])
