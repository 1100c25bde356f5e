from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from recd.batch import Event
from recd.chunks import ChunkInfo
from recd.cli import _files, main
from recd.journal import Journal
from recd.log_writer import LogWriter
from recd.session import GroupLock, SessionStore, write_json
from recd_client.schema import Field, Schema

SCHEMA = Schema(
    (
        Field("qpos", "<f8", (7,), unit="rad"),
        Field("hit", "<f4", (3,), kind="ragged"),
        Field("note", "|u1", kind="string"),
    )
)
GAP = {
    "cause": "full",
    "first_seq": 100,
    "last_seq": 111,
    "count": 12,
    "bytes": 960,
    "t_first": 1.0,
    "t_last": 1.11,
}


def info(*arguments: object) -> Result:
    """Run ``recd info``; whatever happens, it is no traceback."""
    result = CliRunner().invoke(main, ["info", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def told(*arguments: object) -> Any:
    """What ``recd info --json`` tells."""
    result = info("--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def file_entry(path: Path, directory: Path, kind: str, samples: int) -> dict[str, Any]:
    """A file in a manifest."""
    content = path.read_bytes()
    return {
        "path": str(path.relative_to(directory)),
        "kind": kind,
        "part": 0,
        "samples": samples,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def manifest_of(session: str, streams: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A manifest of those streams."""
    return {
        "manifest_version": 1,
        "recd": "0.1.0",
        "session": session,
        "name": "walk",
        "state": "complete",
        "complete": True,
        "host": {"hostname": "box"},
        "metadata": {"seed": 7},
        "dt": 0.01,
        "durability": "process",
        "code": {"argv": ["sim.py", "--fast"], "python": "3.11.7", "git_commit": "abc123", "git_dirty": True},
        "clocks": {
            "start_wall_ns": 10**18,
            "start_mono_ns": 0,
            "end_wall_ns": 10**18 + 1,
            "end_mono_ns": 3 * 10**9,
        },
        "marks": [{"label": "fell", "fields": {"leg": 2}, "t": 1.5, "step": 150, "mono_ns": 5}],
        "streams": streams,
        **more,
    }


def stream_of(files: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A stream in a manifest."""
    return {
        "hz": None,
        "state": "complete",
        "reason": "",
        "complete": True,
        "schema": SCHEMA.to_json(),
        "attempted": 1012,
        "skipped": 0,
        "marks_lost": 0,
        "blocked_s": 0.0,
        "lost": {"full": 12},
        "samples": 1000,
        "bytes": 80_000,
        "t_first": 0.0,
        "t_last": 10.11,
        "backward_times": 1,
        "nan_times": 0,
        "gaps": [GAP],
        "files": files,
        **more,
    }


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A finished recording of one stream to CSV."""
    directory = tmp_path / "run"
    directory.mkdir()
    csv = directory / "state.csv"
    csv.write_text("timestamp,qpos_0\n" + "".join(f"{n / 100},{n}\n" for n in range(1000)))
    files = [file_entry(csv, directory, "csv", 1000)]
    (directory / "manifest.json").write_text(json.dumps(manifest_of("s1", {"state": stream_of(files)})))
    return directory


# --- recordings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".", "manifest.json"])
def test_a_recording_tells_what_when_how_many_and_what_is_missing(recording: Path, name: str) -> None:
    """Directory and manifest give the same text: origin, fields with units, losses, gaps, files, marks."""
    result = info(recording / name)
    assert result.exit_code == 0
    rows = [row.strip() for row in result.stdout.splitlines()]
    assert "walk: complete, session s1" in rows
    assert any(row.startswith("recorded 2001-09-") and row.endswith("for 3.0 s") for row in rows)
    assert "by sim.py --fast, Python 3.11.7" in rows
    assert "code: git abc123 with uncommitted changes" in rows
    assert "metadata: seed=7" in rows
    assert "state: 1,000 samples, t 0 to 10.11 s" in rows
    assert "qpos (7,) float64 [rad]" in rows
    assert "hit (n, 3) float32" in rows
    assert "note string" in rows
    assert "lost: 12 full" in rows
    assert "time went backwards 1 time" in rows
    assert "gap: 12 samples lost (full), number 100 to 111, t 1 to 1.11 s" in rows
    assert any(row.startswith("state.csv: 1,000 samples, ") for row in rows)
    assert "1.5 s  fell (leg=2)" in rows


def test_the_json_of_a_recording_has_all_of_it(recording: Path) -> None:
    """Programs get every field, gap, file and mark under stable keys."""
    found = told(recording)
    assert (found["kind"], found["state"], found["complete"]) == ("recording", "complete", True)
    assert found["recording"]["started_unix_s"] == 1e9
    assert found["recording"]["duration_s"] == 3.0
    (stream,) = found["streams"]
    assert stream["gaps"] == [GAP]
    assert [f["name"] for f in stream["fields"]] == ["qpos", "hit", "note"]
    assert stream["files"][0]["path"] == str(recording / "state.csv")
    assert stream["files"][0]["presence"] == "ok"
    assert found["marks"][0]["label"] == "fell"


def test_check_proves_each_file(recording: Path) -> None:
    """With --check the content of every file is compared with what was recorded."""
    assert told(recording, "--check")["streams"][0]["files"][0]["check"] == "ok"
    assert "SHA-256 ok" in info(recording, "--check").stdout
    assert told(recording / "state.csv", "--check")["check"] == "ok"


def test_check_finds_a_changed_byte(recording: Path) -> None:
    """A file of the right size with other content is told, in a recording and alone, by exit code 1."""
    path = recording / "state.csv"
    path.write_bytes(path.read_bytes().replace(b"999\n", b"998\n"))
    for target in (recording, path):
        result = info(target, "--check")
        assert result.exit_code == 1
        assert f"{path}: differs" in result.stderr
        assert info(target).exit_code == 0


def test_missing_and_cut_files_are_marked(recording: Path) -> None:
    """What the directory does not hold as the manifest says is marked, and an error with --check only."""
    path = recording / "state.csv"
    path.write_bytes(path.read_bytes()[:-100])
    assert "size differs" in info(recording).stdout
    path.unlink()
    assert told(recording)["streams"][0]["files"][0]["presence"] == "missing"
    result = info(recording, "--check")
    assert result.exit_code == 1
    assert f"{path}: missing" in result.stderr


def test_long_lists_are_cut_in_the_text_only(recording: Path) -> None:
    """A thousand gaps do not fill the screen, and are all in the JSON."""
    manifest = json.loads((recording / "manifest.json").read_text())
    manifest["streams"]["state"]["gaps"] = [GAP] * 1000
    (recording / "manifest.json").write_text(json.dumps(manifest))
    assert "... and 988 gaps more: --json shows all" in info(recording).stdout
    assert len(told(recording)["streams"][0]["gaps"]) == 1000


def test_a_stream_that_never_finished_is_shown_as_such(recording: Path) -> None:
    """A manifest of a failed session may know nothing but a stream's name."""
    bad = stream_of([], state="failed", reason="no room")
    manifest = manifest_of("s1", {"lost": {"hz": None}, "bad": bad})
    (recording / "manifest.json").write_text(json.dumps({**manifest, "state": "failed", "complete": False}))
    rows = info(recording).stdout.splitlines()
    assert "lost: 0 samples" in rows
    assert "bad: 1,000 samples, t 0 to 10.11 s, failed: no room" in rows


def test_several_recordings_in_one_directory_are_all_shown(recording: Path) -> None:
    """The newest comes first, the others follow, in the JSON under ``others``."""
    later = manifest_of("s2", {})
    later["clocks"]["start_wall_ns"] += 10**12
    (recording / "manifest.s2.json").write_text(json.dumps(later))
    found = told(recording)
    assert found["recording"]["session"] == "s2"
    assert [o["recording"]["session"] for o in found["others"]] == ["s1"]
    assert told(recording / "manifest.s2.json")["others"] == []
    assert "session s1" in info(recording).stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is no manifest of recd"),
        ('{"a": 1}', "is no manifest of recd"),
        ('{"manifest_version": 1}', "is damaged: KeyError"),
        ('{"manifest_version": 99}', "manifest version 99"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_a_clear_error(recording: Path, content: str, message: str) -> None:
    """Whatever a manifest.json holds, the answer says what is wrong with it and what to do."""
    (recording / "manifest.json").write_text(content)
    result = info(recording)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "  -> " in result.stderr


# --- unfinished recordings -----------------------------------------------------------------------


def chunk(begin: int, samples: int, t_first: float, t_last: float) -> ChunkInfo:
    """The header of a chunk of 64 bytes."""
    return ChunkInfo(
        0, 0, 64, begin, begin + 64, 0, samples, samples, 0, 0, t_first, t_last, 0, 0, 0, samples - 1
    )


@pytest.fixture
def unfinished(tmp_path: Path) -> SessionStore:
    """A session whose worker died: 30 samples in the log, of which the journal has counted 20."""
    store = SessionStore(tmp_path / "run", "s9")
    store.create({"name": "walk", "session": "s9"})
    path = store.stream_path("state")
    path.mkdir()
    final = tmp_path / "run" / "state.csv"
    final.with_name("state.part.csv").write_text("timestamp,a\n0.0,1\n0.1,")
    spec = {"stream": "state", "index": 0, "schema": SCHEMA.to_json(), "finals": [str(final)]}
    write_json(path / "stream.json", spec)
    log = LogWriter(path / "log")
    journal = Journal(path, SCHEMA)
    for info_ in (chunk(0, 20, 0.0, 1.9), chunk(64, 10, 2.0, 2.9)):
        log.append(info_, memoryview(bytes(64)))
        if info_.begin == 0:
            journal.tally.add(info_)
            journal.position = info_.end
    journal.note(Event("loss", 10, 5, 0.4, 4, 0, {"losses": [GAP]}))
    journal.note(Event("mark", 11, 5, 0.5, 5, 0, {"label": "fell", "fields": {}}))
    journal.save()
    log.close()
    journal.close()
    return store


def test_an_interrupted_recording_is_described_from_its_logs(unfinished: SessionStore) -> None:
    """Without a manifest the logs tell what is there, counted once, and how the files get finished."""
    found = told(unfinished.directory)
    assert (found["state"], found["complete"]) == ("unfinished", False)
    assert found["recording"] == {"session": "s9", "name": "walk"}
    (stream,) = found["streams"]
    assert (stream["samples"], stream["t_first"], stream["t_last"]) == (30, 0.0, 2.9)
    assert stream["lost"] == {"full": 12}
    assert [f["name"] for f in stream["fields"]] == ["qpos", "hit", "note"]
    assert [Path(f["path"]).name for f in stream["files"]] == ["state.part.csv"]
    assert [m["label"] for m in found["marks"]] == ["fell"]
    text = info(unfinished.directory).stdout
    assert "to finish its files: recd start" in text
    assert "state: 30 samples, t 0 to 2.9 s" in text


def test_a_recording_at_work_is_told_from_an_interrupted_one(unfinished: SessionStore) -> None:
    """While a worker holds the session's lock, it is being recorded."""
    lock = GroupLock(unfinished.path / "main.lock")
    try:
        assert told(unfinished.directory)["state"] == "live"
        assert "recd status" in info(unfinished.directory).stdout
    finally:
        lock.release()


def test_an_unfinished_recording_cannot_be_checked(unfinished: SessionStore) -> None:
    """Before there is a manifest, --check is wrong usage, not a success."""
    result = info(unfinished.directory, "--check")
    assert result.exit_code == 2
    assert "no manifest to check it against yet" in result.stderr


def test_damaged_working_files_are_a_clear_error(unfinished: SessionStore) -> None:
    """A stream's specification that is no JSON is named."""
    (unfinished.stream_path("state") / "stream.json").write_text("{")
    result = info(unfinished.directory)
    assert result.exit_code == 1
    assert str(unfinished.path) in result.stderr


def test_a_part_file_is_described_as_unfinished(unfinished: SessionStore) -> None:
    """A CSV that is still open has its whole rows counted, and is marked."""
    found = told(unfinished.directory / "state.part.csv")
    assert (found["state"], found["samples"]) == ("unfinished", 1)
    assert found["details"]["ends_on_a_whole_row"] is False
    assert "it is not finished" in info(unfinished.directory / "state.part.csv").stdout


def test_a_part_that_is_being_built_says_where_its_samples_are(tmp_path: Path) -> None:
    """An archive that is not complete cannot be opened, and the message tells why."""
    path = tmp_path / "state.part.npz"
    path.write_bytes(b"PK\3\4")
    result = info(path)
    assert result.exit_code == 1
    assert "is not finished" in result.stderr


# --- data files ----------------------------------------------------------------------------------


def test_a_file_of_a_recording_knows_its_stream(recording: Path) -> None:
    """A data file takes units, gaps and origin from the manifest beside it."""
    found = told(recording / "state.csv")
    assert (found["kind"], found["state"], found["stream"]) == ("csv", "complete", "state")
    assert (found["samples"], found["t_first"], found["t_last"]) == (1000, 0.0, 9.99)
    assert found["fields"][0]["unit"] == "rad"
    assert found["gaps"] == [GAP]
    assert found["recording"]["session"] == "s1"
    assert "stream state of walk, session s1" in info(recording / "state.csv").stdout


def test_a_csv_of_anybody_is_described(tmp_path: Path) -> None:
    """A file without timestamps and without a manifest has columns and rows, no more."""
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    found = told(path)
    assert (found["state"], found["samples"]) == ("unknown", 2)
    assert (found["t_first"], found["recording"]) == (None, None)
    assert [f["name"] for f in found["fields"]] == ["a", "b"]


def test_strings_with_line_ends_do_not_count_as_rows(tmp_path: Path) -> None:
    """Quoted values may hold line ends; rows are counted as a parser counts them."""
    path = tmp_path / "x.csv"
    path.write_text('timestamp,note\n0.0,"a\nb"\n0.5,"c ""d"" e"\n')
    assert told(path)["samples"] == 2


@pytest.mark.parametrize(("content", "samples"), [("", 0), ("timestamp,a\n", 0), ("timestamp,a\n1.5,2", 0)])
def test_a_csv_without_a_whole_row_has_no_samples(tmp_path: Path, content: str, samples: int) -> None:
    """An empty file, a header alone and a torn first row are described, not refused."""
    path = tmp_path / "x.csv"
    path.write_text(content)
    found = told(path)
    assert (found["samples"], found["t_first"], found["t_last"]) == (samples, None, None)


def test_the_last_row_is_found_whatever_its_length(tmp_path: Path) -> None:
    """The time range of a file with very long rows is right."""
    path = tmp_path / "x.csv"
    path.write_text(
        ",".join(["timestamp", *map(str, range(9000))]) + "\n" + ("0.5" + ",1.25" * 9000 + "\n") * 2
    )
    found = told(path)
    assert (found["samples"], found["t_last"], found["details"]["columns"]) == (2, 0.5, 9001)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_described_without_loading_it(tmp_path: Path, save: Any) -> None:
    """Names, types and shapes come from the headers, the time range from the ends of ``timestamp``."""
    path = tmp_path / "x.npz"
    t = np.arange(300_000) / 100
    label = np.array(["a"] * 300_000)
    save(path, timestamp=t, pos=np.zeros((300_000, 3), "f4"), hit=np.zeros(17), label=label)
    found = told(path)
    assert (found["samples"], found["t_first"], found["t_last"]) == (300_000, 0.0, 2999.99)
    assert [(f["name"], f["dtype"], f["shape"]) for f in found["fields"]] == [
        ("pos", "float32", [3]),
        ("hit", "float64", [17]),
        ("label", "<U1", []),
    ]
    assert "pos (3,) float32" in info(path).stdout
    assert "label string" in info(path).stdout


def test_an_npz_of_anybody_is_described(tmp_path: Path) -> None:
    """Arrays without a time axis are listed as they are."""
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros((2, 3)))
    found = told(path)
    assert (found["samples"], found["fields"][0]["shape"]) == (None, [2, 3])


def test_an_empty_npz_has_no_time_range(tmp_path: Path) -> None:
    """A stream that was closed without a sample is described."""
    path = tmp_path / "x.npz"
    np.savez(path, timestamp=np.zeros(0))
    found = told(path)
    assert (found["samples"], found["t_first"], found["t_last"]) == (0, None, None)


def test_an_hdf5_file_is_described_with_units_and_attributes(tmp_path: Path) -> None:
    """Datasets, their units and the file's attributes are told."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["timestamp"] = [0.0, 0.5]
        file["vel"] = np.zeros((2, 6))
        file["vel"].attrs["units"] = "rad/s"
        file["note"] = np.array(["a", "b"], dtype=h5py.string_dtype())
        file.attrs["stream"] = "state"
    found = told(path)
    assert (found["samples"], found["t_last"]) == (2, 0.5)
    assert found["fields"] == [
        {"name": "note", "dtype": "string", "shape": [], "unit": None},
        {"name": "vel", "dtype": "float64", "shape": [6], "unit": "rad/s"},
    ]
    assert found["details"]["attributes"] == {"stream": "state"}
    assert "vel (6,) float64 [rad/s]" in info(path).stdout


def test_a_video_is_described(tmp_path: Path) -> None:
    """Codec, size, rate and number of frames come from ffmpeg."""
    from recd.video import ffmpeg

    path = tmp_path / "x.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25", "-frames:v", "5"]
    made = ffmpeg.run(["-v", "error", *source, "-c:v", "mpeg4", str(path)])
    assert made.returncode == 0
    found = told(path)
    assert (found["kind"], found["samples"]) == ("video", 5)
    assert found["details"] == {
        "codec": "mpeg4",
        "pixel_format": "yuv420p",
        "width": 64,
        "height": 48,
        "fps": "25",
        "duration_s": 0.2,
    }


@pytest.mark.parametrize("name", ["x.csv", "x.npz", "x.h5", "x.mp4"])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, name: str) -> None:
    """Bytes that are none of the format give a message with the path and what to do."""
    path = tmp_path / name
    path.write_bytes(b"\xff\x00\xfe" * 1000)
    result = info(path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert result.stderr.splitlines()[-1].startswith("  -> ")


@pytest.mark.parametrize("name", ["none.csv", "none", "none/manifest.json"])
def test_a_missing_path_is_a_clear_error(tmp_path: Path, name: str) -> None:
    """What is not there is named."""
    result = info(tmp_path / name)
    assert result.exit_code == 1
    assert str(tmp_path / name) in result.stderr


def test_a_directory_without_a_recording_points_to_the_list(tmp_path: Path) -> None:
    """A directory that recd did not write says so."""
    result = info(tmp_path)
    assert result.exit_code == 1
    assert "recd ls" in result.stderr


def test_a_foreign_format_names_those_that_are_known(tmp_path: Path) -> None:
    """A file that recd cannot have written is answered with what it can describe."""
    (tmp_path / "x.txt").write_text("hi")
    result = info(tmp_path / "x.txt")
    assert result.exit_code == 1
    assert all(suffix in result.stderr for suffix in _files._KINDS)


def test_a_file_that_no_manifest_names_cannot_be_checked(tmp_path: Path) -> None:
    """Without a recorded SHA-256 there is nothing to compare with: wrong usage, exit code 2."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    result = info(tmp_path / "x.csv", "--check")
    assert result.exit_code == 2
    assert "leave --check out" in result.stderr
