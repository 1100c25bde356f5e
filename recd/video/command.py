"""The arguments with which ffmpeg encodes raw frames from its standard input.

Colours: RGB and gray come full range and become BT.709, limited range, tagged as such, so that a player
shows what was rendered: flat colours within 4 of 255, grays within 1, measured with libx264. The
conversion rounds exactly and uses the chroma of every pixel, which measured as fast as ffmpeg's default.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Final

from recd_client.errors import CodecError, OptionError
from recd_client.options import PIXEL_FORMATS

from . import ffmpeg
from .catalog import ENCODERS
from .settings import MP4_SUFFIXES, VideoSettings

_KEY_FRAME_EVERY_S: Final = 2
_LEAST_KEY_FRAMES_APART: Final = 12
_MOST_KEY_FRAMES_APART: Final = 250
_PIXELS_PER_THREAD: Final = 500_000
_BT709: Final = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
#: Options of all encoders that may be set. ffmpeg would take many more, which open files or filter.
_COMMON_OPTIONS: Final = frozenset(
    {
        *("g", "keyint_min", "sc_threshold", "refs", "qmin", "qmax", "qdiff", "maxrate", "minrate"),
        *("bufsize", "threads", "slices", "profile", "level", "global_quality", "compression_level"),
        *("trellis", "subq", "me_range", "cmp", "subcmp", "mbcmp", "context"),
    }
)
#: Options of encoders that may not: they reorder frames, open files, or have an argument of their own.
_REFUSED_OPTIONS: Final = frozenset({"bf", "b", "crf", "passlogfile", "stats", "x264opts"})


def arguments(settings: VideoSettings, encoder: str, path: Path, suffix: str = "") -> list[str]:
    """Everything after the executable, to encode frames of ``settings.file_size`` into ``path``.

    ``suffix`` tells the format where the path's own does not.

    Raises
    ------
    CodecError, OptionError
        The encoder does not take the pixel format, or has no such option.
    """
    spec = ENCODERS[encoder]
    width, height = settings.file_size
    vaapi_device = spec.device() if encoder.endswith("_vaapi") else None
    return [
        *(*ffmpeg.QUIET, "-y", "-filter_threads", "1"),
        *(("-vaapi_device", vaapi_device) if vaapi_device else ()),
        *(*ffmpeg.LOCAL_ONLY, "-f", "rawvideo", "-pix_fmt", settings.input_format),
        *("-video_size", f"{width}x{height}", "-framerate", str(settings.fps), "-i", "pipe:0"),
        *("-map", "0:v:0", "-vf", _filters(settings, encoder)),
        *("-c:v", encoder, *_encoder_arguments(settings, encoder)),
        *(("-metadata", f"title={settings.title}") if settings.title else ()),
        *(*_container_arguments(suffix or path.suffix), ffmpeg.url(path)),
    ]


def transcoding(
    settings: VideoSettings, encoder: str, source: Path, start: float, count: int, path: Path
) -> list[str]:
    """Everything after the executable, to encode a stretch of a film once more, as it is in the file.

    Parameters
    ----------
    settings : VideoSettings
        Of the film: its own size, pixel format and rate.
    encoder : str
    source : Path
    start : float, s
        Half a frame before the first one.
    count : int
        How many frames.
    path : Path
    """
    seek = ("-ss", f"{start:.9f}") if start > 0 else ()
    return [
        *(*ffmpeg.QUIET, "-y", *ffmpeg.LOCAL_ONLY, *seek, "-i", ffmpeg.url(source), "-map", "0:v:0"),
        *("-vf", f"setpts=N/({settings.fps})/TB", "-r", str(settings.fps), "-frames:v", str(count)),
        *(
            "-pix_fmt",
            _encoder_format(settings, encoder),
            "-c:v",
            encoder,
            *_encoder_arguments(settings, encoder),
        ),
        *("-f", path.suffix[1:] if path.suffix in MP4_SUFFIXES else "matroska", ffmpeg.url(path)),
    ]


def _filters(settings: VideoSettings, encoder: str) -> str:
    """From raw full-range pixels to what the encoder takes."""
    if settings.is_yuv:
        flags = "bicubic+accurate_rnd+full_chroma_inp+full_chroma_int"
        scale = f"scale=in_range=full:out_range=limited:out_color_matrix=bt709:flags={flags}"
        tags = "setparams=range=limited:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    else:
        scale, tags = "scale=in_range=full:out_range=full", "setparams=range=full"
    upload = ["hwupload"] if encoder.endswith("_vaapi") else []
    return ",".join([scale, f"format={_encoder_format(settings, encoder)}", tags, *upload])


def _encoder_format(settings: VideoSettings, encoder: str) -> str:
    """The pixel format that the encoder is handed for the one that was asked for."""
    surfaces, asked = ENCODERS[encoder].surfaces, settings.pixel_format
    taken = tuple(surfaces) if surfaces else ffmpeg.pixel_formats(encoder)
    if taken and asked not in taken:
        known = ", ".join(f for f in PIXEL_FORMATS if f in taken)
        raise CodecError(f"{encoder} does not take {asked}", f"use pixel_format={known}")
    return surfaces.get(asked, asked)


def _encoder_arguments(settings: VideoSettings, encoder: str) -> list[str]:
    _check_options(settings, encoder)
    spec = ENCODERS[encoder]
    apart = round(settings.fps * _KEY_FRAME_EVERY_S)
    options: dict[str, str | int | float] = {
        "g": max(_LEAST_KEY_FRAMES_APART, min(apart, _MOST_KEY_FRAMES_APART)),
        "threads": _threads(settings),
        **spec.usual,
        **settings.codec_options,
    }
    if settings.bitrate is not None:
        options["b"] = settings.bitrate
    elif spec.quality is not None:
        name, usual = spec.quality
        options[name] = usual if settings.crf is None else settings.crf
        if name in ("crf", "cq"):
            options["b"] = 0  # VP9, AV1 and NVENC: quality alone decides
    if spec.params is not None:
        name, added = spec.params
        options[name] = f"{options[name]}:{added}" if name in options else added
    words = [word for key, value in options.items() for word in (f"-{key}:v", _text(value))]
    tags = ("-color_range", "tv", *_BT709) if settings.is_yuv else ("-color_range", "pc")
    return [*words, *spec.fixed, *tags]


def _text(value: str | int | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _threads(settings: VideoSettings) -> int:
    """Encoder threads: one for each half million pixels, so that small videos leave cores alone."""
    width, height = settings.file_size
    return max(1, min(len(os.sched_getaffinity(0)), width * height // _PIXELS_PER_THREAD))


def _check_options(settings: VideoSettings, encoder: str) -> None:
    """Let through options of the encoder, and none of the rest of ffmpeg."""
    allowed = (ffmpeg.encoder_options(encoder) | _COMMON_OPTIONS) - _REFUSED_OPTIONS
    for key, value in settings.codec_options.items():
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, 1)
            raise OptionError(
                f"codec_options key {key!r} is no option of {encoder} that may be set",
                f"did you mean {close[0]!r}?" if close else f"leave it out; see: ffmpeg -h encoder={encoder}",
            )
        if not re.fullmatch(r"[\w.,:;=+-]*", str(value)):  # no "/": no option here takes a file's name
            raise OptionError(
                f"codec_options[{key!r}]={value!r}: expected letters, digits and . , : ; = + - _", "change it"
            )


def _container_arguments(suffix: str) -> list[str]:
    """A file that can be read at any time: a fragment per frame, written at once.

    At 60 frames per second 6 to 9 frames were not in the file yet with 8 frames to a fragment, and 2 with
    one; the speed is the same, the file 150 bytes a frame larger.
    """
    if suffix not in MP4_SUFFIXES:
        return ["-f", "matroska", "-flush_packets", "1", "-cluster_time_limit", "0"]
    end = "hybrid_fragmented" if ffmpeg.has_hybrid_mp4() else "empty_moov+default_base_moof+skip_trailer"
    flags = ("-movflags", f"{end}+frag_every_frame", "-flush_packets", "1", "-use_editlist", "0")
    return ["-f", suffix[1:], *flags]
