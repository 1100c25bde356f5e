"""Depth and segmentation: every value as it was, in 16 bits, or in colours that tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from killing import kill
from recd.video.colormaps import categories, ramp
from recd_client import Recorder, SchemaError, VideoFile
from recordings import decoded, gray16, manifest_of, proved, worker_of

pytestmark = pytest.mark.usefixtures("shared_runtime")


def record(directory: Path, options: VideoFile, frames: Any, **how: Any) -> dict[str, Any]:
    """Record a video of these frames; what the manifest says of it."""
    with Recorder(dir=directory, dt=0.02) as rec:
        stream = rec.stream("v", options, **how)
        for frame in frames:
            assert stream.write(frame)
    proved(directory)
    (file,) = manifest_of(directory)["streams"]["v"]["files"]
    return dict(file["video"])


@pytest.mark.parametrize("shape", [(48, 64), (31, 45), (31, 45, 1), (2, 3)])
def test_sixteen_bits_come_back_as_they_were(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Noise of uint16, of any size: the file has every bit of it."""
    frames = [np.random.default_rng(i).integers(0, 65536, shape, np.uint16) for i in range(12)]
    told = record(tmp_path, VideoFile("v.mkv", pixel_format="gray16le"), frames)
    np.testing.assert_array_equal(gray16(tmp_path / "v.mkv"), np.reshape(frames, (12, *shape[:2])))
    assert (told["codec"], told["pixel_format"]) == ("ffv1", "gray16le")
    assert "scale" not in told


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_depth_in_sixteen_bits_is_true_to_half_a_step(tmp_path: Path, dtype: type) -> None:
    """Metres become 65,536 levels of a stated range; the manifest's numbers give them back."""
    low, high = (-1000.0, 4000.0) if dtype is np.int32 else (100.5, 110.25)
    rng = np.random.default_rng(0)
    frames = [rng.uniform(low, high, (31, 45)).astype(dtype) for _ in range(4)]
    told = record(tmp_path, VideoFile("v.mkv", pixel_format="gray16le", scale=(low, high)), frames)
    scale = told["scale"]
    assert scale == {"low": low, "high": high, "levels": 65536, "step": (high - low) / 65535}
    metres = scale["low"] + gray16(tmp_path / "v.mkv") * scale["step"]
    exact = np.clip(np.array(frames, np.float64), low, high)  # a float16 may lie beyond what it was made of
    assert np.abs(metres - exact).max() <= 0.5001 * scale["step"]


def test_what_lies_beyond_the_range_is_clipped_and_nan_is_low(tmp_path: Path) -> None:
    """Nothing wraps: infinities and far values are the ends of the range."""
    values = [np.nan, -np.inf, -1e30, 0.0, 10.0, 10.5, 1e30, np.inf]
    frame = np.array([values, values], np.float32)
    record(tmp_path, VideoFile("v.mkv", pixel_format="gray16le", scale=(0, 10)), [frame])
    assert gray16(tmp_path / "v.mkv")[0, 0].tolist() == [0, 0, 0, 0, 65535, 65535, 65535, 65535]


def test_a_killed_worker_costs_no_bit_of_depth(tmp_path: Path) -> None:
    """Two pieces of FFV1 join without a change."""
    frames = [np.random.default_rng(i).integers(0, 65536, (48, 64), np.uint16) for i in range(60)]
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("v", VideoFile("v.mkv", pixel_format="gray16le"))
        for i, frame in enumerate(frames):
            assert stream.write(frame)
            if i == 25:
                rec.flush()
                kill(worker_of(rec, "video-v"))
    proved(tmp_path)
    np.testing.assert_array_equal(gray16(tmp_path / "v.mkv"), frames)


def test_tiled_depth_is_exact_too(tmp_path: Path) -> None:
    """A batch of 16-bit images in a grid: each bit is in its cell."""
    frames = np.random.default_rng(0).integers(0, 65536, (5, 3, 24, 32), np.uint16)
    record(tmp_path, VideoFile("v.mkv", pixel_format="gray16le", batch="tile"), frames)
    cells = gray16(tmp_path / "v.mkv").reshape(5, 2, 24, 2, 32).swapaxes(2, 3).reshape(5, 4, 24, 32)
    np.testing.assert_array_equal(cells[:, :3], frames)
    assert not cells[:, 3].any()


@pytest.mark.parametrize("colormap", ["viridis", "magma", "turbo"])
def test_a_colour_tells_the_depth(tmp_path: Path, colormap: str) -> None:
    """Losslessly encoded, each pixel has the colour that the map gives its place in the range."""
    depth = np.linspace(-1, 12, 64, dtype=np.float32).reshape(1, 64).repeat(48, 0)
    depth[0] = np.nan
    options = VideoFile("v.mkv", codec="ffv1", pixel_format="bgr0", colormap=colormap, scale=(0, 10))
    told = record(tmp_path, options, [depth, depth])
    rows = np.rint(np.clip(np.nan_to_num(depth, nan=0), 0, 10) * 25.5).astype(int)
    np.testing.assert_array_equal(decoded(tmp_path / "v.mkv")[1], ramp(colormap)[rows])
    assert told["colormap"] == colormap
    assert told["scale"]["step"] == 10 / 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64, np.bool_])
def test_each_thing_in_a_segmentation_has_a_colour(tmp_path: Path, dtype: type) -> None:
    """0 is black, 1 to 255 differ from each other, and a number has the same colour in every frame and dtype."""
    numbers: NDArray[Any] = np.arange(256).reshape(16, 16).astype(dtype)
    options = VideoFile("v.mkv", codec="ffv1", pixel_format="bgr0", colormap="categories")
    record(tmp_path, options, [numbers, numbers[::-1]])
    shown = decoded(tmp_path / "v.mkv")
    np.testing.assert_array_equal(shown[0], categories()[numbers.astype(int)])
    np.testing.assert_array_equal(shown[1], shown[0][::-1])


@pytest.mark.parametrize(
    ("options", "sample", "words"),
    [
        ({"pixel_format": "gray16le"}, np.zeros((8, 8), np.float32), ["float32", "scale=(low, high)"]),
        ({"pixel_format": "gray16le"}, np.zeros((8, 8), np.uint8), ["uint8", "pixel_format='gray'"]),
        ({"pixel_format": "gray16le"}, np.zeros((8, 8, 3), np.uint16), ["one value per pixel"]),
        ({"colormap": "viridis"}, np.zeros((8, 8), np.float32), ["float32", "scale=(low, high)"]),
        ({"colormap": "viridis"}, np.zeros((8, 8, 3), np.uint8), ["colormap='viridis'", "one value"]),
        ({"colormap": "categories"}, np.zeros((8, 8), np.float32), ["whole numbers", "float32"]),
        ({}, np.zeros((8, 8), np.uint16), ["uint16", "pixel_format='gray16le'", "colormap='viridis'"]),
        ({}, np.zeros((8, 8, 3), np.float32), ["float32", "black and white"]),
    ],
)
def test_values_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, options: dict[str, Any], sample: NDArray[Any], words: list[str]
) -> None:
    """The message says what came and which option would take it."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mkv", fps=50, **options))
        with pytest.raises(SchemaError, match="stream 'v'") as raised:
            stream.write(sample)
    for word in words:
        assert word in str(raised.value)
