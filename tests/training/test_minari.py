"""Episodes as a Minari dataset: its structure, its spaces, and every value in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from takes import LENGTHS, column, converted, json_of, record, steps_of

from recd.converter import convert, mapping
from recd_client.errors import OptionError

pytestmark = pytest.mark.requires("gymnasium")


if find_spec("gymnasium"):
    import gymnasium

    from recd_client.gymnasium import RecordEpisode, load_episode

    class Maze(gymnasium.Env):
        """Observations in a Dict with a Tuple in it, a choice of five, and an end that is known."""

        observation_space = gymnasium.spaces.Dict(
            {
                "at": gymnasium.spaces.Box(-9, 9, (2,), np.float64),
                "seen": gymnasium.spaces.Tuple(
                    (gymnasium.spaces.Box(0, 255, (3,), np.uint8), gymnasium.spaces.Discrete(4))
                ),
            }
        )  # fmt: skip
        action_space = gymnasium.spaces.Discrete(5)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.count = 0
            return self.observed(), {}

        def step(self, action):
            self.count += 1
            return self.observed(), 0.5 * action, self.count == 6, False, {}

        def observed(self):
            at = self.np_random.normal(size=2)
            return {"at": at, "seen": (self.np_random.integers(0, 255, 3, np.uint8), int(self.count % 4))}


@pytest.fixture(scope="module")
def played(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of the maze, the last of which was left early."""
    top = tmp_path_factory.mktemp("maze") / "episodes"
    env = RecordEpisode(Maze(), str(top))
    for episode in range(3):
        env.reset(seed=episode)
        for k in range(6 if episode < 2 else 4):
            env.step((k + episode) % 5)
    env.close()
    return top


@pytest.fixture(scope="module")
def maze(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, as a dataset."""
    out = tmp_path_factory.mktemp("minari") / "maze"
    converted(played, out, "minari", {"dataset_id": "walks/maze-v3", "author": "A. Author"})
    return out


@pytest.fixture(scope="module")
def file(maze: Path) -> Iterator[h5py.File]:
    """The episodes of it."""
    with h5py.File(maze / "data/main_data.hdf5") as file:
        yield file


def test_an_episode_has_one_observation_more_than_actions(played: Path, file: h5py.File) -> None:
    """Observation ``i`` is what action ``i`` was chosen by, and the last one what the last action led to."""
    for episode in range(3):
        group, expected = file[f"episode_{episode}"], load_episode(played / f"episode_{episode}.npz")
        assert np.array_equal(group["observations/at"], expected.observations["at"])
        for part in (0, 1):
            assert np.array_equal(
                group[f"observations/seen/_index_{part}"], expected.observations["seen"][part]
            )
        assert np.array_equal(group["actions"], expected.actions)
        assert np.array_equal(group["rewards"], expected.rewards)
        assert len(group["observations/at"]) == len(group["actions"]) + 1
        assert "final_repeated" not in group.attrs
        assert group.attrs["seed"] == episode


def test_every_episode_ends(played: Path, file: h5py.File) -> None:
    """One that the environment ended is terminated; one that was left is truncated where the recording ends."""
    for episode in range(3):
        group, expected = file[f"episode_{episode}"], load_episode(played / f"episode_{episode}.npz")
        assert np.array_equal(group["terminations"], expected.terminations)
        assert group["truncations"][:].tolist() == [False] * (len(expected) - 1) + [episode == 2]


def test_metadata(maze: Path, file: h5py.File) -> None:
    """Totals are those of the episodes, spaces as Minari writes them, and the name is the one that was given."""
    found = json_of(maze / "data/metadata.json")
    assert (found["total_episodes"], found["total_steps"]) == (3, 16)
    assert sum(group.attrs["total_steps"] for group in file.values()) == 16
    assert found["dataset_id"] == "walks/maze-v3"
    assert found["author"] == ["A. Author"]
    assert json.loads(found["action_space"]) == {"type": "Discrete", "dtype": "int64", "start": 0, "n": 5}
    space = json.loads(found["observation_space"])
    assert space["type"] == "Dict"
    assert list(space["subspaces"]) == ["at", "seen"]
    assert [part["type"] for part in space["subspaces"]["seen"]["subspaces"]] == ["Box", "Box"]


def test_a_recording_without_last_observations(
    shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where nothing tells what the last action led to, the last observation stands again, and that is told."""
    top = tmp_path_factory.mktemp("walk")
    converted(record(top / "run"), top / "walk", "minari")
    with h5py.File(top / "walk/data/main_data.hdf5") as file:
        for episode, length in enumerate(LENGTHS):
            group, steps = file[f"episode_{episode}"], steps_of(episode)
            qpos = group["observations/qpos"][()]
            assert np.array_equal(qpos[:length], column("qpos", steps))
            assert np.array_equal(qpos[length], qpos[length - 1])
            assert "observation.qpos" in group.attrs["final_repeated"]
            thumbs = group["observations/images/thumb"]
            assert np.array_equal(thumbs[:length], column("thumb", steps))
            assert group["infos/word"].asstr()[:length].tolist() == column("word", steps).tolist()
            assert group["truncations"][-1]


ACTION = '[features.action]\nfrom = "episode/action"\nshift = 1'
AT = '[features."observation.at"]\nfrom = "episode/observation.at"'


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([ACTION], "observations: no feature is one"),
        ([AT], "actions: no feature is one"),
        ([AT, ACTION, '[features."observation.at.x"]\nfrom = "episode/observation.at[0]"'], "also the beginning"),
        ([AT, ACTION, '[features.reward]\nfrom = "episode/observation.at"\nshift = 1'], "one number per step"),
        (['[target]\naction_space = "Discrete(3)"', AT, ACTION], "expected a space"),
        (['[target]\ndataset_id = "a b"', AT, ACTION], "dataset_id"),
    ],
)  # fmt: skip
def test_what_it_cannot_hold(played: Path, tmp_path: Path, features: list[str], says: str) -> None:
    """A map that makes no Minari dataset is refused before anything is written."""
    with pytest.raises(OptionError, match=says):
        convert(played, tmp_path / "maze", to="minari", map=mapping.parse("\n".join(features)))
    assert not list(tmp_path.iterdir())
