"""Record a MuJoCo arm: its joints and sensors to NPZ and CSV under their own names, its camera to MP4.

Run it with ``python examples/mujoco_arm.py``, after ``pip install mujoco``. An arm of three links is let go
over a table and swings, while a motor in its shoulder pushes to and fro. ``--plot arm.png`` draws what was recorded
(needs matplotlib).

Without a display, MuJoCo renders through EGL, on a graphics card or in software (Debian, Ubuntu:
``apt-get install libegl1 libgl1``).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

import mujoco
import numpy as np

from recd_client import CSVFile, NPZFile
from recd_client.mujoco import record

ARM = """
<mujoco model="arm">
  <option timestep="0.004" integrator="implicitfast"/>
  <visual><headlight ambient=".4 .4 .4"/><global offwidth="640" offheight="480"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".75 .85 .95" rgb2=".3 .4 .6" width="64" height="64"/>
    <texture name="floor" type="2d" builtin="checker" rgb1=".25 .3 .35" rgb2=".35 .4 .45" width="128" height="128"/>
    <material name="floor" texture="floor" texrepeat="8 8"/>
  </asset>
  <default><joint damping=".05"/><geom type="capsule" density="600"/></default>
  <worldbody>
    <light pos="1 -2 3" dir="-.3 .6 -1"/>
    <camera name="front" pos="0 -2.6 1.2" xyaxes="1 0 0 0 .15 1"/>
    <geom type="plane" size="4 4 .1" material="floor"/>
    <body pos="0 0 1.5">
      <joint name="shoulder" axis="0 1 0"/> <geom fromto="0 0 0 .4 0 0" size=".05" rgba=".9 .55 .1 1"/>
      <body pos=".4 0 0">
        <joint name="elbow" axis="0 1 0"/> <geom fromto="0 0 0 .35 0 0" size=".04" rgba=".1 .6 .8 1"/>
        <body pos=".35 0 0">
          <joint name="wrist" axis="0 1 0"/> <geom fromto="0 0 0 .25 0 0" size=".03" rgba=".8 .3 .5 1"/>
          <site name="tip" pos=".25 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="shoulder" gear="3"/></actuator>
  <sensor><accelerometer name="tip_acc" site="tip"/><framepos name="tip" objtype="site" objname="tip"/></sensor>
</mujoco>
"""


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of 4 ms each (default: 1000)")
    parser.add_argument("--dir", help="where the files go (default: recordings/arm/<time>)")
    parser.add_argument("--plot", help="draw what was recorded to this picture")
    args = parser.parse_args()

    model = mujoco.MjModel.from_xml_string(ARM)
    data = mujoco.MjData(model)
    sinks = (NPZFile("arm.npz"), CSVFile("arm.csv"))
    with record(model, data, *sinks, name="arm", cameras="front", fps=25, dir=args.dir) as rec:
        for step in range(args.steps):
            data.ctrl[0] = np.sin(step * 0.03)
            mujoco.mj_step(model, data)
            rec.step()
        directory = rec.recorder.directory
        print(f"recorded in {directory}")
    if args.plot:
        plot(directory, Path(args.plot))


def plot(directory: Path, picture: Path) -> None:
    """Draw joints, and the way of the tip, from the CSV; beside the last frame of the video."""
    import imageio_ffmpeg
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = np.genfromtxt(directory / "arm.csv", delimiter=",", names=True, deletechars="")
    frames = imageio_ffmpeg.read_frames(str(directory / "front.mp4"))
    width, height = next(frames)["size"]
    (*_, last) = frames
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, color in (("shoulder", "#E69F00"), ("elbow", "#0072B2"), ("wrist", "#CC79A7")):
        left.plot(rows["timestamp"], rows[f"qpos.{name}"], label=f"qpos.{name}", color=color)
    left.set(xlabel="time / s", ylabel="angle / rad", title="arm.csv")
    figure.legend(loc="outside lower left", ncols=3, frameon=False)
    left.grid(alpha=0.3)
    right.imshow(np.frombuffer(last, np.uint8).reshape(height, width, 3))
    right.set(title="front.mp4, last frame", xticks=[], yticks=[])
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
