"""Record a simulation loop of your own: its state to NPZ and CSV, its camera to MP4.

Run it with ``python examples/plain_loop.py``. A ball bounces in a box under gravity; a camera looks at it.
"""

from __future__ import annotations

import argparse

import numpy as np

from recd_client import CSVFile, NPZFile, Recorder, VideoFile

DT = 0.005  # s
FPS = 50
BOX = np.array((4.0, 3.0))  # m
RADIUS = 0.2  # m
GRAVITY = np.array((0.0, -9.81))  # m/s^2
BOUNCE = 0.9  # of the speed is left


class Ball:
    """The simulation: anything with a step."""

    def __init__(self) -> None:
        self.position = np.array((0.6, 2.2))
        self.velocity = np.array((2.5, 0.0))

    def step(self) -> None:
        """Fall and bounce for ``DT`` seconds; both arrays change in place."""
        self.velocity += GRAVITY * DT
        self.position += self.velocity * DT
        low, high = self.position < RADIUS, self.position > BOX - RADIUS
        np.clip(self.position, RADIUS, BOX - RADIUS, out=self.position)
        self.velocity[low | high] *= -BOUNCE

    def render(self, width: int = 320, height: int = 240) -> np.ndarray:
        """What the camera sees, (height, width, 3) uint8."""
        y, x = np.mgrid[height:0:-1, 0:width] * (BOX[0] / width)
        distance = np.hypot(x - self.position[0], y - self.position[1])
        cover = np.clip((RADIUS - distance) * width / BOX[0], 0, 1)[..., None]
        return (cover * (255, 170, 60) + (1 - cover) * (16, 20, 34)).astype(np.uint8)


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help=f"of {DT} s each (default: 2000)")
    parser.add_argument("--dir", help="where the files go (default: recordings/ball/<time>)")
    args = parser.parse_args()

    ball = Ball()
    steps_per_frame = round(1 / (FPS * DT))
    with Recorder("ball", dir=args.dir, dt=DT) as rec:
        state = rec.stream(
            "state", NPZFile("state.npz"), CSVFile("state.csv"), units={"position": "m", "velocity": "m/s"}
        )
        camera = rec.stream("camera", VideoFile("camera.mp4", fps=FPS))
        for step in range(args.steps):
            t = step * DT
            # The arrays are copied at the call: the next step may change them.
            state.write({"position": ball.position, "velocity": ball.velocity}, t=t)
            if step % steps_per_frame == 0:
                camera.write(ball.render(), t=t)
            ball.step()
        print(f"recorded in {rec.directory}")


if __name__ == "__main__":
    main()
