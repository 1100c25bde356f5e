"""Stretches of films: the right frames, copied wherever a keyframe allows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import recd
from recd.converter import clips
from recd.converter.episodes import Clip, clip_of
from recd.video import files
from recd_client import Recorder, VideoFile
from recd_client.errors import OutputError
from recordings import decoded, numbered, numbers, shown_at

pytestmark = pytest.mark.usefixtures("shared_runtime")

FRAMES = 130
RATES = {"whole": 25.0, "ntsc": 30000 / 1001, "odd": 33.3, "slow": 7.0}


@pytest.fixture(scope="module")
def films(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of several rates, each with a few keyframes; and one in another container."""
    directory = tmp_path_factory.mktemp("films")
    with Recorder(dir=directory) as rec:
        streams = [
            rec.stream(name, VideoFile(f"{name}.mp4", fps=fps), overflow="block")
            for name, fps in RATES.items()
        ]
        streams.append(rec.stream("mkv", VideoFile("mkv.mkv", fps=25), overflow="block"))
        for i in range(FRAMES):
            for stream in streams:
                stream.write(numbered(i), t=i * 0.04)
    return directory


@pytest.mark.parametrize("name", [*RATES, "mkv"])
def test_a_stretch_has_its_frames_and_no_others(tmp_path: Path, films: Path, name: str) -> None:
    """From a keyframe on, in between, across one, and behind the last: frames, their number and rate are right."""
    with recd.open(films) as run:
        film = run[name].films[0]
    whole = decoded(film.path)
    keys = files.keyframes(film.path, film.fps)
    assert keys[0] == 0
    assert len(keys) > 1
    stretches = [(0, 20), (keys[1], 20), (keys[1] - 7, 20), (keys[1] + 1, 5), (FRAMES - 3, 3), (0, FRAMES)]
    for first, count in stretches:
        out = tmp_path / f"{first}.mp4"
        encoded = clips.write(Clip(film, first, count), out)
        found = decoded(out)
        assert numbers(out) == [i % 40 for i in range(first, first + count)], first
        key = next((k for k in keys if k >= first), FRAMES)
        assert encoded == (0 if first in keys else min(key - first, count)), first
        copied = slice(encoded, count)
        np.testing.assert_array_equal(found[copied], whole[first : first + count][copied])
        np.testing.assert_allclose(shown_at(out), np.arange(count) / float(film.fps), atol=1e-3)


def test_a_stretch_can_get_another_rate(tmp_path: Path, films: Path) -> None:
    """The frames are the same, shown at other times."""
    with recd.open(films) as run:
        film = run["whole"].films[0]
    clips.write(Clip(film, 50, 30), tmp_path / "a.mp4", Fraction(10))
    assert files.describe(tmp_path / "a.mp4").fps == 10
    assert numbers(tmp_path / "a.mp4") == [i % 40 for i in range(50, 80)]


def test_stretches_are_joined(tmp_path: Path, films: Path) -> None:
    """Of one film, in any order; what was encoded by other encoders is encoded once more, so that it joins."""
    with recd.open(films) as run:
        film = run["whole"].films[0]
    parts = [Clip(film, 60, 10), Clip(film, 0, 10), Clip(film, 45, 10)]
    clips.join(parts, tmp_path / "a.mp4")
    assert numbers(tmp_path / "a.mp4") == [i % 40 for part in (60, 0, 45) for i in range(part, part + 10)]
    with Recorder(dir=tmp_path / "other") as rec:
        stream = rec.stream(
            "front", VideoFile("front.mp4", fps=25, codec_options={"preset": "medium", "refs": 3})
        )
        for i in range(10):
            stream.write(numbered(i + 3))
    with recd.open(tmp_path / "other") as run:
        other = run["front"].films[0]
    assert not files.same_kind(other.path, film.path)
    clips.join([Clip(other, 0, 10), Clip(film, 0, 10)], tmp_path / "b.mp4")
    assert numbers(tmp_path / "b.mp4") == [*range(3, 13), *range(10)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "other"]


def test_rows_that_are_a_films_frames_are_a_clip(films: Path) -> None:
    """Samples that follow each other are; those with holes, or twice, are not."""
    with recd.open(films) as run:
        stream = run["whole"]
        found = clip_of(stream, np.arange(10, 30))
        assert found is not None
        assert (found.first_frame, found.frames, found.path) == (10, 20, films / "whole.mp4")
        assert clip_of(stream, np.array([1, 2, 4])) is None
        assert clip_of(stream, np.array([1, 1, 2])) is None


def test_images_become_a_film(tmp_path: Path) -> None:
    """One by one, of an odd size, at the asked-for rate; one that is not finished leaves no film."""
    with clips.Encoding(tmp_path / "a.mp4", (47, 63, 3), Fraction(30)) as film:
        for i in range(12):
            film.feed(numbered(i, (47, 63, 3)))
        assert film.finish() == 12
    assert numbers(tmp_path / "a.mp4") == [*range(12)]
    assert files.describe(tmp_path / "a.mp4").fps == 30
    with clips.Encoding(tmp_path / "b.mp4", (48, 64), Fraction(30)) as film:
        film.feed(np.zeros((48, 64), np.uint8))  # and it is left before it is finished
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_film_that_is_none_is_told(tmp_path: Path) -> None:
    """The path, and where to look closer."""
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(OutputError, match=r"a\.mp4 is no video"):
        files.keyframes(tmp_path / "a.mp4", Fraction(25))
