"""Episodes as robomimic's HDF5, and as Isaac Lab's: their structure, and every value in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from takes import LENGTHS, column, converted, picture, record, seen, steps_of

from recd.converter import convert, mapping
from recd_client.errors import OptionError

#: A color is off by so much where the film is no exact copy.
LOSS = 3


@pytest.fixture(scope="module")
def take(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three episodes."""
    return record(tmp_path_factory.mktemp("take") / "walk")


@pytest.fixture(scope="module")
def demos(take: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[h5py.File]:
    """It, converted with the guessed map."""
    out = tmp_path_factory.mktemp("robomimic") / "walk.hdf5"
    converted(take, out, "robomimic")
    with h5py.File(out) as file:
        yield file


def test_episodes_hold_what_was_recorded(demos: h5py.File) -> None:
    """Actions, rewards, observations and texts are those of each step; a scalar is a vector of one element."""
    assert sorted(demos["data"]) == ["demo_0", "demo_1", "demo_2"]
    for episode, length in enumerate(LENGTHS):
        demo, steps = demos[f"data/demo_{episode}"], steps_of(episode)
        assert demo.attrs["num_samples"] == length
        assert np.array_equal(demo["actions"], column("ctrl", steps))
        assert np.array_equal(demo["rewards"], column("reward", steps))
        assert np.array_equal(demo["obs/qpos"], column("qpos", steps))
        assert np.array_equal(demo["obs/grid"], column("grid", steps))
        assert np.array_equal(demo["obs/images.thumb"], column("thumb", steps))
        assert demo["obs/qpos"].dtype == np.float32
        assert demo["obs/qpos"].attrs["units"] == "rad"
        assert np.array_equal(demo["obs/contact"], column("contact", steps)[:, None])
        assert demo["infos/word"].asstr()[:].tolist() == column("word", steps).tolist()


def test_next_observations_are_one_step_ahead(demos: h5py.File) -> None:
    """What an action led to is the next row's observation; behind the recording's end the last one stands again."""
    for episode in range(len(LENGTHS)):
        demo = demos[f"data/demo_{episode}"]
        for name in ("qpos", "images.thumb", "images.wrist"):
            here, ahead = demo[f"obs/{name}"][()], demo[f"next_obs/{name}"][()]
            assert np.array_equal(ahead[:-1], here[1:])
            assert np.array_equal(ahead[-1], here[-1])
            assert name in demo.attrs["next_obs_repeated"]


def test_pictures_stay_with_their_steps(demos: h5py.File) -> None:
    """Each row has the picture of its step, and where none was recorded the one before: nothing shifts."""
    for episode in range(len(LENGTHS)):
        for row, k in enumerate(steps_of(episode)):
            demo = demos[f"data/demo_{episode}"]
            front = demo["obs/images.front"][row].astype(int)
            assert np.abs(front - picture(seen(k))).max() <= LOSS
            assert np.abs(demo["obs/images.wrist"][row].astype(int) - (255 - picture(k))).max() <= LOSS


def test_what_is_known_of_episodes(demos: h5py.File) -> None:
    """Totals, success, the environment under both of its keys, the end of each episode, and where it is from."""
    data = demos["data"]
    assert data.attrs["total"] == sum(LENGTHS)
    env = json.loads(data.attrs["env_args"])
    assert env["type"] == env["env_type"] == 2
    assert {"env_name", "env_kwargs"} <= env.keys()
    assert [bool(data[f"demo_{i}"].attrs["success"]) for i in range(3)] == [True, False, True]
    assert demos["mask/success"][:].tolist() == [b"demo_0", b"demo_2"]
    for episode, length in enumerate(LENGTHS):
        assert data[f"demo_{episode}/dones"][:].tolist() == [0] * (length - 1) + [1]
    (source,) = json.loads(data.attrs["recd"])["sources"]
    assert len(source["manifest_sha256"]) == 64


def test_options(take: Path, tmp_path: Path) -> None:
    """A share of the episodes is for validation, next observations can be left out, and the environment named."""
    target = {
        "validation": 0.34,
        "next_obs": "no",
        "env_name": "Walk",
        "env_type": "robosuite",
        "compression": "gzip",
    }
    converted(take, tmp_path / "walk.hdf5", "robomimic", target)
    with h5py.File(tmp_path / "walk.hdf5") as file:
        train, valid = (set(file[f"mask/{name}"][:].tolist()) for name in ("train", "valid"))
        assert len(valid) == 1
        assert train | valid == {b"demo_0", b"demo_1", b"demo_2"}
        assert not train & valid
        assert "next_obs" not in file["data/demo_0"]
        assert file["data/demo_0/obs/qpos"].compression == "gzip"
        env = json.loads(file["data"].attrs["env_args"])
        assert (env["env_name"], env["type"]) == ("Walk", 1)


ISAAC = """
[target]
layout = "isaaclab"
[features."observation.policy.qpos"]
from = "state/qpos"
[features."observation.policy.grid"]
from = "state/grid"
[features."states.articulation.robot.joint_position"]
from = "state/qpos"
[features.action]
from = "state/ctrl"
"""


def test_isaac_lab(take: Path, tmp_path: Path) -> None:
    """Groups of observations and states are groups, and an episode begins with its first state."""
    out = tmp_path / "walk.hdf5"
    convert(take, out, to="robomimic", map=mapping.parse(ISAAC))
    with h5py.File(out) as file:
        demo, steps = file["data/demo_1"], steps_of(1)
        assert np.array_equal(demo["obs/policy/qpos"], column("qpos", steps))
        assert np.array_equal(demo["states/articulation/robot/joint_position"], column("qpos", steps))
        first = demo["initial_state/articulation/robot/joint_position"]
        assert np.array_equal(first, column("qpos", steps)[:1])
        assert "next_obs" not in demo
        assert "mask" not in file


def _map(*features: str) -> mapping.Map:
    return mapping.parse("\n".join(features))


ACTION = '[features.action]\nfrom = "state/ctrl"'


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (['[features."observation.qpos"]\nfrom = "state/qpos"'], "no feature is the action"),
        ([ACTION, '[features.other]\nfrom = "state/qpos"\nrole = "action"'], "not of action, other"),
        ([ACTION, '[features.reward]\nfrom = "state/word"'], "texts are no rewards"),
        (
            [ACTION, '[features."observation.x"]\nfrom = "state/qpos"', '[features."obs.x"]\nfrom = "state/qpos"'],
            "would both be",
        ),
        (['[target]\nvalidation = 1.5', ACTION], "between 0 and 1"),
        ([ACTION, '[features.reward]\nfrom = "state/qpos"'], "one number per step"),
        ([ACTION, '[features."info.word"]\nfrom = "state/word"', '[features."observation.word"]\nfrom = "state/word"'],
         "would both be"),
    ],
)  # fmt: skip
def test_what_it_cannot_hold(take: Path, tmp_path: Path, features: list[str], says: str) -> None:
    """A map that makes no robomimic set is refused before anything is written."""
    with pytest.raises(OptionError, match=says):
        convert(take, tmp_path / "walk.hdf5", to="robomimic", map=_map(*features))
    assert not list(tmp_path.iterdir())


@pytest.mark.requires("gymnasium")
def test_episodes_of_an_environment(shared_runtime: Path, tmp_path: Path) -> None:
    """What Gymnasium's wrapper recorded: each action with the observation it was chosen by, and what it led to."""
    import gymnasium

    from recd_client.gymnasium import RecordEpisode, load_episode

    env = RecordEpisode(gymnasium.make("CartPole-v1"), str(tmp_path / "episodes"))
    for seed in range(2):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(seed)
            over = terminated or truncated
    env.close()
    converted(tmp_path / "episodes", tmp_path / "set.hdf5", "robomimic")
    with h5py.File(tmp_path / "set.hdf5") as file:
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "CartPole-v1"
        for episode in range(2):
            demo, expected = (
                file[f"data/demo_{episode}"],
                load_episode(tmp_path / f"episodes/episode_{episode}.npz"),
            )
            assert np.array_equal(demo["obs/state"], expected.observations[:-1])
            assert np.array_equal(demo["next_obs/state"], expected.observations[1:])
            assert np.array_equal(demo["actions"][:, 0], expected.actions)
            assert np.array_equal(demo["rewards"], expected.rewards)
            assert np.array_equal(demo["dones"], expected.terminations | expected.truncations)
            assert demo.attrs["seed"] == episode
            assert "next_obs_repeated" not in demo.attrs
