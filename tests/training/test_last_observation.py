"""What the last action of an episode led to, where the recording has it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from takes import converted

from recd_client import NPZFile, Recorder

pytestmark = pytest.mark.requires("gymnasium")


if find_spec("gymnasium"):
    import gymnasium

    from recd_client.gymnasium import RecordEpisode

    class Screen(gymnasium.Env):
        """Shows its number of steps as a picture, and as a word."""

        observation_space = gymnasium.spaces.Dict(
            {"screen": gymnasium.spaces.Box(0, 255, (24, 32, 3), np.uint8), "told": gymnasium.spaces.Text(8)}
        )
        action_space = gymnasium.spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            self.count = 0
            return self.shown(), {}

        def step(self, action):
            self.count += 1
            return self.shown(), 1.0, self.count == 5, False, {}

        def shown(self):
            return {"screen": np.full((24, 32, 3), self.count, np.uint8), "told": str(self.count)}


def test_pictures_and_words_too(shared_runtime: Path, tmp_path: Path) -> None:
    """The last picture is the last step's; a stream beside that has nothing behind its last sample holds that."""
    with Recorder("screen", dir=tmp_path / "run") as rec:
        beside = rec.stream("gain", NPZFile("gain.npz"))
        env = RecordEpisode(Screen(), str(tmp_path / "run"), recorder=rec)
        env.reset()
        beside.write({"obs": np.arange(3.0)}, t=0.0)
        for _ in range(5):
            env.step(0)
        env.close()
    converted(tmp_path / "run", tmp_path / "set", "minari")
    with h5py.File(tmp_path / "set/data/main_data.hdf5") as file:
        (episode,) = file.values()
        screens = next(v for k, v in _all(episode["observations"]) if k.endswith("screen"))
        assert screens[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
        (gains,) = (v for k, v in _all(episode["observations"]) if v.shape[1:] == (3,))
        assert np.array_equal(gains, np.tile(np.arange(3.0), (6, 1)))
        (told,) = (v for k, v in _all(episode["infos"]) if k.endswith("told"))
        assert told.asstr()[:].tolist() == ["0", "1", "2", "3", "4", "5"]


def _all(group: h5py.Group) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    group.visititems(lambda k, v: found.append((k, v)) if isinstance(v, h5py.Dataset) else None)
    return found
