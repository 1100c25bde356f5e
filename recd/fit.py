"""Whether a stream's sinks can hold its samples: asked before the stream begins, so that its user hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from recd_client.errors import SchemaError
from recd_client.options import CustomSink, Plot, SinkOptions, VideoFile
from recd_client.schema import Schema
from recd_client.settings import DEFAULT_FPS

from . import plots, sinks
from .video.settings import VideoSettings


def check(option: SinkOptions, schema: Schema, stream: str) -> None:
    """The sink can hold these samples, as far as that can be told without trying.

    Raises
    ------
    RecdError
        It cannot; says why.
    """
    if isinstance(option, CustomSink):
        return  # whether it may run is another question, see recd.guests.admission
    if isinstance(option, Plot):
        plots.check_libraries(option)
    if not isinstance(option, VideoFile):
        sinks.make_sink(option, schema, {"name": stream})
        return
    field = schema.fields[0]
    if not schema.is_image() or (field.dtype != "|u1" and option.scale is None):
        raise SchemaError(
            f"stream {stream!r}: a video needs uint8 images (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got {field}",
            "write one image per call; for other dtypes say which values are black and white: "
            "VideoFile(..., scale=(low, high))",
        )
    settings_of(option, schema)


def settings_of(option: VideoFile, schema: Schema) -> VideoSettings:
    """What the video should be.

    Raises
    ------
    CodecError, OptionError
        There is no such video.
    """
    return VideoSettings.of(schema.fields[0].shape, option.frame_rate or Fraction(DEFAULT_FPS), option)


def to_try(options: Sequence[SinkOptions], schema: Schema) -> list[tuple[VideoSettings, str]]:
    """The videos of which only a trial tells whether they work here, each with its file's suffix.

    Those are the ones of which something special was asked; without that some encoder always works.
    """
    usual = VideoFile()
    return [
        (settings_of(o, schema), ".mp4" if o.path is None else o.path.suffix.lower())
        for o in options
        if isinstance(o, VideoFile)
        and (o.codec, o.pixel_format, o.codec_options)
        != (usual.codec, usual.pixel_format, usual.codec_options)
    ]


def try_out(videos: Sequence[tuple[VideoSettings, str]]) -> None:
    """Each of them works here; takes some 50 ms for each, and runs ffmpeg.

    Raises
    ------
    CodecError
        One does not; says why, and what there is.
    """
    from .video import codecs

    for settings, suffix in videos:
        codecs.choose(settings, suffix)
