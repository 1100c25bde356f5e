"""RecordEpisode against an oracle that plays the same episodes and writes everything down by hand."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import Counting, actions_of, several
from recd_client import OptionError, OutputExistsError, Recorder, SchemaError
from recordings import proved

if find_spec("gymnasium"):
    import gymnasium

    from recd_client.gymnasium import RecordEpisode, VectorRecordEpisode, load_episode
    from recd_client.gymnasium.spaces import leaves_of

pytestmark = [
    pytest.mark.requires("gymnasium"),
    pytest.mark.filterwarnings("default"),  # Gymnasium's own are not ours
    pytest.mark.filterwarnings("error::recd_client.DataLossWarning"),
    pytest.mark.usefixtures("shared_runtime"),
]

LENGTHS = (4, 2, 5)


def by_hand(env: Any, actions: list[Any], steps: int) -> list[dict[str, Any]]:
    """What an environment went through when it was reset whenever an episode was over, written down by hand."""
    episodes: list[dict[str, Any]] = []
    at = 0
    while True:
        obs, info = env.reset()
        log: dict[str, Any] = {
            "observations": [kept(obs)],
            "actions": [],
            "rewards": [],
            "over": [],
            "info": [info],
        }
        episodes.append(log)
        over = False
        while not over:
            if at == steps:
                return episodes
            obs, reward, terminated, truncated, info = env.step(actions[at])
            log["observations"].append(kept(obs))
            log["actions"].append(kept(actions[at]))
            log["rewards"].append(reward)
            log["over"].append((terminated, truncated))
            log["info"].append(info)
            over, at = terminated or truncated, at + 1


def kept(value: Any) -> Any:
    """A copy, as deep as it goes."""
    if isinstance(value, dict):
        return {k: kept(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(kept(v) for v in value)
    return np.array(value)


def same(found: Any, expected: list[Any]) -> None:
    """The recorded arrays hold the values, part by part."""
    if isinstance(expected[0], dict):
        assert found.keys() == expected[0].keys()
        for key in found:
            same(found[key], [e[key] for e in expected])
    elif isinstance(expected[0], tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected[0])
        for i, part in enumerate(found):
            same(part, [e[i] for e in expected])
    else:
        np.testing.assert_array_equal(found, np.stack(expected))


def check(path: Path, log: dict[str, Any], *, infos: bool = True) -> None:
    """A file is exactly what was written down."""
    episode = load_episode(path)
    same(episode.observations, log["observations"])
    assert len(episode) == len(log["rewards"])
    if log["actions"]:
        same(episode.actions, log["actions"])
    np.testing.assert_array_equal(episode.rewards, log["rewards"])
    assert [*zip(episode.terminations, episode.truncations, strict=True)] == log["over"]
    if infos:
        np.testing.assert_array_equal(episode.infos["count"], [i["count"] for i in log["info"]])
        np.testing.assert_array_equal(episode.infos["deep.er"], [i["deep"]["er"] for i in log["info"]])
        resets = [i.get("only_at_reset", np.nan) for i in log["info"]]
        np.testing.assert_array_equal(episode.infos["only_at_reset"], resets)


INFOS = ("count", "deep.er", "only_at_reset")


@pytest.mark.parametrize("nested", [False, True], ids=["box", "nested"])
@pytest.mark.parametrize("truncates", [False, True], ids=["terminated", "truncated"])
def test_each_episode_has_a_file_of_exactly_what_happened(
    tmp_path: Path, nested: bool, truncates: bool
) -> None:
    """NPZ and HDF5 give back observations (one more), actions, rewards, ends and infos, bit for bit, in dicts too."""
    inner = Counting(LENGTHS, nested=nested, truncates=truncates)
    actions = actions_of(inner.action_space, 40)
    expected = by_hand(Counting(LENGTHS, nested=nested, truncates=truncates), actions, 12)
    env = RecordEpisode(inner, str(tmp_path), formats=("npz", "hdf5"), infos=INFOS, overflow="block")
    by_hand(env, actions, 12)
    env.close()
    assert len(expected) == 4
    for k, log in enumerate(expected):
        check(tmp_path / f"episode_{k}.npz", log)
        check(tmp_path / f"episode_{k}.h5", log)
        assert load_episode(tmp_path / f"episode_{k}.npz").episode == k
    assert len([*tmp_path.glob("*.npz")]) == 4
    proved(tmp_path)


def test_a_csv_has_a_column_for_each_number(tmp_path: Path) -> None:
    """One row per observation, the columns named by the path to them, and times since the reset."""
    env = RecordEpisode(Counting((3,), nested=True), str(tmp_path), formats="csv", infos=("half",), dt=0.5)
    env.reset(seed=7)
    for action in actions_of(env.action_space, 3):
        env.step(action)
    env.close()
    with (tmp_path / "episode_0.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [float(r["timestamp"]) for r in rows] == [0.0, 0.5, 1.0, 1.5]
    assert [int(r["observation.arm.grip"]) for r in rows] == [0, 1, 2, 3]
    assert [r["observation.mode_0"] for r in rows] == ["0", "1", "2", "3"]
    assert [r["terminated"] for r in rows] == ["0", "0", "0", "1"]
    assert [r["seed"] for r in rows] == ["7"] * 4
    assert [r["info.half"] for r in rows] == ["nan", "0.5", "1.0", "1.5"]


def test_seeds_and_resets_stand_on_the_timeline_and_in_the_files(tmp_path: Path) -> None:
    """Each reset is a mark with the episode's number and its seed; a file's rows tell both as well."""
    env = RecordEpisode(Counting(LENGTHS), str(tmp_path))
    for seed in (11, None, 0):
        env.reset(seed=seed)
        env.step(env.action_space.sample())
    env.close()
    marks = proved(tmp_path)["marks"]
    assert [m["label"] for m in marks] == ["recd.reset"] * 3
    assert [(m["fields"]["episode"], m["fields"]["seed"]) for m in marks] == [(0, 11), (1, None), (2, 0)]
    assert [load_episode(tmp_path / f"episode_{k}.npz").seed for k in range(3)] == [11, None, 0]


def test_a_trigger_chooses_episodes(tmp_path: Path) -> None:
    """Files are numbered without gaps, and their rows tell the number of the episode."""
    env = RecordEpisode(
        Counting((2,)), str(tmp_path), episode_trigger=lambda e: e % 3 == 1, name_prefix="some"
    )
    for _ in range(6):
        env.reset()
        for _ in range(2):
            env.step(env.action_space.sample())
    env.close()
    assert [load_episode(tmp_path / f"some_{k}.npz").episode for k in range(2)] == [1, 4]
    assert len([*tmp_path.glob("*.npz")]) == 2


def test_an_episode_without_a_step_is_a_file_of_one_observation(tmp_path: Path) -> None:
    """What was only reset, by hand or at the very end, is there as well."""
    env = RecordEpisode(Counting(LENGTHS), str(tmp_path))
    env.reset()
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    assert [len(load_episode(tmp_path / f"episode_{k}.npz")) for k in range(2)] == [0, 1]


# --- vector environments ------------------------------------------------------------------------------


def vector(mode: str, asynchronous: bool, **options: Any) -> Any:
    """Three sub-environments whose episodes end at different times."""
    kind = gymnasium.vector.AsyncVectorEnv if asynchronous else gymnasium.vector.SyncVectorEnv
    return kind(several(3, **options), autoreset_mode=mode)


def expected_of(i: int, mode: str, batches: list[Any], **options: Any) -> list[dict[str, Any]]:
    """The episodes of one sub-environment played alone, with the actions that really were taken."""
    env = Counting((3 + i, 2, 4), **options)
    mine = [{k: v[i] for k, v in b.items()} if isinstance(b, dict) else b[i] for b in batches]
    if mode == "NextStep":  # the action behind an episode's last step is not taken
        taken, count, episode = [], 0, 0
        for action in mine:
            if count == (3 + i, 2, 4)[episode % 3]:
                count, episode = 0, episode + 1
                continue
            taken.append(action)
            count += 1
        # the step that would reset, if it is to come yet, has begun no episode
        logs = by_hand(env, taken, len(taken))
        return logs if count < (3 + i, 2, 4)[episode % 3] else logs[: episode + 1]
    return by_hand(env, mine, len(mine))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("nested", [False, True], ids=["box", "nested"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_episodes_of_a_vector_environment_are_those_of_each_played_alone(
    tmp_path: Path, mode: str, nested: bool, asynchronous: bool
) -> None:
    """In each autoreset mode every file of every sub-environment equals what it went through, last one included."""
    envs = RecordEpisode(
        vector(mode, asynchronous, nested=nested, copies=mode == "SameStep"),
        str(tmp_path),
        infos=INFOS,
        overflow="block",
    )
    batches = actions_of(envs.action_space, 15)
    envs.reset(seed=5)
    for batch in batches:
        _, _, terminated, truncated, _ = envs.step(batch)
        over = np.logical_or(terminated, truncated)
        if mode == "Disabled" and over.any():
            envs.reset(options={"reset_mask": over})
    envs.close()
    for i in range(3):
        expected = expected_of(i, mode, batches, nested=nested)
        assert len(expected) > 3
        for k, log in enumerate(expected):
            check(tmp_path / f"episode-env-{i}_{k}.npz", log)
        assert len([*tmp_path.glob(f"episode-env-{i}_*.npz")]) == len(expected)
        assert load_episode(tmp_path / f"episode-env-{i}_0.npz").seed == 5 + i
    proved(tmp_path)


def test_some_sub_environments_can_be_chosen(tmp_path: Path) -> None:
    """The others cost nothing and leave nothing; marks tell which sub-environment was reset."""
    envs = RecordEpisode(
        vector("NextStep", False), str(tmp_path), envs_idx=[2, 0], episode_trigger=lambda e: e < 2
    )
    assert isinstance(envs, VectorRecordEpisode)
    envs.reset(seed=[4, None, 9])
    for batch in actions_of(envs.action_space, 20):
        envs.step(batch)
    assert envs.episode_ids.keys() == {0, 2}
    envs.close()
    assert {p.name for p in tmp_path.glob("*.npz")} == {
        f"episode-env-{i}_{k}.npz" for i in (0, 2) for k in (0, 1)
    }
    marks = proved(tmp_path)["marks"]
    assert {(m["fields"]["env"], m["fields"]["episode"]) for m in marks} == {(0, 0), (0, 1), (2, 0), (2, 1)}
    assert {m["fields"]["seed"] for m in marks} == {4, 9, None}


@pytest.mark.requires("mujoco")
def test_a_real_environment_is_recorded_as_it_was(tmp_path: Path) -> None:
    """MuJoCo's InvertedPendulum: every number equals that of a run without a recorder, and dt is its own."""
    actions = actions_of(gymnasium.make("InvertedPendulum-v5").action_space, 60)
    expected = by_hand(gymnasium.make("InvertedPendulum-v5"), actions, 0)
    env = RecordEpisode(gymnasium.make("InvertedPendulum-v5"), str(tmp_path), infos=("reward_survive",))
    seen = [env.reset(seed=3)[0]]
    for action in actions[:5]:
        seen.append(env.step(action)[0])
    dt = env.unwrapped.dt
    env.close()
    episode = load_episode(tmp_path / "episode_0.npz")
    same(episode.observations, seen)
    np.testing.assert_array_equal(episode.times, np.arange(6) * dt)
    assert json.loads((tmp_path / "manifest.json").read_text())["metadata"]["env"] == "InvertedPendulum-v5"
    assert len(expected) == 1


# --- bad input ----------------------------------------------------------------------------------------


def test_what_is_not_allowed_is_refused_when_the_wrapper_is_made(tmp_path: Path) -> None:
    """Each error names the argument, or the part of a space that cannot be recorded."""
    folder = str(tmp_path)
    for options, text in (
        ({"formats": "parquet"}, "formats='parquet'"),
        ({"formats": ()}, "at least one"),
        ({"infos": "count"}, "infos='count'"),
        ({"separator": "/"}, "separator='/'"),
        ({"dt": 0}, "dt=0"),
    ):
        with pytest.raises(OptionError, match=text):
            RecordEpisode(Counting(), folder, **options)
    graph = Counting()
    graph.observation_space = gymnasium.spaces.Dict(
        {"g": gymnasium.spaces.Graph(gymnasium.spaces.Box(0, 1, (2,)), None)}
    )
    with pytest.raises(OptionError, match=r"'observation\.g': a Graph space"):
        RecordEpisode(graph, folder)
    dotted = Counting()
    dotted.observation_space = gymnasium.spaces.Dict({"a.b": gymnasium.spaces.Discrete(2)})
    with pytest.raises(OptionError, match=r"'a\.b' of its space has the separator"):
        RecordEpisode(dotted, folder)
    with pytest.raises(OptionError, match="there are 3 sub-environments"):
        RecordEpisode(vector("NextStep", False), folder, envs_idx=[3])


def test_what_the_environment_should_not_have_returned_is_named(tmp_path: Path) -> None:
    """A float where the space has integers, an info that is no number: the step that brings it says so."""
    env = RecordEpisode(Counting((3,)), str(tmp_path / "a"), infos=("text",))
    env.reset()
    with pytest.raises(SchemaError, match=r"'info\.text': expected a number"):
        env.step(env.action_space.sample())
    env.close()
    inner = Counting((3,))
    inner.observation_space = gymnasium.spaces.Box(0, 9, (3,), np.int64)
    env = RecordEpisode(inner, str(tmp_path / "b"))
    with pytest.raises(SchemaError, match="its space has int64, got float64"):
        env.reset()
    env.close()
    leaf = leaves_of(gymnasium.spaces.Box(-100, 100, (2,), np.int8), "q", ".")[0]
    assert leaf.of(np.array([-100, 100])).dtype == np.int8
    with pytest.raises(SchemaError, match="'q': its space has int8, got int64"):
        leaf.of(np.array([300, 1]))


def test_episodes_of_another_run_are_not_mixed_with_these(tmp_path: Path) -> None:
    """Files that exist are refused, unless replacing or numbering was asked for."""
    for options, expected in (({}, None), ({}, OutputExistsError), ({"overwrite": "number"}, None)):
        env = RecordEpisode(Counting((3,)), str(tmp_path), **options)
        if expected is not None:
            with pytest.raises(expected):
                env.reset()
        else:
            env.reset()
        env.close()
    assert {p.name for p in tmp_path.glob("*.npz")} == {"episode_0.npz", "episode_1_0.npz"}


def test_what_is_no_episode_is_not_loaded(tmp_path: Path) -> None:
    """A file of something else is named, with what it has."""
    with Recorder("other", dir=tmp_path) as rec:
        rec.log("x", 1.0)
    with pytest.raises(OptionError, match=r"this is no episode, it has timestamp, data"):
        load_episode(tmp_path / "x.npz")
    with pytest.raises(OptionError, match=r"expected a file \.npz or \.h5"):
        load_episode(tmp_path / "x.csv")


@pytest.mark.parametrize("kind", ["text", "sequence"])
def test_texts_and_sequences_are_recorded(tmp_path: Path, kind: str) -> None:
    """Observations that vary in length have a list entry per row."""
    inner = Counting((2,))
    box = gymnasium.spaces.Box(0, 9, (2,), np.float32)
    inner.observation_space = gymnasium.spaces.Text(9) if kind == "text" else gymnasium.spaces.Sequence(box)
    said: list[Any] = (
        ["a", "", "bcd"] if kind == "text" else [(), (np.ones(2, np.float32),) * 2, (np.zeros(2, "f4"),)]
    )
    inner._observation = lambda _: said[inner.count]
    env = RecordEpisode(inner, str(tmp_path))
    env.reset()
    for action in actions_of(inner.action_space, 2):
        env.step(action)
    env.close()
    found = load_episode(tmp_path / "episode_0.npz").observations
    if kind == "text":
        assert [*found] == said
    else:
        assert [f.tolist() for f in found] == [np.array(s).reshape(-1, 2).tolist() for s in said]
