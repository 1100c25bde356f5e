"""The demo's physics is right and its pictures are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest

from recd.demo.render import Renderer
from recd.demo.simulation import GRAVITY, REACH, Swarm

DT = 1 / 480


def test_the_pendulums_keep_their_energy() -> None:
    """Over five chaotic seconds no pendulum gains or loses more than a millionth of what moves it."""
    swarm = Swarm(8, dt=DT, angle=2.5)
    before = swarm.energy()
    for _ in range(round(5 / DT)):
        swarm.step()
    np.testing.assert_allclose(swarm.energy(), before, atol=1e-6 * 6 * GRAVITY)


@pytest.mark.parametrize("ratio", [np.sqrt(2), -np.sqrt(2)])
def test_small_swings_have_the_periods_of_the_two_normal_modes(ratio: float) -> None:
    """Released in a normal mode, it swings at omega^2 = g (2 -+ sqrt 2), from the linearised equations."""
    swarm = Swarm(1, dt=DT, angle=0.0, spread=0.0)
    swarm.angles[:, 0] = 1e-4, ratio * 1e-4
    omega = np.sqrt(GRAVITY * (2 - ratio))
    for _ in range(960):
        swarm.step()
        np.testing.assert_allclose(swarm.angles[0, 0], 1e-4 * np.cos(omega * swarm.time), atol=1e-9)


def test_the_rods_never_stretch() -> None:
    """Bobs lie one rod's length from the pivot and from each other, x to the right and y up."""
    swarm = Swarm(8, dt=DT, angle=2.5)
    for _ in range(480):
        swarm.step()
    inner, outer = swarm.bobs()
    np.testing.assert_allclose(np.hypot(*inner.T), 1)
    np.testing.assert_allclose(np.hypot(*(outer - inner).T), 1)
    hanging = Swarm(1, dt=DT, angle=0.0, spread=0.0).bobs()
    np.testing.assert_allclose(hanging[:, 0], [(0, -1), (0, -2)], atol=1e-15)


def at(x: float, y: float) -> np.ndarray:
    """One instant of one pendulum whose bobs are both at (x, y) metres."""
    return np.full((1, 2, 1, 2), (x, y), np.float64)


def brightest(frame: np.ndarray) -> tuple[float, float]:
    """Centre of the light above half of the brightest, (x, y) px."""
    light = frame.sum(axis=2, dtype=np.float64)
    light[light < light.max() / 2] = 0
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    return float((x * light).sum() / light.sum()), float((y * light).sum() / light.sum())


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, 0.5), (-1.234, -0.789)])
def test_a_bob_is_drawn_where_it_is_to_a_fraction_of_a_pixel(x: float, y: float) -> None:
    """The brightest spot's centre is the projected place, up in the picture for up in the world."""
    frame = Renderer(1, fps=60, width=320, height=240).frame(at(x, y))
    scale = (240 / 2 - 18) / REACH
    assert brightest(frame) == pytest.approx((160 + x * scale, 120 - y * scale), abs=0.25)


def test_frames_are_drawn_into_the_array_that_is_given() -> None:
    """With ``out``, that very array is filled and returned; it equals a frame drawn without."""
    out = np.empty((240, 320, 3), np.uint8)
    frame = Renderer(1, fps=60, width=320, height=240).frame(at(1, 1), out=out)
    assert frame is out
    np.testing.assert_array_equal(out, Renderer(1, fps=60, width=320, height=240).frame(at(1, 1)))


def test_a_trail_fades_to_the_dark_behind_the_bob() -> None:
    """Where a bob was, light decreases from frame to frame until nothing of it is seen."""
    renderer = Renderer(1, fps=60, width=320, height=240)
    dark = int(Renderer(1, fps=60, width=320, height=240).frame(at(-1, -1))[69, 211].sum())
    renderer.frame(at(1, 1))
    seen = [int(renderer.frame(at(-1, -1))[69, 211].sum()) for _ in range(600)]
    assert seen[0] > dark + 20
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == dark


def test_what_does_not_fit_into_the_picture_is_left_out() -> None:
    """A bob far outside changes no pixel and raises nothing."""
    frame = Renderer(1, fps=60, width=320, height=240).frame(np.array([[[(0, 0)], [(50.0, -50.0)]]]))
    assert brightest(frame) == pytest.approx((160, 120), abs=0.25)
