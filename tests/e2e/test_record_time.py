"""When samples are: which are kept at a rate, what time and step they carry, where events stand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from recd_client import CSVFile, DataFunctionError, HDF5File, NPZFile, Recorder, VideoFile
from recordings import csv_numbers, manifest_of, npz, numbered, numbers, proved, shown_at
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")

DT = 0.01


# --- the time of a sample -------------------------------------------------------------------------


def test_the_time_of_a_sample_is_what_was_given(tmp_path: Path) -> None:
    """A given t is kept bit for bit, also from numpy and integers, and a given step with it."""
    given = [0, 0.1, np.float32(0.3), np.float64(1 / 3), np.int64(2), 1e300]
    with Recorder(dir=tmp_path, dt=DT) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for i, t in enumerate(given):
            stream.write(1.0, t=t, step=10 * i)
    told = proved(tmp_path)["streams"]["s"]
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["timestamp"], [float(t) for t in given])
    assert (told["step_first"], told["step_last"]) == (0, 50)
    assert (told["t_first"], told["t_last"]) == (0.0, 1e300)


def test_without_a_time_it_follows_from_the_step_and_dt(tmp_path: Path) -> None:
    """``t = step * dt``, with the step given, else the recorder's, else the number of the write."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        counted = rec.stream("counted", NPZFile("counted.npz"))
        given = rec.stream("given", NPZFile("given.npz"))
        for i in range(5):
            counted.write(1.0)
            given.write(1.0, step=100 * i)
        rec.step()
        rec.step()
        counted.write(1.0)
    streams = proved(tmp_path)["streams"]
    np.testing.assert_array_equal(npz(tmp_path / "counted.npz")["timestamp"], [*(np.arange(5) * DT), 1 * DT])
    np.testing.assert_array_equal(npz(tmp_path / "given.npz")["timestamp"], np.arange(5) * 100 * DT)
    assert streams["counted"]["backward_times"] == 1
    assert (streams["given"]["step_first"], streams["given"]["step_last"]) == (0, 400)


def test_without_dt_it_is_the_monotonic_time_since_the_recorder_opened(tmp_path: Path) -> None:
    """Times ascend between the opening and the closing; the manifest maps them to the clock on the wall."""
    wall_ns, mono_ns = time.time_ns(), time.monotonic_ns()
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for _ in range(10):
            stream.write(1.0)
    lasted_s = (time.monotonic_ns() - mono_ns) * 1e-9
    manifest = proved(tmp_path)
    clocks, told = manifest["clocks"], manifest["streams"]["s"]
    times = npz(tmp_path / "s.npz")["timestamp"]
    assert (np.diff(times) > 0).all()
    assert 0 < times[0] < times[-1] < lasted_s
    assert mono_ns <= clocks["start_mono_ns"] < told["mono_first_ns"] < told["mono_last_ns"]
    assert told["mono_last_ns"] < clocks["end_mono_ns"]
    assert wall_ns <= clocks["start_wall_ns"] < clocks["end_wall_ns"] <= time.time_ns()
    first_s = (told["mono_first_ns"] - clocks["start_mono_ns"]) * 1e-9
    assert times[0] == pytest.approx(first_s, abs=1e-9)
    assert (told["step_first"], told["step_last"]) == (-1, -1)


def test_odd_times_are_accepted_and_flagged(tmp_path: Path) -> None:
    """NaN and times that go back are recorded as they came and counted; after a reset back is no flag."""
    times = [0.0, 1.0, 0.5, np.nan, 2.0]
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", NPZFile("s.npz"))
        for t in times:
            stream.write(1.0, t=t)
        rec.reset()
        stream.write(1.0, t=0.0)
    told = proved(tmp_path)["streams"]["s"]
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["timestamp"], [*times, 0.0])
    assert (told["backward_times"], told["nan_times"]) == (1, 1)


# --- push form with a rate ------------------------------------------------------------------------


def test_pushed_samples_are_thinned_to_the_nearest_steps(tmp_path: Path) -> None:
    """At 20 Hz every fifth of 100 Hz samples is kept, the others count as skipped; True either way."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), hz=20)
        assert all(stream.write(i, t=i * DT) for i in range(101))
        assert stream.stats["skipped"] == 80
        assert stream.stats["attempted"] == 21
    told = proved(tmp_path)["streams"]["s"]
    assert npz(tmp_path / "s.npz")["data"].tolist() == [*range(0, 101, 5)]
    assert (told["hz"], told["attempted"], told["skipped"]) == (20, 21, 80)


def test_pushed_samples_at_irregular_times_are_kept_when_one_is_due(tmp_path: Path) -> None:
    """The first sample in each period of the grid is kept, a jump skips periods, going back begins anew."""
    times = [0.0, 0.03, 0.11, 0.12, 0.26, 0.27, 0.31, 0.45, 0.46, 0.92, 0.95, 0.2, 0.25, 0.31]
    kept = [0.0, 0.11, 0.26, 0.31, 0.45, 0.92, 0.2, 0.31]
    with Recorder(dir=tmp_path, dt=0.001) as rec:
        stream = rec.stream("s", NPZFile("s.npz"), hz=10)
        for t in times:
            stream.write(1.0, t=t)
    assert npz(tmp_path / "s.npz")["timestamp"].tolist() == kept


# --- pull form ------------------------------------------------------------------------------------


def test_pulled_samples_are_taken_at_whole_steps(tmp_path: Path) -> None:
    """Each data_func is called at the steps that are due and at no other; step 0 is the first."""
    asked: dict[str, list[int]] = {"every": [], "fifth": [], "third": []}
    steps = 0

    def source(name: str) -> list[int]:
        asked[name].append(steps)
        return [steps]

    with Recorder(dir=tmp_path, dt=DT) as rec:
        rec.start_recording(lambda: source("every"), NPZFile("every.npz"))
        rec.start_recording(lambda: source("fifth"), CSVFile("fifth.csv", hz=20))
        with pytest.warns(RuntimeWarning, match="33.3333 Hz"):  # not a whole number of steps
            rec.start_recording(lambda: source("third"), NPZFile("third.npz", hz=30), name="odd")
        for _ in range(16):
            rec.step()
            steps += 1
        rec.stop_recording()
        rec.step()
    manifest = proved(tmp_path)
    assert asked == {"every": [*range(16)], "fifth": [0, 5, 10, 15], "third": [0, 3, 6, 9, 12, 15]}
    assert npz(tmp_path / "every.npz")["data"].tolist() == [[i] for i in range(16)]
    np.testing.assert_array_equal(csv_numbers(tmp_path / "fifth.csv"), [[i * DT, i] for i in (0, 5, 10, 15)])
    assert {*manifest["streams"]} == {"every", "fifth", "odd"}
    assert manifest["streams"]["fifth"]["step_last"] == 15
    assert manifest["streams"]["odd"]["hz"] == pytest.approx(100 / 3)


def test_pulled_samples_without_dt_follow_the_time_of_the_step(tmp_path: Path) -> None:
    """Where dt is unknown, ``step(t)`` decides by its t; without one the stream follows the real clock."""
    with Recorder(dir=tmp_path) as rec:
        rec.start_recording(lambda: 1.0, NPZFile("s.npz", hz=10))
        for i in range(41):
            rec.step(i * 0.025)
    np.testing.assert_allclose(npz(tmp_path / "s.npz")["timestamp"], np.arange(11) * 0.1)


def test_an_error_of_one_data_func_leaves_the_others_their_samples(tmp_path: Path) -> None:
    """The error is raised, or warned of, behind the other streams; the next step is as if it had not been."""
    fails = True

    def broken() -> float:
        if fails:
            raise KeyError("joint")
        return 2.0

    with Recorder(dir=tmp_path, dt=DT) as rec:
        rec.start_recording(broken, NPZFile("broken.npz"))
        rec.start_recording(lambda: 1.0, NPZFile("fine.npz"))
        with pytest.raises(DataFunctionError, match=r"'broken'.*KeyError.*joint") as raised:
            rec.step()
        assert isinstance(raised.value.__cause__, KeyError)
        fails = False
        rec.step()
    np.testing.assert_array_equal(npz(tmp_path / "fine.npz")["timestamp"], [0, DT])
    np.testing.assert_array_equal(npz(tmp_path / "broken.npz")["timestamp"], [DT])


# --- the timeline ---------------------------------------------------------------------------------


def test_events_stand_where_they_happened(tmp_path: Path) -> None:
    """The manifest lists marks, resets and pauses once each, in order, with time, step and fields."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        a = rec.stream("a", NPZFile("a.npz"))
        b = rec.stream("b", CSVFile("b.csv"))
        rec.mark("begin", seed=3)
        for i in range(10):
            a.write(1.0, t=i * DT, step=i)
            b.write(1.0, t=i * DT, step=i)
            if i == 4:
                rec.mark("contact", foot="left", force=np.float32(2.5))
        rec.reset(envs_idx=[1, 3])
        rec.reset(envs_idx=np.array([True, False, True]))
        rec.pause()
        rec.resume()
        a.pause()
        a.resume()
        rec.reset()
        a.write(1.0, t=0.0)
    marks = proved(tmp_path)["marks"]
    assert [(m["label"], m["fields"]) for m in marks] == [
        ("begin", {"seed": 3}),
        ("contact", {"foot": "left", "force": 2.5}),
        ("recd.reset", {"envs_idx": [1, 3]}),
        ("recd.reset", {"envs_idx": [0, 2]}),
        ("recd.pause", {}),
        ("recd.resume", {}),
        ("recd.pause", {"stream": "a"}),
        ("recd.resume", {"stream": "a"}),
        ("recd.reset", {"envs_idx": None}),
    ]
    contact = marks[1]
    assert (contact["t"], contact["step"]) == (4 * DT, 4)
    assert [m["mono_ns"] for m in marks] == sorted(m["mono_ns"] for m in marks)


def test_nothing_is_taken_between_pause_and_resume(tmp_path: Path) -> None:
    """Samples in a pause, of one stream or of all, are skipped and counted; those around it are kept."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        a, b = rec.stream("a", NPZFile("a.npz")), rec.stream("b", NPZFile("b.npz"))
        pulled = rec.start_recording(lambda: 1.0, NPZFile("pulled.npz"))
        for i in range(20):
            if i == 5:
                rec.pause()
            if i == 10:
                b.pause()
                rec.resume()
            if i == 15:
                b.resume()
            assert a.write(i, t=i * DT)
            assert b.write(i, t=i * DT)
            rec.step(i * DT)
            assert a.stats["state"] == ("paused" if 5 <= i < 10 else "recording")
        assert (a.stats["skipped"], b.stats["skipped"]) == (5, 10)
        assert pulled.stats["attempted"] == 15
    assert npz(tmp_path / "a.npz")["data"].tolist() == [*range(5), *range(10, 20)]
    assert npz(tmp_path / "b.npz")["data"].tolist() == [*range(5), *range(15, 20)]
    assert proved(tmp_path)["streams"]["b"]["skipped"] == 10


def test_a_whole_reset_begins_a_new_part(tmp_path: Path) -> None:
    """With ``save_on_reset`` each whole reset ends a numbered file; a partial one, and others, do not."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        parts = CSVFile("s.csv", save_on_reset=True), NPZFile("s.npz", save_on_reset=True)
        state = rec.stream("state", *parts, NPZFile("all.npz"))
        camera = rec.stream("camera", VideoFile("c.mp4", fps=50, save_on_reset=True))
        for episode, length in enumerate([5, 8, 3]):
            for i in range(length):
                state.write(100 * episode + i, t=i * DT)
                camera.write(numbered(10 * episode + i), t=i * DT)
            rec.reset(envs_idx=[0])
            if episode < 2:
                rec.reset()
        assert rec.stats()["state"]["attempted"] == 16
    manifest = proved(tmp_path)
    for episode, length in enumerate([5, 8, 3]):
        values = [100 * episode + i for i in range(length)]
        assert npz(tmp_path / f"s_{episode}.npz")["data"].tolist() == values
        np.testing.assert_array_equal(
            csv_numbers(tmp_path / f"s_{episode}.csv"), [[i * DT, v] for i, v in enumerate(values)]
        )
        assert numbers(tmp_path / f"c_{episode}.mp4") == [10 * episode + i for i in range(length)]
    assert len(npz(tmp_path / "all.npz")["data"]) == 16
    told = manifest["streams"]
    assert ("s_1.npz", 1, 8) in [(f["path"], f["part"], f["samples"]) for f in told["state"]["files"]]
    assert told["state"]["backward_times"] == told["camera"]["backward_times"] == 0
    assert not {"s.csv", "s.npz", "c.mp4", "s_3.npz"} & {p.name for p in tmp_path.iterdir()}


def test_discard_drops_the_running_part(tmp_path: Path) -> None:
    """What was recorded since the last reset is in no file; the next part takes its number."""
    with Recorder(dir=tmp_path, dt=DT) as rec:
        stream = rec.stream("s", CSVFile("s.csv", save_on_reset=True), NPZFile("whole.npz"))
        camera = rec.stream("c", VideoFile("c.mp4", fps=50, save_on_reset=True))

        def episode(first: int) -> None:
            for i in range(first, first + 5):
                stream.write(i, t=i * DT)
                camera.write(numbered(i), t=i * DT)

        episode(0)
        rec.reset()
        episode(10)
        rec.flush()
        rec.discard()
        episode(20)
    manifest = manifest_of(tmp_path)
    assert csv_numbers(tmp_path / "s_0.csv")[:, 1].tolist() == [*range(5)]
    assert csv_numbers(tmp_path / "s_1.csv")[:, 1].tolist() == [*range(20, 25)]
    assert npz(tmp_path / "whole.npz")["data"].tolist() == [*range(20, 25)]
    assert numbers(tmp_path / "c_0.mp4") == [*range(5)]
    assert numbers(tmp_path / "c_1.mp4") == [*range(20, 25)]
    assert [m["label"] for m in manifest["marks"]] == ["recd.reset", "recd.discard"]
    for told in manifest["streams"].values():
        assert told["attempted"] == told["samples"] == 15
        assert sum(f["samples"] for f in told["files"] if f["path"] != "whole.npz") == 10


@pytest.mark.parametrize("name", ["s.csv", "s.npz"])
def test_a_split_by_samples_makes_numbered_parts(tmp_path: Path, name: str) -> None:
    """Each part has as many samples as was asked for, the last one the rest, and nothing is lost between."""
    sinks = {"s.csv": CSVFile("s.csv", split=40), "s.npz": NPZFile("s.npz", split=40)}
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", sinks[name])
        for i in range(100):
            stream.write(i, t=float(i))
    proved(tmp_path)
    found: list[float] = []
    for part, length in enumerate([40, 40, 20]):
        path = tmp_path / name.replace(".", f"_{part:04d}.")
        values = csv_numbers(path)[:, 1] if name == "s.csv" else npz(path)["data"]
        assert len(values) == length
        found += values.tolist()
    assert found == [*range(100)]


@pytest.mark.parametrize("name", ["s.csv", "s.npz"])
def test_a_split_by_size_makes_parts_of_about_that_size(tmp_path: Path, name: str) -> None:
    """Parts are finished while the recording goes on, and together hold every sample once, in order."""
    with Recorder(dir=tmp_path) as rec:
        sink = CSVFile("s.csv", split="40kB") if name == "s.csv" else NPZFile("s.npz", split="40kB")
        stream = rec.stream("s", sink)
        first = tmp_path / name.replace(".", "_0000.")
        for i in range(1000):
            stream.write(np.full(20, float(i)), t=float(i))
            if i == 500:
                wait_until(first.exists)
    proved(tmp_path)
    parts = sorted(tmp_path.glob(name.replace(".", "_*.")))
    assert len(parts) >= 2
    column = [csv_numbers(p)[:, 1] if name == "s.csv" else npz(p)["data"][:, 0] for p in parts]
    assert np.concatenate(column).tolist() == [*range(1000)]


def test_a_split_by_time_follows_the_real_clock(tmp_path: Path) -> None:
    """A part ends once it has lasted so long, whatever the stream time says; nothing is lost between."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", CSVFile("s.csv", split="0.1s"))
        written = 0
        while len([*tmp_path.glob("s_*.csv")]) < 3:
            stream.write(written, t=0.0)
            written += 1
            rec.flush()
    proved(tmp_path)
    column = [csv_numbers(p)[:, 1] for p in sorted(tmp_path.glob("s_*.csv"))]
    assert np.concatenate(column).tolist() == [*range(written)]


def test_a_video_can_be_split_too(tmp_path: Path) -> None:
    """A video in parts of ten frames has them all, in order; each part begins at its own second zero."""
    with Recorder(dir=tmp_path) as rec:
        camera = rec.stream("c", VideoFile("c.mp4", fps=10, split=10))
        for i in range(25):
            camera.write(numbered(i), t=i * 0.1)
    proved(tmp_path)
    parts = [tmp_path / f"c_{n:04d}.mp4" for n in range(3)]
    assert [n for part in parts for n in numbers(part)] == [*range(25)]
    np.testing.assert_allclose(shown_at(parts[2]), np.arange(5) * 0.1)


# --- names and rates at the end -------------------------------------------------------------------


def test_close_can_rename_and_retime_a_video(tmp_path: Path) -> None:
    """``close(filename, fps)`` gives the finished file its name and rate; frames and order stay."""
    with Recorder(dir=tmp_path) as rec:
        named = rec.stream("named", VideoFile("old.mp4", fps=50))
        unnamed = rec.stream("unnamed", VideoFile(fps=50))
        for i in range(20):
            named.write(numbered(i), t=i * 0.02)
            unnamed.write(numbered(i + 5), t=i * 0.02)
        named.close("new.mp4", fps=25)
        unnamed.close("sub/late.mp4")
        assert named.files == [str(tmp_path / "new.mp4")]
        summary = rec.close()
    streams = proved(tmp_path)["streams"]
    assert not (tmp_path / "old.mp4").exists()
    assert summary["named"].files == (tmp_path / "new.mp4",)
    assert numbers(tmp_path / "new.mp4") == [*range(20)]
    np.testing.assert_allclose(shown_at(tmp_path / "new.mp4"), np.arange(20) / 25, atol=1e-4)
    assert streams["named"]["files"][0]["video"]["fps"] == 25
    assert streams["named"]["files"][0]["video"]["frames"]["t"] == [i * 0.02 for i in range(20)]
    assert numbers(tmp_path / "sub/late.mp4") == [*range(5, 25)]
    np.testing.assert_allclose(shown_at(tmp_path / "sub/late.mp4"), np.arange(20) / 50, atol=1e-4)


@pytest.mark.parametrize("name", ["old.csv", "old.npz", "old.h5"])
def test_close_can_rename_a_file_that_is_being_written(tmp_path: Path, name: str) -> None:
    """The file with that suffix takes the name, with all samples; the stream's other files keep theirs."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", CSVFile("old.csv"), NPZFile("old.npz"), HDF5File("old.h5"))
        for i in range(50):
            stream.write(i, t=float(i))
        rec.flush()
        stream.close(name.replace("old", "new"))
    proved(tmp_path)
    others = {"old.csv", "old.npz", "old.h5", "manifest.json"} - {name}
    assert {p.name for p in tmp_path.iterdir()} == others | {name.replace("old", "new")}
    if name == "old.csv":
        assert csv_numbers(tmp_path / "new.csv")[:, 1].tolist() == [*range(50)]
    if name == "old.npz":
        assert npz(tmp_path / "new.npz")["data"].tolist() == [*range(50)]
