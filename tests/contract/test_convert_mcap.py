"""MCAP: what Foxglove's and PlotJuggler's reader finds in a file is what the simulation wrote."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from converting import COUNT, DT, EVERYTHING, RESETS, Written
from recd.converter import convert
from recd.converter.mapping import Map
from recd_client import DataLossWarning, NPZFile, Recorder, VideoFile
from recd_client.errors import OptionError, OutputError
from recd_client.schema import RAGGED, STRING
from recordings import decoded, gray16, numbered, numbers, stopped, worker_of
from viewing import decoded as message_of

pytestmark = [
    pytest.mark.usefixtures("shared_runtime"),
    pytest.mark.requires("foxglove", "mcap", "PIL"),
]


@dataclass
class Topic:
    """A channel, with all its messages."""

    schema: str
    encoding: str
    metadata: dict[str, str]
    messages: list[dict[str, Any]] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)


def read(path: Path) -> dict[str, Topic]:
    """Every channel by its topic, each message decoded by the schema that the file holds."""
    from mcap.reader import make_reader

    found: dict[str, Topic] = {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages(
            log_time_order=False
        ):
            assert schema is not None
            assert schema.data
            topic = found.setdefault(
                channel.topic, Topic(schema.name, channel.message_encoding, channel.metadata)
            )
            text = schema.data.decode() if schema.encoding != "protobuf" else ""
            about = {"encoding": channel.message_encoding, "schema": text, "schemaName": schema.name}
            topic.messages.append(message_of(about, message.data))
            topic.times_ns.append(message.log_time)
            assert message.publish_time == message.log_time
    return found


def chosen(**target: str) -> Map:
    """A map that chooses among the ways of the format."""
    return Map((), target=target)


# --- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ros2", "json"])
@pytest.mark.parametrize("compression", ["lz4", "zstd", "none"])
def test_what_was_recorded_is_in_the_messages(
    tmp_path: Path, written: Written, encoding: str, compression: str
) -> None:
    """Each dtype at its limits, ragged fields, text; number, time and step of each sample, with the gap."""
    made = convert(
        written.directory,
        tmp_path / "all.mcap",
        to="mcap",
        map=chosen(encoding=encoding, compression=compression),
    )
    topic = read(made.destination)["/all"]
    assert [m["t"] for m in topic.messages] == [i * DT for i in written.kept]
    with recd.open(written.directory) as run:
        assert [m["seq"] for m in topic.messages] == run["all"].seq.tolist()
        assert [m["step"] for m in topic.messages] == run["all"].step.tolist()
    for f in EVERYTHING.fields:
        if 0 in f.shape:
            assert f.name in topic.metadata["left_out"]
            continue
        for message, value in zip(topic.messages, written.values[f.name], strict=True):
            if f.kind == STRING:
                assert message[f.name] == value
                continue
            flat = np.asarray(value)
            flat = flat.reshape(-1) if f.kind == RAGGED or f.shape else flat
            if encoding == "json" and flat.dtype.kind == "f":  # it has neither NaN nor infinity
                flat = np.where(np.isfinite(flat), flat, np.nan).astype(flat.dtype)
            got = message[f.name]
            got = (
                [np.nan if v is None else v for v in got]
                if isinstance(got, list)
                else np.nan
                if got is None
                else got
            )
            np.testing.assert_array_equal(np.array(got, flat.dtype), flat)
    assert topic.metadata["unit of double"] == "rad"


def test_a_value_of_many_elements_is_whole(tmp_path: Path) -> None:
    """What a live viewer gets only the beginning of, a file has in full."""
    clouds = [np.arange(n * 3.0).reshape(n, 3) for n in (5000, 0, 7)]
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("cloud", NPZFile("cloud.npz"), like={"p": recd_ragged(), "m": np.zeros((90, 90))})
        for i, cloud in enumerate(clouds):
            stream.write({"p": cloud, "m": np.full((90, 90), float(i))}, t=float(i))
    topic = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)["/cloud"]
    assert [m["p"] for m in topic.messages] == [c.ravel().tolist() for c in clouds]
    assert [m["m"] for m in topic.messages] == [[float(i)] * 8100 for i in range(3)]


def recd_ragged() -> Any:
    """A field of points, as many as there are."""
    from recd_client import Ragged

    return Ragged((3,), "float64")


# --- time --------------------------------------------------------------------------------------------


def test_wall_time_is_taken_where_all_of_a_file_knows_it(tmp_path: Path) -> None:
    """Messages of a recording on the monotonic clock have Unix time, numbers and film alike; marks, too."""
    with Recorder(dir=tmp_path / "run") as rec:
        state = rec.stream("state", NPZFile("state.npz"))
        front = rec.stream("front", VideoFile("front.mp4", fps=25))
        for i in range(5):
            state.write({"q": float(i)})
            front.write(numbered(i))
        rec.mark("here")
    topics = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)
    with recd.open(tmp_path / "run") as run:
        for name in ("state", "front"):
            np.testing.assert_allclose(
                np.array(topics[f"/{name}"].times_ns) / 1e9, run[name].wall, rtol=0, atol=1e-6
            )
        (mark,) = run.marks
        offset = (run.start_wall_ns or 0) - (run.start_mono_ns or 0)
        assert topics["/events"].times_ns == [mark.mono_ns + offset]
    same = read(
        convert(tmp_path / "run", tmp_path / "b.mcap", to="mcap", map=chosen(clock="stream")).destination
    )
    assert max(same["/state"].times_ns) < 60e9


def test_episodes_of_simulation_time_lie_one_behind_the_other(tmp_path: Path, walk: Path) -> None:
    """Where time begins anew: viewers sort by time; what a message says of its time stays, films beside numbers."""
    topics = read(convert(walk, tmp_path / "a.mcap", to="mcap").destination)
    state, front, events = topics["/state"], topics["/front"], topics["/events"]
    assert state.times_ns == sorted(state.times_ns)
    assert len({*state.times_ns}) == 120
    assert [m["t"] for m in state.messages] == [i * 0.02 for i in range(40)] * 3
    assert front.times_ns == state.times_ns[::2]
    resets = [t for t, m in zip(events.times_ns, events.messages, strict=True) if b"reset" in m["message"]]
    assert all(
        state.times_ns[40 * k - 1] <= t <= state.times_ns[40 * k + 39] for k, t in enumerate(resets, 1)
    )
    plain = read(convert(walk, tmp_path / "b.mcap", to="mcap", map=chosen(clock="stream")).destination)
    assert plain["/state"].times_ns == [round(i * 0.02 * 1e9) for i in range(40)] * 3


def test_wall_time_of_simulated_time_is_that_of_the_recordings_line(tmp_path: Path, walk: Path) -> None:
    """Asked for, each message has about the time of its write; by itself such a file has stream time."""
    made = read(convert(walk, tmp_path / "a.mcap", to="mcap", map=chosen(clock="wall")).destination)
    with recd.open(walk) as run:
        assert "wall" not in run["state"].known
        assert run.start_wall_ns is not None
        assert run.start_mono_ns is not None
        offset_ns = run.start_wall_ns - run.start_mono_ns
        assert made["/state"].times_ns == (run["state"].mono_ns + offset_ns).tolist()


def test_wall_time_that_nobody_knows_is_refused(tmp_path: Path, walk: Path) -> None:
    """It is asked for, but neither a data file of simulation time nor the manifest tells it."""
    untold = tmp_path / "untold"
    shutil.copytree(walk, untold)
    manifest = json.loads((untold / "manifest.json").read_text())
    del manifest["streams"]["state"]["clock"]
    (untold / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OptionError, match="nobody knows when samples of state"):
        convert(untold, tmp_path / "a.mcap", to="mcap", map=chosen(clock="wall"))
    assert [*tmp_path.iterdir()] == [untold]


# --- events, provenance ------------------------------------------------------------------------------


def test_marks_resets_and_losses_are_told_as_a_log(tmp_path: Path, written: Written) -> None:
    """Each at its time, the loss as a warning that names its stream and how much."""
    log = read(convert(written.directory, tmp_path / "a.mcap", to="mcap").destination)["/events"]
    assert log.schema == "foxglove.Log"
    texts = [m["message"].decode() for m in log.messages]
    assert sum(text.startswith("reset") for text in texts) == len(RESETS) - 1
    (loss,) = [m for m in log.messages if b"lost" in m["message"]]
    manifest = json.loads((written.directory / "manifest.json").read_text())
    (gap,) = manifest["streams"]["all"]["gaps"]
    assert loss["message"].decode().startswith(f"all: {gap['count']} samples lost (")
    assert (loss["level"], loss["name"]) == (3, b"all")


def test_some_episodes_have_their_own_events_alone(tmp_path: Path, walk: Path) -> None:
    """Of three episodes the middle one: what ended the others is not told."""
    topics = read(convert(walk, tmp_path / "a.mcap", to="mcap", episodes=[1]).destination)
    assert [m["message"] for m in topics["/events"].messages if b"mark" in m["message"]] == [
        b"mark end success=false"
    ]
    assert len(topics["/state"].messages) == 40
    assert [m["seq"] for m in topics["/state"].messages] == [*range(40, 80)]


def test_the_file_tells_where_it_comes_from(tmp_path: Path, walk: Path) -> None:
    """Provenance and what the recorder was given as metadata, the manifest byte for byte as an attachment."""
    from mcap.reader import make_reader

    made = convert(walk, tmp_path / "a.mcap", to="mcap", command="recd convert walk")
    with made.destination.open("rb") as file:
        reader = make_reader(file)
        told = {m.name: m.metadata for m in reader.iter_metadata()}
        (attached,) = reader.iter_attachments()
    assert told["recd"]["command"] == "recd convert walk"
    assert json.loads(told["recd"]["sources"])[0]["path"] == str(walk)
    assert json.loads(told["recording"]["metadata"]) == {"robot": "walker", "task": "walk"}
    assert (attached.name, attached.data) == ("manifest.json", (walk / "manifest.json").read_bytes())


# --- films -------------------------------------------------------------------------------------------


def played(topic: Topic, directory: Path) -> Path:
    """The frames one behind the other, as a file; each one begins as a frame of Annex B does."""
    assert topic.schema == "foxglove.CompressedVideo"
    assert all(m["format"] == b"h264" for m in topic.messages)
    for m in topic.messages:
        kinds = kinds_of(m["data"])
        assert kinds[0] == 9
        assert kinds.count(9) == 1
        assert 5 not in kinds or kinds.index(7) < kinds.index(8) < kinds.index(5), (
            "parameter sets before each IDR"
        )
    assert 5 in kinds_of(topic.messages[0]["data"])
    path = directory / "played.h264"
    path.write_bytes(b"".join(m["data"] for m in topic.messages))
    return path


def kinds_of(data: bytes) -> list[int]:
    """Types of the units that a frame consists of."""
    return [part[0] & 31 for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]]


def test_a_film_is_copied_frame_by_frame(tmp_path: Path, walk: Path) -> None:
    """Decoded, the messages are the film, pixel by pixel; each has its sample's time."""
    topic = read(convert(walk, tmp_path / "a.mcap", to="mcap", streams=["front"]).destination)["/front"]
    np.testing.assert_array_equal(decoded(played(topic, tmp_path)), decoded(walk / "front.mp4"))
    with recd.open(walk) as run:
        assert topic.metadata["h264"] == "60 frames copied, 0 encoded again"
        assert len(topic.times_ns) == len(run["front"])


def test_an_episode_that_begins_between_keyframes_has_its_frames(tmp_path: Path, walk: Path) -> None:
    """Those and no others, in order: up to the next keyframe they are encoded again, which is told."""
    topic = read(convert(walk, tmp_path / "a.mcap", to="mcap", episodes="1,2").destination)["/front"]
    assert numbers(played(topic, tmp_path)) == [n % 40 for n in range(20, 60)]
    copied, again = map(int, re.findall(r"\d+", topic.metadata["h264"]))
    assert (copied > 0, again > 0, copied + again) == (True, True, 40)


def test_frames_that_stand_in_for_lost_ones_are_left_out(tmp_path: Path) -> None:
    """Messages and samples are the same in number and order, with their own times; the rest is copied."""
    kept = []
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        front = rec.stream("front", VideoFile("front.mp4", fps=25), buffer_bytes=200_000)
        for i in range(150):
            if i == 70:
                with stopped(worker_of(rec)):
                    while front.write(numbered(i), t=i * 0.04):
                        pass
                rec.flush()
            elif front.write(numbered(i), t=i * 0.04):
                kept.append(i)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            rec.close()
    with recd.open(tmp_path / "run") as run:
        stream = run["front"]
        assert stream.frames.repeated.any()
        topic = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)["/front"]
        assert len(topic.messages) == len(stream)
        shown = decoded(played(topic, tmp_path))
        assert numbers(tmp_path / "played.h264") == [
            round((float(f.mean()) - 10) / 6) for f in stream.frames_between()
        ]
        assert len(shown) == len(stream)
        copied, again = map(int, re.findall(r"\d+", topic.metadata["h264"]))
        assert (copied > 0, again > 0, copied + again) == (True, True, len(stream))


@pytest.mark.parametrize("how", [{"codec": "mpeg4"}, {"codec": "h264", "pixel_format": "yuv444p"}])
def test_films_that_viewers_do_not_decode_are_encoded_again(tmp_path: Path, how: dict[str, str]) -> None:
    """Another codec, or pixels that no browser takes: all frames, in order, and it is told."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        front = rec.stream("front", VideoFile("front.mp4", fps=25, **how))  # type: ignore[arg-type]
        for i in range(30):
            front.write(numbered(i, (47, 63, 3)), t=i * 0.04)
    topic = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)["/front"]
    assert numbers(played(topic, tmp_path)) == [*range(30)]
    assert topic.metadata["h264"] == "0 frames copied, 30 encoded again"


def test_a_film_with_reordered_frames_is_encoded_again(tmp_path: Path) -> None:
    """B-frames, which nobody here makes, are found in a film from elsewhere."""
    import subprocess

    import imageio_ffmpeg

    film = tmp_path / "b.mp4"
    raw = b"".join(numbered(i).tobytes() for i in range(30))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-video_size", "64x48", "-framerate", "25", "-i", "-", "-c:v", "libx264", "-bf", "3"]
    command += ["-x264-params", "b-adapt=0", "-pix_fmt", "yuv420p", str(film)]
    subprocess.run(command, input=raw, check=True, timeout=60)
    topic = read(convert(film, tmp_path / "a.mcap", to="mcap").destination)["/b"]
    assert topic.metadata["h264"] == "0 frames copied, 30 encoded again"
    assert len(decoded(played(topic, tmp_path))) == 30


def test_a_film_of_16_bits_keeps_them(tmp_path: Path) -> None:
    """Depth is no H.264: each pixel is in a raw image as it was in the film."""
    with Recorder(dir=tmp_path / "run", dt=0.04) as rec:
        stream = rec.stream("depth", VideoFile("depth.mkv", fps=25, codec="ffv1", pixel_format="gray16le"))
        for i in range(5):
            stream.write(np.full((8, 10), 9000 * i, np.uint16), t=i * 0.04)
    topic = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)["/depth"]
    images = np.array([np.frombuffer(m["data"], "<u2").reshape(8, 10) for m in topic.messages])
    np.testing.assert_array_equal(images, gray16(tmp_path / "run" / "depth.mkv"))
    assert {m["encoding"] for m in topic.messages} == {b"16UC1"}


# --- images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["png", "raw", "jpeg"])
@pytest.mark.parametrize("shape", [(31, 45), (32, 48, 1), (31, 45, 3), (32, 48, 4)])
def test_images_that_were_recorded_as_arrays(tmp_path: Path, shape: tuple[int, ...], images: str) -> None:
    """PNG and raw images have every bit, JPEG the size; numbers beside them are in messages of their own."""
    from PIL import Image

    frames = np.random.default_rng(0).integers(0, 255, (3, *shape), np.uint8)
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("cam", NPZFile("cam.npz"))
        for i, frame in enumerate(frames):
            stream.write({"rgb": frame, "exposure": float(i)}, t=i * 0.1)
    topics = read(
        convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap", map=chosen(images=images)).destination
    )
    assert [m["exposure"] for m in topics["/cam"].messages] == [0.0, 1.0, 2.0]
    for frame, message in zip(frames, topics["/cam/rgb"].messages, strict=True):
        if images == "raw":
            got = np.frombuffer(message["data"], np.uint8).reshape(frame.shape)
            assert (message["width"], message["height"]) == (shape[1], shape[0])
        else:
            assert message["format"] == images.encode()
            got = np.asarray(Image.open(io.BytesIO(message["data"])))
        if images == "jpeg":
            assert got.shape[:2] == frame.shape[:2]
        else:
            np.testing.assert_array_equal(got.reshape(frame.shape), frame)


def test_a_stream_without_samples_does_not_disturb_the_others(tmp_path: Path) -> None:
    """It has no message; what lies beside it is whole."""
    with Recorder(dir=tmp_path / "run") as rec:
        rec.stream("empty", NPZFile("empty.npz"), like={"q": 0.0})
        state = rec.stream("state", NPZFile("state.npz"))
        for i in range(3):
            state.write({"q": float(i)}, t=float(i))
    topics = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)
    assert [m["q"] for m in topics["/state"].messages] == [0.0, 1.0, 2.0]
    assert "/empty" not in topics


def test_a_stream_named_like_the_log_keeps_its_name(tmp_path: Path) -> None:
    """The log steps aside."""
    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("events", NPZFile("events.npz"))
        stream.write({"q": 1.0}, t=0.0)
        rec.mark("here")
    topics = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)
    assert [m["q"] for m in topics["/events"].messages] == [1.0]
    assert [m["message"] for m in topics["/recd_events"].messages] == [b"mark here"]


def test_each_recording_has_a_file_of_its_own(tmp_path: Path, walk: Path, written: Written) -> None:
    """Two sources: a directory with two files."""
    made = convert([walk, written.directory], tmp_path / "out", to="mcap")
    assert sorted(p.name for p in made.destination.glob("*.mcap")) == sorted(made.files)
    assert len(made.files) == 2


# --- trouble -----------------------------------------------------------------------------------------


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The SDK only logs that it cannot write: here it is an error, and said once."""
    from recd.converter.targets import mcap_file

    with Recorder(dir=tmp_path / "run") as rec:
        stream = rec.stream("state", NPZFile("state.npz"))
        for i in range(COUNT):
            stream.write({"q": np.random.default_rng(i).normal(size=50_000)}, t=float(i))

    class Full:
        def __init__(self, file: Any) -> None:
            self.seek, self.close, self._file = file.seek, file.close, file

        def write(self, data: Any) -> int:
            if self._file.tell() > 5_000_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self._file.write(data))

    real = mcap_file._Output
    monkeypatch.setattr(mcap_file, "_Output", lambda file: real(Full(file)))  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="there is no room"):
        convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap")
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "a.mcap").exists()
    monkeypatch.undo()
    topic = read(convert(tmp_path / "run", tmp_path / "a.mcap", to="mcap").destination)["/state"]
    assert len(topic.messages) == COUNT
