"""MuJoCo's viewer on a display in memory: states are shown when they are due, and keys are heard."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recordings import PATIENCE_S

pytestmark = [pytest.mark.requires("mujoco", "Xvfb"), pytest.mark.usefixtures("runtime")]

#: Records a pendulum, shows it, and looks on from another thread; keys come as the viewer's own callback has them.
PROGRAM = """
import sys, threading
import mujoco
from mujoco import viewer
import recd
from recd_client.mujoco import record
from support import wait_until

model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><body><joint axis='0 1 0'/><geom size='.1' pos='1 0 0'/></body></worldbody></mujoco>"
)
data = mujoco.MjData(model)
with record(model, data, dir="run", overflow="block") as rec:
    for _ in range(100):
        mujoco.mj_step(model, data)
        rec.step()
shown = mujoco.MjData(model)
replayed = recd.replay("run", (model, shown))
qpos, t = replayed.stream["qpos"][:, 0], replayed.stream.t
windows, launch = [], viewer.launch_passive

def launched(*args, key_callback):
    windows.append((launch(*args, key_callback=key_callback), key_callback))
    return windows[-1][0]

viewer.launch_passive = launched

def look_on():
    wait_until(lambda: windows and shown.time == t[0], timeout_s=60)
    window, press = windows[0]
    for index, key in ((1, 262), (2, 262), (1, 263)):  # RIGHT, RIGHT, LEFT
        press(key)
        wait_until(lambda: shown.time == t[index] and shown.qpos[0] == qpos[index], timeout_s=60)
    press(265)  # UP: twice the rate
    press(32)  # SPACE: go on, to the end, where it stands still
    wait_until(lambda: shown.time == t[99] and shown.qpos[0] == qpos[99], timeout_s=60)
    assert window.is_running()
    window.close()
    print("closed")

thread = threading.Thread(target=look_on)
thread.start()
replayed.show(start_paused=True)
thread.join()
print("returned")
"""


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A display of the test's own."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "900x700x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with open(read) as told:
            yield f":{told.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


def test_the_viewer_steps_through_a_recording(tmp_path: Path, display: str) -> None:
    """Paused it shows the first state; RIGHT, LEFT and SPACE move it; at the end it waits to be closed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "WAYLAND_DISPLAY")}
    top = Path(__file__).parents[2]
    environment |= {"DISPLAY": display, "PYTHONPATH": f"{top}:{top / 'client'}:{top / 'tests'}"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["closed", "returned"]


def test_without_a_display_it_is_said_what_else_there_is(tmp_path: Path) -> None:
    """No window: an error that names it, and the film instead."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    top = Path(__file__).parents[2]
    environment |= {"PYTHONPATH": f"{top}:{top / 'client'}:{top / 'tests'}"}
    head = PROGRAM.partition("windows, launch")[0]
    ran = subprocess.run(
        [sys.executable, "-c", head + "replayed.show()"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "no window can be opened here" in ran.stderr
    assert "render(camera, to=...)" in ran.stderr
