"""Kinds of samples that are measured, and a simulation that makes a new one in each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .timing import step_of

#: An array, or a dict of arrays.
Sample = Any
#: What kinds are alike: rows and fields fit a line of CSV, arrays do not, frames are images.
ROWS, FIELDS, ARRAYS, FRAMES = "rows", "fields", "arrays", "frames"

FPS: Final = 60
_SCENE_FRAMES: Final = 12
#: Small samples after which the same come again: more of them than a peer's compressor can remember.
_POOL: Final = 4096


@dataclass(frozen=True)
class Kind:
    """One kind of sample.

    Parameters
    ----------
    name : str
        For programs: what JSON calls it.
    title : str
        For people.
    family : str
        ``ROWS``, ``FIELDS``, ``ARRAYS`` or ``FRAMES``.
    shape : tuple of int
        Of the array; of each of the dict's eight arrays for ``FIELDS``.
    """

    name: str
    title: str
    family: str
    shape: tuple[int, ...]

    @property
    def dt(self) -> float:
        """Simulation time between two samples, in s."""
        return 1 / FPS if self.family == FRAMES else 0.001

    def pool(self) -> list[Sample]:
        """Some samples that differ, as a file of equal ones would be unfairly small."""
        rng = np.random.default_rng(1)
        if self.family == FRAMES:
            return list(scene(*self.shape[:2], _SCENE_FRAMES))
        if self.family == FIELDS:
            return [{f"field{i}": rng.standard_normal(self.shape) for i in range(8)} for _ in range(_POOL)]
        if self.family == ROWS:
            return list(rng.standard_normal((_POOL, *self.shape)))
        return list(rng.standard_normal((8, *self.shape), np.float32))

    def bytes(self) -> int:
        """Size of one sample."""
        item = {ROWS: 8, FIELDS: 64, ARRAYS: 4, FRAMES: 1}[self.family]
        return item * int(np.prod(self.shape))


STATE: Final = Kind("state", "50 float64", ROWS, (50,))
DICT: Final = Kind("dict", "dict of 8 × 12 float64", FIELDS, (12,))
ENVS: Final = Kind("envs", "4096 × 37 float32", ARRAYS, (4096, 37))
VGA: Final = Kind("vga", "640x480x3 frame", FRAMES, (480, 640, 3))
HD: Final = Kind("hd", "1920x1080x3 frame", FRAMES, (1080, 1920, 3))


def flat(size_bytes: int) -> Kind:
    """A plain array of so many bytes, for curves."""
    return Kind(f"flat{size_bytes}", f"{size_bytes} bytes", ARRAYS, (size_bytes // 4,))


class Simulation:
    """Work of about so many microseconds, at the end of which there is a new sample in the same memory.

    Parameters
    ----------
    kind : Kind
    step_us : float
        Of work, beside putting the sample there, which leaves it in the processor's cache as a renderer would.
    """

    def __init__(self, kind: Kind, step_us: float) -> None:
        self._work = step_of(step_us)
        self._pool = kind.pool()
        self._at = 0
        first = self._pool[0]
        self.data: Sample = (
            {name: v.copy() for name, v in first.items()} if isinstance(first, dict) else first.copy()
        )

    def __call__(self) -> None:
        """One step."""
        self._work()
        self.draw()

    def idle(self) -> None:
        """One step in which nobody looks."""
        self._work()

    def draw(self) -> None:
        """The next sample takes the place of the last one."""
        self._at = (self._at + 1) % len(self._pool)
        source = self._pool[self._at]
        if isinstance(source, dict):
            for name, value in source.items():
                np.copyto(self.data[name], value)
        else:
            np.copyto(self.data, source)


def scene(height: int, width: int, count: int) -> NDArray[np.uint8]:
    """Something like a rendered scene: a moving shape before a slow gradient, with a little texture."""
    y, x = np.mgrid[:height, :width]
    grain = np.random.default_rng(4).integers(0, 6, (height, width, 1))
    frames = np.empty((count, height, width, 3), np.uint8)
    for n in range(count):
        angle = 2 * np.pi * n / count
        middle_x, middle_y = width * (0.5 + 0.23 * np.cos(angle)), height * (0.5 + 0.2 * np.sin(angle))
        shape = np.clip(0.19 * height - np.hypot(x - middle_x, y - middle_y), 0, 1)[..., None] * (
            180,
            60,
            -20,
        )
        ground = np.stack([x / 8 + n, y / 6, (x + y) / 12], axis=-1)
        frames[n] = np.clip(ground + shape + grain, 0, 255)
    return frames
