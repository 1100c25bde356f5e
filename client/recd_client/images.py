"""Which samples a video takes: images, and batches of them; the same rules for client and daemon."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Final

from .errors import SchemaError
from .schema import FIXED, Schema
from .sink_options import SinkOptions
from .video_options import CATEGORIES, SEPARATE, TILE, VideoFile

_IMAGES: Final = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
_CHANNELS: Final = (1, 3, 4)
#: Videos of one stream: each has an ffmpeg of its own.
MOST_SEPARATE: Final = 64


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is one image: ``(H, W)``, ``(H, W, 1 | 3 | 4)``."""
    return min(shape, default=0) > 0 and (len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS))


def is_batch(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is a row of images, and not one with channels."""
    return len(shape) in (3, 4) and shape[0] > 0 and is_image(shape[1:]) and not is_image(shape)


def image_shape(shape: tuple[int, ...], option: VideoFile) -> tuple[int, ...]:
    """The shape of one image in a sample of this shape, which :func:`check_video` let through."""
    return shape if option.batch is None else shape[1:]


def check_video(stream: str, option: VideoFile, schema: Schema) -> None:
    """The video can be made of such samples.

    Raises
    ------
    SchemaError
        It cannot; says what came, and which option or change helps.
    """
    field = schema.fields[0]
    where = f"stream {stream!r}"
    if not schema.bare or field.kind != FIXED:
        raise SchemaError(
            f"{where}: a video needs images {_IMAGES}, got {field if schema.bare else 'a dict'}",
            "write the image alone, or record to NPZFile or HDF5File",
        )
    shape = field.shape
    if option.batch is None:
        if is_batch(shape):
            raise SchemaError(
                f"{where}: a video needs images {_IMAGES}, got a batch of {shape[0]}: {field}",
                f"say what becomes of it: VideoFile(batch='{TILE}') shows all side by side, '{SEPARATE}' makes "
                "a video of each, a number takes that one alone; or write one image per call",
            )
        if not is_image(shape):
            raise SchemaError(
                f"{where}: a video needs images {_IMAGES}, got {field}",
                "write one image per call, or record to NPZFile or HDF5File",
            )
    else:
        _check_batch(where, option.batch, shape, str(field))
    _check_values(where, option, field.dtype, image_shape(shape, option), str(field))


def _check_batch(where: str, batch: str | int, shape: tuple[int, ...], got: str) -> None:
    if not is_batch(shape):
        raise SchemaError(
            f"{where}: VideoFile(batch={batch!r}) needs batches of images, (N, H, W) or (N, H, W, 3), got {got}",
            "leave batch out for single images",
        )
    if isinstance(batch, int) and batch >= shape[0]:
        raise SchemaError(
            f"{where}: VideoFile(batch={batch}): the samples have the images 0 to {shape[0] - 1}",
            "take one of them",
        )
    if batch == SEPARATE and shape[0] > MOST_SEPARATE:
        raise SchemaError(
            f"{where}: VideoFile(batch='{SEPARATE}') of {shape[0]} images, at most {MOST_SEPARATE}: each video "
            "has an encoder of its own",
            f"pass batch='{TILE}', or write the first ones: images[:{MOST_SEPARATE}]",
        )


def _check_values(where: str, option: VideoFile, dtype: str, image: tuple[int, ...], got: str) -> None:
    """The numbers can become what the file holds."""
    gray = len(image) == 2 or image[2] == 1
    if not gray and (option.colormap is not None or option.is_16_bit):
        what = f"colormap={option.colormap!r}" if option.colormap else "pixel_format='gray16le'"
        raise SchemaError(
            f"{where}: VideoFile({what}) needs images of one value per pixel, (H, W) or (H, W, 1), got {got}",
            "write one channel, or leave the option out",
        )
    if option.colormap == CATEGORIES:
        if dtype[1] == "f":
            raise SchemaError(
                f"{where}: VideoFile(colormap='{CATEGORIES}') needs whole numbers, one per thing seen, got {got}",
                "convert them to integers, or choose another colormap with scale=(low, high)",
            )
        return
    if option.scale is not None:
        return
    if option.is_16_bit and dtype != "<u2":
        raise SchemaError(
            f"{where}: VideoFile(pixel_format='gray16le') keeps uint16 values as they are, got {got}",
            "pass scale=(low, high) too: the values that become 0 and 65535; uint8 fits pixel_format='gray'",
        )
    if not option.is_16_bit and dtype != "|u1":
        raise SchemaError(
            f"{where}: a video needs uint8 images, got {got}",
            "pass VideoFile(scale=(low, high)): the values that become black and white"
            + (", with colormap='viridis' in colours" if gray else "")
            + ("; or keep every value: pixel_format='gray16le'" if gray and dtype == "<u2" else ""),
        )


def separated(
    name: str, sinks: Sequence[SinkOptions], schema: Schema | None = None
) -> tuple[SinkOptions, ...]:
    """The sinks with a video for each image of a batch, where that was asked for.

    Without a schema, how many is not known: of each such video only the first one, which there will be.
    """
    out: list[SinkOptions] = []
    for sink in sinks:
        if isinstance(sink, VideoFile) and sink.batch == SEPARATE:
            count = 1 if schema is None else schema.fields[0].shape[0]
            stem, suffix = os.path.splitext(sink.filename or f"{name}{sink.suffixes[0]}")
            out += [
                dataclasses.replace(sink, filename=f"{stem}_env{i}{suffix}", batch=i) for i in range(count)
            ]
        else:
            out.append(sink)
    return tuple(out)
