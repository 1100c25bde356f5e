"""Episodes as a LeRobot dataset: its files, and every value in them, read with pyarrow and ffmpeg alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from takes import DT, LENGTHS, SIZE, column, converted, json_of, picture, record, seen, steps_of

import recd
from recd.converter import convert, mapping
from recd.converter.guess import guess
from recd.video.files import describe
from recd_client.errors import OptionError
from recordings import decoded

if find_spec("pyarrow"):
    import pyarrow.parquet as pq

pytestmark = pytest.mark.requires("pyarrow", "PIL")
LOSS = 3
CAMERA = "observation.images."


@pytest.fixture(scope="module")
def take(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three episodes."""
    return record(tmp_path_factory.mktemp("take") / "walk")


@pytest.fixture(scope="module")
def dataset(take: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, with the guessed map and a task for each episode."""
    return made(take, tmp_path_factory.mktemp("lerobot") / "walk")


def made(take: Path, out: Path, **target: Any) -> Path:
    """The recording as a LeRobot dataset."""
    with recd.open(take) as run:
        how = replace(guess(run), target=target, task_from="task", robot="walker")
    convert(take, out, to="lerobot", map=how)
    return out


def rows(dataset: Path, kind: str = "data") -> list[dict[str, Any]]:
    """All rows of the data files, or of those about episodes, in the order of their files."""
    return [
        row
        for path in sorted((dataset / kind).glob("*/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def frames(dataset: Path, key: str, episode: dict[str, Any]) -> np.ndarray:
    """The frames of an episode, found as LeRobot finds them: by its file and from where on they are in it."""
    chunk, file = (episode[f"videos/{CAMERA}{key}/{part}_index"] for part in ("chunk", "file"))
    path = dataset / f"videos/{CAMERA}{key}/chunk-{chunk:03d}/file-{file:03d}.mp4"
    begin, end = (episode[f"videos/{CAMERA}{key}/{end}_timestamp"] / DT for end in ("from", "to"))
    assert begin == pytest.approx(round(begin))
    assert end == pytest.approx(round(end))
    return decoded(path)[round(begin) : round(end)]


def same_pictures(found: np.ndarray, steps: Sequence[int], wrist: bool = False) -> None:
    """These are the pictures of the steps."""
    assert len(found) == len(steps)
    for image, k in zip(found, steps, strict=True):
        expected = 255 - picture(k) if wrist else picture(k)
        assert np.abs(image.astype(int) - expected).max() <= LOSS


def test_rows_hold_what_was_recorded(dataset: Path) -> None:
    """Each row has the values of its step, in their dtypes, and LeRobot's own columns."""
    found = rows(dataset)
    assert len(found) == sum(LENGTHS)
    for episode, length in enumerate(LENGTHS):
        begin = steps_of(episode)[0]
        part = found[begin : begin + length]
        for name, recorded in (("observation.qpos", "qpos"), ("observation.grid", "grid"), ("action", "ctrl"),
                               ("observation.cube", "cube"), ("reward", "reward"), ("observation.contact", "contact"),
                               ("observation.word", "word")):  # fmt: skip
            assert np.array_equal([row[name] for row in part], column(recorded, steps_of(episode))), name
        assert [row["frame_index"] for row in part] == [*range(length)]
        assert {row["episode_index"] for row in part} == {episode}
        assert [row["index"] for row in part] == [*steps_of(episode)]
        assert {row["task_index"] for row in part} == {episode % 2}


def test_times_are_those_of_the_rate_exactly(dataset: Path) -> None:
    """``timestamp`` is float32 of ``frame_index / fps``."""
    table = pq.read_table(dataset / "data/chunk-000/file-000.parquet")
    expected = (table["frame_index"].to_numpy() / 50).astype(np.float32)
    assert str(table["timestamp"].type) == "float"
    assert np.array_equal(table["timestamp"].to_numpy(), expected)


def test_columns_are_as_lerobot_writes_them(dataset: Path) -> None:
    """Vectors are lists of fixed size, and what the library `datasets` wants to know of each column is there."""
    schema = pq.read_schema(dataset / "data/chunk-000/file-000.parquet")
    assert str(schema.field("observation.qpos").type) == "fixed_size_list<element: float>[3]"
    told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert told["observation.qpos"] == {
        "feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "List"
    }  # fmt: skip
    assert told["observation.grid"] == {"shape": [2, 3], "dtype": "float32", "_type": "Array2D"}
    assert list(told) == schema.names
    assert schema.names[-5:] == ["timestamp", "frame_index", "episode_index", "index", "task_index"]


def test_info(dataset: Path) -> None:
    """What the dataset holds: totals, rate, robot, and each feature with its shape and names."""
    info = json_of(dataset / "meta/info.json")
    totals = {
        "total_episodes": 3,
        "total_frames": sum(LENGTHS),
        "total_tasks": 2,
        "fps": 50,
        "robot_type": "walker",
    }
    assert {key: info[key] for key in totals} == totals
    assert info["codebase_version"] == "v3.0"
    assert info["splits"] == {"train": "0:3"}
    features = info["features"]
    assert features["observation.qpos"] == {"dtype": "float32", "shape": [3], "names": None}
    assert features["reward"] == {"dtype": "float64", "shape": [1], "names": None}
    front = features[f"{CAMERA}front"]
    assert (front["dtype"], front["shape"], front["names"]) == (
        "video",
        [*SIZE, 3],
        ["height", "width", "channels"],
    )
    assert front["info"]["video.fps"] == 50
    assert front["info"]["video.codec"] == "h264"


def test_tasks_are_the_index(dataset: Path) -> None:
    """The tasks stand in the index of the pandas table, each once, in the order in which they came."""
    table = pq.read_table(dataset / "meta/tasks.parquet")
    told = json.loads(table.schema.metadata[b"pandas"])
    assert told["index_columns"] == ["__index_level_0__"]
    assert table["__index_level_0__"].to_pylist() == ["task 0", "task 1"]
    assert table["task_index"].to_pylist() == [0, 1]


def test_episodes(dataset: Path) -> None:
    """Of each episode: its rows, its task, its files; what LeRobot has no place for stands beside."""
    for index, episode in enumerate(rows(dataset, "meta/episodes")):
        steps = steps_of(index)
        assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (steps[0], steps[-1] + 1)
        assert (episode["episode_index"], episode["length"]) == (index, LENGTHS[index])
        assert episode["tasks"] == [f"task {index % 2}"]
        qpos = column("qpos", steps)
        assert episode["stats/observation.qpos/mean"] == pytest.approx(qpos.mean(axis=0), abs=1e-6)
        assert episode["stats/observation.qpos/max"] == qpos.max(axis=0).tolist()
    beside = json_of(dataset / "meta/recd.json")["episodes"]
    assert [episode["success"] for episode in beside] == [True, False, True]


def test_films_are_copied_where_they_can_be(take: Path, dataset: Path) -> None:
    """Each episode's pictures are in its stretch; of films without gaps they are the recording's very packets."""
    for index, episode in enumerate(rows(dataset, "meta/episodes")):
        steps = steps_of(index)
        same_pictures(frames(dataset, "wrist", episode), steps, wrist=True)
        same_pictures(frames(dataset, "side", episode), steps)
        same_pictures(frames(dataset, "front", episode), [seen(k) for k in steps])
        assert np.array_equal(
            frames(dataset, "side", episode), decoded(take / "side.mp4")[steps[0] : steps[-1] + 1]
        )
        assert np.array_equal(frames(dataset, "wrist", episode), decoded(take / f"wrist_{index}.mp4"))
    (side,) = dataset.glob(f"videos/{CAMERA}side/*/*.mp4")
    assert describe(side).frames == sum(LENGTHS)  # one film, and no frame of it twice


def test_some_episodes_of_a_film(take: Path, tmp_path: Path) -> None:
    """A stretch in the middle of a film begins at the keyframe before it, and the episode where it should."""
    out = tmp_path / "walk"
    converted(take, out, "lerobot", episodes="2", streams=["state", "side"])
    (episode,) = rows(out, "meta/episodes")
    same_pictures(frames(out, "side", episode), steps_of(2))
    first = steps_of(2)[0]
    assert episode[f"videos/{CAMERA}side/from_timestamp"] == pytest.approx((first - first // 12 * 12) * DT)
    (side,) = out.glob(f"videos/{CAMERA}side/*/*.mp4")
    assert describe(side).frames == sum(LENGTHS) - first // 12 * 12


@pytest.mark.parametrize("target", [{"rewrap": "no"}, {"images": "image"}], ids=["encoded", "images"])
def test_pictures_in_other_ways(take: Path, tmp_path: Path, target: dict[str, Any]) -> None:
    """Films are encoded anew if that is asked for, with keyframes close by; or every picture is a PNG in its row."""
    out = made(take, tmp_path / "walk", **target)
    if "images" in target:
        from io import BytesIO

        from PIL import Image

        found = [np.array(Image.open(BytesIO(row[f"{CAMERA}front"]["bytes"]))) for row in rows(out)]
        same_pictures(np.array(found), [seen(k) for k in range(sum(LENGTHS))])
        thumbs = [np.array(Image.open(BytesIO(row[f"{CAMERA}thumb"]["bytes"]))) for row in rows(out)]
        assert np.array_equal(thumbs, column("thumb", range(sum(LENGTHS))))
        assert not (out / "videos").exists()
        assert json_of(out / "meta/info.json")["video_path"] is None
    else:
        for index, episode in enumerate(rows(out, "meta/episodes")):
            same_pictures(frames(out, "side", episode), steps_of(index))


def test_a_lost_row_shifts_nothing(shared_runtime: Path, tmp_path: Path) -> None:
    """Where samples are missing, the row of that time holds the one before, and every other row its own."""
    from recd_client import NPZFile, Recorder

    missing = {10, 11, 12, 40}
    with Recorder("gaps", dir=tmp_path / "gaps", dt=DT) as rec:
        state = rec.stream("state", NPZFile("state.npz"))
        for k in range(60):
            if k not in missing:
                state.write({"qpos": np.full(2, k, np.float32), "ctrl": np.float32(-k)}, t=k * DT)
    done = converted(tmp_path / "gaps", tmp_path / "set", "lerobot")
    held = [9 if k in (10, 11, 12) else 39 if k == 40 else k for k in range(60)]
    found = rows(tmp_path / "set")
    assert [row["observation.qpos"] for row in found] == [[k, k] for k in held]
    assert [row["action"] for row in found] == [-k for k in held]
    assert any("gaps" in problem for problem in done.problems)


ACTION = '[features.action]\nfrom = "state/ctrl"'


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([ACTION, '[features.timestamp]\nfrom = "state/qpos"'], "timestamp"),
        ([ACTION, '[features.task]\nfrom = "state/qpos"'], "task itself"),
        (["[target]\nvideo_files_size_in_mb = 0", ACTION], "at least 1"),
        (
            [ACTION, '[features.deep]\nfrom = "state/thumb"\nkind = "image"\ndtype = "uint16"'],
            "uint8 with 1 or 3 channels",
        ),
    ],
)
def test_what_it_cannot_hold(take: Path, tmp_path: Path, features: list[str], says: str) -> None:
    """A map that makes no LeRobot dataset is refused before anything is written."""
    with pytest.raises(OptionError, match=says):
        convert(take, tmp_path / "walk", to="lerobot", map=mapping.parse("\n".join(features)))
    assert not list(tmp_path.iterdir())


def test_a_fraction_as_rate(take: Path, tmp_path: Path) -> None:
    """A rate that is no whole number is kept, in the rows' times and in the films."""
    out = tmp_path / "walk"
    converted(take, out, "lerobot", fps=100 / 3, streams=["state", "side"])
    assert json_of(out / "meta/info.json")["fps"] == pytest.approx(100 / 3)
    assert describe(next(out.glob("videos/*/*/*.mp4"))).fps == Fraction(100, 3)
    first = rows(out)[: rows(out, "meta/episodes")[0]["length"]]
    assert [row["timestamp"] for row in first] == [float(np.float32(k * 0.03)) for k in range(len(first))]


def test_odd_sizes_and_gray_pictures(shared_runtime: Path, tmp_path: Path) -> None:
    """Films with padding, and of gray, become films of just their pictures, in three channels."""
    from recd_client import NPZFile, Recorder, VideoFile

    with Recorder("odd", dir=tmp_path / "odd", dt=DT) as rec:
        state = rec.stream("state", NPZFile("state.npz"))
        odd = rec.stream("odd", VideoFile("odd.mp4", fps=50))
        gray = rec.stream("gray", VideoFile("gray.mkv", fps=50, codec="ffv1", pixel_format="gray"))
        for k in range(20):
            state.write({"ctrl": np.float32(k)}, t=k * DT)
            odd.write(np.full((33, 47, 3), 10 * k, np.uint8), t=k * DT)
            gray.write(np.full((33, 47), 10 * k, np.uint8), t=k * DT)
    converted(tmp_path / "odd", tmp_path / "set", "lerobot")
    (episode,) = rows(tmp_path / "set", "meta/episodes")
    info = json_of(tmp_path / "set/meta/info.json")
    for name in ("odd", "gray"):
        assert info["features"][CAMERA + name]["shape"] == [33, 47, 3]
        found = frames(tmp_path / "set", name, episode)
        assert found.shape == (20, 33, 47, 3)
        assert np.abs(found.astype(int) - 10 * np.arange(20)[:, None, None, None]).max() <= LOSS
        mean = np.ravel(episode[f"stats/{CAMERA}{name}/mean"]) * 255
        assert np.abs(mean - 95).max() <= LOSS
