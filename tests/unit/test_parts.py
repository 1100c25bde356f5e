from __future__ import annotations

import errno
import hashlib
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from recd import durable, parts
from recd.finisher import Job
from recd.parts import Naming, Part, PartsFile, hash_file, seal
from recd_client.options import CSVFile, NPZFile, SinkOptions
from syscall_faults import death, fault

CONTENT = b"whole" * 1000

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "final", "part"),
    [
        (NPZFile("s.npz"), "s.npz", "s.part.npz"),
        (NPZFile("s.npz", save_on_reset=True), "s_7.npz", "s_7.part.npz"),
        (NPZFile("s.npz", split=10), "s_0007.npz", "s_0007.part.npz"),
        (NPZFile("s.npz", split="1h", save_on_reset=True), "s_0007.npz", "s_0007.part.npz"),
        (CSVFile("a.b.csv"), "a.b.csv", "a.b.part.csv"),
        (CSVFile("S.CSV", save_on_reset=True), "S_7.CSV", "S_7.part.csv"),
    ],
    ids=["one", "reset", "split", "both", "dots", "capitals"],
)
def test_names_of_parts(options: SinkOptions, final: str, part: str) -> None:
    """One part has the user's own name; numbers have four digits for a split, else as many as they need."""
    naming = Naming.of(options, Path("/out") / str(options.filename))
    assert naming.final_path(7) == Path("/out") / final
    assert naming.part_path(7) == Path("/out") / part


def test_numbers_grow_beyond_their_digits() -> None:
    """The ten-thousandth part of a split has a name of its own."""
    names = {Naming(Path("/s.csv"), 4).final_path(n).name for n in (1, 9_999, 10_000, 100_000)}
    assert names == {"s_0001.csv", "s_9999.csv", "s_10000.csv", "s_100000.csv"}


def test_a_renamed_file_keeps_its_place_while_it_is_open() -> None:
    """Only what is finished from now on takes the new name, also after a second change of mind."""
    naming = Naming(Path("/a/old.csv"), 1).renamed(Path("/b/new.csv")).renamed(Path("/c/newer.csv"))
    assert naming.final_path(2) == Path("/c/newer_2.csv")
    assert naming.part_path(2) == Path("/a/old_2.part.csv")


@pytest.mark.parametrize("digits", [0, 1, 4])
def test_a_free_name_is_neither_there_nor_being_written(tmp_path: Path, digits: int) -> None:
    """It is the first one that nobody has, finished or not."""
    naming = Naming(tmp_path / "s.csv", digits)
    assert naming.free().final.name == "s.csv"
    naming.final_path(0).touch()
    assert naming.free().final.name == "s_1.csv"
    Naming(tmp_path / "s_1.csv", digits).part_path(0).touch()
    assert naming.free().final.name == "s_2.csv"


# --- what is written down -------------------------------------------------------------------------


def test_the_last_line_of_a_number_counts(tmp_path: Path) -> None:
    """Parts are read back as they were last written, whatever was written between."""
    parts = PartsFile(tmp_path / "sink0.parts")
    first, second = Part(0, 0, 640, 5), Part(1, 640, details={"codec": "h264"})
    for part in (first, second):
        parts.put(part)
    first.state, first.sha256 = "done", "ab"
    parts.put(first, sync=True)
    assert PartsFile(tmp_path / "sink0.parts").parts == {0: first, 1: second}


def test_without_a_file_there_are_no_parts(tmp_path: Path) -> None:
    """A new sink begins with none, and looking makes no file."""
    assert PartsFile(tmp_path / "sink0.parts").parts == {}
    assert not (tmp_path / "sink0.parts").exists()


def test_a_line_cut_anywhere_is_left_out_and_the_next_one_stands(tmp_path: Path) -> None:
    """Wherever a kill cut a line, the state before it counts, and the next line is whole."""
    path = tmp_path / "sink0.parts"
    parts = PartsFile(path)
    parts.put(Part(0, 0, 640, 5, state="sealing"))
    before = path.read_bytes()
    parts.put(Part(0, 0, 640, 5, state="done"))
    whole = path.read_bytes()
    for length in range(len(before), len(whole) - 2):
        path.write_bytes(whole[:length])
        again = PartsFile(path)
        assert again.parts[0].state == "sealing", f"cut at {length}"
        again.put(Part(1, 640))
        assert sorted(PartsFile(path).parts) == [0, 1]


@pytest.mark.parametrize("torn", [False, True])
def test_what_could_not_be_written_down_does_not_count(tmp_path: Path, torn: bool) -> None:
    """With a full disk the parts are what they were, here and for a successor."""
    parts = PartsFile(tmp_path / "sink0.parts")
    parts.put(Part(0, 0))
    for _ in range(2):
        full = fault(1, OSError(errno.ENOSPC, "full"), torn=torn, calls=("write",))
        with full, pytest.raises(OSError, match="full"):
            parts.put(Part(1, 640))
        assert sorted(parts.parts) == [0]
        assert sorted(PartsFile(tmp_path / "sink0.parts").parts) == [0]
    parts.put(Part(1, 640))
    assert sorted(PartsFile(tmp_path / "sink0.parts").parts) == [0, 1]


def test_a_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the disk had room for in part only was not written."""
    parts = PartsFile(tmp_path / "sink0.parts")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:9]))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        parts.put(Part(0, 0))
    assert parts.parts == {}


# --- sealing --------------------------------------------------------------------------------------


class Sealing:
    """A complete part file, and its way to a finished one."""

    def __init__(self, directory: Path, *, replace: bool = False) -> None:
        self.directory = directory / "out"
        self.directory.mkdir()
        self.records = directory / "sink0.parts"
        self.naming = Naming(self.directory / "s.csv")
        self.replace = replace
        self.naming.part_path(0).write_bytes(CONTENT)
        PartsFile(self.records).put(Part(0, 0, 640, 5, state="sealing"))

    def run(self) -> Part:
        """Do it, as a new process would: from what the files tell."""
        parts = PartsFile(self.records)
        part = parts.parts[0]
        if part.state != "done":
            job = Job(lambda job: None)
            seal(
                part,
                self.naming.part_path(0),
                self.naming.final_path(0),
                parts,
                replace=self.replace,
                job=job,
            )
        return PartsFile(self.records).parts[0]

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the directory."""
        return {p.name: p.read_bytes() for p in self.directory.iterdir()}


def test_a_sealed_part_has_its_final_name_and_is_described(tmp_path: Path) -> None:
    """Size and SHA-256 are those of the file; nothing else is left."""
    sealing = Sealing(tmp_path)
    part = sealing.run()
    assert sealing.files == {"s.csv": CONTENT}
    assert (part.state, part.path, part.bytes) == ("done", str(sealing.directory / "s.csv"), len(CONTENT))
    assert part.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half done"])
def test_a_kill_at_any_call_ends_in_exactly_one_finished_file(tmp_path: Path, torn: bool) -> None:
    """Whichever call was the last, doing it again finds what was done, and no second file appears."""
    for at in itertools.count(1):
        directory = tmp_path / str(at)
        directory.mkdir()
        sealing = Sealing(directory)
        with death(at, torn=torn) as state:
            sealing.run()
        for name, content in sealing.files.items():
            assert name in ("s.csv", "s.part.csv")
            assert content == CONTENT  # a final name means a finished file, at any time
        part = sealing.run()
        assert sealing.files == {"s.csv": CONTENT}, f"killed at call {at}"
        assert (part.state, part.path) == ("done", str(sealing.directory / "s.csv"))
        assert part.sha256 == hashlib.sha256(CONTENT).hexdigest()
        if not state.struck:
            break
    assert at > 6


def test_an_error_at_any_call_is_made_good_by_trying_again(tmp_path: Path) -> None:
    """A full disk, or a directory that cannot be synced, delays the file and nothing else."""
    for at in itertools.count(1):
        directory = tmp_path / str(at)
        directory.mkdir()
        sealing = Sealing(directory)
        parts = PartsFile(sealing.records)
        part, paths = parts.parts[0], (sealing.naming.part_path(0), sealing.naming.final_path(0))
        with fault(at, OSError(errno.ENOSPC, "full")) as state:
            try:
                seal(part, *paths, parts, replace=False, job=Job(lambda job: None))
            except OSError:
                seal(part, *paths, parts, replace=False, job=Job(lambda job: None))
        assert sealing.files == {"s.csv": CONTENT}, f"failed at call {at}"
        assert PartsFile(sealing.records).parts[0].state == "done"
        if not state.struck:
            break


def test_a_foreign_file_of_the_final_name_is_not_overwritten(tmp_path: Path) -> None:
    """What appeared meanwhile keeps its name, and the part takes the next free one."""
    sealing = Sealing(tmp_path)
    (sealing.directory / "s.csv").write_bytes(b"foreign")
    (sealing.directory / "s_1.csv").write_bytes(b"another")
    part = sealing.run()
    assert sealing.files == {"s.csv": b"foreign", "s_1.csv": b"another", "s_2.csv": CONTENT}
    assert part.path == str(sealing.directory / "s_2.csv")


@pytest.mark.parametrize("supported", [True, False])
def test_a_foreign_file_that_appears_at_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    """Nor where a file system cannot rename without replacing, as far as that can be: it is looked for once more."""
    sealing = Sealing(tmp_path)
    real = parts.rename_new

    def late(source: Path, target: Path) -> None:
        if target.name != "s_2.csv":
            target.write_bytes(b"foreign")
        real(source, target)

    monkeypatch.setattr(parts, "rename_new", late)
    if not supported:
        monkeypatch.setattr(durable, "_libc", object())
    part = sealing.run()
    assert part.path == str(sealing.directory / "s_2.csv")
    assert sealing.files == {"s.csv": b"foreign", "s_1.csv": b"foreign", "s_2.csv": CONTENT}


def test_a_foreign_file_that_appears_after_a_kill_is_not_overwritten(tmp_path: Path) -> None:
    """Also when the name was still free, and written down, before the kill."""
    for at in itertools.count(1):
        directory = tmp_path / str(at)
        directory.mkdir()
        sealing = Sealing(directory)
        with death(at) as state:
            sealing.run()
        finished = "s.csv" in sealing.files
        if not finished:
            (sealing.directory / "s.csv").write_bytes(b"foreign")
        part = sealing.run()
        name = "s.csv" if finished else "s_1.csv"
        assert part.path == str(sealing.directory / name)
        assert sealing.files[name] == CONTENT
        assert len(sealing.files) == (1 if finished else 2), f"killed at call {at}"
        if not state.struck:
            break


def test_a_file_is_replaced_where_that_was_asked_for(tmp_path: Path) -> None:
    """The old one stays until the moment when the new one is complete."""
    sealing = Sealing(tmp_path, replace=True)
    (sealing.directory / "s.csv").write_bytes(b"old")
    broken = fault(1, OSError(errno.EIO, "broken"), calls=("fsync",))
    with broken, pytest.raises(OSError, match="broken"):
        sealing.run()
    assert sealing.files["s.csv"] == b"old"
    sealing.run()
    assert sealing.files == {"s.csv": CONTENT}


def test_a_finished_file_that_was_taken_away_meanwhile_is_not_missed(tmp_path: Path) -> None:
    """Killed right after the rename, and the file moved by its owner: there is nothing left to do."""
    sealing = Sealing(tmp_path)
    sealing.run()
    lines = sealing.records.read_bytes().splitlines(keepends=True)
    sealing.records.write_bytes(b"".join(line for line in lines if b'"done"' not in line))
    (sealing.directory / "s.csv").rename(tmp_path / "elsewhere.csv")
    assert sealing.run().state == "done"
    assert sealing.files == {}


def test_the_name_is_written_down_and_the_file_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power loss a final name means a finished file: data, names, directories."""
    order: list[str] = []

    def noted(name: str, real: Any) -> Any:
        def call(target: Any, *args: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            order.append(f"{name} {Path(path).name}")
            return real(target, *args)

        return call

    sealing = Sealing(tmp_path)
    for name in ("fsync", "fdatasync", "rename"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    monkeypatch.setattr(parts, "rename_new", noted("rename", parts.rename_new))
    sealing.run()
    assert order == [
        "fdatasync s.part.csv",
        "fsync out",
        "fdatasync sink0.parts",
        f"fsync {tmp_path.name}",
        "rename s.part.csv",
        "fsync out",
        "fdatasync sink0.parts",
    ]


def test_hashing_reports_progress_and_can_be_cancelled(tmp_path: Path) -> None:
    """The bytes done so far are told, and an exception from there ends it."""
    path = tmp_path / "large"
    path.write_bytes(bytes(5 << 19))
    told: list[int] = []
    assert hash_file(path, told.append)[1] == 5 << 19
    assert told == [1 << 20, 2 << 20, 5 << 19]

    def cancel(done: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        hash_file(path, cancel)


def test_a_large_file_that_cannot_be_synced_is_not_taken_for_hashed(tmp_path: Path) -> None:
    """It is hashed while it is synced: the error comes out nevertheless."""

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "large"
    path.write_bytes(bytes(17 << 20))
    assert hash_file(path) == (hashlib.sha256(bytes(17 << 20)).hexdigest(), 17 << 20)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        hash_file(path, sync=fail)
