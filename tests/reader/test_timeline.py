"""When samples are: numbers, steps and clocks that files do not hold, samples at a time, episodes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recd
from killing import kill
from reading import manifest
from recd.reader import Gap
from recd.reader.numbering import Numbering
from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile
from recd_client.errors import OptionError
from recd_client.options import SinkOptions
from recordings import numbered, worker_of
from sink_samples import Samples, fields, record

pytestmark = pytest.mark.usefixtures("shared_runtime")


def made(
    directory: Path, streams: dict[str, tuple[list[float], dict[str, list[Any]]]], **told: Any
) -> recd.Run:
    """A recording of samples at these times, without a daemon; a value's dtype is that of its list as an array."""
    described = {}
    for name, (t, values) in streams.items():
        arrays = {key: np.array(column) for key, column in values.items()}
        schema = fields(
            **{k: ("fixed", a.dtype.newbyteorder("<").str, a.shape[1:]) for k, a in arrays.items()}
        )
        path = directory / f"{name}.npz"
        record(NPZFile(path.name), Samples(schema, {k: [*a] for k, a in arrays.items()}, t), path)
        file = {
            "path": path.name, "kind": "npz", "part": 0, "samples": len(t), "bytes": path.stat().st_size,
            "first_seq": 0, "next_seq": len(t),
        }  # fmt: skip
        described[name] = {"schema": schema.to_json(), "files": [file], "attempted": len(t), **told}
    return recd.open(manifest(directory, described))


# --- numbers --------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 5), st.data())
def test_numbers_are_what_no_gap_takes(kept: list[bool], first: int, data: st.DataObject) -> None:
    """However the losses lie, by one cause or by two that interleave; any stretch of them, too."""
    numbers = [first + i for i, keep in enumerate(kept) if keep]
    gaps, at = [], 0
    while at < len(kept):
        if kept[at]:
            at += 1
            continue
        end = next((i for i in range(at, len(kept)) if kept[i]), len(kept))
        gaps.append(Gap(first + at, first + end - 1, end - at, "full"))
        if end - at > 2:  # another cause took those within
            gaps.append(Gap(first + at + 1, first + end - 2, 1, "timeout"))
        at = end
    numbering = Numbering.between(first, first + len(kept), data.draw(st.permutations(gaps)), len(numbers))
    start = data.draw(st.integers(0, len(numbers)))
    stop = data.draw(st.integers(start, len(numbers)))
    assert numbering.exact
    assert numbering.read(start, stop).tolist() == numbers[start:stop]
    assert numbering.part(start, stop).read(0, stop - start).tolist() == numbers[start:stop]
    wrong = Numbering.between(first, first + len(kept), gaps, len(numbers) + 1)
    assert not wrong.exact
    assert set(wrong.read(0, 3).tolist()) == {-1}


def test_what_files_do_not_hold_is_told_only_where_it_is_certain(tmp_path: Path) -> None:
    """Steps that follow from the times are those that stood in the log; all else is -1."""
    with Recorder("steps", dir=tmp_path / "steps", dt=0.01) as rec:
        counted, given_, odd = (
            rec.stream(name, NPZFile(f"{name}.npz")) for name in ("counted", "given", "odd")
        )
        for i in range(200):
            counted.write(i)
            given_.write(i, step=3 * i + 1)
            odd.write(i, t=i * 0.01 + 1e-9, step=i)
        rec.flush()
        with recd.open(tmp_path / "steps") as run:
            assert all(stream.known == {"seq", "step", "wall"} for stream in run.streams.values())
            logged = {name: stream.step for name, stream in run.streams.items()}
    run = recd.open(tmp_path / "steps")
    assert run["counted"].known == run["given"].known == {"seq", "step"}
    assert run["counted"].step.tolist() == logged["counted"].tolist() == [*range(200)]
    assert run["given"].step.tolist() == logged["given"].tolist()
    assert run["odd"].known == {"seq"}
    assert set(run["odd"].step.tolist()) == {-1}


@pytest.mark.parametrize("killed", [False, True], ids=["", "worker killed"])
@pytest.mark.parametrize("sink", [NPZFile("x.npz"), CSVFile("x.csv", split=150)], ids=["npz", "csv in parts"])
def test_simulated_times_come_with_a_line_that_tells_when_samples_were_written(
    tmp_path: Path, sink: SinkOptions, killed: bool
) -> None:
    """Exact at its points; nowhere off by more than the time between two of them, also behind a worker's death."""
    written = []
    with Recorder("simulated", dir=tmp_path, dt=0.01) as rec:
        stream = rec.stream("x", sink)
        for i in range(400):
            stream.write({"ns": time.monotonic_ns()})
            written.append(time.monotonic_ns())
            if i % 40 == 0:
                rec.flush()
            if killed and i == 200:
                kill(worker_of(rec))
    run = recd.open(tmp_path)
    found = run["x"]
    told = run.manifest["streams"]["x"]["clock"]
    assert (found.known, found.tells_wall) == ({"seq", "step"}, True)
    assert told["seq"][0] == 0
    assert told["seq"][-1] == 399
    points, times = np.array(told["seq"]), np.array(told["mono_ns"])
    before = found["ns"][:]  # the write itself lies between these two readings of the clock
    assert (before[points] <= times).all()
    assert (times <= np.array(written)[points]).all()
    assert found.mono_ns[points].tolist() == times.tolist()
    assert (np.diff(found.wall) >= 0).all()
    around = np.clip(np.searchsorted(points, np.arange(400), "right"), 1, len(points) - 1)
    apart = (times[around] - times[around - 1]) + (np.array(written) - before)
    assert (np.abs(found.mono_ns - before) <= apart).all()
    blocks = list(found.batches(rows=70))
    assert np.concatenate([block.mono_ns for block in blocks]).tolist() == found.mono_ns.tolist()


@pytest.mark.parametrize(
    "told",
    [None, {}, {"seq": [1], "mono_ns": [], "tolerance_ns": 1}, {"seq": [3, 2], "mono_ns": [1, 2], "tolerance_ns": 1},
     {"seq": [0, 1], "mono_ns": [0, 1 << 64], "tolerance_ns": 1}, {"seq": ["a"], "mono_ns": [1], "tolerance_ns": 1},
     {"seq": [], "mono_ns": [], "tolerance_ns": 1}],
    ids=["none", "empty", "uneven", "descending", "too large", "no numbers", "no points"],
)  # fmt: skip
def test_without_a_line_that_makes_sense_nobody_knows_when_samples_were_written(
    tmp_path: Path, told: object
) -> None:
    """A manifest of an older recd, or one that was tampered with: -1 and NaN, and everything else is read."""
    with Recorder("simulated", dir=tmp_path, dt=0.01) as rec:
        stream = rec.stream("x", NPZFile("x.npz"))
        for i in range(10):
            stream.write(i)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["streams"]["x"]["clock"] = told
    path.write_text(json.dumps(manifest))
    found = recd.open(tmp_path)["x"]
    assert not found.tells_wall
    assert np.isnan(found.wall).all()
    assert set(found.mono_ns.tolist()) == {-1}
    assert found["data"][:].tolist() == [*range(10)]


def test_times_of_the_clock_give_the_clock_back(tmp_path: Path) -> None:
    """Without dt and t, monotonic and wall time of each sample are those that stood in the log, to the nanosecond."""
    with Recorder("clock", dir=tmp_path) as rec:
        stream = rec.stream("x", NPZFile("x.npz"))
        for i in range(300):
            stream.write(i)
        rec.flush()
        with recd.open(tmp_path) as run:
            mono, wall = run["x"].mono_ns, run["x"].wall
    found = recd.open(tmp_path)["x"]
    assert found.known == {"seq", "wall"}
    assert found.mono_ns.tolist() == mono.tolist()
    assert found.wall.tolist() == wall.tolist()
    (block,) = found.batches()
    assert block.mono_ns.tolist() == mono.tolist()
    assert block.wall.tolist() == wall.tolist()


# --- samples at a time ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "method", "tolerance", "expected"),
    [
        (0.0, "previous", None, 0), (0.9, "previous", None, 0), (1.0, "previous", None, 1), (9.0, "previous", None, 3),
        (-0.1, "previous", None, None), (0.9, "previous", 0.5, None), (0.4, "previous", 0.5, 0),
        (0.4, "nearest", None, 0), (0.5, "nearest", None, 0), (0.6, "nearest", None, 1), (-9.0, "nearest", None, 0),
        (9.0, "nearest", None, 3), (9.0, "nearest", 1.0, None), (-0.5, "nearest", 1.0, 0),
        (0.5, "linear", None, 0), (3.0, "linear", None, 3), (3.1, "linear", None, None), (-0.1, "linear", None, None),
        (2.5, "linear", 0.4, None), (2.5, "linear", 0.5, 2), (float("nan"), "previous", None, None),
        (float("inf"), "previous", None, 3),
    ],
)  # fmt: skip
def test_a_sample_is_found_by_its_time(
    tmp_path: Path, t: float, method: str, tolerance: float | None, expected: int | None
) -> None:
    """Of samples at 0, 1, 2 and 3 s: the one before, the nearest, never one beyond the ends or the tolerance."""
    run = made(tmp_path, {"x": ([0.0, 1.0, 2.0, 3.0], {"v": [0, 1, 2, 3]})})
    assert run["x"].index_at(t, method, tolerance) == expected
    found = run["x"].at(t, method, tolerance)
    assert (None if found is None else found["v"]) == expected


def test_only_floats_are_interpolated(tmp_path: Path) -> None:
    """In their dtype; integers and bools are those of the sample before."""
    values = {"f": [0.0, 10.0], "a": np.array([[0, 4], [1, 8]], np.float32), "n": [0, 10], "b": [True, False]}
    run = made(tmp_path, {"x": ([1.0, 2.0], values)})
    found = run.at(1.25, "linear")["x"]
    assert (found["f"], found["a"].tolist(), found["n"], found["b"]) == (2.5, [0.25, 5.0], 0, True)
    assert found["a"].dtype == np.float32
    assert run.at(2.0, "linear")["x"]["f"] == 10.0


def test_all_streams_are_aligned_at_one_time(tmp_path: Path) -> None:
    """Each gives its own sample of that time, or None where it has none."""
    run = made(
        tmp_path,
        {
            "slow": ([0.0, 1.0], {"v": [0, 1]}),
            "fast": ([0.5, 0.75, 1.0], {"v": [5, 7, 10]}),
            "no": ([], {"v": [0][:0]}),
        },
    )
    assert run.at(0.8) == {"slow": {"v": 0}, "fast": {"v": 7}, "no": None}
    assert run.at(0.8, "nearest")["slow"] == {"v": 1}
    assert run.at(0.1) == {"slow": {"v": 0}, "fast": None, "no": None}
    assert run.at(5.0, tolerance=1.0) == {"slow": None, "fast": None, "no": None}


def test_times_that_are_no_numbers_are_passed_over(tmp_path: Path) -> None:
    """They can be asked for by index; among the others the right one is found."""
    nan = float("nan")
    run = made(tmp_path, {"x": ([nan, 0.0, nan, 1.0, nan], {"v": [0, 1, 2, 3, 4]})})
    assert [run["x"].index_at(t) for t in (-1.0, 0.0, 0.9, 1.0, 2.0)] == [None, 1, 1, 3, 3]
    assert run["x"].at(0.5, "linear")["v"] == 1
    assert run["x"].index_at(0.9, within=slice(2, 5)) is None


def test_where_time_goes_back_an_episode_must_be_asked(tmp_path: Path) -> None:
    """A time alone means nothing there; within an episode it does."""
    run = made(tmp_path, {"x": ([0.0, 1.0, 0.0, 1.0], {"v": [0, 1, 2, 3]})})
    with pytest.raises(OptionError, match="time goes back at sample 2"):
        run.at(0.5)
    assert run["x"].at(1.0, within=slice(0, 2)) == {"v": 1}
    assert run["x"].at(1.0, within=slice(2, 4)) == {"v": 3}


@pytest.mark.parametrize("wrong", [{"method": "next"}, {"tolerance": -1}, {"tolerance": float("nan")}])
def test_what_is_no_method_or_tolerance_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """With what is allowed."""
    run = made(tmp_path, {"x": ([0.0], {"v": [0]})})
    with pytest.raises(OptionError, match="expected"):
        run.at(0.0, **wrong)


# --- episodes -------------------------------------------------------------------------------------


def test_episodes_are_what_lies_between_whole_resets(tmp_path: Path) -> None:
    """In every stream its own samples, with the marks within; partial resets and empty stretches count for nothing."""
    with Recorder("episodes", dir=tmp_path, dt=0.1) as rec:
        state = rec.stream("state", HDF5File("state.h5"), like=0)
        film = rec.stream("film", VideoFile("film.mp4", save_on_reset=True), like=numbered(0))
        late = rec.stream("late", NPZFile("late.npz", save_on_reset=True))
        for episode in range(3):
            rec.reset()
            for i in range(5 + episode):
                state.write(10 * episode + i, t=i * 0.1)
                if i % 2 == 0:
                    film.write(numbered(episode), t=i * 0.1)
                if episode:
                    late.write(i, t=i * 0.1)
                if i == 2:
                    rec.reset([0])
            rec.mark("ended", success=episode != 1, length=5 + episode)
        rec.reset()
    run = recd.open(tmp_path)
    episodes = run.episodes()
    assert [e.index for e in episodes] == [0, 1, 2]
    assert [run["state"]["data"][e["state"]].tolist() for e in episodes] == [
        [10 * k + i for i in range(5 + k)] for k in range(3)
    ]
    assert [(e.count("film"), e.count("late")) for e in episodes] == [(3, 0), (3, 6), (4, 7)]
    assert [e.success for e in episodes] == [True, False, True]
    assert [e.metadata["length"] for e in episodes] == [5, 6, 7]
    assert [(e.t0, e.t1) for e in episodes] == [(0.0, i * 0.1) for i in (4, 5, 6)]
    assert [[m.label for m in e.marks] for e in episodes] == [["ended"]] * 3
    assert episodes[1].at(0.35)["state"] == {"data": 13}
    assert episodes[0].at(0.35)["late"] is None
    assert run["film"].parts == [e["film"] for e in episodes]
    for e in episodes:
        assert [
            n for b in run["state"].batches(start=e["state"].start, stop=e["state"].stop) for n in b["data"]
        ] == [10 * e.index + i for i in range(5 + e.index)]
    assert [e["late"] for e in run.episodes("late")] == [slice(0, 6), slice(6, 13)]
    with pytest.raises(KeyError, match="no stream 'x'"):
        episodes[0]["x"]
    with pytest.raises(KeyError, match="no stream 'x'"):
        run.episodes("x")


def test_a_reset_of_one_stream_is_no_boundary_for_the_others(tmp_path: Path) -> None:
    """Environments that are recorded beside each other begin anew each for itself."""
    run = made(tmp_path, {"a": ([0.0, 1.0, 0.0], {"v": [0, 1, 2]}), "b": ([0.0, 1.0, 2.0], {"v": [0, 1, 2]})})
    told = dict(run.manifest)
    for stream in told["streams"].values():
        stream |= {"mono_first_ns": 0, "mono_last_ns": 100}
    mark = {"label": "recd.reset", "fields": {"envs_idx": None}, "t": 0.0, "step": -1, "mono_ns": 50}
    run = recd.open(manifest(tmp_path, told["streams"], [{**mark, "seq": {"a": 2}}]))
    assert [dict(e.ranges) for e in run.episodes()] == [{"a": slice(0, 3), "b": slice(0, 3)}]
    assert [e["a"] for e in run.episodes("a")] == [slice(0, 2), slice(2, 3)]
    assert [e["b"] for e in run.episodes("b")] == [slice(0, 3)]
    run = recd.open(manifest(tmp_path, told["streams"], [{**mark, "seq": {"a": 2, "b": 1}}]))
    assert [dict(e.ranges) for e in run.episodes()] == [
        {"a": slice(0, 2), "b": slice(0, 1)}, {"a": slice(2, 3), "b": slice(1, 3)},
    ]  # fmt: skip
