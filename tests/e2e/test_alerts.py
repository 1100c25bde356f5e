"""Alerts of a recorder: its daemon watches, the simulation is not touched, and the watcher may die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd.cli._common import connect
from recd_client import Alert, CodeNotAllowedError, CSVFile, NPZFile, OptionError, Recorder
from recd_client.process import is_alive, start_ticks
from recordings import alerts_in, npz, proved, worker_of
from support import processes_of, wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


def status_of(rec: Recorder) -> dict[str, Any]:
    """The session's part of the status."""
    caller = connect()
    try:
        return next(s for s in caller.call("status")["sessions"] if s["session"] == rec.session)
    finally:
        caller.close()


def watching(rec: Recorder) -> list[dict[str, Any]]:
    """How the alerts stand, once all are watched."""

    def found() -> list[dict[str, Any]]:
        alerts = status_of(rec)["alerts"]
        return alerts if alerts and all(a["state"] == "watching" for a in alerts) else []

    return wait_until(found)


def fall(height: float) -> dict[str, Any]:
    """A sample of a robot that stands so high."""
    return {"qpos": np.array([0.0, 0.0, height]), "qvel": np.zeros(6)}


def test_an_alert_is_a_mark_at_the_exact_sample(tmp_path: Path) -> None:
    """Only where the condition begins to hold, with the sample's time and number, and what it saw there."""
    with Recorder("walk", dir=tmp_path, alerts=["state.qpos[2] < 0.2"]) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        for i in range(300):
            state.write(fall(0.15 if 120 <= i < 200 else 0.8), t=i / 100)
        wait_until(lambda: status_of(rec)["marks"])
        (alert,) = watching(rec)
        assert (alert["condition"], alert["fired"], alert["reason"]) == ("state.qpos[2] < 0.2", 1, "")
    (mark,) = alerts_in(tmp_path)
    assert (mark["label"], mark["stream"], mark["seq"], mark["t"]) == ("alert", "state", 120, 1.2)
    assert mark["fields"] == {"condition": "state.qpos[2] < 0.2", "value": 0.15}
    assert len(npz(tmp_path / "s.npz")["timestamp"]) == 300


def test_a_recording_that_is_over_at_once_has_its_alerts(tmp_path: Path) -> None:
    """Whoever closes before the watcher is up waits for it, for a bounded time: its samples are looked at."""
    with Recorder("walk", dir=tmp_path, alerts=[Alert("state > 5", label="high", every_s=0)]) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        for i in (0.0, 9.0, 1.0, 7.0):
            state.write(i)
    assert [(m["label"], m["seq"]) for m in alerts_in(tmp_path)] == [("high", 1), ("high", 3)]
    proved(tmp_path)


def test_a_killed_watcher_is_started_again_and_tells_nothing_twice(tmp_path: Path) -> None:
    """What it had told stays one mark; what comes while it is away is told by its successor."""
    with Recorder("walk", dir=tmp_path, alerts=[Alert("state > 5", every_s=0)]) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(9.0)
        wait_until(lambda: len(status_of(rec)["marks"]) == 1)
        (alert,) = watching(rec)
        os.kill(alert["pid"], signal.SIGKILL)
        state.write(0.0)
        state.write(8.0)
        wait_until(lambda: len(status_of(rec)["marks"]) == 2)
        wait_until(lambda: (watching(rec)[0]["pid"] or alert["pid"]) != alert["pid"])
    assert [m["seq"] for m in alerts_in(tmp_path)] == [0, 2]
    assert len(proved(tmp_path)["streams"]["state"]["files"]) == 1


def test_a_worker_that_dies_takes_its_watcher_along_and_its_successor_has_another(tmp_path: Path) -> None:
    """Alerts are part of the session: they survive the death of its worker, each told once."""
    with Recorder("walk", dir=tmp_path, alerts=[Alert("state > 5", every_s=0)]) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(9.0)
        wait_until(lambda: len(status_of(rec)["marks"]) == 1)
        old = watching(rec)[0]["pid"]
        ticks = start_ticks(old)
        os.kill(worker_of(rec), signal.SIGKILL)
        wait_until(lambda: not is_alive(old, ticks))
        state.write(0.0)
        state.write(7.0)
        wait_until(lambda: len(status_of(rec)["marks"]) == 2)
    assert [m["seq"] for m in alerts_in(tmp_path)] == [0, 2]
    proved(tmp_path)


def test_a_stopped_watcher_holds_nothing_up_and_is_gone_with_its_session(tmp_path: Path) -> None:
    """SIGSTOP: every sample is in the file, status says that it does not answer, and no process is left."""
    with Recorder("walk", dir=tmp_path, alerts=["state > 5"]) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        state.write(0.0)
        watcher = watching(rec)[0]["pid"]
        ticks = start_ticks(watcher)
        os.kill(watcher, signal.SIGSTOP)
        for i in range(2000):
            assert state.write(float(i))
        wait_until(lambda: status_of(rec)["alerts"][0]["state"] == "stalled")
        assert "does not answer" in status_of(rec)["alerts"][0]["reason"]
        summary = rec.close()
        assert summary.complete
    assert not is_alive(watcher, ticks)
    assert len(npz(tmp_path / "s.npz")["data"]) == 2001
    proved(tmp_path)


def test_without_a_supervisor_alerts_are_marked_later(runtime: Path, tmp_path: Path) -> None:
    """The watcher looks on while the supervisor is away, and the next one hears of what it saw."""
    with Recorder("walk", dir=tmp_path, alerts=["state > 5"]) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0)
        watching(rec)
        caller = connect()
        os.kill(int(caller.server["pid"]), signal.SIGKILL)
        caller.close()
        state.write(9.0)
        wait_until(lambda: (runtime / "recd.sock").exists() and _answers())
        wait_until(lambda: status_of(rec)["marks"])
    assert [m["seq"] for m in alerts_in(tmp_path)] == [1]


def _answers() -> bool:
    try:
        connect().close()
    except Exception:
        return False
    return True


@pytest.mark.parametrize(
    ("alerts", "words"),
    [
        ("state > 5", "alerts="),
        ([3], r"alerts\[0\]=3"),
        (["state >"], "condition 'state >'"),
        (["import os"], "condition 'import os'"),
        (["state.x in other"], "'state.x in other' is not part of the language"),
        (["a.x < b.x"], "'a' and of 'b'"),
        (["x" * 500 + " > 1"], "at most 400"),
        ([""], "Alert condition=''"),
    ],
)
def test_a_bad_alert_is_refused_before_anything_is_recorded(tmp_path: Path, alerts: Any, words: str) -> None:
    """Recorder raises, and leaves no directory."""
    with pytest.raises(OptionError, match=words):
        Recorder("walk", dir=tmp_path / "run", alerts=alerts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("condition", ""), ("condition", 3), ("label", ""), ("label", "recd.reset"), ("every_s", -1),
        ("every_s", float("nan")), ("every_s", "often"), ("command", ""), ("command", 3), ("command", "x" * 5000),
    ],
)  # fmt: skip
def test_an_alert_checks_itself(member: str, value: Any) -> None:
    """Each member that cannot be is named when the object is made."""
    with pytest.raises(OptionError, match=f"{member}|mark label|{value!r}"[:30]):
        Alert(**{"condition": "state > 5", member: value})


def test_a_field_that_is_not_there_is_a_failed_alert_and_nothing_else(tmp_path: Path) -> None:
    """It cannot be known before the first sample; status tells what is there, and the file is whole."""
    with Recorder("walk", dir=tmp_path, alerts=["state.height < 1", "state.qvel > 3"]) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        state.write(fall(0.1))
        wait_until(lambda: all(a["state"] == "failed" for a in status_of(rec)["alerts"]))
        no_field, no_condition = (a["reason"] for a in status_of(rec)["alerts"])
        assert "no field 'height'" in no_field
        assert "state.qpos, state.qvel" in no_field
        assert "6 values" in no_condition
        shown = recd("status").stdout
        assert "walk / alert state.height < 1: failed" in shown
    assert proved(tmp_path)["streams"]["state"]["samples"] == 1


def test_a_command_needs_both_consents(tmp_path: Path) -> None:
    """A command is code: the recorder and the daemon must both allow it, else nothing is recorded."""
    alert = Alert("state > 5", command="true")
    with pytest.raises(CodeNotAllowedError, match="allow_code=True"):
        Recorder("walk", dir=tmp_path / "run", alerts=[alert])
    with pytest.raises(CodeNotAllowedError, match="this daemon"):
        Recorder("walk", dir=tmp_path / "run", alerts=[alert], allow_code=True)
    assert not (tmp_path / "run").exists()


def test_a_command_runs_in_the_recordings_directory_and_dies_with_it(runtime: Path, tmp_path: Path) -> None:
    """It is told what happened through its environment; one that hangs is killed as the session ends."""
    assert recd("start", "--allow-code").returncode == 0
    asleep = Alert("state > 50", command="echo $$ > asleep; exec sleep 1000")
    told = Alert("state > 5", command='echo "$RECD_ALERT|$RECD_STREAM|$RECD_T|$RECD_SEQ|$RECD_VALUE" > told')
    with Recorder("walk", dir=tmp_path, alerts=[told, asleep], allow_code=True) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write(0.0, t=0.0)
        state.write(9.0, t=0.5)
        assert wait_until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text()) == (
            "state > 5|state|0.5|1|9.0\n"
        )
        state.write(99.0, t=1.0)
        pid = int(
            wait_until(lambda: (tmp_path / "asleep").exists() and (tmp_path / "asleep").read_text().strip())
        )
        ticks = start_ticks(pid)
    wait_until(lambda: not is_alive(pid, ticks))
    assert not [c for c in processes_of(runtime).values() if "sleep 1000" in c]
    assert len(alerts_in(tmp_path)) == 2
