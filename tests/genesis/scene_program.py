"""Run by an interpreter that has Genesis: ``scene_program.py compare|kill DIRECTORY [SIGNAL]``.

``compare`` records the same scenes four times, each into a directory of its own: with Genesis' own recorders
(``own``), with those rerouted (``dropin``), with Genesis' own again after ``uninstall`` (``again``), and with
recd's options (``native``). ``kill`` ends itself with the signal right behind step 1,000.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import genesis as gs
import recd_client
import recd_client.genesis

OLD = gs.__version__.startswith("0.")


class Run:
    """A scene of a plane and a falling box, and what is recorded of it."""

    def __init__(self, mode: str, **scene: Any) -> None:
        self.kinds: Any = recd_client if mode == "native" else gs.recorders
        self.n = 0
        sim = gs.options.SimOptions(dt=0.01)
        self.scene = gs.Scene(sim_options=sim, show_viewer=False, **scene)
        self.scene.add_entity(gs.morphs.Plane())
        self.box = self.scene.add_entity(gs.morphs.Box(size=(0.2, 0.2, 0.2), pos=(0, 0, 1)))
        self.camera = self.scene.add_camera(res=(160, 120), pos=(2, 2, 1.5), lookat=(0, 0, 0.3))
        #: 0.4.5 cannot take numpy arrays into files.
        self.reused: Any = torch.zeros(3) if OLD and mode != "native" else np.zeros(3)
        self.frame = np.zeros((48, 64, 3), np.uint8)

    def record(self, data_func: Any, kind: str, filename: str, **options: Any) -> Any:
        """One more file."""
        add = self.scene.start_recording if OLD else self.scene.add_recorder
        return add(data_func, getattr(self.kinds, kind)(filename=filename, **options))

    # --- what is recorded ------------------------------------------------------------------------
    def mixed(self) -> dict[str, Any]:
        """Tensors, arrays, numbers and lists."""
        pos = self.box.get_pos()
        z = float(pos.reshape(-1)[2])
        return {
            "pos": pos, "tiny": z * 1e-30, "on": z > 0.95, "step": int(z * 1000), "list": [z, 2 * z],
            "half": torch.full((2,), z, dtype=torch.float16),
        }  # fmt: skip

    def same_buffer(self) -> Any:
        """An array that is filled anew each time."""
        self.reused += 1
        return self.reused

    def moving(self) -> np.ndarray:
        """A bar that moves by a column per call, in a buffer that is used again."""
        self.n += 1
        self.frame[:] = 40
        self.frame[:, self.n % 64] = 220
        return self.frame

    def gray(self) -> torch.Tensor:
        """A gray image as a tensor."""
        return torch.full((48, 64), 100, dtype=torch.uint8)


def single(mode: str) -> None:
    """One environment: every kind of file, a sensor, a camera, a reset in the middle."""
    run = Run(mode)
    scene, camera = run.scene, run.camera
    link = {} if OLD else {"link_idx_local": 0}
    force = scene.add_sensor(gs.sensors.ContactForce(entity_idx=run.box.idx, **link))
    imu = scene.add_sensor(gs.sensors.IMU(entity_idx=run.box.idx, **link))
    run.record(run.mixed, "CSVFile", "mixed.csv")
    run.record(run.mixed, "NPZFile", "mixed.npz")
    run.record(run.box.get_pos, "CSVFile", "pos.csv", hz=33)
    run.record(run.box.get_pos, "CSVFile", "named.csv", header=("x", "y", "z"), save_every_write=True)
    run.record(run.box.get_pos, "NPZFile", "pos.npz", hz=50)
    run.record(run.same_buffer, "NPZFile", "reused.npz")
    run.record(run.moving, "VideoFile", "moving.mp4")
    run.record(run.gray, "VideoFile", "gray.mp4", fps=12)
    if mode == "native":
        run.record(run.mixed, "HDF5File", "mixed.h5")
    force.start_recording(run.kinds.NPZFile(filename="force.npz"))
    if not OLD or mode in ("dropin", "native"):  # 0.4.5 fails at a reading of several values
        imu.start_recording(run.kinds.NPZFile(filename="imu.npz"))
    add = scene.start_recording if OLD else scene.add_recorder
    add(run.box.get_pos, run.kinds.MPLLinePlot(labels=("x", "y", "z"), save_to_filename="plot.mp4"))
    if mode in ("dropin", "native"):  # Genesis itself fails, or hangs
        add(run.gray, run.kinds.MPLImagePlot(save_to_filename="image.mp4"))
    scene.build()
    start = camera.start_recording if OLD else lambda: camera.start_recording("camera.mp4", fps=100)
    start()
    for step in range(12):
        scene.step()
        if OLD:
            camera.render()
        if step == 8:
            camera.pause_recording()
        elif step == 10:
            camera.start_recording()
    scene.reset()
    for _ in range(5):
        scene.step()
        if OLD:
            camera.render()
    camera.stop_recording(*(("camera.mp4", 25) if OLD else ()))
    scene.stop_recording()


def several(mode: str) -> None:
    """Two environments: a partial reset, a camera that films each."""
    apart = {"env_separate_rigid": True} if OLD else {"split_envs": True}
    run = Run(mode, vis_options=gs.options.VisOptions(**apart, rendered_envs_idx=[0, 1]))
    run.record(run.box.get_pos, "NPZFile", "envs.npz")
    run.record(lambda: {"z": run.box.get_pos()[:, 2]}, "CSVFile", "envs.csv")
    parts = {"save_on_reset": True} if OLD or mode == "native" else {}
    run.record(lambda: {"z": run.box.get_pos()[:, 2]}, "CSVFile", "parts.csv", **parts)
    run.scene.build(n_envs=2, env_spacing=(1.0, 1.0))
    start = run.camera.start_recording if OLD else lambda: run.camera.start_recording("envs.mp4", fps=100)
    start()
    for step in range(9):
        run.scene.step()
        if OLD:
            run.camera.render()
        if step == 2:
            run.scene.reset()
        if step == 5 and mode != "own" and mode != "again":
            run.scene.reset(envs_idx=[1])
        elif step == 5:
            run.scene._reset(envs_idx=[1])  # what a partial reset is for the simulation alone
    run.camera.stop_recording(*(("envs.mp4", 25) if OLD else ()))
    run.scene.stop_recording()


def compare(top: Path) -> None:
    """All the modes, in one process."""
    for mode in ("own", "dropin", "again", "native"):
        (top / mode).mkdir()
        os.chdir(top / mode)
        if mode == "dropin":
            recd_client.genesis.install()
        elif mode == "again":
            recd_client.genesis.uninstall()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            single(mode)
            several(mode)
        told = [str(w.message) for w in caught if "recd" in str(w.filename)]
        (top / f"{mode}.json").write_text(json.dumps({"warnings": told}))


def kill(top: Path, signal_number: int) -> None:
    """Recorded in both ways, and ended."""
    os.chdir(top)
    recd_client.genesis.install()
    run = Run("dropin")
    run.record(run.box.get_pos, "CSVFile", "pos.csv")
    run.record(run.box.get_pos, "NPZFile", "pos.npz")
    run.record(run.moving, "VideoFile", "moving.mp4")
    add = run.scene.start_recording if OLD else run.scene.add_recorder
    add(run.box.get_pos, gs.recorders.MPLLinePlot(save_to_filename="plot.mp4"))
    run.kinds = recd_client
    run.record(run.box.get_pos, "HDF5File", "pos.h5")
    run.scene.build()
    start = run.camera.start_recording if OLD else lambda: run.camera.start_recording("camera.mp4", fps=100)
    start()
    for _ in range(1000):
        run.scene.step()
        if OLD:
            run.camera.render()
    os.kill(os.getpid(), signal_number)
    signal.pause()


if __name__ == "__main__":
    gs.init(backend=gs.cpu, logging_level="error")
    if sys.argv[1] == "compare":
        compare(Path(sys.argv[2]))
    else:
        kill(Path(sys.argv[2]), int(sys.argv[3]))
