"""Samples that are batches of images: one video of all, or one of each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from killing import kill
from recd_client import NPZFile, OptionError, OutputExistsError, Recorder, SchemaError, VideoFile
from recd_client.errors import StreamExistsError
from recordings import (
    LEVELS,
    decoded,
    encoder_of,
    manifest_of,
    npz,
    numbered,
    numbers,
    proved,
    run_python,
    worker_of,
)
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


def batch(i: int, count: int = 3, shape: tuple[int, ...] = (48, 64, 3)) -> NDArray[np.uint8]:
    """The image of environment ``e`` tells the number ``i + 10 * e``."""
    return np.stack([numbered(i + 10 * e, shape) for e in range(count)])


def told(i: int, e: int) -> int:
    """What that image says."""
    return (i + 10 * e) % LEVELS


def files_of(directory: Path) -> list[dict[str, Any]]:
    """What the manifest says of the files of stream ``v``."""
    return list(manifest_of(directory)["streams"]["v"]["files"])


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (5, 2, 3), (9, 3, 3)]
)
def test_a_tiled_video_shows_all_side_by_side(tmp_path: Path, count: int, rows: int, columns: int) -> None:
    """Environment 0 is at the top left, the next one to its right; what is left of the grid is black."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", batch="tile"))
        for i in range(4):
            assert stream.write(batch(i, count))
    proved(tmp_path)
    (file,) = files_of(tmp_path)
    assert file["video"]["batch"] == {"images": count, "rows": rows, "columns": columns}
    for i, frame in enumerate(decoded(tmp_path / "v.mp4")):
        cells = frame.reshape(rows, 48, columns, 64, 3).swapaxes(1, 2).reshape(-1, 48, 64, 3)
        levels = [round((float(cell[4:-4, 4:-4].mean()) - 10) / 6) for cell in cells[:count]]
        assert levels == [told(i, e) for e in range(count)]
        assert all(cell[4:-4, 4:-4].max() <= 2 for cell in cells[count:])


def test_separate_videos_have_each_their_own_images(tmp_path: Path) -> None:
    """``stem_env0.mp4``, ... hold the images of one environment each; the manifest has a table for every one."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("film.mp4", batch="separate"), NPZFile("v.npz"))
        for i in range(20):
            assert stream.write(batch(i))
        assert [Path(f).name for f in stream.files] == [*(f"film_env{e}.mp4" for e in range(3)), "v.npz"]
    proved(tmp_path)
    for e in range(3):
        assert numbers(tmp_path / f"film_env{e}.mp4") == [told(i, e) for i in range(20)]
        video = files_of(tmp_path)[e]["video"]
        assert video["batch"] == {"images": 3, "image": e}
        assert video["frames"]["seq"] == [*range(20)]
    np.testing.assert_array_equal(npz(tmp_path / "v.npz")["data"], [batch(i) for i in range(20)])


def test_one_image_of_a_batch_can_be_filmed_alone(tmp_path: Path) -> None:
    """``batch=1`` is the second environment, under the file's own name."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", batch=1))
        for i in range(5):
            stream.write(batch(i))
    proved(tmp_path)
    assert numbers(tmp_path / "v.mp4") == [told(i, 1) for i in range(5)]


def test_a_declared_batch_can_be_claimed(tmp_path: Path) -> None:
    """With ``like`` the files are known at once, and each batch is rendered straight into shared memory."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", batch="separate"), like=batch(0))
        assert [Path(f).name for f in stream.files] == ["v_env0.mp4", "v_env1.mp4", "v_env2.mp4"]
        for i in range(5):
            with stream.claim() as images:
                images[...] = batch(i)
        with pytest.raises(OptionError, match="fits 3 of its files"):
            stream.close("w.mp4")
        stream.close(fps=10)
    proved(tmp_path)
    for e in range(3):
        assert numbers(tmp_path / f"v_env{e}.mp4") == [told(i, e) for i in range(5)]
        assert files_of(tmp_path)[e]["video"]["fps"] == 10


@pytest.mark.parametrize("how", ["tile", "separate"])
def test_batches_of_gray_images_of_odd_size(tmp_path: Path, how: str) -> None:
    """Images without channels, ``(N, H, W)``, are as good, and float ones are scaled."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", batch=how, scale=(0, 255)))
        for i in range(5):
            stream.write(batch(i, 2, (31, 45)).astype(np.float32))
    proved(tmp_path)
    names = ["v_env0.mp4", "v_env1.mp4"] if how == "separate" else ["v.mp4"]
    for e, name in enumerate(names):
        seen = decoded(tmp_path / name)[:, 4:28, 4:40]
        assert [round((float(frame.mean()) - 10) / 6) for frame in seen] == [told(i, e) for i in range(5)]


def test_separate_videos_have_parts_of_their_own(tmp_path: Path) -> None:
    """Each whole reset begins a new file of every environment, a partial one is a mark; a name of none works."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile(batch="separate", save_on_reset=True))
        for part in range(2):
            for i in range(4):
                stream.write(batch(i + 4 * part, 2))
            rec.reset([1])
            rec.reset()
    manifest = proved(tmp_path)
    for e in range(2):
        for part in range(2):
            assert numbers(tmp_path / f"v_env{e}_{part}.mp4") == [told(i + 4 * part, e) for i in range(4)]
    assert [m["fields"]["envs_idx"] for m in manifest["marks"]] == [[1], None] * 2


@pytest.mark.parametrize("victim", ["worker", "encoder", "both"])
@pytest.mark.parametrize("at", [1, 30])
def test_a_death_among_separate_videos_costs_no_frame(tmp_path: Path, victim: str, at: int) -> None:
    """Worker or one ffmpeg of three killed: every video has every frame, once and in order."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", batch="separate"))
        for i in range(60):
            assert stream.write(batch(i))
            if i == at:
                rec.flush()
                pids = (
                    [wait_until(lambda: encoder_of(tmp_path / "v_env1.part.mp4"))]
                    if victim != "worker"
                    else []
                )
                pids += [worker_of(rec, "video-v")] if victim != "encoder" else []
                for pid in pids:
                    kill(pid)
    proved(tmp_path)
    for e in range(3):
        assert numbers(tmp_path / f"v_env{e}.mp4") == [told(i, e) for i in range(60)]


def test_a_simulation_that_dies_leaves_all_its_videos(tmp_path: Path) -> None:
    """SIGKILL after 40 steps: 40 frames of every environment."""
    code = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from recd_client import Recorder, VideoFile
from test_batches import batch
rec = Recorder(dir=sys.argv[1], dt=0.02)
stream = rec.stream("v", VideoFile("v.mp4", batch="separate"))
tile = rec.stream("t", VideoFile("t.mp4", batch="tile"))
for i in range(40):
    assert stream.write(batch(i)) and tile.write(batch(i))
if os.fork() == 0:
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(0)
signal.pause()
"""
    with pytest.raises(AssertionError):  # it did not end by itself
        run_python(code, tmp_path, Path(__file__).parent, Path(__file__).parents[1])
    wait_until(lambda: (tmp_path / "manifest.json").exists())
    manifest = manifest_of(tmp_path)
    assert manifest["state"] == "client died"
    assert {s["samples"] for s in manifest["streams"].values()} == {40}
    for e in range(3):
        assert numbers(tmp_path / f"v_env{e}.mp4") == [told(i, e) for i in range(40)]
    assert len(decoded(tmp_path / "t.mp4")) == 40


def test_files_in_the_way_are_found_before_anything_is_recorded(tmp_path: Path) -> None:
    """The first video's name is looked at when the stream is declared, the others' at the first sample."""
    for name in ("a_env0.mp4", "b_env2.mp4"):
        (tmp_path / name).write_text("mine")
    with Recorder(dir=tmp_path) as rec:
        with pytest.raises(OutputExistsError, match=r"a_env0\.mp4 exists"):
            rec.stream("a", VideoFile("a.mp4", batch="separate"))
        stream = rec.stream("b", VideoFile("b.mp4", batch="separate"))
        with pytest.raises(OutputExistsError, match=r"b_env2\.mp4 exists"):
            stream.write(batch(0))
        rec.stream("c", VideoFile("c_env1.mp4"))
        clash = rec.stream("d", VideoFile("c.mp4", batch="separate"))
        with pytest.raises(StreamExistsError, match=r"c_env1\.mp4 is already written by stream 'c'"):
            clash.write(batch(0))
    assert sorted(p.name for p in tmp_path.glob("*.mp4")) == ["a_env0.mp4", "b_env2.mp4"]
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize(
    ("how", "sample", "words"),
    [
        (None, (4, 48, 64, 3), ["a batch of 4", "batch='tile'", "'separate'"]),
        ("tile", (48, 64, 3), ["batch='tile'", "needs batches", "leave batch out"]),
        ("separate", (48, 64), ["needs batches", "(48, 64) uint8"]),
        ("separate", (65, 8, 8, 3), ["65 images, at most 64", "images[:64]"]),
        (4, (4, 48, 64, 3), ["images 0 to 3"]),
        ("tile", (2, 48, 64, 5), ["needs batches"]),
        ("tile", (3000, 480, 640, 3), ["sides from 1 to 16384"]),
    ],
)
def test_a_sample_that_is_not_what_was_announced_is_refused(
    tmp_path: Path, how: Any, sample: tuple[int, ...], words: list[str]
) -> None:
    """The message names the stream, says what came and what to do, and nothing is left behind."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50, batch=how))
        with pytest.raises((SchemaError, Exception)) as raised:
            stream.write(np.broadcast_to(np.uint8(0), sample))
        for word in words:
            assert word in str(raised.value)
    assert not list(tmp_path.glob("v*"))
    assert not os.path.lexists(tmp_path / ".recd")
