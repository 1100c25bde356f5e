"""Recorders of users' own: they get everything that was recorded, and whatever they do, only they suffer from it."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killing import daemon_pid, kill, wait_for_manifest
from recd_client import CSVFile, CustomSink, OptionError, Ragged, Recorder
from recd_client.control import Caller
from recd_client.errors import CodeNotAllowedError
from recd_client.process import start_ticks
from recordings import csv_numbers, manifest_of, proved, run_python, worker_of
from support import FIND, processes_of, wait_until


def guests(runtime: Path) -> list[int]:
    """Pids of the runtime's guests."""
    return [pid for pid, command in processes_of(runtime).items() if "recd.guests" in command]


def sinks_of(runtime: Path) -> list[dict[str, Any]]:
    """What `recd status` says of the sinks of the one stream of the one session."""
    caller = Caller(runtime / "recd.sock", role="cli")
    try:
        (session,) = caller.call("status")["sessions"]
        (stream,) = session["streams"]
        return list(stream["sinks"])
    finally:
        caller.close()


def lines(path: Path) -> list[int]:
    """The numbers in a file of a :class:`own_recorders.Careful`."""
    return [int(line) for line in path.read_text().split()]


def diary(directory: Path) -> list[Any]:
    """What a :class:`own_recorders.Diary` noted."""
    return [json.loads(line) for line in (directory / "diary.jsonl").read_text().splitlines()]


def recover(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`recd recover`, as its user runs it."""
    command = [sys.executable, "-m", "recd", "recover", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.usefixtures("shared_runtime")
class TestWithADaemon:
    """One daemon serves all of these."""

    # --- what a recorder gets -----------------------------------------------------------------------

    def test_every_sample_arrives_with_all_its_fields_and_every_event_in_its_place(
        self, tmp_path: Path
    ) -> None:
        """Numbers, times, steps, arrays, ragged arrays, strings, resets, marks: in the order of the simulation."""
        like = {"x": np.zeros(2), "r": Ragged((2,), "int32"), "s": "", "b": False}
        with Recorder("own", dir=tmp_path, metadata={"seed": 7}) as rec:
            stream = rec.stream("all", CustomSink("own_recorders:Diary", gain=2.5, names=["a"]), like=like)
            for i in range(3):
                if i == 1:
                    rec.reset([4, 5])
                if i == 2:
                    rec.mark("here", value=1)
                    rec.reset()
                ragged = np.full((i, 2), i, np.int32)
                stream.write({"x": [i, -i], "r": ragged, "s": "ü" * i, "b": i == 1}, t=i / 2, step=i * 10)
        proved(tmp_path)
        opened, *rest = diary(tmp_path)
        told = {"filename": "None", "directory": str(tmp_path), "metadata": {"seed": 7}}
        assert opened == ["open", 0, None, {"gain": 2.5, "names": ["a"]}, told]
        assert [r[:2] if r[0] != "sample" else r for r in rest] == [
            ["sample", 0, 0.0, 0, [0, 0], [], "", False],
            ["reset", [4, 5]],
            ["sample", 1, 0.5, 10, [1, -1], [[1, 1]], "ü", True],
            ["mark", "here"],
            ["reset", None],
            ["sample", 2, 1.0, 20, [2, -2], [[2, 2], [2, 2]], "üü", False],
            ["close"],
        ]

    def test_its_file_is_finished_like_any_other(self, tmp_path: Path) -> None:
        """It has its final name, size and hash in the manifest; a file that exists is refused before."""
        with Recorder("own", dir=tmp_path) as rec:
            sink = CustomSink("own_recorders:Careful", filename="numbers.txt")
            stream = rec.stream("n", sink, like=0.0)
            assert (tmp_path / "numbers.part.txt").exists()
            for i in range(100):
                stream.write(i)
        (file,) = proved(tmp_path)["streams"]["n"]["files"]
        assert (file["path"], file["kind"], file["samples"]) == ("numbers.txt", "custom", 100)
        assert lines(tmp_path / "numbers.txt") == [*range(100)]
        with Recorder("own", dir=tmp_path) as rec, pytest.raises(FileExistsError, match=r"numbers\.txt"):
            rec.stream("n", sink, like=0.0)

    def test_parts_begin_at_resets_and_after_so_many_samples(self, tmp_path: Path) -> None:
        """Each part has a recorder and a file of its own; what is discarded is in none of them."""
        with Recorder("own", dir=tmp_path) as rec:
            resets = CustomSink("own_recorders:Careful", filename="reset.txt", save_on_reset=True)
            split = CustomSink("own_recorders:Careful", filename="split.txt", split=4)
            stream = rec.stream("n", resets, split, CustomSink("own_recorders:Careful", split=5))
            for i in range(10):
                if i in (3, 5):
                    rec.reset()
                stream.write(i)
                if i == 6:
                    rec.discard()
        proved(tmp_path)
        assert [lines(tmp_path / f"reset_{k}.txt") for k in range(3)] == [[0, 1, 2], [3, 4], [7, 8, 9]]
        assert [lines(tmp_path / f"split_000{k}.txt") for k in range(2)] == [[0, 1, 2, 3], [7, 8, 9]]
        assert lines(tmp_path / "n_0.txt") == [0, 1, 2, 3, 4]

    def test_a_part_of_marks_alone_is_thrown_away(self, tmp_path: Path) -> None:
        """Its recorder hears so before its process ends; there is no file of it."""
        with Recorder("own", dir=tmp_path) as rec:
            sink = CustomSink("own_recorders:Diary", filename="d.txt", save_on_reset=True)
            rec.stream("n", sink).write(0)
            rec.reset()
            rec.mark("late")
        proved(tmp_path)
        assert [d[0] for d in diary(tmp_path)][-4:] == ["close", "open", "mark", "discard"]
        assert [p.name for p in tmp_path.glob("d*.txt")] == ["d_0.txt"]

    def test_a_class_as_genesis_has_them_takes_single_samples(self, tmp_path: Path) -> None:
        """`process(data, t)` and `cleanup()` are enough; a file name goes to its constructor."""
        with Recorder("own", dir=tmp_path) as rec:
            stream = rec.stream("p", CustomSink("own_recorders:Processes", filename="p.jsonl", gain=3))
            for i in range(3):
                stream.write({"x": [i, i], "s": "a" * i}, t=i)
        proved(tmp_path)
        rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
        assert rows == [*([float(i), {"x": [i, i], "s": "a" * i}, 3] for i in range(3)), "the end"]

    def test_a_function_is_called_for_each_sample(self, tmp_path: Path) -> None:
        """With the data as it was written, its time, and the arguments that were given."""
        with Recorder("own", dir=tmp_path) as rec:
            stream = rec.stream("f", CustomSink("own_recorders:function", name="f.txt"))
            for i in range(3):
                stream.write(np.full(2, i), t=i)
        assert (tmp_path / "f.txt").read_text() == "0.0 0\n1.0 2\n2.0 4\n"

    def test_a_class_of_a_module_is_as_good_as_its_name(self, tmp_path: Path) -> None:
        """Nothing has to travel: the daemon imports it."""
        import own_recorders

        with Recorder("own", dir=tmp_path) as rec:
            rec.stream("n", CustomSink(own_recorders.Careful, filename="n.txt")).write(1)
        assert lines(tmp_path / "n.txt") == [0]

    def test_a_module_beside_the_script_is_found(self, tmp_path: Path) -> None:
        """As the script itself would import it, from whatever directory it was started."""
        (tmp_path / "beside.py").write_text(
            "class R:\n    def process(self, data, t):\n        open('seen', 'a').write(f'{data} ')\n"
        )
        script = tmp_path / "script.py"
        script.write_text(
            "from recd_client import CustomSink, Recorder\n"
            f"with Recorder('own', dir={str(tmp_path / 'out')!r}) as rec:\n"
            "    stream = rec.stream('x', CustomSink('beside:R'))\n"
            "    for i in range(3):\n"
            "        stream.write(i)\n"
        )
        run_python(
            "import runpy, subprocess, sys; subprocess.run([sys.executable, sys.argv[1]], check=True)", script
        )
        assert (tmp_path / "out/seen").read_text() == "0 1 2 "

    def test_async_mode_false_waits_for_the_recorder(self, tmp_path: Path) -> None:
        """When `write` returns, the recorder has the sample."""
        with Recorder("own", dir=tmp_path) as rec:
            stream = rec.stream("f", CustomSink("own_recorders:function", name="f.txt", async_mode=False))
            for i in range(5):
                stream.write(np.ones(1), t=i)
                assert (tmp_path / "f.txt").read_text().count("\n") == i + 1

    def test_async_mode_false_is_bounded_by_the_timeout(self, tmp_path: Path) -> None:
        """A recorder that does not take a sample holds `write` up no longer."""
        with Recorder("own", dir=tmp_path) as rec:
            sink = CustomSink("own_recorders:Gated", filename="n.txt", async_mode=False)
            stream = rec.stream("n", sink, timeout=0.05)
            for i in range(3):
                assert stream.write(i)
            (tmp_path / "go").touch()
        assert lines(tmp_path / "n.txt") == [0, 1, 2]

    # --- what is refused ----------------------------------------------------------------------------

    def test_a_module_that_is_not_there_is_refused_at_once(self, tmp_path: Path) -> None:
        """The error names it, the Python that looked for it, and where; nothing is left."""
        with Recorder("own", dir=tmp_path) as rec:
            with pytest.raises(OptionError, match=r"(?s)no module 'nowhere' .*where recd runs.*-> "):
                rec.stream("x", CustomSink("nowhere.at_all:Class"), like=0.0)
            rec.log("y", 1.0)
        assert proved(tmp_path)["streams"].keys() == {"y"}

    def test_code_does_not_travel_without_the_recorders_consent(self, tmp_path: Path) -> None:
        """Before anything is sent."""

        class Local:
            def process(self, data: Any, t: float) -> None:
                raise AssertionError

        with (
            Recorder("own", dir=tmp_path) as rec,
            pytest.raises(CodeNotAllowedError, match="allow_code=True"),
        ):
            rec.stream("x", CustomSink(Local))

    def test_code_does_not_travel_without_the_daemons_consent(self, tmp_path: Path) -> None:
        """Also when a client does not ask: the worker refuses, and unpickles nothing."""
        seen = tmp_path / "seen"

        class Local:
            def __reduce__(self) -> Any:
                return (os.mkdir, (str(seen),))

            def process(self, data: Any, t: float) -> None:
                raise AssertionError

        sink = CustomSink(Local, argument=Local())
        with Recorder("own", dir=tmp_path, allow_code=True) as rec:
            with pytest.raises(CodeNotAllowedError, match="--allow-code"):
                rec.stream("x", sink)
            rec._code_allowed = True, True  # a client that believes otherwise
            with pytest.raises(CodeNotAllowedError, match="--allow-code"):
                rec.stream("x", sink, like=0.0)
        assert not seen.exists()

    # --- what goes wrong ----------------------------------------------------------------------------

    @pytest.mark.parametrize("where", ["__init__", "open", "write", "sync", "close"])
    def test_an_exception_ends_its_sink_only_and_is_told(
        self, tmp_path: Path, shared_runtime: Path, where: str
    ) -> None:
        """In status, stats, the summary and the manifest, with its traceback; the CSV beside it is complete."""
        rec = Recorder("own", dir=tmp_path)
        stream = rec.stream("x", CustomSink("own_recorders:Bad", what="raise", where=where), CSVFile("x.csv"))
        for i in range(50):
            assert stream.write(i)
        if where != "close":
            stats = wait_until(lambda: s if (s := rec.stats()["x"])["state"] == "failed" else None)
            assert "Bad: ValueError: that is wr" in stats["reason"]
            bad, csv = sinks_of(shared_runtime)
            assert (bad["state"], bad["reason"]) == ("failed", f"ValueError: that is wrong in {where}")
            assert 'raise ValueError(f"that is wrong in {where}")' in bad["traceback"]
            assert "recd/guests" not in bad["traceback"]
            assert csv["state"] == "recording"
            shown = run_python("from recd.cli import main; main(['status'], standalone_mode=False)")
            assert 'raise ValueError(f"that is wrong in {where}")' in shown
        summary = rec.close()
        assert not summary.complete
        assert summary["x"].reason == f"ValueError: that is wrong in {where}"
        told = manifest_of(tmp_path)["streams"]["x"]
        assert (told["state"], told["reason"]) == ("failed", f"ValueError: that is wrong in {where}")
        assert "Traceback" in told["sinks"][0]["traceback"]
        assert len(csv_numbers(tmp_path / "x.csv")) == 50
        assert not guests(shared_runtime)

    @pytest.mark.parametrize(
        ("what", "how"),
        [
            ("exit", "SystemExit: 3"),
            ("_exit", "ended by itself, exit code 3, 3 times over the same samples"),
            ("segfault", "was killed by SIGSEGV, 3 times over the same samples"),
            ("kill", "was killed by SIGKILL, 10 times over the same samples"),
        ],
    )
    def test_a_death_over_the_same_samples_ends_its_sink_only(
        self, tmp_path: Path, what: str, how: str
    ) -> None:
        """It is tried three times, after a SIGKILL ten; then how it died is told, with its last words."""
        with Recorder("own", dir=tmp_path) as rec:
            stream = rec.stream("x", CustomSink("own_recorders:Bad", what=what, after=5), CSVFile("x.csv"))
            for i in range(50):
                assert stream.write(i)
        told = manifest_of(tmp_path)["streams"]["x"]["sinks"][0]
        assert told["state"] == "failed"
        assert how in told["reason"]
        assert f"about to {what}" in told["traceback"] or what == "exit"
        assert len(csv_numbers(tmp_path / "x.csv")) == 50

    @pytest.mark.parametrize("where", ["__init__", "write", "close"])
    def test_one_that_hangs_is_given_up_at_the_end(
        self, tmp_path: Path, shared_runtime: Path, where: str
    ) -> None:
        """The recording goes on beside it; after its patience, the end says what did not return."""
        with Recorder("own", dir=tmp_path) as rec:
            sink = CustomSink("own_recorders:Bad", what="deaf", where=where, patience=4)
            stream = rec.stream("x", sink, CSVFile("x.csv"))
            for i in range(50):
                assert stream.write(i)
            rec.flush(timeout=30)
            assert len(csv_numbers(tmp_path / "x.part.csv")) == 50
        told = manifest_of(tmp_path)["streams"]["x"]
        what = {"__init__": "open"}.get(where, where)
        assert told["reason"].startswith(f"its {what}() has not returned for ")
        assert not guests(shared_runtime)
        assert len(csv_numbers(tmp_path / "x.csv")) == 50

    def test_patience_begins_at_the_end(self, tmp_path: Path, shared_runtime: Path) -> None:
        """One that was silent for longer before is not given up at once: it gets on, and has every sample."""
        rec = Recorder("own", dir=tmp_path)
        stream = rec.stream("n", CustomSink("own_recorders:Gated", filename="n.txt", patience=4))
        for i in range(50):
            stream.write(i)
        wait_until(lambda: sinks_of(shared_runtime)[0]["state"] == "stalled")  # after more than that
        go = threading.Timer(1.0, (tmp_path / "go").touch)
        go.start()
        rec.close()
        go.join()
        proved(tmp_path)
        assert lines(tmp_path / "n.txt") == [*range(50)]

    def test_recover_tries_again_from_the_log(self, tmp_path: Path) -> None:
        """What its sink failed of is put right: every sample comes, and nothing is left over."""
        code = """
import sys
from recd_client import CSVFile, CustomSink, Recorder
with Recorder("own", dir=sys.argv[1]) as rec:
    stream = rec.stream("x", CustomSink("own_recorders:Bad", what="raise", after=20, unless="mended"), CSVFile("x.csv"))
    for i in range(50):
        stream.write(i)
"""
        run_python(FIND + code, tmp_path)
        assert manifest_of(tmp_path)["streams"]["x"]["state"] == "failed"
        again = recover(tmp_path)
        assert "that is wrong" in again.stdout
        (tmp_path / "mended").touch()
        done = recover(tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        proved(tmp_path)
        assert json.loads((tmp_path / "x.json").read_text()) == [*range(50)]

    def test_a_file_that_is_not_there_at_the_end_is_told(self, tmp_path: Path) -> None:
        """Somebody, or the recorder itself, has removed it."""
        with Recorder("own", dir=tmp_path) as rec:
            sink = CustomSink("own_recorders:Diary", filename="x.bin")
            rec.stream("x", sink).write(1)
            wait_until((tmp_path / "diary.jsonl").exists)
            (tmp_path / "x.part.bin").unlink()
        assert "was not there" in manifest_of(tmp_path)["streams"]["x"]["reason"]


@pytest.mark.parametrize("name", ["Careful", "Careless"])
def test_however_often_its_process_is_killed_every_sample_arrives(
    runtime: Path, tmp_path: Path, name: str
) -> None:
    """Once, if it goes on from its state; else at least once, in order, with what it had not synced again."""
    dice = random.Random(os.environ.get("RECD_SEED", "3"))
    with Recorder("own", dir=tmp_path) as rec:
        filename = "n.txt" if name == "Careful" else None
        stream = rec.stream("n", CustomSink(f"own_recorders:{name}", filename=filename), CSVFile("n.csv"))
        for _ in range(6):
            wait_until(lambda: stream.write(-1) and sinks_of(runtime)[0]["pid"])
            end_s = time.monotonic() + dice.random()  # the recorder is anywhere, and more comes all the time
            while time.monotonic() < end_s:
                for _ in range(20):
                    stream.write(0)
                time.sleep(0.0005)
            for pid in guests(runtime):
                os.kill(pid, signal.SIGKILL)
        written = stream.stats["written"]
    proved(tmp_path)
    found = lines(tmp_path / "n.txt")
    if name == "Careful":
        assert found == [*range(written)]
    else:
        assert set(found) == {*range(written)}
        assert all(b <= a + 1 for a, b in itertools.pairwise(found))
    assert len(csv_numbers(tmp_path / "n.csv")) == written


def test_a_discard_holds_whenever_its_process_is_killed(runtime: Path, tmp_path: Path) -> None:
    """What was discarded is never in the file, and what came behind the last discard is, once."""
    dice = random.Random(os.environ.get("RECD_SEED", "3"))
    with Recorder("own", dir=tmp_path) as rec:
        stream = rec.stream("n", CustomSink("own_recorders:Careful", filename="n.txt"))
        for _ in range(8):
            for _ in range(200):
                stream.write(0)
            wait_until(lambda: sinks_of(runtime)[0]["pid"])
            rec.discard()
            time.sleep(dice.random() * 0.05)  # it has heard of that, or not
            for pid in guests(runtime):
                os.kill(pid, signal.SIGKILL)
        discarded = stream.stats["written"]
        for _ in range(50):
            stream.write(0)
    proved(tmp_path)
    assert lines(tmp_path / "n.txt") == [*range(discarded, discarded + 50)]


@pytest.mark.parametrize("who", ["worker", "daemon and worker", "simulation", "everything"])
def test_whoever_is_killed_the_recorder_gets_every_sample(runtime: Path, tmp_path: Path, who: str) -> None:
    """A worker's successor goes on where the recorder had synced; its guest does not outlive it."""
    out = tmp_path / "out"
    code = """
import os, sys, time
from recd_client import CSVFile, CustomSink, Recorder
rec = Recorder("own", dir=sys.argv[1])
stream = rec.stream("n", CustomSink("own_recorders:Careful", filename="n.txt"), CSVFile("n.csv"))
for i in range(300):
    stream.write(i)
print("half", flush=True)
sys.stdin.readline()
for i in range(300, 600):
    stream.write(i)
print("all", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", FIND + code, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as simulation:
        assert simulation.stdin is not None
        assert simulation.stdout is not None
        assert simulation.stdout.readline() == "half\n"
        (guest,) = wait_until(lambda: guests(runtime))
        wait_until(lambda: sinks_of(runtime)[0]["samples"] == 300)
        if who in ("worker", "daemon and worker"):
            (lock,) = out.glob(".recd/*/main.lock")
            if "daemon" in who:
                kill(daemon_pid(runtime))
            kill(wait_until(lambda: worker_pid(lock)))
            wait_until(lambda: not start_ticks(guest))
        simulation.stdin.write("\n")
        simulation.stdin.flush()
        assert simulation.stdout.readline() == "all\n"
        if who == "everything":
            simulation.kill()
            for pid in processes_of(runtime):
                kill(pid)
            wait_until(lambda: not processes_of(runtime))
            (runtime / "recd.sock").unlink()  # the next daemon would have done so; here comes none
            assert recover(out).returncode == 0
        elif who == "simulation":
            simulation.kill()
        else:
            simulation.stdin.write("\n")
            simulation.stdin.flush()
    manifest = wait_for_manifest(out)
    assert manifest["streams"]["n"]["complete"], manifest["streams"]["n"]["reason"]
    assert lines(out / "n.txt") == [*range(600)]
    assert len(csv_numbers(out / "n.csv")) == 600


def worker_pid(lock: Path) -> int:
    """Who holds a group's lock."""
    from recd.cli._common import lock_holder

    return lock_holder(lock) or 0


def test_a_daemon_that_restarts_gives_nothing_twice(runtime: Path, tmp_path: Path) -> None:
    """A stop in between lets the recorder sync: even one that is careless sees each sample once."""
    with Recorder("own", dir=tmp_path) as rec:
        stream = rec.stream("n", CustomSink("own_recorders:Careless"))
        for i in range(200):
            stream.write(i)
        subprocess.run([sys.executable, "-m", "recd", "restart"], check=True, capture_output=True)
        for i in range(200):
            stream.write(i)
    proved(tmp_path)
    assert lines(tmp_path / "n.txt") == [*range(400)]


def test_one_that_hangs_holds_up_no_stop(runtime: Path, tmp_path: Path) -> None:
    """`recd stop` ends, and the next daemon goes on from the log."""
    with Recorder("own", dir=tmp_path) as rec:
        stream = rec.stream("n", CustomSink("own_recorders:Gated", filename="n.txt"))
        for i in range(50):
            stream.write(i)
        wait_until(lambda: sinks_of(runtime)[0]["pid"])
        subprocess.run([sys.executable, "-m", "recd", "restart"], check=True, capture_output=True)
        assert worker_of(rec)
        (tmp_path / "go").touch()
    assert lines(tmp_path / "n.txt") == [*range(50)]


def test_a_slow_recorder_costs_disk_and_then_what_the_stream_says(runtime: Path, tmp_path: Path) -> None:
    """Its log grows up to `spool_limit`; then the newest are lost, counted, and it gets all the others."""
    with Recorder("own", dir=tmp_path, spool_limit="8MB") as rec:
        sink = CustomSink("own_recorders:Gated", filename="n.txt")
        stream = rec.stream("n", sink, buffer_bytes="1MB", overflow="block", timeout=0.3)
        wrote = [stream.write(np.full(10_000, float(i))) for i in range(120)]  # 112 or so fit
        assert not all(wrote)
        assert sum(wrote) > 90
        wait_until(lambda: rec.stats()["n"]["state"] == "stalled")
        (tmp_path / "go").touch()
        with pytest.warns(UserWarning, match="lost"):
            rec.close()
    manifest = proved(tmp_path)
    assert lines(tmp_path / "n.txt") == [i for i, w in enumerate(wrote) if w]
    assert manifest["streams"]["n"]["lost"] == {"timeout": wrote.count(False)}


# --- recordings from elsewhere ----------------------------------------------------------------------


@pytest.mark.usefixtures("runtime")
def test_a_recording_from_elsewhere_runs_no_code_unasked(tmp_path: Path) -> None:
    """Moved, its recorder is not even imported; the other file is finished; trying again makes it no better."""
    module = tmp_path / "made" / "brought.py"
    module.parent.mkdir()
    module.write_text(
        "from pathlib import Path\n"
        "Path(__file__).with_name('ran').touch()\n"
        "class R:\n"
        "    def process(self, data, t):\n"
        "        if not Path(__file__).with_name('mended').exists():\n"
        "            raise ValueError('not yet')\n"
    )
    code = """
import sys
from recd_client import CSVFile, CustomSink, Recorder
sys.path.insert(0, sys.argv[1])
with Recorder("own", dir=sys.argv[1]) as rec:
    stream = rec.stream("x", CustomSink("brought:R"))
    other = rec.stream("y", CSVFile("y.csv"))
    for i in range(5):
        stream.write(i)
        other.write(i)
"""
    run_python(code, tmp_path / "made")
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    (moved / "ran").unlink()
    (moved / "mended").touch()
    for _ in range(2):
        refused = recover(moved)
        assert refused.returncode == 1
        assert "comes from elsewhere" in " ".join(refused.stdout.split())
        assert not (moved / "ran").exists()
    done = recover(moved, "--allow-code")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (moved / "ran").exists()
    proved(moved)


# --- code that travels ------------------------------------------------------------------------------


@pytest.fixture
def allowing(runtime: Path) -> Iterator[Path]:
    """A daemon that allows code."""
    subprocess.run([sys.executable, "-m", "recd", "start", "--allow-code"], check=True, capture_output=True)
    return runtime


CODE = """
import sys
import numpy as np
from recd_client import CustomSink, Recorder, Sink

FACTOR = 3

def scaled(x):
    return FACTOR * x

class Total(Sink):
    def __init__(self, start):
        self.total = start
    def open(self, schema):
        self.total = self.state or self.total
    def sync(self):
        return float(self.total)
    def write(self, batch):
        self.total += scaled(np.sum(batch["data"]))
    def close(self):
        with open("total.txt", "w") as file:
            file.write(str(self.total))

def local(limit):
    def seen(data, t):
        if data > limit:
            with open("seen.txt", "a") as file:
                file.write(f"{data} ")
    return seen

with Recorder("own", dir=sys.argv[1], allow_code=True) as rec:
    sinks = CustomSink(Total, start=np.float64(0.5)), CustomSink(local(7)), CustomSink(lambda d, t: None)
    stream = rec.stream("x", *sinks)
    for i in range(10):
        stream.write(i)
"""


@pytest.mark.requires("dill")
def test_with_both_consents_classes_functions_and_lambdas_travel(allowing: Path, tmp_path: Path) -> None:
    """With what they refer to, what they enclose, and arguments that JSON could not hold."""
    run_python(CODE, tmp_path)
    proved(tmp_path)
    assert (tmp_path / "total.txt").read_text() == str(0.5 + 3 * 45)
    assert (tmp_path / "seen.txt").read_text() == "8 9 "


@pytest.mark.requires("dill")
def test_a_daemon_that_does_not_allow_code_does_not_run_what_another_one_took(
    allowing: Path, tmp_path: Path
) -> None:
    """Restarted without its consent, it leaves the sink alone and says so; `recover --allow-code` finishes it."""
    restart = "import subprocess; subprocess.run([sys.executable, '-m', 'recd', 'restart'], check=True)"
    code = CODE.replace(
        "        stream.write(i)\n", f"        stream.write(i)\n    {restart}\n    stream.write(0)\n"
    )
    run_python(code, tmp_path)
    told = manifest_of(tmp_path)["streams"]["x"]
    assert told["state"] == "failed"
    assert "does not run code that travels" in told["reason"]
    assert not (tmp_path / "total.txt").exists()
    assert recover(tmp_path).returncode != 0
    done = recover(tmp_path, "--allow-code")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "total.txt").read_text() == str(0.5 + 3 * 45)


def test_starting_with_consent_beside_a_daemon_without_is_an_error(runtime: Path) -> None:
    """The consent would not be in force, and whoever gave it must know."""
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True, capture_output=True)
    command = [sys.executable, "-m", "recd", "start", "--allow-code"]
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode != 0
    assert "recd restart --allow-code" in again.stderr
