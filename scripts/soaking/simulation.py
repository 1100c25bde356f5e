"""The simulation of a soak: tells what became of every write through a pipe.

Usage: simulation.py DIRECTORY SECONDS SEED [steady]. A steady one can go on for ever: all its files are split,
what waits on the disk is not limited, and nothing holds it up. On stdout two bytes for every attempt, once
``write`` has returned: the stream (0 state, 1 film) and whether it returned true. Exit code 3: the recording was
refused.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings

import numpy as np

from recd_client import CSVFile, HDF5File, NPZFile, RecdError, Recorder, VideoFile

STATE_HZ, FILM_EVERY = 500, 10
HEIGHT, WIDTH = 48, 64
#: Gray levels that are still told apart after encoding.
LEVELS = 40


def level(attempt: int) -> int:
    """Gray of a frame."""
    return 10 + 6 * (attempt % LEVELS)


def main() -> int:
    """Record."""
    directory, seconds, chance = sys.argv[1], float(sys.argv[2]), random.Random(sys.argv[3])
    steady = "steady" in sys.argv
    warnings.simplefilter("ignore")  # losses are counted by who started this
    overflow = "drop_newest" if steady else chance.choice(["drop_newest", "drop_newest", "block"])
    try:
        rec = Recorder(
            "soak",
            dir=directory,
            durability=chance.choice(["process", "process", "interval", "strict"]),
            spool_limit=None if steady else chance.choice([None, "2MB"]),
        )
        state = rec.stream(
            "state",
            CSVFile("state.csv", split=5000 if steady else chance.choice([None, 700])),
            NPZFile("state.npz", split=5000 if steady else None, save_on_reset=not steady),
            HDF5File("state.h5", split=5000 if steady else chance.choice([None, "300KB"])),
            like={"i": 0, "x": np.zeros(20)},
            overflow=overflow,
            timeout=1.0,
            buffer_bytes=chance.choice([None, "64KB"]),
        )
        film = rec.stream(
            "film",
            VideoFile("film.mp4", fps=50, split=500 if steady else chance.choice([None, 70])),
            like=np.zeros((HEIGHT, WIDTH), np.uint8),
            overflow=overflow,
            timeout=1.0,
        )
    except RecdError as e:
        print(e, file=sys.stderr)
        return 3
    frame = np.zeros((HEIGHT, WIDTH), np.uint8)
    begin = time.monotonic()
    for i in range(int(seconds * STATE_HZ)):
        if time.monotonic() - begin > seconds:  # it was held up
            break
        os.write(1, bytes((0, state.write({"i": i, "x": np.full(20, i / 8)}, t=i / 8))))
        if i % FILM_EVERY == 0:
            frame[:] = level(i // FILM_EVERY)
            os.write(1, bytes((1, film.write(frame, t=i / 8))))
        if chance.random() < 0.001:
            rec.reset()
        time.sleep(max(0.0, begin + i / STATE_HZ - time.monotonic()))
    rec.close(timeout=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
