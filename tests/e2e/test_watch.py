"""``recd watch``: it fires at the exact sample, at edges only, not too often; and nobody notices that it looks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd.cli._common import connect
from recd_client import CSVFile, NPZFile, Recorder
from recd_client.process import is_alive, start_ticks
from recordings import alerts_in, npz, proved, stopped, worker_of
from support import readable, wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


class Watch:
    """``recd watch`` as a process; :meth:`next` is the next line of its output, as JSON."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recd", "watch", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next(self) -> dict[str, Any]:
        """What it tells next; waits for it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"it ended ({self.process.wait()}): {self.process.communicate()[1]}")
        return dict(json.loads(line))

    def says(self, words: str) -> str:
        """Wait until it says so on its standard error; returns the line."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            if words in line:
                return line
        raise AssertionError(f"it ended ({self.process.wait()}) before it said {words!r}")

    def ended(self) -> tuple[int, str, str]:
        """Exit code, and the rest of what it said."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def watch(*arguments: str, looks: bool = True) -> Iterator[Watch]:
    """It looks at its stream from the beginning of the block on, and is gone behind it."""
    one = Watch(*arguments)
    try:
        if looks:
            one.says("watching ")
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        # not until their end: a command that outlives it holds that open
        for pipe in (one.process.stdout, one.process.stderr):
            if pipe is not None:
                pipe.close()


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


def marked(rec: Recorder, count: int) -> bool:
    """Whether the session has so many marks from outside."""
    caller = connect()
    try:
        sessions = caller.call("status", session=rec.session)["sessions"]
        return len(sessions[0]["marks"]) == count
    finally:
        caller.close()


def test_it_fires_at_the_exact_sample_of_each_edge(tmp_path: Path) -> None:
    """Every sample is looked at, not only the newest; what holds on is told once; each is a mark."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        qpos = np.array([0.0, 0.0, 0.8])
        state.write({"qpos": qpos}, t=0.0)
        with watch("state.qpos[2] < 0.2", "--every", "0", "--session", "walk") as told:
            low = {400, *range(1000, 1500), 2999}
            for i in range(1, 3000):
                qpos[2] = 0.125 if i in low else 0.8
                state.write({"qpos": qpos}, t=i / 100)
            found = [told.next() for _ in range(3)]
            wait_until(lambda: marked(rec, 3))
        assert [(f["seq"], f["t"], f["value"]) for f in found] == [
            (400, 4.0, 0.125), (1000, 10.0, 0.125), (2999, 29.99, 0.125)
        ]  # fmt: skip
        assert {(f["session"], f["name"], f["stream"], f["held_back"]) for f in found} == {
            (rec.session, "walk", "state", 0)
        }
    assert [(m["seq"], m["fields"]["condition"]) for m in alerts_in(tmp_path)] == [
        (seq, "state.qpos[2] < 0.2") for seq in (400, 1000, 2999)
    ]
    assert len(npz(tmp_path / "s.npz")["timestamp"]) == 3000


def test_it_tells_once_in_a_while_and_counts_what_it_held_back(tmp_path: Path) -> None:
    """Edges that come too soon are told as a number with the next one."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0)
        with watch("state > 5", "--every", "0.5", "--no-mark") as told:
            assert told.process.stdout is not None
            lines: list[dict[str, Any]] = []
            while len(lines) < 2:
                state.write(9.0)
                state.write(0.0)
                if readable(told.process.stdout, 0.01):
                    lines.append(told.next())
            first, second = lines
            assert first["held_back"] == 0
            assert second["held_back"] == (second["seq"] - first["seq"]) // 2 - 1
            assert second["held_back"] > 0
    assert alerts_in(tmp_path) == []


@pytest.mark.filterwarnings("ignore::recd_client.DataLossWarning")
def test_nan_stall_and_loss_are_told(tmp_path: Path) -> None:
    """Of a stream: a NaN in any field, no sample for a while, samples that were lost; of a recording, too."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"), buffer_bytes=1 << 16)
        state.write({"a": 1.0, "b": np.zeros(3)})
        with watch(
            "nan(state)", "stalled(state, 0.3)", "lost()", "--label", "ouch", "--session", rec.session
        ) as told:
            state.write({"a": 1.0, "b": np.array([0, np.nan, 0])})
            found = [told.next(), told.next()]
            assert {f["condition"] for f in found} == {"nan(state)", "stalled(state, 0.3)"}
            assert all(f["stream"] == "state" for f in found)
            worker = worker_of(rec)
            with stopped(worker):
                while state.write({"a": 1.0, "b": np.zeros(3)}):
                    pass
                lost = told.next()
                while lost["condition"] != "lost()":
                    lost = told.next()
        assert (lost["stream"], lost["seq"]) == (None, None)
        assert lost["value"] >= 1
    assert {m["label"] for m in alerts_in(tmp_path)} == {"ouch"}


def test_a_pause_is_no_stall(tmp_path: Path) -> None:
    """Nothing is expected of a recorder that pauses; once it has resumed, silence counts again."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0)
        rec.pause()
        with watch("stalled(state, 0.2)", "--for", "1.5") as told:
            code, out, _ = told.ended()
            assert (code, out) == (0, "")
        rec.resume()
        with watch("stalled(state, 0.2)", "--once") as told:
            assert told.ended()[0] == 0


def test_a_command_is_told_what_happened(tmp_path: Path) -> None:
    """Its environment says it; one that fails or hangs is told of on stderr, and the watching goes on."""
    with Recorder("walk", dir=tmp_path / "run") as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0, t=0.0)
        out = tmp_path / "out"
        command = (
            f'echo "$RECD_ALERT|$RECD_SESSION|$RECD_STREAM|$RECD_T|$RECD_SEQ|$RECD_VALUE|$RECD_DIRECTORY" >> {out}; '
            f"[ $RECD_SEQ = 1 ] && exit 3; echo $$ > {out}.pid; sleep 1000; true"
        )
        with watch("state > 5", "--every", "0", "--command", command, "--command-timeout", "0.5") as told:
            state.write(7.0, t=0.5)
            told.next()
            assert "failed: exit code 3" in told.says("failed")
            state.write(0.0, t=1.0)
            state.write(8.0, t=1.5)
            told.next()
            assert "ran for more than 0.5 s" in told.says("was killed")
            group = int((tmp_path / "out.pid").read_text())
            wait_until(lambda: not _group_lives(group))
            state.write(0.0, t=2.0)
            state.write(9.0, t=2.5)
            assert told.next()["seq"] == 5
        lines = out.read_text().splitlines()
        assert lines[0] == f"state > 5|{rec.session}|state|0.5|1|7.0|{tmp_path / 'run'}"
        assert [line.split("|")[4] for line in lines[:2]] == ["1", "3"]


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_once_ends_with_the_first(tmp_path: Path) -> None:
    """Its mark is set and its command has run by then; with --for in vain, the exit code is 1."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(9.0)
        out = tmp_path / "out"
        with watch("state > 5", "--once", "--command", f"sleep 0.2; echo done > {out}") as told:
            assert told.ended()[0] == 0
        assert out.read_text() == "done\n"
        assert marked(rec, 1)
        with watch("state > 50", "--once", "--for", "0.5") as told:
            assert told.ended()[0] == 1


def test_it_waits_for_what_has_not_begun_and_says_so(tmp_path: Path) -> None:
    """Without a recording, and for a stream that begins later; that one is looked at from its first sample."""
    with watch("state > 5", looks=False) as told:
        assert "no recording runs" in told.says("waiting")
        with Recorder("walk", dir=tmp_path) as rec:
            rec.stream("other", CSVFile("o.csv")).write(1.0)
            assert told.says("waiting for stream").endswith("its streams: other\n")
            state = rec.stream("state", CSVFile("s.csv"))
            state.write(9.0)
            state.write(1.0)
            assert told.next()["seq"] == 0


def test_a_daemon_that_is_replaced_is_waited_for(runtime: Path, tmp_path: Path) -> None:
    """It says that nobody answers, looks on at the samples, and sets its marks with the next daemon."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0)
        with watch("state > 5", "--every", "0") as told:
            state.write(9.0)
            told.next()
            wait_until(lambda: marked(rec, 1))
            caller = connect()
            os.kill(int(caller.server["pid"]), signal.SIGKILL)
            caller.close()
            told.says("does not answer")
            state.write(0.0)
            state.write(8.0)
            assert told.next()["seq"] == 3
            told.says("answers again")
            wait_until(lambda: marked(rec, 2))
    assert [m["seq"] for m in alerts_in(tmp_path)] == [1, 3]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("state.height < 1", ["no field 'height'", "state.qpos, state.step_ms"]),
        ("state < 1", ["has 2 fields", "state.qpos"]),
        ("state.qpos < 1", ["3 values", "any(state.qpos < 1)"]),
        ("state.qpos[3] < 1", ["'state.qpos[3]'", "shape (3,)"]),
        ("state.step_ms", ["is a number, no condition"]),
        ("state.qpos[0] < 1 or state.step_ms", ["'state.step_ms': is a number, no truth"]),
        ("__import__('os')", ["'__import__' is no function"]),
        ("state.qpos[i] < 1", ["'i' is no index"]),
        ("state.qpos[2] <", ["invalid syntax"]),
    ],
)
def test_a_bad_condition_ends_with_the_piece_that_is_wrong(
    tmp_path: Path, condition: str, words: list[str]
) -> None:
    """Exit code 2, and the message names the text and what is there instead."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", CSVFile("s.csv")).write({"qpos": np.zeros(3), "step_ms": 1.0})
        done = recd("watch", condition)
        assert done.returncode == 2, done
        assert done.stdout == ""
        for word in words:
            assert word in done.stderr


def test_two_recordings_are_watched_each_on_its_own(tmp_path: Path) -> None:
    """Without --session all that run; with it only those of that name."""
    with Recorder("a", dir=tmp_path / "a") as one, Recorder("b", dir=tmp_path / "b") as two:
        streams = [rec.stream("state", CSVFile("s.csv")) for rec in (one, two)]
        for stream in streams:
            stream.write(0.0)
        with watch("state > 5") as every, watch("state > 5", "--session", "b", "--no-mark") as of_b:
            for stream in streams:
                stream.write(9.0)
            assert {every.next()["name"] for _ in range(2)} == {"a", "b"}
            assert of_b.next()["name"] == "b"
            wait_until(lambda: marked(one, 1) and marked(two, 1))


def test_a_stopped_or_killed_watcher_changes_nothing(tmp_path: Path) -> None:
    """The file is the same whether somebody watches, has stopped, or was killed while looking."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        state.write(0.0)
        with watch("state < 0", "--once") as frozen, watch("state > 5") as killed:
            state.write(9.0)
            killed.next()
            wait_until(lambda: marked(rec, 1))
            with stopped(frozen.process.pid):
                killed.process.kill()
                for i in range(20_000):
                    assert state.write(float(i))
                summary = rec.close()
    assert summary.complete
    assert npz(tmp_path / "s.npz")["data"].tolist() == [0.0, 9.0, *map(float, range(20_000))]
    proved(tmp_path)


def test_a_running_command_does_not_outlive_its_watcher(tmp_path: Path) -> None:
    """Ctrl-C ends the command with its group; so does a kill of the watcher."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(9.0)
        for how in (signal.SIGINT, signal.SIGKILL):
            pid_file = tmp_path / f"pid{how}"
            with watch("state > 5", "--command", f"echo $$ > {pid_file}; exec sleep 1000") as told:
                told.next()
                pid = int(wait_until(lambda f=pid_file: f.exists() and f.read_text().strip()))
                ticks = start_ticks(pid)
                told.process.send_signal(how)
                told.process.wait()
                wait_until(lambda p=pid, t=ticks: not is_alive(p, t))


def test_status_and_top_show_recent_alerts(tmp_path: Path) -> None:
    """Among what needs attention, the newest first, with what was seen."""
    with Recorder("walk", dir=tmp_path, alerts=["state > 5"]) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0, t=0.0)
        state.write(9.0, t=1.5)
        wait_until(lambda: marked(rec, 1))
        words = "walk / state: alert state > 5: 9.0 at t = 1.5"
        shown = recd("status").stdout
        assert f"! {words}" in shown
        assert "alert state > 5: watching, fired 1 time" in shown
        assert words in recd("top", "--once", "--interval", "0.1").stdout
        data = json.loads(recd("top", "--json", "--interval", "0.1").stdout)
        (warning,) = data["warnings"]
        assert (warning["session"], warning["stream"], warning["is_loss"]) == (rec.session, "state", False)
        assert warning["what"].startswith(words)
        assert data["sessions"][0]["marks"][0]["seq"] == 1
