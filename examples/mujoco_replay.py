"""Record a MuJoCo run, prove that it comes out the same again, and film it with a camera that was not recorded.

Run it with ``python examples/mujoco_replay.py``, after ``pip install recd mujoco``. Blocks fall onto a plate that a
motor tilts to and fro. Afterwards a fresh simulation takes the recorded controls: every state is equal bit for bit.
``--show`` steps through it in MuJoCo's viewer.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

import mujoco
import numpy as np

import recd
from recd_client import NPZFile
from recd_client.mujoco import record

BLOCKS = "".join(
    f'<body pos="{x} {y} {z}"><freejoint/><geom type="box" size=".05 .05 .05" rgba="{colour} 1"/></body>'
    for x, y, z, colour in (
        (-0.1, 0.0, 1.3, ".9 .55 .1"), (0.1, 0.02, 1.4, ".1 .6 .8"), (0.0, -0.1, 1.6, ".8 .3 .5"),
    )
)  # fmt: skip
PLATE = f"""
<mujoco model="plate">
  <option timestep="0.002"/>
  <visual><headlight ambient=".4 .4 .4"/><global offwidth="640" offheight="480"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".75 .85 .95" rgb2=".3 .4 .6" width="64" height="64"/>
  </asset>
  <worldbody>
    <light pos="1 -2 3" dir="-.3 .6 -1"/>
    <camera name="top" pos="0 0 3"/>
    <geom type="plane" size="4 4 .1" rgba=".3 .35 .4 1"/>
    <body pos="0 0 1">
      <joint name="tilt" axis="0 1 0" damping="1" stiffness="20"/>
      <geom type="box" size=".4 .4 .02" rgba=".6 .6 .65 1"/>
    </body>
    {BLOCKS}
  </worldbody>
  <actuator><motor name="push" joint="tilt" gear="5"/></actuator>
</mujoco>
"""


def main() -> None:
    """Simulate, record, replay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of 2 ms each (default: 1500)")
    parser.add_argument("--dir", help="where the files go (default: recordings/plate/<time>)")
    parser.add_argument("--show", action="store_true", help="step through it in MuJoCo's viewer")
    args = parser.parse_args()

    model = mujoco.MjModel.from_xml_string(PLATE)
    data = mujoco.MjData(model)
    options = {"state": True, "name": "plate", "dir": args.dir, "overflow": "block"}
    with record(model, data, NPZFile("plate.npz"), **options) as rec:
        for step in range(args.steps):
            data.ctrl[0] = np.sin(step * 0.01)
            mujoco.mj_step(model, data)
            rec.step()
        directory = Path(rec.recorder.directory)
    print(f"recorded in {directory}")

    with recd.open(directory) as run:
        report = recd.replay(run, model, check=True)
        print(report)
        replayed = recd.replay(run, model)
        replayed.render("top", to=directory / "again" / "top.mp4", fps=25, width=320, height=240)
        print(f"filmed in {directory / 'again'}")
        if args.show:
            replayed.show()
    raise SystemExit(0 if report.holds else 1)


if __name__ == "__main__":
    main()
