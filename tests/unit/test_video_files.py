import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from recd.video import ffmpeg
from recd.video.counting import cut, is_complete
from recd.video.encoder import Encoder
from recd.video.files import VideoInfo, count_frames, describe, join, retime
from recd.video.settings import VideoSettings
from recd_client.errors import OutputError
from support import wait_until
from video_samples import (
    PATIENCE_S,
    Pixels,
    decode,
    encode,
    ended,
    expected,
    feed,
    numbered,
    numbers,
    settings,
)

RATES = [Fraction(60), Fraction(30000, 1001), Fraction(49979, 833), Fraction(1, 10), Fraction(10_000)]


def killed(path: Path, fed: int, s: VideoSettings) -> int:
    """A piece whose ffmpeg was killed; returns how many frames are in it."""
    encoder = Encoder(path, s, s.codec or "libx264")
    feed(encoder, fed)
    wait_until(lambda: encoder.confirmed() >= fed - 2, timeout_s=PATIENCE_S)
    encoder.kill()
    ended(encoder)
    encoder.close()
    return cut(path)


# --- one file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", RATES, ids=str)
@pytest.mark.parametrize("frames", [1, 7])
def test_a_file_says_what_it_is(tmp_path: Path, fps: Fraction, frames: int) -> None:
    """Codec, size, number of frames and the exact rate are read back, whatever the rate is."""
    path = numbered(tmp_path / "a.mp4", 0, frames, settings(fps=fps))
    assert describe(path) == VideoInfo("h264", "yuv420p", 64, 48, fps, frames)
    assert describe(path).duration_s == pytest.approx(frames / float(fps))
    assert count_frames(path) == frames


@pytest.mark.parametrize("fps", [Fraction(60), Fraction(30000, 1001), Fraction(1, 10)], ids=str)
def test_a_matroska_file_says_what_it_is(tmp_path: Path, fps: Fraction) -> None:
    """Its times are in whole milliseconds; common rates are read back all the same."""
    path = numbered(tmp_path / "a.mkv", 0, 7, settings(fps=fps))
    assert describe(path) == VideoInfo("h264", "yuv420p", 64, 48, fps, 7)


def test_a_fragmented_file_says_what_it_is(tmp_path: Path) -> None:
    """So does a file whose ffmpeg was killed."""
    frames = killed(tmp_path / "a.mp4", 20, settings())
    assert describe(tmp_path / "a.mp4") == VideoInfo("h264", "yuv420p", 64, 48, Fraction(60), frames)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    """A missing file and one of other bytes are clear errors; none of its frames decodes."""
    path = tmp_path / "a.mp4"
    with pytest.raises(OutputError, match=r"no file .*a\.mp4"):
        count_frames(path)
    path.write_bytes(b"t,x\n0,1\n" * 100)
    assert count_frames(path) == 0
    with pytest.raises(OutputError, match=r"a\.mp4 is no video: "):
        describe(path)


# --- joining and retiming -------------------------------------------------------------------------


def test_pieces_join_in_order_with_every_frame_and_an_even_rate(tmp_path: Path) -> None:
    """Finished and killed pieces become one plain file, frame i at i/fps, whatever their names are."""
    names = ["it's piece 1.mp4", "piece 2.mp4", "pièce#3;%d.mp4", "-4.mp4"]
    pieces, first = [], 0
    for name, end in zip(names, (33, 34, 90, 110), strict=True):
        numbered(tmp_path / name, first, end)
        pieces.append(tmp_path / name)
        first = end
    rest = killed(tmp_path / "killed.mp4", 40, settings())
    out = tmp_path / "out.mp4"
    join([*pieces, tmp_path / "killed.mp4"], out, Fraction(60))
    assert numbers(out) == expected(0, 110) + expected(0, rest)
    assert describe(out) == VideoInfo("h264", "yuv420p", 64, 48, Fraction(60), 110 + rest)
    assert is_complete(out)
    steps = np.diff(times(out))
    assert (steps == steps[0]).all()


def times(path: Path) -> list[int]:
    """The time stamps of all packets, in the file's own unit."""
    done = ffmpeg.run([*ffmpeg.QUIET, "-i", ffmpeg.url(path), "-c", "copy", "-f", "framecrc", "-"])
    return [int(found) for found in re.findall(rb"^0, *\d+, *(\d+),", done.stdout, re.MULTILINE)]


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_a_joined_file_has_the_exact_rate(tmp_path: Path, fps: Fraction) -> None:
    """The rate is the one that was asked for, not what the pieces' clocks can express."""
    pieces = [numbered(tmp_path / f"{i}.mp4", 5 * i, 5 * i + 5, settings(fps=fps)) for i in range(3)]
    join(pieces, tmp_path / "out.mp4", fps)
    assert describe(tmp_path / "out.mp4") == VideoInfo("h264", "yuv420p", 64, 48, fps, 15)


def test_one_fragmented_piece_becomes_a_plain_file(tmp_path: Path) -> None:
    """Joining one piece is how a killed ffmpeg's file is completed."""
    frames = killed(tmp_path / "a.mp4", 20, settings())
    assert not is_complete(tmp_path / "a.mp4")
    join([tmp_path / "a.mp4"], tmp_path / "out.mp4", Fraction(60), title="a title")
    assert is_complete(tmp_path / "out.mp4")
    assert numbers(tmp_path / "out.mp4") == expected(0, frames)
    assert b"a title" in (tmp_path / "out.mp4").read_bytes()


def test_pieces_of_different_encoders_are_refused(tmp_path: Path) -> None:
    """What would play as garbage is an error before anything is written."""
    a = numbered(tmp_path / "a.mp4", 0, 3)
    b = numbered(tmp_path / "b.mp4", 3, 6, settings(codec="mpeg4"))
    with pytest.raises(OutputError, match="different encoders"):
        join([a, b], tmp_path / "out.mp4", Fraction(60))
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    "rates", list(itertools.permutations([Fraction(60), Fraction(1, 10), Fraction(49979, 833)], 2))
)
def test_a_retimed_file_has_the_same_frames_at_the_other_rate(
    tmp_path: Path, rates: tuple[Fraction, Fraction]
) -> None:
    """No frame is lost, repeated or encoded again."""
    old, new = rates
    path = numbered(tmp_path / "a.mp4", 0, 30, settings(fps=old))
    retime(path, tmp_path / "b.mp4", new)
    assert describe(tmp_path / "b.mp4") == VideoInfo("h264", "yuv420p", 64, 48, new, 30)
    same = settings(fps=new)
    assert np.array_equal(decode(path, same, "gray"), decode(tmp_path / "b.mp4", same, "gray"))


def test_an_output_is_a_new_file(tmp_path: Path) -> None:
    """An earlier worker's ffmpeg that still writes the old one cannot spoil the new one."""
    path = numbered(tmp_path / "a.mp4", 0, 3)
    out = tmp_path / "out.mp4"
    with out.open("wb") as old:
        join([path], out, Fraction(60))
        old.write(b"late")
    assert numbers(out) == expected(0, 3)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error names the file and says why."""
    path = numbered(tmp_path / "a.mp4", 0, 3)
    with pytest.raises(OutputError, match=r"nowhere/b\.mp4 cannot be written: .*No such file"):
        retime(path, tmp_path / "nowhere" / "b.mp4", Fraction(30))


def test_matroska_pieces_join_too_even_when_one_was_killed(tmp_path: Path) -> None:
    """The other container is cut and joined the same way, and its rate stays exact."""
    s = settings(codec="ffv1", pixel_format="gray")
    frames = killed(tmp_path / "a.mkv", 20, s)
    numbered(tmp_path / "b.mkv", frames, 30, s)
    join([tmp_path / "a.mkv", tmp_path / "b.mkv"], tmp_path / "out.mkv", Fraction(60))
    assert numbers(tmp_path / "out.mkv") == expected(0, 30)
    assert describe(tmp_path / "out.mkv").fps == 60


# --- what is seen ---------------------------------------------------------------------------------


def patches(channels: int) -> Pixels:
    """Flat patches of 20 pixels in many colours, saturated ones among them."""
    rng = np.random.default_rng(7)
    colours = rng.integers(0, 256, (6, 8, channels), np.uint8)
    colours[0] = np.array(list(itertools.product((0, 255), repeat=3)), np.uint8)[:, :channels]
    return np.repeat(np.repeat(colours, 20, 0), 20, 1)


def inner(images: Pixels) -> Pixels:
    """The middles of the patches: chroma, of half the resolution, is mixed at their borders."""
    n, height, width, channels = images.shape
    return images.reshape(n, height // 20, 20, width // 20, 20, channels)[:, :, 6:14, :, 6:14]


def error(image: Pixels, path: Path, s: VideoSettings, pixel_format: str) -> Pixels:
    """How far the last frame is from the image, in the middles of the patches."""
    seen = decode(path, s, pixel_format)[-1:]
    return np.abs(inner(seen).astype(int) - inner(image[None]).astype(int)).astype(np.uint8)


@pytest.mark.parametrize(("codec", "most"), [("libx264", 8), ("mpeg4", 12)])
def test_colours_come_back_as_they_were_rendered(tmp_path: Path, codec: str, most: int) -> None:
    """RGB in, BT.709 in the file, RGB out: flat colours differ by a few of 255, on average by less than 1."""
    image = patches(3)
    s = settings(width=160, height=120, channels=3, codec=codec)
    path = encode(tmp_path / "a.mp4", s, [image] * 6)
    off = error(image, path, s, "rgb24")
    assert off.max() <= most
    assert off.mean() < 1


def test_the_colours_are_tagged_as_what_they_are(tmp_path: Path) -> None:
    """A player is told BT.709, limited range: it must not guess by the size."""
    path = numbered(tmp_path / "a.mp4", 0, 3)
    told = ffmpeg.run(["-hide_banner", "-i", ffmpeg.url(path)]).stderr
    assert "yuv420p(tv, bt709" in told


@pytest.mark.parametrize("alpha", [0, 90, 255])
def test_alpha_is_dropped_and_the_colours_stay(tmp_path: Path, alpha: int) -> None:
    """RGBA frames give the same picture as their RGB, whatever alpha holds."""
    image = patches(3)
    rgba = np.dstack([image, np.full(image.shape[:2], alpha, np.uint8)])
    s = settings(width=160, height=120, channels=3)
    with_alpha = encode(tmp_path / "rgba.mp4", replace(s, channels=4), [rgba] * 3)
    without = encode(tmp_path / "rgb.mp4", s, [image] * 3)
    assert np.array_equal(decode(with_alpha, s, "rgb24"), decode(without, s, "rgb24"))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "gray"])
def test_grays_come_back_within_one_level(tmp_path: Path, pixel_format: str) -> None:
    """Gray frames keep their levels, in a colour file and in a gray one."""
    image = patches(1)
    s = settings(width=160, height=120, pixel_format=pixel_format)
    path = encode(tmp_path / "a.mp4", s, [image] * 6)
    assert error(image, path, s, "gray").max() <= 1
    assert error(np.repeat(image, 3, 2), path, s, "rgb24").max() <= 2


def test_a_gradient_stays_smooth(tmp_path: Path) -> None:
    """All 256 levels of a ramp arrive within 3 levels, and none wraps."""
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (64, 1))[..., None], 3, 2)
    s = settings(width=256, height=64, channels=3)
    path = encode(tmp_path / "a.mp4", s, [ramp] * 6)
    seen = decode(path, s, "rgb24")[-1].astype(int)
    assert np.abs(seen - ramp).max() <= 3


@pytest.mark.parametrize(
    ("channels", "pixel_format", "read_as"), [(1, "gray", "gray"), (3, "bgr0", "rgb24"), (4, "bgra", "rgba")]
)
def test_ffv1_loses_nothing(tmp_path: Path, channels: int, pixel_format: str, read_as: str) -> None:
    """Noise of odd size, alpha included, comes back bit for bit."""
    s = settings(width=53, height=37, channels=channels, codec="ffv1", pixel_format=pixel_format)
    noise = np.random.default_rng(3).integers(0, 256, (3, 37, 53, channels), np.uint8)
    path = encode(tmp_path / "a.mkv", s, noise)
    assert s.padding == (0, 0)
    assert np.array_equal(decode(path, s, read_as), noise)


@pytest.mark.parametrize(("width", "height"), [(61, 40), (60, 41), (61, 41), (1, 1)])
def test_an_odd_size_is_padded_with_its_own_edge(tmp_path: Path, width: int, height: int) -> None:
    """The added column and row repeat the last one, and the settings say how many there are."""
    rng = np.random.default_rng(5)
    smooth: Callable[[int], Pixels] = lambda n: np.linspace(rng.integers(99), 250, n).astype(np.uint8)  # noqa: E731
    image = np.maximum.outer(smooth(height), smooth(width))[..., None]
    s = settings(width=width, height=height)
    path = encode(tmp_path / "a.mp4", s, [image] * 6)
    right, bottom = s.padding
    assert (right, bottom) == (width % 2, height % 2)
    seen = decode(path, s, "gray")[-1].astype(int)
    padded = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
    assert seen.shape == padded.shape
    assert np.abs(seen - padded).max() <= 12
