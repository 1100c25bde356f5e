"""Record a MuJoCo humanoid of Gymnasium: joints, actions and rewards to NPZ and HDF5, its camera to MP4.

Run it with ``python examples/gymnasium_humanoid.py``, after ``pip install gymnasium[mujoco]``. The humanoid
acts at random, so it falls within half a second; each fall ends an episode, and is marked in the recording.

Without a display, MuJoCo renders through EGL, on a graphics card or in software (Debian, Ubuntu:
``apt-get install libegl1 libgl1``). ``MUJOCO_GL=osmesa`` or ``glfw`` choose another way.
"""

from __future__ import annotations

import argparse
import os

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

import gymnasium

from recd_client import HDF5File, NPZFile, Recorder, VideoFile


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500, help="of 15 ms each (default: 500)")
    parser.add_argument("--dir", help="where the files go (default: recordings/humanoid/<time>)")
    args = parser.parse_args()

    env = gymnasium.make("Humanoid-v5", render_mode="rgb_array", width=480, height=360)
    env.action_space.seed(0)
    env.reset(seed=0)
    dt = env.unwrapped.dt
    with Recorder("humanoid", dir=args.dir, dt=dt, metadata={"seed": 0}) as rec:
        joints = rec.stream("joints", NPZFile("joints.npz"), HDF5File("joints.h5"))
        # The camera is asked only at the steps that are due: rendering is the dear part.
        rec.start_recording(env.render, VideoFile("camera.mp4", hz=1 / (2 * dt)), name="camera")
        for step in range(args.steps):
            action = env.action_space.sample()
            _, reward, terminated, truncated, _ = env.step(action)
            data = env.unwrapped.data  # its arrays live on; write copies them
            sample = {"qpos": data.qpos, "qvel": data.qvel, "action": action, "reward": reward}
            joints.write(sample, t=step * dt)
            rec.step(t=step * dt)
            if terminated or truncated:
                rec.reset()
                env.reset()
        print(f"recorded in {rec.directory}")
    env.close()


if __name__ == "__main__":
    main()
