"""From opening to closing: how a recording begins, who may use it, and how it ends, whatever happens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import (
    ClosedError,
    CSVFile,
    DaemonNotRunningError,
    ForkedHandleError,
    NPZFile,
    OutputExistsError,
    Recorder,
    VideoFile,
)
from recordings import (
    PATIENCE_S,
    csv_numbers,
    decoded,
    npz,
    numbered,
    numbers,
    proved,
    run_python,
    stopped,
    worker_of,
)
from support import processes_of, wait_until

# --- beginning ------------------------------------------------------------------------------------


def test_the_first_recorder_starts_a_daemon(runtime: Path, tmp_path: Path) -> None:
    """Where none runs, opening a recorder starts one, which stays for the next recorder."""

    def supervisors() -> list[int]:
        return [pid for pid, command in processes_of(runtime).items() if "--foreground" in command]

    assert not processes_of(runtime)
    with Recorder(dir=tmp_path / "first") as rec:
        rec.log("x", 1.0)
    (daemon,) = supervisors()
    with Recorder(dir=tmp_path / "second", autostart=False) as rec:
        rec.log("x", 2.0)
    assert supervisors() == [daemon]
    assert npz(tmp_path / "second/x.npz")["data"].tolist() == [2.0]


def test_without_autostart_a_missing_daemon_is_an_error(runtime: Path, tmp_path: Path) -> None:
    """The error says where nobody answers and how to start one; nothing is made."""
    with pytest.raises(DaemonNotRunningError, match=r"(?s)no recd answers at .*recd\.sock.*-> .*recd start"):
        Recorder(dir=tmp_path / "run", autostart=False)
    assert not (tmp_path / "run").exists()
    assert not processes_of(runtime)


@pytest.mark.usefixtures("shared_runtime")
class TestWithADaemon:
    """One daemon serves all of these."""

    # --- where files go -----------------------------------------------------------------------------

    def test_without_a_directory_each_run_gets_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Runs land in recordings/<name>/<UTC time>, one directory each, below where the program was."""
        monkeypatch.chdir(tmp_path)
        directories = []
        for i in range(3):
            with Recorder("walk") as rec:
                rec.log("x", i)
                directories.append(rec.directory)
        assert len({*directories}) == 3
        for i, directory in enumerate(directories):
            assert directory.parent == tmp_path / "recordings" / "walk"
            assert npz(directory / "x.npz")["data"].tolist() == [i]

    def test_a_relative_directory_lies_below_where_the_program_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when the program goes elsewhere while it records."""
        monkeypatch.chdir(tmp_path)
        with Recorder(dir="runs/first") as rec:
            monkeypatch.chdir("/")
            rec.log("x", 1.0)
            assert rec.directory == tmp_path / "runs/first"
        proved(tmp_path / "runs/first")

    def test_absolute_and_nested_filenames_are_honoured(self, tmp_path: Path) -> None:
        """A file goes where its name says; the manifest names one outside the run directory absolutely."""
        outside = tmp_path / "outside" / "a.npz"
        with Recorder(dir=tmp_path / "run") as rec:
            stream = rec.stream("s", NPZFile(outside), NPZFile("deep/er/b.npz"))
            stream.write(1.0, t=0.0)
            summary = rec.close()
        paths = [f["path"] for f in proved(tmp_path / "run")["streams"]["s"]["files"]]
        assert paths == [str(outside), "deep/er/b.npz"]
        assert summary.files == [outside, tmp_path / "run/deep/er/b.npz"]
        assert all(npz(path)["data"].tolist() == [1.0] for path in summary.files)

    def test_overwrite_decides_about_files_that_exist(self, tmp_path: Path) -> None:
        """``error`` refuses at once, ``replace`` does it at the end, ``number`` takes a free name."""
        for i, overwrite in enumerate(["error", "replace", "number", "number"]):
            with Recorder(dir=tmp_path, overwrite=overwrite) as rec:
                stream = rec.stream("s", NPZFile("s.npz"), CSVFile("s.csv"), like=0.0)
                if overwrite == "replace":
                    assert npz(tmp_path / "s.npz")["data"].tolist() == [0.0]  # until the new one is complete
                stream.write(float(i), t=0.0)
            if overwrite == "error":
                with Recorder(dir=tmp_path) as rec:
                    with pytest.raises(OutputExistsError, match=r"s\.npz exists"):
                        rec.stream("s", NPZFile("s.npz"))
                    rec.log("other", 1.0)
        found = {p.name: npz(p)["data"].tolist() for p in tmp_path.glob("s*.npz")}
        assert found == {"s.npz": [1.0], "s_1.npz": [2.0], "s_2.npz": [3.0]}
        assert csv_numbers(tmp_path / "s_2.csv").tolist() == [[0.0, 3.0]]
        assert npz(tmp_path / "other.npz")["data"].tolist() == [1.0]

    def test_parts_are_numbered_as_a_whole(self, tmp_path: Path) -> None:
        """With ``number`` a second recording in parts takes another stem for all of them."""
        for i in range(2):
            with Recorder(dir=tmp_path, overwrite="number") as rec:
                stream = rec.stream("s", NPZFile("s.npz", split=2))
                for k in range(3):
                    stream.write(10 * i + k, t=float(k))
        found = {p.name: npz(p)["data"].tolist() for p in tmp_path.glob("*.npz")}
        assert found == {
            "s_0000.npz": [0, 1], "s_0001.npz": [2], "s_1_0000.npz": [10, 11], "s_1_0001.npz": [12],
        }  # fmt: skip

    # --- several at once ----------------------------------------------------------------------------

    def test_two_recorders_share_a_directory(self, tmp_path: Path) -> None:
        """Two open recordings of one process do not mix: each has its files and a manifest of its own."""
        with Recorder("a", dir=tmp_path) as a, Recorder("b", dir=tmp_path) as b:
            for i in range(50):
                a.log("left", i)
                b.log("right", -i)
        assert npz(tmp_path / "left.npz")["data"].tolist() == [*range(50)]
        assert npz(tmp_path / "right.npz")["data"].tolist() == [*range(0, -50, -1)]
        manifests = [*tmp_path.glob("manifest*.json")]
        assert len(manifests) == 2
        assert not (tmp_path / ".recd").exists()

    def test_a_file_that_is_being_recorded_has_one_writer(self, tmp_path: Path) -> None:
        """A second recorder is refused a file that the first is still writing, whatever its kind."""
        with Recorder(dir=tmp_path) as a, Recorder(dir=tmp_path, overwrite="replace") as b:
            for name, sink in (
                ("n", NPZFile("s.npz")),
                ("c", CSVFile("s.csv")),
                ("v", VideoFile("s.mp4")),
                ("p", NPZFile("p.npz", split=10)),
            ):
                like = numbered(0) if name == "v" else 0.0
                a.stream(name, sink, like=like)
                with pytest.raises(OutputExistsError, match=r"\.part\.\w+ exists.*\n.*recd status"):
                    b.stream(name, sink, like=like)
            assert b.log("mine", 1.0)
        assert npz(tmp_path / "mine.npz")["data"].tolist() == [1.0]

    def test_two_processes_record_into_one_directory(self, tmp_path: Path) -> None:
        """Both at once, both closing at once: all files and both manifests are there."""
        code = (
            "import sys; from recd_client import Recorder\n"
            "with Recorder(sys.argv[2], dir=sys.argv[1]) as rec:\n"
            "    for i in range(200): rec.log(sys.argv[2], i, t=i * 0.5)\n"
            "    print('ready', flush=True); sys.stdin.readline()\n"
        )
        children = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path), name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for name in ("left", "right")
        ]  # fmt: skip
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.communicate("\n", timeout=PATIENCE_S)
        assert [child.returncode for child in children] == [0, 0]
        for name in ("left", "right"):
            assert npz(tmp_path / f"{name}.npz")["data"].tolist() == [*range(200)]
        assert len([*tmp_path.glob("manifest*.json")]) == 2

    def test_threads_may_share_a_stream(self, tmp_path: Path) -> None:
        """Eight threads write to one stream: each sample is whole, in order, and none is lost."""
        with Recorder(dir=tmp_path) as rec:
            stream = rec.stream("s", NPZFile("s.npz"), like=np.zeros(100))

            def work(thread: int) -> None:
                for i in range(200):
                    assert stream.write(np.full(100, 1000.0 * thread + i), t=float(i))

            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        data = npz(tmp_path / "s.npz")["data"]
        assert data.shape == (1600, 100)
        assert (data == data[:, :1]).all()
        for n in range(8):
            own = data[data[:, 0] // 1000 == n, 0]
            np.testing.assert_array_equal(own, 1000.0 * n + np.arange(200))

    def test_a_recorder_can_be_opened_and_closed_in_a_thread(self, tmp_path: Path) -> None:
        """Nothing of a recording is bound to the main thread."""

        def record() -> None:
            with Recorder(dir=tmp_path) as rec:
                rec.log("x", 1.0)

        thread = threading.Thread(target=record)
        thread.start()
        thread.join(PATIENCE_S)
        assert npz(tmp_path / "x.npz")["data"].tolist() == [1.0]

    @pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
    def test_a_child_process_can_record(self, tmp_path: Path, method: str) -> None:
        """A child of any start method opens a recorder of its own, while its parent records too."""
        script = tmp_path / "program.py"
        script.write_text(_PROGRAM_WITH_A_CHILD)
        subprocess.run([sys.executable, script, method, tmp_path], check=True, timeout=PATIENCE_S)
        proved(tmp_path / "child")
        assert npz(tmp_path / "child/y.npz")["data"].tolist() == [*range(10)]
        assert npz(tmp_path / "parent/x.npz")["data"].tolist() == [1.0, 2.0]

    def test_a_forked_child_is_refused_its_parents_handles(self, tmp_path: Path) -> None:
        """Every call raises ForkedHandleError; leaving the block and ending the child finish nothing."""
        with Recorder(dir=tmp_path) as rec:
            stream = rec.stream("s", NPZFile("s.npz"), like=0.0)
            stream.write(1.0, t=0.0)
            child = multiprocessing.get_context("fork").Process(target=_use, args=(rec, stream))
            child.start()
            child.join(PATIENCE_S)
            assert child.exitcode == 0
            assert stream.write(2.0, t=1.0)
        assert proved(tmp_path)["streams"]["s"]["attempted"] == 2
        assert npz(tmp_path / "s.npz")["data"].tolist() == [1.0, 2.0]

    # --- ending -------------------------------------------------------------------------------------

    def test_close_tells_what_the_recording_came_to(self, tmp_path: Path) -> None:
        """The summary has counts and files of every stream; closing again gives it again."""
        with Recorder("walk", dir=tmp_path, dt=0.01) as rec:
            a = rec.stream("a", NPZFile("a.npz"), hz=50)
            rec.stream("idle", NPZFile("idle.npz"))
            camera = rec.stream("camera", VideoFile("c.mp4"))
            for i in range(20):
                a.write(np.zeros(4), t=i * 0.01)
                camera.write(numbered(i), t=i * 0.01)
            summary = rec.close()
            assert rec.close() is summary
        assert rec.close() is summary
        assert summary.complete
        assert summary.manifest == tmp_path / "manifest.json"
        assert (summary.session, summary.directory, summary.lost_total) == (rec.session, tmp_path, 0)
        told = summary["a"]
        assert (told.attempted, told.written, told.durable, told.skipped) == (10, 10, 10, 10)
        assert told.bytes == 10 * 32
        assert summary["camera"].bytes == 20 * numbered(0).nbytes
        assert (told.state, told.reason, told.files) == ("complete", "", (tmp_path / "a.npz",))
        assert (summary["idle"].attempted, summary["idle"].files) == (0, ())
        assert summary.files == [tmp_path / "a.npz", tmp_path / "c.mp4"]
        assert "walk" not in str(summary)
        assert "a: 10 samples -> a.npz" in str(summary)

    def test_a_session_without_streams_and_a_stream_without_samples_end_well(self, tmp_path: Path) -> None:
        """No stream: a manifest that says so. A declared stream without a sample: an empty, complete file."""
        with Recorder(dir=tmp_path / "none"):
            pass
        assert proved(tmp_path / "none")["streams"] == {}
        with Recorder(dir=tmp_path / "empty") as rec:
            rec.stream("s", NPZFile("s.npz"), CSVFile("s.csv"), like={"a": np.zeros(2, np.float32)})
            rec.stream("v", VideoFile("v.mp4"), like=numbered(0))
            rec.stream("never", NPZFile("never.npz"))
        manifest = proved(tmp_path / "empty")
        arrays = npz(tmp_path / "empty/s.npz")
        assert arrays["a"].shape == (0, 2)
        assert arrays["a"].dtype == np.float32
        assert (tmp_path / "empty/s.csv").read_text() == "timestamp,a_0,a_1\n"
        assert {p.name for p in (tmp_path / "empty").iterdir()} == {"s.npz", "s.csv", "manifest.json"}
        assert manifest["streams"]["v"]["files"] == []
        assert {*manifest["streams"]} == {"s", "v"}

    def test_a_closed_stream_leaves_the_others_open(self, tmp_path: Path) -> None:
        """Its file appears while the recording goes on; later writes to it are refused."""
        with Recorder(dir=tmp_path) as rec:
            a, b = rec.stream("a", NPZFile("a.npz")), rec.stream("b", NPZFile("b.npz"))
            a.write(1.0, t=0.0)
            b.write(1.0, t=0.0)
            a.close()
            a.close()
            wait_until((tmp_path / "a.npz").exists)
            with pytest.raises(ClosedError, match="stream 'a' is closed"):
                a.write(2.0, t=1.0)
            b.write(2.0, t=1.0)
        proved(tmp_path)
        assert npz(tmp_path / "a.npz")["data"].tolist() == [1.0]
        assert npz(tmp_path / "b.npz")["data"].tolist() == [1.0, 2.0]

    def test_close_that_runs_out_of_time_leaves_the_rest_to_the_daemon(self, tmp_path: Path) -> None:
        """The summary is not complete and says why; the daemon finishes the files alone."""
        rec = Recorder(dir=tmp_path)
        rec.log("x", 1.0)
        with stopped(worker_of(rec)):
            summary = rec.close(timeout=0.05)
        assert not summary.complete
        assert "daemon finishes alone" in summary.reason
        assert summary.manifest is None
        wait_until((tmp_path / "manifest.json").exists)
        wait_until(lambda: not (tmp_path / ".recd").exists())
        proved(tmp_path)

    def test_a_program_that_ends_closes_its_recorders(self, tmp_path: Path) -> None:
        """Without ``close`` and without ``with``, the files are finished when the interpreter has exited."""
        run_python(
            "import sys; from recd_client import *\n"
            "rec = Recorder(dir=sys.argv[1]); s = rec.stream('s', NPZFile('s.npz'))\n"
            "for i in range(100): s.write(i, t=float(i))\n",
            tmp_path,
        )
        assert proved(tmp_path)["state"] == "complete"
        assert npz(tmp_path / "s.npz")["data"].tolist() == [*range(100)]

    def test_an_exception_in_the_block_closes_the_recorder(self, tmp_path: Path) -> None:
        """The exception passes through, and everything before it is in complete files."""

        def fail() -> None:
            with Recorder(dir=tmp_path) as rec:
                rec.log("x", 1.0)
                rec.log("x", 1 / 0)

        with pytest.raises(ZeroDivisionError):
            fail()
        proved(tmp_path)
        assert npz(tmp_path / "x.npz")["data"].tolist() == [1.0]

    def test_ctrl_c_leaves_complete_files(self, tmp_path: Path) -> None:
        """SIGINT to a whole process group, inside ``with``: all that was written is in its files."""
        code = (
            "import sys; import numpy as np; from recd_client import *\n"
            "with Recorder(dir=sys.argv[1]) as rec:\n"
            "    s = rec.stream('s', NPZFile('s.npz'), CSVFile('s.csv')); i = 0\n"
            "    while True:\n"
            "        s.write(i, t=float(i)); rec.log('camera', np.full((48, 64, 3), 10, np.uint8)); i += 1\n"
            "        if i == 20: print('going', flush=True)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "going\n"
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=PATIENCE_S)
        assert "KeyboardInterrupt" in said
        told = proved(tmp_path)["streams"]["s"]
        kept = npz(tmp_path / "s.npz")
        assert told["samples"] == len(kept["data"]) >= 20
        np.testing.assert_array_equal(kept["data"], kept["timestamp"])
        np.testing.assert_array_equal(csv_numbers(tmp_path / "s.csv")[:, 1], kept["data"])
        assert len(decoded(tmp_path / "camera.mp4")) >= 20

    def test_a_client_that_is_killed_leaves_complete_files(self, tmp_path: Path) -> None:
        """After SIGKILL the daemon finishes everything, and the manifest says that the client died."""
        code = (
            "import os, sys, signal; import numpy as np; from recd_client import *\n"
            "rec = Recorder(dir=sys.argv[1]); s = rec.stream('s', NPZFile('s.npz'))\n"
            "for i in range(30):\n"
            "    s.write(i, t=float(i)); rec.log('c', np.full((48, 64, 3), 10 + 6 * i, np.uint8))\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=PATIENCE_S)
        assert child.returncode == -signal.SIGKILL
        wait_until((tmp_path / "manifest.json").exists)
        wait_until(lambda: not (tmp_path / ".recd").exists())
        assert proved(tmp_path)["state"] == "client died"
        assert npz(tmp_path / "s.npz")["data"].tolist() == [*range(30)]
        assert numbers(tmp_path / "c.mp4") == [*range(30)]


_PROGRAM_WITH_A_CHILD = """
import multiprocessing, sys
from recd_client import Recorder

def record(directory):
    with Recorder(dir=directory) as rec:
        for i in range(10):
            rec.log("y", i)

if __name__ == "__main__":
    method, directory = sys.argv[1:]
    with Recorder(dir=directory + "/parent") as rec:
        rec.log("x", 1.0)
        child = multiprocessing.get_context(method).Process(target=record, args=(directory + "/child",))
        child.start()
        child.join()
        assert child.exitcode == 0
        rec.log("x", 2.0)
"""


def _use(rec: Recorder, stream: Any) -> None:
    """In a forked child: everything that a handle can do is refused."""
    attempts = [
        lambda: stream.write(9.0),
        lambda: stream.close(),
        lambda: stream.claim().__enter__(),
        lambda: rec.log("x", 1.0),
        lambda: rec.stream("new", NPZFile("new.npz")),
        lambda: rec.flush(),
        lambda: rec.mark("x"),
        lambda: rec.close(),
    ]
    for attempt in attempts:
        with pytest.raises(ForkedHandleError, match="forked from it"):
            attempt()
    with rec_block(rec):
        pass


def rec_block(rec: Recorder) -> Any:
    """The rest of the parent's ``with`` block, which the child leaves as well."""
    from contextlib import ExitStack

    stack = ExitStack()
    stack.push(rec.__exit__)
    return stack
