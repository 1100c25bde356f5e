"""``recd play`` and ``recd.play`` on real recordings: to stdout, to a function, and back into rings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import recd
from recd.player import MARK
from recd.player.outputs.sinks import read_sinks
from recd_client import CSVFile, HDF5File, NPZFile, NullSink, Ragged, Recorder, VideoFile
from recordings import (
    PATIENCE_S,
    csv_numbers,
    manifest_of,
    npz,
    numbered,
    numbers,
    proved,
    read_csv,
    stopped,
    worker_of,
)
from support import wait_until


def recd_play(*arguments: object, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``recd play`` to its end, in pipes."""
    done = subprocess.run(
        [sys.executable, "-m", "recd", "play", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def recording(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of numbers, text, contacts and pictures, with marks and a gap in the numbers."""
    directory = tmp_path_factory.mktemp("walk")
    like = {"qpos": np.zeros(3, np.float32), "phase": "", "contacts": Ragged((2,)), "n": np.int16(0)}
    rec = Recorder("walk", dir=directory, dt=0.01, metadata={"seed": 7})
    state = rec.stream("state", NPZFile("state.npz"), like=like, units={"qpos": "rad"}, buffer_bytes="16KiB")
    reward = rec.stream("reward", CSVFile("reward.csv"), HDF5File("reward.h5"))
    front = rec.stream("front", VideoFile("front.mp4", fps=50), hz=50)
    for episode in range(2):
        for i in range(60):
            t = i * 0.01
            contacts = np.full((i % 4, 2), t)
            sample = {
                "qpos": np.sin(t + np.arange(3)).astype(np.float32),
                "phase": f"p{i % 3}",
                "contacts": contacts,
                "n": i,
            }
            state.write(sample, t=t, step=i)
            reward.write(-t, t=t, step=i)
            front.write(numbered(i // 2), t=t, step=i)
            if i == 30:
                rec.mark("half", episode=episode)
        if episode == 0:
            with stopped(worker_of(rec)):
                while state.write(sample, t=0.6, step=60):
                    continue
                assert not state.write(sample, t=0.61, step=61)
            rec.flush()
            rec.reset()
    with pytest.warns(UserWarning, match="lost"):
        rec.close()
    return directory


# --- Python -------------------------------------------------------------------------------------------


def test_a_loop_sees_everything_in_order(recording: Path) -> None:
    """Samples as dicts, bare values and frames, with marks between them, none twice."""
    seen: dict[str, list[Any]] = {}
    for t, name, value in recd.play(recording, rate=0):
        seen.setdefault(name, []).append((t, value))
    state = npz(recording / "state.npz")
    assert [t for t, _ in seen["state"]] == state["timestamp"].tolist()
    assert np.array_equal([v["qpos"] for _, v in seen["state"]], state["qpos"])
    assert [v["phase"] for _, v in seen["state"]] == state["phase"].tolist()
    assert np.array_equal(np.concatenate([v["contacts"] for _, v in seen["state"]]), state["contacts"])
    assert [v for _, v in seen["reward"]] == csv_numbers(recording / "reward.csv")[:, 1].tolist()
    assert [round((float(v.mean()) - 10) / 6) for _, v in seen["front"]] == numbers(recording / "front.mp4")
    assert [v.label for _, v in seen[MARK]] == ["half", "recd.reset", "half"]


def test_the_pace_is_that_of_the_recording(recording: Path) -> None:
    """It takes no less than the time that was recorded, and says how late it was."""
    begin_s = time.monotonic()
    player = recd.play(recording, rate=4.0, streams=["reward"])
    events = list(player)
    assert time.monotonic() - begin_s >= (events[-1].position - events[0].position) / 4.0 - 1e-3
    assert player.pacing.events == len(events)
    assert 0 <= player.pacing.late_p99_s <= player.pacing.late_max_s


# --- printed ------------------------------------------------------------------------------------------


def test_one_stream_is_printed_as_its_csv(recording: Path) -> None:
    """Row for row what the file holds."""
    done = recd_play(recording, "--rate", "0", "--streams", "reward")
    assert done.stdout == (recording / "reward.csv").read_text()
    assert "played 120 samples of 1 stream" in done.stderr


def test_a_reader_of_stdout_may_leave(recording: Path) -> None:
    """No traceback, and success: it has seen what it wanted."""
    command = [sys.executable, "-m", "recd", "play", str(recording), "--rate", "50", "--loop"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as player:
        assert player.stdout is not None
        assert player.stderr is not None
        assert player.stdout.readline().startswith('{"stream":')
        player.stdout.close()
        errors = player.stderr.read()
        assert player.wait(PATIENCE_S) == 0, errors
    assert errors.startswith("played ")


def test_several_streams_are_printed_as_objects(recording: Path) -> None:
    """One per line, with the stream's name; of a picture its size; marks as events."""
    lines = [json.loads(line) for line in recd_play(recording, "--rate", "0").stdout.splitlines()]
    by_stream = {name: [x for x in lines if x.get("stream") == name] for name in ("state", "reward", "front")}
    state = npz(recording / "state.npz")
    assert [x["n"] for x in by_stream["state"]] == state["n"].tolist()
    assert by_stream["reward"][30]["data"] == -0.3
    assert by_stream["front"][0] | {"seq": 0, "t": 0.0, "height": 48, "width": 64} == by_stream["front"][0]
    assert [x["label"] for x in lines if x.get("event") == "mark"] == ["half", "recd.reset", "half"]


def test_a_film_alone_is_played(recording: Path) -> None:
    """In a pipe its frames are objects."""
    lines = recd_play(recording / "front.mp4", "--rate", "0", "--streams", "front").stdout.splitlines()
    assert sum('"height":48' in line for line in lines) == 60


def test_a_stretch_is_played_alone(recording: Path) -> None:
    """Offset, duration and end are seconds of the recording; behind the reset they go on."""

    def times(*options: str) -> list[float]:
        rows = recd_play(recording, "--rate", "0", "--streams", "reward", *options).stdout.splitlines()[1:]
        return [float(row.split(",")[0]) for row in rows]

    assert times("--start-offset", "0.575", "--until", "0.585") == [0.58]
    assert times("--start-offset", "0.5", "--duration", "0.025") == [0.5, 0.51, 0.52]
    assert times("--until", "0.605")[-2:] == [0.59, 0.0]


def test_names_choose_streams(recording: Path) -> None:
    """By name, by expression, and what is excluded."""

    def played(*options: str) -> set[str]:
        out = recd_play(recording, "--rate", "0", "--format", "json", *options).stdout
        return {x["stream"] for x in map(json.loads, out.splitlines()) if "stream" in x}

    assert played("--regex", "f.*|reward") == {"front", "reward"}
    assert played("--exclude", "f.*") == {"state", "reward"}
    assert played("--streams", "state", "--regex", "rew.*") == {"state", "reward"}


# --- a function ---------------------------------------------------------------------------------------


def test_a_function_gets_each_event(recording: Path, tmp_path: Path) -> None:
    """A module of the working directory is found."""
    (tmp_path / "looking.py").write_text(
        "def look(t, name, value):\n    print(t, name, type(value).__name__)\n"
    )
    done = recd_play(recording, "--rate", "0", "--to", "looking:look", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "0.0 state dict"
    assert sum(line.endswith("front ndarray") for line in lines) == 60
    assert sum(" @mark Mark" in line for line in lines) == 3


# --- back into rings ----------------------------------------------------------------------------------


def test_a_replay_is_recorded_again_value_for_value(recording: Path, tmp_path: Path) -> None:
    """Arrays, gaps with their causes, marks, units, steps and the film are those of the source, which is named."""
    recd_play(recording, "--rate", "0", "--record", "npz,mp4", "--dir", tmp_path / "again")
    first, again = manifest_of(recording), proved(tmp_path / "again")
    ours, theirs = npz(recording / "state.npz"), npz(tmp_path / "again" / "state.npz")
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype
        assert values.tobytes() == theirs[name].tobytes(), name
    reward = csv_numbers(recording / "reward.csv")
    assert npz(tmp_path / "again" / "reward.npz")["data"].tolist() == reward[:, 1].tolist()
    assert numbers(tmp_path / "again" / "front.mp4") == numbers(recording / "front.mp4")
    for name, stream in first["streams"].items():
        other = again["streams"][name]
        assert other["schema"] == stream["schema"] or name == "front"
        assert [other[k] for k in ("attempted", "samples", "lost", "hz", "t_first", "t_last")] == [
            stream[k] for k in ("attempted", "samples", "lost", "hz", "t_first", "t_last")
        ]
        keys = ("cause", "first_seq", "last_seq", "count")
        assert [[g[k] for k in keys] for g in other["gaps"]] == [[g[k] for k in keys] for g in stream["gaps"]]
    assert first["streams"]["state"]["lost"]["full"] >= 2
    told = [[(m["label"], m["fields"], m["t"], m["seq"]) for m in x["marks"]] for x in (first, again)]
    assert told[0] == told[1]
    assert again["dt"] == 0.01
    assert again["metadata"]["seed"] == 7
    source = again["metadata"]["replay_of"]
    assert source["session"] == first["session"]
    assert source["manifest_sha256"] == hashlib.sha256((recording / "manifest.json").read_bytes()).hexdigest()
    frames = [x["streams"]["front"]["files"][0]["video"]["frames"] for x in (first, again)]
    assert [frames[0][k] for k in ("seq", "t", "step")] == [frames[1][k] for k in ("seq", "t", "step")]


def test_what_was_discarded_is_no_loss(shared_runtime: Path, tmp_path: Path) -> None:
    """Neither are its samples recorded again, nor is what it left."""
    with Recorder("tries", dir=tmp_path / "first", dt=0.1) as rec:
        state = rec.stream("state", NPZFile("state.npz"), like=0)
        for i in range(30):
            state.write(i)
            if i in (9, 19):
                (rec.discard if i == 9 else rec.reset)()
    recd_play(tmp_path / "first", "--rate", "0", "--record", "npz", "--dir", tmp_path / "again")
    assert npz(tmp_path / "again" / "state.npz")["data"].tolist() == list(range(10, 30))
    manifest = proved(tmp_path / "again")
    assert manifest["streams"]["state"]["lost"] == {}
    assert [mark["label"] for mark in manifest["marks"]] == ["recd.reset"]


def test_a_file_says_what_is_recorded_of_each_stream(recording: Path, tmp_path: Path) -> None:
    """TOML: a table per stream, a kind of sink with its file, or with its options."""
    (tmp_path / "sinks.toml").write_text(
        '[state]\nhdf5 = "s.h5"\n[reward]\ncsv = { filename = "r.csv", save_on_reset = true }\n'
    )
    recd_play(recording, "--rate", "0", "--sinks", tmp_path / "sinks.toml", "--dir", tmp_path / "again")
    manifest = proved(tmp_path / "again")
    files = {name: [f["path"] for f in s["files"]] for name, s in manifest["streams"].items()}
    assert files == {"state": ["s.h5"], "reward": ["r_0.csv", "r_1.csv"], "front": []}
    with h5py.File(tmp_path / "again" / "s.h5") as file:
        assert np.array_equal(file["qpos"][:], npz(recording / "state.npz")["qpos"])
        assert file["qpos"].attrs["units"] == "rad"
    rows = [row for name in files["reward"] for row in read_csv(tmp_path / "again" / name)[1]]
    assert rows == read_csv(recording / "reward.csv")[1]


def test_the_file_of_sinks_in_the_guide_is_one(recording: Path, tmp_path: Path) -> None:
    """What docs/playing.md shows is understood, for the streams that it names."""
    text = (Path(__file__).parents[2] / "docs" / "playing.md").read_text()
    (tmp_path / "sinks.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    sinks = read_sinks(tmp_path / "sinks.toml", recd.open(recording).streams)
    assert sinks == {
        "state": (HDF5File("state.h5"), CSVFile("state.csv", save_on_reset=True)),
        "front": (VideoFile("front.mp4", fps=50, crf=18),),
        "reward": (NullSink(),),
    }


def test_a_live_replay_is_a_session_like_any_other(recording: Path, shared_runtime: Path) -> None:
    """``recd status`` and ``recd tail`` see it; stopped from outside it ends; no file and no directory is left."""
    player = start_live(recording, "--rate", "1", "--loop")
    try:
        session = live_session("state")
        tail = [sys.executable, "-m", "recd", "tail", f"{session['session']}/reward", "-n", "1"]
        done = subprocess.run(tail, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.stdout.startswith("timestamp,data")
        stop = [sys.executable, "-m", "recd", "stop", session["session"]]
        subprocess.run(stop, check=True, capture_output=True, timeout=PATIENCE_S)
        _, errors = player.communicate(timeout=PATIENCE_S)
        assert player.returncode == 0, errors
        assert errors.startswith("the session was stopped from outside")
        assert not Path(session["directory"]).exists()
    finally:
        player.kill()
        player.communicate()


def test_a_killed_player_leaves_a_session_that_the_daemon_finishes(
    recording: Path, shared_runtime: Path
) -> None:
    """As when any simulation dies: what was played is in its files, and the manifest says ``client died``."""
    directory = shared_runtime.parent / "killed"
    player = start_live(recording, "--rate", "0.5", "--record", "npz,mp4", "--dir", directory)
    try:
        wait_until(lambda: live_session("state")["streams"][0]["written"] > 10)
        player.kill()
        player.communicate()
        wait_until(lambda: (directory / "manifest.json").exists() and not (directory / ".recd").exists())
    finally:
        player.kill()
        player.communicate()
    manifest = manifest_of(directory)
    assert manifest["state"] == "client died"
    replayed, source = npz(directory / "state.npz")["n"], npz(recording / "state.npz")["n"]
    assert 10 < len(replayed) < len(source)
    assert np.array_equal(replayed, source[: len(replayed)])


def test_ctrl_c_finishes_what_was_recorded(recording: Path, shared_runtime: Path) -> None:
    """Exit code 130, and the files hold all that was played."""
    directory = shared_runtime.parent / "interrupted"
    player = start_live(recording, "--rate", "0.5", "--record", "npz,mp4", "--dir", directory)
    try:
        wait_until(lambda: live_session("state")["streams"][0]["written"] > 10)
        player.send_signal(signal.SIGINT)
        _, errors = player.communicate(timeout=PATIENCE_S)
    finally:
        player.kill()
        player.communicate()
    assert player.returncode == 130, errors
    samples = proved(directory)["streams"]["state"]["samples"]
    assert len(npz(directory / "state.npz")["n"]) == samples > 10


def start_live(recording: Path, *arguments: object) -> subprocess.Popen[str]:
    """A player in another process, into rings."""
    command = [sys.executable, "-m", "recd", "play", str(recording), "--to", "live", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def live_session(stream: str) -> dict[str, Any]:
    """The session that runs, once it has samples of a stream."""

    def look() -> dict[str, Any] | None:
        done = subprocess.run(
            [sys.executable, "-m", "recd", "status", "--json"], capture_output=True, text=True
        )
        sessions = json.loads(done.stdout)["sessions"]
        for session in sessions:
            if any(s["stream"] == stream and s["written"] for s in session["streams"]):
                return dict(session)
        return None

    return wait_until(look, timeout_s=PATIENCE_S)  # type: ignore[return-value]


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--regex", "nothing"], "no stream is left, the recording has state, reward, front"),
        (["--regex", "("], "regex='(' is no regular expression"),
        (["--streams", "none"], "no stream 'none', the recording has"),
        (["--start-offset", "0.5", "--until", "0.2"], "nothing to play from 0.5 s to 0.2 s"),
        (["--start-offset", "99"], "nothing to play from 99 s"),
        (["--start-offset", "-1"], "--start-offset -1.0: expected seconds >= 0"),
        (["--rate", "-1"], "rate=-1.0: expected a number >= 0"),
        (["--format", "csv"], "prints one stream of numbers"),
        (["--to", "nowhere"], "expected terminal, window, live or module:function"),
        (["--to", "no_such_module:f"], "'no_such_module' cannot be imported"),
        (["--to", "json:no_such"], "has no 'no_such'"),
        (["--to", "live", "--format", "csv"], "--format goes with --to terminal"),
        (["--to", "terminal", "--record", "npz"], "--record and --sinks go with --to live"),
        (["--record", "npz", "--sinks", "x"], "both say what is recorded"),
        (["--record", "npz", "--loop"], "--loop would record the same again and again"),
        (["--record", "bag"], "'bag' is no format"),
        (["--record", "mp4", "--streams", "reward"], "none of reward can be recorded so"),
        (["--sinks", "no_such.toml"], "no_such.toml cannot be read"),
        (["--start-paused"], "--start-paused needs a terminal"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error(
    recording: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    """Exit code 2; stderr says what is wrong and what to do."""
    done = recd_play(recording, *arguments, cwd=tmp_path, code=2)
    assert said in done.stderr
    assert "\n  -> " in done.stderr
    assert done.stdout == ""


def test_a_window_without_a_display_is_an_error(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what else there is to look with."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "no display here" in recd_play(recording, "--to", "window", code=2).stderr


def test_a_path_without_a_recording_is_an_error(tmp_path: Path) -> None:
    """Nothing there, and nothing in it."""
    for path in (tmp_path / "none", tmp_path):
        assert "\n  -> " in recd_play(path, code=1).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[state\n", "is no TOML"),
        ('[none]\nnpz = "x.npz"\n', "names stream 'none'; played are state, reward, front"),
        ('state = "x.npz"\n', "[state] in"),
        ('[state]\nnpz = "x.csv"\n', "[state] npz: "),
        ('[state]\nbag = "x.bag"\n', "[state] bag: "),
    ],
)
def test_a_wrong_file_of_sinks_is_an_error(recording: Path, tmp_path: Path, text: str, said: str) -> None:
    """It names the file, the table and what is allowed."""
    (tmp_path / "sinks.toml").write_text(text)
    assert said in recd_play(recording, "--sinks", tmp_path / "sinks.toml", code=2).stderr


def test_a_recording_without_samples_is_an_error(shared_runtime: Path, tmp_path: Path) -> None:
    """It says that there is none."""
    with Recorder("empty", dir=tmp_path) as rec:
        rec.stream("state", NPZFile("s.npz"), like=0.0)
    assert "holds no sample of state" in recd_play(tmp_path, code=1).stderr


def test_what_is_missing_is_named_and_the_rest_is_played(recording: Path, tmp_path: Path) -> None:
    """One file is gone, another cut short."""
    shutil.copytree(recording, tmp_path / "half")
    (tmp_path / "half" / "state.npz").unlink()
    done = recd_play(tmp_path / "half", "--rate", "0", "--exclude", "front")
    assert "warning: " in done.stderr
    assert "state.npz" in done.stderr
    assert done.stdout == (recording / "reward.csv").read_text()
    os.truncate(tmp_path / "half" / "front.mp4", 3000)
    done = recd_play(tmp_path / "half", "--rate", "0", "--format", "json")
    assert "front" in done.stderr
    assert sum('"stream":"reward"' in line for line in done.stdout.splitlines()) == 120


def test_a_recording_that_was_killed_is_played_from_its_log(runtime: Path, tmp_path: Path) -> None:
    """Before anything has finished it: what was written is there."""
    code = (
        "import os, sys, signal\nfrom recd_client import *\n"
        "rec = Recorder('walk', dir=sys.argv[1], dt=0.01)\n"
        "s = rec.stream('state', NPZFile('s.npz'))\n"
        "for i in range(50): s.write({'n': i}, t=i * 0.01)\n"
        "rec.flush()\nprint('ready', flush=True)\nsys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe, text=True
    ) as sim:
        assert sim.stdout is not None
        assert sim.stdout.readline() == "ready\n"
        assert [e.value["n"] for e in recd.play(tmp_path, rate=0)] == list(range(50))
        sim.kill()
    wait_until(lambda: (tmp_path / "manifest.json").exists() and not (tmp_path / ".recd").exists())


def test_a_function_that_raises_ends_the_playback_with_its_error(recording: Path, tmp_path: Path) -> None:
    """Its traceback is shown, as it is the user's."""
    (tmp_path / "looking.py").write_text("def look(t, name, value):\n    raise ValueError('no more')\n")
    done = recd_play(recording, "--rate", "0", "--to", "looking:look", cwd=tmp_path, code=1)
    assert "ValueError: no more" in done.stderr
