"""What can be said about a video."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from . import checks
from .errors import CodecError
from .sink_options import SinkOptions

if TYPE_CHECKING:
    from fractions import Fraction

#: Codec families, then encoders by the name that ffmpeg gives them.
CODECS: Final = (
    "h264", "hevc", "av1", "vp9", "ffv1", "mpeg4",
    "libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9",
    "h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_vaapi", "hevc_vaapi", "h264_qsv", "hevc_qsv",
)  # fmt: skip
PIXEL_FORMATS: Final = (
    "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le",
    "nv12", "p010le", "gray", "gray10le", "gray16le", "gbrp", "bgr0", "bgra", "rgb24", "rgba",
)  # fmt: skip
#: The colour map of whole numbers that name things, as in a segmentation.
CATEGORIES: Final = "categories"
COLORMAPS: Final = ("viridis", "magma", "turbo", CATEGORIES)
TILE: Final = "tile"
SEPARATE: Final = "separate"
#: ffmpeg options that are no codec's, with the argument that stands for them here.
_NOT_CODEC_OPTIONS: Final = {
    "c": "codec", "codec": "codec", "vcodec": "codec", "b": "bitrate", "crf": "crf", "r": "fps",
    "pix_fmt": "pixel_format", **dict.fromkeys(
        ("i", "f", "y", "n", "s", "t", "to", "ss", "vf", "af", "map", "filter", "filter_complex", "lavfi",
         "filter_script", "filter_complex_script", "attach", "dump_attachment", "passlogfile", "report",
         "progress", "stats", "vstats", "vstats_file", "sdp_file", "protocol_whitelist", "init_hw_device",
         "vframes", "frames", "loglevel", "v", "safe"), ""),
}  # fmt: skip
_OPTION_KEY: Final = re.compile(r"[a-z0-9_][a-z0-9_-]*")


@dataclass(frozen=True)
class VideoFile(SinkOptions):
    """A video of a stream of images.

    Parameters
    ----------
    filename : str or path-like, optional
        Ends with ``.mp4``, ``.mov`` or ``.mkv``; without one the file is named when the stream closes.
    fps : int, float, Fraction or str, optional
        Frames per second of the file (``"30000/1001"`` too); default: the stream's ``hz``, else ``1/dt``,
        else 30.
    codec : str, optional
        One of :data:`CODECS`; default: the best that works on this machine, hardware first.
    bitrate : int or str, optional
        Bits per second: ``8_000_000``, ``"8M"``.
    crf : float, optional
        Constant quality, 0 to 63, lower is better; not together with ``bitrate``.
    pixel_format : str
        One of :data:`PIXEL_FORMATS`.
    codec_options : dict
        Further options of the encoder, ``{"preset": "slow", "g": 60}``.
    name : str
        Title in the file's metadata.
    scale : (float, float), optional
        Values that become black and white (or the ends of the colour map, or 0 and 65535); needed for
        images that are not uint8. What lies beyond is clipped; NaN becomes the lower end.
    save_on_reset : bool
        Begin a new numbered part at each whole reset.
    colormap : str, optional
        One of :data:`COLORMAPS`, for images of one value per pixel; ``"categories"`` gives each whole
        number a colour of its own.
    batch : {"tile", "separate"} or int, optional
        For samples that are batches ``(N, H, W, ...)``: all side by side in one video, a video of each
        (``stem_env0.mp4``, ...), or only the image of this number.
    """

    kind: ClassVar[str] = "video"
    suffixes: ClassVar[tuple[str, ...]] = (".mp4", ".mov", ".mkv")

    filename: str | os.PathLike[str] | None = None
    fps: float | Fraction | str | None = None
    codec: str | None = None
    bitrate: int | str | None = None
    crf: float | None = None
    pixel_format: str = "yuv420p"
    codec_options: Mapping[str, str | int | float] = field(default_factory=dict, hash=False)
    name: str = ""
    scale: tuple[float, float] | None = None
    save_on_reset: bool = False
    colormap: str | None = None
    batch: str | int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("fps", checked_fps(self.fps))
        if self.codec is not None and (not isinstance(self.codec, str) or self.codec not in CODECS):
            allowed = ", ".join(CODECS)
            raise CodecError(f"codec={self.codec!r}: expected one of {allowed}", "or leave codec out")
        if self.bitrate is not None:
            self._set("bitrate", _checked_bitrate(self.bitrate))
        if self.crf is not None:
            crf = checks.positive("crf", self.crf, unit="0 to 63, lower is better", zero=True)
            if crf > 63 or self.bitrate is not None:
                raise checks.refuse("crf", self.crf, "a number from 0 to 63, without bitrate")
            self._set("crf", crf)
        checks.one_of("pixel_format", self.pixel_format, PIXEL_FORMATS)
        self._set("codec_options", _checked_codec_options(self.codec_options))
        checks.text("name", self.name)
        if self.scale is not None:
            self._set("scale", _checked_scale(self.scale))
        if self.colormap is not None:
            self._check_colormap()
        if self.is_16_bit:
            self._check_16_bit()
        if isinstance(self.batch, str):
            checks.one_of("batch", self.batch, (TILE, SEPARATE))
        elif self.batch is not None:
            self._set("batch", checks.whole("batch", self.batch, 0, 1 << 20, unit="number of the one image"))

    def _check_colormap(self) -> None:
        checks.one_of("colormap", self.colormap, COLORMAPS)
        if self.colormap == CATEGORIES and self.scale is not None:
            raise checks.refuse(
                "scale", self.scale, f"none with colormap='{CATEGORIES}': every number has a colour"
            )
        if self.pixel_format.startswith("gray"):
            expected = f"a format with colours beside colormap={self.colormap!r}"
            raise checks.refuse("pixel_format", self.pixel_format, expected)

    def _check_16_bit(self) -> None:
        """Of the codecs only FFV1 keeps 16 bits, and of the files only Matroska takes that everywhere."""
        if self.codec not in (None, "ffv1"):
            raise checks.refuse("codec", self.codec, "'ffv1' with pixel_format='gray16le'", "leave codec out")
        self._set("codec", "ffv1")
        if self.path is None or self.path.suffix.lower() != ".mkv":
            raise checks.refuse(
                "filename", self.filename, "a name ending with .mkv with pixel_format='gray16le'"
            )

    @property
    def is_16_bit(self) -> bool:
        """Whether the file holds 16-bit values, exactly."""
        return self.pixel_format == "gray16le"

    @property
    def frame_rate(self) -> Fraction | None:
        """The ``fps`` as an exact ratio."""
        return None if self.fps is None else as_frame_rate(self.fps)


def checked_fps(fps: Any) -> float | Fraction | None:
    """A frame rate above 0 and up to 10,000, or None."""
    if fps is None:
        return None
    if checks.is_number(fps):
        value: Any = int(fps) if checks.is_whole(fps) else float(fps)
    else:
        from fractions import Fraction  # rarely needed, and it loads decimal

        try:
            value = Fraction(fps) if isinstance(fps, (str, Fraction)) else math.nan
        except (ValueError, ZeroDivisionError):
            value = math.nan
    if not 0 < value <= 10_000:
        raise checks.refuse("fps", fps, "a number > 0 (frames per second), or a ratio such as '30000/1001'")
    return value  # type: ignore[no-any-return]


def as_frame_rate(fps: float | Fraction | str) -> Fraction:
    """The ratio that an encoder can keep exactly: 1/0.03 is 100/3."""
    from fractions import Fraction

    return Fraction(fps).limit_denominator(1001)


def _checked_bitrate(bitrate: Any) -> int:
    expected = "bits per second from 1000 on, such as 8_000_000 or '8M'"
    if isinstance(bitrate, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMG]?)", bitrate)
        if found is None:
            raise checks.refuse("bitrate", bitrate, expected)
        bitrate = round(float(found[1]) * 1000 ** " kMG".index(found[2].replace("K", "k") or " "))
    if not checks.is_whole(bitrate) or not 1000 <= bitrate <= 10**11:
        raise checks.refuse("bitrate", bitrate, expected)
    return int(bitrate)


def _checked_scale(scale: Any) -> tuple[float, float]:
    expected = "(low, high): two numbers with low < high"
    if not isinstance(scale, (tuple, list)) or len(scale) != 2 or not all(map(checks.is_number, scale)):
        raise checks.refuse("scale", scale, expected)
    low, high = float(scale[0]), float(scale[1])
    if not -1e308 < low < high < 1e308:
        raise checks.refuse("scale", scale, expected)
    return low, high


def _checked_codec_options(options: Any) -> dict[str, str | int | float]:
    if not isinstance(options, Mapping):
        raise checks.refuse("codec_options", options, "a dict such as {'preset': 'slow'}")
    out: dict[str, str | int | float] = {}
    for key, value in options.items():
        if not isinstance(key, str) or not _OPTION_KEY.fullmatch(key):
            raise checks.refuse("codec_options key", key, "letters a-z, digits, '_' and '-'")
        if key in _NOT_CODEC_OPTIONS:
            instead = _NOT_CODEC_OPTIONS[key]
            raise checks.refuse(
                "codec_options key", key, "an option of the encoder",
                f"use VideoFile({instead}=...)" if instead else "leave it out: recd sets it",
            )  # fmt: skip
        if isinstance(value, str):
            out[key] = checks.text(f"codec_options[{key!r}]", value, most=1024)
        elif checks.is_number(value):
            out[key] = int(value) if checks.is_whole(value) else float(value)
        else:
            raise checks.refuse(f"codec_options[{key!r}]", value, "a string or a number")
    return out
