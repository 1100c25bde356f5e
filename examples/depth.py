"""Record a depth camera of several environments: metres to the last bit, in colours, and what is seen.

Run it with ``python examples/depth.py``; it needs nothing but recd and numpy. Balls bounce before a wall, one per
environment; a ray for each pixel finds ball, floor or wall.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from recd_client import Recorder, VideoFile

ENVIRONMENTS, HEIGHT, WIDTH = 6, 120, 160
DT = 0.02
#: Metres: where the camera stops seeing, which is the far end of what is recorded.
NEAR, FAR = 0.5, 8.0


class Balls:
    """A ball per environment, and a camera that looks at each."""

    def __init__(self) -> None:
        self.height = np.linspace(1.0, 2.5, ENVIRONMENTS)
        self.speed = np.zeros(ENVIRONMENTS)
        y, x = np.mgrid[0.6 : -0.6 : HEIGHT * 1j, -0.8 : 0.8 : WIDTH * 1j]
        rays = np.stack([x, y, np.ones_like(x)], -1)
        self._rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def step(self) -> None:
        """Fall and bounce for one time step."""
        self.speed -= 9.81 * DT
        self.height += self.speed * DT
        below = self.height < 0.4
        self.speed[below] = np.abs(self.speed[below]) * 0.9
        self.height = np.maximum(self.height, 0.4)

    def render(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth, ``(n, H, W)`` float32, m; and what is seen there, int32: 0 nothing, 1 wall, 2 floor, 3 ball."""
        rays, n = self._rays, ENVIRONMENTS
        with np.errstate(divide="ignore"):
            floor = np.where(rays[..., 1] < 0, -1.2 / rays[..., 1], np.inf)
        wall = np.where(np.abs(rays[..., 0]) < 0.5, 6.0 / rays[..., 2], np.inf)
        centre = np.stack([np.zeros(n), self.height - 1.2, np.full(n, 3.0)], -1)
        along = np.einsum("hwc,nc->nhw", rays, centre)
        inside = 0.4**2 - (centre**2).sum(-1)[:, None, None] + along**2
        ball = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
        hits = np.stack([np.full_like(ball, FAR), *np.broadcast_arrays(wall, floor, ball)])
        return hits.min(0).astype(np.float32), hits.argmin(0).astype(np.int32)


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help=f"of {DT:g} s each (default: 200)")
    parser.add_argument("--dir", help="where the files go (default: recordings/depth/<time>)")
    args = parser.parse_args()

    balls = Balls()
    with Recorder("depth", dir=args.dir, dt=DT) as rec:
        exact = VideoFile("depth.mkv", pixel_format="gray16le", scale=(NEAR, FAR), batch=0)
        seen = VideoFile("depth.mp4", colormap="turbo", scale=(NEAR, FAR), batch="tile")
        depth = rec.stream("depth", exact, seen)
        things = rec.stream("things", VideoFile("things.mp4", colormap="categories", batch="separate"))
        for _ in range(args.steps):
            metres, what = balls.render()
            depth.write(metres)
            things.write(what)
            balls.step()
        print(f"recorded in {rec.directory}")


if __name__ == "__main__":
    main()
