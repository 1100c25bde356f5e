"""Videos of an environment: Gymnasium's ``RecordVideo``, with frames that leave the process as they come."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import logger
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from ..options import VideoFile
from ..recorder import Recorder
from .director import Director, Trigger, check_render_mode, opened


class RecordVideo(gymnasium.Wrapper, RecordConstructorArgs):
    """Records videos of episodes: ``gymnasium.wrappers.RecordVideo``, but no frame is kept in this process.

    The same names (``rl-video-episode-0.mp4``), triggers and frame counts. Frames are encoded while the
    episode runs, so memory stays flat and an episode's end takes no time; a video is complete at the
    latest when :meth:`close` returns, and also after a crash of this process. A vector environment gives
    a :class:`VectorRecordVideo`.

    Parameters
    ----------
    env : gymnasium.Env or gymnasium.vector.VectorEnv
        With a render mode that returns images.
    video_folder : str
        Made if it is not there. Videos of the same name are replaced once the new one is complete.
    episode_trigger : callable, optional
        From the number of an episode to whether a video begins with it. With neither trigger: episodes
        0, 1, 8, 27, ..., 729, 1000, 2000, ...
    step_trigger : callable, optional
        From the number of a step, over all episodes, to whether a video begins with it.
    video_length : int
        A video ends with the frame behind so many, whatever the episode does; 0: with its episode.
    name_prefix : str
        What file names begin with.
    fps : int, optional
        Default: ``metadata["render_fps"]`` of the environment, else 30.
    disable_logger : bool
        Accepted, without effect: nothing here draws a progress bar.
    gc_trigger : callable, optional
        From the number of an episode to whether to collect garbage behind its video. Default: never, as
        there are no frames to be collected.
    recorder : Recorder, optional
        One of yours that is to have the videos; you close it. Default: one for this wrapper.
    options : VideoFile, optional
        Codec, quality and the like: ``VideoFile(crf=20)``.
    overflow : {"drop_newest", "block", "drop_oldest"}
        What happens where there is no room for a frame, as in :meth:`Recorder.stream`.

    Raises
    ------
    ValueError
        The render mode gives no images.
    OptionError
        An argument is not allowed.
    """

    def __new__(cls, env: Any = None, *args: Any, **kwargs: Any) -> Any:
        """A wrapper of the kind that fits the environment."""
        if cls is RecordVideo and isinstance(env, VectorEnv):
            from .vector_video import VectorRecordVideo

            return VectorRecordVideo(env, *args, **kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        video_folder: str,
        episode_trigger: Trigger | None = None,
        step_trigger: Trigger | None = None,
        video_length: int = 0,
        name_prefix: str = "rl-video",
        fps: int | None = None,
        disable_logger: bool = True,
        gc_trigger: Trigger | None = None,
        *,
        recorder: Recorder | None = None,
        options: VideoFile | None = None,
        overflow: str = "drop_newest",
    ) -> None:
        # Without the recorder: whoever makes the environment again from its spec has one of his own.
        RecordConstructorArgs.__init__(
            self, video_folder=video_folder, episode_trigger=episode_trigger, step_trigger=step_trigger,
            video_length=video_length, name_prefix=name_prefix, fps=fps, disable_logger=disable_logger,
            gc_trigger=gc_trigger, options=options, overflow=overflow,
        )  # fmt: skip
        gymnasium.Wrapper.__init__(self, env)
        check_render_mode(env)
        home, video = opened(self, env, video_folder, fps, recorder, options)
        self.video_folder, self.frames_per_sec, self.name_prefix = home.folder, video.fps, name_prefix
        self.disable_logger = disable_logger
        self.render_history: list[Any] = []
        self._home = home
        self._director = Director(
            home, video, name_prefix, episode_trigger, step_trigger, video_length, gc_trigger, overflow
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, and begin a video if it is time for one."""
        obs, info = super().reset(seed=seed, options=options)
        self._director.episode()
        self._capture()
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step through the environment, and record the frame if a video runs."""
        output = self.env.step(action)
        self._director.step_id += 1
        self._director.step()
        self._capture()
        return output

    def render(self) -> Any:
        """What the environment's ``render`` gives; a list of frames belongs to a running video."""
        rendered = super().render()
        if self._director.recording and isinstance(rendered, list):
            for frame in rendered:
                self._director.take(frame)
        if self.render_history:
            before, self.render_history = self.render_history, []
            return before + rendered
        return rendered

    def _capture(self) -> None:
        director = self._director
        if not director.recording:
            return
        frame: Any = self.env.render()
        if isinstance(frame, list):
            if not frame:
                logger.warn(
                    "Trying to capture render frame but 'env.render()' has just been called. "
                    "The frame cannot be captured."
                )
                return
            self.render_history += frame
            frame = frame[-1]
        if isinstance(frame, np.ndarray):
            director.take(frame)
        else:
            director.stop()
            logger.warn(
                f"Recording stopped: expected type of frame returned by render to be a numpy array, "
                f"got instead {type(frame)}."
            )
        director.cut_to_length()

    @property
    def recording(self) -> bool:
        """Whether a video runs."""
        return self._director.recording

    @property
    def episode_id(self) -> int:
        """Number of the running episode."""
        return self._director.episode_id

    @property
    def step_id(self) -> int:
        """Number of the latest step, over all episodes."""
        return self._director.step_id

    def start_recording(self, video_name: str) -> None:
        """Begin a video of that name; one that runs is ended before."""
        self._director.start(video_name)

    def stop_recording(self) -> None:
        """End the running video."""
        self._director.stop()

    def close(self) -> None:
        """Close the environment; every video is complete afterwards."""
        try:
            super().close()
        finally:
            if self._director.recording:
                self._director.stop()
            self._home.close()
