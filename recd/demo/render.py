"""Draws the swarm by adding up light: trails that fade, glowing bobs, faint rods.

Light is a float32 image to which every point adds a small Gaussian at its exact sub-pixel place, which
anti-aliases everything by itself. What the outer bobs leave behind stays and fades from frame to frame,
as on a long exposure: slow places are bright, fast ones thin. A film's response, ``1 - exp(-light)``, makes
a frame of it, so that crossing trails glow towards white and nothing clips.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .simulation import REACH

Light = npt.NDArray[np.float32]  # (height, width, 3), unbounded
Places = npt.NDArray[np.floating]  # (..., 2) pixels

#: Over the swarm: blue to amber, told apart with every common form of colour blindness.
GRADIENT: Final = np.array(
    [(0.06, 0.34, 1.00), (0.14, 0.62, 1.00), (0.66, 0.70, 0.76), (1.00, 0.62, 0.22), (1.00, 0.50, 0.04)],
    np.float32,
)
NIGHT: Final = np.array((0.010, 0.016, 0.038), np.float32)  # the background's light, at its darkest
TRAIL_LIFE_S: Final = 0.75  # a trail's light falls to 1/e in this time


class Renderer:
    """Turns positions of the swarm into frames; owns the light that trails leave.

    Parameters
    ----------
    count : int
        Number of pendulums.
    fps : float
        Frames per second of simulated time: how much of the trails fades from one frame to the next.
    width, height : int
        Size of the frames in pixels.
    """

    def __init__(self, count: int, *, fps: float, width: int = 640, height: int = 480) -> None:
        self._fade = np.float32(np.exp(-1 / (fps * TRAIL_LIFE_S)))
        self._centre = np.array((width, height), np.float32) / 2
        # metres to pixels, y down; a margin keeps the glow of a stretched-out pendulum inside
        self._scale = np.array((1, -1), np.float32) * (height / 2 - 18) / REACH
        where = np.linspace(0, len(GRADIENT) - 1, count)
        knots = np.arange(len(GRADIENT))
        self._colours = np.stack([np.interp(where, knots, c) for c in GRADIENT.T], axis=1).astype(np.float32)
        self._night = _night(width, height)
        self._trails = np.zeros_like(self._night)
        self._light = np.empty_like(self._night)
        rod_px = height / 4
        self._along = np.linspace(0, 1, int(rod_px / 1.5), dtype=np.float32)[:, None, None]

    def frame(
        self, path: npt.NDArray[np.floating], out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Draw the swarm at the end of ``path``, with a trail along it.

        Parameters
        ----------
        path : (instants, 2, count, 2) m
            Inner and outer bobs at each instant since the last frame.
        out : (height, width, 3) uint8, optional
            Where to draw; a new array if not given.
        """
        places = path.astype(np.float32) * self._scale + self._centre
        self._trails *= self._fade
        self._expose(places[:, 1], strength=0.20, sigma=0.85)
        self._expose(places[::4, 1], strength=0.012, sigma=5.0)  # a halo along the trail
        light = np.add(self._night, self._trails, out=self._light)
        inner, outer = places[-1]
        self._rods(inner, outer)
        _splat(light, inner, self._colours * 0.5, sigma=1.5)
        _splat(light, outer, self._colours * 0.11, sigma=6.5)
        _splat(light, outer, self._colours * 1.6 + 0.5, sigma=1.9)
        np.negative(light, out=light)
        np.expm1(light, out=light)
        np.multiply(light, -255, out=light)
        if out is None:
            out = np.empty(light.shape, np.uint8)
        np.rint(light, out=light)
        np.copyto(out, light, casting="unsafe")
        return out

    def _expose(self, tips: Places, *, strength: float, sigma: float) -> None:
        """Leave light along the outer bobs' paths, (instants, count, 2) px."""
        colours = np.broadcast_to(self._colours * np.float32(strength), (*tips.shape[:2], 3))
        _splat(self._trails, tips.reshape(-1, 2), colours.reshape(-1, 3), sigma=sigma)

    def _rods(self, inner: Places, outer: Places) -> None:
        """Draw all rods, a point every pixel and a half."""
        for start, end, strength in ((self._centre, inner, 0.030), (inner, outer, 0.045)):
            points = start + (end - start) * self._along
            colours = np.broadcast_to(self._colours * np.float32(strength), (*points.shape[:2], 3))
            _splat(self._light, points.reshape(-1, 2), colours.reshape(-1, 3), sigma=0.6)


def _night(width: int, height: int) -> Light:
    """The background's light: a little bluer and lighter in the middle."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    glow = np.exp(-((away / 0.42) ** 2))[..., None]
    return np.asarray(NIGHT * (1 + 2.2 * glow), np.float32)


def _splat(light: Light, places: Places, colours: npt.NDArray[np.floating], *, sigma: float) -> None:
    """Add a Gaussian of each colour at each place, (n, 2) px; one that would not fit inside is left out.

    It is separable: a stamp of any size costs two short rows of exponentials.
    """
    height, width, _ = light.shape
    radius = int(2.4 * sigma + 0.5)
    near = np.arange(-radius, radius + 1)
    nearest = np.rint(places).astype(np.intp)
    inside = np.all((nearest >= radius) & (nearest < (width - radius, height - radius)), axis=1)
    nearest, places, colours = nearest[inside], places[inside], colours[inside]
    away = ((nearest - places)[:, :, None] + near).astype(np.float32)  # (n, xy, stamp) px
    rows = np.exp(away**2 / np.float32(-2 * sigma**2))
    stamps = rows[:, 1, :, None, None] * rows[:, 0, None, :, None] * colours[:, None, None, :]
    if radius > 8:  # a few large stamps are faster one by one, many small ones all at once
        for (x, y), stamp in zip((nearest - radius).tolist(), stamps, strict=True):
            light[y : y + near.size, x : x + near.size] += stamp
        return
    pixels = (nearest[:, 1, None, None] + near[:, None]) * width + nearest[:, 0, None, None] + near
    values = pixels[..., None] * 3 + np.arange(3)
    np.add.at(light.reshape(-1), values.reshape(-1), stamps.reshape(-1))
