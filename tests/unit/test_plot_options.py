from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd_client import MPLImagePlot, MPLLinePlot, MPLVectorFieldPlot, OptionError, PyQtLinePlot
from recd_client.options import DEFAULT_WAIT_S, Plot, SinkOptions, VideoFile
from recd_client.settings import checked_sinks, renamed, with_frame_rate

PLOTS: list[Plot] = [
    MPLLinePlot(title="a", labels=("x", "y"), y_log_scale=True, save_to_filename="a.mp4", fps="30000/1001"),
    PyQtLinePlot(labels={"q": ["x"], "r": "y"}, y_log_scale=["q"], history_length=5, window_size=(320, 200)),
    MPLImagePlot(value_range=(0, 2.5), save_on_reset=True, split="1h", save_to_filename="i.mov"),
    MPLVectorFieldPlot(positions=np.zeros((2, 2)), subplot_titles=["a", "b"], normal=(1, 0, 0)),
]
each = pytest.mark.parametrize("plot", PLOTS, ids=lambda p: p.kind)


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@each
def test_options_travel_as_json_and_come_back_equal(plot: Plot) -> None:
    """What the daemon makes of the JSON is what was declared, and describes itself by the same JSON."""
    wire = plot.to_json()
    assert json.loads(json.dumps(wire)) == wire
    assert SinkOptions.from_json(wire) == plot


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (MPLLinePlot, {"window_size": (800,)}, ["window_size", "(width, height)"]),
        (MPLLinePlot, {"window_size": (800, 10)}, ["window_size", "160"]),
        (MPLLinePlot, {"history_length": 0}, ["history_length", "from 1"]),
        (MPLLinePlot, {"labels": 3}, ["labels", "strings"]),
        (MPLLinePlot, {"labels": {"q": [1]}}, ["labels['q']", "string"]),
        (MPLLinePlot, {"y_log_scale": 1}, ["y_log_scale"]),
        (MPLLinePlot, {"save_to_filename": "a.avi"}, [".avi", ".mp4"]),
        (MPLLinePlot, {"show_window": 1}, ["show_window", "True or False"]),
        (MPLLinePlot, {"fps": 0}, ["fps"]),
        (MPLLinePlot, {"title": "a\nb"}, ["title"]),
        (PyQtLinePlot, {"display": {"PATH": "x"}}, ["display", "DISPLAY"]),
        (MPLImagePlot, {"value_range": (1, 1)}, ["value_range", "low < high"]),
        (MPLVectorFieldPlot, {}, ["positions", "(N, 3)"]),
        (MPLVectorFieldPlot, {"positions": [[1, 2, 3, 4]]}, ["positions", "(1, 4)"]),
        (MPLVectorFieldPlot, {"positions": [[np.nan, 2]]}, ["positions", "NaN"]),
        (MPLVectorFieldPlot, {"positions": [[0, 0]], "normal": (0, 0, 0)}, ["normal"]),
        (MPLVectorFieldPlot, {"positions": [[0, 0]], "max_magnitude": 0}, ["max_magnitude", "> 0"]),
        (MPLVectorFieldPlot, {"positions": [[0, 0]], "scale_factor": -1}, ["scale_factor", "> 0"]),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_when_the_option_is_made(
    make: type[Plot], options: dict[str, Any], names: list[str]
) -> None:
    """The error names the option and what is allowed, and ends with what to do."""
    with pytest.raises(OptionError) as caught:
        make(**options)
    assert all(name in caught.value.what for name in names), caught.value.what
    assert caught.value.do


def test_a_window_that_is_asked_for_without_a_display_is_refused() -> None:
    """show_window=True raises and says which variables are not set; without asking no window is shown."""
    with pytest.raises(OptionError, match="DISPLAY and WAYLAND_DISPLAY are not set"):
        MPLLinePlot(show_window=True)
    assert MPLLinePlot(save_to_filename="a.mp4").show_window is False


def test_a_window_is_shown_where_a_display_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation's display travels with the options, whatever the daemon's is; False keeps it at home."""
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("XAUTHORITY", "/x")
    plot = MPLLinePlot()
    wire = plot.to_json()
    monkeypatch.delenv("DISPLAY")
    there = SinkOptions.from_json(wire)
    assert isinstance(there, Plot)
    assert there.show_window
    assert there.display is not None
    assert there.display["DISPLAY"] == ":7"
    assert there.display["XAUTHORITY"] == "/x"
    assert MPLLinePlot(show_window=False).display == {}


def test_a_plot_that_shows_nothing_warns_once() -> None:
    """Neither a window nor a file: one warning, when the stream is declared."""
    with pytest.warns(UserWarning, match="shows nothing") as caught:
        checked_sinks([MPLLinePlot()])
    assert len(caught) == 1
    checked_sinks([MPLLinePlot(save_to_filename="a.mp4")])


def test_a_plot_without_a_file_has_no_suffix() -> None:
    """So nobody takes a name for it, or waits for a file."""
    assert MPLLinePlot().suffixes == ()
    assert MPLLinePlot(save_to_filename="a.mp4").filename == "a.mp4"


def test_a_plot_can_be_renamed_and_has_the_stream_s_rate() -> None:
    """`Stream.close(filename=)` finds its file; the frame rate is that of a video of the stream."""
    plot = MPLLinePlot(save_to_filename="a.mp4")
    assert renamed("s", [plot], "b.mp4").filename == "b.mp4"
    assert with_frame_rate([plot, VideoFile("v.mp4")], None, 0.01)[0].fps == 100  # type: ignore[attr-defined]
    assert PLOTS[0].frame_rate == Fraction(30000, 1001)
    assert plot.buffer_full_wait_time == DEFAULT_WAIT_S
    assert plot.path == Path("a.mp4")
