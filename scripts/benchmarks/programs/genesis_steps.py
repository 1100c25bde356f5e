"""Run by an interpreter that has Genesis 1.4.5: ``genesis_steps.py DIRECTORY STEPS PACED_STEPS CAMERA_STEPS``.

The same scene, a box over a plane, once for each way of recording; their steps are timed in turns, block by
block. Prints one JSON object: by subject and way, microseconds of every step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import genesis as gs
import recd_client.genesis

WAYS = ("none", "thrown", "own", "recd")
#: Most steps of one way before it is the next one's turn; a tenth of all, if that is less.
BLOCK = 50
#: Seconds from one frame to the next where the encoder is to keep up.
PACE_S = 0.02
COLUMNS = 50


class Subject:
    """What is recorded: the options of Genesis, and its function."""

    def __init__(
        self, name: str, options: Callable[[str], Any] | None, func: Callable[[], Any], paced: bool
    ) -> None:
        self.name, self.options, self.func, self.paced = name, options, func, paced


def subjects() -> list[Subject]:
    """All but the camera's."""
    kinds = gs.recorders
    row = np.random.default_rng(1).random(COLUMNS).astype(np.float32)
    image = np.random.default_rng(2).integers(0, 255, (480, 640, 3), np.uint8)
    image[:] = image[:1, :1]  # a picture that compresses, as rendered ones do

    def frame() -> np.ndarray:
        image[:, :, 0] += 1
        return image

    def two() -> tuple[float, float]:
        return float(row[0]), float(row[1])

    return [
        Subject("csv", lambda stem: kinds.CSVFile(filename=f"{stem}.csv"), lambda: row, False),
        Subject("npz", lambda stem: kinds.NPZFile(filename=f"{stem}.npz"), lambda: row, False),
        Subject("video", lambda stem: kinds.VideoFile(filename=f"{stem}.mp4"), frame, True),
        Subject("plot", lambda stem: kinds.MPLLinePlot(save_to_filename=f"{stem}.mp4"), two, False),
    ]


def build(subject: Subject | None, way: str) -> tuple[Any, Any]:
    """A scene and its camera; everything of ``recd`` is installed while it is built, and not else."""
    scene = gs.Scene(sim_options=gs.options.SimOptions(dt=0.01), show_viewer=False)
    scene.add_entity(gs.morphs.Plane())
    scene.add_entity(gs.morphs.Box(size=(0.2, 0.2, 0.2), pos=(0, 0, 1)))
    camera = None if subject else scene.add_camera(res=(640, 480), pos=(2, 2, 1.5), lookat=(0, 0, 0.3))
    if way == "recd":
        recd_client.genesis.install()
    if subject and way in ("own", "recd"):
        scene.add_recorder(subject.func, subject.options(f"{subject.name}_{way}"))
    scene.build()
    if camera and way in ("own", "recd"):
        camera.start_recording(f"camera_{way}.mp4", fps=100)
    recd_client.genesis.uninstall()
    return scene, camera


def steps_of(subject: Subject | None, way: str, scene: Any, camera: Any) -> Callable[[], None]:
    """What one step is in this way."""
    if subject is None:
        if way != "thrown":
            return scene.step

        def step_and_render() -> None:
            scene.step()
            camera.render(rgb=True)

        return step_and_render
    if way != "thrown":
        return scene.step

    def step_and_throw_away() -> None:
        scene.step()
        subject.func()

    return step_and_throw_away


def resident_bytes() -> int:
    """Of this process, without shared memory."""
    _, resident, shared = map(int, Path("/proc/self/statm").read_text().split()[:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def measure(subject: Subject | None, ways: tuple[str, ...], steps: int) -> dict[str, Any]:
    """Microseconds of every step, by way; and what the process grew by in recd's blocks, after the first."""
    scenes = {way: build(subject, way) for way in ways}
    step = {way: steps_of(subject, way, *scenes[way]) for way in ways}
    for way in ways:  # the first sample makes the ring, or the codec
        for _ in range(20):
            step[way]()
    took: dict[str, list[float]] = {way: [] for way in ways}
    grown = 0
    clock = time.perf_counter
    paced = subject is not None and subject.paced
    size = min(BLOCK, max(1, steps // 10))
    for block in range(steps // size):
        for way in ways if block % 2 else ways[::-1]:
            run, out, before = step[way], took[way], resident_bytes()
            for _ in range(size):
                began = clock()
                run()
                ended = clock()
                out.append((ended - began) * 1e6)
                if paced:
                    time.sleep(max(0.0, PACE_S - (ended - began)))
            if way == "recd" and block:
                grown += resident_bytes() - before
    for scene, camera in scenes.values():
        if camera and camera._recorded_encoders:
            camera.stop_recording()
        if scene._recorder_manager.recorders:
            scene.stop_recording()
    return {"us": took, "block": size, "recd_grew_bytes": grown}


def main() -> None:
    """Measure all subjects."""
    steps, paced_steps, camera_steps = map(int, sys.argv[2:5])
    os.chdir(sys.argv[1])
    gs.init(backend=gs.cpu, logging_level="error")
    found = {}
    for subject in subjects():
        ways = WAYS if subject.name == "csv" else WAYS[1:]
        found[subject.name] = measure(subject, ways, paced_steps if subject.paced else steps)
    found["camera"] = measure(None, WAYS[1:], camera_steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
