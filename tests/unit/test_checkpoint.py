from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recd.checkpoint import Checkpoint

SLOT_BYTES = 4096
OLDER, NEWER = {"position": 1}, {"position": 2, "sink": {"bytes": 7}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the checkpoint is."""
    return tmp_path / "state.ckpt"


def saved(path: Path, *states: dict[str, Any]) -> bytes:
    """The file after one writer saved these states."""
    checkpoint = Checkpoint(path)
    for state in states:
        checkpoint.save(state)
    checkpoint.close()
    return path.read_bytes()


def loaded(path: Path) -> dict[str, Any] | None:
    """What a new process finds."""
    return Checkpoint(path).load()


def changed_bytes(before: bytes, after: bytes) -> list[int]:
    """Where the two files differ."""
    before = before.ljust(len(after), b"\0")
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]


def test_without_a_file_there_is_no_state(path: Path) -> None:
    """A new stream begins with nothing, and looking makes no file."""
    assert loaded(path) is None
    assert not path.exists()


def test_an_empty_file_holds_no_state(path: Path) -> None:
    """A kill between making the file and writing to it leaves no state."""
    path.touch()
    assert loaded(path) is None


@given(states=st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9)), min_size=1))
def test_the_newest_state_wins(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, Any]]
) -> None:
    """Whatever was saved, and however often, a new process finds the last of it."""
    path = tmp_path_factory.mktemp("checkpoint") / "state.ckpt"
    saved(path, *states)
    assert loaded(path) == states[-1]


def test_every_truncation_of_the_newer_slot_gives_the_older_state(path: Path) -> None:
    """A write that was cut anywhere leaves the state before it."""
    newest = {"position": 3, "sink": {"bytes": 9, "rows": 1}}
    whole = saved(path, OLDER, NEWER, newest)  # the third lies in the third slot, at the file's end
    for length in range(2 * SLOT_BYTES, len(whole)):
        path.write_bytes(whole[:length])
        assert loaded(path) == NEWER, f"cut at byte {length}"
    path.write_bytes(whole)
    assert loaded(path) == newest


def saved_again(path: Path, state: dict[str, Any]) -> bytes:
    """The file after a new process found what there was and saved something else."""
    checkpoint = Checkpoint(path)
    checkpoint.load()
    checkpoint.save(state)
    checkpoint.close()
    return path.read_bytes()


def test_every_torn_write_of_the_newer_slot_gives_the_older_state(path: Path) -> None:
    """Of a write that stopped midway over an older slot, nothing is believed."""
    before = saved(path, {"position": 0, "sink": "x" * 40}, OLDER)
    after = saved_again(path, NEWER)
    first, last = changed_bytes(before, after)[0], changed_bytes(before, after)[-1]
    for torn in range(first + 1, last + 1):
        path.write_bytes(after[:torn] + before[torn:])
        assert loaded(path) == OLDER, f"torn at byte {torn}"


def test_every_bit_flip_of_the_newer_slot_gives_the_older_state(path: Path) -> None:
    """Not one bit of a state can change unseen."""
    saved(path, OLDER)
    older = path.read_bytes()
    newer = saved_again(path, NEWER)
    for i in changed_bytes(older, newer):
        for bit in range(8):
            flipped = bytearray(newer)
            flipped[i] ^= 1 << bit
            path.write_bytes(flipped)
            assert loaded(path) == OLDER, f"bit {bit} of byte {i}"


def test_a_new_process_goes_on_where_the_one_before_stopped(path: Path) -> None:
    """Its first save is newer than everything that it found, also after a torn one."""
    whole = saved(path, OLDER, NEWER)
    path.write_bytes(bytes(20) + whole[20:])
    saved_again(path, {"position": 3})
    assert loaded(path) == {"position": 3}


def test_loading_again_gives_the_same_state(path: Path) -> None:
    """A runner that goes back to its last safe state looks it up as often as it needs to."""
    saved(path, OLDER, NEWER)
    checkpoint = Checkpoint(path)
    assert [checkpoint.load(), checkpoint.load()] == [NEWER, NEWER]
    checkpoint.save(OLDER)
    assert checkpoint.load() == OLDER
    checkpoint.close()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the writes so far."""
    sizes: list[int] = []
    real: Callable[..., int] = os.pwrite

    def counted(fd: int, data: bytes, at: int) -> int:
        sizes.append(len(data))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", counted)
    return sizes


def test_each_save_is_one_write_and_none_when_nothing_changed(path: Path, writes: list[int]) -> None:
    """One system call cannot be half done by a kill, and an idle stream costs none."""
    checkpoint = Checkpoint(path)
    for state in (OLDER, OLDER, NEWER, NEWER, OLDER):
        checkpoint.save(state)
    checkpoint.close()
    assert len(writes) == 3
    again = Checkpoint(path)
    again.load()
    again.save(OLDER)
    assert len(writes) == 3


def test_a_state_that_does_not_fit_is_refused_and_the_one_before_stands(
    path: Path, writes: list[int]
) -> None:
    """A slot is never overrun: what is too large is an error, not damage."""
    checkpoint = Checkpoint(path)
    checkpoint.save(OLDER)
    with pytest.raises(ValueError, match=r"state\.ckpt"):
        checkpoint.save({"text": "x" * SLOT_BYTES})
    checkpoint.save({"text": "x" * (SLOT_BYTES - 16 - len('{"text":""}'))})
    checkpoint.close()
    assert max(writes) == SLOT_BYTES
    assert len(writes) == 2


@pytest.mark.parametrize("written", [0, 5, 30])
def test_a_full_disk_costs_neither_the_state_before_nor_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """A short write is an error, is done again in its own slot, and the older state stands meanwhile."""
    real = os.pwrite
    checkpoint = Checkpoint(path)
    checkpoint.save(OLDER)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:written], at))
    for _ in range(3):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            checkpoint.save(NEWER)
        assert loaded(path) == OLDER
    monkeypatch.undo()
    checkpoint.save(NEWER)
    checkpoint.close()
    assert loaded(path) == NEWER


def test_syncing_reaches_the_file_and_needs_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was saved is made durable; before the first save there is nothing to sync."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    checkpoint = Checkpoint(path)
    checkpoint.sync()
    assert synced == []
    checkpoint.save(OLDER)
    checkpoint.sync()
    assert synced == [str(path)]
    checkpoint.close()


@pytest.mark.parametrize("saves_between", [0, 1, 2, 7])
def test_the_state_that_was_synced_last_is_never_written_over(path: Path, saves_between: int) -> None:
    """Whatever a loss of power leaves of what was saved since: the state that was synced, or a newer one, is there."""
    checkpoint = Checkpoint(path)
    for n in range(saves_between):
        checkpoint.save({"n": n})
    checkpoint.save({"n": 100})
    checkpoint.sync()
    synced = path.read_bytes().ljust(3 * SLOT_BYTES, b"\0")
    for n in range(101, 106):
        checkpoint.save({"n": n})
        now = path.read_bytes().ljust(3 * SLOT_BYTES, b"\0")
        for spoilt in range(3):  # each slot: as it was, or, if it was written since, torn
            at = spoilt * SLOT_BYTES
            if now[at : at + SLOT_BYTES] != synced[at : at + SLOT_BYTES]:
                path.write_bytes(now[:at] + bytes(SLOT_BYTES) + now[at + SLOT_BYTES :])
                assert (loaded(path) or {"n": 0})["n"] >= 100
        everything = b"".join(
            synced[at : at + SLOT_BYTES]
            if now[at : at + SLOT_BYTES] == synced[at : at + SLOT_BYTES]
            else bytes(SLOT_BYTES)
            for at in range(0, 3 * SLOT_BYTES, SLOT_BYTES)
        )
        path.write_bytes(everything)
        assert loaded(path) == {"n": 100}
        path.write_bytes(now)


def test_a_save_during_a_sync_is_not_taken_for_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two saves while another thread syncs may have written over what it syncs: the one synced before stands."""
    checkpoint = Checkpoint(path)
    checkpoint.save({"n": 1})
    checkpoint.sync()
    checkpoint.save({"n": 2})
    real = os.fdatasync

    def sync(fd: int) -> None:
        checkpoint.save({"n": 3})
        checkpoint.save({"n": 4})
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", sync)
        checkpoint.sync_in_place()
    checkpoint.save({"n": 5})
    assert b'{"n":1}' in path.read_bytes()
