"""Cameras: what ``install`` puts in the place of ``start_recording`` and ``stop_recording``.

0.4.5 keeps all images that ``render()`` made and encodes them when the recording stops; 1.4.5 renders by
itself and encodes as it goes. Both keep the loop that decides which images count, and get another place
for them.
"""

from __future__ import annotations

import inspect
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from ..errors import OutputError, RecdError
from ..options import VideoFile
from ..stream import Stream
from . import recording
from .recording import close, open_recorder, stop_at_exit


def replacements(gs: Any, camera: Any) -> dict[str, Callable[..., Any]]:
    """The methods of Genesis' Camera to replace, by name."""
    return _collected(gs, camera) if _collects(camera) else _encoded(gs, camera)


def _collects(camera: Any) -> bool:
    """Whether the file is named when the recording stops, as in 0.4.5."""
    return "save_to_filename" in inspect.signature(camera.stop_recording).parameters


class _Session:
    """The recording of one camera, from start to stop."""

    def __init__(self, camera: Any) -> None:
        self.settings = recording.settings
        self._scene = camera._visualizer.scene
        self.name = f"camera_{camera.idx}"
        self.recorder = open_recorder(self.name, self._scene.dt, self.settings)

    def now(self) -> tuple[float, int]:
        """Simulated time and step."""
        step = int(self._scene.sim.cur_step_global)
        return step * self._scene.dt, step


# --- 1.4.5 ----------------------------------------------------------------------------------------
class _Encoder:
    """In the place of Genesis' VideoEncoder: one video file."""

    def __init__(self, session: _Session, stream: Stream, last: bool) -> None:
        self._session = session
        self._stream = stream
        self._last = last
        stop_at_exit(self, "close")

    def write(self, frame: Any) -> None:
        """The frame is in shared memory, or counted as lost."""
        self._stream.write(frame, *self._session.now())

    def close(self) -> None:
        """The file is complete once the encoder of the last environment is closed; what fails is a warning.

        Genesis would leave the camera recording behind an error that is none of its own.
        """
        try:
            self._stream.close()
            if self._last:
                close(self._session.recorder)
        except RecdError as e:
            warnings.warn(f"{self._session.name}: {e}", RuntimeWarning, stacklevel=2)


def _encoded(gs: Any, camera: Any) -> dict[str, Callable[..., Any]]:
    start = camera.start_recording

    def start_recording(self: Any, save_to_filename: str | None = None, fps: float | None = None) -> None:
        resumed = bool(self._recorded_encoders)
        start(self, save_to_filename, fps)
        if resumed:
            return
        # Genesis' encoders make their files with the first frame: these never get one
        theirs = self._recorded_encoders
        try:
            session = _Session(self)
            ours = []
            for i, encoder in enumerate(theirs):
                path = session.settings.path(encoder._filename)
                sink = VideoFile(
                    path, fps=encoder._fps, name=encoder._name, bitrate=_bitrate(encoder._bitrate)
                )
                stream = session.recorder.stream(f"{session.name}_{i}", sink, hz=None)
                ours.append(_Encoder(session, stream, last=i == len(theirs) - 1))
        except BaseException:
            theirs.clear()
            self._is_recording = False
            raise
        theirs[:] = ours

    start_recording.__doc__ = start.__doc__
    return {"start_recording": start_recording}


def _bitrate(mebibits: float) -> int:
    return int(mebibits * 8 * 1024**2)


# --- 0.4.5 ----------------------------------------------------------------------------------------
class _Images:
    """In the place of the list to which Genesis appends what it renders."""

    def __init__(self, camera: Any) -> None:
        self._session = _Session(camera)
        self._envs = [*camera._visualizer._context.rendered_envs_idx] if camera._is_batched else None
        self._streams: list[Stream] = []
        self._count = 0

    def append(self, image: Any) -> None:
        """The image is in shared memory, or counted as lost."""
        t, step = self._session.now()
        images = [image] if self._envs is None else [image[i] for i in self._envs]
        if not self._streams:
            name, add = self._session.name, self._session.recorder.stream
            names = [name] if self._envs is None else [f"{name}_{i}" for i in self._envs]
            self._streams = [add(n, VideoFile()) for n in names]
        for stream, one in zip(self._streams, images, strict=True):
            stream.write(one, t, step)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("the images of this recording are in its file: recd keeps none in memory")

    def clear(self) -> None:
        """Genesis is done with them."""

    def finish(self, filename: str, fps: float) -> None:
        """The file, or one for each environment, is complete under this name."""
        stem, suffix = os.path.splitext(filename)
        moves = []
        for n, stream in enumerate(self._streams):
            name = filename if self._envs is None else f"{stem}_{self._envs[n]}{suffix}"
            path = self._session.settings.path(name)
            try:
                stream.close(filename=path, fps=fps)
            except OutputError:  # on another file system
                before = stream.files[0]
                stream.close(fps=fps)
                moves.append((before, path))
        close(self._session.recorder)
        for before, path in moves:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.move(before, path)


def _collected(gs: Any, camera: Any) -> dict[str, Callable[..., Any]]:
    start, stop = camera.start_recording, camera.stop_recording

    def start_recording(self: Any) -> None:
        start(self)
        if not isinstance(self._recorded_imgs, _Images) and not self._recorded_imgs:
            self._recorded_imgs = _Images(self)
            self.stop_recording = MethodType(stop_recording, self)  # its own again, also behind uninstall()

    def stop_recording(self: Any, save_to_filename: str | None = None, fps: float = 60) -> None:
        images = self._recorded_imgs
        if not isinstance(images, _Images) or not self._in_recording:
            stop(self, save_to_filename, fps)
            return
        if save_to_filename is None:
            script = os.path.splitext(os.path.basename(inspect.stack()[-1].filename))[0]
            save_to_filename = f"{script}_cam_{self.idx}_{time.strftime('%Y%m%d_%H%M%S')}.mp4"
        if not images:
            gs.logger.warning("No image to save.")
        self._recorded_t_prev = -1
        self._recorded_imgs = []
        self._in_recording = False
        del self.stop_recording
        images.finish(save_to_filename, fps)

    start_recording.__doc__, stop_recording.__doc__ = start.__doc__, stop.__doc__
    return {"start_recording": start_recording, "stop_recording": stop_recording}
