"""``manifest.json``: everything that a later reader needs to know of a recording."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from recd_client import CSVFile, NPZFile, Recorder, VideoFile
from recordings import PATIENCE_S, manifest_of, npz, numbered, proved

pytestmark = pytest.mark.usefixtures("shared_runtime")

TOP = {
    "manifest_version", "recd", "session", "name", "state", "complete", "host", "code", "metadata", "dt",
    "durability", "clocks", "marks", "streams", "stopped",
}  # fmt: skip
CODE = {"argv", "main", "executable", "cwd", "git_commit", "git_dirty", "python", "packages"}
CLOCKS = {"start_wall_ns", "start_mono_ns", "end_wall_ns", "end_mono_ns"}
STREAM = {
    "schema", "hz", "samples", "attempted", "skipped", "lost", "t_first", "t_last", "step_first", "step_last",
    "mono_first_ns", "mono_last_ns", "clock", "backward_times", "nan_times", "gaps", "state", "reason",
    "files", "bytes",
}  # fmt: skip
FILE = {"path", "kind", "part", "samples", "bytes", "sha256"}
VIDEO = {"codec", "width", "height", "padding", "fps", "frames"}


def test_it_has_every_key_that_readers_rely_on(tmp_path: Path) -> None:
    """The keys are those of the contract, with the values of this very run."""
    metadata = {"seed": 7, "gains": [1.5, np.float32(2)], "path": Path("a/b"), "none": None}
    with Recorder("walk", dir=tmp_path, dt=0.01, metadata=metadata, durability="interval") as rec:
        state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"), hz=50, units={"q": "rad"})
        camera = rec.stream("camera", VideoFile("camera.mp4"))
        for i in range(10):
            state.write({"q": np.zeros(3, np.float32), "n": i}, t=i * 0.01, step=i)
            camera.write(numbered(i), t=i * 0.01, step=i)
        rec.mark("fall", joint="knee")
    found = proved(tmp_path)
    assert {*found} >= TOP
    assert (found["manifest_version"], found["recd"], found["session"]) == (1, recd.__version__, rec.session)
    assert (found["name"], found["state"], found["complete"]) == ("walk", "complete", True)
    assert (found["dt"], found["durability"]) == (0.01, "interval")
    assert found["metadata"] == {"seed": 7, "gains": [1.5, 2.0], "path": "a/b", "none": None}
    assert {*found["clocks"]} == CLOCKS
    assert found["host"]["hostname"] == socket.gethostname()
    assert found["stopped"] is None
    (mark,) = found["marks"]
    assert {*mark} == {"label", "fields", "t", "step", "mono_ns", "seq"}
    assert mark["seq"] == {"state": 5, "camera": 10}  # by stream, the sample that would follow it
    assert (mark["label"], mark["fields"], mark["t"], mark["step"]) == ("fall", {"joint": "knee"}, 0.09, 9)

    state_, camera_ = found["streams"]["state"], found["streams"]["camera"]
    assert {*state_} >= STREAM <= {*camera_}
    assert state_["schema"] == {
        "bare": False,
        "fields": [
            {"name": "q", "dtype": "<f4", "shape": [3], "kind": "fixed", "unit": "rad"},
            {"name": "n", "dtype": "<i8", "shape": [], "kind": "fixed", "unit": ""},
        ],
    }
    assert (state_["hz"], state_["attempted"], state_["samples"], state_["skipped"]) == (50, 5, 5, 5)
    assert (state_["step_first"], state_["step_last"], state_["bytes"]) == (0, 8, 5 * 24)
    assert [{*f} >= FILE for f in state_["files"]] == [True, True]
    assert [(f["first_seq"], f["next_seq"]) for f in state_["files"]] == [(0, 5), (0, 5)]
    assert [(f["path"], f["kind"], f["part"], f["samples"]) for f in state_["files"]] == [
        ("state.npz", "npz", 0, 5), ("state.csv", "csv", 0, 5),
    ]  # fmt: skip
    (file,) = camera_["files"]
    assert {*file["video"]} >= VIDEO
    assert {*file["video"]["frames"]} == {"seq", "step", "t", "wall_ns", "repeated"}
    assert file["video"]["frames"]["step"] == [*range(10)]
    assert camera_["bytes"] == 10 * numbered(0).nbytes


def recorded_by(script: Path, *arguments: str) -> dict[str, Any]:
    """What the manifest says of the code, of a script that records into ``out`` beside it."""
    script.write_text(
        "import os, sys; from recd_client import Recorder\n"
        "with Recorder(dir=os.path.join(os.path.dirname(__file__), 'out')) as rec: rec.log('x', 1.0)\n"
    )
    subprocess.run([sys.executable, str(script), *arguments], check=True, timeout=PATIENCE_S)
    code = dict(manifest_of(script.parent / "out")["code"])
    assert {*code} >= CODE
    return code


def test_it_tells_which_program_ran(tmp_path: Path) -> None:
    """Command line, script, interpreter and versions of imported packages; no commit outside a repository."""
    script = tmp_path / "walk.py"
    code = recorded_by(script, "--speed", "2")
    assert code["argv"] == [str(script), "--speed", "2"]
    assert (code["main"], code["python"]) == (str(script), platform.python_version())
    assert code["packages"]["numpy"] == np.__version__
    assert (code["git_commit"], code["git_dirty"]) == (None, None)


@pytest.mark.requires("git")
def test_it_tells_the_commit_of_the_program(tmp_path: Path) -> None:
    """The commit of the repository that the script is in, and whether it was changed since."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    script = tmp_path / "walk.py"
    git("init", "--quiet")
    (tmp_path / "other.py").write_text("a = 1\n")
    git("add", "other.py")
    git("commit", "--quiet", "-m", "first")
    code = recorded_by(script)
    assert (code["git_commit"], code["git_dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "other.py").write_text("a = 2\n")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "x.npz").unlink()
    assert recorded_by(script)["git_dirty"] is True


@pytest.mark.parametrize("content", ['{"mine": 1}', "not json", '{"session": "another"}', "[]"])
def test_a_file_of_that_name_is_left_alone(tmp_path: Path, content: str) -> None:
    """Whatever stands under ``manifest.json`` stays; the recording's goes beside it, under its session."""
    (tmp_path / "manifest.json").write_text(content)
    with Recorder(dir=tmp_path) as rec:
        rec.log("x", 1.0)
        summary = rec.close()
    assert (tmp_path / "manifest.json").read_text() == content
    assert summary.manifest == tmp_path / f"manifest.{rec.session}.json"
    assert json.loads(summary.manifest.read_text())["session"] == rec.session
    assert npz(tmp_path / "x.npz")["data"].tolist() == [1.0]


@pytest.mark.parametrize("all_of_it", [True, False])
def test_the_manifest_of_what_was_replaced_tells_of_no_file_that_is_not_its_own(
    tmp_path: Path, all_of_it: bool
) -> None:
    """With ``replace`` the newest stands under the first name; an older one goes, or keeps what files it has."""
    with Recorder(dir=tmp_path) as rec:
        rec.log("x", 1.0)
        rec.log("y", 1.0)
    old = tmp_path / f"manifest.{rec.session}.json"
    with Recorder(dir=tmp_path, overwrite="replace") as rec:
        rec.log("x", 2.0)
        if all_of_it:
            rec.log("y", 2.0)
        rec.flush()
        told = json.loads((tmp_path / "manifest.json").read_text())
        assert told["session"] != rec.session  # until the files are replaced as well
        summary = rec.close()
    assert summary.manifest == tmp_path / "manifest.json"
    assert json.loads(summary.manifest.read_text())["session"] == rec.session
    assert npz(tmp_path / "x.npz")["data"].tolist() == [2.0]
    assert old.exists() != all_of_it
    if not all_of_it:
        streams = json.loads(old.read_text())["streams"]
        assert {n: [f["path"] for f in s["files"]] for n, s in streams.items()} == {"x": [], "y": ["y.npz"]}
    run = subprocess.run(
        [sys.executable, "-m", "recd", "verify", str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout


def test_a_table_of_frames_stands_on_one_line(tmp_path: Path) -> None:
    """A manifest can be read by people, too: it has no line per frame."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("v", VideoFile("v.mp4", fps=50))
        for i in range(100):
            stream.write(numbered(i), t=i / 50)
    lines = (tmp_path / "manifest.json").read_text().splitlines()
    assert len(lines) < 200
    assert os.path.getsize(tmp_path / "manifest.json") < 20_000
