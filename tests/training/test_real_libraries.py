"""LeRobot, robomimic and Minari themselves read what was converted, and find what was recorded.

``RECD_LEROBOT``, ``RECD_ROBOMIMIC`` and ``RECD_MINARI`` name interpreters that have them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from takes import LENGTHS, UNSEEN, column, converted, copy, json_of, picture, record, run_in, seen, steps_of

import recd
from recd.converter import convert
from recd.converter.guess import guess

STEPS = range(sum(LENGTHS))
#: A color is off by so much for the film's and the decoder's sake.
LOSS = 4


@pytest.fixture(scope="module")
def take(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three episodes."""
    return record(tmp_path_factory.mktemp("take") / "walk")


# --- LeRobot --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["video", "image"])
def dataset(take: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """It, as a LeRobot dataset: with films, and with pictures in the rows."""
    out = tmp_path_factory.mktemp("lerobot") / "walk"
    with recd.open(take) as run:
        how = replace(guess(run), target={"images": request.param}, task_from="task")
    convert(take, out, to="lerobot", map=how)
    return out


def lerobot(dataset: Path, home: Path, *arguments: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What LeRobot reads, by key, and what it knows."""
    run_in("lerobot", "lerobot_program.py", dataset, home / "items.npz", *arguments, home=home)
    with np.load(home / "items.npz") as file:
        return dict(file), json_of(home / "items.npz.json")


def same_pictures(found: NDArray[np.uint8], steps: list[int], wrist: bool = False) -> None:
    """These are the pictures of the steps."""
    assert len(found) == len(steps)
    expected = np.array([255 - picture(k) if wrist else picture(k) for k in steps]).astype(int)
    assert np.abs(found.astype(int) - expected).max() <= LOSS


@pytest.mark.requires("lerobot", "pyarrow", "PIL")
def test_lerobot_reads_every_item_as_it_was_recorded(dataset: Path, tmp_path: Path) -> None:
    """Arrays, texts, pictures, times and tasks of each item are those of its step, frames missing or not."""
    items, known = lerobot(dataset, tmp_path)
    assert known["length"] == len(STEPS)
    for name, recorded in (("observation.qpos", "qpos"), ("observation.grid", "grid"), ("observation.cube", "cube"),
                           ("observation.contact", "contact"), ("action", "ctrl"), ("reward", "reward"),
                           ("observation.word", "word")):  # fmt: skip
        assert np.array_equal(items[name], column(recorded, STEPS)), name
    same_pictures(items["observation.images.side"], [*STEPS])
    same_pictures(items["observation.images.front"], [seen(k) for k in STEPS])
    same_pictures(items["observation.images.wrist"], [*STEPS], wrist=True)
    tasks = [f"task {episode % 2}" for episode, length in enumerate(LENGTHS) for _ in range(length)]
    assert items["task"].tolist() == tasks
    assert known["tasks"] == ["task 0", "task 1"]


@pytest.mark.requires("lerobot", "pyarrow", "PIL")
def test_lerobot_finds_neighbours_in_time(dataset: Path, tmp_path: Path) -> None:
    """``delta_timestamps`` gives the steps around each one, held at the ends of its episode; so do chosen episodes."""
    deltas = {
        "observation.qpos": [-0.04, 0.0],
        "observation.images.side": [-0.02, 0.0],
        "action": [0.0, 0.02, 0.04],
    }
    items, known = lerobot(dataset, tmp_path, json.dumps(deltas), json.dumps([1, 2]))
    assert known["episodes"] == 2
    steps = [k for episode in (1, 2) for k in steps_of(episode)]
    around: dict[int, list[int]] = {}
    for shift in (-2, -1, 0, 1, 2):
        around[shift] = [
            min(max(k + shift, steps_of(e)[0]), steps_of(e)[-1]) for e in (1, 2) for k in steps_of(e)
        ]
    for place, shift in enumerate((-2, 0)):
        assert np.array_equal(items["observation.qpos"][:, place], column("qpos", around[shift]))
    for place, shift in enumerate((0, 1, 2)):
        assert np.array_equal(items["action"][:, place], column("ctrl", around[shift]))
        last = [k + shift > steps_of(e)[-1] for e in (1, 2) for k in steps_of(e)]
        assert items["action_is_pad"][:, place].tolist() == last
    same_pictures(items["observation.images.side"][:, 0], around[-1])
    same_pictures(items["observation.images.side"][:, 1], steps)


@pytest.mark.requires("lerobot", "pyarrow", "PIL")
def test_lerobot_computes_the_same_statistics(dataset: Path, tmp_path: Path) -> None:
    """Of an episode's numbers, and of the pictures in its rows or films, LeRobot's statistics stand in the dataset."""
    import pyarrow.parquet as pq

    _, known = lerobot(dataset, tmp_path, "null", "[0]")
    (episode, *_) = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    films = {
        key for key, f in json_of(dataset / "meta/info.json")["features"].items() if f["dtype"] == "video"
    }
    assert {"observation.images.side", "observation.images.thumb"} <= known["own"].keys()
    for key, stats in known["own"].items():
        if key in films and key.endswith(
            "thumb"
        ):  # noise, told of before it was encoded, as LeRobot does it, too
            continue
        low, high = np.array(stats["min"], float), np.array(stats["max"], float)
        for name, values in stats.items():
            ours = episode[f"stats/{key}/{name}"]
            assert np.shape(ours) == np.shape(values), (key, name)
            # Means and deviations in the dtype of the column there, quantiles of bins of that. Of films colours
            # are decoded in another way there.
            near = LOSS / 255 if key in films and name != "count" else 1e-5
            assert (np.abs(np.array(ours, float) - values) <= 1e-3 * (high - low) + near).all(), (key, name)
    for key, stats in known["stats"].items():
        assert {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"} == stats.keys(), key


@pytest.mark.requires("lerobot", "pyarrow", "PIL")
def test_lerobot_looks_at_the_same_pictures(tmp_path: Path) -> None:
    """Of episodes of any length the same frames, and of frames of any size the same pixels."""
    from recd.converter.targets.lerobot.stats import sampled, stride

    run_in("lerobot", "lerobot_program.py", "--sampling", tmp_path / "told.json", home=tmp_path)
    told = json_of(tmp_path / "told.json")
    assert {int(n): chosen for n, chosen in told["sampled"].items()} == {
        int(n): sampled(int(n)) for n in told["sampled"]
    }
    assert told["apart"] == [stride(height, width) for height, width in told["sizes"]]


@pytest.mark.requires("lerobot", "pyarrow", "PIL")
def test_lerobot_goes_on_recording(dataset: Path, tmp_path: Path) -> None:
    """LeRobot adds an episode of its own to a copy, and reads both, the converted ones as before."""
    more = copy(dataset, tmp_path / "more")
    run_in("lerobot", "lerobot_program.py", "--append", more, home=tmp_path)
    items, known = lerobot(more, tmp_path)
    assert known["length"] == len(STEPS) + 5
    assert known["tasks"] == ["task 0", "task 1", "another"]
    assert np.array_equal(items["observation.qpos"][: len(STEPS)], column("qpos", STEPS))
    assert items["observation.qpos"][-5:, 0].tolist() == [0, 1, 2, 3, 4]
    same_pictures(items["observation.images.side"][: len(STEPS)], [*STEPS])


# --- robomimic ------------------------------------------------------------------------------------------


@pytest.mark.requires("robomimic")
def test_robomimic_reads_every_step_as_it_was_recorded(take: Path, tmp_path: Path) -> None:
    """``SequenceDataset`` has each step, with what it led to, whether it keeps the file in memory or not."""
    out = tmp_path / "walk.hdf5"
    converted(take, out, "robomimic")
    run_in("robomimic", "robomimic_program.py", out, tmp_path / "items", "qpos,grid,contact", home=tmp_path)
    ahead = [min(k + 1, steps_of(e)[-1]) for e in range(len(LENGTHS)) for k in steps_of(e)]
    for cache in ("all", "None"):
        with np.load(tmp_path / f"items-{cache}.npz") as items:
            assert np.array_equal(items["actions"], column("ctrl", STEPS))
            assert np.array_equal(items["rewards"], column("reward", STEPS))
            assert np.array_equal(items["obs/qpos"], column("qpos", STEPS))
            assert np.array_equal(items["obs/grid"], column("grid", STEPS))
            assert np.array_equal(items["obs/contact"][:, 0], column("contact", STEPS))
            assert np.array_equal(items["next_obs/qpos"], column("qpos", ahead))
            assert np.flatnonzero(items["dones"]).tolist() == [steps_of(e)[-1] for e in range(len(LENGTHS))]


@pytest.mark.requires("robomimic")
def test_robomimic_takes_a_part(take: Path, tmp_path: Path) -> None:
    """A mask chooses the episodes of training, or those that succeeded."""
    out = tmp_path / "walk.hdf5"
    converted(take, out, "robomimic", {"validation": 0.34})
    with h5py.File(out) as file:
        trained = [int(name[5:]) for name in file["mask/train"]]
    for mask, episodes in (("train", trained), ("success", [0, 2])):
        run_in("robomimic", "robomimic_program.py", out, tmp_path / mask, "qpos", mask, home=tmp_path)
        with np.load(tmp_path / f"{mask}-all.npz") as items:
            steps = [k for episode in sorted(episodes) for k in steps_of(episode)]
            assert np.array_equal(items["obs/qpos"], column("qpos", steps))


# --- Minari ---------------------------------------------------------------------------------------------


@pytest.mark.requires("minari")
def test_minari_reads_every_step_as_it_was_recorded(take: Path, tmp_path: Path) -> None:
    """``load_dataset`` has each step in its space, pictures too, and knows the dataset by its name."""
    out = tmp_path / "walks" / "walk-v0"
    out.parent.mkdir()
    converted(take, out, "minari", {"dataset_id": "walks/walk-v0"})
    run_in("minari", "minari_program.py", "walks/walk-v0", tmp_path / "items.npz", home=tmp_path)
    known = json_of(tmp_path / "items.npz.json")
    assert (known["id"], known["episodes"], known["steps"]) == ("walks/walk-v0", 3, len(STEPS))
    assert (known["sampled"], known["listed"]) == (2, ["walks/walk-v0"])
    written = json_of(out / "data/metadata.json")
    assert known["spaces"] == [written["observation_space"], written["action_space"]]
    with np.load(tmp_path / "items.npz") as items:
        for episode, length in enumerate(LENGTHS):
            steps = steps_of(episode)
            assert np.array_equal(items[f"{episode}/actions"], column("ctrl", steps))
            assert np.array_equal(items[f"{episode}/rewards"], column("reward", steps))
            qpos = items[f"{episode}/observations/qpos"]
            assert len(qpos) == length + 1
            assert np.array_equal(qpos[:length], column("qpos", steps))
            same_pictures(items[f"{episode}/observations/images/front"][:length], [seen(k) for k in steps])
            assert np.array_equal(
                items[f"{episode}/observations/images/thumb"][:length], column("thumb", steps)
            )


def test_the_recording_has_gaps() -> None:
    """Frames are missing in the middle of episodes, two of them in a row: what the tests above hold on to."""
    assert all(k not in (steps_of(e)[0] for e in range(len(LENGTHS))) for k in UNSEEN)
    assert UNSEEN[1] == UNSEEN[0] + 1
