"""A session on disk: begun whole or not at all, and taken over from a worker that died half-way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recd import places, session
from recd.link import Link
from recd.session import SessionStore
from recd_client import shm
from recd_client.errors import OutputError, OutputExistsError
from recd_client.options import CSVFile
from recd_client.process import start_ticks
from recd_client.shm import Segment
from streams import PLAIN
from syscall_faults import fault

SPEC = {"overwrite": "error", "client_pid": os.getpid(), "client_ticks": start_ticks(os.getpid())}


@pytest.fixture
def tag(runtime: Path) -> Iterator[str]:
    """Of this test's runtime directory, whose shared memory is gone afterwards."""
    tag = shm.runtime_tag(runtime)
    yield tag
    shm.unlink_session(tag, "one")


def names(tag: str) -> set[str]:
    """What is in shared memory."""
    return {path.name for path in shm.SHM_DIR.glob(f"*{tag}*")}


def test_a_ring_that_a_dead_worker_made_is_made_anew(tag: str, tmp_path: Path) -> None:
    """Killed between the ring and its stream's description, it has a successor that can attach the stream."""
    store = SessionStore(tmp_path, "one")
    store.create(SPEC)
    Segment.create(f"/{shm.PREFIX}-{tag}-one-0", 1 << 16, {}).close()
    request = {"stream": "s", "schema": PLAIN.to_json(), "sinks": [CSVFile("s.csv").to_json()]}
    spec = store.attach(request, tag)
    ring = Segment.open(spec["ring"])
    assert len(ring.memory) > 1 << 20  # the new one
    ring.close()


def test_a_session_that_is_over_leaves_no_name(tag: str) -> None:
    """Its rings and doorbells go, whoever made them; those of other sessions stay."""
    for session_id in ("one", "other"):
        Segment.create(f"/{shm.PREFIX}-{tag}-{session_id}-0", 1 << 16, {}).close()
        shm.Doorbell(f"/{shm.PREFIX}-{tag}-{session_id}-main", create=True).close()
    shm.unlink_session(tag, "one")
    assert names(tag) == {f"recd-{tag}-other-0", f"sem.recd-{tag}-other-main"}
    shm.unlink_session(tag, "other")
    assert not names(tag)


def test_a_session_that_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the recording is refused, and no half of it hides in the user's directory."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(session, "write_json", full)
    with pytest.raises(OutputError, match="No space left"):
        SessionStore(tmp_path, "one").create({})
    assert not [*tmp_path.iterdir()]


def test_a_session_is_begun_once(tmp_path: Path) -> None:
    """A worker that is told to begin what another one has begun leaves it alone, and makes way if that one lives."""
    first = SessionStore(tmp_path, "one")
    first.create(SPEC)
    second = SessionStore(tmp_path, "one")
    second.create({**SPEC, "overwrite": "replace"})
    assert second.spec == SPEC
    lock = first.lock("main")
    with pytest.raises(BlockingIOError):
        SessionStore(tmp_path, "one").create(SPEC)
    lock.release()
    assert SessionStore(tmp_path, "one").spec == SPEC


def test_what_a_worker_left_that_was_killed_as_it_began_goes_with_the_next_session(tmp_path: Path) -> None:
    """An empty directory is no session; one in which there is anything, or whose worker may live, stays."""
    hidden = tmp_path / ".recd"
    for name in ("old", "young", "full"):
        (hidden / name).mkdir(parents=True)
        (hidden / name / "main.lock").touch()
        (hidden / name / ".session.json.new").write_text("{")
        if name == "full":
            (hidden / name / "s-s").mkdir()
        if name != "young":
            os.utime(hidden / name, (0, 0))
    SessionStore(tmp_path, "one").create(SPEC)
    assert sorted(p.name for p in hidden.iterdir()) == ["full", "one", "young"]


def test_a_worker_goes_on_when_its_supervisor_died_before_it_could_join(tmp_path: Path) -> None:
    """It does not die of that: it comes back to the next one, as after any death of a supervisor."""
    link = Link(tmp_path / "recd.sock", "0", {})
    link.join()
    assert not link.connected


def test_attaching_a_stream_does_not_read_all_the_others_again(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenth stream costs as few reads as the second; one that was written anew is seen as it is now."""
    store = SessionStore(tmp_path, "one")
    store.create(SPEC)
    read: list[str] = []
    real = session.read_json
    monkeypatch.setattr(session, "read_json", lambda path: read.append(path.parent.name) or real(path))
    reads = []
    for n in range(10):
        read.clear()
        store.attach(
            {"stream": f"s{n}", "schema": PLAIN.to_json(), "sinks": [], "buffer_bytes": 1 << 16}, tag
        )
        reads.append(len(read))
    assert len(set(reads[1:])) == 1
    assert [spec["index"] for spec in store.streams()] == [*range(10)]
    path = store.stream_path("s3") / "stream.json"
    session.write_json(path, {**(real(path) or {}), "hz": 5.0})
    assert [spec["hz"] for spec in store.streams()][3] == 5.0


def test_files_whose_names_cannot_be_made_durable_are_not_left_behind(tmp_path: Path) -> None:
    """The disk refuses the directory: the names are free again, for whoever tries next."""
    paths = [tmp_path / "a.part.csv", tmp_path / "b.part.npz"]
    with fault(1, OSError(errno.EIO, "broken"), calls=("fsync",)), pytest.raises(OutputError, match="broken"):
        places.take(paths)
    assert not [*tmp_path.iterdir()]
    places.take(paths)
    assert [*tmp_path.iterdir()]


def test_files_of_which_one_is_taken_are_not_left_behind(tmp_path: Path) -> None:
    """All or none: another recording's file stays, those made before it go."""
    (tmp_path / "b.part.npz").write_bytes(b"another's")
    with pytest.raises(OutputExistsError, match=r"b\.part\.npz exists"):
        places.take([tmp_path / "a.part.csv", tmp_path / "b.part.npz"])
    assert [p.name for p in tmp_path.iterdir()] == ["b.part.npz"]
