"""``recd doctor``: what dead daemons left, and that ``--fix`` removes nothing that a recording still needs."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recd import __version__, index
from recd.cli import _leftovers as leftovers
from recd.cli import main
from recd.cli._findings import OK, WARN, Daemon
from recd.session import SessionStore
from recd_client import layout
from recd_client.errors import DaemonNotRunningError
from recd_client.shm import SHM_DIR, Doorbell, Segment, runtime_tag

ONE, TWO = "20260101T000000-aaaaaa", "20260101T000000-bbbbbb"


class Leftovers:
    """Real shared memory of a runtime directory whose daemon is gone, and its recordings."""

    def __init__(self, runtime: Path, directory: Path) -> None:
        self.tag = runtime_tag(runtime)
        self.runtime = runtime
        self.directory = directory

    def ring(self, session: str, number: int = 0) -> str:
        """A ring that nobody has mapped; its file's name."""
        name = f"recd-{self.tag}-{session}-{number}"
        segment = Segment.create(f"/{name}", layout.MIN_CAPACITY_BYTES, {})
        segment.close()
        return name

    def bell(self, session: str) -> str:
        """A doorbell that nobody has mapped; its file's name."""
        Doorbell(f"/recd-{self.tag}-{session}-main", create=True).close()
        return f"sem.recd-{self.tag}-{session}-main"

    def entry(self, session: str, state: str, **changes: Any) -> None:
        """The session's entry in the index."""
        entry = {"session": session, "directory": str(self.directory), "state": state}
        index.write({**entry, "runtime_dir": str(self.runtime), **changes})

    def stream(self, session: str, ring: str, result: dict[str, Any] | None) -> None:
        """A stream of the session with that ring, and its outcome."""
        store = SessionStore(self.directory, session)
        name = f"s{ring[-1]}"
        store.stream_path(name).mkdir(parents=True)
        spec = {"stream": name, "index": 0, "ring": f"/{ring}"}
        (store.stream_path(name) / "stream.json").write_text(json.dumps(spec))
        if result is not None:
            store.put_result(name, result)

    def there(self) -> set[str]:
        """What there is of this runtime in shared memory."""
        return {p.name for p in SHM_DIR.iterdir() if f"recd-{self.tag}-" in p.name}

    def orphans(self, *served: str) -> dict[str, str]:
        """What the doctor calls an orphan, and its fate."""
        found = leftovers._orphans(SHM_DIR, self.runtime, frozenset(served))
        return {o.name: o.fate for o in found if o.name in self.there()}


@pytest.fixture
def left(runtime: Path, tmp_path: Path) -> Iterator[Leftovers]:
    """Leftovers, removed afterwards."""
    made = Leftovers(runtime, tmp_path)
    yield made
    for name in made.there():
        (SHM_DIR / name).unlink()


def fix() -> dict[str, str]:
    """What ``recd doctor --fix`` says that it did, by check."""
    result = CliRunner().invoke(main, ["doctor", "--fix", "--json"])
    return {f["check"]: f["fixed"] for f in json.loads(result.stdout)["findings"] if f["fixed"]}


# --- shared memory --------------------------------------------------------------------------------


def test_only_what_is_in_finished_files_is_removed(left: Leftovers) -> None:
    """A ring goes when its session or stream is finished; one of an unfinished or unknown session stays."""
    finished, unfinished, unknown = left.ring(ONE), left.ring(TWO), left.ring("20260101T000000-cccccc")
    done, damaged = left.ring(TWO, 1), left.ring(TWO, 2)
    bell = left.bell(ONE)
    left.entry(ONE, "finished")
    left.entry(TWO, "live")
    left.stream(TWO, unfinished, None)
    left.stream(TWO, done, {"complete": True})
    left.stream(TWO, damaged, {"complete": False})
    assert left.orphans() == {
        finished: "finished",
        bell: "finished",
        done: "finished",
        unfinished: "unfinished",
        damaged: "unfinished",
        unknown: "unknown",
    }
    assert fix()["orphans"].startswith("removed ")
    assert left.there() == {unfinished, unknown, damaged}


def test_what_a_failed_recording_left_in_its_ring_stays(left: Leftovers) -> None:
    """A session that failed is over, but its ring may hold what no file has: only its semaphore goes."""
    ring, bell = left.ring(ONE), left.bell(ONE)
    left.entry(ONE, "failed")
    assert left.orphans() == {ring: "unknown", bell: "finished"}
    fix()
    assert left.there() == {ring}


def test_what_is_used_is_no_orphan(left: Leftovers) -> None:
    """Rings that a process has mapped or whose session is served are left out, whatever the index says."""
    mapped, served = left.ring(ONE), left.ring(TWO)
    left.entry(ONE, "finished")
    left.entry(TWO, "finished")
    segment = Segment.open(f"/{mapped}")
    assert left.orphans(TWO) == {}
    assert set(left.orphans()) == {served}
    segment.close()
    assert set(left.orphans()) == {mapped, served}


def test_names_that_are_not_ours_are_never_looked_at(
    left: Leftovers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only recd's own pattern of names counts, and only files of this user."""
    shm = tmp_path / "shm"
    shm.mkdir()
    for name in ("x", "recd-0-1", f"recd-{left.tag}-old-0", f"xrecd-{left.tag}-{ONE}-0"):
        (shm / name).touch()
    assert [*leftovers._orphans(shm, left.runtime, frozenset())] == []
    (shm / f"recd-{left.tag}-{ONE}-0").touch()
    assert [o.fate for o in leftovers._orphans(shm, left.runtime, frozenset())] == ["unknown"]
    monkeypatch.setattr(os, "getuid", lambda: (shm / "x").stat().st_uid + 1)
    assert [*leftovers._orphans(shm, left.runtime, frozenset())] == []


def test_a_daemon_that_does_not_answer_may_need_everything(left: Leftovers) -> None:
    """Without the list of served sessions nothing is called an orphan."""
    left.ring(ONE)
    left.entry(ONE, "finished")
    daemon = Daemon(7, error=DaemonNotRunningError("deaf"))
    assert leftovers.check_orphans(SHM_DIR, left.runtime, daemon).level == OK
    finding = leftovers.check_orphans(SHM_DIR, left.runtime, Daemon())
    assert finding.level == WARN
    assert "recd doctor --fix removes 1" in finding.do


# --- the socket -----------------------------------------------------------------------------------


def test_a_stale_socket_is_removed_a_held_lock_is_respected(runtime: Path) -> None:
    """A socket at which nobody listens goes; while somebody holds the daemon's lock it stays."""
    path = runtime / "recd.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    finding = leftovers.check_socket(Daemon())
    assert finding.level == WARN
    assert finding.fix is not None
    with open(runtime / "recd.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "left the socket alone" in finding.fix()
        assert path.exists()
    assert leftovers.check_socket(Daemon(7, __version__)).level == OK
    assert fix()["socket"] == f"removed {path}"
    assert not path.exists()
    assert leftovers.check_socket(Daemon()).level == OK


def test_missing_directories_are_made(runtime: Path) -> None:
    """After ``--fix`` the runtime directory and the index of sessions are there, closed to others."""
    runtime.rmdir()
    assert set(fix()) >= {"runtime directory", "session index"}
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert Path(os.environ["XDG_STATE_HOME"], "recd/sessions").is_dir()
    assert not {"runtime directory", "session index"} & set(fix())


# --- recordings -----------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody holds that lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_an_unfinished_recording_that_nobody_works_on_is_seen(left: Leftovers, tmp_path: Path) -> None:
    """A live entry counts unless a daemon serves it, another daemon runs there, or a worker holds its lock."""
    left.entry(ONE, "live")
    left.entry(TWO, "finished")
    finding = leftovers.check_sessions(Daemon())
    assert finding.level == WARN
    assert str(tmp_path) in finding.what
    assert finding.do == "finish them: recd start"
    assert leftovers.check_sessions(Daemon(7, __version__, frozenset({ONE}))).level == OK
    assert leftovers.check_sessions(Daemon(7, __version__, frozenset())).do == "finish them: recd restart"
    with locked(tmp_path / ".recd" / ONE / "main.lock"):
        assert leftovers.check_sessions(Daemon()).level == OK
    left.entry(ONE, "live", directory=str(tmp_path / "gone"))
    assert leftovers.check_sessions(Daemon()).level == OK


def test_a_recording_of_another_runtime_directory_says_which(left: Leftovers, tmp_path: Path) -> None:
    """It is finished by a daemon started there, and waits for nobody while one runs."""
    left.entry(ONE, "live", runtime_dir=str(tmp_path / "other"))
    assert f"RECD_RUNTIME_DIR={tmp_path / 'other'} recd start" in leftovers.check_sessions(Daemon()).do
    with locked(tmp_path / "other/recd.lock"):
        assert leftovers.check_sessions(Daemon()).level == OK


def test_part_files_beside_finished_recordings_are_seen_and_stay(left: Leftovers, tmp_path: Path) -> None:
    """What is half written is named, not deleted; while a session works in the directory it is hers."""
    for name in ("a.part.csv", "a.csv", "apart.csv"):
        (tmp_path / name).touch()
    assert leftovers.check_part_files().level == OK
    left.entry(ONE, "finished")
    finding = leftovers.check_part_files()
    assert finding.what.startswith("1 file half written")
    assert finding.fix is None
    (tmp_path / ".recd").mkdir()
    assert leftovers.check_part_files().level == OK
