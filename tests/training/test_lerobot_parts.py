"""Parts of the LeRobot target by themselves: statistics, where files are cut, what LeRobot would find by time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from recd.converter.features import Feature

if find_spec("pyarrow") and find_spec("PIL"):
    from recd.converter.targets.lerobot import films, rows, stats
    from recd.converter.targets.lerobot.shelf import Place

pytestmark = pytest.mark.requires("pyarrow", "PIL")


def parts(values: NDArray, size: int):
    """Gives the rows, some at a time, as often as they are asked for."""

    def give() -> Iterator[NDArray]:
        return iter([values[i : i + size] for i in range(0, len(values), size)])

    return give


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_statistics_are_those_of_numpy(size: int) -> None:
    """However the rows come, minimum, maximum, mean and deviation are numpy's, and quantiles within two bins."""
    values = np.random.default_rng(1).normal(1e4, 1, (500, 3))
    found = stats.array_stats(parts(values, size), 500)
    assert found["min"] == values.min(axis=0).tolist()
    assert found["max"] == values.max(axis=0).tolist()
    assert np.allclose(found["mean"], values.mean(axis=0), rtol=1e-12)
    assert np.allclose(found["std"], values.std(axis=0), rtol=1e-9)
    assert found["count"] == [500]
    exact = np.quantile(values, [0.01, 0.1, 0.5, 0.9, 0.99], axis=0, method="inverted_cdf")
    bins = 2 * (values.max(axis=0) - values.min(axis=0)) / 5000
    for name, quantile in zip(("q01", "q10", "q50", "q90", "q99"), exact, strict=True):
        assert (np.abs(np.array(found[name]) - quantile) <= bins).all(), name


def test_statistics_of_a_single_row_and_of_what_is_no_number() -> None:
    """One row is its own mean and quantile; NaN and infinities are told, not raised."""
    found = stats.array_stats(parts(np.array([[2.0, 3.0]]), 1), 1)
    assert (found["q10"], found["std"]) == ([2.0, 3.0], [0.0, 0.0])
    with np.errstate(invalid="ignore"):
        found = stats.array_stats(parts(np.array([[1.0, np.nan], [2.0, 5.0]]), 1), 2)
    assert np.isnan(found["q50"][1])
    assert found["max"][0] == 2.0


def test_statistics_of_images() -> None:
    """By channel, in parts of 255, over the frames that LeRobot would look at; squares do not wrap."""
    images = np.random.default_rng(2).integers(0, 256, (250, 8, 9, 3), np.uint8)
    images[..., 2] = 200
    counted = stats.ImageStats(250)
    for image in images:
        counted.see(image)
    found = counted.result()
    chosen = images[np.round(np.linspace(0, 249, 100)).astype(int)] / 255.0
    assert found["count"] == [100]
    assert np.shape(found["mean"]) == (3, 1, 1)
    for name, expected in (
        ("mean", chosen.mean((0, 1, 2))),
        ("std", chosen.std((0, 1, 2))),
        ("max", chosen.max((0, 1, 2))),
    ):
        assert np.allclose(np.ravel(found[name]), expected), name


def test_statistics_of_all_episodes() -> None:
    """Those of two episodes together are those of their rows together."""
    a, b = np.random.default_rng(3).normal(size=(40, 2)), np.random.default_rng(4).normal(3, 2, (70, 2))
    both = stats.of_all([{"x": stats.array_stats(parts(v, 16), len(v))} for v in (a, b)])["x"]
    rows = np.concatenate([a, b])
    assert np.allclose(both["mean"], rows.mean(axis=0))
    assert np.allclose(both["std"], rows.std(axis=0))
    assert both["min"] == rows.min(axis=0).tolist()
    assert both["count"] == [110]


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=1, max_dims=5, max_side=4), elements=st.floats(-9, 9, width=32)
    )
)
def test_arrays_of_any_shape(values: NDArray[np.float32]) -> None:
    """What goes into a column comes out of it, whatever its axes."""
    f = Feature("x", "array", values.dtype, values.shape[1:], "observation")
    schema = rows.schema_of([f])
    own = {name: np.zeros(len(values), dtype) for name, dtype in rows.OWN.items()}
    batch = rows.batch_of(schema, {"x": values, **own})
    assert np.array_equal(np.array(batch.column("x").to_pylist()).reshape(values.shape), values)
    (back,) = rows.arrays_in(schema.field("x"), f.shape, [batch])
    assert np.array_equal(back, values)


def test_files_in_numbered_directories() -> None:
    """Behind the thousandth file of a directory comes the first of the next."""
    assert Place(0, 3).behind == Place(0, 4)
    assert Place(0, 999).behind == Place(1, 0)
    assert (
        Place(1, 2).path("{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}", "k")
        == "k/chunk-001/file-002"
    )


def test_late_in_a_file_times_are_too_coarse() -> None:
    """LeRobot compares float32 times to 0.1 ms: an episode far behind a file's begin might not be found."""
    fps = Fraction(30)
    assert films.is_exact(0, 10_000_000, fps)  # both are rounded alike
    assert films.is_exact(1000 * 30, 600, fps)
    assert not films.is_exact(2000 * 30 + 1, 30 * 600, fps)


def stretches(*each: tuple[str, int, int], film: int = 10_000, apart: int = 50) -> list[films.Stretch]:
    """Stretches of films with a keyframe every so often: name, first frame, frames."""
    return [
        films.Stretch(Path(name), first, count, first // apart * apart, "50", film)
        for name, first, count in each
    ]


def test_what_is_copied_at_once() -> None:
    """Episodes of a film that lie close together are one piece; a long way in between, or another film, begins one."""
    found = films._pieces(
        stretches(("a", 0, 100), ("a", 100, 60), ("a", 180, 20), ("a", 700, 60), ("b", 0, 10), ("a", 760, 5))
    )
    assert [(p.path.name, p.begin, p.end, p.episodes) for p in found] == [
        ("a", 0, 200, [0, 1, 2]), ("a", 700, 760, [3]), ("b", 0, 10, [4]), ("a", 750, 765, [5]),
    ]  # fmt: skip


def test_no_file_is_much_too_large(tmp_path: Path) -> None:
    """Pieces go into one file up to its size, and a film that is larger is cut between its episodes."""
    film = tmp_path / "a.mp4"
    film.write_bytes(bytes(10_000))  # so each frame of its 1000 is 10 bytes
    each = stretches(*((str(film), k * 100, 100) for k in range(10)), film=1000)
    found = list(films._files(films._pieces(each), each, Fraction(50), full_bytes=3500))
    assert [[(p.begin, p.end) for p in file] for file in found] == [
        [(0, 300)], [(300, 600)], [(600, 900)], [(900, 1000)],
    ]  # fmt: skip
