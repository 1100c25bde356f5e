"""Bad input: an error that names what came, what was expected and what to do; the recording goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import (
    ClosedError,
    CodecError,
    CSVFile,
    DataLossWarning,
    HDF5File,
    NPZFile,
    OptionError,
    OutputError,
    OutputExistsError,
    Ragged,
    RecdError,
    Recorder,
    RecordTooLargeError,
    ReentrantWriteError,
    SchemaError,
    SharedMemoryFullError,
    Stream,
    StreamExistsError,
    VideoFile,
)
from recd_client.shm import SHM_DIR
from recordings import npz, numbered, numbers, proved

pytestmark = pytest.mark.usefixtures("shared_runtime")


def refused(kind: type[RecdError], call: Callable[[], object], *words: str) -> None:
    """The call raises this kind of error; its message holds all the words and ends with what to do."""
    with pytest.raises(kind) as raised:
        call()
    text = str(raised.value)
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    assert raised.value.do, text
    assert text.endswith(f"\n  -> {raised.value.do}")


def recorded_around(directory: Path, first: Any, bad: Callable[[Stream], None], **how: Any) -> dict[str, Any]:
    """A stream's manifest: three good samples, what ``bad`` does, three more; all six are in the file."""
    with Recorder(dir=directory) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), **how)
        for i in range(3):
            assert stream.write(first, t=float(i))
        bad(stream)
        for i in range(3, 6):
            assert stream.write(first, t=float(i))
    told = dict(proved(directory)["streams"]["s"])
    assert npz(directory / "s.npz")["timestamp"].tolist() == [*map(float, range(6))]
    return told


# --- samples --------------------------------------------------------------------------------------

STATE = {"q": np.zeros(3), "n": 0}
SCALAR = np.float64(0)
FRAME = np.zeros((4, 6, 3), np.uint8)
CHANGES: dict[str, tuple[Any, Any, list[str]]] = {
    "shape": (STATE, {"q": np.zeros(4), "n": 0}, ["'q'", "(3,) float64", "(4,) float64"]),
    "shape of a bare array": (np.zeros((2, 3)), np.zeros(6), ["'data'", "(2, 3) float64", "(6,) float64"]),
    "dtype": (STATE, {"q": np.zeros(3, np.float32), "n": 0}, ["'q'", "float64", "float32"]),
    "float where ints were": (STATE, {"q": np.zeros(3), "n": 0.5}, ["'n'", "int64", "0.5 (float)"]),
    "int too large": (STATE, {"q": np.zeros(3), "n": 2**63}, ["'n'", "int64", "9223372036854775808"]),
    "field missing": (STATE, {"q": np.zeros(3)}, ["a dict with 'q', 'n'", "got a dict with 'q'"]),
    "field more": (STATE, {**STATE, "x": 1}, ["got a dict with 'q', 'n', 'x'"]),
    "field renamed": (STATE, {"q": np.zeros(3), "m": 0}, ["'q', 'n'", "'q', 'm'"]),
    "no dict any more": (STATE, np.zeros(3), ["a dict with 'q', 'n'", "got ndarray"]),
    "a dict suddenly": (SCALAR, {"a": 1.0}, ["() float64", "a dict with 'a'"]),
    "None": (STATE, {"q": None, "n": 0}, ["'q'", "got None"]),
    "a string": (STATE, {"q": "three", "n": 0}, ["'q'", "got a string"]),
    "rows of unequal length": ([[1, 2], [3, 4]], [[1, 2], [3]], ["'data'", "no regular array"]),
    "objects": (np.zeros(2), np.array([1, "x"], object), ["'data'", "object"]),
    "another picture size": (FRAME, FRAME[:2], ["(4, 6, 3) uint8", "(2, 6, 3) uint8"]),
    "nested dict": (STATE, {"q": {"x": 1}, "n": 0}, ["'q'", "got a dict"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_sample_that_differs_is_left_out(tmp_path: Path, change: str) -> None:
    """It takes no number and counts as no loss; the samples before and after it are in the file."""
    first, other, words = CHANGES[change]
    told = recorded_around(
        tmp_path,
        first,
        lambda s: refused(SchemaError, lambda: s.write(other), "stream 's'", *words, "the stream goes on"),
    )
    assert (told["attempted"], told["samples"], told["lost"]) == (6, 6, {})


IMPOSSIBLE: dict[str, tuple[Any, list[str]]] = {
    "objects": (np.array([1, "x"], object), ["'data'", "object", "numeric array"]),
    "nested dict": ({"a": {"b": 1}}, ["'a'", "dict inside a dict", "flat fields such as 'a.x'"]),
    "empty dict": ({}, ["without fields", "at least one value"]),
    "None": ({"a": None}, ["'a' is None", "NaN"]),
    "complex": (np.zeros(2, complex), ["complex128", "real and imaginary"]),
    "dates": (np.array(["2026-11-22"], "M8[s]"), ["datetime64", "seconds"]),
    "array of strings": (np.array(["a", "b"]), ["'data'", "one string per field"]),
    "long double": (np.zeros(2, np.longdouble), ["float128", "float16..float64"]),
    "unequal rows": ([[1, 2], [3]], ["'data'", "cannot be read as an array"]),
    "name of the time column": ({"timestamp": 1.0}, ["'timestamp'", "rename"]),
    "name with a comma": ({"a,b": 1.0}, ["'a,b'", "rename"]),
    "field that is no string": ({1: 2.0}, ["1", "rename"]),
    "masked": (np.ma.masked_array([1.0, 2.0], [0, 1]), ["masked", "filled"]),
    "ragged inside": ({"a": Ragged((None, None))}, ["leading axis", "Ragged((7,))"]),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_first_sample_that_cannot_be_recorded_leaves_the_stream_as_it_was(
    tmp_path: Path, what: str
) -> None:
    """The error names the field and what to write instead; the next sample may still be the first."""
    sample, words = IMPOSSIBLE[what]
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        refused(SchemaError, lambda: stream.write(sample), "stream 's'", *words)
        refused(SchemaError, lambda: rec.stream("like", NPZFile("like.npz"), like=sample), *words)
        assert stream.stats["attempted"] == 0
        assert stream.write(1.0, t=0.0)
        assert rec.stream("like", NPZFile("like.npz")).write(1.0, t=0.0)
    proved(tmp_path)


@pytest.mark.parametrize("field", ["t", "step"])
def test_a_time_or_step_that_is_no_number_is_refused(tmp_path: Path, field: str) -> None:
    """The sample is left out, the message shows what came."""
    recorded_around(
        tmp_path,
        1.0,
        lambda s: refused(SchemaError, lambda: s.write(1.0, **{field: "soon"}), f"{field}='soon'"),
    )


NO_IMAGES: dict[str, tuple[Any, list[str]]] = {
    "a vector": (np.zeros(10, np.uint8), ["(10,) uint8"]),
    "two channels": (np.zeros((8, 8, 2), np.uint8), ["(8, 8, 2) uint8"]),
    "a stack": (np.zeros((5, 8, 8, 3), np.uint8), ["a batch of 5: (5, 8, 8, 3) uint8", "batch='tile'"]),
    "a dict": ({"rgb": np.zeros((8, 8, 3), np.uint8)}, ["got a dict"]),
    "a scalar": (1.0, ["() float64"]),
    "no pixels": (np.zeros((0, 8, 3), np.uint8), ["(0, 8, 3) uint8"]),
    "floats": (np.zeros((8, 8, 3)), ["uint8", "(8, 8, 3) float64", "scale=(low, high)"]),
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_a_frame_that_is_no_image_is_refused(tmp_path: Path, what: str) -> None:
    """The message says what images are and what came; the stream takes an image afterwards."""
    sample, words = NO_IMAGES[what]
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        refused(SchemaError, lambda: stream.write(sample), "stream 'v'", "a video needs", *words)
        for i in range(3):
            assert stream.write(numbered(i), t=float(i))
        refused(SchemaError, lambda: stream.write(sample), "stream 'v'", "(48, 64, 3) uint8")
        assert stream.write(numbered(3), t=3.0)
    proved(tmp_path)
    assert numbers(tmp_path / "v.mp4") == [0, 1, 2, 3]


def test_a_record_larger_than_the_ring_allows_is_counted(tmp_path: Path) -> None:
    """The error names sizes and a ``buffer_bytes`` that does; the loss is told, smaller samples go on."""
    like = {"points": Ragged((3,))}
    small, large = {"points": np.zeros((2, 3))}, {"points": np.zeros((1000, 3))}
    with pytest.warns(DataLossWarning, match="too_large 1"):
        told = recorded_around(
            tmp_path,
            small,
            lambda s: refused(RecordTooLargeError, lambda: s.write(large), "24008 bytes", "buffer_bytes="),
            like=like,
            buffer_bytes=32_768,
        )
    assert told["lost"] == {"too_large": 1}
    assert [(g["cause"], g["first_seq"]) for g in told["gaps"]] == [("too_large", 3)]


def test_the_buffer_that_an_error_asks_for_is_enough(tmp_path: Path) -> None:
    """With the ``buffer_bytes`` of the message the same sample is recorded."""
    sample = np.zeros(30_000)
    with Recorder(dir=tmp_path / "a") as rec:
        stream = rec.stream("s", NPZFile("s.npz"), buffer_bytes=65_536)
        with pytest.raises(RecordTooLargeError) as raised:
            stream.write(sample)
        with pytest.warns(DataLossWarning):
            rec.close()
    enough = int(raised.value.do.split("buffer_bytes=")[1].split()[0])
    with Recorder(dir=tmp_path / "b") as rec:
        assert rec.stream("s", NPZFile("s.npz"), buffer_bytes=enough).write(sample)
    proved(tmp_path / "b")


# --- times that are odd are data: tests/e2e/test_record_time.py ------------------------------------


# --- files ----------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A run directory below a file, or an output below one: refused before anything is recorded."""
    (tmp_path / "file").write_text("mine")
    refused(
        OutputError, lambda: Recorder(dir=tmp_path / "file" / "run"), str(tmp_path / "file" / "run"), "dir="
    )
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("s", NPZFile(tmp_path / "file" / "s.npz"))
        refused(OutputError, lambda: stream.write(1.0), str(tmp_path / "file" / "s.npz"), "another filename")
        assert rec.log("x", 1.0)
    assert proved(tmp_path / "run")["streams"].keys() == {"x"}
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_without_permission_is_refused() -> None:
    """Where nobody may make a directory, root included, the error names it and says why."""
    refused(OutputError, lambda: Recorder(dir="/sys/kernel/x"), "cannot record into /sys/kernel/x", "ermi")


def test_a_file_that_exists_is_refused_when_the_stream_is_declared(tmp_path: Path) -> None:
    """By default nothing is overwritten: the error names the file and the ways out."""
    (tmp_path / "s.npz").write_bytes(b"precious")
    (tmp_path / "p_0000.csv").write_bytes(b"precious")
    with Recorder(dir=tmp_path) as rec:
        refused(
            OutputExistsError,
            lambda: rec.stream("s", NPZFile("s.npz")),
            str(tmp_path / "s.npz"),
            "overwrite=",
        )
        refused(
            OutputExistsError,
            lambda: rec.stream("p", CSVFile("p.csv", split=5), like=0.0),
            "p_0000.csv exists",
        )
        assert rec.log("s", 1.0) if not (tmp_path / "s.npz").exists() else True
        assert rec.log("x", 1.0)
    proved(tmp_path)
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "p_0000.csv").read_bytes() == b"precious"


def test_two_sinks_with_one_file_are_refused(tmp_path: Path) -> None:
    """In one stream, in two streams, and under two spellings of the name."""
    with Recorder(dir=tmp_path) as rec:
        refused(
            StreamExistsError,
            lambda: rec.stream("a", NPZFile("s.npz"), NPZFile("./sub/../s.npz")),
            "another sink of this stream",
        )
        rec.stream("b", NPZFile("s.npz"))
        refused(
            StreamExistsError, lambda: rec.stream("c", NPZFile("s.npz")), "stream 'b'", "a file of its own"
        )
        refused(StreamExistsError, lambda: rec.stream("b"), "stream 'b' exists", "another name")
        rec.log("x", 1.0)
    proved(tmp_path)


def test_renaming_onto_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    """The stream stays open, and keeps its file."""
    (tmp_path / "taken.mp4").write_bytes(b"precious")
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        stream.write(numbered(0), t=0.0)
        refused(OutputExistsError, lambda: stream.close("taken.mp4"), "taken.mp4 exists")
        refused(OptionError, lambda: stream.close("v.npz"), "v.npz", ".mp4")
        refused(OptionError, lambda: stream.close(fps=-1), "fps=-1", "> 0")
        stream.write(numbered(1), t=1.0)
    assert numbers(tmp_path / "v.mp4") == [0, 1]
    assert (tmp_path / "taken.mp4").read_bytes() == b"precious"


def test_an_unknown_codec_is_refused_at_construction() -> None:
    """The message lists what there is."""
    refused(CodecError, lambda: VideoFile("v.mp4", codec="h266"), "codec='h266'", "libx264")


NO_VIDEOS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an encoder that cannot work": (
        {"codec": "ffv1", "pixel_format": "nv12"},
        ["ffv1", "nv12", "pixel_format="],
    ),
    "no such option": ({"codec": "libx264", "codec_options": {"presett": "slow"}}, ["'presett'", "'preset'"]),
    "no such value": ({"codec": "libx264", "codec_options": {"preset": "rapid"}}, ["libx264", "'rapid'"]),
}


@pytest.mark.parametrize("what", NO_VIDEOS)
def test_a_video_that_cannot_be_made_here_is_refused_before_it_begins(tmp_path: Path, what: str) -> None:
    """What only a trial tells, the first write (or ``like``) tells; other streams and a better one go on."""
    options, words = NO_VIDEOS[what]
    with Recorder(dir=tmp_path) as rec:
        rec.log("x", 1.0)
        stream = rec.stream("v", VideoFile("v.mkv", fps=50, **options))
        refused(CodecError, lambda: stream.write(numbered(0)), *words)
        bad = VideoFile("w.mkv", fps=50, **options)
        refused(CodecError, lambda: rec.stream("w", bad, like=numbered(0)), *words)
        assert stream.stats["attempted"] == 0
        rec.log("x", 2.0)
        good = rec.stream("w", VideoFile("w.mp4", fps=50))
        assert good.write(numbered(0), t=0.0)
    assert proved(tmp_path)["streams"].keys() == {"x", "w"}
    assert npz(tmp_path / "x.npz")["data"].tolist() == [1.0, 2.0]


def test_frames_too_large_for_a_video_are_refused(tmp_path: Path) -> None:
    """The message names the size and the limit."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        refused(OptionError, lambda: stream.write(np.zeros((4, 20_000, 3), np.uint8)), "20000x4", "16384")
        assert stream.write(numbered(0))
    proved(tmp_path)


# --- options --------------------------------------------------------------------------------------

BAD_OPTIONS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "suffix": (lambda: CSVFile("s.txt"), ["'s.txt'", ".csv", "CSVFile"]),
    "suffix of another": (lambda: NPZFile("s.csv"), ["'s.csv'", ".npz"]),
    "video suffix": (lambda: VideoFile("v.avi"), ["'v.avi'", ".mp4", ".mkv"]),
    "no filename": (lambda: HDF5File(None), ["filename", ".h5"]),  # type: ignore[arg-type]
    "part": (lambda: NPZFile("s.part.npz"), ["s.part.npz", "unfinished"]),
    "hz": (lambda: NPZFile("s.npz", hz=0), ["hz=0", "> 0", "samples per second"]),
    "hz text": (lambda: NPZFile("s.npz", hz="50"), ["hz='50'", "a number"]),  # type: ignore[arg-type]
    "split": (lambda: NPZFile("s.npz", split="1 fortnight"), ["1 fortnight", "'1h'", "'2GB'"]),
    "buffer_size": (lambda: NPZFile("s.npz", buffer_size=-1), ["buffer_size=-1", "whole number"]),
    "async_mode": (lambda: NPZFile("s.npz", async_mode=1), ["async_mode=1", "True or False"]),  # type: ignore[arg-type]
    "header": (lambda: CSVFile("s.csv", header=["a", "a"]), ["header", "repeat"]),
    "compression": (lambda: HDF5File("s.h5", compression="zip"), ["compression='zip'", "'gzip'"]),
    "fps": (lambda: VideoFile("v.mp4", fps=0), ["fps=0", "> 0"]),
    "fps ratio": (lambda: VideoFile("v.mp4", fps="30/0"), ["fps='30/0'", "30000/1001"]),
    "crf": (lambda: VideoFile("v.mp4", crf=99), ["crf=99", "0 to 63"]),
    "crf and bitrate": (lambda: VideoFile("v.mp4", crf=20, bitrate="8M"), ["crf=20", "without bitrate"]),
    "bitrate": (lambda: VideoFile("v.mp4", bitrate="fast"), ["bitrate='fast'", "'8M'"]),
    "pixel_format": (lambda: VideoFile("v.mp4", pixel_format="rgb"), ["pixel_format='rgb'", "yuv420p"]),
    "scale": (lambda: VideoFile("v.mp4", scale=(1, 0)), ["scale=(1, 0)", "low < high"]),
    "codec_options": (lambda: VideoFile("v.mp4", codec_options={"vf": "x"}), ["'vf'", "recd sets it"]),
    "codec option with a name": (
        lambda: VideoFile("v.mp4", codec_options={"crf": 1}),
        ["VideoFile(crf=...)"],
    ),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_a_bad_option_is_refused_at_construction(what: str) -> None:
    """The message names the option, what is allowed, and what came."""
    make, words = BAD_OPTIONS[what]
    refused(OptionError, make, *words)


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "name": ({"name": "a/b"}, ["name 'a/b'", "A-Z a-z 0-9"]),
    "dt": ({"dt": 0}, ["dt=0", "> 0"]),
    "dt nan": ({"dt": float("nan")}, ["dt=nan", "> 0"]),
    "overwrite": ({"overwrite": "yes"}, ["overwrite='yes'", "'replace'"]),
    "durability": ({"durability": "none"}, ["durability='none'", "'strict'"]),
    "autostart": ({"autostart": "no"}, ["autostart='no'", "True or False"]),
    "metadata": ({"metadata": {"f": open}}, ["metadata['f']", "JSON"]),
    "metadata too large": ({"metadata": {"x": "y" * 300_000}}, ["metadata takes", "262144"]),
    "spool_limit": ({"spool_limit": "much"}, ["spool_limit='much'", "'500MB'"]),
    "dir": ({"dir": 5}, ["dir=5", "path"]),
}


@pytest.mark.parametrize("what", BAD_ARGUMENTS)
def test_a_bad_argument_of_recorder_is_refused(tmp_path: Path, what: str) -> None:
    """The message names the argument, what is allowed, and what came; no session is left behind."""
    arguments, words = BAD_ARGUMENTS[what]
    refused(OptionError, lambda: Recorder(**{"dir": tmp_path / "run", **arguments}), *words)
    assert not (tmp_path / "run").exists()


BAD_STREAMS: dict[str, tuple[tuple[Any, ...], dict[str, Any], list[str]]] = {
    "name": (("a b",), {}, ["stream name 'a b'"]),
    "sink": (("s", "s.npz"), {}, ["sink 's.npz'", "NPZFile"]),
    "hz": (("s",), {"hz": -1}, ["hz=-1", "> 0"]),
    "overflow": (("s",), {"overflow": "drop"}, ["overflow='drop'", "'drop_newest'"]),
    "timeout": (("s",), {"timeout": -1}, ["timeout=-1", ">= 0"]),
    "buffer_bytes": (("s",), {"buffer_bytes": "big"}, ["buffer_bytes='big'", "'500MB'"]),
    "units": (("s",), {"units": 5}, ["units=5", "'rad/s'"]),
    "contradiction": (("s", NPZFile("s.npz", hz=5)), {"hz": 10}, ["hz=5", "contradicts", "pass hz=5"]),
}


@pytest.mark.parametrize("what", BAD_STREAMS)
def test_a_bad_argument_of_stream_is_refused(tmp_path: Path, what: str) -> None:
    """The message names the argument; the recorder takes the same stream put right."""
    sinks, arguments, words = BAD_STREAMS[what]
    with Recorder(dir=tmp_path) as rec:
        refused(OptionError, lambda: rec.stream(*sinks, **arguments), *words)
        assert rec.stream("s", NPZFile("s.npz")).write(1.0)
    proved(tmp_path)


def test_names_that_do_not_fit_the_sample_are_refused(tmp_path: Path) -> None:
    """Units for a field that is not there, a header of another width: the stream can be declared again."""
    with Recorder(dir=tmp_path) as rec:
        units = rec.stream("u", NPZFile("u.npz"), units={"qvel": "rad/s"})
        refused(SchemaError, lambda: units.write({"qpos": 1.0}), "'qvel'", "['qpos']")
        header = rec.stream("h", CSVFile("h.csv", header=["a", "b"]))
        refused(OptionError, lambda: header.write(np.zeros(3)), "expected 3", "got 2 (a, b)")
        assert header.write(np.zeros(2))
    proved(tmp_path)


# --- use ------------------------------------------------------------------------------------------


def test_writing_after_close_is_refused(tmp_path: Path) -> None:
    """Of a recorder as of a stream; the files were finished and stay so."""
    rec = Recorder(dir=tmp_path)
    stream = rec.stream("s", NPZFile("s.npz"), like=0.0)
    stream.write(1.0, t=0.0)
    rec.close()
    for call in (
        lambda: stream.write(2.0),
        lambda: stream.claim().__enter__(),
        lambda: rec.log("x", 1.0),
        lambda: rec.stream("t"),
        lambda: rec.mark("m"),
        lambda: rec.reset(),
        lambda: rec.step(),
        lambda: rec.flush(),
        lambda: rec.__enter__(),
    ):
        refused(ClosedError, call, "is closed", "before close")
    assert npz(tmp_path / "s.npz")["data"].tolist() == [1.0]


def test_writing_inside_a_claim_is_refused(tmp_path: Path) -> None:
    """The claim goes on and is recorded; a write behind it too."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), like=0.0)
        with stream.claim(t=0.0) as place:
            refused(ReentrantWriteError, lambda: stream.write(2.0), "stream 's'", "inside its claim")
            place[...] = 1.0
        stream.write(3.0, t=1.0)
    proved(tmp_path)
    assert npz(tmp_path / "s.npz")["data"].tolist() == [1.0, 3.0]


def test_a_claim_needs_a_schema_of_fixed_size(tmp_path: Path) -> None:
    """Before the first sample, and for ragged samples, a claim says what to do instead."""
    with Recorder(dir=tmp_path) as rec:
        plain = rec.stream("plain", NPZFile("plain.npz"))
        refused(SchemaError, lambda: plain.claim(), "stream 'plain'", "like=")
        ragged = rec.stream("ragged", NPZFile("ragged.npz"), like={"a": Ragged()})
        refused(SchemaError, lambda: ragged.claim().__enter__(), "stream 'ragged'", "use write")


@pytest.mark.parametrize("label", ["", "recd.reset", 5])
def test_a_bad_mark_is_refused(tmp_path: Path, label: Any) -> None:
    """Labels are strings that are not recd's own."""
    with Recorder(dir=tmp_path) as rec:
        rec.log("x", 1.0)
        refused(OptionError, lambda: rec.mark(label), f"mark label {label!r}", "rename")
        refused(OptionError, lambda: rec.mark("a", f=open), "mark 'a'", "JSON")
        refused(RecordTooLargeError, lambda: rec.mark("a", f="x" * 2000), "mark 'a'", "1024")
    assert proved(tmp_path)["marks"] == []


def test_a_buffer_larger_than_shared_memory_is_refused(tmp_path: Path) -> None:
    """The error says how much is needed and how much there is; nothing of it stays, the recorder goes on."""
    before = {p.name for p in SHM_DIR.iterdir()}
    with Recorder(dir=tmp_path) as rec:
        refused(
            SharedMemoryFullError,
            lambda: rec.stream("s", NPZFile("s.npz"), like=0.0, buffer_bytes="8TB"),
            "bytes needed", "available", "--shm-size", "buffer_bytes",
        )  # fmt: skip
        assert not (tmp_path / "s.part.npz").exists()
        assert rec.stream("s", NPZFile("s.npz")).write(1.0)
    assert proved(tmp_path)["streams"].keys() == {"s"}
    assert not {p for p in {p.name for p in SHM_DIR.iterdir()} - before if "recd" not in p}


def test_handles_cannot_be_sent_to_another_process(tmp_path: Path) -> None:
    """Pickling a recorder or a stream says what to do instead."""
    import pickle

    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for handle in (rec, stream):
            refused(
                OptionError, lambda handle=handle: pickle.dumps(handle), "another process", "of its own there"
            )
        stream.write(1.0)
    proved(tmp_path)


def test_an_error_is_one_line_and_a_remedy_in_the_terminal(tmp_path: Path) -> None:
    """What a user sees of an uncaught error ends with ``-> what to do``, without a chain of inner errors."""
    code = "import sys; from recd_client import *; Recorder(dir=sys.argv[1]).log('x', {'a': {'b': 1}})"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1
    assert "During handling" not in ran.stderr
    assert ran.stderr.strip().endswith("  -> write flat fields such as 'a.x'")
