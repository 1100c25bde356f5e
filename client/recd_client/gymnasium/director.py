"""When videos of an environment begin and end, and where their frames go; for one environment or many."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import logger

from .. import checks
from ..errors import OptionError
from ..options import VideoFile
from ..stream import Stream
from .home import Home

Trigger = Callable[[int], bool]


def capped_cubic_video_schedule(episode_id: int) -> bool:
    """Gymnasium's default trigger: episodes 0, 1, 8, 27, ..., 729, then every 1000th.

    (Theirs cannot be imported without MoviePy.)
    """
    if episode_id < 1000:
        return bool(round(episode_id ** (1.0 / 3)) ** 3 == episode_id)
    return episode_id % 1000 == 0


class Director:
    """When a video begins and when it ends: Gymnasium's rules, for one camera.

    Parameters
    ----------
    home : Home
    options : VideoFile
        Of every video, but for its name.
    prefix : str
        What names begin with.
    episode_trigger, step_trigger : callable, optional
    video_length : int
        Frames after which the next one ends a video; 0: the episode's end does.
    gc_trigger : callable, optional
    overflow : str
        As of :meth:`Recorder.stream`.
    """

    def __init__(
        self,
        home: Home,
        options: VideoFile,
        prefix: str,
        episode_trigger: Trigger | None,
        step_trigger: Trigger | None,
        video_length: int,
        gc_trigger: Trigger | None,
        overflow: str,
    ) -> None:
        if episode_trigger is None and step_trigger is None:
            episode_trigger = capped_cubic_video_schedule
        self.home = home
        self.prefix = prefix
        self.episode_trigger = episode_trigger
        self.step_trigger = step_trigger
        self.video_length: float = video_length if video_length != 0 else float("inf")
        self.gc_trigger = gc_trigger
        self.recording = False
        self.frames = 0
        self.episode_id = self.step_id = -1
        self._options = options
        self._overflow = overflow
        self._name = ""
        self._stream: Stream | None = None

    def episode(self) -> None:
        """An episode begins: its first frame is the next one."""
        self.episode_id += 1
        if self.recording and self.video_length == float("inf"):
            self.stop()
        if self.episode_trigger and self.episode_trigger(self.episode_id):
            self.start(f"{self.prefix}-episode-{self.episode_id}")

    def step(self) -> None:
        """A step was made, and the episodes that it began were told."""
        if self.step_trigger and self.step_trigger(self.step_id):
            self.start(f"{self.prefix}-step-{self.step_id}")

    def start(self, name: str) -> None:
        """A video of that name begins; one that runs is ended before."""
        if self.recording:
            self.stop()
        self.recording, self.frames, self._name = True, 0, name

    def take(self, frame: np.ndarray[Any, Any]) -> None:
        """The frame is the video's next one."""
        t, step = self._at()
        self.stream(frame).write(frame, t, step)
        self.frames += 1

    def claim(self, like: np.ndarray[Any, Any]) -> AbstractContextManager[Any]:
        """The memory of the video's next frame, to be filled; ``like`` tells its shape and dtype."""
        t, step = self._at()
        stream = self.stream(like)
        self.frames += 1
        return stream.claim(t, step)

    def _at(self) -> tuple[float, int]:
        return self.frames / float(self._options.fps or 30), self.step_id

    def stream(self, like: np.ndarray[Any, Any]) -> Stream:
        """The running video's stream; begun with its first frame."""
        if self._stream is None:
            path = self.home.path(f"{self._name}.mp4")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", self._name).strip("._-")[:64] or "video"
            self._stream = self.home.stream(
                name, replace(self._options, filename=path), like=like, overflow=self._overflow
            )
        return self._stream

    def cut_to_length(self) -> None:
        """Behind a frame: a video that has one more than its length ends, as Gymnasium's does."""
        if self.recording and self.frames > self.video_length:
            self.stop()

    def stop(self) -> None:
        """The running video ends; its file is finished while the environment goes on."""
        if not self.recording:
            raise OptionError(
                "stop_recording: no video is being recorded", "call start_recording(name) first"
            )
        if self._stream is None:
            logger.warn("Ignored saving a video as there were zero frames to save.")
        else:
            self._stream.close()
        self.recording, self._stream, self.frames = False, None, 0
        if self.gc_trigger and self.gc_trigger(self.episode_id):
            gc.collect()


def check_render_mode(env: Any) -> None:
    """Raise ``ValueError``, as Gymnasium does, if the environment renders no images."""
    if env.render_mode in {None, "human", "ansi"}:
        raise ValueError(
            f"Render mode is {env.render_mode}, which is incompatible with RecordVideo. "
            "Initialize your environment with a render_mode that returns an image, such as rgb_array."
        )


def opened(
    wrapper: Any, env: Any, video_folder: Any, fps: Any, recorder: Any, options: Any
) -> tuple[Home, VideoFile]:
    """What both wrappers begin with: the folder, and the options of every video."""
    if options is None:
        options = VideoFile()
    elif not isinstance(options, VideoFile) or options.filename is not None:
        raise checks.refuse("options", options, "a VideoFile without a filename, such as VideoFile(crf=20)")
    if fps is None:
        fps = options.fps or env.metadata.get("render_fps", 30)
    folder = os.path.abspath(video_folder)
    if os.path.isdir(folder):
        logger.warn(
            f"Overwriting existing videos at {folder} folder "
            f"(try specifying a different `video_folder` for the `RecordVideo` wrapper if this is not desired)"
        )
    os.makedirs(folder, exist_ok=True)
    spec = getattr(env, "spec", None)
    home = Home(
        wrapper, folder, recorder,
        name="videos", overwrite="replace", metadata={"env": spec.id if spec is not None else str(env)},
    )  # fmt: skip
    return home, replace(options, fps=fps)
