from __future__ import annotations

from typing import Any

import pytest

from drawn import bare
from recd import plots
from recd.plots.series import subplots_of
from recd_client import MPLImagePlot, MPLLinePlot, MPLVectorFieldPlot, OptionError, SchemaError
from recd_client.errors import MissingLibraryError, RecdError
from recd_client.options import Plot
from recd_client.schema import RAGGED, STRING, Field, Schema

STATE = Schema((Field("q", "<f8", (3,), unit="rad"), Field("r", "<f4")))


def test_a_dict_has_a_subplot_per_key() -> None:
    """Titles are the keys, labels as in a CSV, units on the axes."""
    q, r = subplots_of(MPLLinePlot(), STATE)
    assert (q.title, q.labels, q.y_label, q.log) == ("q", ("q_0", "q_1", "q_2"), "[rad]", False)
    assert (r.title, r.labels, r.y_label) == ("r", ("r",), "")


def test_labels_and_logarithmic_axes_are_given_by_key() -> None:
    """A dict of labels names the lines; keys of y_log_scale choose the axes."""
    options = MPLLinePlot(labels={"r": "reward", "q": ("a", "b", "c")}, y_log_scale=["r"], y_label="y")
    q, r = subplots_of(options, STATE)
    assert (q.labels, q.log, q.y_label) == (("a", "b", "c"), False, "y [rad]")
    assert (r.labels, r.log, r.named) == (("reward",), True, True)


def test_a_bare_number_needs_no_label() -> None:
    """Its plot has no title and no name of the user's."""
    (only,) = subplots_of(MPLLinePlot(), bare())
    assert (only.title, only.named) == ("", False)


@pytest.mark.parametrize(
    ("options", "schema", "names"),
    [
        ({"labels": ["a"]}, STATE, ["dicts", "'q', 'r'"]),
        ({"labels": {"q": ["a", "b", "c"]}}, STATE, ["'q'", "'r'"]),
        ({"labels": {"q": ["a"], "r": ["b"]}}, STATE, ["1 labels of 'q'", "3 values"]),
        ({"labels": ["a", "b"]}, bare((3,)), ["2 labels", "3 values"]),
        ({"labels": {"data": ["a"]}}, bare(), ["no dicts"]),
        ({"y_log_scale": ["x"]}, STATE, ["y_log_scale", "'x'", "'q', 'r'"]),
    ],
)
def test_labels_that_do_not_match_the_data_are_refused(
    options: dict[str, Any], schema: Schema, names: list[str]
) -> None:
    """The error says what was given, what the samples have, and what to do."""
    with pytest.raises(OptionError) as caught:
        subplots_of(MPLLinePlot(**options), schema)
    assert all(name in caught.value.what for name in names), caught.value.what
    assert caught.value.do


VECTORS = MPLVectorFieldPlot(positions=[[0, 0, 0], [1, 0, 0]])
PANES = MPLVectorFieldPlot(positions=[[0, 0, 0], [1, 0, 0]], subplot_titles=["a", "b", "c"])


@pytest.mark.parametrize(
    ("options", "schema", "names"),
    [
        (MPLLinePlot(), Schema((Field("s", "|u1", (), STRING),)), ["'s'", "string"]),
        (MPLLinePlot(), Schema((Field("c", "<f8", (3,), RAGGED),)), ["'c'", "(n, 3)"]),
        (MPLLinePlot(), bare((480, 640)), ["307200 lines"]),
        (MPLLinePlot(), bare((0,)), ["0 lines"]),
        (MPLLinePlot(), Schema(tuple(Field(f"f{i}", "<f8") for i in range(50))), ["50 fields"]),
        (MPLImagePlot(), bare((7,)), ["(H, W)", "(7,)"]),
        (MPLImagePlot(), bare((4, 4, 2)), ["(H, W, 3)", "(4, 4, 2)"]),
        (MPLImagePlot(), STATE, ["dict with 2 fields"]),
        (VECTORS, bare((3, 3)), ["2 positions", "(2, 3)", "(3, 3)"]),
        (VECTORS, bare((2, 4)), ["(2, 2)", "(2, 4)"]),
        (PANES, bare((2, 3)), ["3 subplot_titles", "(3, 2, 3)"]),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(options: Plot, schema: Schema, names: list[str]) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(SchemaError) as caught:
        plots.check(options, schema)
    assert all(name in caught.value.what for name in names), caught.value.what
    assert caught.value.do


@pytest.mark.parametrize("shape", [(2, 3), (2, 2)])
def test_vectors_in_the_plane_and_in_space_are_taken(shape: tuple[int, ...]) -> None:
    """One vector per position, with two or three coordinates."""
    plots.check(VECTORS, bare(shape))
    plots.check(PANES, bare((3, *shape)))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing draws, the error says what to install, and where."""
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError) as caught:
        plots.check_libraries(MPLLinePlot())
    assert isinstance(caught.value, RecdError)
    assert "matplotlib" in caught.value.what
    assert 'pip install "recd[plots]"' in caught.value.do
