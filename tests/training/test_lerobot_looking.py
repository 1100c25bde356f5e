"""What the LeRobot target looks at of films: exactly the frames and pixels that LeRobot would, and nothing besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recd.reader import decoding
from recd.reader.decoding import Film, film_of
from recd.video import ffmpeg
from recd_client.errors import OutputError

if find_spec("pyarrow") and find_spec("PIL"):
    from recd.converter.targets.lerobot import looking, stats
    from recd.converter.targets.lerobot.films import Stretch
    from recd.converter.targets.lerobot.looking import Looker

pytestmark = pytest.mark.requires("pyarrow", "PIL")
FRAMES = 1000


def made(path: Path, size: str, frames: int) -> Film:
    """A film with a picture that moves, and a keyframe every 40 frames."""
    source = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=50", "-frames:v", str(frames))
    encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "40", "-pix_fmt", "yuv420p")
    done = ffmpeg.run([*ffmpeg.QUIET, "-y", *source, *encoded, ffmpeg.url(path)])
    assert done.returncode == 0, done.stderr
    return film_of(path, {}, frames)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A film long enough for episodes of which few frames are looked at; of each, every second row and column."""
    return made(tmp_path_factory.mktemp("film") / "film.mp4", "322x180", FRAMES)


@pytest.fixture(scope="module")
def frames(film: Film) -> NDArray[np.uint8]:
    """All of them, every second row and column."""
    return pixels(film, 2)


def pixels(film: Film, apart: int) -> NDArray[np.uint8]:
    """Every so many rows and columns of all frames, as the reader decodes them."""
    return np.array([frame[::apart, ::apart] for frame in decoding.frames(film, 0, film.frames)])


@pytest.fixture
def looker() -> Iterator[Looker]:
    """One that has seen nothing."""
    one = Looker()
    yield one
    one.close()


def stretch(film: Film, first: int, frames: int) -> Stretch:
    """Some frames of a film."""
    return Stretch(film.path, first, frames, first // 40 * 40, str(film.fps), film.frames)


def same(found: Sequence[NDArray[np.uint8]], expected: NDArray[np.uint8]) -> None:
    """These are the pictures."""
    assert len(found) == len(expected)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("size", "apart"),
    [("64x48", 1), ("302x180", 2), ("452x302", 3), ("360x606", 4), ("640x478", 4), ("908x510", 6), ("1280x722", 8)],
)  # fmt: skip
def test_the_pixels_that_lerobot_would_look_at(size: str, apart: int, tmp_path: Path, looker: Looker) -> None:
    """Whatever the size, each picture is the decoded frame's, every so many rows and columns."""
    film = made(tmp_path / "film.mp4", size, 5)
    found = list(looker.pictures(stretch(film, 1, 3), film))
    same(found, pixels(film, apart)[1:4])


@pytest.mark.parametrize(
    ("first", "length"), [(0, 1), (0, 99), (0, 100), (17, 250), (3, 399), (0, 400), (13, 471), (81, 773), (0, 1000)]
)  # fmt: skip
def test_the_frames_that_lerobot_would_look_at(
    film: Film, frames: NDArray[np.uint8], looker: Looker, first: int, length: int
) -> None:
    """Of an episode from anywhere in a film, short or long, its sampled frames."""
    found = list(looker.pictures(stretch(film, first, length), film))
    same(found, frames[first : first + length][stats.sampled(length)])


def test_episodes_that_follow_each_other(
    film: Film, frames: NDArray[np.uint8], looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short ones of one film are decoded by one ffmpeg; a long one, a long way between, or back, takes another."""
    begun: list[int] = []
    decoder = looking.Decoder

    def counted(film: Film, start: int, *rest: object, **more: object) -> object:
        begun.append(start)
        return decoder(film, start, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "Decoder", counted)
    for first, length in ((5, 60), (65, 150), (220, 20), (400, 30), (410, 30), (430, 500), (930, 40)):
        found = list(looker.pictures(stretch(film, first, length), film))
        same(found, frames[first : first + length][stats.sampled(length)])
    assert begun == [5, 400, 410, 430, 930]


def test_no_ffmpeg_is_left(film: Film, looker: Looker) -> None:
    """One that was stopped halfway, or waits for the next episode, ends with the looker."""
    for length in (30, 1000):
        next(looker.pictures(stretch(film, 0, length), film))
        assert looker._running is not None
        process = looker._running[1]._process
        looker.close()
        assert process.poll() is not None


def test_a_frame_that_does_not_decode(film: Film, looker: Looker, tmp_path: Path) -> None:
    """A film that ends early is named, with the frame."""
    short = tmp_path / "short.mp4"
    ffmpeg.run(
        ["-nostdin", "-y", "-i", ffmpeg.url(film.path), "-frames:v", "30", "-c", "copy", ffmpeg.url(short)]
    )
    cut = film_of(short, {}, FRAMES)
    for length in (60, 1000):
        with pytest.raises(OutputError, match=r"short.mp4: frame \d+ of 1000 does not decode"):
            list(looker.pictures(stretch(cut, 0, length), cut))


@pytest.mark.parametrize("length", [401, 471, 501, 537, 1000, 1001, 1450, 2003, 10_001, 20_001])
def test_ffmpeg_picks_the_frames_that_are_sampled(length: int) -> None:
    """In the same arithmetic, so that it agrees where a number lies halfway between two frames, too."""
    chosen = stats.sampled(length)
    done = ffmpeg.run(
        [
            *ffmpeg.QUIET, "-f", "lavfi", "-i", f"nullsrc=size=16x16:rate=1:duration={length}",
            "-vf", f"select='{looking._select(length, len(chosen))}',scale=2:2",
            "-fps_mode", "passthrough", "-f", "framecrc", "-",
        ]
    )  # fmt: skip
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    assert [int(line.split(",")[2]) for line in lines] == chosen
