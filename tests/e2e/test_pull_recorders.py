"""Recorders that ask for their samples: rates, buffers, resets, pauses, and recordings begun again, for every file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killing import kill
from recd.verify.finding import DAMAGE
from recd.verify.session import SessionCheck
from recd_client import CSVFile, DataLossWarning, HDF5File, NPZFile, Recorder, VideoFile
from recordings import csv_numbers, npz, numbered, numbers, proved, stopped, worker_of
from support import wait_until

pytestmark = pytest.mark.usefixtures("shared_runtime")


class World:
    """A simulation that counts its steps: a number, a sensor, and a camera that give the count."""

    def __init__(self) -> None:
        self.i = -1

    def step(self) -> None:
        """One further."""
        self.i += 1

    def count(self) -> float:
        """The count."""
        return float(self.i)

    def render(self) -> tuple[Any, ...]:
        """The count as a picture, as a simulator's camera gives it."""
        return numbered(self.i), None, None, None

    def read(self) -> dict[str, float]:
        """The count as a sensor's reading."""
        return {"i": float(self.i)}


def run(rec: Recorder, world: World, steps: int) -> None:
    """So many steps."""
    for _ in range(steps):
        world.step()
        rec.step()


def start_all(rec: Recorder, world: World, **options: Any) -> None:
    """A recorder of each kind of file."""
    rec.start_recording(world.count, CSVFile("a.csv", **options))
    rec.start_recording(world, NPZFile("b.npz", **options))
    rec.start_recording(world.count, HDF5File("c.h5", **options))
    rec.start_recording(world.render, VideoFile("d.mp4", **options))


def contents(path: Path) -> list[int]:
    """The counts in a file."""
    if path.suffix == ".csv":
        return [int(row[1]) for row in csv_numbers(path)]
    if path.suffix == ".npz":
        return [int(i) for i in npz(path)["i"]]
    if path.suffix == ".mp4":
        return numbers(path)
    import h5py

    with h5py.File(path) as file:
        return [int(i) for i in file["data"][:]]


def all_contents(directory: Path) -> dict[str, list[int]]:
    """Of every file."""
    return {p.name: contents(p) for p in sorted(directory.iterdir()) if p.suffix != ".json"}


def test_every_kind_of_file_is_fed_at_its_rate(tmp_path: Path) -> None:
    """``hz`` of the option decides which steps are asked; the others go on at theirs."""
    world = World()
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        start_all(rec, world, hz=25)
        rec.start_recording(world.count, NPZFile("all.npz"), name="all")
        run(rec, world, 30)
    streams = proved(tmp_path)["streams"]
    assert len(npz(tmp_path / "all.npz")["data"]) == 30
    (tmp_path / "all.npz").unlink()
    assert {*map(tuple, all_contents(tmp_path).values())} == {tuple(range(0, 30, 4))}
    assert streams["d"]["files"][0]["video"]["fps"] == 25


def test_save_on_reset_numbers_the_parts_of_every_kind_of_file(tmp_path: Path) -> None:
    """``_0, _1, ...`` at each whole reset; a partial one is an event with its environments, time and step."""
    world = World()
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        start_all(rec, world, save_on_reset=True)
        run(rec, world, 5)
        rec.reset()
        run(rec, world, 3)
        rec.reset([2, 0])
        run(rec, world, 2)
        rec.reset(np.array([False, True, True]))
        rec.reset()
        rec.reset()  # without a sample in between there is no part
        run(rec, world, 4)
    manifest = proved(tmp_path)
    parts = {0: [*range(5)], 1: [*range(5, 10)], 2: [*range(10, 14)]}
    names = [("a", "csv"), ("b", "npz"), ("c", "h5"), ("d", "mp4")]
    assert all_contents(tmp_path) == {f"{n}_{k}.{s}": parts[k] for n, s in names for k in parts}
    told = [(m["label"], m["fields"]["envs_idx"], m["step"]) for m in manifest["marks"]]
    assert told == [
        ("recd.reset", None, 4), ("recd.reset", [2, 0], 7), ("recd.reset", [1, 2], 9),
        ("recd.reset", None, 9), ("recd.reset", None, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("overwrite", ["replace", "number"])
def test_recordings_are_begun_and_ended_in_mid_run_any_number_of_times(
    tmp_path: Path, overwrite: str
) -> None:
    """Under the same names, again and again: each has its steps, replaced by the next or beside it."""
    world = World()
    with Recorder(dir=tmp_path, dt=0.01, overwrite=overwrite) as rec:
        run(rec, world, 3)
        for _ in range(3):
            start_all(rec, world)
            run(rec, world, 4)
            rec.stop_recording()
            run(rec, world, 2)
        rec.start_recording(world.count, NPZFile("e.npz"))
        run(rec, world, 1)
    streams = proved(tmp_path)["streams"]
    begun = {"": 3, "_1": 9, "_2": 15} if overwrite == "number" else {"": 15}
    names = [("a", "csv"), ("b", "npz"), ("c", "h5"), ("d", "mp4")]
    expected = {f"{n}{k}.{s}": [*range(i, i + 4)] for n, s in names for k, i in begun.items()}
    (tmp_path / "e.npz").unlink()
    assert all_contents(tmp_path) == expected
    for name, suffix in names:
        told = [[f["path"] for f in streams[n]["files"]] for n in (name, f"{name}_2", f"{name}_3")]
        if overwrite == "number":
            assert told == [[f"{name}{k}.{suffix}"] for k in begun]
        else:
            assert told == [[], [], [f"{name}.{suffix}"]]
        assert [streams[n]["samples"] for n in (name, f"{name}_2", f"{name}_3")] == [4, 4, 4]


def test_a_pause_leaves_a_gap_in_time_and_no_loss(tmp_path: Path) -> None:
    """The steps of a pause of the recorder, or of one stream, are in no file, and their data_func is not called."""
    world = World()
    asked: list[int] = []

    def data() -> float:
        asked.append(world.i)
        return world.count()

    with Recorder(dir=tmp_path, dt=0.01) as rec:
        stream = rec.start_recording(data, NPZFile("a.npz"))
        rec.start_recording(world, NPZFile("b.npz"))
        run(rec, world, 3)
        rec.pause()
        run(rec, world, 2)
        rec.resume()
        run(rec, world, 2)
        stream.pause()
        run(rec, world, 2)
        stream.resume()
        run(rec, world, 1)
    manifest = proved(tmp_path)
    assert asked == npz(tmp_path / "a.npz")["data"].tolist() == [0, 1, 2, 5, 6, 9]
    np.testing.assert_allclose(npz(tmp_path / "a.npz")["timestamp"], np.array(asked) * 0.01)
    assert npz(tmp_path / "b.npz")["i"].tolist() == [0, 1, 2, 5, 6, 7, 8, 9]
    assert [m["label"] for m in manifest["marks"]] == ["recd.pause", "recd.resume"] * 2
    assert manifest["streams"]["a"]["gaps"] == []


def test_a_full_buffer_holds_a_step_up_for_as_long_as_it_may(tmp_path: Path) -> None:
    """``buffer_size`` samples fit; then ``buffer_full_wait_time`` passes, and the sample is lost, by that cause."""
    image = np.zeros(4096)  # a record of it takes a quarter of the ring
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        waits = rec.start_recording(
            lambda: image, NPZFile("a.npz", buffer_size=4, buffer_full_wait_time=0.05)
        )
        drops = rec.start_recording(lambda: image, NPZFile("b.npz", buffer_size=4, buffer_full_wait_time=0))
        rec.step()
        rec.flush()
        with stopped(worker_of(rec)):
            while not (waits.stats["lost"]["timeout"] and drops.stats["lost"]["full"]):
                rec.step()
        assert waits.stats["blocked_s"] >= 0.04
        assert drops.stats["blocked_s"] == 0
        rec.step()
        with pytest.warns(DataLossWarning):
            summary = rec.close()
    streams = proved(tmp_path)["streams"]
    assert streams["a"]["lost"] == {"timeout": summary["a"].lost["timeout"]}
    assert streams["b"]["lost"] == {"full": summary["b"].lost["full"]}


@pytest.mark.parametrize("kind", ["csv", "npz", "mp4"])
def test_a_sink_that_is_waited_for_has_the_sample_when_the_step_is_over(tmp_path: Path, kind: str) -> None:
    """``async_mode=False``: behind each step the file's runner has what was written."""
    world = World()
    options: dict[str, Callable[[], Any]] = {
        "csv": lambda: CSVFile("a.csv", async_mode=False),
        "npz": lambda: NPZFile("a.npz", async_mode=False),
        "mp4": lambda: VideoFile("a.mp4", async_mode=False),
    }
    source = world.render if kind == "mp4" else world.count
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        stream = rec.start_recording(source, options[kind]())
        for i in range(5):
            run(rec, world, 1)
            if kind == "csv":
                assert (tmp_path / "a.part.csv").read_text().count("\n") == i + 2
        assert stream.stats["written"] == 5
    proved(tmp_path)


def test_an_error_of_one_recorder_is_told_and_costs_no_other_a_sample(tmp_path: Path) -> None:
    """``on_error="warn"`` names it each time; the others and later steps are complete."""
    world = World()

    def flaky() -> float:
        if world.i == 2:
            raise ValueError("the sensor is unplugged")
        return world.count()

    with Recorder(dir=tmp_path, dt=0.01) as rec:
        rec.start_recording(flaky, NPZFile("flaky.npz"), on_error="warn")
        rec.start_recording(world, NPZFile("b.npz"))
        run(rec, world, 2)
        with pytest.warns(RuntimeWarning, match=r"'flaky'.*ValueError: the sensor is unplugged"):
            run(rec, world, 1)
        run(rec, world, 2)
    proved(tmp_path)
    assert npz(tmp_path / "flaky.npz")["data"].tolist() == [0, 1, 3, 4]
    assert npz(tmp_path / "b.npz")["i"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.requires("torch")
def test_a_camera_of_torch_is_filmed(tmp_path: Path) -> None:
    """A tensor (H, W, 3), and a batch of them, as a batched simulator's camera returns."""
    import torch

    world = World()
    with Recorder(dir=tmp_path, dt=0.01) as rec:
        rec.start_recording(lambda: (torch.from_numpy(numbered(world.i)), None), VideoFile("a.mp4"))
        rec.start_recording(
            lambda: torch.from_numpy(np.stack([numbered(world.i), numbered(world.i + 5)])),
            VideoFile("b.mp4", batch="separate"),
        )
        run(rec, world, 6)
    proved(tmp_path)
    assert numbers(tmp_path / "a.mp4") == numbers(tmp_path / "b_env0.mp4") == [*range(6)]
    assert numbers(tmp_path / "b_env1.mp4") == [*range(5, 11)]


def test_a_file_that_is_replaced_waits_for_the_one_before(tmp_path: Path) -> None:
    """Also when the worker dies while it finishes that; and verify knows which stream the file is of by now."""
    with Recorder(dir=tmp_path, dt=0.01, overwrite="replace") as rec:
        for i in range(3):
            rec.start_recording(lambda i=i: np.full(1000, float(i)), NPZFile("a.npz"), name="a")  # type: ignore[misc]
            for _ in range(20):
                rec.step()
            rec.stop_recording()
            if i == 1:
                kill(worker_of(rec))
        working = rec.directory / ".recd" / rec.session
        # the logs go last: verify, which is not told that it is live, must not see them go
        wait_until(lambda: len([*working.glob("*/result.json")]) == 3 and not [*working.glob("*/log")])
        found = SessionCheck(rec.directory, rec.session, live=False, told=False).run(lambda n: None)
        assert [f for f in found if f.level == DAMAGE] == []
    proved(tmp_path)
    assert npz(tmp_path / "a.npz")["data"].tolist() == np.full((20, 1000), 2.0).tolist()
