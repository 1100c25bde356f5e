"""Segments and doorbells: whole or absent, private, and never more than /dev/shm has."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from recd_client import layout, shm
from recd_client.errors import RingDamagedError, SharedMemoryFullError, UnsupportedPlatformError
from recd_client.ring import RingConsumer, RingProducer
from recd_client.segment import read_geometry
from rings import MIN_CAPACITY, published, put

MIB = 1 << 20


@pytest.fixture
def name() -> Iterator[str]:
    """A name of the test's own, for a segment or a semaphore; afterwards it must be gone."""
    name = f"/recd-test-{uuid4().hex}"
    yield name
    left = [path for path in files_of(name) if path.exists()]
    for path in left:
        path.unlink()
    assert not left


def files_of(name: str) -> tuple[Path, Path]:
    """Where the kernel shows a segment and a semaphore of that name."""
    return shm.SHM_DIR / name[1:], shm.SHM_DIR / f"sem.{name[1:]}"


# --- segments -----------------------------------------------------------------------------------------


def test_a_segment_is_seen_by_whoever_opens_its_name(name: str) -> None:
    """What one mapping publishes, another mapping of the same name reads."""
    mine = shm.Segment.create(name, MIN_CAPACITY, {"producer_pid": 42})
    theirs = shm.Segment.open(name)
    mine.unlink()
    put(RingProducer(mine.memory), b"through shared memory")
    assert [r.payload for r in published(RingConsumer(theirs.memory))] == [b"through shared memory"]
    assert read_geometry(memoryview(theirs.memory))["producer_pid"] == 42


def test_a_segment_has_exactly_the_pages_and_its_capacity(name: str) -> None:
    """The file in /dev/shm is as large as it must be, and all of it is allocated."""
    segment = shm.Segment.create(name, MIN_CAPACITY, {})
    status = files_of(name)[0].stat()
    segment.unlink()
    assert status.st_size == len(segment.memory) == layout.DATA_OFFSET + MIN_CAPACITY
    assert 512 * status.st_blocks >= status.st_size


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_else_may_open_a_segment_or_a_doorbell(name: str, umask: int) -> None:
    """Mode 0600 whatever the umask is: recordings are their owner's."""
    before = os.umask(umask)
    try:
        segment, bell = shm.Segment.create(name, MIN_CAPACITY, {}), shm.Doorbell(name, create=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in files_of(name)]
    segment.unlink()
    bell.unlink()
    assert modes == [0o600, 0o600]


def test_an_unlinked_segment_lives_on_where_it_is_mapped(name: str) -> None:
    """Removing the name takes nothing from those who have the memory, and removing it twice is no error."""
    segment = shm.Segment.create(name, MIN_CAPACITY, {})
    segment.unlink()
    segment.unlink()
    assert put(RingProducer(segment.memory), b"still here")
    with pytest.raises(FileNotFoundError) as caught:
        shm.Segment.open(name)
    assert caught.value.filename == name


def test_a_name_that_is_taken_is_not_taken_over(name: str) -> None:
    """A second segment of the same name is an error, and the first one stays as it is."""
    first = shm.Segment.create(name, MIN_CAPACITY, {})
    put(RingProducer(first.memory), b"mine")
    with pytest.raises(FileExistsError) as caught:
        shm.Segment.create(name, MIN_CAPACITY, {})
    assert caught.value.filename == name
    assert [r.payload for r in published(RingConsumer(shm.Segment.open(name).memory))] == [b"mine"]
    first.unlink()


def test_a_segment_that_is_looked_at_stays_mapped(name: str) -> None:
    """Unmapping waits for the last view (a claimed array); then it succeeds."""
    segment = shm.Segment.create(name, MIN_CAPACITY, {})
    segment.unlink()
    array = np.frombuffer(segment.memory, np.uint8)
    assert not segment.close()
    array[-1] = 7  # a SIGBUS if it were unmapped
    del array
    assert segment.close()
    assert segment.close()


def test_released_ends_let_a_segment_be_unmapped(name: str) -> None:
    """Producer and consumer hold their mapping until they are released."""
    segment = shm.Segment.create(name, MIN_CAPACITY, {})
    segment.unlink()
    ends = RingProducer(segment.memory), RingConsumer(segment.memory)
    for end in ends:
        assert not segment.close()
        end.release()
    assert segment.close()


def test_no_descriptor_is_left_open(name: str) -> None:
    """A mapping needs no descriptor: a thousand streams do not use up the process's."""
    before = os.listdir("/proc/self/fd")
    segment = shm.Segment.create(name, MIN_CAPACITY, {})
    other = shm.Segment.open(name)
    segment.unlink()
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 2  # mmap keeps a duplicate each
    assert segment.close()
    assert other.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("size", [0, 1, layout.DATA_OFFSET, layout.DATA_OFFSET + MIN_CAPACITY - 1])
def test_a_segment_too_small_to_be_a_ring_is_refused(name: str, size: int) -> None:
    """Whatever was cut off, the error comes before anything is mapped, and says how much is there."""
    shm.Segment.create(name, 2 * MIN_CAPACITY, {})
    os.truncate(files_of(name)[0], size)
    with pytest.raises(RingDamagedError, match=f"only {size} bytes"):
        shm.Segment.open(name)
    shm.unlink_segment(name)


def test_a_segment_smaller_than_its_ring_is_refused(name: str) -> None:
    """A data area that was cut off is noticed from the sizes, not by a SIGBUS."""
    shm.Segment.create(name, 2 * MIN_CAPACITY, {})
    os.truncate(files_of(name)[0], layout.segment_bytes(2 * MIN_CAPACITY) - 4096)
    segment = shm.Segment.open(name)
    shm.unlink_segment(name)
    for end in (RingProducer, RingConsumer):
        with pytest.raises(RingDamagedError, match="contradict"):
            end(segment.memory)


def test_a_file_that_is_no_ring_is_refused(name: str) -> None:
    """Something else under our name is not taken for a ring."""
    files_of(name)[0].write_bytes(bytes(layout.segment_bytes(MIN_CAPACITY)))
    segment = shm.Segment.open(name)
    shm.unlink_segment(name)
    with pytest.raises(RingDamagedError, match="no finished ring"):
        RingConsumer(segment.memory)


# --- no room ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG])
def test_a_full_shm_is_an_error_that_counts_bytes(
    name: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Needed and available bytes are named, and what to do; nothing is left behind."""

    def fail(fd: int, offset: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    monkeypatch.setattr(shm, "available_bytes", lambda: 123_456)
    with pytest.raises(SharedMemoryFullError, match=r"45056 bytes needed, 123456 available") as caught:
        shm.Segment.create(name, 2 * MIN_CAPACITY, {})
    assert "buffer_bytes" in caught.value.do
    assert not files_of(name)[0].exists()


@pytest.mark.parametrize("capacity", [1 << 60, 1 << 63, 1 << 80])
def test_an_absurd_capacity_is_an_error_that_counts_bytes(name: str, capacity: int) -> None:
    """More than any machine has, or than a number for a size holds: the same error."""
    with pytest.raises(SharedMemoryFullError, match=f"{capacity + layout.DATA_OFFSET} bytes needed"):
        shm.Segment.create(name, capacity, {})


def test_an_error_of_another_kind_is_not_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a lack of room is told as one; nothing is left behind in any case."""

    def fail(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="disk on fire"):
        shm.Segment.create(name, MIN_CAPACITY, {})
    assert not files_of(name)[0].exists()


def test_a_segment_that_cannot_be_finished_is_not_left_behind(name: str) -> None:
    """A geometry that cannot be written removes the segment again: whole or not at all."""
    with pytest.raises(struct.error):
        shm.Segment.create(name, MIN_CAPACITY, {"policy": "block"})
    assert not files_of(name)[0].exists()


IN_A_SMALL_SHM = """
import json, os
from recd_client import layout, shm
from recd_client.errors import SharedMemoryFullError
from recd_client.ring import RingProducer

said, available = None, shm.available_bytes()
try:
    shm.Segment.create("/recd-big", 4 << 20, {})
except SharedMemoryFullError as e:
    said = e.what
left = os.listdir("/dev/shm")
small = shm.Segment.create("/recd-small", 512 << 10, {})
small.memory[layout.DATA_OFFSET :] = b"x" * (512 << 10)  # a SIGBUS if a page were not there
RingProducer(small.memory)
second = None
try:
    shm.Segment.create("/recd-second", 600 << 10, {})
except SharedMemoryFullError as e:
    second = e.what
small.unlink()
print(json.dumps([said, available, left, second, os.listdir("/dev/shm")]))
"""


@pytest.mark.requires("unshare")
def test_a_real_shm_of_one_mebibyte_takes_what_fits_and_refuses_the_rest() -> None:
    """In a mount namespace with a tiny /dev/shm: a clear error, nothing left behind, never a SIGBUS."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    private = ["unshare", "--mount", *as_root, "sh", "-c"]
    mount = f"mount -t tmpfs -o size={MIB} recd-test /dev/shm"
    if subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("this system lets us make no mount namespace")
    command = [*private, f'{mount} && exec "$0" -c "$1"', sys.executable, IN_A_SMALL_SHM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, available, left, second, left_at_last = json.loads(done.stdout)
    assert available == MIB
    assert f"{layout.segment_bytes(4 * MIB)} bytes needed, {MIB} available" in said
    assert left == left_at_last == []
    free = MIB - layout.segment_bytes(MIB // 2)
    assert second.endswith(f"{layout.segment_bytes(600 << 10)} bytes needed, {free} available")


# --- doorbells ----------------------------------------------------------------------------------------


@pytest.fixture
def bell(name: str) -> Iterator[shm.Doorbell]:
    """A doorbell without a name."""
    bell = shm.Doorbell(name, create=True)
    bell.unlink()
    yield bell
    bell.close()


def test_a_doorbell_that_was_rung_ends_the_wait(bell: shm.Doorbell) -> None:
    """A ring before the wait counts; without one the wait ends by its timeout."""
    assert not bell.wait(0.0)
    bell.ring()
    assert bell.wait(60.0)
    assert not bell.wait(0.001)


def test_one_wait_swallows_all_rings_so_far(bell: shm.Doorbell) -> None:
    """However often it was rung, the worker wakes once."""
    for _ in range(1000):
        bell.ring()
    assert bell.wait(60.0)
    assert not bell.wait(0.0)


def test_a_ring_wakes_a_waiter(bell: shm.Doorbell) -> None:
    """A worker that waits is woken from another thread."""
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(bell.wait(60.0)))
    waiter.start()
    bell.ring()
    waiter.join()
    assert woken == [True]


def test_a_bell_that_another_thread_closed_is_not_rung(name: str) -> None:
    """Whoever looked before that it was open meets no error."""
    bell = shm.Doorbell(name, create=True)
    bell.unlink()
    bell.ring_if_open()
    assert bell.wait(60.0)
    bell.close()
    bell.ring_if_open()


def test_both_sides_of_a_doorbell_find_it_by_its_name(name: str) -> None:
    """Created by either side, opened by the other; creating it again opens it."""
    with pytest.raises(FileNotFoundError) as caught:
        shm.Doorbell(name)
    assert caught.value.filename == name
    worker, again, client = (
        shm.Doorbell(name, create=True),
        shm.Doorbell(name, create=True),
        shm.Doorbell(name),
    )
    client.ring()
    assert worker.wait(60.0)
    client.ring()
    assert again.wait(60.0)
    client.unlink()
    client.unlink()
    for bell in (worker, again, client):
        bell.close()


def test_a_signal_ends_the_wait_without_an_error(bell: shm.Doorbell) -> None:
    """A worker's signal handlers run while it waits, and it goes on to look around."""
    got: list[int] = []

    def handle(number: int, _: object) -> None:
        got.append(number)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # again and again: one may come before the wait
        assert not bell.wait(60.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signal.SIGALRM in got


# --- names and platform -------------------------------------------------------------------------------


def test_runtime_directories_have_tags_of_their_own(tmp_path: Path) -> None:
    """Daemons side by side never share a name, and a directory keeps its tag however it is reached."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    (tmp_path / "link").symlink_to(a)
    tags = [shm.runtime_tag(path) for path in (a, b, tmp_path / "link")]
    assert tags[0] == tags[2] != tags[1]
    assert all(len(tag) == 8 and int(tag, 16) >= 0 for tag in tags)


def test_what_the_platform_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is missing is named at once; where nothing is, nothing happens."""
    shm.check_platform()
    monkeypatch.setattr(shm, "posix_ipc", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sys, "byteorder", "big")
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(UnsupportedPlatformError) as caught:
        shm.check_platform()
    for missing in ("Linux", "posix_ipc", "pidfd", "little-endian"):
        assert missing in caught.value.what
    assert caught.value.do
