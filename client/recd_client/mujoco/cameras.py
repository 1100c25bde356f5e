"""Cameras of a model: rendered straight into the memory of a stream's next frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from .. import checks
from ..clock import Gate
from ..errors import OptionError
from ..options import VideoFile
from ..recorder import Recorder
from ..stream import Stream

CameraName = str | int
#: Of a camera: what it is, its stream's name, its file, and frames per second of simulated time.
Roll = tuple[CameraName, str, VideoFile, float]


class Camera:
    """One camera: renders straight into the memory of its next frame.

    Parameters
    ----------
    camera : str or int
    stream : Stream
    gate : Gate
        Tells which frames are due.
    renderer : mujoco.Renderer
    scene_option : mujoco.MjvOption or None
    """

    def __init__(
        self, camera: CameraName, stream: Stream, gate: Any, renderer: Any, scene_option: Any
    ) -> None:
        self.stream = stream
        self.gate = gate
        self._camera = camera
        self._renderer = renderer
        self._option = scene_option

    def shoot(self, data: mujoco.MjData, t: float, step: int) -> None:
        """Record a frame."""
        renderer = self._renderer
        renderer.update_scene(data, camera=self._camera, scene_option=self._option)
        with self.stream.claim(t, step) as pixels:
            renderer.render(out=pixels)


def load_camera(
    recorder: Recorder, model: mujoco.MjModel, roll: Roll, renderer: Any, scene_option: Any, overflow: str
) -> Camera:
    """A camera with a stream of its own, of frames as large as the renderer's."""
    camera, stream_name, video, rate_hz = roll
    like = np.broadcast_to(np.uint8(0), (renderer.height, renderer.width, 3))
    film = recorder.stream(stream_name, video, like=like, overflow=overflow)
    return Camera(camera, film, Gate(rate_hz, float(model.opt.timestep)), renderer, scene_option)


def rolls_of(model: mujoco.MjModel, cameras: Any, fps: float) -> list[Roll]:
    """Of each camera: what it is, its stream's name, its file, and frames per second of simulated time."""
    if isinstance(cameras, (str, int)):
        cameras = (cameras,)
    wanted = dict(cameras) if isinstance(cameras, Mapping) else dict.fromkeys(cameras)
    found = []
    for camera, video in wanted.items():
        if video is None:
            video = VideoFile()
        if not isinstance(video, VideoFile):
            raise checks.refuse("cameras", video, "a VideoFile for each camera, or names alone")
        name = _camera_name(model, camera)
        rate_hz = video.hz or float(video.frame_rate or fps)
        filename = f"{name}.mp4" if video.filename is None else video.filename
        found.append(
            (camera, name, replace(video, filename=filename, fps=video.fps or rate_hz, hz=None), rate_hz)
        )
    return found


def _camera_name(model: mujoco.MjModel, camera: Any) -> str:
    """A stream's name for the camera, which the model is proved to have."""
    names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_CAMERA, i) for i in range(model.ncam)]
    if isinstance(camera, str) and camera in names:
        label = camera
    elif isinstance(camera, int) and not isinstance(camera, bool) and -1 <= camera < model.ncam:
        label = "free" if camera < 0 else names[camera] or f"camera{camera}"
    else:
        there = ", ".join(repr(n or i) for i, n in enumerate(names)) or "none"
        raise OptionError(
            f"cameras: the model has no camera {camera!r}, it has {there}",
            "name one of them, or -1 for the free one",
        )
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_.-" else "_" for c in label)[:64]


def renderer_of(model: mujoco.MjModel, width: Any, height: Any) -> Any:
    """A renderer of this size.

    Raises
    ------
    OptionError
        The model's offscreen buffer is smaller, or nothing can be rendered here.
    """
    for side, length, most in (
        ("width", width, model.vis.global_.offwidth),
        ("height", height, model.vis.global_.offheight),
    ):
        checks.whole(side, length, 1, 1 << 16, unit="pixels")
        if length > most:
            raise OptionError(
                f"{side}={length}: the model's offscreen buffer has {most} pixels",
                f"pass less, or model.vis.global_.off{side} = {length} before",
            )
    try:
        return mujoco.Renderer(model, height, width)
    except (mujoco.FatalError, RuntimeError, AttributeError, ImportError) as e:
        raise OptionError(
            f"no frame can be rendered here: {type(e).__name__}: {e}",
            "without a display, set MUJOCO_GL=egl (or osmesa) before mujoco is imported",
        ) from e
