"""What a video should be: plain data, checked; no ffmpeg needed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from recd_client.errors import CodecError, OptionError
from recd_client.options import CODECS, PIXEL_FORMATS, VideoFile

from .catalog import ENCODERS, FAMILIES

MP4_SUFFIXES: Final = (".mp4", ".mov")
MAX_SIDE: Final = 16384
_FRAME_SHAPES: Final = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
_INPUT_FORMATS: Final = {1: "gray", 3: "rgb24", 4: "rgba"}
_SEMI_PLANAR: Final = ("nv12", "p010le")


@dataclass(frozen=True)
class VideoSettings:
    """What a video should be; checked on construction.

    Parameters
    ----------
    width, height : int, pixels
        Size of the frames as they come.
    channels : {1, 3, 4}
        Gray, RGB, or RGBA. Alpha is dropped and the colours kept as rendered, unless the pixel format has
        alpha (``"bgra"``, ``"rgba"``).
    fps : Fraction
        Frames per second of the file, constant.
    codec : str, optional
        A family (``"h264"``) or an encoder (``"libx264"``); None is the best that works.
    bitrate : int, optional
        Bits per second; takes the place of constant quality.
    crf : float, optional
        Constant quality in the encoder's own measure, lower is better; None is its usual value.
    pixel_format : str
        Of the file. YUV formats are BT.709, limited range; gray and RGB ones hold the values as they came.
    codec_options : mapping
        Further options of the encoder.
    title : str
        Goes into the file's metadata.

    Raises
    ------
    CodecError, OptionError
        A value is not allowed; the message says what is.
    """

    width: int
    height: int
    channels: int
    fps: Fraction
    codec: str | None = None
    bitrate: int | None = None
    crf: float | None = None
    pixel_format: str = "yuv420p"
    codec_options: Mapping[str, str | int | float] = field(default_factory=dict, hash=False)
    title: str = ""

    def __post_init__(self) -> None:
        sides = (self.width, self.height)
        if min(sides) < 1 or max(sides) > MAX_SIDE or self.channels not in (1, 3, 4):
            raise OptionError(
                f"frames of {self.width}x{self.height} with {self.channels} channels are no video",
                f"use {_FRAME_SHAPES} with sides from 1 to {MAX_SIDE}",
            )
        if self.fps <= 0:
            raise OptionError(f"fps={self.fps}: expected more than 0 frames per second", "change fps")
        if self.codec is not None and self.codec not in FAMILIES and self.codec not in ENCODERS:
            close = difflib.get_close_matches(self.codec, CODECS, 1)
            raise CodecError(
                f"codec={self.codec!r}: expected one of {', '.join(CODECS)}",
                f"did you mean {close[0]!r}?" if close else "leave codec out: the best that works is taken",
            )
        if self.pixel_format not in PIXEL_FORMATS:
            raise CodecError(
                f"pixel_format={self.pixel_format!r}: expected one of {', '.join(PIXEL_FORMATS)}",
                "leave pixel_format out: yuv420p plays everywhere",
            )

    @classmethod
    def of(cls, shape: tuple[int, ...], fps: Fraction, options: VideoFile) -> VideoSettings:
        """Settings for frames of this shape and a user's options.

        Parameters
        ----------
        shape : tuple of int
            ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``.
        fps : Fraction
            Frames per second; ``options.fps`` is not looked at.
        options : VideoFile

        Raises
        ------
        CodecError, OptionError
            As for the class.
        """
        if len(shape) not in (2, 3):
            raise OptionError(f"frames of shape {shape} are no video", f"use {_FRAME_SHAPES}")
        return cls(
            width=shape[1],
            height=shape[0],
            channels=shape[2] if len(shape) == 3 else 1,
            fps=fps,
            codec=options.codec,
            bitrate=None if options.bitrate is None else int(options.bitrate),
            crf=options.crf,
            pixel_format=options.pixel_format,
            codec_options=options.codec_options,
            title=options.name,
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame as it comes."""
        return self.width * self.height * self.channels * self.value_bytes

    @property
    def value_bytes(self) -> int:
        """Bytes of one value of a pixel, as it comes."""
        return 2 if self.input_format == "gray16le" else 1

    @property
    def input_format(self) -> str:
        """What ffmpeg calls the frames as they come."""
        if self.pixel_format == "gray16le":
            return self.pixel_format
        return _INPUT_FORMATS[self.channels]

    @property
    def is_yuv(self) -> bool:
        """Whether the file stores luma and chroma, so that colours are converted."""
        return self.pixel_format.startswith("yuv") or self.pixel_format in _SEMI_PLANAR

    @property
    def padding(self) -> tuple[int, int]:
        """Columns at the right and rows at the bottom that are added because chroma needs even sizes."""
        down = "420" in self.pixel_format or self.pixel_format in _SEMI_PLANAR
        across = down or "422" in self.pixel_format
        return (self.width % 2 if across else 0, self.height % 2 if down else 0)

    @property
    def file_size(self) -> tuple[int, int]:
        """Width and height in the file, padding included."""
        right, bottom = self.padding
        return self.width + right, self.height + bottom
