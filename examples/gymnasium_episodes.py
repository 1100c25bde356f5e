"""Record episodes of eight pendulums: one video of all, and a file of each episode that is ready for training.

Run it with ``python examples/gymnasium_episodes.py``, after ``pip install gymnasium[mujoco]``. The inverted
pendulums are pushed at random, so their episodes end at different times. ``--plot episodes.png`` draws what was
recorded (needs matplotlib).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

import gymnasium
import numpy as np

from recd_client.gymnasium import RecordEpisode, RecordVideo, load_episode


def main() -> None:
    """Simulate and record, and load what was recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="of all pendulums (default: 60)")
    parser.add_argument(
        "--dir", default="recordings/pendulums", help="where the files go (default: %(default)s)"
    )
    parser.add_argument("--plot", help="draw what was recorded to this picture")
    args = parser.parse_args()
    directory = Path(args.dir)

    envs = gymnasium.make_vec(
        "InvertedPendulum-v5", num_envs=8, render_mode="rgb_array", vectorization_mode="sync",
        width=160, height=120, reset_noise_scale=0.1,
    )  # fmt: skip
    envs = RecordVideo(
        envs, str(directory / "videos"), video_aspect_ratio=(16, 9),
        episode_trigger=lambda episode: episode == 0, video_length=args.steps,
    )  # fmt: skip
    envs = RecordEpisode(envs, str(directory / "episodes"))
    envs.action_space.seed(0)
    envs.reset(seed=0)
    for _ in range(args.steps):
        envs.step(envs.action_space.sample() / 3)
    envs.close()  # afterwards every file is complete

    episodes = [load_episode(path) for path in sorted((directory / "episodes").glob("*.npz"))]
    steps = sum(len(episode) for episode in episodes)
    print(f"recorded in {directory}: {len(episodes)} episodes, {steps} transitions")
    # For training: what was seen, what was done, what it brought, and what was seen then.
    seen = np.concatenate([e.observations[:-1] for e in episodes])
    done = np.concatenate([e.actions for e in episodes])
    seen_then = np.concatenate([e.observations[1:] for e in episodes])
    assert len(seen) == len(done) == len(seen_then) == steps
    if args.plot:
        plot(directory, Path(args.plot))


def plot(directory: Path, picture: Path) -> None:
    """Draw each episode's angle over time, beside a frame of the video."""
    import imageio_ffmpeg
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    frames = imageio_ffmpeg.read_frames(str(next((directory / "videos").glob("*.mp4"))))
    width, height = next(frames)["size"]
    shown = [frame for frame, _ in zip(frames, range(12), strict=False)][-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", width_ratios=(2, 3))
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, 8))
    for path in sorted((directory / "episodes").glob("*.npz")):
        episode = load_episode(path)
        left.plot(
            episode.times, episode.observations[:, 1], color=colors[int(path.stem.split("-")[2][0])], lw=1
        )
    left.axhline(0.2, color="black", lw=0.7, ls=":")
    left.axhline(-0.2, color="black", lw=0.7, ls=":")
    left.set(xlabel="time since reset / s", ylabel="angle / rad", title="every episode, coloured by pendulum")
    right.imshow(np.frombuffer(shown, np.uint8).reshape(height, width, 3))
    right.set(title="rl-video-episode-0.mp4, frame 12", xticks=[], yticks=[])
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
