"""A daemon of our own, in temporary directories, and what its processes weigh."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recd_client import Stream, __version__, process
from recd_client.control import Caller
from recd_client.ring import RingProducer


@dataclass(frozen=True)
class Bench:
    """Where a benchmark records, and how long it may take.

    Parameters
    ----------
    directory : Path
        Temporary; with room for a few gigabytes.
    quick : bool
        A minute in all rather than a few.
    """

    directory: Path
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full

    def new_directory(self) -> Path:
        """An empty directory."""
        return Path(tempfile.mkdtemp(dir=self.directory))

    def clear(self) -> None:
        """All of them are gone."""
        for directory in self.directory.iterdir():
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def own_daemon(parent: Path | None, *, quick: bool) -> Iterator[Bench]:
    """A place to record to, where every daemon that is started is ours and is stopped at the end."""
    top = Path(tempfile.mkdtemp(prefix="recd-bench-", dir=parent))
    short = Path(tempfile.mkdtemp(prefix="recd-bench-"))  # a socket's path ends at 107 bytes
    os.environ["RECD_RUNTIME_DIR"] = str(short / "run")
    os.environ["XDG_STATE_HOME"] = str(short / "state")
    os.environ.setdefault("RECD_COMMAND", shlex.join([sys.executable, "-m", "recd"]))
    try:
        # at once: workers have the backend that the daemon was started with
        subprocess.run(
            [*shlex.split(os.environ["RECD_COMMAND"]), "start"], stdout=subprocess.DEVNULL, check=True
        )
        yield Bench(top, quick)
    finally:
        stop(short / "run")
        for directory in (top, short):
            shutil.rmtree(directory, ignore_errors=True)


def stop(runtime: Path) -> None:
    """No daemon runs for this runtime directory any more."""
    if not runtime.exists():
        return
    command = [*shlex.split(os.environ["RECD_COMMAND"]), "stop"]
    environment = {**os.environ, "RECD_RUNTIME_DIR": str(runtime)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


@contextmanager
def other_runtime(runtime: Path) -> Iterator[None]:
    """Another runtime directory, whose daemon is stopped at the end."""
    before = os.environ["RECD_RUNTIME_DIR"]
    os.environ["RECD_RUNTIME_DIR"] = str(runtime)
    try:
        yield
    finally:
        os.environ["RECD_RUNTIME_DIR"] = before
        stop(runtime)


def producer(stream: Stream) -> RingProducer:
    """The stream's end of its ring, for its size and its counters."""
    if stream.ring is None:
        raise RuntimeError(f"stream {stream.name!r} has no ring yet: declare it with like=")
    return stream.ring.writer.producer


def buffered_bytes(stream: Stream) -> int:
    """What the worker has still to bring to safety."""
    ring = producer(stream)
    return ring.head - ring.word("free_pos")


@contextmanager
def held(stream: Stream) -> Iterator[None]:
    """The stream's worker stands still meanwhile."""
    pid = producer(stream).word("worker_pid")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- processes -------------------------------------------------------------------------------------
def resident_kib(pid: int) -> int:
    """Resident memory of a process, its mapped rings included; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def children(pid: int) -> list[int]:
    """Child processes of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def descendants(pid: int) -> list[int]:
    """Child processes of a process, and theirs; none when it is gone."""
    try:
        found = children(pid)
    except OSError:
        return []
    return [*found, *(grandchild for child in found for grandchild in descendants(child))]


def proportional_kib(pid: int) -> int:
    """Memory of a process, what it shares counted in part; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def busy_ns(pid: int) -> int:
    """Processor time of a process so far; 0 when it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except OSError:
        return 0


def supervisor_pid() -> int:
    """Of the daemon that runs for our runtime directory."""
    caller = Caller(process.socket_path(), role="bench", version=__version__)
    try:
        return int(caller.call("status", 10.0)["daemon"]["pid"])
    finally:
        caller.close()
