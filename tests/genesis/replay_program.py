"""Run by an interpreter that has Genesis: ``replay_program.py DIRECTORY`` records a pendulum, and replays it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import genesis as gs
import recd
import recd_client
import recd_client.genesis

ARM = """
<mujoco><worldbody>
  <body pos="0 0 1"><joint name="hip" axis="0 1 0" damping=".05"/>
    <geom type="capsule" fromto="0 0 0 .4 0 0" size=".05"/>
    <body pos=".4 0 0"><joint name="knee" axis="0 1 0" damping=".05"/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size=".04"/>
  </body></body>
</worldbody></mujoco>
"""
STEPS = 40


def scene_with_arm(top: Path) -> tuple[Any, Any]:
    """An arm that hangs in the air."""
    path = top / "arm.xml"
    path.write_text(ARM)
    scene = gs.Scene(sim_options=gs.options.SimOptions(dt=0.01), show_viewer=False)
    return scene, scene.add_entity(gs.morphs.MJCF(file=str(path)))


def main(top: Path) -> None:
    """Record, set states, check; leave what came of it in ``replay.json``."""
    gs.init(backend=gs.cpu, precision="64", logging_level="warning")
    recd_client.genesis.install(dir=top / "run")
    scene, arm = scene_with_arm(top)
    force = np.zeros(2)

    def state() -> dict[str, Any]:
        return {
            "qpos": arm.get_qpos(),
            "dofs_velocity": arm.get_dofs_velocity(),
            "control_dofs_force": force.copy(),
        }

    add = scene.start_recording if gs.__version__.startswith("0.") else scene.add_recorder
    add(state, recd_client.NPZFile("arm.npz"))
    scene.build()
    for i in range(STEPS):
        force[:] = np.sin(i / 5), np.cos(i / 3)
        arm.control_dofs_force(force)
        scene.step()
    scene.stop_recording()

    fresh, other = scene_with_arm(top)
    fresh.build()
    run = recd.open(top / "run" / "arm.npz")
    furthest = 0.0
    for row in recd.replay(run, other):
        furthest = max(furthest, float(np.abs(other.get_qpos().cpu().numpy() - row.values["qpos"]).max()))
    report = recd.replay(run, other, check=True)
    close = recd.replay(run, other, check=True, tolerance=1e-9)
    wrong = recd.replay(
        run, other, check=True, tolerance=1e-9, recorded="before" if gs.__version__[0] == "0" else "after"
    )
    try:
        recd.replay(run, other, fields={"qpos": "control"})
        refused = ""
    except recd_client.RecdError as e:
        refused = str(e)
    (top / "replay.json").write_text(json.dumps({
        "samples": len(run["arm"]), "compared": report.samples, "furthest": furthest, "holds": report.holds,
        "close": close.holds, "wrong": wrong.holds, "text": str(report), "refused": refused,
    }))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
