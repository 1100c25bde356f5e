"""What fault tests share: running the simulation, finding recd's processes, and the oracle."""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from killed_simulation import HEIGHT, WIDTH, level
from recd.video import ffmpeg
from recd_client.control import Caller
from support import processes_of, wait_until

SCRIPT = Path(__file__).with_name("killed_simulation.py")


class Simulation:
    """The simulation as a child process; :attr:`published` counts what it said that it had published.

    Parameters
    ----------
    directory : Path
    samples : int
    *arguments : str
        See ``killed_simulation.py``.
    under : sequence of str
        A command that runs it.
    """

    def __init__(self, directory: Path, samples: int, *arguments: str, under: Sequence[str] = ()) -> None:
        self.directory = directory
        self.samples = samples
        self.published = 0
        #: Bytecodes of the write in which it was to die, once it is behind it.
        self.steps = 0
        #: What ``close`` said of completeness, once it did.
        self.closed = ""
        self.process = subprocess.Popen(
            [*under, sys.executable, str(SCRIPT), str(directory), str(samples), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def lines_until(self, word: str) -> str:
        """Read what it says until a line begins with ``word``; returns that line."""
        while line := self.line():
            if line.startswith(word):
                return line
        raise AssertionError(f"the simulation ended (code {self.process.wait()}) before it said {word!r}")

    def line(self) -> str:
        """The next thing it says; empty when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.startswith("published"):
            self.published = int(line.split()[1]) + 1
        if line.startswith("steps"):
            self.steps = int(line.split()[1])
        if line.startswith("closed"):
            self.closed = line.split()[1]
        return line.strip()

    def go_on(self) -> None:
        """Let it go on behind a ``--pause-at``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """Wait for its end, however it comes; its exit code. Afterwards :attr:`published` is all that it said."""
        while self.line():
            pass
        code = self.process.wait()
        self._close_pipes()
        return code

    def kill(self) -> None:
        """SIGKILL; afterwards :attr:`published` is all that it had published."""
        self.process.kill()
        self.wait()

    def finish(self) -> None:
        """Let it end by itself."""
        assert self.lines_until("closed") == "closed True"
        assert self.process.wait() == 0
        self._close_pipes()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happened, it does not go on."""
        if self.process.poll() is None:
            self.kill()

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def daemon_pid(runtime: Path) -> int:
    """The supervisor's pid."""
    caller = Caller(runtime / "recd.sock", role="cli")
    caller.close()
    return int(caller.server["pid"])


def holders(directory: Path) -> dict[str, int]:
    """Pid of the worker of each group of the recording in ``directory``, by the group's lock."""
    inodes = {p.stat().st_ino: p.stem for p in directory.glob(".recd/*/*.lock")}
    found = {}
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        inode = int(fields[5].split(":")[2])
        if fields[1] == "FLOCK" and inode in inodes and int(fields[4]) > 0:
            found[inodes[inode]] = int(fields[4])
    return found


def worker(directory: Path, group: str) -> int:
    """Pid of the worker of a group, once there is one."""
    return wait_until(lambda: holders(directory).get(group))


def encoders(runtime: Path) -> list[int]:
    """Pids of the runtime's ffmpeg processes."""
    return [pid for pid, command in processes_of(runtime).items() if "ffmpeg" in command.split(" ")[0]]


def kill(pid: int) -> None:
    """SIGKILL, and wait until it took effect."""
    assert kill_all([pid]), f"there is no process {pid}"


def kill_all(pids: Iterable[int]) -> list[int]:
    """SIGKILL for all of them, one right behind the other, and wait until they are gone; which there were."""
    found = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            found[pid] = os.pidfd_open(pid)
    for fd in found.values():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    for fd in found.values():
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(60_000)
        os.close(fd)
    return [*found]


def wait_for_manifest(directory: Path) -> dict[str, Any]:
    """The manifest, once the session has ended and its working files are gone."""
    wait_until(
        lambda: (directory / "manifest.json").exists() and not (directory / ".recd").exists(), timeout_s=60.0
    )
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return manifest


def frames(path: Path) -> np.ndarray:
    """Mean gray level of each frame that decodes."""
    done = ffmpeg.run(["-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"])
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT * WIDTH).mean(axis=1)


def check_files(directory: Path, at_least: int, at_most: int) -> None:
    """Every file holds the samples 0, 1, 2, ... each once, in order, whole: ``at_least`` to ``at_most`` of them."""
    with (directory / "state.csv").open() as f:
        rows = list(csv.DictReader(f))
    i = np.array([int(r["i"]) for r in rows])
    n = len(i)
    assert at_least <= n <= at_most, f"{n} rows, expected {at_least} to {at_most}"
    np.testing.assert_array_equal(i, np.arange(n))
    np.testing.assert_array_equal([float(r["x_49"]) for r in rows], i * 0.1)
    np.testing.assert_array_equal([float(r["timestamp"]) for r in rows], i * 0.01)
    with np.load(directory / "state.npz") as z:
        np.testing.assert_array_equal(z["i"], i)
        np.testing.assert_array_equal(z["x"], np.repeat(i[:, None] * 0.1, 50, axis=1))
    with h5py.File(directory / "state.h5") as h:
        np.testing.assert_array_equal(h["i"][:], i)
    gray = frames(directory / "film.mp4")
    assert at_least <= len(gray) <= at_most, f"{len(gray)} frames, expected {at_least} to {at_most}"
    np.testing.assert_allclose(gray, [level(k) for k in range(len(gray))], atol=6)


def kill_everything(sim: Simulation, runtime: Path) -> None:
    """SIGKILL to simulation, daemon, workers and encoders; afterwards all of them are gone."""
    os.kill(sim.process.pid, signal.SIGSTOP)
    for pid in processes_of(runtime):
        if pid != sim.process.pid:
            os.kill(pid, signal.SIGKILL)
    sim.kill()
    wait_until(lambda: not processes_of(runtime))
