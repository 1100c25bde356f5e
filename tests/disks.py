"""A small file system of a test's own, which it fills, frees, and makes read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SIZE_BYTES = 16 << 20
#: Of a worker, whose ``write`` also talks to others.
CHANGES = "pwritev,?pwritev2,pwrite64,ftruncate,fsync,fdatasync,?rename,?renameat,?renameat2,?mkdir,?mkdirat"


def private() -> list[str]:
    """What runs a command in a mount namespace of its own; the test is skipped where that is not to be had."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *as_root]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system lets us make no mount namespace")
    return command


class Disk:
    """A tmpfs that only one shell sees at its place; all others reach it through that shell's root.

    Parameters
    ----------
    shell : subprocess.Popen
        In a mount namespace of its own; does what it reads.
    at : Path
        Where it is mounted there.
    """

    def __init__(self, shell: subprocess.Popen[str], at: Path) -> None:
        self._shell = shell
        self._at = at
        self.path = Path(f"/proc/{shell.pid}/root{at}")
        self._do(f"mount -t tmpfs -o size={SIZE_BYTES} recd-test {at}")

    def _do(self, command: str) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}; echo $?\n")
        self._shell.stdin.flush()
        assert self._shell.stdout.readline() == "0\n", command

    def fill(self) -> None:
        """Not a byte is left, whoever else takes some meanwhile."""
        page = bytes(os.sysconf("SC_PAGE_SIZE"))
        with suppress(OSError), open(self.path / "filler", "wb", buffering=0) as file:
            while True:
                file.write(page)

    def free(self) -> None:
        """There is room again."""
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        """Nothing can be written any more; nobody may have a file open for writing."""
        self._do(f"mount -o remount,ro {self._at}")

    def make_writable(self) -> None:
        """As before."""
        self._do(f"mount -o remount,rw {self._at}")


@contextmanager
def small_disk() -> Iterator[Disk]:
    """A :class:`Disk` of :data:`SIZE_BYTES`, gone afterwards with all that is on it."""
    at = Path(tempfile.mkdtemp(prefix="recd-disk-"))
    shell = subprocess.Popen([*private(), "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Disk(shell, at)
    finally:
        shell.communicate()
        shutil.rmtree(at)


@contextmanager
def refused(error: str, *pids: int, calls: str = CHANGES) -> Iterator[None]:
    """Whatever these processes would change on any disk fails inside the block, as on one that is read-only or full."""
    which = [word for pid in pids for word in ("-p", str(pid))]
    command = [
        "strace",
        "-f",
        *which,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}",
        "-o",
        os.devnull,
    ]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    try:
        for _ in pids:
            assert "attached" in strace.stderr.readline()
        yield
    finally:
        strace.terminate()  # it lets go of them
        strace.communicate()
