"""Animations of plots: a frame for each sample, whatever dies meanwhile, and nobody else suffers from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from drawn import bare, batch_of, rgb
from recd import plots
from recd.cli import main
from recd_client import (
    CSVFile,
    MPLImagePlot,
    MPLLinePlot,
    MPLVectorFieldPlot,
    NPZFile,
    OptionError,
    PyQtLinePlot,
    Recorder,
    SchemaError,
    VideoFile,
)
from recd_client.options import Plot
from recd_client.schema import Schema
from recordings import PATIENCE_S, csv_numbers, decoded, manifest_of, npz, proved, shown_at, worker_of
from support import processes_of, wait_until

pytestmark = [pytest.mark.requires("matplotlib"), pytest.mark.usefixtures("runtime")]
SIZE = {"window_size": (320, 240), "show_window": False}
COUNT = 60
TIMES = np.arange(COUNT) * 0.02


def film_guests(runtime: Path) -> list[int]:
    """Processes that draw films."""
    return [pid for pid, command in processes_of(runtime).items() if "recd.plots.film" in command]


def last_frame(options: Plot, schema: Schema, data: NDArray[Any]) -> NDArray[np.int64]:
    """What a film of these samples ends with, drawn here; every sample is drawn, as limits remember."""
    it: Any = plots.drawing_of(options, schema)
    if schema.is_image():
        it.expect(float(data.min()), float(data.max()))
    batch = batch_of(schema, TIMES[: len(data)], data=data)
    for i in range(len(batch)):
        it.take(batch[i : i + 1])
        it.draw()
    return rgb(it.pixels())


ANGLES = TIMES[:, None] * 5 + np.arange(3)
PLOTS: dict[str, tuple[Plot, NDArray[Any]]] = {
    "lines": (
        MPLLinePlot(title="Lines", save_to_filename="p.mp4", history_length=30, **SIZE),
        np.sin(ANGLES),
    ),
    "image": (
        MPLImagePlot(save_to_filename="p.mp4", **SIZE),
        (np.arange(COUNT)[:, None, None] + np.indices((24, 32)).sum(axis=0)).astype(np.float32),
    ),
    "vectors": (
        MPLVectorFieldPlot(positions=[[0, 0], [1, 0], [0, 1]], save_to_filename="p.mp4", **SIZE),
        np.stack([np.cos(ANGLES), np.sin(ANGLES), 0 * ANGLES], axis=-1),
    ),
}


@pytest.mark.parametrize(("options", "data"), PLOTS.values(), ids=PLOTS)
def test_a_film_has_a_frame_for_each_sample_and_ends_as_the_plot_drawn_directly(
    options: Plot, data: NDArray[Any], tmp_path: Path
) -> None:
    """The decoded last frame equals the drawing of all samples but for the codec; frames are shown in real time."""
    with Recorder(dir=tmp_path) as rec:
        stream = rec.stream("s", options, NPZFile("s.npz"), hz=50)
        for t, sample in zip(TIMES, data, strict=True):
            assert stream.write(sample, t=t)
        rec.close()
    proved(tmp_path)
    np.testing.assert_array_equal(npz(tmp_path / "s.npz")["data"], data)
    shown = decoded(tmp_path / "p.mp4")
    assert len(shown) == COUNT
    np.testing.assert_allclose(shown_at(tmp_path / "p.mp4"), np.arange(COUNT) / 50, atol=1e-6)
    schema = bare(data.shape[1:], data.dtype.str)
    error = np.abs(shown[-1].astype(np.int64) - last_frame(options, schema, data))
    assert error.mean() < 2.5
    assert np.abs(shown[-1].astype(np.int64) - shown[COUNT // 2]).mean() > 0.3  # it moves


@pytest.mark.requires("pyqtgraph", "PySide6")
def test_pyqtgraph_saves_without_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other line plot draws its film into memory too, wherever no display is."""
    monkeypatch.delenv("DISPLAY", raising=False)
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        stream = rec.stream("s", PyQtLinePlot(save_to_filename="q.mp4", window_size=(320, 240)))
        for i in range(20):
            stream.write({"a": float(i), "b": [1.0, 2.0]})
        rec.close()
    proved(tmp_path)
    shown = decoded(tmp_path / "q.mp4")
    assert len(shown) == 20
    assert shown[-1].std() > 5


def test_several_plots_stand_beside_other_files_on_one_stream(tmp_path: Path) -> None:
    """Two plots, a CSV and, of images, a video: all complete, each with every sample."""
    with Recorder(dir=tmp_path, dt=0.02) as rec:
        state = rec.stream(
            "state",
            CSVFile("s.csv"),
            MPLLinePlot(save_to_filename="a.mp4", labels={"q": ["x", "y"], "r": "reward"}, **SIZE),
            MPLLinePlot(save_to_filename="b.mp4", y_log_scale=["r"], **SIZE),
        )
        film = rec.stream("film", VideoFile("v.mp4"), MPLImagePlot(save_to_filename="i.mp4", **SIZE))
        for i in range(30):
            state.write({"q": [i, -i], "r": i * 1.0})
            film.write(np.full((32, 32, 3), 8 * i, np.uint8))
        rec.close()
    proved(tmp_path)
    assert len(csv_numbers(tmp_path / "s.csv")) == 30
    assert [len(decoded(tmp_path / f"{name}.mp4")) for name in "abvi"] == [30] * 4
    shown = decoded(tmp_path / "i.mp4")[:, 120, 160].mean(axis=1)
    np.testing.assert_allclose(shown, 8 * np.arange(30), atol=3)


def test_parts_and_what_was_discarded(tmp_path: Path) -> None:
    """A reset begins a new film, a discarded part is in none, and a stream can end with another frame rate."""
    plot = MPLLinePlot(save_to_filename="p.mp4", save_on_reset=True, **SIZE)
    with Recorder(dir=tmp_path, dt=0.1) as rec:
        stream = rec.stream("s", plot)
        for count, end in ((5, rec.reset), (7, rec.discard), (4, rec.reset), (3, lambda: None)):
            for i in range(count):
                stream.write(float(i))
            end()
        stream.close(filename="q.mp4", fps=4)
        rec.close()
    files = [f["samples"] for f in proved(tmp_path)["streams"]["s"]["files"]]
    assert files == [5, 4, 3]
    films = sorted(tmp_path.glob("*_*.mp4"))
    assert [len(decoded(f)) for f in films] == [5, 4, 3]
    assert shown_at(tmp_path / "q_2.mp4") == [0.0, 0.25, 0.5]
    checked = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert checked.exit_code == 0, checked.output


@pytest.fixture
def closing() -> Iterator[Any]:
    """Closes a recorder beside the test, which disturbs it meanwhile."""
    threads = []

    def close(rec: Recorder) -> threading.Thread:
        thread = threading.Thread(target=rec.close)
        thread.start()
        threads.append(thread)
        return thread

    yield close
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def record(rec: Recorder, count: int) -> None:
    """A stream with a plot and a CSV."""
    stream = rec.stream("s", CSVFile("s.csv"), MPLLinePlot(save_to_filename="p.mp4", **SIZE))
    for i in range(count):
        stream.write(float(i % 7), t=i * 0.01)


def test_a_worker_killed_while_a_film_is_drawn_costs_no_frame(
    runtime: Path, tmp_path: Path, closing: Any
) -> None:
    """Its successor draws the film again: every sample is there, once."""
    rec = Recorder(dir=tmp_path)
    record(rec, 400)
    worker = worker_of(rec)
    thread = closing(rec)
    (guest,) = wait_until(lambda: film_guests(runtime), timeout_s=PATIENCE_S)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: guest not in processes_of(runtime))  # it dies with its worker
    thread.join(PATIENCE_S)
    proved(tmp_path)
    assert len(decoded(tmp_path / "p.mp4")) == 400
    assert len(csv_numbers(tmp_path / "s.csv")) == 400


#: A simulation of its own: `recd recover` leaves alone what is still going on.
SIMULATION = """
import sys
from recd_client import CSVFile, MPLLinePlot, Recorder
plot = MPLLinePlot(save_to_filename="p.mp4", window_size=(320, 240), show_window=False)
with Recorder(dir=sys.argv[1]) as rec:
    stream = rec.stream("s", CSVFile("s.csv"), plot)
    for i in range(400):
        stream.write(float(i % 7), t=i * 0.01)
"""


def test_a_killed_renderer_fails_its_plot_alone_and_recover_draws_it(runtime: Path, tmp_path: Path) -> None:
    """The CSV is complete, the manifest says what happened, the samples are kept, and `recd recover` makes the film."""
    simulation = subprocess.Popen([sys.executable, "-c", SIMULATION, str(tmp_path)])
    (guest,) = wait_until(lambda: film_guests(runtime), timeout_s=PATIENCE_S)
    os.kill(guest, signal.SIGKILL)
    assert simulation.wait(PATIENCE_S) == 0
    told = manifest_of(tmp_path)["streams"]["s"]
    assert told["state"] == "failed"
    assert "killed by SIGKILL" in told["reason"]
    assert len(csv_numbers(tmp_path / "s.csv")) == 400
    assert not (tmp_path / "p.mp4").exists()
    command = [sys.executable, "-m", "recd", "recover", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    assert len(decoded(tmp_path / "p.mp4")) == 400


def test_a_plot_that_does_not_fit_is_refused_and_costs_the_others_nothing(tmp_path: Path) -> None:
    """Labels, shapes: an error at the first sample, which says what to change; other streams go on."""
    with Recorder(dir=tmp_path) as rec:
        state = rec.stream("state", CSVFile("s.csv"))
        state.write([1.0, 2.0], t=0)
        labels = rec.stream("labels", MPLLinePlot(labels=["one"], save_to_filename="a.mp4", **SIZE))
        with pytest.raises(OptionError, match=r"1 labels for 2 values"):
            labels.write([1.0, 2.0], t=0)
        images = rec.stream("images", MPLImagePlot(save_to_filename="b.mp4", **SIZE))
        with pytest.raises(SchemaError, match=r"expected one image \(H, W\)"):
            images.write([1.0, 2.0], t=0)
        vectors = MPLVectorFieldPlot(positions=[[0, 0]], save_to_filename="c.mp4", **SIZE)
        with pytest.raises(SchemaError, match="1 positions need vectors"):
            rec.stream("vectors", vectors, like=np.zeros((2, 3)))
        state.write([3.0, 4.0], t=1)
        rec.close()
    assert len(csv_numbers(tmp_path / "s.csv")) == 2
    assert not list(tmp_path.glob("*.mp4"))
