"""Recordings that go on, or whose processes were all killed: read without a daemon, and without changing a byte."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import recd
from killing import Simulation, kill_everything
from reading import Readable, listing, numbers_of
from recd import log_writer
from recd_client import CSVFile, HDF5File, NPZFile, Ragged, Recorder, VideoFile
from recd_client.errors import IncompleteRecordingWarning, OutputError
from recordings import numbered, run_python
from support import processes_of, wait_until


def test_a_recording_is_read_while_it_goes_on(runtime: Path, tmp_path: Path) -> None:
    """What was flushed is there with all its clocks, in every kind of stream; opened again there is more."""
    like = {"points": Ragged((3,)), "phase": ""}
    with Recorder("live", dir=tmp_path, dt=0.01, metadata={"seed": 7}) as rec:
        state = rec.stream("state", CSVFile("state.csv"), HDF5File("state.h5"))
        parts = rec.stream("parts", NPZFile("parts.npz", split=30))
        varying = rec.stream("varying", NPZFile("varying.npz"), like=like)
        film = rec.stream("film", VideoFile("film.mp4"))
        seen = []
        for i in range(200):
            state.write({"q": np.full(3, i / 3), "n": i})
            parts.write(i)
            varying.write({"points": np.full((i % 4, 3), i, np.float64), "phase": str(i)})
            film.write(numbered(i))
            if i in (50, 150):
                rec.flush()
                with recd.open(tmp_path) as run:
                    assert (run.state, run.complete, run.problems) == ("live", False, [])
                    assert (run.metadata, run.dt, run.manifest) == ({"seed": 7}, 0.01, {})
                    for name in ("state", "parts", "varying"):
                        assert run[name].seq.tolist() == [*range(i + 1)], name
                    assert run["state"]["n"][:].tolist() == run["state"].step.tolist() == [*range(i + 1)]
                    assert run["parts"]["data"][:].tolist() == [*range(i + 1)]
                    assert [len(p) for p in run["varying"]["points"][:]] == [k % 4 for k in range(i + 1)]
                    assert run["varying"]["phase"][-1] == str(i)
                    assert run["state"].known == {"seq", "step", "wall"}
                    assert (np.diff(run["state"].wall) >= 0).all()
                    assert run.at(0.2)["state"]["n"] == 20
                    assert len(run.episodes()) == 1  # parts are none
                    seen.append(len(run["film"]))
        wait_until(lambda: frames_so_far(tmp_path))
        assert seen == sorted(seen)
    with recd.open(tmp_path) as run:
        assert (run.state, run.complete, len(run["film"])) == ("complete", True, 200)


def test_readers_beside_a_recording_always_find_a_whole_beginning(runtime: Path, tmp_path: Path) -> None:
    """However often it is opened while parts are finished and the log is trimmed: an unbroken run of samples."""
    wrong: list[str] = []
    over = threading.Event()

    def look() -> None:
        newest = 0
        while not over.is_set():
            try:
                with recd.open(tmp_path / "run") as run:
                    for name, stream in run.streams.items():
                        numbers = stream["data"][:, 0].tolist()
                        if numbers != [*range(len(numbers))] or run.problems:
                            wrong.append(f"{name}: {numbers[:3]}...{numbers[-3:]} {run.problems}")
                        if name == "csv":
                            newest, before = len(numbers), newest
                            if newest < before:
                                wrong.append(f"{newest} samples, {before} before")
            except OutputError as e:
                if "holds no recording" not in e.what and "does not exist" not in e.what:
                    wrong.append(str(e))

    (tmp_path / "run").mkdir()
    reader = threading.Thread(target=look)
    reader.start()
    try:
        with Recorder("beside", dir=tmp_path / "run") as rec:
            csv = rec.stream("csv", CSVFile("a.csv"))
            npz = rec.stream("npz", NPZFile("b.npz", split=500))
            for i in range(4000):
                value = np.full(300, i, np.int32)
                csv.write(value)
                npz.write(value)
    finally:
        over.set()
        reader.join()
    assert not wrong, wrong[:3]


def test_a_recording_whose_processes_were_killed_is_read_before_it_is_recovered(
    runtime: Path, tmp_path: Path
) -> None:
    """All that was flushed; reading starts no daemon and leaves no trace, and recovering finds it as it was."""
    simulation = Simulation(tmp_path / "run", 300)
    simulation.lines_until("published 120")
    kill_everything(simulation, runtime)
    (runtime / "recd.sock").unlink()  # the next daemon would have done so; here comes none
    before = listing(tmp_path / "run")
    with recd.open(tmp_path / "run") as run:
        assert run.state == "unfinished"
        stream = run["state"]
        n = len(stream)
        assert n > 0
        assert stream.seq.tolist() == [*range(n)]
        for block in stream.batches(rows=50):
            assert block.seq.tolist() == [*range(block.start, block.start + block.count)]
        film = run["film"]
        assert sum(1 for _ in film) == len(film)
        assert run.problems == []
    assert listing(tmp_path / "run") == before
    assert not processes_of(runtime)
    run_python("from recd.cli import main; main()", "recover", tmp_path / "run")
    with recd.open(tmp_path / "run") as run:
        assert (run.state, run.problems) == ("client died", [])
        assert len(run["state"]) >= n


def frames_so_far(directory: Path) -> int:
    """How many frames are there of a film that is still written; each is the right one."""
    with recd.open(directory) as run:
        frames = [round((frame.mean() - 10) / 6) for frame in run["film"]]
    assert frames == [k % 40 for k in range(len(frames))]
    return len(frames)


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Readable:
    """An unfinished stream of thirty samples in ten chunks, in segments of two."""
    monkeypatch.setattr(log_writer, "SEGMENT_BYTES", 1200)
    recording = Readable(tmp_path, NPZFile("r.npz"))
    for _ in range(10):
        recording.feed.write(3)
        recording.track.drain()
    return recording


def test_a_torn_end_is_no_problem(recorded: Readable, tmp_path: Path) -> None:
    """What a kill left half-written is not there yet."""
    newest = max((recorded.directory / "log").iterdir())
    os.truncate(newest, newest.stat().st_size - 5)
    with recd.open(tmp_path) as run:
        assert numbers_of(run["rows"]) == [*range(27)]
        assert run.problems == []


def test_damage_in_the_middle_is_named_and_all_else_is_read(recorded: Readable, tmp_path: Path) -> None:
    """Batches pass over it; a slice that needs it is an error that says which samples are lost."""
    segment = sorted((recorded.directory / "log").iterdir())[2]
    content = bytearray(segment.read_bytes())
    content[200] ^= 1  # in the records of the first chunk
    segment.write_bytes(content)
    with recd.open(tmp_path) as run:
        stream = run["rows"]
        assert stream["x"][:12].shape == (12, 8)
        with pytest.warns(IncompleteRecordingWarning, match="samples 12 to 14 are lost"):
            found = [n for block in stream.batches() for n in block.seq.tolist()]
        assert found == [n for n in range(30) if n not in (12, 13, 14)]
        with pytest.raises(OutputError, match="samples 12 to 14 are lost"):
            stream["x"][10:20]
        assert "are lost" in run.problems[0]


def test_chunks_that_are_gone_leave_a_jump_in_the_numbers(recorded: Readable, tmp_path: Path) -> None:
    """A segment that somebody removed: the rest is read with its own numbers, and the gap is told."""
    sorted((recorded.directory / "log").iterdir())[2].unlink()
    with recd.open(tmp_path) as run:
        assert numbers_of(run["rows"]) == run["rows"].seq.tolist()
        assert len(run["rows"]) == 24
        assert sum(gap.count for gap in run["rows"].gaps) == 6


def test_working_files_that_cannot_be_understood_are_an_error(recorded: Readable, tmp_path: Path) -> None:
    """It names the session and what to do."""
    (recorded.directory / "stream.json").write_text("[")
    with pytest.raises(OutputError, match="cannot be read") as caught:
        recd.open(tmp_path)
    assert "recover" in caught.value.do
