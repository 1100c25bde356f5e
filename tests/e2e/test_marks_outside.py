"""Marks from outside: set by whoever likes while a recording runs, and in its manifest whatever dies."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recd import reader
from recd.cli._common import connect
from recd_client import ClosedError, CSVFile, NPZFile, OptionError, Recorder, RecordTooLargeError
from recd_client.errors import NoSuchSessionError, RecdError
from recordings import manifest_of, proved, worker_of
from support import processes_of, wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


def call(op: str, **fields: Any) -> dict[str, Any]:
    """Ask the daemon."""
    caller = connect()
    try:
        return caller.call(op, **fields)
    finally:
        caller.close()


def mark(rec: Recorder, label: str, **fields: Any) -> dict[str, Any]:
    """Set a mark, as the page or a watcher does."""
    return dict(call("mark", session=rec.session, label=label, **fields)["mark"])


def status_of(rec: Recorder) -> dict[str, Any]:
    """The session's part of the status."""
    return next(s for s in call("status")["sessions"] if s["session"] == rec.session)


def outside(directory: Path) -> list[dict[str, Any]]:
    """The manifest's marks from outside."""
    return [m for m in manifest_of(directory)["marks"] if m.get("source")]


def test_marks_from_outside_stand_in_the_manifest_among_the_recorders_own(tmp_path: Path) -> None:
    """In the order of time; the recorder's own stay as they were, those from outside say so."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        state.write(1.0)
        rec.mark("own", a=1)
        first = mark(rec, "pushed", fields={"force": 12.5}, stream="state", t=0.25, seq=7)
        rec.mark("own again")
        second = mark(rec, "second", source="alert")
        assert status_of(rec)["marks"] == [first, second]
        assert status_of(rec)["marks_total"] == 2
    marks = proved(tmp_path)["marks"]
    assert [m["label"] for m in marks] == ["own", "pushed", "own again", "second"]
    assert set(marks[0]) == {"label", "fields", "seq", "t", "step", "mono_ns"}
    assert marks[1] == {**first, "seq": {"state": 7}, "step": None}
    assert first | {"mono_ns": 0, "wall_ns": 0} == {
        "n": 0, "label": "pushed", "fields": {"force": 12.5}, "stream": "state", "t": 0.25, "seq": 7,
        "source": "outside", "mono_ns": 0, "wall_ns": 0,
    }  # fmt: skip
    assert (marks[3]["source"], marks[3]["t"], marks[3]["stream"]) == ("alert", None, None)
    read = reader.open(tmp_path).marks
    assert [(m.label, m.source, dict(m.seq)) for m in read[1:4:2]] == [
        ("pushed", "outside", {"state": 7}),
        ("second", "alert", {}),
    ]
    assert (read[1].t, read[1].step, math.isnan(read[3].t)) == (0.25, -1, True)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"label": "recd.reset"}, OptionError, "recd.reset"),
        ({"label": ""}, OptionError, "label"),
        ({"label": 3}, OptionError, "3"),
        ({"label": "a", "fields": [1]}, OptionError, "fields"),
        ({"label": "a", "fields": {"x": "y" * 1100}}, RecordTooLargeError, "bytes"),
        ({"label": "a", "stream": "none"}, OptionError, "'none'"),
        ({"label": "a", "t": "soon"}, OptionError, "t='soon'"),
        ({"label": "a", "t": float("nan")}, OptionError, "t=nan"),
        ({"label": "a", "seq": -1}, OptionError, "seq=-1"),
        ({"label": "a", "seq": True}, OptionError, "seq=True"),
        ({"label": "a", "source": "recorder"}, OptionError, "recorder"),
    ],
)
def test_what_is_no_mark_is_refused(
    tmp_path: Path, asked: dict[str, Any], error: type[RecdError], words: str
) -> None:
    """The error names the member that is wrong, and nothing is set."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", like=0.0)
        with pytest.raises(error, match=words):
            mark(rec, **asked)
        assert status_of(rec)["marks_total"] == 0


def test_an_ended_or_unknown_session_takes_no_marks(tmp_path: Path) -> None:
    """Whoever is late is told that the recording has ended, and which never was."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", like=0.0)
    with pytest.raises(ClosedError, match="has ended"):
        mark(rec, "late")
    with pytest.raises(NoSuchSessionError):
        call("mark", session="20200101T000000-abcdef", label="x")


def test_a_killed_worker_forgets_no_mark(tmp_path: Path) -> None:
    """Its successor tells the marks that were set before, and numbers go on."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", CSVFile("s.csv")).write(1.0)
        mark(rec, "before")
        worker = worker_of(rec)
        os.kill(worker, signal.SIGKILL)
        assert mark(rec, "behind")["n"] == 1
        assert worker_of(rec) != worker
        assert [m["label"] for m in status_of(rec)["marks"]] == ["before", "behind"]
    assert [m["label"] for m in proved(tmp_path)["marks"]] == ["before", "behind"]


_WRITES_AND_WAITS = """
import sys, time
from recd_client import CSVFile, Recorder
rec = Recorder("walk", dir=sys.argv[1])
rec.stream("state", CSVFile("s.csv")).write(1.0)
rec.flush()
print(rec.session, flush=True)
time.sleep(600)
"""


def test_marks_survive_the_death_of_everything(runtime: Path, tmp_path: Path) -> None:
    """Simulation, daemon and workers killed: recd recover finds what was set, and passes over a torn line."""
    simulation = subprocess.Popen(
        [sys.executable, "-c", _WRITES_AND_WAITS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert simulation.stdout is not None
        session = simulation.stdout.readline().strip()
        call("mark", session=session, label="pushed", fields={"force": 3})
        described = json.loads(recd("info", str(tmp_path), "--json").stdout)
        assert [m["label"] for m in described["marks"]] == ["pushed"]
    finally:
        for pid in processes_of(runtime):
            os.kill(pid, signal.SIGKILL)
        simulation.kill()
        simulation.communicate()
    wait_until(lambda: not processes_of(runtime))
    (runtime / "recd.sock").unlink()  # the next daemon would have done so; here comes none
    with (tmp_path / ".recd" / session / "marks.jsonl").open("ab") as file:
        file.write(b'\n{"n": 1, "label": "half')
    done = recd("recover", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [(m["label"], m["fields"]) for m in outside(tmp_path)] == [("pushed", {"force": 3})]


def test_the_verb_sets_a_mark_by_name_or_id(tmp_path: Path) -> None:
    """Fields are numbers, true, false, null, or text; an unknown recording is named, with exit code 1."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.stream("state", like=0.0)
        done = recd(
            "mark", "walk", "pushed", "--field", "force=12.5", "--field", "by=me", "--stream", "state"
        )
        assert (done.returncode, done.stdout) == (0, "walk: mark pushed is set\n"), done.stderr
        told = json.loads(recd("mark", rec.session, "again", "--json").stdout)
        assert (told["session"], told["mark"]["n"]) == (rec.session, 1)
        wrong = recd("mark", "run", "x")
        assert wrong.returncode == 1
        assert "no recording is called 'run'" in wrong.stderr
        assert recd("mark", "walk", "x", "--field", "force").returncode == 2
        assert "recd.reset" in recd("mark", "walk", "recd.reset").stderr
    assert [m["fields"] for m in outside(tmp_path)] == [{"force": 12.5, "by": "me"}, {}]
    assert "pushed (force=12.5, by=me)" in recd("info", str(tmp_path)).stdout
