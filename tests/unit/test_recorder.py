from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import (
    CSVFile,
    NPZFile,
    Recorder,
    VideoFile,
)
from recd_client.errors import (
    DaemonNotRunningError,
    DaemonStartError,
    OptionError,
    OutputError,
    OutputExistsError,
    SchemaError,
    StreamExistsError,
    VersionMismatchError,
)

IMAGE = np.zeros((32, 48, 3), np.uint8)

# --- opening -----------------------------------------------------------------------------------------------


def test_the_daemon_is_told_who_records_what(daemon: FakeDaemon, tmp_path: Path) -> None:
    """The first message carries the arguments, the program and both clocks."""
    with Recorder(
        "walk", dir=tmp_path / "runs", dt=0.01, autostart=False, overwrite="number", durability="strict",
        metadata={"seed": np.int64(3), "gains": np.arange(2), "where": Path("/x")}, spool_limit="10GB",
    ) as rec:  # fmt: skip
        assert rec.directory == tmp_path / "runs"
    (told,) = daemon.asked("open")
    expected = {
        "name": "walk", "dt": 0.01, "overwrite": "number", "durability": "strict",
        "spool_limit_bytes": 10**10, "metadata": {"seed": 3, "gains": [0, 1], "where": "/x"},
    }  # fmt: skip
    assert {k: told[k] for k in expected} == expected
    assert (told["directory"], told["cwd"]) == (str(tmp_path / "runs"), os.getcwd())
    assert told["code"]["packages"]["numpy"] == np.__version__
    assert told["code"]["python"] == sys.version.split()[0]
    assert told["clocks"]["mono_ns"] > 0


def test_a_relative_directory_is_the_callers(
    daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a relative path means is decided here; with none at all the daemon chooses."""
    monkeypatch.chdir(tmp_path)
    Recorder("a", dir="runs", autostart=False).close()
    Recorder("b", autostart=False).close()
    assert [r["directory"] for r in daemon.asked("open")] == [str(tmp_path / "runs"), None]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("name", "a/b"),
        ("name", ""),
        ("name", "-x"),
        ("name", ".x"),
        ("name", "x" * 65),
        ("name", 3),
        ("dt", 0),
        ("dt", -0.01),
        ("dt", float("nan")),
        ("dt", "0.01"),
        ("dir", 3),
        ("dir", ""),
        ("autostart", None),
        ("overwrite", "yes"),
        ("overwrite", None),
        ("durability", "safe"),
        ("spool_limit", "much"),
        ("spool_limit", 0),
        ("metadata", [1]),
        ("metadata", {"a": object()}),
        ("metadata", {1: 2}),
        ("metadata", {"a": b"x"}),
        ("metadata", {"a": "x" * (300 << 10)}),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_opened(
    daemon: FakeDaemon, argument: str, value: Any
) -> None:
    """The message names the argument; the daemon never hears of it."""
    with pytest.raises(OptionError, match=argument):
        Recorder(**{"autostart": False, argument: value})
    assert not daemon.requests


def test_without_a_daemon_and_without_permission_to_start_one_the_error_says_how(runtime: Path) -> None:
    """autostart=False asks for a running daemon, and the message names the command."""
    with pytest.raises(DaemonNotRunningError, match="recd start"):
        Recorder(autostart=False)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nonexistent/recd", ["/nonexistent/recd", "No such file"]),
        (f"{sys.executable} -c 'import sys; sys.exit(\"disk on fire\")'", ["exit code 1", "disk on fire"]),
        ("recd 'unclosed", ["RECD_COMMAND"]),
    ],
)
def test_a_daemon_that_cannot_be_started_is_quoted(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    """The error holds the command and what it said."""
    monkeypatch.setenv("RECD_COMMAND", command)
    with pytest.raises(DaemonStartError) as caught:
        Recorder()
    for word in words:
        assert word in str(caught.value)


def test_a_daemon_is_started_with_recd_command(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command gets ``start`` and the runtime directory; whoever answers afterwards is the daemon."""
    holder: list[FakeDaemon] = []

    def run(argv: list[str], **kwargs: Any) -> Any:
        assert argv == ["my recd", "start"]
        assert kwargs["env"]["RECD_RUNTIME_DIR"] == str(runtime)
        holder.append(FakeDaemon(runtime, tmp_path / "out"))
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setenv("RECD_COMMAND", "'my recd'")
    monkeypatch.setattr(subprocess, "run", run)
    try:
        Recorder().close()
    finally:
        holder[0].close()


def test_a_daemon_of_another_major_version_is_refused(daemon: FakeDaemon) -> None:
    """The message names both versions and what to install."""
    daemon.answers["hello"] = lambda request: {"protocol": [9, 0]}
    with pytest.raises(VersionMismatchError, match="9") as caught:
        Recorder(autostart=False)
    assert "install" in caught.value.do


def test_an_error_of_the_daemon_arrives_as_it_was(daemon: FakeDaemon) -> None:
    """What only the daemon can see reads like what the client sees itself."""

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise OutputError("cannot write into /x", "choose another directory")

    daemon.answers["open"] = refuse
    with pytest.raises(OutputError, match="choose another directory"):
        Recorder(autostart=False)


# --- streams -----------------------------------------------------------------------------------------------


def test_the_daemon_is_told_what_a_stream_is(daemon: FakeDaemon) -> None:
    """Schema with units, sinks, rate and policy; a video's frame rate follows from hz, else from dt."""
    with Recorder("walk", dt=0.02, autostart=False) as rec:
        rec.stream(
            "s", NPZFile("s.npz"), like={"v": 1.0}, hz=10, overflow="block", timeout=2, buffer_bytes="64KiB",
            units={"v": "m/s"},
        )  # fmt: skip
        rec.stream("a", VideoFile("a.mp4"), like=IMAGE)
        rec.stream("b", VideoFile("b.mp4"), like=IMAGE, hz=25)
        rec.stream("c", VideoFile("c.mp4", fps=60), like=IMAGE, hz=25)
    told = {r["stream"]: r for r in daemon.asked("attach")}
    assert {k: told["s"][k] for k in ("hz", "overflow", "timeout_s", "buffer_bytes")} == {
        "hz": 10, "overflow": "block", "timeout_s": 2, "buffer_bytes": 65536,
    }  # fmt: skip
    assert told["s"]["schema"]["fields"][0]["unit"] == "m/s"
    assert told["s"]["sinks"][0]["filename"] == "s.npz"
    assert [told[n]["sinks"][0]["fps"] for n in "abc"] == [50.0, 25, 60]


def test_a_video_without_any_rate_gets_30_frames_per_second(rec: Recorder, daemon: FakeDaemon) -> None:
    """The choice is visible in what the daemon is told."""
    rec.stream("a", VideoFile("a.mp4"), like=IMAGE)
    assert daemon.asked("attach")[0]["sinks"][0]["fps"] == 30


def test_a_stream_without_like_is_made_by_its_first_sample(rec: Recorder, daemon: FakeDaemon) -> None:
    """Until then only the name and the files are taken."""
    stream = rec.stream("s", NPZFile("s.npz"))
    assert not daemon.asked("attach")
    assert (stream.schema, stream.files, stream.stats["state"]) == (None, [], "waiting")
    stream.write(1.0)
    assert len(daemon.asked("attach")) == 1
    assert stream.files == [str(rec.directory / "s.npz")]


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".a", "-a", "x" * 65, "ä", None, 3])
def test_a_stream_needs_a_plain_name(rec: Recorder, name: Any) -> None:
    """Names that cannot be files, shared memory or log lines are refused."""
    with pytest.raises(OptionError, match="stream name"):
        rec.stream(name)


def test_names_and_files_are_taken_once(rec: Recorder, tmp_path: Path) -> None:
    """A second stream of a name, or a second writer of a file however it is spelt, is refused at once."""
    rec.stream("a", NPZFile("a.npz"), CSVFile("a.csv"))
    with pytest.raises(StreamExistsError, match="'a'"):
        rec.stream("a")
    for other in ("a.npz", "x/../a.npz", rec.directory / "a.npz"):
        with pytest.raises(StreamExistsError, match="stream 'a'"):
            rec.stream("b", NPZFile(other))
    with pytest.raises(StreamExistsError, match="another sink of this stream"):
        rec.stream("b", NPZFile("b.npz"), NPZFile("b.npz"))
    rec.stream("b", NPZFile("b.npz"))


def test_an_existing_file_is_refused_before_anything_is_recorded(daemon: FakeDaemon, tmp_path: Path) -> None:
    """With overwrite="error" the file is never touched; the other policies leave it to the daemon."""
    (tmp_path / "a.npz").write_bytes(b"precious")
    with (
        Recorder(dir=tmp_path, autostart=False) as rec,
        pytest.raises(OutputExistsError, match=r"a\.npz exists"),
    ):
        rec.stream("s", NPZFile("a.npz"))
    with Recorder(dir=tmp_path, autostart=False, overwrite="replace") as rec:
        rec.stream("s", NPZFile("a.npz"))
    assert (tmp_path / "a.npz").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"hz": 0}, "hz"),
        ({"hz": "fast"}, "hz"),
        ({"overflow": "explode"}, "overflow"),
        ({"timeout": -1}, "timeout"),
        ({"buffer_bytes": "lots"}, "buffer_bytes"),
        ({"buffer_bytes": 0}, "buffer_bytes"),
        ({"units": {"a": 1}}, "units"),
        ({"units": 3}, "units"),
    ],
)
def test_a_bad_argument_of_a_stream_is_refused(rec: Recorder, arguments: dict[str, Any], word: str) -> None:
    """The message names it, and the name stays free."""
    with pytest.raises(OptionError, match=word):
        rec.stream("s", **arguments)
    rec.stream("s")


def test_sinks_are_descriptions(rec: Recorder) -> None:
    """A bare filename, or the class itself, is no sink; the message shows how to write one."""
    for sink in ("a.npz", NPZFile, None):
        with pytest.raises(OptionError, match="CSVFile"):
            rec.stream("s", sink)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sink", "arguments"),
    [
        (NPZFile("a.npz", hz=10), {}),
        (NPZFile("a.npz", hz=10), {"hz": 20}),
        (NPZFile("a.npz", buffer_size=10), {}),
        (NPZFile("a.npz", buffer_full_wait_time=1), {}),
        (NPZFile("a.npz", buffer_full_wait_time=1), {"overflow": "block", "timeout": 2}),
    ],
)
def test_a_sink_that_contradicts_its_stream_is_refused(
    rec: Recorder, sink: NPZFile, arguments: dict[str, Any]
) -> None:
    """The stream's own arguments rule, so another value in a sink would silently mean nothing."""
    with pytest.raises(OptionError, match="contradicts"):
        rec.stream("s", sink, **arguments)


def test_a_sink_that_agrees_with_its_stream_is_fine(rec: Recorder) -> None:
    """Saying the same thing twice is no contradiction."""
    rec.stream("a", NPZFile("a.npz", hz=10), hz=10)
    rec.stream("b", NPZFile("b.npz", buffer_full_wait_time=2), overflow="block", timeout=2)
    rec.stream("c", NPZFile("c.npz", buffer_full_wait_time=0))


def test_a_failed_declaration_leaves_name_and_file_free(rec: Recorder, daemon: FakeDaemon) -> None:
    """After an error in ``like``, or in the daemon, the same stream can be declared again."""
    with pytest.raises(SchemaError):
        rec.stream("s", NPZFile("s.npz"), like={})
    with pytest.raises(SchemaError, match="'x'"):
        rec.stream("s", NPZFile("s.npz"), like=1.0, units={"x": "m"})
    rec.stream("s", NPZFile("s.npz"), like=1.0)


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        (IMAGE, "video"),
        (np.zeros((32, 48), np.uint8), "video"),
        (np.zeros((2, 2, 1), np.uint8), "video"),
        (np.zeros((8, 48), np.uint8), "npz"),
        (np.zeros((32, 48, 3)), "npz"),
        (np.zeros((32, 48, 2), np.uint8), "npz"),
        ({"a": IMAGE}, "npz"),
        (1.5, "npz"),
        ("text", "npz"),
    ],
)
def test_log_chooses_the_file_by_the_first_sample(
    rec: Recorder, daemon: FakeDaemon, sample: Any, kind: str
) -> None:
    """Pictures become a video, everything else an archive, named like the stream."""
    assert rec.log("x", sample, t=0.5)
    (sink,) = daemon.asked("attach")[0]["sinks"]
    assert (sink["kind"], sink["filename"]) == (kind, "x.mp4" if kind == "video" else "x.npz")
    assert rec.log("x", sample)
    assert len(daemon.asked("attach")) == 1


def test_log_writes_to_a_declared_stream_of_that_name(rec: Recorder, daemon: FakeDaemon) -> None:
    """A declaration beforehand decides the file."""
    rec.stream("x", CSVFile("x.csv"))
    rec.log("x", 1.0)
    assert daemon.asked("attach")[0]["sinks"][0]["kind"] == "csv"
