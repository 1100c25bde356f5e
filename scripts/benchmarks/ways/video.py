"""Frames encoded in the loop, and counted in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..daemon import children
from ..kinds import FPS, FRAMES, Kind, Sample
from .base import Way


class FFmpegInline(Way):
    """Frames written to ffmpeg by imageio-ffmpeg, with its own settings, in the loop."""

    name = "imageio-ffmpeg, inline"
    families = frozenset({FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import os

        import imageio_ffmpeg

        super().__init__(directory, kind)
        self._path = directory / "inline.mp4"
        height, width, _ = kind.shape
        before = set(children(os.getpid()))
        # 2: frames keep their size, which its own 16 would change for 1080 lines
        self._writer = imageio_ffmpeg.write_frames(
            str(self._path), (width, height), fps=FPS, macro_block_size=2
        )
        self._writer.send(None)
        self._helpers = [*set(children(os.getpid())) - before]

    def write(self, data: Sample, t: float) -> object:
        """Hand a frame to ffmpeg, waiting while its pipe is full."""
        return self._writer.send(data)

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()

    def found(self) -> int | None:
        """Frames."""
        return count_frames(self._path)

    def helpers(self) -> list[int]:
        """Its ffmpeg."""
        return self._helpers


class PyAVInline(Way):
    """PyAV, in the loop, with the settings of Genesis: libx264, 8 Mbit/s, one frame object for all."""

    name = "PyAV, inline (Genesis' way)"
    families = frozenset({FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import av

        super().__init__(directory, kind)
        self._path = directory / "pyav.mp4"
        height, width, _ = kind.shape
        self._container = av.open(str(self._path), "w")
        stream: Any = self._container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 8 << 20
        self._stream = stream
        self._frame = av.VideoFrame(width, height, "rgb24")
        plane = self._frame.planes[0]
        self._pixels = np.asarray(memoryview(plane)).reshape(height, plane.line_size // 3, 3)[:, :width]

    def write(self, data: Sample, t: float) -> object:
        """Encode a frame."""
        self._pixels[:] = data
        for packet in self._stream.encode(self._frame):
            self._container.mux(packet)
        return None

    def close(self) -> None:
        """Complete the file."""
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()

    def found(self) -> int | None:
        """Frames."""
        return count_frames(self._path)


def count_frames(path: Path) -> int:
    """Frames of a video."""
    import imageio_ffmpeg

    return int(imageio_ffmpeg.count_frames_and_secs(str(path))[0])
