from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drawn import bare, batch_of, has_colour, rgb
from recd import plots
from recd.batch import Batch
from recd.plots.drawing import COLOURS, Drawing
from recd_client.options import (
    LinePlot,
    MPLImagePlot,
    MPLLinePlot,
    MPLVectorFieldPlot,
    Plot,
    PyQtLinePlot,
)
from recd_client.schema import Field, Schema

pytestmark = pytest.mark.requires("matplotlib")
RNG = np.random.default_rng(3)
STATE = Schema((Field("q", "<f8", (4,), unit="rad"), Field("r", "<f8")))
ARROWS = MPLVectorFieldPlot(positions=[[0, 0], [1, 0], [0, 1], [1, 1]], scale_factor=0.3)


def drawing(options: Plot, schema: Schema) -> Drawing:
    """A drawing in memory."""
    made: Drawing = plots.drawing_of(options, schema)
    return made


def drawn(options: Plot, batch: Batch) -> NDArray[np.uint8]:
    """A frame of these samples, the last one the newest."""
    it = drawing(options, batch.schema)
    it.take(batch)
    it.draw()
    return it.pixels()


def state(count: int) -> Batch:
    """Samples that wander."""
    i = np.arange(count)
    return batch_of(
        STATE, i * 0.01, q=np.sin(i[:, None] / 9 + np.arange(4)), r=np.cumsum(RNG.normal(size=count))
    )


def everything_at_once(it: Any) -> NDArray[np.int64]:
    """The figure as matplotlib draws it as a whole, nothing taken from a frame before."""
    for artist in (*it.stage.scenery, *it.stage.moving):
        artist.set_animated(False)
    it.stage.canvas.draw()
    return rgb(it.stage.pixels())


@pytest.mark.parametrize("log", [False, True], ids=["linear", "logarithmic"])
def test_a_frame_over_an_older_background_equals_one_drawn_from_the_ground_up(log: bool) -> None:
    """After 150 frames, most of them over a copy of the background, each pixel is as if all had been drawn now."""
    it = drawing(MPLLinePlot(history_length=40, title="x", y_log_scale=log), STATE)
    batch = state(150)
    for i in range(len(batch)):
        it.take(batch[i : i + 1])
        it.draw()
    frame = rgb(it.pixels())
    np.testing.assert_array_equal(frame, everything_at_once(it))


def test_a_field_over_an_older_background_equals_one_drawn_from_the_ground_up() -> None:
    """The same for arrows that turn."""
    schema = bare((4, 3))
    it = drawing(ARROWS, schema)
    for i in range(5):
        it.take(batch_of(schema, [i], i, data=RNG.normal(size=(1, 4, 3))))
        it.draw()
    frame = rgb(it.pixels())
    np.testing.assert_array_equal(frame, everything_at_once(it))


def test_the_lines_have_the_newest_samples() -> None:
    """Each line holds the last `history_length` values of its column, at their times."""
    it: Any = drawing(MPLLinePlot(history_length=30), STATE)
    batch = state(100)
    it.take(batch)
    it.draw()
    for i, line in enumerate(it.lines[0]):
        np.testing.assert_array_equal(line.get_xdata(), batch.t[-30:])
        np.testing.assert_array_equal(line.get_ydata(), batch.fixed("q")[-30:, i])
    assert [line.get_color() for line in it.lines[0]] == list(COLOURS[:4])


def test_a_value_is_drawn_where_its_axes_say() -> None:
    """A constant line colours the row of pixels that belongs to its value, from the first sample to the last."""
    it: Any = drawing(MPLLinePlot(), bare())
    it.take(batch_of(bare(), np.arange(50.0), data=np.full(50, 7.0)))
    it.draw()
    frame = rgb(it.pixels())
    x, y = it.axes[0].transData.transform([(0, 7.0), (49, 7.0)]).T
    row = frame.shape[0] - 1 - int(y[0])
    blue = np.abs(frame - (0x00, 0x72, 0xB2)).max(axis=-1) < 90
    rows = np.flatnonzero(blue[:, int(x[0]) + 5 : int(x[1]) - 5].all(axis=1))
    assert len(rows)
    assert np.abs(rows - row).max() <= 1


def test_a_gap_stays_empty() -> None:
    """Between two samples around a NaN, and around a lost one, no pixel has the line's colour."""
    it: Any = drawing(MPLLinePlot(), bare())
    values = np.ones(40)
    values[10:20] = np.nan
    it.take(batch_of(bare(), np.arange(30.0), data=values[:30]))
    it.take(batch_of(bare(), np.arange(35.0, 45.0), 35, data=values[:10]))
    it.draw()
    frame = rgb(it.pixels())
    blue = np.abs(frame - (0x00, 0x72, 0xB2)).max(axis=-1) < 90
    for first, last, there in (
        (0, 9, True),
        (10, 19, False),
        (20, 29, True),
        (30, 34, False),
        (35, 44, True),
    ):
        begin, end = it.axes[0].transData.transform([(first, 1), (last, 1)])[:, 0]
        assert blue[:, int(begin) + 3 : int(end) - 3].any() == there, (first, last)


def test_a_number_between_two_gaps_is_a_dot() -> None:
    """A line of one point would be invisible."""
    assert has_colour(drawn(MPLLinePlot(), batch_of(bare(), [0, 1, 2], data=[np.nan, 3, np.nan])), COLOURS[0])


AWKWARD: dict[str, tuple[dict[str, Any], Any]] = {
    "no sample": ({}, []),
    "one sample": ({}, [1.0]),
    "constant": ({}, [5.0] * 20),
    "zero": ({}, [0.0] * 20),
    "tiny": ({}, np.linspace(1e-12, 3e-12, 20)),
    "huge": ({}, np.linspace(-1e250, 1e250, 20)),
    "infinite": ({}, [1.0, np.inf, 2.0, -np.inf, 1e308]),
    "nothing but NaN": ({}, [np.nan] * 5),
    "logarithmic with zeros": ({"y_log_scale": True}, [0.0, 1.0, -1.0, 10.0, 1e-300]),
    "logarithmic without any": ({"y_log_scale": True}, [0.0, -1.0, np.nan]),
    "logarithmic, narrow": ({"y_log_scale": True}, np.linspace(3, 4, 20)),
    "large offset": ({}, 1e9 + np.linspace(0, 1, 20)),
    "dollars": (
        {"title": "$5", "labels": ["cost $x_{y $"], "y_label": r"$\theta$", "x_label": "100 %"},
        [1, 2],
    ),
    "small": ({"window_size": (160, 160), "title": "a title that is far too long for it"}, [1, 2, 3]),
    "wide": ({"window_size": (1601, 201), "labels": ["a" * 200]}, [1, 2, 3]),
}
both = pytest.mark.parametrize(
    "make",
    [MPLLinePlot, pytest.param(PyQtLinePlot, marks=pytest.mark.requires("pyqtgraph", "PySide6"))],
)


@both
@pytest.mark.parametrize(("options", "values"), AWKWARD.values(), ids=AWKWARD)
def test_whatever_the_numbers_a_frame_of_the_window_s_size_is_drawn(
    make: type[LinePlot], options: dict[str, Any], values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constant, tiny, huge, missing, not above zero: no error, no warning, and some ink."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    plot = make(**options)
    frame = drawn(plot, batch_of(bare(), np.arange(len(values)) * 0.1, data=values))
    assert frame.shape == (plot.window_size[1], plot.window_size[0], 4)
    assert (frame[..., 3] == 255).all()
    assert len(np.unique(rgb(frame).reshape(-1, 3), axis=0)) > 2


@both
def test_the_legend_covers_no_data(make: type[LinePlot], monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve lines that fill the axes: where the data is, a plot with a legend equals one without a name in it."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    schema = bare((12,))
    batch = batch_of(schema, np.arange(100.0), data=RNG.normal(size=(100, 12)))
    it: Any = drawing(make(labels=[f"joint {i}" for i in range(12)]), schema)
    it.take(batch)
    it.draw()
    it.pixels()
    if make is MPLLinePlot:
        legend, axes = it.axes[0].get_legend().get_window_extent(), it.axes[0].get_window_extent()
        assert legend.x0 >= axes.x1
        assert legend.x1 <= it.stage.canvas.get_width_height()[0]
        assert len(it.axes[0].get_legend().get_texts()) == 12
    else:
        box = it.plots[0].vb.sceneBoundingRect()
        assert all(
            not box.intersects(b.sceneBoundingRect()) for b in it.widget.ci.items if b is not it.plots[0]
        )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 24])
def test_no_label_is_cut_off(count: int) -> None:
    """With any number of subplots all texts lie within the window."""
    schema = Schema(tuple(Field(f"field {i}", "<f8", (3,), unit="rad/s") for i in range(count)))
    it: Any = drawing(MPLLinePlot(title="All of it", y_label="value", labels=None), schema)
    values = {f.name: 1e-7 * RNG.normal(size=(9, 3)) for f in schema.fields}
    it.take(batch_of(schema, np.arange(9.0), **values))
    it.draw()
    width, height = it.stage.size
    everything_at_once(it)
    box = it.stage.figure.get_tightbbox()
    left, bottom, right, top = (100 * x for x in box.extents)
    assert min(left, bottom) >= 0
    assert right <= width
    assert top <= height


# --- images ---------------------------------------------------------------------------------------


def image(options: MPLImagePlot, picture: Any) -> tuple[Any, NDArray[np.int64]]:
    """The drawing of one image, and the pixels of its place."""
    picture = np.asarray(picture)
    schema = bare(picture.shape, picture.dtype.str)
    it: Any = drawing(options, schema)
    it.take(batch_of(schema, [0], data=picture[None]))
    it.draw()
    left, top, width, height = it._box
    return it, rgb(it.pixels())[top : top + height, left : left + width]


def test_a_photograph_has_its_colours_where_they_were() -> None:
    """A quadrant of each colour; alpha is over white, floats are from 0 to 1."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30], picture[20:, 30:] = (200, 30, 30), (30, 30, 220)
    _, shown = image(MPLImagePlot(), picture)
    height, width, _ = shown.shape
    assert abs(width / height - 1.5) < 0.01
    assert shown[height // 4, width // 4].tolist() == [200, 30, 30]
    assert shown[3 * height // 4, 3 * width // 4].tolist() == [30, 30, 220]
    assert shown[height // 4, 3 * width // 4].tolist() == [0, 0, 0]
    _, shown = image(MPLImagePlot(), np.dstack([picture, np.full((40, 60), 0, np.uint8)]))
    assert (shown == 255).all()
    _, shown = image(MPLImagePlot(), np.full((8, 8, 3), 0.5, np.float32))
    assert (np.abs(shown - 127.5) < 1).all()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1)])
def test_uint8_without_colours_is_gray(shape: tuple[int, ...]) -> None:
    """Each pixel has its own gray, between black and white, whatever is in the image."""
    _, shown = image(MPLImagePlot(), np.full(shape, 77, np.uint8))
    assert (shown == 77).all()


def test_a_larger_image_is_averaged() -> None:
    """A fine checkerboard becomes gray instead of a pattern."""
    board = (np.indices((2400, 3200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    _, shown = image(MPLImagePlot(), board)
    assert (np.abs(shown - 127) < 45).mean() > 0.95


def test_other_numbers_have_a_colour_scale_with_its_unit() -> None:
    """Ends of the range have the ends of the scale, NaN is gray, the bar beside it goes from least to greatest."""
    picture = np.linspace(-2, 6, 400, dtype=np.float32).reshape(20, 20)
    picture[10, 10] = np.nan
    it, shown = image(MPLImagePlot(), picture)
    height, width, _ = shown.shape
    assert shown[2, 2].tolist() == it._table[0].tolist()
    assert shown[-2, -2].tolist() == it._table[255].tolist()
    assert shown[int(10.5 / 20 * height), int(10.5 / 20 * width)].tolist() == it._table[256].tolist()
    assert it._mappable.get_clim() == (-2, 6)


def test_the_colour_scale_only_grows() -> None:
    """A dimmer image leaves it alone, a brighter one widens it; a given or expected range never changes."""
    schema = bare((4, 4), "<u2")

    def limits(
        options: MPLImagePlot, expected: tuple[float, float] | None = None
    ) -> list[tuple[float, float]]:
        it: Any = drawing(options, schema)
        if expected:
            it.expect(*expected)
        seen = []
        for i, top in enumerate((100, 50, 300)):
            it.take(batch_of(schema, [i], i, data=np.linspace(1, top, 16).astype("<u2")))
            it.draw()
            seen.append(it._mappable.get_clim())
        return seen

    assert limits(MPLImagePlot()) == [(1, 100), (1, 100), (1, 300)]
    assert limits(MPLImagePlot(value_range=(0, 9))) == [(0, 9)] * 3
    assert limits(MPLImagePlot(), (0, 1000)) == [(0, 1000)] * 3


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e300, -5e-300], ids=str)
def test_an_image_of_one_value_is_drawn(value: float) -> None:
    """Nothing to scale by: still a frame, and no warning."""
    image(MPLImagePlot(title="t"), np.full((5, 7), value))


# --- vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal", "vector", "seen"),
    [
        ((0, 0, 1), (1, 0, 0), (1, 0)),
        ((0, 0, 1), (0, 1, 0), (0, 1)),
        ((0, 0, 5), (0, 0, 1), (0, 0)),
        ((1, 0, 0), (1, 0, 0), (0, 0)),
        ((0, 1, 0), (0, 1, 0), (0, 0)),
    ],
)
def test_vectors_are_seen_along_the_normal(normal: Any, vector: Any, seen: Any) -> None:
    """For z, x points right and y up; what points along the normal is not seen, but keeps its colour."""
    options = MPLVectorFieldPlot(positions=np.eye(3), normal=normal, scale_factor=2, max_magnitude=4)
    it: Any = drawing(options, bare((3, 3)))
    it.take(batch_of(bare((3, 3)), [0], data=[[vector] * 3]))
    it.draw()
    (arrows,) = it.arrows
    np.testing.assert_allclose(arrows.U, 2 * seen[0], atol=1e-12)
    np.testing.assert_allclose(arrows.V, 2 * seen[1], atol=1e-12)
    np.testing.assert_allclose(arrows.get_array(), 1)
    assert arrows.get_clim() == (0, 4)


def test_the_basis_is_right_handed_and_flat() -> None:
    """Any normal, long, short or oblique: two unit vectors across it, right × up = the normal."""
    from recd.plots.vectors import basis_of

    for normal in [*RNG.normal(size=(50, 3)), (0, 0, 1e-250), (1e250, 1e250, 0), (0, -1, 0)]:
        right, up = basis_of(tuple(normal)).T
        unit = np.asarray(normal) / np.abs(normal).max()
        unit = unit / np.linalg.norm(unit)
        np.testing.assert_allclose([right @ right, up @ up, right @ up], [1, 1, 0], atol=1e-12)
        np.testing.assert_allclose(np.cross(right, up), unit, atol=1e-12)


def test_each_title_has_a_subplot() -> None:
    """Three fields over the same positions, each in axes of its own; NaN vectors are not drawn."""
    options = MPLVectorFieldPlot(positions=[[0, 0], [1, 1]], subplot_titles=["a", "b", "c"])
    schema = bare((3, 2, 2))
    it: Any = drawing(options, schema)
    data = np.arange(12.0).reshape(1, 3, 2, 2)
    data[0, 0, 0, 0] = np.nan
    it.take(batch_of(schema, [0], data=data))
    it.draw()
    assert [axes.get_title(loc="left") for axes in it.axes] == ["a", "b", "c"]
    assert [list(a.U) for a in it.arrows] == [[0, 2], [4, 6], [8, 10]]


# --- where it is loaded ---------------------------------------------------------------------------


def test_nobody_but_a_guest_loads_what_draws() -> None:
    """Importing the worker, the sinks and the checks of plots loads neither matplotlib nor Qt."""
    code = (
        "import sys, recd.worker, recd.plots.sink, recd.plots.runner, recd.plots.series, recd.plots.vectors\n"
        "print([m for m in ('matplotlib', 'pyqtgraph', 'PySide6') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout.strip() == "[]"
