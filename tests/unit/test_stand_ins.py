"""What stands between the tests and the system does what it is trusted with, and no more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from syscall_faults import closed_behind, death


def is_open(fd: int) -> bool:
    """Whether the number stands for a file."""
    return Path(f"/proc/self/fd/{fd}").exists()


def test_what_the_dead_had_open_is_closed_and_nothing_else(tmp_path: Path) -> None:
    """A file of a played death goes; one that was closed, its number's next owner, and files elsewhere do not."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    for directory in (inside, outside):
        directory.mkdir()
    create = os.O_CREAT | os.O_RDWR
    with closed_behind(inside):
        with death(2):
            left = os.open(inside / "a", create)
            os.write(left, b"?")
        os.close(os.open(inside / "b", create))
        other = (inside / "c").open("w")  # has the number that is free again
        elsewhere = os.open(outside / "d", create)
    assert [is_open(fd) for fd in (left, other.fileno(), elsewhere)] == [False, True, True]
    other.close()
    os.close(elsewhere)


def test_a_sync_here_refuses_what_the_systems_own_refuses(tmp_path: Path) -> None:
    """It waits for no disk, but a closed descriptor and a pipe are errors still, and a file object will do."""
    with (tmp_path / "a").open("w") as file:
        os.fsync(file)
        os.fdatasync(file.fileno())
    closed = os.open(tmp_path, os.O_RDONLY)
    os.fsync(closed)
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fsync(closed)
    ends = os.pipe()
    with pytest.raises(OSError, match="Invalid argument") as refused:
        os.fdatasync(ends[1])
    assert refused.value.errno == errno.EINVAL
    for end in ends:
        os.close(end)
