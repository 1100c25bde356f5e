"""A simulation for fault tests, run as a process of its own: tells on stdout what it has published.

Usage: killed_simulation.py DIRECTORY SAMPLES [--no-close] [--pause-at N]. Each line is ``published <seq>``; with
``--pause-at`` it then waits for a line on stdin, so that a fault lands at a known place.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from recd_client import CSVFile, HDF5File, NPZFile, Recorder, VideoFile

HEIGHT, WIDTH = 48, 64
LEVELS = 200


def level(i: int) -> int:
    """Gray level of frame ``i``: neighbours differ by more than a codec blurs."""
    return 20 + (i * 37) % LEVELS


def main() -> None:
    """Record ``SAMPLES`` samples and frames."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("samples", type=int)
    parser.add_argument("--no-close", action="store_true")
    parser.add_argument("--pause-at", type=int, nargs="*", default=[])
    parser.add_argument("--step-s", type=float, default=0.002)
    options = parser.parse_args()
    rec = Recorder("crash", dir=options.directory, dt=0.01)
    state = rec.stream(
        "state", CSVFile("state.csv"), NPZFile("state.npz"), HDF5File("state.h5"), overflow="block"
    )
    film = rec.stream("film", VideoFile("film.mp4", fps=50), overflow="block")
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for i in range(options.samples):
        frame[:] = level(i)
        state.write({"i": i, "x": np.full(50, i * 0.1)}, t=i * 0.01)
        film.write(frame, t=i * 0.01)
        print(f"published {i}", flush=True)
        if i in options.pause_at:
            sys.stdin.readline()
        time.sleep(options.step_s)
    if options.no_close:
        print("idle", flush=True)
        sys.stdin.readline()
    else:
        summary = rec.close()
        print(f"closed {summary.complete}", flush=True)


if __name__ == "__main__":
    main()
