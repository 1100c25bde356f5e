"""Episodes once more: seeds, actions, and what the environment makes of them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import recd
from environments import Counting
from recd.cli import main
from recd_client import NPZFile, OptionError, Recorder
from recd_client.errors import DataLossWarning, ReplayWarning

if find_spec("gymnasium"):
    import gymnasium

    from recd_client.gymnasium import RecordEpisode

pytestmark = [
    pytest.mark.requires("gymnasium"),
    pytest.mark.filterwarnings("default"),  # Gymnasium's own are not ours
    pytest.mark.filterwarnings("error::recd_client.DataLossWarning"),
    pytest.mark.usefixtures("shared_runtime"),
]


def episodes(env: Any, count: int, seed: int | None = 7, *, all_seeded: bool = False) -> None:
    """Random actions through some episodes; the first reset has the seed."""
    env.action_space.seed(3)
    for k in range(count):
        env.reset(seed=seed if k == 0 or all_seeded else None)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    env.close()


@pytest.mark.requires("mujoco")
@pytest.mark.parametrize("formats", ["npz", "hdf5"])
def test_episodes_of_a_walker_come_out_bit_for_bit(tmp_path: Path, formats: str) -> None:
    """Seeded once, the generator goes on from reset to reset: all that it returns is the same."""
    env = RecordEpisode(gymnasium.make("Hopper-v5"), str(tmp_path), formats=formats, infos=["x_position"])
    episodes(env, 4)
    run = recd.open(tmp_path)
    report = recd.replay(run, gymnasium.make("Hopper-v5"), check=True)
    assert report.holds, report
    assert report.samples == len(run["episode"])
    assert report.starts == 4
    assert {*report.fields} == {"observation", "reward", "terminated", "truncated", "info.x_position"}


@pytest.mark.requires("mujoco")
def test_an_environment_that_does_otherwise_is_told_where(tmp_path: Path) -> None:
    """With other physics the first step differs; the reset is the same. The command has codes for it."""
    env = RecordEpisode(gymnasium.make("Hopper-v5"), str(tmp_path))
    episodes(env, 2)
    report = recd.replay(tmp_path, gymnasium.make("Hopper-v5", frame_skip=3), check=True)
    assert report.first is not None
    assert (report.first.index, report.first.field) == (1, "observation")
    assert report.fields["reward"].differing > 0
    held = CliRunner().invoke(main, ["replay", str(tmp_path), "--env", "Hopper-v5", "--check"])
    assert (held.exit_code, "none differs" in held.stdout) == (0, True), held.output
    left = CliRunner().invoke(main, ["replay", str(tmp_path), "--env", "InvertedPendulum-v5", "--check"])
    assert (left.exit_code, "shape (3,)" in left.stderr) == (2, True), left.output


def test_actions_of_nested_spaces_reach_the_environment_as_they_were(tmp_path: Path) -> None:
    """Dicts and Discretes come out of their fields in type and value; the steps that iterating gives hold them."""
    seen: list[Any] = []

    class Watched(Counting):
        def step(self, action: Any) -> Any:
            self.action_space.contains(action) or pytest.fail(f"{action!r} is none of its actions")
            seen.append(action)
            return super().step(action)

    env = RecordEpisode(Watched((4, 2), nested=True), str(tmp_path))
    episodes(env, 2)
    played, seen[:] = [*seen], []
    steps = [*recd.replay(tmp_path, Watched((4, 2), nested=True))]
    assert len(played) == len(seen) == 6
    for was, now in zip(played, seen, strict=True):
        np.testing.assert_array_equal(was["move"], now["move"])
        assert was["jump"] == now["jump"]
    assert [s.action is None for s in steps] == [True, *[False] * 4, True, *[False] * 2]
    assert [s.episode for s in steps] == [0] * 5 + [1] * 3
    assert recd.replay(tmp_path, Watched((4, 2), nested=True), check=True).holds


@pytest.mark.requires("mujoco")
def test_an_episode_that_nothing_leads_to_is_left_out_and_named(tmp_path: Path) -> None:
    """Without a seed of its own, an episode needs the one before it; with one it stands alone."""
    episodes(RecordEpisode(gymnasium.make("Hopper-v5"), str(tmp_path / "once")), 3)
    report = recd.replay(tmp_path / "once", gymnasium.make("Hopper-v5"), check=True, episodes=[1, 2])
    assert not report.holds
    assert report.samples == 0
    assert [s.reason[:38] for s in report.skipped] == [
        "episode 1 was reset without a seed, an",
        "episode 2 was reset without a seed, an",
    ]
    env = RecordEpisode(gymnasium.make("Hopper-v5"), str(tmp_path / "each"), lambda e: e % 2 == 1)
    episodes(env, 4, all_seeded=True)
    report = recd.replay(tmp_path / "each", gymnasium.make("Hopper-v5"), check=True)
    assert report.holds
    assert report.starts == 2


@pytest.mark.requires("mujoco")
def test_each_part_of_a_vector_environment_is_replayed_alone(tmp_path: Path) -> None:
    """Its streams go into single environments, past autoreset; a vector environment is refused."""
    envs = RecordEpisode(gymnasium.make_vec("Hopper-v5", num_envs=2), str(tmp_path))
    envs.reset(seed=5)
    envs.action_space.seed(1)
    for _ in range(80):
        envs.step(envs.action_space.sample())
    envs.close()
    run = recd.open(tmp_path)
    for name in run:
        report = recd.replay(run, gymnasium.make("Hopper-v5"), stream=name, check=True)
        assert report.holds, report
        assert report.starts > 1
    with pytest.raises(OptionError, match="several streams can be replayed"):
        recd.replay(run, gymnasium.make("Hopper-v5"))
    with pytest.raises(OptionError, match="stream='episode-env-0'"):
        recd.replay(run, gymnasium.make_vec("Hopper-v5", num_envs=2))


@pytest.mark.requires("mujoco")
def test_recorded_states_are_set_in_an_environment_of_mujoco(tmp_path: Path) -> None:
    """A recording of the environment's own model and data goes back into another one, which shows it."""
    from recd_client.mujoco import record

    env = gymnasium.make("Hopper-v5")
    env.reset(seed=1)
    own: Any = env.unwrapped
    with record(own.model, own.data, state=True, dir=tmp_path, overflow="block") as rec:
        rec.step()
        for _ in range(20):
            env.step(env.action_space.sample())
            rec.step()
    other = gymnasium.make("Hopper-v5")
    seen = 0
    for row in recd.replay(tmp_path, other):
        np.testing.assert_array_equal(other.unwrapped.data.qpos, row.values["qpos"])
        seen += 1
    assert seen == 21
    assert recd.replay(tmp_path, other, check=True).holds


def test_what_is_no_episode_or_another_environments_is_refused(tmp_path: Path) -> None:
    """No episodes, other spaces: named, with what there is; another id is a warning."""
    with Recorder("x", dir=tmp_path / "none", dt=0.1) as rec:
        rec.stream("pose", NPZFile("p.npz")).write({"x": 1.0})
    with pytest.raises(OptionError, match=r"RecordEpisode(.|\n)*the recording has pose: x"):
        recd.replay(tmp_path / "none", Counting())
    episodes(RecordEpisode(Counting(), str(tmp_path / "flat")), 1)
    with pytest.raises(OptionError, match="has action, the environment's action_space"):
        recd.replay(tmp_path / "flat", Counting(nested=True))
    episodes(RecordEpisode(gymnasium.make("CartPole-v0"), str(tmp_path / "old")), 1)
    with pytest.warns(ReplayWarning, match="recorded of CartPole-v0, this is CartPole-v1"):
        recd.replay(tmp_path / "old", gymnasium.make("CartPole-v1"))


@pytest.mark.requires("mujoco")
def test_behind_lost_rows_an_episode_is_not_checked_and_the_next_seed_begins_anew(tmp_path: Path) -> None:
    """With a lost row its action is lost: what follows in the episode is skipped, and named; nothing diverges."""
    env = RecordEpisode(gymnasium.make("Hopper-v5"), str(tmp_path))
    env.action_space.seed(1)
    for seed in range(3):
        env.reset(seed=seed)
        for i in range(8):
            if (seed, i) == (1, 4):
                env._tape._stream.ring.writer.lose("interrupted", 0.0)
            env.step(env.action_space.sample())
    with pytest.warns(DataLossWarning, match="interrupted 1"):
        env.close()
    report = recd.replay(tmp_path, gymnasium.make("Hopper-v5"), check=True)
    assert report.first is None, report
    assert report.starts == 3
    (skipped,) = report.skipped
    assert (skipped.start, skipped.stop) == (14, 18)
    assert "1 samples before it were lost" in skipped.reason
    assert not report.holds
