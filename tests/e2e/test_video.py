"""What a video file shows: every frame once, in order, in its colours, at its time."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from recd_client import DataLossWarning, Recorder, VideoFile
from recordings import (
    decoded,
    encoder_of,
    manifest_of,
    npz,
    numbered,
    numbers,
    proved,
    shown_at,
    stopped,
    worker_of,
)
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


def video_of(directory: Path, stream: str = "v") -> dict[str, Any]:
    """What the manifest says of a stream's one video."""
    (file,) = manifest_of(directory)["streams"][stream]["files"]
    return dict(file["video"])


def record(directory: Path, options: VideoFile, frames: list[NDArray[Any]], **how: Any) -> Path:
    """A finished video of these frames."""
    with Recorder(dir=directory) as rec:
        stream = rec.stream("v", options, **how)
        for i, frame in enumerate(frames):
            assert stream.write(frame, t=i / 50)
        (path,) = rec.close().files
    proved(directory)
    return path


def test_every_frame_is_there_once_and_in_order(tmp_path: Path) -> None:
    """200 frames written as fast as can be: the gray level of each says that it is the right one."""
    path = record(tmp_path, VideoFile("v.mp4", fps=50), [numbered(i) for i in range(200)])
    assert numbers(path) == [i % 40 for i in range(200)]
    np.testing.assert_allclose(shown_at(path), np.arange(200) / 50, atol=1e-6)
    frames = video_of(tmp_path)["frames"]
    assert frames["seq"] == [*range(200)]
    assert frames["t"] == [i / 50 for i in range(200)]
    assert frames["step"] == [-1] * 200
    assert frames["repeated"] == []
    clocks = manifest_of(tmp_path)["clocks"]
    assert clocks["start_wall_ns"] <= frames["wall_ns"][0] <= frames["wall_ns"][-1] <= clocks["end_wall_ns"]
    assert frames["wall_ns"] == sorted(frames["wall_ns"])


def test_a_decoded_frame_has_the_colours_that_were_rendered(tmp_path: Path) -> None:
    """Flat colours come back within 4 of 255 from every channel, through the default codec and format."""
    colours = [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
        (200, 120, 40),
        (90, 90, 200),
    ]
    frames = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    shown = decoded(record(tmp_path, VideoFile("v.mp4", fps=50), frames))
    for frame, colour in zip(shown, colours, strict=True):
        assert np.abs(frame.astype(int) - colour).max() <= 4, colour


def test_a_picture_keeps_its_shape_and_orientation(tmp_path: Path) -> None:
    """A quadrant of each colour is where it was, also when the frames come as flipped views."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    shown = decoded(record(tmp_path, VideoFile("v.mp4", fps=50), [picture[::-1], picture[:, ::-1]]))
    inner = (slice(4, 20), slice(4, 28))
    assert np.abs(shown[0][::-1][inner].astype(int) - (220, 30, 30)).max() <= 6
    assert np.abs(shown[1][:, ::-1][inner].astype(int) - (220, 30, 30)).max() <= 6


@pytest.mark.parametrize(
    "shape", [(48, 64), (48, 64, 1), (48, 64, 3), (48, 64, 4), (47, 63, 3), (17, 33), (1, 1)]
)
def test_frames_of_any_size_and_kind_of_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Gray, RGB and RGBA; odd sides are padded to even ones, which the manifest tells."""
    path = record(tmp_path, VideoFile("v.mp4", fps=50), [numbered(i, shape) for i in range(10)])
    height, width = shape[:2]
    told = video_of(tmp_path)
    assert numbers(path) == [*range(10)]
    assert told["padding"] == {"right": width % 2, "bottom": height % 2}
    assert (told["width"], told["height"]) == (width + width % 2, height + height % 2)
    assert decoded(path).shape[1:3] == (told["height"], told["width"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint16, np.int32, np.bool_])
def test_other_numbers_are_scaled_when_asked_for(tmp_path: Path, dtype: type) -> None:
    """``scale=(low, high)`` makes low black and high white; what lies beyond is clipped, nothing wraps."""
    low, high = (0, 1) if dtype in (np.bool_,) else (100, 300)
    values = [low, high] if dtype == np.bool_ else [0, 100, 200, 300, 1000]
    expected = [0, 255] if dtype == np.bool_ else [0, 0, 127.5, 255, 255]
    frames = [np.full((32, 32), value, dtype) for value in values]
    shown = decoded(record(tmp_path, VideoFile("v.mp4", fps=50, scale=(low, high)), frames))
    np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), expected, atol=2)


@pytest.mark.parametrize("fps", ["30000/1001", Fraction(24000, 1001), 29.97, 12.5, 60, "1/2"])
def test_the_frame_rate_is_exact(tmp_path: Path, fps: Any) -> None:
    """Frame i is shown at i / fps, and the manifest has the ratio."""
    path = record(tmp_path, VideoFile("v.mp4", fps=fps), [numbered(i) for i in range(12)])
    exact = Fraction(fps).limit_denominator(1001)
    assert Fraction(video_of(tmp_path)["fps_fraction"]) == exact
    np.testing.assert_allclose(shown_at(path), [float(i / exact) for i in range(12)], rtol=1e-4)


@pytest.mark.parametrize(
    ("dt", "hz", "expected"), [(0.02, None, 50), (0.001, 25, 25), (None, None, 30), (None, 20, 20)]
)
def test_without_a_rate_it_is_the_streams(
    tmp_path: Path, dt: float | None, hz: float | None, expected: int
) -> None:
    """``fps`` defaults to the stream's hz, else one frame per step, else 30."""
    with Recorder(dir=tmp_path, dt=dt) as rec:
        stream = rec.stream("v", VideoFile("v.mp4"), hz=hz)
        for i in range(3):
            stream.write(numbered(i), t=float(i))
    assert video_of(tmp_path)["fps"] == expected


def test_ffv1_in_mkv_is_lossless(tmp_path: Path) -> None:
    """Every pixel of noise comes back as it was."""
    frames = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(8)]
    options = VideoFile("v.mkv", fps=50, codec="ffv1", pixel_format="bgr0")
    path = record(tmp_path, options, frames)
    np.testing.assert_array_equal(decoded(path), frames)
    assert video_of(tmp_path)["codec"] == "ffv1"


def test_gray_ffv1_is_lossless_too(tmp_path: Path) -> None:
    """A depth image in gray, of odd size: not padded, every value as it was."""
    frames = [np.random.default_rng(i).integers(0, 256, (31, 45), np.uint8) for i in range(4)]
    path = record(tmp_path, VideoFile("v.mkv", fps=50, codec="ffv1", pixel_format="gray"), frames)
    np.testing.assert_array_equal(decoded(path)[..., 0], frames)


def test_options_of_the_encoder_are_heeded(tmp_path: Path) -> None:
    """A worse quality makes a smaller file; the title is in it; suffixes may be upper-case."""
    noise = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8) for i in range(10)]
    good = record(
        tmp_path / "good", VideoFile("V.MP4", fps=50, codec="libx264", crf=10, name="a walk"), noise
    )
    bad = record(
        tmp_path / "bad",
        VideoFile("v.mov", fps=50, codec="h264", crf=45, codec_options={"preset": "fast", "g": 5}),
        noise,
    )
    assert bad.stat().st_size < good.stat().st_size / 3
    assert good.name == "V.MP4"
    probed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(good)], capture_output=True, text=True
    ).stderr
    assert "title           : a walk" in probed
    assert "mov,mp4" in probed


def test_a_title_survives_another_name_and_rate(tmp_path: Path) -> None:
    """What was renamed, retimed and put into another container still has its title and all frames."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50, name="a walk"))
        for i in range(10):
            stream.write(numbered(i), t=i / 50)
        stream.close("w.mkv", fps=10)
    proved(tmp_path)
    path = tmp_path / "w.mkv"
    probed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True
    ).stderr
    assert "matroska" in probed
    assert "a walk" in probed
    assert numbers(path) == [*range(10)]
    np.testing.assert_allclose(shown_at(path), np.arange(10) / 10, atol=2e-3)


def test_a_loss_repeats_the_previous_frame(tmp_path: Path) -> None:
    """Frames that found no room are filled up by the one before: later ones keep their place in time."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50), like=numbered(0), buffer_bytes=150_000)
        kept = []
        stream.write(numbered(0), t=0.0)
        worker = worker_of(rec, "video-v")
        rec.flush()
        with stopped(worker):
            kept = [i for i in range(1, 35) if stream.write(numbered(i), t=i / 50)]
        rec.flush()
        kept += [i for i in range(35, 39) if stream.write(numbered(i), t=i / 50)]
        with pytest.warns(DataLossWarning):
            (path,) = rec.close().files
    kept = [0, *kept]
    lost = sorted({*range(39)} - {*kept})
    assert lost
    assert 38 in kept
    expected = [max(k for k in kept if k <= i) for i in range(39)]
    assert numbers(path) == expected
    told = proved(tmp_path)["streams"]["v"]
    assert told["lost"] == {"full": len(lost)}
    assert [s for gap in told["gaps"] for s in range(gap["first_seq"], gap["last_seq"] + 1)] == lost
    frames = video_of(tmp_path)["frames"]
    assert frames["repeated"] == lost
    assert frames["seq"] == [*range(39)]
    assert [frames["t"][i] for i in kept] == [i / 50 for i in kept]


def test_a_video_that_fails_is_told_and_its_frames_are_kept(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an ffmpeg that dies again and again: stats, summary and manifest say so, other streams are complete."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(
        f'#!/bin/sh\ncase "$*" in *v.part*) exit 1;; esac\nexec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"\n'
    )
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("RECD_FFMPEG", str(ffmpeg))
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        for i in range(30):
            assert stream.write(numbered(i), t=i / 50)
            rec.log("x", i)
        wait_until(lambda: stream.stats["state"] == "failed")
        assert "v.mp4 failed" in stream.stats["reason"]
        for i in range(30, 60):
            assert stream.write(numbered(i), t=i / 50)
        wait_until(lambda: stream.stats["durable"] == 60)
        summary = rec.close()
    assert not summary.complete
    assert "stream 'v': ffmpeg fails again and again" in summary.reason
    assert (summary["v"].state, summary["v"].attempted, summary["v"].files) == ("failed", 60, ())
    told = manifest_of(tmp_path)["streams"]
    assert (told["v"]["attempted"], told["v"]["samples"], told["v"]["lost"]) == (60, 60, {})
    assert told["x"]["state"] == "complete"
    assert npz(tmp_path / "x.npz")["data"].tolist() == [*range(30)]
    log = sum(p.stat().st_size for p in (tmp_path / ".recd").rglob("*.log"))
    assert log >= 60 * numbered(0).nbytes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_open_file_plays(tmp_path: Path, suffix: str) -> None:
    """While frames are still coming, a player shows those that are in the file, from the first on."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile(f"v{suffix}", fps=50))
        for i in range(30):
            stream.write(numbered(i), t=i / 50)
        part, copy = tmp_path / f"v.part{suffix}", tmp_path / f"copy{suffix}"

        def shown() -> list[int]:
            shutil.copy(part, copy)
            try:
                return numbers(copy)
            except (AssertionError, IndexError):  # not even a first frame yet
                return []

        at_least = 20 if suffix == ".mp4" else 1
        wait_until(lambda: part.exists() and len(shown()) >= at_least)
        found = shown()
        assert found == [*range(len(found))]
        assert not (tmp_path / f"v{suffix}").exists()
        copy.unlink()
    proved(tmp_path)
    assert numbers(tmp_path / f"v{suffix}") == [*range(30)]


def test_a_burst_that_outruns_the_encoder_is_spilled_not_lost(tmp_path: Path) -> None:
    """With ffmpeg stopped, far more frames than the ring holds go to the log, and all are in the video."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50), like=numbered(0), buffer_bytes=150_000)
        stream.write(numbered(0), t=0.0)
        part = tmp_path / "v.part.mp4"
        encoder = wait_until(lambda: encoder_of(part))
        with stopped(encoder):
            for i in range(1, 80):
                wait_until(lambda: stream.stats["buffered_bytes"] < 100_000)
                assert stream.write(numbered(i), t=i / 50)
            assert stream.stats["spooled_bytes"] > 300_000
        (path,) = rec.close().files
    proved(tmp_path)
    assert numbers(path) == [i % 40 for i in range(80)]


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    """NaN times of frames become null, so that any parser reads the manifest."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        for t in (0.0, float("nan"), 1.0):
            stream.write(numbered(0), t=t)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (tmp_path / "manifest.json").read_text()
    told = json.loads(text, parse_constant=refuse)["streams"]["v"]
    assert told["nan_times"] == 1
    assert told["files"][0]["video"]["frames"]["t"] == [0.0, None, 1.0]
