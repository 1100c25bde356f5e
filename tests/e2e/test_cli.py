"""The command line over real recordings, as users and scripts call it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile
from recordings import PATIENCE_S, csv_numbers, manifest_of, npz, numbered, numbers, proved
from support import processes_of, wait_until

CLI_DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def recd(*arguments: object, code: int = 0) -> str:
    """What ``recd`` with these arguments prints; what it says on stderr if it is to fail."""
    ran = subprocess.run(
        [sys.executable, "-m", "recd", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout if code == 0 else ran.stderr


def answer(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The object that ``recd ... --json`` prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "recd", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return dict(json.loads(ran.stdout))


def documented(verb: str) -> set[str]:
    """Every key that docs/cli.md names in a verb's section."""
    section = CLI_DOCUMENT.read_text().split(f"\n## recd {verb}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(\w+)`", section))


def keys(data: Any, but: tuple[str, ...] = ()) -> set[str]:
    """Every key of an object at any depth, but not below those in ``but``."""
    if isinstance(data, dict):
        return set(data).union(*(keys(v, but) for k, v in data.items() if k not in but))
    return set().union(*(keys(v, but) for v in data)) if isinstance(data, list) else set()


# --- the daemon's life ----------------------------------------------------------------------------


@pytest.mark.usefixtures("runtime")
def test_start_status_stop_are_answers_whether_it_runs_or_not() -> None:
    """Each verb says the truth before, while and after a daemon runs, with the documented keys."""
    assert answer("status", code=3)["running"] is False
    assert answer("stop") == {"was_running": False, "pid": None, "finished": [], "unfinished": []}
    started = answer("start")
    again = answer("start")
    assert (started["already_running"], again["already_running"]) == (False, True)
    assert started["pid"] == again["pid"]
    status = answer("status")
    assert (status["daemon"]["pid"], status["sessions"]) == (started["pid"], [])
    restarted = answer("restart")
    assert restarted["stopped"]["pid"] == started["pid"] != restarted["started"]["pid"]
    stopped = answer("stop")
    assert (stopped["was_running"], stopped["pid"]) == (True, restarted["started"]["pid"])
    assert "recd is not running" in recd("status", code=3)


def test_twenty_starts_at_once_make_one_daemon(runtime: Path) -> None:
    """All succeed with the same pid, exactly one of them started it, and one supervisor is there."""
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(lambda _: answer("start"), range(20))]
    (pid,) = {a["pid"] for a in answers}
    assert sum(not a["already_running"] for a in answers) == 1
    supervisors = [p for p, command in processes_of(runtime).items() if "--foreground" in command]
    assert supervisors == [pid]


@pytest.mark.usefixtures("runtime")
def test_a_stop_in_the_middle_of_a_recording_loses_nothing(tmp_path: Path) -> None:
    """It says what is left and why, exit code 1; the next start goes on, and the files end complete."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
        camera = rec.stream("camera", VideoFile("camera.mp4", fps=50))

        def write(begin: int, end: int) -> None:
            for i in range(begin, end):
                assert state.write(i, t=float(i))
                assert camera.write(numbered(i), t=float(i))

        write(0, 20)
        stopped = answer("stop", "--timeout", 20, code=1)
        (left,) = stopped["unfinished"]
        assert left["session"] == rec.session
        assert left["directory"] == str(tmp_path)
        assert "still runs" in left["why"]
        write(20, 30)  # into shared memory, which outlives every daemon
        assert state.stats["state"] == "stalled"
        recd("start")
        wait_until(lambda: state.stats["state"] == "recording")
        write(30, 40)
    proved(tmp_path)
    np.testing.assert_array_equal(npz(tmp_path / "state.npz")["data"], range(40))
    np.testing.assert_array_equal(csv_numbers(tmp_path / "state.csv")[:, 1], range(40))
    assert numbers(tmp_path / "camera.mp4") == [*range(40)]


@pytest.mark.usefixtures("runtime")
def test_what_a_stop_left_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """The simulation ends while no daemon runs: ``ls`` says interrupted, ``start`` completes the files."""
    code = (
        "import subprocess, sys; from recd_client import *\n"
        "rec = Recorder('walk', dir=sys.argv[1]); s = rec.stream('s', NPZFile('s.npz'))\n"
        "for i in range(50): s.write(i, t=float(i))\n"
        "subprocess.run([sys.executable, '-m', 'recd', 'stop'], capture_output=True)\n"
        "for i in range(50, 60): s.write(i, t=float(i))\n"
        "import os; os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=PATIENCE_S)
    (session,) = answer("ls")["sessions"]
    assert session["state"] == "interrupted"
    assert "recd start" in recd("ls")
    assert answer("info", tmp_path)["state"] == "unfinished"
    recd("start")
    wait_until(lambda: answer("ls")["sessions"][0]["state"] == "finished")
    assert proved(tmp_path)["state"] == "client died"
    assert npz(tmp_path / "s.npz")["data"].tolist() == [*range(60)]


# --- what is recorded -----------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_runtime")
class TestWithADaemon:
    """One daemon serves all of these."""

    def test_status_shows_a_live_recording(self, tmp_path: Path) -> None:
        """Session, streams, counters, states and files, under the documented keys and in the text."""
        with Recorder("walk", dir=tmp_path) as rec:
            state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
            for i in range(100):
                state.write(np.zeros(4), t=float(i))
            rec.log("camera", numbered(0))
            rec.flush()
            found = answer("status")
            text = recd("status")
            (listed,) = (s for s in answer("ls")["sessions"] if s["session"] == rec.session)
        (session,) = (s for s in found["sessions"] if s["session"] == rec.session)
        assert keys(found, ("lost",)) <= documented("status")
        assert (session["name"], session["state"], session["client"]["alive"]) == ("walk", "recording", True)
        assert session["directory"] == str(tmp_path)
        streams = {s["stream"]: s for s in session["streams"]}
        told = streams["state"]
        assert (told["attempted"], told["written"], told["durable"], told["lost"]) == (100, 100, 100, {})
        assert (told["state"], told["bytes"], told["buffered_bytes"]) == ("recording", 100 * 32, 0)
        assert [(s["kind"], s["samples"]) for s in told["sinks"]] == [("npz", 100), ("csv", 100)]
        assert told["sinks"][0]["path"] == str(tmp_path / "state.npz")
        assert streams["camera"]["sinks"][0]["kind"] == "video"
        assert listed["state"] == "live"
        assert re.search(r"state +recording +100 +100 +0", text)
        assert str(tmp_path) in text

    def test_ls_and_info_tell_of_a_finished_recording(self, tmp_path: Path) -> None:
        """Everything that was recorded, with the documented keys; ``--check`` proves the files unchanged."""
        with Recorder("walk", dir=tmp_path, dt=0.5, metadata={"seed": 7}) as rec:
            state = rec.stream("state", NPZFile("state.npz"), HDF5File("state.h5"), units={"q": "rad"})
            camera = rec.stream("camera", VideoFile("camera.mp4", fps=50))
            for i in range(12):
                state.write({"q": np.zeros(3, np.float32), "n": i}, t=i * 0.5)
                camera.write(numbered(i), t=i * 0.5)
            rec.mark("fall", joint="knee")
        (listed,) = (s for s in answer("ls")["sessions"] if s["session"] == rec.session)
        assert (listed["state"], listed["streams"], listed["name"]) == ("finished", 2, "walk")
        assert keys(listed) <= documented("ls")
        found = answer("info", tmp_path, "--check")
        videos = [f.pop("video") for s in found["streams"] for f in s["files"]]
        assert {*videos[-1]} >= {"codec", "width", "height", "fps", "repeated_frames"}
        assert keys(found, ("metadata", "code", "host", "lost", "seq")) - {"joint"} <= documented("info")
        assert (found["state"], found["complete"], found["recording"]["session"]) == (
            "complete", True, rec.session,
        )  # fmt: skip
        told = {s["name"]: s for s in found["streams"]}
        assert (told["state"]["samples"], told["state"]["t_last"]) == (12, 5.5)
        assert [(f["name"], f["dtype"], f["shape"], f["unit"]) for f in told["state"]["fields"]] == [
            ("q", "<f4", [3], "rad"), ("n", "<i8", [], ""),
        ]  # fmt: skip
        assert {f["check"] for s in found["streams"] for f in s["files"]} == {"ok"}
        assert found["marks"][0]["label"] == "fall"
        text = recd("info", tmp_path)
        for word in (
            "walk: complete",
            "seed=7",
            "q (3,) float32 [rad]",
            "state.npz",
            "12 samples",
            "fall",
            "knee",
        ):
            assert word in text

    @pytest.mark.parametrize("name", ["state.csv", "state.npz", "state.h5", "camera.mp4", "camera.mkv"])
    def test_info_opens_every_kind_of_file(self, tmp_path: Path, name: str) -> None:
        """Samples, times and fields as the format tells them, and which stream of which recording it is."""
        with Recorder("walk", dir=tmp_path) as rec:
            state = rec.stream("state", CSVFile("state.csv"), NPZFile("state.npz"), HDF5File("state.h5"))
            camera = rec.stream("camera", VideoFile("camera.mp4", fps=50), VideoFile("camera.mkv", fps=50))
            for i in range(8):
                state.write({"q": np.zeros(3), "n": i}, t=i * 0.5)
                camera.write(numbered(i), t=i * 0.5)
        proved(tmp_path)
        found = answer("info", tmp_path / name)
        video = name.startswith("camera")
        kind = {".csv": "csv", ".npz": "npz", ".h5": "hdf5"}.get(Path(name).suffix, "video")
        assert (found["kind"], found["samples"], found["state"]) == (kind, 8, "complete")
        assert found["stream"] == ("camera" if video else "state")
        assert found["recording"]["session"] == rec.session
        assert found["size_bytes"] == (tmp_path / name).stat().st_size
        if not video:
            assert (found["t_first"], found["t_last"]) == (0.0, 3.5)
        assert [f["name"] for f in found["fields"]] == (["data"] if video else ["q", "n"])
        assert recd("info", tmp_path / name, "--check")

    @pytest.mark.parametrize("name", ["x.csv", "x.npz", "x.h5", "x.mp4"])
    def test_info_says_what_is_wrong_with_a_damaged_file(self, tmp_path: Path, name: str) -> None:
        """A file that was changed is told by its hash; one that cannot be opened is a clear error."""
        sinks = {
            "x.csv": CSVFile("x.csv"), "x.npz": NPZFile("x.npz"), "x.h5": HDF5File("x.h5"),
            "x.mp4": VideoFile("x.mp4", fps=50),
        }  # fmt: skip
        with Recorder(dir=tmp_path) as rec:
            stream = rec.stream("x", sinks[name])
            for i in range(10):
                stream.write(numbered(i) if name == "x.mp4" else float(i), t=float(i))
        path = tmp_path / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        said = recd("info", tmp_path, "--check", code=1)
        assert f"{path}: differs" in said
        assert "->" in said
        if name != "x.csv":
            said = recd("info", path, code=1)
            assert str(path) in said
            assert "->" in said
            assert "Traceback" not in said
        path.unlink()
        assert f"{path}: missing" in recd("info", tmp_path, "--check", code=1)

    def test_info_tells_of_a_recording_that_runs(self, tmp_path: Path) -> None:
        """State ``live``, the samples so far, and the open file, whose rows it counts."""
        with Recorder("walk", dir=tmp_path) as rec:
            stream = rec.stream("s", CSVFile("s.csv"), NPZFile("s.npz"))
            for i in range(25):
                stream.write(float(i), t=float(i))
            rec.flush()
            found = answer("info", tmp_path)
            assert (found["state"], found["streams"][0]["samples"]) == ("live", 25)
            part = answer("info", tmp_path / "s.part.csv")
            assert (part["state"], part["samples"]) == ("unfinished", 25)
            assert "is not finished" in recd("info", tmp_path / "s.part.npz", code=1)
        assert manifest_of(tmp_path)["complete"]

    def test_two_recordings_in_one_directory_are_both_told(self, tmp_path: Path) -> None:
        """``info`` on the directory shows the newest, and the other under ``others``."""
        for name in ("first", "second"):
            with Recorder(name, dir=tmp_path) as rec:
                rec.log(name, 1.0)
        found = answer("info", tmp_path, "--check")
        assert found["recording"]["name"] == "second"
        assert [o["recording"]["name"] for o in found["others"]] == ["first"]
        assert "first: complete" in recd("info", tmp_path)
