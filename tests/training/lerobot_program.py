"""Runs where LeRobot is installed: what ``LeRobotDataset`` reads of a dataset, and its own statistics of it.

``lerobot_program.py DATASET OUT [DELTAS] [EPISODES]``: every item goes into ``OUT`` (npz), pictures as uint8, and
what is known of the dataset into ``OUT.json``. ``--append DATASET`` records one more episode, ``--sampling OUT`` tells
what of pictures statistics are made of, ``--run PROGRAM`` runs another program.

LeRobot's packages need two things that not every environment has. torchvision's compiled operators (they come for
CUDA) are declared without being there: a dataset uses none of them. torchcodec wants FFmpeg's libraries under their
own names: those that PyAV brings are linked under these, and the program begins again.
"""

import json
import os
import re
import runpy
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

LINKED = "RECD_TEST_FFMPEG"


def with_ffmpeg() -> None:
    """Begin again, with PyAV's libraries of FFmpeg where the loader finds them."""
    brought = Path(find_spec("av").origin).parent.with_name("av.libs")
    links = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
    for path in brought.glob("lib*.so.*"):
        if named := re.fullmatch(r"(lib(?:av|sw)\w+)-\w+\.so\.(\d+)\..*", path.name):
            (links / f"{named[1]}.so.{named[2]}").symlink_to(path)
    found = {**os.environ, LINKED: str(links), "LD_LIBRARY_PATH": f"{links}:{brought}"}
    os.execve(sys.executable, [sys.executable, *sys.argv], found)


if LINKED not in os.environ:
    with_ffmpeg()

import numpy as np  # noqa: E402
import torch  # noqa: E402

try:
    import torchvision  # noqa: F401
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]

from lerobot.datasets.compute_stats import (  # noqa: E402
    auto_downsample_height_width,
    compute_episode_stats,
    get_feature_stats,
    sample_indices,
)
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402


def plain(value):
    """A value of an item, for numpy."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.ndim >= 3 and value.shape[-3] == 3:  # pictures: (..., 3, H, W), 0 to 1
        return (value.movedim(-3, -1) * 255).round().to(torch.uint8).numpy()
    return value.numpy()


def read(root: str, out: str, deltas: str = "null", episodes: str = "null") -> None:
    """Write down all that LeRobot reads."""
    dataset = LeRobotDataset(
        "recd/test", root=root, delta_timestamps=json.loads(deltas), episodes=json.loads(episodes)
    )
    items = [dataset[i] for i in range(len(dataset))]
    np.savez(out, **{key: np.array([plain(item[key]) for item in items]) for key in items[0]})
    columns = dataset.hf_dataset.with_format("numpy")
    numbers = {
        key: f for key, f in dataset.features.items() if f["dtype"] not in ("video", "image", "string")
    }
    rows = np.flatnonzero(np.array(columns["episode_index"]) == columns["episode_index"][0])
    values = {key: np.stack([np.asarray(columns[int(i)][key]) for i in rows]) for key in numbers}
    own = compute_episode_stats(values, numbers)
    for key, f in dataset.features.items():
        if f["dtype"] in ("video", "image") and deltas == "null":
            own[key] = picture_stats([plain(items[i][key]) for i in range(len(rows))])
    told = {
        "length": len(dataset),
        "episodes": dataset.num_episodes,
        "tasks": dataset.meta.tasks.index.tolist(),
        "own": {
            key: {name: np.asarray(v).tolist() for name, v in stats.items()} for key, stats in own.items()
        },
        "stats": {
            key: {name: np.asarray(v).tolist() for name, v in stats.items()}
            for key, stats in dataset.meta.stats.items()
        },
    }
    Path(f"{out}.json").write_text(json.dumps(told))


def picture_stats(pictures: list) -> dict:
    """As LeRobot computes them of an episode's files; in wide numbers, as squares of uint8 wrap there."""
    looked_at = [
        auto_downsample_height_width(pictures[i].transpose(2, 0, 1)) for i in sample_indices(len(pictures))
    ]
    found = get_feature_stats(np.array(looked_at, np.float64), axis=(0, 2, 3), keepdims=True)
    return {name: v if name == "count" else np.squeeze(v / 255.0, axis=0) for name, v in found.items()}


def sampling(out: str) -> None:
    """Write down which frames LeRobot looks at of episodes of so many, and how many pixels apart of such sizes."""
    lengths = [1, 2, 99, 100, 101, *range(460, 560), 1000, 5000, 30_000]
    sizes = [(48, 64), (299, 299), (300, 10), (300, 300), (480, 640), (640, 480), (722, 1280), (1080, 1920)]
    looked_at = [auto_downsample_height_width(np.arange(h * w).reshape(1, h, w)) for h, w in sizes]
    apart = [int(each[0, 0, 1]) for each in looked_at]
    told = {"sampled": {n: sample_indices(n) for n in lengths}, "sizes": sizes, "apart": apart}
    Path(out).write_text(json.dumps(told))


def append(root: str) -> None:
    """Record one more episode into the dataset, with LeRobot."""
    dataset = LeRobotDataset("recd/test", root=root, vcodec="h264")
    own = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    for k in range(5):
        frame = {"task": "another"}
        for key, f in dataset.features.items():
            if f["dtype"] == "string":
                frame[key] = f"own {k}"
            elif f["dtype"] in ("video", "image"):
                frame[key] = np.full(f["shape"], 10 * k, np.uint8)
            elif key not in own:
                frame[key] = np.full(f["shape"], k, f["dtype"])
        dataset.add_frame(frame)
    dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    verbs = {"--append": append, "--run": runpy.run_path, "--sampling": sampling}
    if sys.argv[1] in verbs:
        verbs[sys.argv[1]](*sys.argv[2:])
    else:
        read(*sys.argv[1:])
