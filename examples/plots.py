"""Watch a simulation while it runs, and keep animations of it: lines, an image, a vector field.

Run it with ``python examples/plots.py``. Drops fall into a basin of water; gauges, the surface and the flow are
plotted. Where there is a display, each plot has a window; the animations are saved either way. ``--pictures DIR``
also writes the last frame of each as a PNG, as in docs/plots.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
from pathlib import Path

import numpy as np

from recd_client import CSVFile, MPLImagePlot, MPLLinePlot, MPLVectorFieldPlot, PyQtLinePlot, Recorder

DT = 0.02  # s
CELL = 0.05  # m
SHAPE = (60, 80)
SPEED = 1.2  # m/s, of waves
DAMPING = 0.25  # 1/s
EVERY = 75  # steps between two drops


class Basin:
    """The simulation: shallow water, its height above rest and how fast that changes."""

    def __init__(self) -> None:
        self.height = np.zeros(SHAPE)  # m
        self.rising = np.zeros(SHAPE)  # m/s
        self.steps = 0

    def step(self) -> None:
        """The wave equation for ``DT`` seconds; now and then a drop falls in."""
        if self.steps % EVERY == 0:
            self.drop(12 + 7 * (self.steps // EVERY % 6), 15 + 23 * (self.steps // EVERY % 3))
        edge = np.pad(self.height, 1, mode="edge")
        curvature = edge[2:, 1:-1] + edge[:-2, 1:-1] + edge[1:-1, 2:] + edge[1:-1, :-2] - 4 * self.height
        self.rising += DT * (SPEED**2 / CELL**2 * curvature - DAMPING * self.rising)
        self.height += DT * self.rising
        self.steps += 1

    def drop(self, row: int, column: int) -> None:
        """A dent in the surface, three cells wide."""
        y, x = np.indices(SHAPE)
        self.height -= 0.05 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 9)

    @property
    def energy(self) -> float:
        """J per kg of water, about."""
        slope = np.hypot(*np.gradient(self.height, CELL))
        return float(np.mean(self.rising**2 + (SPEED * slope) ** 2) / 2)

    def flow(self, every: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Positions in m and accelerations in m/s^2, (N, 2) each: water flows down the slope."""
        rows, columns = np.mgrid[2 : SHAPE[0] : every, 2 : SHAPE[1] : every].reshape(2, -1)
        down, right = np.gradient(self.height, CELL)
        positions = np.stack([columns, SHAPE[0] - rows], axis=-1) * CELL
        return positions, -9.81 * np.stack([right[rows, columns], -down[rows, columns]], axis=-1)


def save_last_frame(video: Path, picture: Path) -> None:
    """Write the last frame of a video as a PNG."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", "-y", "-sseof", "-0.1", "-i", str(video), "-update", "1"]
    subprocess.run([*command, str(picture)], check=True)


def main() -> None:
    """Simulate, watch, record."""
    parser = argparse.ArgumentParser(description="Plot a simulation with recd")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--dir", help="where the files go; default: recordings/basin/<time>/")
    parser.add_argument("--pictures", type=Path, help="also write the last frames there, as plot-*.png")
    args = parser.parse_args()
    basin = Basin()
    positions, _ = basin.flow()
    gauges = [(10 + 4 * i, 6 + 6 * i) for i in range(12)]
    with Recorder("basin", dir=args.dir, dt=DT) as rec:
        state = MPLLinePlot(
            title="Waves in a basin",
            labels={"gauge": ("left", "middle", "right"), "energy": ("all of it",)},
            y_log_scale=("energy",),
            history_length=200,
            save_to_filename="lines.mp4",
        )
        units = {"gauge": "mm", "energy": "J/kg"}
        stream = rec.stream("state", state, CSVFile("state.csv"), units=units)
        many = MPLLinePlot(title="Twelve gauges", y_label="height", save_to_filename="many.mp4")
        rows = rec.stream("gauges", many, units="mm")
        seen = MPLImagePlot(title="Surface", value_range=(-15, 15), save_to_filename="image.mp4")
        surface = rec.stream("surface", seen, units="mm")
        arrows = MPLVectorFieldPlot(
            title="Where the water is pushed",
            positions=positions,
            scale_factor=0.3,
            max_magnitude=1.5,
            save_to_filename="vectors.mp4",
        )
        field = rec.stream("push", arrows, units="m/s²")
        qt = None
        if importlib.util.find_spec("pyqtgraph"):
            qt = rec.stream(
                "qt", PyQtLinePlot(title="The same, by PyQtGraph", save_to_filename="qt.mp4"), units=units
            )
        for _ in range(args.steps):
            basin.step()
            rec.step()
            sample = {"gauge": 1e3 * basin.height[30, [10, 40, 70]], "energy": basin.energy}
            stream.write(sample)
            rows.write(1e3 * np.array([basin.height[at] for at in gauges]))
            surface.write(1e3 * basin.height)
            field.write(basin.flow()[1])
            if qt is not None:
                qt.write(sample)
    summary = rec.close()
    print(summary)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for video in sorted(rec.directory.glob("*.mp4")):
            save_last_frame(video, args.pictures / f"plot-{video.stem}.png")


if __name__ == "__main__":
    main()
