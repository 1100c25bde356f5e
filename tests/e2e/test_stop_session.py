"""A recording that is stopped from outside: its files are whole, its simulation runs on, no sample goes uncounted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recd.cli._common import connect
from recd_client import ClosedError, CSVFile, DataLossWarning, NPZFile, Recorder, Summary, VideoFile
from recordings import manifest_of, npz, numbered, numbers, proved, stopped, worker_of
from support import wait_until

pytestmark = [
    pytest.mark.usefixtures("shared_runtime"),
    pytest.mark.filterwarnings("ignore::recd_client.DataLossWarning"),
]


def recd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run([sys.executable, "-m", "recd", *arguments], capture_output=True, text=True)


def ask_to_stop(rec: Recorder) -> None:
    """What ``recd stop SESSION`` and ``recd top`` ask for; the files are finished some time later."""
    caller = connect()
    caller.call("stop_session", session=rec.session)
    caller.close()


def finished(directory: Path) -> bool:
    """Whether the recording is over."""
    return (directory / "manifest.json").exists() and not (directory / ".recd").exists()


def write_until_refused(write: Callable[[int], bool]) -> int:
    """How many writes went in before the first that did not."""
    count = 0

    def refused() -> bool:
        nonlocal count
        written = write(count)
        count += written
        return not written

    wait_until(refused)
    return count


def test_a_simulation_that_writes_on_loses_nothing_that_went_in(tmp_path: Path) -> None:
    """Every write that returned True is in the files, every later one returns False and is counted; no error."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"), CSVFile("s.csv"))
        front = rec.stream("front", VideoFile("f.mp4", fps=30))
        assert state.write(-1.0)
        assert front.write(numbered(0))
        ask_to_stop(rec)
        written = write_until_refused(lambda i: state.write(float(i)))
        frames = write_until_refused(lambda i: front.write(numbered(1 + i)))
        wait_until(lambda: finished(tmp_path))
        assert not state.write(0.0)
        rec.mark("late")
        rec.reset()
        rec.flush()
        rec.pause()
        rec.resume()
        assert rec.stats()["state"]["lost"]["stopped"] == 2
        summary = rec.close()
    assert npz(tmp_path / "s.npz")["data"].tolist() == [-1.0, *map(float, range(written))]
    assert numbers(tmp_path / "f.mp4") == [i % 40 for i in range(1 + frames)]
    assert summary.complete
    assert (summary["state"].written, summary["state"].lost["stopped"]) == (1 + written, 2)
    assert summary["state"].attempted == 1 + written + 2
    assert proved(tmp_path)["streams"]["state"]["attempted"] == 1 + written


def test_a_silent_simulations_files_are_finished_without_it(tmp_path: Path) -> None:
    """Nobody waits for a simulation that does not write; a sample that comes after all is counted as lost."""
    with Recorder("walk", dir=tmp_path) as rec:
        state = rec.stream("state", NPZFile("s.npz"))
        front = rec.stream("front", VideoFile("f.mp4", fps=30))
        for i in range(5):
            state.write(float(i))
            front.write(numbered(i))
        assert recd("stop", "walk").stdout == "walk is stopped, its files are finished\n"
        assert manifest_of(tmp_path)["stopped"]["by"] == "recd stop"
        assert "stopped from outside by recd stop, 20" in recd("info", str(tmp_path)).stdout
        assert npz(tmp_path / "s.npz")["data"].tolist() == [0, 1, 2, 3, 4]
        assert numbers(tmp_path / "f.mp4") == [0, 1, 2, 3, 4]
        proved(tmp_path)
        for _ in range(3):
            state.write(9.0)
            front.write(numbered(9))
        for stats in rec.stats().values():
            assert (stats["attempted"], stats["written"], stats["lost"]["stopped"]) == (8, 5, 3)
            assert stats["state"] == "finished"
        summary = rec.close()
    for stream in summary.streams.values():
        assert (stream.attempted, stream.written, stream.lost["stopped"]) == (8, 5, 3)


def test_of_all_streams_only_the_first_write_can_be_late(tmp_path: Path) -> None:
    """Once one stream knows of the stop, the others refuse their samples at once."""
    with Recorder("walk", dir=tmp_path) as rec:
        streams = [rec.stream(f"s{i}", NPZFile(f"{i}.npz"), like=0.0) for i in range(3)]
        assert recd("stop", rec.session).returncode == 0
        told = [[stream.write(1.0) for stream in streams] for _ in range(2)]
        assert told == [[True, False, False], [False] * 3]
        assert [s.stats["lost"]["stopped"] for s in streams] == [2, 2, 2]


def test_new_streams_of_a_stopped_recording_count_their_samples(tmp_path: Path) -> None:
    """In the loop nothing raises; who declares a stream with an example is told that the recording has ended."""
    with Recorder("walk", dir=tmp_path) as rec:
        rec.log("x", 1.0)
        assert recd("stop", "walk").returncode == 0
        assert [rec.log("late", float(i)) for i in range(3)] == [False] * 3
        with pytest.raises(
            ClosedError, match=r"has ended: it was closed, or stopped by recd stop or recd top"
        ):
            rec.stream("declared", NPZFile("d.npz"), like=0.0)
        summary = rec.close()
    assert summary["late"].lost["stopped"] == 3
    assert summary.complete


def test_claims_and_closes_of_a_stopped_stream_do_no_harm(tmp_path: Path) -> None:
    """A claim gets memory that is thrown away; a close is a close; then writing is an error as ever."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("x", NPZFile("x.npz"), like=np.zeros(3))
        other = rec.stream("y", NPZFile("y.npz"), like=0.0)
        assert recd("stop", "walk").returncode == 0
        for _ in range(3):
            with stream.claim() as array:
                array[:] = 7
        assert stream.stats["lost"]["stopped"] == 3
        with pytest.warns(RuntimeWarning, match="its files keep name and rate"):
            other.close(filename="z.npz")
        with pytest.raises(ClosedError):
            other.write(1.0)
        stream.close()
        with pytest.raises(ClosedError):
            stream.write(np.zeros(3))
        with pytest.raises(ClosedError):
            stream.claim().__enter__()


def test_a_stop_is_said_once(tmp_path: Path) -> None:
    """The first refused write warns, naming the recording; the next ones are silent, the summary warns of the loss."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder("walk", dir=tmp_path) as rec:
            rec.log("x", 1.0)
            assert recd("stop", "walk").returncode == 0
            for _ in range(5):
                rec.log("x", 1.0)
    texts = [str(w.message) for w in said if w.category is DataLossWarning]
    assert len(texts) == 2
    assert f"recording {rec.session} was stopped from outside" in texts[0]
    assert "(stopped 5)" in texts[1]


def test_a_worker_that_dies_over_a_stop_has_a_successor_that_does_it(tmp_path: Path) -> None:
    """The stop is in the ring's words and in the session's directory: nobody needs to ask again."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("x", NPZFile("x.npz"))
        assert all(stream.write(float(i)) for i in range(100))
        ask_to_stop(rec)
        os.kill(worker_of(rec), signal.SIGKILL)
        wait_until(lambda: finished(tmp_path))
        assert npz(tmp_path / "x.npz")["data"].tolist() == list(map(float, range(100)))
        assert stream.write(0.0)
        assert (stream.stats["written"], stream.stats["lost"]["stopped"]) == (100, 1)


def test_a_write_that_waits_for_room_is_let_go(tmp_path: Path) -> None:
    """With ``overflow="block"`` and a worker that stands still, a stop ends the wait once it is told."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("x", NPZFile("x.npz"), overflow="block", buffer_bytes="16KiB")
        stream.write(np.zeros(64))
        ask_to_stop(rec)
        with stopped(worker_of(rec)):
            written = 1 + write_until_refused(lambda i: stream.write(np.full(64, float(i))))
        wait_until(lambda: finished(tmp_path))
    assert len(npz(tmp_path / "x.npz")["data"]) == written


def test_a_loop_that_kept_the_method_and_never_pauses_is_cut_off(tmp_path: Path) -> None:
    """It outruns whoever reads its counters; what is in the file is what went in before, and the rest is counted."""
    with Recorder("walk", dir=tmp_path) as rec:
        stream = rec.stream("x", NPZFile("x.npz"), like=0.0)
        write, over, calls = stream.write, threading.Event(), 0

        def loop() -> None:
            nonlocal calls
            while not over.is_set():
                write(float(calls))
                calls += 1

        simulation = threading.Thread(target=loop)
        simulation.start()
        try:
            ask_to_stop(rec)
            wait_until(lambda: finished(tmp_path), timeout_s=60)
        finally:
            over.set()
            simulation.join()
        summary = rec.close()["x"]
    data = npz(tmp_path / "x.npz")["data"]
    assert (np.diff(data) > 0).all()
    assert (summary.attempted, summary.written) == (calls, len(data))
    assert summary.lost["stopped"]
    manifest = proved(tmp_path)
    assert manifest["stopped"]["by"] == "recd stop"
    told = manifest["streams"]["x"]
    assert (told["state"], told["samples"]) == ("complete", len(data))


def test_samples_that_are_not_due_are_no_loss_after_a_stop(tmp_path: Path) -> None:
    """``hz`` and pauses hold as before: only what would have been recorded is counted."""
    with Recorder("walk", dir=tmp_path, dt=0.01) as rec:
        stream = rec.stream("x", NPZFile("x.npz"), hz=10)
        stream.write(0.0, t=0.0)
        assert recd("stop", "walk").returncode == 0
        for i in range(1, 101):
            stream.write(0.0, t=i / 100)
        assert stream.stats["lost"]["stopped"] == 10
        rec.pause()
        assert stream.write(0.0, t=9.0)
        assert stream.stats["lost"]["stopped"] == 10


def test_stopping_what_is_not_there_names_what_is(tmp_path: Path) -> None:
    """No daemon is stopped by a misspelt name; two recordings of one name are told apart by their ids."""
    with Recorder("a", dir=tmp_path / "1") as one, Recorder("a", dir=tmp_path / "2") as two:
        done = recd("stop", "b")
        assert (done.returncode, done.stdout) == (1, "")
        assert "no recording is called 'b'" in done.stderr
        done = recd("stop", "a")
        assert "2 recordings are called 'a'" in done.stderr
        assert one.session in done.stderr
        told = json.loads(recd("stop", two.session, "--json").stdout)
        assert (told["finished"], told["unfinished"]) == ([two.session], [])
        one.log("x", 1.0)
        summary: Summary = one.close()
        assert summary.complete
        assert not summary.lost_total
