"""Colour maps: the tables, and which row a number has."""

from __future__ import annotations

import numpy as np
import pytest

from recd.video.colormaps import categories, category, ramp
from recd.video.pictures import grid


@pytest.mark.requires("matplotlib")
@pytest.mark.parametrize("name", ["viridis", "magma", "turbo"])
def test_the_maps_are_those_that_everybody_knows(name: str) -> None:
    """Each of the 256 colours is within 1 of matplotlib's."""
    import matplotlib

    theirs = np.rint(np.array(matplotlib.colormaps[name](np.arange(256)))[:, :3] * 255)
    assert np.abs(ramp(name) - theirs).max() <= 1


def test_categories_are_told_apart() -> None:
    """256 colours, no two alike; 0 is black, and the first ones are far from each other."""
    table = categories().astype(int)
    assert len({*map(tuple, table)}) == 256
    assert table[0].tolist() == [0, 0, 0]
    first = table[:12]
    apart = np.abs(first[:, None] - first[None]).sum(-1)[np.triu_indices(12, 1)]
    assert apart.min() >= 80


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_numbers_beyond_255_have_the_colours_from_1_on_again(dtype: str) -> None:
    """Row 0 is for 0 alone; -1 is a thing as well, whatever the dtype."""
    info = np.iinfo(dtype)
    for number, row in [(0, 0), (1, 1), (127, 127), (255, 255), (256, 1), (511, 1), (-1, 254), (-255, 255)]:
        if info.min <= number <= info.max:
            assert category(np.array([number], dtype)).tolist() == [row]
    for extreme in (int(info.max), int(info.min)):
        row = 0 if extreme == 0 else (extreme - 1) % 255 + 1
        assert category(np.array([extreme], dtype)).tolist() == [row]


def test_a_mask_has_two_categories() -> None:
    """False is 0, True is 1."""
    assert category(np.array([False, True])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3)), (12, (3, 4))]
)
def test_a_grid_is_nearly_square(count: int, shape: tuple[int, int]) -> None:
    """Rather wide than high, and no row is empty."""
    assert grid(count) == shape
