"""Videos of vector environments: all sub-environments in one picture, or a video of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium import logger
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from .. import checks
from ..errors import SchemaError
from ..options import VideoFile
from ..recorder import Recorder
from .autoreset import autoreset_mode_of, reset_mask_of
from .director import Director, Trigger, check_render_mode, opened

_LAYOUTS: Final = ("tiled", "separate")


class VectorRecordVideo(VectorWrapper, RecordConstructorArgs):
    """Records videos of a vector environment: ``gymnasium.wrappers.vector.RecordVideo``, without its memory.

    With ``layout="tiled"``, Gymnasium's, one video shows all sub-environments side by side, and the
    episodes of the first one decide when it begins and ends. With ``layout="separate"`` each
    sub-environment has videos of its own, ``rl-video-env-3-episode-0.mp4``, which begin and end with its
    own episodes. Where the environment resets in the same step, the last frame of an episode cannot be
    rendered any more, so it is missing from either.

    Parameters
    ----------
    env : gymnasium.vector.VectorEnv
        With a render mode that returns an image of each sub-environment.
    video_folder : str
    video_aspect_ratio : (int, int)
        Width and height that a tiled picture should be close to.
    record_first_only : bool
        Show the first sub-environment alone.
    episode_trigger, step_trigger, video_length, name_prefix, fps, disable_logger, gc_trigger
        As of :class:`RecordVideo`.
    layout : {"tiled", "separate"}
    recorder, options, overflow
        As of :class:`RecordVideo`.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        video_folder: str,
        video_aspect_ratio: tuple[int, int] = (1, 1),
        record_first_only: bool = False,
        episode_trigger: Trigger | None = None,
        step_trigger: Trigger | None = None,
        video_length: int = 0,
        name_prefix: str = "rl-video",
        fps: int | None = None,
        disable_logger: bool = True,
        gc_trigger: Trigger | None = None,
        *,
        layout: str = "tiled",
        recorder: Recorder | None = None,
        options: VideoFile | None = None,
        overflow: str = "drop_newest",
    ) -> None:
        VectorWrapper.__init__(self, env)
        RecordConstructorArgs.__init__(
            self, video_folder=video_folder, video_aspect_ratio=video_aspect_ratio,
            record_first_only=record_first_only, episode_trigger=episode_trigger, step_trigger=step_trigger,
            video_length=video_length, name_prefix=name_prefix, fps=fps, disable_logger=disable_logger,
            gc_trigger=gc_trigger, layout=layout, options=options, overflow=overflow,
        )  # fmt: skip
        check_render_mode(env)
        checks.one_of("layout", layout, _LAYOUTS)
        if not isinstance(video_aspect_ratio, Sequence) or len(video_aspect_ratio) != 2:
            raise checks.refuse("video_aspect_ratio", video_aspect_ratio, "width and height, such as (16, 9)")
        for side in video_aspect_ratio:
            checks.positive("video_aspect_ratio", side, unit="a ratio")
        self.autoreset_mode = autoreset_mode_of(env)
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            logger.warn(
                "Vector environment's autoreset mode is same-step "
                "(https://farama.org/Vector-Autoreset-Mode). "
                "Recorded episodes will not contain the last frame of the episode."
            )
        home, video = opened(self, env, video_folder, fps, recorder, options)
        self.video_folder, self.frames_per_sec, self.name_prefix = home.folder, video.fps, name_prefix
        self.video_aspect_ratio = video_aspect_ratio
        self.record_first_only = record_first_only
        self.disable_logger = disable_logger
        self._home = home
        self._tiled = layout == "tiled"
        self._grid: tuple[int, int] | None = None
        prefixes = [name_prefix]
        if not self._tiled:
            shown = 1 if record_first_only else env.num_envs
            prefixes = [f"{name_prefix}-env-{i}" for i in range(shown)]
        #: By sub-environment; of tiled videos there is one, which follows the first.
        self._directors = [
            Director(home, video, prefix, episode_trigger, step_trigger, video_length, gc_trigger, overflow)
            for prefix in prefixes
        ]
        self._over = np.zeros(env.num_envs, np.bool_)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or those of ``options["reset_mask"]``; a video begins if it is time."""
        mask = reset_mask_of(options, self.num_envs)
        output = super().reset(seed=seed, options=options)
        for i, director in enumerate(self._directors):
            if mask[i]:
                director.episode()
        self._over[mask] = False
        self._capture(mask)
        return output

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step through all sub-environments, and record their frames if a video runs."""
        output = self.env.step(actions)
        over = np.logical_or(output[2], output[3])
        begun = {
            AutoresetMode.NEXT_STEP: self._over,
            AutoresetMode.SAME_STEP: over,
        }.get(self.autoreset_mode)
        for i, director in enumerate(self._directors):
            director.step_id += 1
            if begun is not None and begun[i]:
                director.episode()
            director.step()
        self._over = over
        self._capture()
        return output

    def _capture(self, changed: NDArray[np.bool_] | None = None) -> None:
        """Record a frame; of separate videos only of the sub-environments that changed."""
        if not any(d.recording for d in self._directors):
            return
        frames: Any = self.env.render()
        if not isinstance(frames, (Sequence, np.ndarray)) or len(frames) != self.num_envs:
            raise SchemaError(
                f"render gave {type(frames).__name__}, expected an image of each of the "
                f"{self.num_envs} sub-environments",
                "make the environment with render_mode='rgb_array'",
            )
        if self._tiled:
            self._capture_tiled(frames[:1] if self.record_first_only else frames)
            return
        for i, (director, frame) in enumerate(zip(self._directors, frames, strict=False)):
            if director.recording and (changed is None or changed[i]):
                director.take(frame)
                director.cut_to_length()

    def _capture_tiled(self, frames: Sequence[NDArray[Any]] | NDArray[Any]) -> None:
        director = self._directors[0]
        height, width, *channels = frames[0].shape
        if self._grid is None:
            self._grid = grid_of(len(frames), height / width, self.video_aspect_ratio)
        rows, columns = self._grid
        like = np.broadcast_to(frames[0].dtype.type(0), (rows * height, columns * width, *channels))
        with director.claim(like) as picture:  # the tiles go straight into shared memory
            for i, frame in enumerate(frames):
                y, x = i // columns * height, i % columns * width
                picture[y : y + height, x : x + width] = frame
        director.cut_to_length()

    @property
    def recording(self) -> bool:
        """Whether a video runs, of any sub-environment."""
        return any(d.recording for d in self._directors)

    @property
    def episode_id(self) -> int:
        """Number of the running episode of the first sub-environment."""
        return self._directors[0].episode_id

    @property
    def step_id(self) -> int:
        """Number of the latest step."""
        return self._directors[0].step_id

    def start_recording(self, video_name: str) -> None:
        """Begin a video of that name; of ``separate`` ones with ``-env-0``, ``-env-1``, ... behind it."""
        for i, director in enumerate(self._directors):
            director.start(video_name if self._tiled else f"{video_name}-env-{i}")

    def stop_recording(self) -> None:
        """End the running video, or all of them."""
        running = [d for d in self._directors if d.recording]
        for director in running or self._directors[:1]:
            director.stop()

    def close(self, **kwargs: Any) -> None:
        """Close the environment; every video is complete afterwards."""
        try:
            super().close(**kwargs)
        finally:
            for director in self._directors:
                if director.recording:
                    director.stop()
            self._home.close()


def grid_of(count: int, height_per_width: float, ratio: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns whose picture comes closest to a ratio of width to height, as Gymnasium has it."""
    wanted = ratio[0] / ratio[1]
    grids = [(rows, count // rows) for rows in range(1, int(count**0.5) + 1) if count % rows == 0]
    return min(grids, key=lambda g: abs(g[1] / (g[0] * height_per_width) - wanted))
