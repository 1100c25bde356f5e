"""A simulation to be looked at: ``watched_simulation.py DIRECTORY WHAT``, until its input ends.

``series``
    One stream of 10 fields with 10 numbers each, 60 times per second.
``camera``
    Frames of 640x480, 30 times per second.
``streams N``
    So many streams of 12 numbers, 50 times per second.
``flashes``, ``flashes beside``
    A number and a camera that change now and then; also beside ``series``. At the end it prints, as JSON, the times
    (Unix, s) at which the writes of those changes had returned.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from recd_client import NullSink, Recorder

FIELDS = 10
HEIGHT, WIDTH = 480, 640
Step = Callable[[int], None]


def series(rec: Recorder) -> Step:
    """One step of 100 series."""
    phases = np.arange(100.0).reshape(FIELDS, -1)
    stream = rec.stream("state", NullSink(), like={f"f{n}": phases[n] for n in range(FIELDS)})

    def step(n: int) -> None:
        values = np.sin(n / 30 + phases)
        stream.write({f"f{i}": values[i] for i in range(FIELDS)}, n / 60)

    return step


def camera(rec: Recorder) -> Step:
    """One frame of something that moves."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = [
        np.stack([(x + 9 * n) % 256, (y + 5 * n) % 256, (x + y) // 5 % 256], -1).astype(np.uint8)
        for n in range(30)
    ]
    stream = rec.stream("camera", NullSink(), like=frames[0])
    return lambda n: stream.write(frames[n % 30], n / 30) and None


def many(rec: Recorder, count: int) -> Step:
    """One step of many streams."""
    row = np.zeros(12)
    streams = [rec.stream(f"s{n}", NullSink(), like=row, buffer_bytes="256KiB") for n in range(count)]

    def step(n: int) -> None:
        for stream in streams:
            stream.write(row, n / 50)

    return step


class Flashes:
    """A number that is written only when it changes, and frames of which some are white.

    Parameters
    ----------
    rec : Recorder
    beside : bool
        Whether there are 100 series as well.
    """

    def __init__(self, rec: Recorder, beside: bool) -> None:
        self._led = rec.stream("led", NullSink(), like=0.0)
        self._cam = rec.stream("cam", NullSink(), like=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        self._series: Step = series(rec) if beside else lambda n: None
        self._colours = [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (20, 235)]
        self._chance = random.Random(3)
        self._due = {"led": 30, "cam": 45}
        self._is_on = dict.fromkeys(self._due, False)
        #: Times at which the writes of changes had returned.
        self.written: dict[str, list[float]] = {name: [] for name in self._due}

    def step(self, n: int) -> None:
        """One of 60 per second."""
        self._series(n)
        changed = {name for name, due in self._due.items() if n >= due}
        for name in changed:
            self._is_on[name] = not self._is_on[name]
            self._due[name] = n + self._chance.randint(14, 33)
        if "led" in changed:
            self._led.write(float(self._is_on["led"]), n / 60)
            self.written["led"].append(time.time())
        if "cam" in changed or n % 2 == 0:
            self._cam.write(self._colours[self._is_on["cam"]], n / 60)
            if "cam" in changed:
                self.written["cam"].append(time.time())


def main(directory: str, what: str) -> None:
    """Record until there is no more input."""
    ended = threading.Event()
    with Recorder("watched", dir=directory) as rec:
        kind, _, amount = what.partition(" ")
        flashes = Flashes(rec, bool(amount)) if kind == "flashes" else None
        if flashes is not None:
            step, hz = flashes.step, 60
        elif kind == "series":
            step, hz = series(rec), 60
        elif kind == "camera":
            step, hz = camera(rec), 30
        else:
            step, hz = many(rec, int(amount)), 50
        step(0)
        print("ready", flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        begin_s, n = time.monotonic(), 1
        while not ended.wait(max(begin_s + n / hz - time.monotonic(), 0)):
            step(n)
            n += 1
    if flashes is not None:
        print(json.dumps(flashes.written))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
