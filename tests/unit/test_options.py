from __future__ import annotations

import dataclasses
import json
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client.errors import CodecError, OptionError
from recd_client.options import CODECS, CSVFile, HDF5File, NPZFile, NullSink, SinkOptions, Split, VideoFile

EXAMPLES = [
    CSVFile("a.csv"),
    CSVFile("a.csv", ["x", "y"], True, True, split="1h", hz=50, async_mode=False),
    NPZFile(Path("deep") / "a.npz", True, False, buffer_size=100, buffer_full_wait_time=0),
    HDF5File("a.h5", compression="gzip", chunk_bytes=1 << 16, split="2GB"),
    HDF5File("A.HDF5", split=1000),
    VideoFile(),
    VideoFile(
        "a.mp4",
        29.97,
        "libx264",
        "8M",
        None,
        "yuv444p",
        {"preset": "slow", "g": 60, "x": 0.5},
        "title",
        (0, 10),
    ),
    VideoFile("a.mkv", fps="30000/1001", crf=18),
    VideoFile("a.mkv", pixel_format="gray16le", scale=(0, 10), batch="tile"),
    VideoFile("a.mp4", colormap="viridis", scale=(0.5, 2), batch=3),
    VideoFile("a.mp4", colormap="categories", batch="separate"),
    NullSink(hz=10),
]


@pytest.mark.parametrize("options", EXAMPLES, ids=lambda o: o.kind)
def test_options_cross_the_socket_unchanged(options: SinkOptions) -> None:
    """What the daemon rebuilds from JSON equals what the user built."""
    wire = json.loads(json.dumps(options.to_json()))
    assert wire["kind"] == options.kind
    assert SinkOptions.from_json(wire) == options


@pytest.mark.parametrize("options", EXAMPLES, ids=lambda o: o.kind)
def test_options_are_values(options: SinkOptions) -> None:
    """They can be pickled and used as keys, and cannot be changed behind their checks."""
    assert pickle.loads(pickle.dumps(options)) == options
    assert {options: 1}[options] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.hz = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (CSVFile, ["a.csv", "a.CSV", "deep/er/a.csv", "/abs/a.b.csv"]),
        (NPZFile, ["a.npz"]),
        (HDF5File, ["a.h5", "a.hdf5"]),
        (VideoFile, ["a.mp4", "a.mov", "a.mkv"]),
    ],
)
def test_each_kind_takes_its_own_suffixes(cls: type[Any], names: list[str]) -> None:
    """The suffix says the format, in any case, below any directory, as a string or a path."""
    for name in names:
        assert cls(name).filename == name
        assert cls(Path(name)).path == Path(name)


@pytest.mark.parametrize("cls", [CSVFile, NPZFile, HDF5File, VideoFile])
@pytest.mark.parametrize(
    "name", ["a.txt", "a", "", ".csv/", "a.npy", "a\n.csv", "a.part.csv", ".recd/a.csv", 3, b"a.csv"]
)
def test_a_filename_of_another_kind_is_refused(cls: type[Any], name: Any) -> None:
    """A suffix that promises another format, or a name that recd uses itself, is an error that names it."""
    with pytest.raises(OptionError, match="filename="):
        cls(name)


def test_only_a_video_may_be_named_later() -> None:
    """A file without a name is refused where nothing would name it."""
    assert VideoFile().path is None
    assert NullSink().path is None
    for cls in (CSVFile, NPZFile, HDF5File):
        with pytest.raises(OptionError, match="filename=None"):
            cls(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1h", Split("seconds", 3600)),
        ("30m", Split("seconds", 1800)),
        ("10s", Split("seconds", 10)),
        ("0.5s", Split("seconds", 0.5)),
        ("2GB", Split("bytes", 2 * 10**9)),
        ("500MB", Split("bytes", 500 * 10**6)),
        ("1GiB", Split("bytes", 1 << 30)),
        (1000, Split("samples", 1000)),
        (np.int32(7), Split("samples", 7)),
        ({"bytes": 5}, Split("bytes", 5)),
        (None, None),
    ],
)
def test_split_is_understood(given: Any, expected: Split | None) -> None:
    """A duration, a size and a number of samples are told apart."""
    assert NPZFile("a.npz", split=given).part_limit == expected


@pytest.mark.parametrize(
    "split",
    ["1 hour", "h", "", "0s", "0GB", "-1h", 0, -5, 1.5, True, {"seconds": 1, "bytes": 2}, {"days": 1}],
)
def test_a_split_that_means_nothing_is_refused(split: Any) -> None:
    """The message names the argument and shows what is allowed."""
    with pytest.raises(OptionError, match="split"):
        CSVFile("a.csv", split=split)


@pytest.mark.parametrize(
    ("cls", "argument", "value"),
    [
        (CSVFile, "hz", 0),
        (CSVFile, "hz", -1),
        (CSVFile, "hz", float("nan")),
        (CSVFile, "hz", float("inf")),
        (CSVFile, "hz", "10"),
        (CSVFile, "hz", True),
        (CSVFile, "async_mode", 1),
        (CSVFile, "buffer_size", -1),
        (CSVFile, "buffer_size", 2.5),
        (CSVFile, "buffer_full_wait_time", -0.1),
        (CSVFile, "save_on_reset", "yes"),
        (CSVFile, "save_every_write", 0),
        (CSVFile, "header", "abc"),
        (CSVFile, "header", []),
        (CSVFile, "header", ["a", "a"]),
        (CSVFile, "header", ["a\n"]),
        (CSVFile, "header", [1]),
        (NPZFile, "compressed", None),
        (HDF5File, "compression", "zip"),
        (HDF5File, "compression", 4),
        (HDF5File, "chunk_bytes", 0),
        (VideoFile, "fps", 0),
        (VideoFile, "fps", -30),
        (VideoFile, "fps", "fast"),
        (VideoFile, "fps", "1/0"),
        (VideoFile, "fps", 1e9),
        (VideoFile, "fps", float("nan")),
        (VideoFile, "bitrate", 8),
        (VideoFile, "bitrate", "8 Mbit"),
        (VideoFile, "bitrate", 1.5e6),
        (VideoFile, "crf", 64),
        (VideoFile, "crf", -1),
        (VideoFile, "pixel_format", "yuv"),
        (VideoFile, "codec_options", [("a", 1)]),
        (VideoFile, "name", "a\0b"),
        (VideoFile, "scale", (1, 1)),
        (VideoFile, "scale", (1, 0)),
        (VideoFile, "scale", (0, float("inf"))),
        (VideoFile, "scale", 255),
        (VideoFile, "scale", ("0", "1")),
    ],
)
def test_a_bad_value_is_refused_at_construction(cls: type[Any], argument: str, value: Any) -> None:
    """The message names the argument, shows the value, and ends with what to do."""
    with pytest.raises(OptionError, match=argument) as caught:
        cls(f"a{cls.suffixes[0]}", **{argument: value})
    assert caught.value.do


def test_numpy_numbers_are_numbers() -> None:
    """Values computed with numpy are as good as Python's, and become Python's on the wire."""
    video = VideoFile("a.mp4", fps=np.float32(25), hz=np.int64(25), crf=np.int8(20))
    assert json.loads(json.dumps(video.to_json()))["fps"] == 25.0


@pytest.mark.parametrize("codec", CODECS)
def test_a_known_codec_is_accepted(codec: str) -> None:
    """Families and ffmpeg's encoder names are both understood."""
    assert VideoFile("a.mp4", codec=codec).codec == codec


@pytest.mark.parametrize("codec", ["h265x", "copy", "libx264;rm", "", 264])
def test_an_unknown_codec_is_refused_by_name(codec: Any) -> None:
    """Nothing that is not on the list ever reaches ffmpeg's command line."""
    with pytest.raises(CodecError, match="codec="):
        VideoFile("a.mp4", codec=codec)


@pytest.mark.parametrize(
    "options",
    [
        {"-preset": "slow"},
        {"PRESET": 1},
        {"a b": 1},
        {"": 1},
        {1: 2},
        {"a": "x\ny"},
        {"a": [1]},
        {"a": True},
        {"a": None},
    ],
)
def test_a_codec_option_that_could_be_something_else_is_refused(options: dict[Any, Any]) -> None:
    """Keys are plain words, values are one word or number: nothing can pose as another argument."""
    with pytest.raises(OptionError, match="codec_options"):
        VideoFile("a.mp4", codec_options=options)


@pytest.mark.parametrize(
    "key", ["i", "f", "vf", "filter_complex", "protocol_whitelist", "passlogfile", "map"]
)
def test_ffmpegs_own_options_are_no_codec_options(key: str) -> None:
    """Inputs, outputs, filters and protocols are not the user's to set."""
    with pytest.raises(OptionError, match="option of the encoder"):
        VideoFile("a.mp4", codec_options={key: "x"})


@pytest.mark.parametrize(
    ("key", "instead"), [("crf", "crf="), ("b", "bitrate="), ("pix_fmt", "pixel_format="), ("r", "fps=")]
)
def test_a_codec_option_with_an_argument_of_its_own_points_there(key: str, instead: str) -> None:
    """There is one way to say each thing, and the message names it."""
    with pytest.raises(OptionError) as caught:
        VideoFile("a.mp4", codec_options={key: 1})
    assert instead in caught.value.do


def test_bitrate_and_crf_exclude_each_other() -> None:
    """Two answers to one question are refused."""
    with pytest.raises(OptionError, match="crf"):
        VideoFile("a.mp4", bitrate="8M", crf=20)
    assert VideoFile("a.mp4", bitrate="800k").bitrate == 800_000
    assert VideoFile("a.mp4", bitrate=2_000_000).bitrate == 2_000_000


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(30, Fraction(30)), (1 / 0.03, Fraction(100, 3)), ("30000/1001", Fraction(30000, 1001)), (None, None)],
)
def test_a_frame_rate_is_an_exact_ratio(fps: Any, rate: Fraction | None) -> None:
    """What a float stands for is found again, so that long videos do not drift."""
    assert VideoFile("a.mp4", fps=fps).frame_rate == rate


def test_the_callers_containers_are_copied() -> None:
    """Changing the dict or list afterwards changes no options."""
    codec_options, header = {"preset": "fast"}, ["x"]
    video, table = VideoFile("a.mp4", codec_options=codec_options), CSVFile("a.csv", header)
    codec_options["preset"], header[0] = "slow", "y"
    assert video.codec_options == {"preset": "fast"}
    assert table.header == ("x",)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        {},
        {"kind": "exe"},
        {"kind": 3},
        {"kind": "csv"},
        {"kind": "csv", "filename": "a.csv", "new": 1},
    ],
)
def test_a_description_that_is_none_is_refused(wire: Any) -> None:
    """Whatever comes over the socket, the daemon answers with a clear error."""
    with pytest.raises(OptionError):
        SinkOptions.from_json(wire)


def test_the_base_class_is_no_file() -> None:
    """Only the kinds that exist can be built."""
    with pytest.raises(OptionError, match="no kind of file"):
        SinkOptions("a.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"colormap": "jet"}, ["colormap='jet'", "'viridis'", "'categories'"]),
        ({"colormap": "categories", "scale": (0, 1)}, ["scale=", "categories"]),
        ({"colormap": "viridis", "pixel_format": "gray"}, ["pixel_format='gray'", "colours"]),
        ({"batch": "grid"}, ["batch='grid'", "'tile'", "'separate'"]),
        ({"batch": -1}, ["batch=-1"]),
        ({"batch": 1.5}, ["batch=1.5"]),
        ({"batch": True}, ["batch=True"]),
        ({"pixel_format": "gray16le"}, ["filename='a.mp4'", ".mkv"]),
        ({"pixel_format": "gray16le", "filename": None}, ["filename=None", ".mkv"]),
        ({"pixel_format": "gray16le", "filename": "a.mkv", "codec": "h264"}, ["codec='h264'", "'ffv1'"]),
    ],
)
def test_what_a_video_cannot_show_is_refused_at_once(arguments: dict[str, Any], words: list[str]) -> None:
    """Colour maps, batches and 16 bits: the message names the argument and what it may be."""
    with pytest.raises(OptionError) as raised:
        VideoFile(**{"filename": "a.mp4", **arguments})
    for word in words:
        assert word in str(raised.value)


def test_sixteen_bits_are_ffv1() -> None:
    """No other codec needs to be named, and none is taken."""
    assert VideoFile("a.mkv", pixel_format="gray16le").codec == "ffv1"
