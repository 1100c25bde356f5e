"""A worker that dies when all is finished, while it clears away, leaves nothing in shared memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from killing import daemon_pid, wait_for_manifest, worker
from recd_client import CSVFile, Recorder
from recd_client.control import Caller
from recd_client.shm import SHM_DIR, runtime_tag
from support import wait_until


def kill_at(pid: int, call: str, path: Path) -> subprocess.Popen[str]:
    """The process dies where it would make its first such system call on that path."""
    inject = f"inject={call}:error=EIO:signal=KILL"
    strace = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), "-P", str(path), "-e", f"trace={call}", "-e", inject],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline()
    return strace


def sessions(runtime: Path) -> list[str]:
    """Sessions that the daemon knows."""
    caller = Caller(runtime / "recd.sock", role="cli")
    try:
        return [s["session"] for s in caller.call("status")["sessions"]]
    finally:
        caller.close()


@pytest.mark.requires("strace")
@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("unlink", "/dev/shm/{tag}-{session}-0"),
        ("unlink", "/dev/shm/sem.{tag}-{session}-main"),
        ("unlinkat", "{directory}/.recd/.{session}"),
        ("rmdir", "{directory}/.recd"),
    ],
    ids=["ring", "doorbell", "working-files", "their-directory"],
)
def test_a_worker_that_dies_while_it_clears_away_leaves_nothing(
    runtime: Path, tmp_path: Path, call: str, what: str
) -> None:
    """Killed where a finished stream's ring, its doorbell or working files go, it has a successor that ends it."""
    rec = Recorder("leak", dir=tmp_path)
    rec.stream("state", CSVFile("state.csv")).write({"x": 1.0})
    first, daemon = worker(tmp_path, "main"), daemon_pid(runtime)
    tag = f"recd-{runtime_tag(runtime)}"
    path = Path(what.format(tag=tag, session=rec.session, directory=tmp_path))
    strace = kill_at(first, call, path)
    assert rec.close().complete
    assert "+++ killed by SIGKILL +++" in strace.communicate(timeout=30)[1]
    assert wait_for_manifest(tmp_path)["streams"]["state"]["samples"] == 1
    wait_until(lambda: not sessions(runtime))
    assert not [p for p in SHM_DIR.iterdir() if tag in p.name]
    assert daemon_pid(runtime) == daemon
