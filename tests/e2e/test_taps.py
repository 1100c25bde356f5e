"""``recd tail`` and ``recd frame``: what is being recorded can be looked at, and nobody who records notices."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recd_client import CSVFile, NPZFile, Recorder, VideoFile
from recordings import decoded, npz, numbered, proved
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


@contextmanager
def following(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A viewer that goes on until it is killed, or its stream ends."""
    command = [sys.executable, "-m", "recd", "tail", *arguments, "--follow", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as viewer:
        try:
            yield viewer
        finally:
            viewer.kill()


def test_the_newest_samples_are_printed_while_they_are_recorded(tmp_path: Path) -> None:
    """Numbers, shapes and times are those that were written, in each format."""
    with Recorder("walk", dir=tmp_path, dt=0.5) as rec:
        stream = rec.stream("state", NPZFile("s.npz"))
        for i in range(30):
            stream.write({"q": np.arange(3.0) + i, "name": f"n{i}"})
        rows = list(csv.reader(io.StringIO(recd("tail", "state", "-n", "4", "--format", "csv").stdout)))
        assert rows[0] == ["timestamp", "q_0", "q_1", "q_2", "name"]
        assert [(float(r[0]), float(r[1]), r[4]) for r in rows[1:]] == [
            (i / 2, i, f"n{i}") for i in range(26, 30)
        ]
        (line,) = recd(
            "tail", "walk/state", "-n", "1", "--format", "json", "--fields", "q[1]"
        ).stdout.splitlines()
        assert json.loads(line) == {"seq": 29, "t": 14.5, "step": 29, "q_1": 30.0}
        table = recd("tail", "state", "-n", "2", "--format", "table").stdout.splitlines()
        assert [line.split() for line in table] == [
            ["t", "q_0", "q_1", "q_2", "name"],
            ["14", "28", "29", "30", "n28"],
            ["14.5", "29", "30", "31", "n29"],
        ]


def test_following_gives_every_sample_and_event_up_to_the_end_of_the_stream(tmp_path: Path) -> None:
    """A viewer that keeps up sees all that comes, in order, and ends with the stream."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", NPZFile("s.npz"))
        stream.write(0.0)
        with following("state") as viewer:
            assert viewer.stdout is not None
            assert json.loads(viewer.stdout.readline())["data"] == 0
            for i in range(1, 500):
                stream.write(float(i))
            rec.mark("grasped", hand="left")
            stream.close()
            told = [json.loads(line) for line in viewer.stdout]
            assert viewer.wait() == 0
    samples = [one["data"] for one in told if "data" in one]
    assert samples == list(range(1, 500))
    events = [(one["event"], one.get("label")) for one in told if "event" in one]
    assert events == [("mark", "grasped"), ("close", None)]


@pytest.mark.parametrize("sign", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_stopped_or_killed_viewer_changes_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    """Files, counts and the ring are as without it, however far it falls behind."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", CSVFile("s.csv"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        stream.write(np.zeros(10))
        with following("state") as viewer:
            assert viewer.stdout is not None
            viewer.stdout.readline()
            os.kill(viewer.pid, sign)
            for i in range(1, 5000):
                assert stream.write(np.full(10, float(i)))
            rec.flush()
    told = proved(tmp_path)["streams"]["state"]
    assert (told["samples"], told["lost"]) == (5000, {})


def test_a_viewer_that_was_stopped_says_that_it_missed_something(tmp_path: Path) -> None:
    """What it prints after it goes on is new and in order, and stderr tells of the hole."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("state", CSVFile("s.csv"), buffer_bytes="64KiB", overflow="block", timeout=30.0)
        stream.write(np.zeros(10))
        with following("state") as viewer:
            assert viewer.stdout is not None
            assert viewer.stderr is not None
            viewer.stdout.readline()
            os.kill(viewer.pid, signal.SIGSTOP)
            for i in range(1, 5000):
                assert stream.write(np.full(10, float(i)))
            os.kill(viewer.pid, signal.SIGCONT)
            stream.close()
            told = [json.loads(line) for line in viewer.stdout]
            assert "unseen" in viewer.stderr.read()
    seen = [one["seq"] for one in told if "data" in one]
    assert seen == list(range(seen[0], 5000))
    assert seen[0] > 1


def test_the_newest_frame_is_saved_as_it_was_rendered(tmp_path: Path) -> None:
    """A PNG of a stream whose frames go straight to the encoder has its newest frame, byte for byte."""
    with Recorder("walk", dir=tmp_path) as rec:
        front = rec.stream("front", VideoFile("f.mp4"))
        for i in range(40):
            front.write(numbered(i))
        done = recd("frame", "front", "-o", str(tmp_path / "now.png"), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["seq"] == 39
    np.testing.assert_array_equal(decoded(tmp_path / "now.png")[0], numbered(39))
    assert not list(tmp_path.glob(".now*"))


def test_depth_becomes_grey_between_its_extremes_or_those_given(tmp_path: Path) -> None:
    """Frames of other numbers are scaled, never wrapped."""
    depth = np.linspace(1, 5, 48 * 64, dtype=np.float32).reshape(48, 64)
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("depth", NPZFile("d.npz")).write(depth)
        assert recd("frame", "depth", "-o", str(tmp_path / "own.png")).returncode == 0
        assert recd("frame", "depth", "-o", str(tmp_path / "given.png"), "--scale", "3", "4").returncode == 0
    own, given = (decoded(tmp_path / name)[0][..., 0] for name in ("own.png", "given.png"))
    np.testing.assert_allclose(own, (depth - 1) / 4 * 255, atol=0.51)
    np.testing.assert_allclose(given, np.clip(depth - 3, 0, 1) * 255, atol=0.51)
    assert npz(tmp_path / "d.npz")["data"].dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("tail", "nope"), "those that are: walk/front, walk/state"),
        (("tail", "other/state"), "no stream 'other/state'"),
        (("tail", "state", "--fields", "q[3]"), "no element 'q[3]'"),
        (("frame", "state", "-o", "x.png"), "has no images (q: (3,) float64)"),
        (("frame", "front", "-o", "x.txt"), "no name of a picture"),
        (("frame", "front", "-o", "/nowhere/x.png"), "/nowhere/x.png cannot be written"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_what_there_is(
    tmp_path: Path, arguments: tuple[str, ...], what: str
) -> None:
    """The error names what was asked for and what can be had; the exit code is not 0."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", NPZFile("s.npz")).write({"q": np.zeros(3)})
        rec.stream("front", VideoFile("f.mp4")).write(numbered(0))
        done = recd(*arguments)
    assert done.returncode in (1, 2)
    assert what in done.stderr
    assert not done.stdout


def test_a_name_in_two_runs_must_be_told_apart(tmp_path: Path) -> None:
    """The error lists both, and the session's id chooses."""
    with Recorder("a", dir=tmp_path / "a") as a, Recorder("a", dir=tmp_path / "b") as b:
        for rec, value in ((a, 1.0), (b, 2.0)):
            rec.stream("x", NPZFile("x.npz")).write(value)
        done = recd("tail", "a/x")
        assert f"{a.session}/x" in done.stderr
        assert f"{b.session}/x" in done.stderr
        assert json.loads(recd("tail", f"{b.session}/x", "--format", "json").stdout)["data"] == 2.0


def test_a_viewer_ends_when_the_simulation_is_killed(tmp_path: Path) -> None:
    """Without a close to be seen, the ring that disappears is the end."""
    code = (
        "import sys, time; from recd_client import Recorder, NPZFile\n"
        "rec = Recorder('walk', dir=sys.argv[1]); rec.stream('s', NPZFile('s.npz')).write(1.0)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as sim:
        assert sim.stdout is not None
        assert sim.stdout.readline() == "ready\n"
        with following("s") as viewer:
            assert viewer.stdout is not None
            viewer.stdout.readline()
            sim.kill()
            assert viewer.wait() == 0
    wait_until(lambda: (tmp_path / "manifest.json").exists())
