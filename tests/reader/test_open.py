"""What a path stands for, what opening costs, and what is said of anything that is not as it should be."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import recd
from reading import listing, manifest
from recd.reader import opening
from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile
from recd_client.errors import (
    IncompleteRecordingWarning,
    NoSuchNameError,
    OutputError,
    RecdError,
    VersionMismatchError,
)
from recordings import numbered, run_python

COUNT = 40


@pytest.fixture(scope="module")
def finished(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with every kind of file, parts among them."""
    directory = tmp_path_factory.mktemp("finished")
    with Recorder("walk", dir=directory, dt=0.01, metadata={"seed": 7}) as rec:
        sinks = (NPZFile("state.npz"), CSVFile("state.csv"), HDF5File("state.h5"))
        state = rec.stream("state", *sinks, units={"q": "rad"})
        parts = rec.stream("parts", NPZFile("parts.npz", split=15))
        film = rec.stream("film", VideoFile("film.mp4"))
        for i in range(COUNT):
            state.write({"q": np.full(3, i / 3), "n": i})
            parts.write(i)
            film.write(numbered(i))
        rec.mark("fell", height=0.5)
    return directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The recording with another manifest."""
    path = run / "manifest.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    return run


# --- what can be opened ---------------------------------------------------------------------------


def test_a_directory_and_its_manifest_are_the_recording(finished: Path) -> None:
    """As a string or a path: what the recorder was told, and each stream with what it holds."""
    for path in (finished, str(finished), finished / "manifest.json"):
        with recd.open(path) as run:
            assert isinstance(run, recd.Run)
            assert (run.path, run.name, run.state, run.complete, run.problems) == (
                finished,
                "walk",
                "complete",
                True,
                [],
            )
            assert (run.metadata, run.dt, run.session) == ({"seed": 7}, 0.01, run.manifest["session"])
            assert run.start_wall_ns == run.manifest["clocks"]["start_wall_ns"]
            assert sorted(run) == sorted(run.streams) == ["film", "parts", "state"]
            assert (len(run), "film" in run, "x" in run) == (3, True, False)
            assert [len(stream) for stream in run.streams.values()] == [COUNT] * 3
            assert (run["state"].kind, run["film"].kind) == ("array", "video")
            assert run["state"].units == {"q": "rad"}
            assert run["state"]["q"].units == "rad"
            assert run["state"].dtypes == {"q": np.float64, "n": np.int64}
            assert run["state"].shapes == {"q": (3,), "n": ()}
            assert run["state"].sources == ("hdf5", "npz", "csv")
            assert [(m.label, m.fields, m.source) for m in run.marks] == [
                ("fell", {"height": 0.5}, "recorder")
            ]
            assert "walk" in repr(run)


@pytest.mark.parametrize("name", ["state.npz", "state.csv", "state.h5", "film.mp4"])
def test_a_file_is_read_with_what_the_manifest_tells_of_it(finished: Path, name: str) -> None:
    """Only its stream, from this very file; units, numbers and marks come from the manifest beside it."""
    run = recd.open(finished / name)
    (stream,) = run.streams.values()
    assert stream.name == Path(name).stem
    assert (len(stream), stream.seq.tolist(), run.name) == (COUNT, [*range(COUNT)], "walk")
    assert stream.kind == "video" or stream.sources == (
        {"npz": "npz", "csv": "csv", "h5": "hdf5"}[name.split(".")[1]],
    )
    assert run.complete


def test_parts_are_read_as_one_stream_with_and_without_their_manifest(run: Path) -> None:
    """Some of the parts, too: the numbers of their samples tell what lies between."""
    names = sorted(p.name for p in run.glob("parts_*.npz"))
    assert len(names) == 3
    assert recd.open(run)["parts"].parts == [slice(0, 15), slice(15, 30), slice(30, 40)]
    some = recd.open([run / names[0], run / names[2]])["parts"]
    assert some["data"][:].tolist() == some.seq.tolist() == [*range(15), *range(30, 40)]
    (run / "manifest.json").unlink()
    alone = recd.open([run / name for name in names])
    (stream,) = alone.streams.values()
    assert stream["data"][:].tolist() == [*range(COUNT)]
    assert [episode["parts"] for episode in alone.episodes()] == stream.parts
    several = recd.open([run / "state.npz", run / "film.mp4"])
    assert [*several] == ["state", "film"]


def test_of_several_recordings_in_a_directory_the_newest_is_opened(finished: Path, run: Path) -> None:
    """Another one by its session."""
    told = json.loads((run / "manifest.json").read_text())
    first = told["session"]
    told["session"], told["clocks"]["start_wall_ns"] = (
        "20990101T000000-later",
        told["clocks"]["start_wall_ns"] + 1,
    )
    (run / "manifest.20990101T000000-later.json").write_text(json.dumps(told))
    assert recd.open(run).session == "20990101T000000-later"
    assert recd.open(run, session=first).session == first
    with pytest.raises(OutputError, match=rf"no recording 'x', only .*{first}"):
        recd.open(run, session="x")


def test_a_newer_finished_recording_comes_before_one_that_was_never_finished(run: Path) -> None:
    """And a newer one that is not finished before it."""
    for session in ("20000101T000000-old", "20980101T000000-new"):
        (run / ".recd" / session).mkdir(parents=True)
        clocks = {"wall_ns": 1, "mono_ns": 1}
        (run / ".recd" / session / "session.json").write_text(json.dumps({"name": session, "clocks": clocks}))
        expected = "complete" if "old" in session else "unfinished"
        assert recd.open(run).state == expected
    assert recd.open(run, session="20000101T000000-old").state == "unfinished"


def test_a_stream_without_a_readable_file_does_not_spoil_the_others(run: Path) -> None:
    """It says that it has none; samples of all streams at one time, and episodes, are those of the others."""
    changed(run, lambda m: m["streams"]["parts"].update(files=[]))
    opened = recd.open(run)
    assert [s.readable for s in (opened["parts"], opened["state"])] == [False, True]
    assert opened.at(0.2)["parts"] is None
    assert opened.at(0.2)["state"]["n"] == 20
    (episode,) = opened.episodes()
    assert (episode.count("parts"), episode.count("state"), episode.t1) == (0, COUNT, 0.39)
    assert episode.at(0.2)["parts"] is None
    with pytest.raises(OutputError, match="no file that can be read"):
        len(opened["parts"])


def test_what_is_kept_for_later_cannot_be_changed(finished: Path) -> None:
    """Rows of a CSV that was parsed are asked for again: nobody may write into them."""
    rows = recd.open(finished)["state"].read_from("csv")["q"][:3]
    assert not rows.flags.writeable


def test_the_same_values_come_from_every_format(finished: Path) -> None:
    """``read_from`` chooses, of several the best; ``paths`` tells what is read."""
    state = recd.open(finished)["state"]
    for source in state.sources:
        chosen = state.read_from(source)
        assert chosen.source == source
        assert [path.suffix for path in chosen.paths(source)] == [{"hdf5": ".h5"}.get(source, f".{source}")]
        assert np.array_equal(chosen["q"], np.arange(COUNT)[:, None] / 3 + np.zeros(3))
    assert state.read_from("csv", "npz").source == "npz"


# --- what opening costs ---------------------------------------------------------------------------


def test_importing_recd_loads_no_reader() -> None:
    """Only what is used is loaded: neither numpy, nor h5py before an HDF5 file is read."""
    code = "import sys, recd; print('numpy' in sys.modules, recd.open.__module__, 'h5py' in sys.modules)"
    assert run_python(code).split() == ["False", opening.__name__, "False"]


def test_opening_reads_nothing_but_the_manifest(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the files are: none is opened before a sample is asked for."""
    opened: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and active:
            opened.append(str(arguments[0]))

    active = True
    sys.addaudithook(hook)
    run = recd.open(finished)
    assert [s.fields for s in run.streams.values()]
    active = False
    assert [Path(p).name for p in opened if str(finished) in p] == ["manifest.json"]


def test_a_hundred_gigabytes_are_opened_without_being_read(tmp_path: Path) -> None:
    """Of a sparse file of that size, a slice in its middle is read, and nothing else of it."""
    count = 250_000_000
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.create_dataset("timestamp", (count,), "<f8", chunks=(1 << 17,))
        q = file.create_dataset("q", (count, 50), "<f8", chunks=(2621, 50))
        q[count // 2 : count // 2 + 5] = 7.0
    size_bytes = (tmp_path / "big.h5").stat().st_size
    schema = {"fields": [{"name": "q", "dtype": "<f8", "shape": [50]}]}
    file_ = {
        "path": "big.h5", "kind": "hdf5", "part": 0, "samples": count, "bytes": size_bytes, "first_seq": 0,
        "next_seq": count,
    }  # fmt: skip
    told = {"schema": schema, "files": [file_], "attempted": count}
    before = int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])
    with recd.open(manifest(tmp_path, {"big": told})) as run:
        stream = run["big"]
        assert (len(stream), stream["q"].shape) == (count, (count, 50))
        assert stream["q"][count // 2 - 1 : count // 2 + 2, 0].tolist() == [0.0, 7.0, 7.0]
        (block,) = stream.batches(start=count // 2, stop=count // 2 + 5)
        assert block.seq.tolist() == [*range(count // 2, count // 2 + 5)]
    after = int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])
    assert after - before < 16 << 20


def test_reading_writes_nothing(run: Path) -> None:
    """Every file, and the directory itself, is as it was before; also where nothing can be written."""
    for path in run.iterdir():
        path.chmod(0o444)
    run.chmod(0o555)
    before = listing(run)
    try:
        with recd.open(run) as opened:
            for stream in opened.streams.values():
                assert len([*stream]) > 0
                if stream.kind == "array":
                    for source in stream.sources:
                        assert sum(b.count for b in stream.read_from(source).batches()) == COUNT
            assert opened.at(0.2)["state"]["n"] == 20
            assert len(opened.episodes()) == 1
        assert listing(run) == before
    finally:
        run.chmod(0o755)


# --- what is not as it should be ------------------------------------------------------------------


def wrong_paths(run: Path) -> Iterator[tuple[Any, str]]:
    """Paths that are no recording, and what is said of each."""
    (run / "empty").mkdir()
    (run / "notes.txt").write_text("hello")
    (run / "manifest.other.json").write_text("{}")
    (run / "bad.npz").write_bytes(b"PK no archive")
    yield run / "empty", "holds no recording"
    yield run / "none", "does not exist"
    yield run / "none.npz", "does not exist"
    yield run / "notes.txt", "writes no .txt files"
    yield run / "manifest.other.json", "is no manifest of recd"
    yield [], "no path at all"
    yield [run / "none.npz"], "does not exist"


def test_what_is_no_recording_is_said_to_be_none(run: Path) -> None:
    """Each with what was expected, and what to do."""
    for path, match in wrong_paths(run):
        with pytest.raises(OutputError, match=match) as caught:
            recd.open(path)
        assert caught.value.do, path


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"manifest_version": 1}', '{"manifest_version": 1, "clocks": 3}']
)
def test_a_damaged_manifest_is_an_error_and_the_files_can_still_be_read(run: Path, text: str) -> None:
    """It says that the data files can be opened one by one, and so they can."""
    (run / "manifest.json").write_text(text)
    with pytest.raises(OutputError):
        recd.open(run)
    assert recd.open(run / "state.npz")["state"]["n"][:].tolist() == [*range(COUNT)]


def test_a_manifest_of_a_later_recd_is_refused(run: Path) -> None:
    """With the version that it has."""
    changed(run, lambda m: m.update(manifest_version=99))
    with pytest.raises(VersionMismatchError, match="99"):
        recd.open(run)


def test_an_absent_stream_is_named_with_those_that_there_are(finished: Path) -> None:
    """As a KeyError, whose text can be read."""
    with pytest.raises(NoSuchNameError, match=r"no stream 'stat', only .*state") as caught:
        recd.open(finished)["stat"]
    assert isinstance(caught.value, KeyError)
    assert not str(caught.value).startswith("'")


def test_a_missing_part_is_named_and_the_others_are_read(run: Path) -> None:
    """Their samples keep their numbers, so that the hole can be seen."""
    (run / "parts_0001.npz").unlink()
    with pytest.warns(IncompleteRecordingWarning, match=r"parts_0001.npz is missing"):
        opened = recd.open(run)
    assert opened["parts"].seq.tolist() == opened["parts"]["data"][:].tolist() == [*range(15), *range(30, 40)]
    assert len(opened.problems) == 1
    assert not opened.complete
    assert not opened["parts"].complete
    assert opened["state"].complete


def test_a_missing_format_is_named_and_another_one_is_read(run: Path) -> None:
    """The stream is whole; the loss of a copy is a problem of the recording all the same."""
    (run / "state.h5").unlink()
    with pytest.warns(IncompleteRecordingWarning, match=r"state.h5 is missing"):
        opened = recd.open(run)
    assert opened["state"].source == "npz"
    assert len(opened["state"]) == COUNT
    for name in ("state.npz", "state.csv"):
        (run / name).unlink()
    with pytest.warns(IncompleteRecordingWarning):
        opened = recd.open(run)
    with pytest.raises(OutputError, match=r"no file that can be read.*state.csv is missing"):
        len(opened["state"])


@pytest.mark.parametrize("name", ["state.npz", "state.h5", "parts_0001.npz", "film.mp4"])
@pytest.mark.parametrize("size", [0, 100])
def test_a_file_that_was_cut_short_is_named(run: Path, name: str, size: int) -> None:
    """When it is opened, and again when it is read; nothing else suffers."""
    os.truncate(run / name, size)
    with pytest.warns(IncompleteRecordingWarning, match=f"{name} has {size} bytes"):
        opened = recd.open(run)
    stream = opened[Path(name).stem.split("_")[0]]
    if stream.kind == "array" and name != "parts_0001.npz":
        stream = stream.read_from({"npz": "npz", "h5": "hdf5"}[name.split(".")[1]])
    if name == "parts_0001.npz":
        with pytest.warns(IncompleteRecordingWarning, match=name):
            assert len(stream) == 25
    else:
        with pytest.raises(OutputError, match=name):
            _ = stream[0] if stream.kind == "video" else len(stream)
    assert any(name in problem for problem in stream.problems)
    assert len(opened["parts" if "state" in name else "state"]) == COUNT


def test_where_the_best_format_cannot_be_read_another_one_is(run: Path) -> None:
    """Of its own accord, and what is wrong with the first one is told."""
    (run / "state.h5").write_bytes(bytes((run / "state.h5").stat().st_size))
    opened = recd.open(run)
    with pytest.warns(IncompleteRecordingWarning, match=r"state.h5 is no readable hdf5 file"):
        assert opened["state"].source == "npz"
    assert len(opened["state"]) == COUNT
    assert "state.h5" in opened.problems[0]


def test_a_csv_that_was_cut_short_is_read_up_to_its_last_whole_row(run: Path) -> None:
    """What is missing is named."""
    path = run / "state.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -20) + 5])
    with pytest.warns(IncompleteRecordingWarning, match=r"state.csv has"):
        stream = recd.open(run)["state"].read_from("csv")
    with pytest.warns(
        IncompleteRecordingWarning, match=rf"state.csv holds {COUNT - 1} samples, the manifest says"
    ):
        assert len(stream) == COUNT - 1
    assert stream["n"][:].tolist() == [*range(COUNT - 1)]
    assert [n for block in stream.batches(rows=7) for n in block["n"]] == [*range(COUNT - 1)]


def test_a_manifest_that_disagrees_with_its_files_is_told(run: Path) -> None:
    """Counts: the file's own is right, and the numbers of its samples are not known any more."""

    def fewer(told: dict[str, Any]) -> None:
        for file in told["streams"]["state"]["files"]:
            file["samples"] = file["next_seq"] = COUNT - 1

    opened = recd.open(changed(run, fewer))
    for source in ("hdf5", "npz"):
        stream = recd.open(run)["state"].read_from(source)
        with pytest.warns(
            IncompleteRecordingWarning, match=f"holds {COUNT} samples, the manifest says {COUNT - 1}"
        ):
            assert len(stream) == COUNT
        assert stream["n"][-1] == COUNT - 1
        assert stream.known == frozenset({"step"})
    assert opened.problems == []


def test_a_schema_that_disagrees_with_its_files_is_an_error(run: Path) -> None:
    """A field that no file has: which file, and what it has."""

    def other(told: dict[str, Any]) -> None:
        told["streams"]["state"]["schema"]["fields"][1]["name"] = "m"

    opened = recd.open(changed(run, other))
    for source in ("hdf5", "npz"):
        with pytest.raises(OutputError, match=r"has no (array|dataset) 'm'"):
            opened["state"].read_from(source)["m"][:]


def test_every_error_says_what_to_do(run: Path) -> None:
    """Whatever is wrong with a file, the error is one of recd's and ends with advice."""
    with pytest.raises(RecdError) as caught:
        recd.open(run / "bad.npz" if (run / "bad.npz").write_bytes(b"PK") else run)["bad"]["x"]
    assert "\n  -> " in str(caught.value)
