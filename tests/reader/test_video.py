"""Frames out of recorded films: the one that was asked for, by index, by time, in order."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recd
from recd.reader import VideoStream
from recd.reader.decoding import Decoder
from recd.video import ffmpeg
from recd_client import NPZFile, Recorder, VideoFile
from recd_client.errors import DataLossWarning, OptionError, OutOfRangeError, OutputError
from recordings import stopped, worker_of

pytestmark = pytest.mark.usefixtures("shared_runtime")
COUNT = 130


def coded(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A frame with its number in it, as twelve black or white fields."""
    bits = np.array([number >> bit & 1 for bit in range(12)], np.uint8).reshape(3, 4) * 200 + 20
    image: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
    image[:48, :64] = np.kron(bits, np.ones((16, 16), np.uint8))[..., np.newaxis]
    return image


def number_of(frame: NDArray[Any]) -> int:
    """The number in a frame."""
    fields = frame[:48, :64].reshape(3, 16, 4, 16, -1).mean(axis=(1, 3, 4)).ravel() > 120
    return int(sum(int(bit) << i for i, bit in enumerate(fields)))


FILMS: dict[str, VideoFile] = {
    "mp4": VideoFile("film.mp4"),
    "mp4, short GOPs": VideoFile("film.mp4", codec="libx264", codec_options={"g": 12}),
    "mkv": VideoFile("film.mkv", codec="libx264", codec_options={"g": 30}),
    "mkv, lossless": VideoFile("film.mkv", codec="ffv1", pixel_format="bgr0"),
    "mov, an odd rate": VideoFile("film.mov", fps="30000/1001", codec="libx264", codec_options={"g": 25}),
    "mpeg4": VideoFile("film.mp4", codec="mpeg4"),
    "two parts": VideoFile("film.mp4", split=70),
}


@pytest.fixture(scope="module", params=FILMS.values(), ids=FILMS)
def film(
    request: pytest.FixtureRequest, shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VideoStream]:
    """A film of numbered frames."""
    directory = tmp_path_factory.mktemp("film")
    with Recorder("film", dir=directory, dt=0.01) as rec:
        stream = rec.stream("film", request.param, hz=50)
        for i in range(COUNT):
            stream.write(coded(i), t=i * 0.02, step=2 * i)
    with recd.open(directory) as run:
        yield run["film"]


# --- each frame -----------------------------------------------------------------------------------


def test_every_frame_is_found_by_its_index(film: VideoStream) -> None:
    """In any order: the frame that was written as that sample, no other one."""
    order = [*range(COUNT)]
    random.Random(1).shuffle(order)
    for k in [0, COUNT - 1, *order[:40]]:
        assert number_of(film[k]) == k
    assert [number_of(film[k]) for k in range(60, 75)] == [*range(60, 75)]
    assert number_of(film[-1]) == COUNT - 1
    film.close()
    assert number_of(film[3]) == 3


def test_frames_come_in_order_from_anywhere(film: VideoStream) -> None:
    """Iterating gives each sample once; a stretch gives that stretch, across parts."""
    assert [number_of(frame) for frame in film] == [*range(COUNT)]
    for start, stop in ((0, 1), (5, 5), (65, 90), (-3, None)):
        assert [number_of(f) for f in film.frames_between(start, stop)] == [*range(COUNT)][start:stop]


def test_a_frame_is_found_by_its_time(film: VideoStream) -> None:
    """The one that holds then, or the nearest; none before the first one, nor too far away."""
    assert number_of(film.at(0.5)) == 25
    assert number_of(film.at(0.519)) == 25
    assert number_of(film.at(0.519, "nearest")) == 26
    assert number_of(film.at(99)) == COUNT - 1
    assert film.at(-0.1) is None
    assert film.at(99, tolerance=0.1) is None
    assert film.at(99, "linear") is None
    with pytest.raises(OptionError, match="expected one of"):
        film.at(0, "next")


def test_a_film_tells_what_it_is(film: VideoStream) -> None:
    """Size, rate, codec, and which sample each frame is, with all its clocks."""
    assert (film.width, film.height, film.shape, film.dtype) == (64, 48, (48, 64, 3), np.uint8)
    assert round(film.fps, 2) in (50.0, 29.97)
    assert film.codec in ("h264", "mpeg4", "ffv1", "hevc", "av1")
    assert film.path.exists()
    assert film.known == {"seq", "step", "wall"}
    assert film.seq.tolist() == film.frames.seq.tolist() == [*range(COUNT)]
    assert film.step.tolist() == [2 * i for i in range(COUNT)]
    assert film.t.tolist() == [i * 0.02 for i in range(COUNT)]
    assert (np.diff(film.wall) >= 0).all()
    assert not film.frames.repeated.any()
    assert sum(part.stop - part.start for part in film.parts) == len(film) == COUNT
    assert film.fields == ("data",)
    assert film.schema.fields[0].shape == (48, 64, 3)


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1, 10**6])
def test_a_frame_that_is_not_there_is_an_index_error(film: VideoStream, index: int) -> None:
    """It says how many there are; of samples and of frames."""
    for get in (film.__getitem__, film.frame):
        with pytest.raises(OutOfRangeError, match=f"of {COUNT}"):
            get(index)


# --- what is in it --------------------------------------------------------------------------------


def test_lost_frames_are_no_samples(tmp_path: Path) -> None:
    """The film repeats the frame before; the samples' indices, numbers and times pass over that."""
    with Recorder("lossy", dir=tmp_path) as rec:
        stream = rec.stream("film", VideoFile("film.mp4", fps=50), like=coded(0), buffer_bytes=256 << 10)
        written = [i for i in range(10) if stream.write(coded(i), t=i / 8)]
        rec.flush()
        with stopped(worker_of(rec, "video-film")):
            written += [i for i in range(10, 60) if stream.write(coded(i), t=i / 8)]
        rec.flush()
        written += [i for i in range(60, 70) if stream.write(coded(i), t=i / 8)]
        with pytest.warns(DataLossWarning):
            rec.close()
    assert len(written) < 70
    film = recd.open(tmp_path)["film"]
    assert film.seq.tolist() == written
    assert film.t.tolist() == [i / 8 for i in written]
    assert [number_of(frame) for frame in film] == written
    assert [number_of(film[k]) for k in (0, 15, len(written) - 1)] == [written[k] for k in (0, 15, -1)]
    assert len(film.frames) == 70
    lost = np.flatnonzero(film.frames.repeated)
    assert lost.tolist() == sorted({*range(70)} - {*written})
    assert number_of(film.frame(int(lost[0]))) == lost[0] - 1
    assert sum(gap.count for gap in film.gaps) == len(lost)


def test_padding_is_cut_off_and_gray_stays_as_it_was(tmp_path: Path) -> None:
    """Odd sizes come back in their size; 16-bit and 8-bit gray value for value, colours of RGB films, too."""
    rng = np.random.default_rng(1)
    deep = rng.integers(0, 1 << 16, (5, 49, 65), np.uint16)
    flat, colours = deep.astype(np.uint8), rng.integers(0, 256, (5, 49, 65, 3), np.uint8)
    with Recorder("gray", dir=tmp_path, dt=0.1) as rec:
        odd = rec.stream("odd", VideoFile("odd.mp4"))
        depth = rec.stream("depth", VideoFile("depth.mkv", pixel_format="gray16le"))
        gray = rec.stream("gray", VideoFile("gray.mkv", codec="ffv1", pixel_format="gray"))
        rgb = rec.stream("rgb", VideoFile("rgb.mkv", codec="ffv1", pixel_format="bgr0"), NPZFile("rgb.npz"))
        scaled = rec.stream("scaled", VideoFile("scaled.mkv", pixel_format="gray16le", scale=(0.0, 2.0)))
        for i in range(5):
            odd.write(coded(i, 49, 65))
            depth.write(deep[i])
            gray.write(flat[i])
            rgb.write(colours[i])
            scaled.write(deep[i] / 65535 * 2.0)
    run = recd.open(tmp_path)
    assert [(number_of(f), f.shape) for f in run["odd"]] == [(i, (49, 65, 3)) for i in range(5)]
    for name, values in (("depth", deep), ("gray", flat), ("rgb", colours)):
        assert run[name].dtype == values.dtype
        assert np.array_equal(np.stack([*run[name]]), values), name
        assert np.array_equal(run[name][3], values[3])
    scale = run["scaled"].scale
    assert (
        np.abs(scale["low"] + scale["step"] * run["scaled"][2] - deep[2] / 65535 * 2).max()
        <= scale["step"] / 2
    )
    assert run["rgb"].arrays is not None
    assert np.array_equal(run["rgb"].arrays["data"][:], colours)
    assert run["odd"].arrays is None


def test_colours_are_those_that_were_rendered(tmp_path: Path) -> None:
    """Within what ffmpeg's shortcut leaves, and closer where it is left out."""
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (30, 3), np.uint8)
    with Recorder("colours", dir=tmp_path, dt=0.1) as rec:
        film = rec.stream("film", VideoFile("film.mp4", codec="libx264", crf=1))
        for colour in colours:
            film.write(np.broadcast_to(colour, (32, 32, 3)))
    stream = recd.open(tmp_path)["film"]
    expected = np.broadcast_to(colours[:, None, None], (30, 32, 32, 3)).astype(int)
    assert np.abs(np.stack([*stream]) - expected).max() <= 4
    assert np.abs(np.stack([*stream.exact()]) - expected).max() <= 1


def test_separate_videos_of_a_batch_are_read_one_by_one(tmp_path: Path) -> None:
    """The stream is its first image's video; ``videos`` has them all."""
    with Recorder("batch", dir=tmp_path, dt=0.1) as rec:
        stream = rec.stream("cameras", VideoFile("camera.mp4", batch="separate"))
        for i in range(6):
            stream.write(np.stack([coded(100 * n + i) for n in range(3)]))
    cameras = recd.open(tmp_path)["cameras"]
    assert [[number_of(f) for f in video] for video in cameras.videos] == [
        [100 * n + i for i in range(6)] for n in range(3)
    ]


# --- how it is read -------------------------------------------------------------------------------


def test_a_film_alone_has_its_own_times(film: VideoStream, tmp_path: Path) -> None:
    """Without a manifest the frames are the samples, at the film's rate; no number or clock is known."""
    path = tmp_path / film.path.name
    path.write_bytes(film.path.read_bytes())
    (alone,) = recd.open(path).streams.values()
    assert len(alone) == film.parts[0].stop
    assert np.allclose(alone.t, np.arange(len(alone)) / film.fps)
    assert (alone.known, alone.seq[0], number_of(alone[7])) == (frozenset(), -1, 7)


def test_neighbours_are_decoded_by_one_process(film: VideoStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over indices costs no seek per frame, and one over the whole film one process per part."""
    started: list[Any] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    film.close()
    assert [number_of(film[k]) for k in range(10, 40)] == [*range(10, 40)]
    assert len(started) == 1
    assert sum(1 for _ in film) == COUNT
    assert len(started) == 1 + len(film.films)


def test_a_decoder_that_is_forgotten_ends(film: VideoStream) -> None:
    """Neither a stream that nobody closed nor a loop that was left keeps an ffmpeg."""
    decoder = Decoder(film.films[0])
    assert decoder.read() is not None
    process = decoder._process
    del decoder
    assert process.poll() is not None
    for frame in film.frames_between(3):
        assert number_of(frame) == 3
        break


def test_a_film_that_ends_too_early_says_where(film: VideoStream, tmp_path: Path) -> None:
    """A frame that the manifest tells of and the file has not is named; those before it are read."""
    directory = film.path.parent
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    short = tmp_path / film.path.name
    ffmpeg.run(
        ["-nostdin", "-y", "-i", ffmpeg.url(film.path), "-frames:v", "30", "-c", "copy", ffmpeg.url(short)]
    )
    with pytest.warns(UserWarning, match="was changed"):
        run = recd.open(tmp_path)
    assert number_of(run["film"][29]) == 29
    with pytest.raises(OutputError, match=r"frame 30 of \d+ does not decode"):
        run["film"][30]
    with pytest.raises(OutputError, match="does not decode"):
        list(run["film"])
    assert "changed" in run.problems[0]
    assert not run.complete
