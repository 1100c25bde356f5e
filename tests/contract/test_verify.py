"""``recd verify``: finds whatever is not as it was recorded, in every kind of file, and says nothing else."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from recd.cli import main
from recd.log import segment_path, segments
from recd.parts import hash_file
from recd.session import GroupLock, write_json
from recd.verify import Finding, Verification, apart, outputs
from recd_client import CSVFile, DataLossWarning, HDF5File, NPZFile, Recorder, VideoFile
from recd_client.errors import OutputError, RecordTooLargeError
from recd_client.options import SinkOptions
from recd_client.schema import Schema
from recordings import manifest_of, numbered
from rows import Recording
from streams import PLAIN, VARYING, files_in

FILES = ["s.csv", "s.npz", "s.h5", "c.csv", "c.npz", "c.h5", "v.mp4", "raw.mkv"]
TABLES = [name for name in FILES if name[0] in "sc"]


def findings(path: Path) -> list[Finding]:
    """Everything that is found; nothing is written."""
    before = files_in(path if path.is_dir() else path.parent)
    found = [*Verification(path).findings()]
    assert files_in(path if path.is_dir() else path.parent) == before
    return found


def bad(path: Path) -> list[Finding]:
    """What is damaged or lost."""
    return [f for f in findings(path) if f.is_bad]


# --- finished recordings --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording to every kind of file, of samples of fixed and of varying size, in one part and in several."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    with Recorder("walk", dir=directory, dt=0.01) as rec:
        plain = rec.stream("s", CSVFile("s.csv"), NPZFile("s.npz"), HDF5File("s.h5"))
        varying = rec.stream("c", CSVFile("c.csv"), NPZFile("c.npz"), HDF5File("c.h5", compression="gzip"))
        parts = rec.stream("p", NPZFile("p.npz", split=20), CSVFile("p.csv", split=25))
        film, raw = rec.stream("v", VideoFile("v.mp4")), rec.stream("raw", VideoFile("raw.mkv", codec="ffv1"))
        for i in range(60):
            plain.write({"x": np.full(3, i / 3), "n": i}, t=i * 0.01)
            varying.write({"text": f"é{i},\n", "flag": i % 2 == 0}, t=i * 0.01)
            parts.write(float(i), t=i * 0.01)
            film.write(numbered(i), t=i * 0.01)
            raw.write(numbered(i), t=i * 0.01)
    return directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def trust(run: Path, name: str) -> None:
    """The manifest has the hash of the file as it is now: only the contents can tell."""
    manifest = manifest_of(run)
    for stream in manifest["streams"].values():
        for file in stream["files"]:
            if file["path"] == name:
                file["sha256"], file["bytes"] = hash_file(run / name)
    (run / "manifest.json").write_text(json.dumps(manifest))


def test_a_sound_recording_has_nothing_wrong(run: Path) -> None:
    """Directory, manifest and each file alone are sound, and every file is named."""
    for path in (run, run / "manifest.json"):
        found = findings(path)
        assert {f.level for f in found} == {"ok"}
        assert {f.path.name for f in found} == {p.name for p in run.iterdir()} - {"manifest.json"}
    for path in run.iterdir():
        assert not bad(path), path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_a_changed_bit_is_found_in_every_kind_of_file(run: Path, name: str, where: float) -> None:
    """Wherever it is, the file is named when it is asked for alone; in the whole recording, all others are sound."""
    content = bytearray((run / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 4
    (run / name).write_bytes(content)
    assert {f.path.name for f in bad(run / name)} == {name}
    if where == 0.5:  # what is said of the others does not depend on the place
        assert {f.path.name for f in bad(run)} == {name}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "swapped", "a directory"])
def test_missing_cut_and_swapped_files_are_found(run: Path, name: str, damage: str) -> None:
    """Whatever became of a file, verify says so about it and goes on with the others."""
    path = run / name
    content = path.read_bytes()
    if damage == "swapped":
        other = (
            run / next(n for n in FILES if (n != name and n[-3:] == name[-3:]) or n == "p_0000.npz")
            if any(n != name and n[-3:] == name[-3:] for n in FILES)
            else run / "s.csv"
        )
        path.write_bytes(other.read_bytes())
    elif damage in ("missing", "a directory"):
        path.unlink()
        if damage == "a directory":
            path.mkdir()
    else:
        new = {"empty": b"", "cut": content[: len(content) * 2 // 3], "longer": content + b"0,1\n"}[damage]
        path.write_bytes(new)
    found = bad(run)
    assert found
    assert {f.path.name for f in found} == {name}
    assert all(f.do for f in found)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.1, 0.4, 0.7, 0.99])
def test_what_a_reader_cannot_read_is_told_also_with_the_right_hash(
    run: Path, name: str, share: float
) -> None:
    """A file that was cut before it was hashed: its format's own reader finds it."""
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: int(len(content) * share)])
    trust(run, name)
    assert {f.path.name for f in bad(run / name)} == {name}
    if share == 0.4:  # what is said of the others does not depend on the place
        assert {f.path.name for f in bad(run)} == {name}


def test_a_csv_tells_which_row_is_torn(run: Path) -> None:
    """Too few cells, no number for a time, a torn end, a missing row: each with the row or the count."""
    lines = (run / "s.csv").read_text().splitlines(keepends=True)
    cases = {
        "row 20 (line 22) has 4 cells instead of 5": [*lines[:21], "1,2,3,4\n", *lines[22:]],
        "row 20 (line 22) begins with no time": [*lines[:21], "x,2,3,4,5\n", *lines[22:]],
        "the last row is torn": [*lines[:-1], lines[-1].strip()],
        "it has 59 samples instead of 60": [*lines[:9], *lines[10:]],
        "4 columns instead of 5": [",".join(line.split(",")[:4]).strip() + "\n" for line in lines],
        "the header is missing": lines[1:],
    }
    for what, rows in cases.items():
        (run / "s.csv").write_text("".join(rows))
        trust(run, "s.csv")
        (found,) = [f for f in bad(run) if "time" not in f.what or "begins" in what]
        assert what in found.what


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The archive with other arrays, written by numpy."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)


def test_an_archive_tells_which_array_is_wrong(run: Path) -> None:
    """A missing array, another shape or type, fewer samples, a damaged entry."""
    whole = (run / "s.npz").read_bytes()
    cases: dict[str, Callable[[dict[str, Any]], Any]] = {
        "there is no 'x'": lambda a: a.pop("x"),
        "'n' is": lambda a: a.update(n=a["n"].astype(np.int32)),
        "'x' is": lambda a: a.update(x=a["x"][:50]),
        "50 samples instead of 60": lambda a: a.update({k: v[:50] for k, v in a.items()}),
        "there is no 'timestamp'": lambda a: a.pop("timestamp"),
    }
    for what, change in cases.items():
        (run / "s.npz").write_bytes(whole)
        rewritten(run / "s.npz", change)
        trust(run, "s.npz")
        assert any(what in f.what for f in bad(run)), what
    (run / "s.npz").write_bytes(whole)
    with zipfile.ZipFile(run / "s.npz") as archive:
        entry = archive.getinfo("x.npy")
    content = bytearray(whole)
    content[entry.header_offset + 80] ^= 255
    (run / "s.npz").write_bytes(content)
    trust(run, "s.npz")
    assert any("'x'" in f.what for f in bad(run))


def test_an_hdf5_file_that_cannot_be_read_to_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library can loop for ever, or crash: in a process of its own, which is given some time."""
    os.mkfifo(tmp_path / "endless.h5")
    monkeypatch.setattr(apart, "PATIENCE_S", 0.5)
    with pytest.raises(OutputError, match=r"not readable in 0.5 s"):
        [*outputs.read_through(tmp_path / "endless.h5", "hdf5", VARYING)]
    monkeypatch.setattr(apart, "PATIENCE_S", 60.0)
    monkeypatch.setattr(apart.sys, "executable", shutil.which("false"))
    with pytest.raises(OutputError, match="ends the process"):
        [*outputs.read_through(tmp_path / "endless.h5", "hdf5", VARYING)]


def test_an_hdf5_file_tells_which_dataset_is_wrong(run: Path) -> None:
    """A missing dataset, another shape, fewer samples, a damaged chunk and the row that it begins with."""
    whole = (run / "c.h5").read_bytes()

    def spoiled(change: Callable[[h5py.File], None]) -> str:
        (run / "c.h5").write_bytes(whole)
        with h5py.File(run / "c.h5", "r+") as file:
            change(file)
        trust(run, "c.h5")
        return " ".join(f.what for f in bad(run))

    def drop(name: str) -> Callable[[h5py.File], None]:
        return lambda file: file.pop(name) and None

    def cut(file: h5py.File) -> None:
        for dataset in file.values():
            dataset.resize(40, axis=0)

    def chunk(file: h5py.File) -> None:
        file["flag"].id.write_direct_chunk((0,), b"no gzip")

    assert "there is no 'flag'" in spoiled(drop("flag"))
    assert "40 samples instead of 60" in spoiled(cut)
    assert "dataset 'flag', from row 0" in spoiled(chunk)


def test_a_video_tells_how_many_frames_it_lacks(run: Path) -> None:
    """A video of fewer frames, one with other numbers, and one whose repetitions are nobody's loss."""
    shutil.copy(run / "raw.mkv", run / "backup.mkv")
    manifest = manifest_of(run)
    table = manifest["streams"]["v"]["files"][0]["video"]["frames"]
    cases: dict[str, Callable[[], Any]] = {
        "it has 60 frames instead of 59": lambda: [table[k].pop() for k in ("seq", "t", "step", "wall_ns")],
        "its frames are not one for each number": lambda: table["seq"].insert(0, table["seq"].pop()),
        "frames are repetitions": lambda: table["repeated"].append(7),
    }
    for what, change in cases.items():
        original = json.dumps(table)
        change()
        (run / "manifest.json").write_text(json.dumps(manifest))
        assert any(what in f.what for f in bad(run)), what
        table.update(json.loads(original))


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("attempted", 61, "61 attempts are not 60 samples and 0 losses"),
        ("samples", 59, "60 attempts are not 59 samples"),
        ("lost", {"full": 1}, "gaps of {}, losses of {'full': 1}"),
        ("t_last", 7.0, "its last time is 0.59 s, that of the stream is 7.0 s"),
        ("complete", False, "stream s is complete"),
        ("schema", {"fields": 3}, "it contradicts itself"),
        ("files", 3, "it contradicts itself"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_its_files_is_found(
    run: Path, key: str, value: Any, what: str
) -> None:
    """Counts add up, each loss has a gap, and times are those in the files; whatever stands there, no crash."""
    manifest = manifest_of(run)
    manifest["streams"]["s"][key] = value
    (run / "manifest.json").write_text(json.dumps(manifest))
    if key == "files":
        result = CliRunner().invoke(main, ["verify", str(run)])
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        return
    assert any(what in f.what for f in bad(run)), bad(run)


def test_a_missing_part_is_found(run: Path) -> None:
    """Parts are numbered without a gap, and together they have the stream's samples."""
    manifest = manifest_of(run)
    files = manifest["streams"]["p"]["files"]
    assert len(files) == 6
    del files[1]
    (run / "manifest.json").write_text(json.dumps(manifest))
    texts = [f.what for f in bad(run)]
    assert any("its npz parts are [0, 2]" in t for t in texts)
    assert any("60 samples, and 40 in its npz files" in t for t in texts)


def test_a_gap_that_the_file_does_not_have_is_found(run: Path) -> None:
    """The manifest says that samples are lost, and the file has some at those times."""
    manifest = manifest_of(run)
    stream = manifest["streams"]["s"]
    stream["gaps"] = [{"cause": "full", "first_seq": 20, "last_seq": 24, "count": 5, "bytes": 0,
                       "t_first": 0.2, "t_last": 0.24}]  # fmt: skip
    stream["lost"], stream["attempted"] = {"full": 5}, 65
    (run / "manifest.json").write_text(json.dumps(manifest))
    found = bad(run)
    assert [f.level for f in found if f.level == "loss"] == ["loss"]
    assert {f.path.name for f in found if "has samples between 0.2 and 0.24 s" in f.what} == {
        "s.csv", "s.npz", "s.h5",
    }  # fmt: skip


def test_losses_are_told_although_all_that_is_there_is_whole(shared_runtime: Path, tmp_path: Path) -> None:
    """Samples too large for the ring: exit code 3, level loss, the cause; no file is damaged."""
    rec = Recorder(dir=tmp_path)
    stream = rec.stream("s", CSVFile("s.csv"), NPZFile("s.npz"), like="", buffer_bytes=20_000)
    for i in range(9):
        with suppress(RecordTooLargeError):
            stream.write("x" * (30_000 if i in (3, 4) else 10), t=float(i))
    with pytest.warns(DataLossWarning):
        rec.close()
    (finding,) = bad(tmp_path)
    assert (finding.level, finding.path) == ("loss", tmp_path)
    assert "2 samples are lost: 2 too_large" in finding.what
    assert CliRunner().invoke(main, ["verify", str(tmp_path)]).exit_code == 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_file_however_damaged_crashes_it(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any bytes of any table changed, cut out or doubled, with the hash of what it became: found, or the same."""
    run = tmp_path_factory.mktemp("run")
    name = data.draw(st.sampled_from(TABLES))
    for file in ("manifest.json", name):
        shutil.copy(finished / file, run / file)
    manifest = manifest_of(run)
    stream = manifest["streams"][name[0]]
    stream["files"] = [f for f in stream["files"] if f["path"] == name]
    manifest["streams"] = {name[0]: stream}
    (run / "manifest.json").write_text(json.dumps(manifest))
    raw = bytearray((run / name).read_bytes())
    at, length = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 400))
    kind = data.draw(st.sampled_from(["flip", "zero", "cut out", "cut"]))
    if kind == "flip":
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "zero":
        raw[at : at + length] = bytes(len(raw[at : at + length]))
    else:
        del raw[at : at + length if kind == "cut out" else len(raw)]
    (run / name).write_bytes(raw)
    assert bad(run) or raw == (finished / name).read_bytes()
    if not name.endswith(".h5"):  # damaged strings behind a right hash can hold its library up for ever
        trust(run, name)
        findings(run)


# --- unfinished sessions --------------------------------------------------------------------------

SINKS: list[SinkOptions] = [
    CSVFile("rows.csv", split=20), NPZFile("rows.npz", split=20), HDF5File("rows.h5", split=20),
]  # fmt: skip


def interrupted(top: Path, schema: Schema = PLAIN) -> Path:
    """A run directory whose worker stopped behind two parts and a half of each file; its log is all there."""
    recording = Recording(top / ".recd" / "s1", *SINKS, schema=schema, capacity_bytes=1 << 20)
    for _ in range(10):
        recording.feed.write(5)
        recording.track.drain()
    recording.settle()
    recording.turn(20)
    recording.track.sync_all()
    recording.track.save()
    recording.track.close()
    write_json(top / ".recd" / "s1" / "session.json", {"name": "walk", "directory": str(top)})
    spec = {
        "stream": "rows", "index": 0, "schema": schema.to_json(), "sinks": [o.to_json() for o in SINKS],
        "finals": [str(recording.out / str(o.path)) for o in SINKS], "group": "main",
    }  # fmt: skip
    write_json(recording.directory / "stream.json", spec)
    return top


def log_of(run: Path) -> Path:
    """The one segment of its log."""
    directory = run / ".recd" / "s1" / "s-rows" / "log"
    return segment_path(directory, segments(directory)[0])


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
def test_a_sound_session_is_sound_and_all_its_files_are_compared(tmp_path: Path, schema: Schema) -> None:
    """Log, finished parts and the safe rows of the open CSV; also when the directory was moved."""
    run = interrupted(tmp_path / "run", schema)
    for _ in range(2):
        for path in (run, run / ".recd" / "s1"):
            found = findings(path)
            assert {f.level for f in found} == {"ok", "note"}, found
            assert sorted(f.path.name for f in found if "those of the log" in f.what) == [
                "rows_0000.csv", "rows_0000.h5", "rows_0000.npz", "rows_0001.csv", "rows_0001.h5",
                "rows_0001.npz", "rows_0002.part.csv",
            ]  # fmt: skip
            assert any("10 chunks with 50 samples are whole" in f.what for f in found)
        run = run.rename(tmp_path / "moved")


def test_every_bit_of_a_log_is_checked(tmp_path: Path) -> None:
    """Whichever bit of it changed, verify finds it, and says that samples are missing, and which."""
    run = interrupted(tmp_path / "run")
    shutil.rmtree(run / ".recd" / "s1" / "out")
    spec = run / ".recd" / "s1" / "s-rows" / "stream.json"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "sinks": [], "finals": []}))
    content = log_of(run).read_bytes()
    fd = os.open(log_of(run), os.O_RDWR)
    for bit in range(0, len(content) * 8, 25):  # all places in a byte take their turn; see test_log_damage.py
        byte = content[bit // 8]
        os.pwrite(fd, bytes([byte ^ 1 << bit % 8]), bit // 8)
        found = [f for f in Verification(run).findings() if f.is_bad]
        assert found, f"bit {bit}"
        os.pwrite(fd, bytes([byte]), bit // 8)
    os.close(fd)
    assert not bad(run)


def test_every_truncation_point_of_a_log_is_found(tmp_path: Path) -> None:
    """It had reached further: the journal knows."""
    run = interrupted(tmp_path / "run")
    content = log_of(run).read_bytes()
    for length in range(0, len(content), 61):
        log_of(run).write_bytes(content[:length])
        assert bad(run), f"cut at byte {length}"
    log_of(run).unlink()
    assert bad(run)


@pytest.mark.parametrize("schema", [PLAIN, VARYING], ids=["fixed", "varying"])
@pytest.mark.parametrize("name", ["rows_0000.csv", "rows_0001.npz", "rows_0000.h5", "rows_0002.part.csv"])
def test_a_file_that_differs_from_the_log_is_found_by_its_samples(
    tmp_path: Path, schema: Schema, name: str
) -> None:
    """One value is another one, with the right hash: the row or sample is told."""
    run = interrupted(tmp_path / "run", schema)
    path = run / ".recd" / "s1" / "out" / name
    if path.suffix == ".csv":
        lines = path.read_text().splitlines(keepends=True)
        cells = lines[4].split(",")
        cells[1] = cells[1].replace("3", "4")
        path.write_text("".join([*lines[:4], ",".join(cells), *lines[5:]]))
    elif path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        arrays["x"][3] += 1
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "r+") as file:
            file["x"][3] += 1
    found = [f.what for f in bad(run) if f.path == path]
    assert any("differs from the log in " in what and what.endswith(" 3") for what in found), found


def test_a_log_that_is_damaged_does_not_accuse_the_files(tmp_path: Path) -> None:
    """They have what it had: only the log is damaged, and the files are told to have more."""
    run = interrupted(tmp_path / "run")
    content = bytearray(log_of(run).read_bytes())
    content[300] ^= 1
    log_of(run).write_bytes(content)
    found = findings(run)
    assert {f.path.parent.name for f in found if f.is_bad} <= {"log", "s-rows"}
    assert {f.path.name for f in found if "of which the log has 15 left" in f.what} == {
        "rows_0000.csv", "rows_0000.npz", "rows_0000.h5",
    }  # fmt: skip


def test_a_live_session_is_told_and_only_its_log_is_read(tmp_path: Path) -> None:
    """While a worker holds its lock, a chunk that is half written is no damage."""
    run = interrupted(tmp_path / "run")
    with log_of(run).open("ab") as f:
        f.write(b"\1" * 300)
    assert bad(run)
    lock = GroupLock(run / ".recd" / "s1" / "main.lock")
    try:
        found = findings(run)
    finally:
        lock.release()
    assert [f.level for f in found] == ["note", "ok"]


@pytest.mark.parametrize("name", ["stream.json", "session.json"])
def test_damaged_working_files_are_told(tmp_path: Path, name: str) -> None:
    """Files that describe the session and are no JSON: an error or a finding that names it, no crash."""
    run = interrupted(tmp_path / "run")
    (path,) = run.rglob(name)
    path.write_text("{")
    result = CliRunner().invoke(main, ["verify", str(run)])
    assert result.exit_code in (1, 3)
    assert isinstance(result.exception, SystemExit)
    assert str(run) in result.output


# --- the verb -------------------------------------------------------------------------------------


def test_the_verb_says_one_line_per_finding_and_what_to_do(run: Path) -> None:
    """Exit code 0 when all is sound, 3 when not; with --json the same for programs."""
    sound = CliRunner().invoke(main, ["verify", str(run)])
    assert sound.exit_code == 0, sound.output
    assert sound.stdout.splitlines()[-1] == f"{run}: sound"
    (run / "s.npz").unlink()
    result = CliRunner().invoke(main, ["verify", str(run)])
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith("damage"))
    assert lines[at] == f"damage  {run / 's.npz'}: it is missing"
    assert lines[at + 1] == "        -> restore it from a copy"
    assert lines[-1] == f"{run}: 1 problem"
    result = CliRunner().invoke(main, ["verify", "--json", str(run)])
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert {*told} == {"path", "sound", "findings"}
    assert told["sound"] is False
    assert all({*f} == {"level", "path", "what", "do"} for f in told["findings"])


def test_what_is_no_recording_is_an_error(tmp_path: Path) -> None:
    """Nothing there, nothing of recd's, a format that recd does not write: exit code 1, and what to do."""
    (tmp_path / "x.txt").write_text("hi")
    for path in (tmp_path, tmp_path / "none", tmp_path / "x.txt"):
        result = CliRunner().invoke(main, ["verify", str(path)])
        assert result.exit_code == 1
        assert "  -> " in result.stderr


def test_a_file_without_a_manifest_is_read_all_the_same(run: Path) -> None:
    """Its format is checked; that nobody knows what it should hold is said."""
    (run / "manifest.json").unlink()
    for name in FILES:
        (found,) = findings(run / name)
        assert (found.level, found.path.name) == ("note", name)
        (run / name).write_bytes((run / name).read_bytes()[:-40])
        assert bad(run / name), name
