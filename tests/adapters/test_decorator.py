"""``@record``: what a function returns is recorded, and nothing else about it changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import CSVFile, NPZFile, OptionError, Recorder, SchemaError, record
from recordings import npz, proved, read_csv

pytestmark = pytest.mark.usefixtures("shared_runtime")


def test_what_a_function_returns_is_recorded_and_returned(tmp_path: Path) -> None:
    """In order, under the function's name; its name and docstring stay, and what it raises is raised."""

    @record(NPZFile("energy.npz"), dir=tmp_path, dt=0.5)
    def energy(x: float) -> float:
        """Of a spring."""
        return x * x / (x + 1)

    assert [energy(x) for x in (0.0, 1.0)] == [0.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        energy(-1.0)
    assert (energy.__name__, energy.__doc__) == ("energy", "Of a spring.")
    summary = energy.recording.close()
    assert summary.complete
    assert npz(tmp_path / "energy.npz")["data"].tolist() == [0.0, 0.5]
    assert npz(tmp_path / "energy.npz")["timestamp"].tolist() == [0.0, 0.5]
    proved(tmp_path)


def test_arguments_are_recorded_as_they_were_at_the_call(tmp_path: Path) -> None:
    """Chosen ones stand beside the result, also defaults, and arrays that the function changes in place."""
    with Recorder("loop", dir=tmp_path) as rec:

        @record(CSVFile("step.csv"), recorder=rec, args=("x", "gain"), t="time")
        def step(x: Any, time: float, gain: float = 2.0) -> dict[str, float]:
            x *= gain
            return {"sum": float(x.sum())}

        state = np.ones(2)
        for i in range(3):
            step(state, i / 4)
        step.recording.close()
    header, rows = read_csv(tmp_path / "step.csv")
    assert header == ["timestamp", "x_0", "x_1", "gain", "sum"]
    assert [[float(c) for c in row] for row in rows] == [
        [0.0, 1.0, 1.0, 2.0, 4.0], [0.25, 2.0, 2.0, 2.0, 8.0], [0.5, 4.0, 4.0, 2.0, 16.0],
    ]  # fmt: skip


@pytest.mark.requires("torch")
def test_tensors_and_lists_of_arrays_are_recorded_as_they_were_at_the_call(tmp_path: Path) -> None:
    """A function that changes them in place changes no row."""
    import torch

    @record(NPZFile("kept.npz"), dir=tmp_path, args=("tensor", "pair"))
    def change(tensor: Any, pair: list[Any]) -> None:
        tensor += 1
        pair[0] += 1

    change(torch.zeros(2), [np.zeros(2), np.zeros(2)])
    change.recording.close()
    arrays = npz(tmp_path / "kept.npz")
    assert arrays["tensor"].tolist() == [[0, 0]]
    assert arrays["pair"].tolist() == [[[0, 0], [0, 0]]]
    proved(tmp_path)


def test_each_value_that_a_generator_yields_is_recorded(tmp_path: Path) -> None:
    """What is sent and thrown into it, and what it returns, go their way as before."""

    @record(NPZFile("walk.npz"), dir=tmp_path, t="t")
    def walk(start: float) -> Any:
        x, t = start, 0.0
        try:
            while True:
                try:
                    x += (yield {"x": x, "t": t}) or 0.0
                except KeyError:
                    return "stopped"
                t += 1.0
        finally:
            ends.append(x)

    ends: list[float] = []
    walker = walk(1.0)
    seen = [next(walker)["x"], walker.send(2.0)["x"], next(walker)["x"]]
    with pytest.raises(StopIteration, match="stopped"):
        walker.throw(KeyError())
    other = walk(9.0)
    next(other)
    other.close()
    walk.recording.close()
    assert seen == [1.0, 3.0, 3.0]
    assert ends == [3.0, 9.0]
    assert npz(tmp_path / "walk.npz")["x"].tolist() == [1.0, 3.0, 3.0, 9.0]


SCRIPT = """
from recd_client import record
@record
def tick(i):
    return {"i": i, "half": i / 2}
for i in range(4):
    tick(i)
print(tick.recording.recorder.directory)
"""


def test_without_parentheses_and_without_an_end_the_file_is_there(tmp_path: Path) -> None:
    """A bare @record opens a recorder at the first call, and the end of the program closes it."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    directory = Path(ran.stdout.strip())
    assert directory.parent == tmp_path / "recordings" / "tick"
    assert npz(directory / "tick.npz")["half"].tolist() == [0.0, 0.5, 1.0, 1.5]


def test_a_method_is_recorded_too(tmp_path: Path) -> None:
    """One stream for all objects of the class; None adds nothing beside arguments."""
    with Recorder("methods", dir=tmp_path) as rec:

        class Arm:
            @record(recorder=rec, args=("angle",))
            def move(self, angle: float) -> None:
                self.angle = angle

        Arm().move(1.0)
        Arm().move(angle=2.0)
    assert npz(tmp_path / "move.npz")["angle"].tolist() == [1.0, 2.0]


def test_bad_input_is_told_at_the_earliest_moment(tmp_path: Path) -> None:
    """Options when the function is decorated, values at the call."""

    def plain(a: int) -> None:
        return None

    def pair(a: int) -> dict[str, int]:
        return {"a": a}

    async def later() -> None: ...

    def endless() -> Iterator[int]:
        yield 1

    with pytest.raises(OptionError, match="has no argument 'b'"):
        record(args=("b",))(plain)
    with pytest.raises(OptionError, match="args='a'"):
        record(args="a")
    with pytest.raises(OptionError, match="is asynchronous"):
        record()(later)
    with pytest.raises(OptionError, match="expected CSVFile"):
        record("state.npz")
    with Recorder("bad", dir=tmp_path) as rec:
        with pytest.raises(OptionError, match="recorder of its own"):
            record(recorder=rec, dt=0.1)
        with pytest.raises(SchemaError, match="plain returned None"):
            record(recorder=rec)(plain)(1)
        with pytest.raises(SchemaError, match="a is an argument to record and a field"):
            record(recorder=rec, args=("a",))(pair)(1)
        with pytest.raises(SchemaError, match="t='when' is neither"):
            record(recorder=rec, t="when")(pair)(1)
        assert next(record(recorder=rec)(endless)()) == 1
