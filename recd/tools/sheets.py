"""A film as one picture: some of its frames side by side, each with its time."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import MissingLibraryError, OptionError, OutputExistsError

from .. import strict_json
from ..durable import rename_new
from ..reader import Run, VideoStream
from ..reader import open as open_run
from .derived import source_of

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
#: No picture may be larger, in pixels.
_MOST_PIXELS: Final = 100_000_000
_GAP: Final = 4
_BACK: Final = (24, 24, 24)
_INK: Final = (235, 235, 235)


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Parameters
    ----------
    path : Path
    stream : str
    samples : list of int
        Indices of those that it shows.
    times : list of float or None, s
    width, height : int, pixels
    """

    path: Path
    stream: str
    samples: list[int]
    times: list[float | None]
    width: int
    height: int


def thumbs(
    source: Any,
    output: Any,
    *,
    stream: str | None = None,
    at: Sequence[float] | None = None,
    count: int = 20,
    columns: int | None = None,
    width: int = 240,
    overwrite: bool = False,
    command: str = "",
) -> Sheet:
    """A contact sheet of a stream of images.

    Parameters
    ----------
    source : path or Run
    output : path
        ``.png`` or ``.jpg``.
    stream : str, optional
        Default: the only one with images.
    at : sequence of float, s, optional
        Show the samples closest to these stream times; default: ``count`` of them, evenly from the first to the last.
    count : int
    columns : int, optional
        Default: as many as make the sheet about as wide as high.
    width : int, pixels
        Of a frame on the sheet; none is enlarged beyond four times its size.
    overwrite : bool
    command : str
        Goes, with the source's session and the SHA-256 of its manifest, into the picture's text ``recd_provenance``
        (PNG).

    Raises
    ------
    OptionError
        An argument; there is no such stream, or none with images.
    OutputExistsError
        The output exists.
    MissingLibraryError
        Pillow is not installed.
    """
    out = Path(output).absolute()
    if out.suffix.lower() not in SUFFIXES:
        raise OptionError(f"output {out.name!r} is no picture", f"let it end with {', '.join(SUFFIXES)}")
    if os.path.lexists(out) and not overwrite:
        raise OutputExistsError(
            f"{out} exists already", "choose another name, or replace it with --overwrite"
        )
    for name, value in (("count", count), ("columns", 1 if columns is None else columns), ("width", width)):
        if value < 1:
            raise OptionError(f"--{name} {value}: expected a whole number >= 1", "leave it out")
    run = source if isinstance(source, Run) else open_run(source)
    found = _stream(run, stream)
    picked = _evenly(len(found), count) if at is None else [_index(found, t) for t in at]
    frames = _bytes([_frame(found, i) for i in picked])
    labels = [_label(float(found.t[i])) for i in picked]
    columns = min(columns or _columns(frames[0], len(picked)), len(picked))
    image = _draw(frames, labels, columns, width)
    told = {"tool": "thumbs", "command": command, "stream": found.name, "sources": [source_of(run)]}
    _save(image, out, strict_json.text(told), overwrite=overwrite)
    times = [None if math.isnan(t) else float(t) for t in found.t[picked]]
    return Sheet(out, found.name, picked, times, image.width, image.height)


def _stream(run: Run, name: str | None) -> Any:
    if name is not None:
        found = run[name]
        if not _has_images(found):
            raise OptionError(f"stream {name!r} of {run.path} has no images", "look at it with: recd info")
    else:
        names = [n for n, s in run.streams.items() if _has_images(s)]
        if len(names) != 1:
            raise OptionError(
                f"{run.path} has {'no stream with images' if not names else 'several: ' + ', '.join(names)}",
                "name one: recd thumbs PATH STREAM -o sheet.png" if names else "see: recd info",
            )
        found = run[names[0]]
    if not len(found):
        raise OptionError(f"stream {found.name!r} of {run.path} has no frame", "see: recd info")
    return found


def _has_images(stream: Any) -> bool:
    return isinstance(stream, VideoStream) or bool(
        stream.schema.is_image() and stream.schema.fields[0].dtype in ("|u1", "<u2")
    )


def _frame(stream: Any, i: int) -> NDArray[Any]:
    found = stream[i] if isinstance(stream, VideoStream) else stream[stream.fields[0]][i]
    image: NDArray[Any] = np.asarray(found)
    return image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _evenly(length: int, count: int) -> list[int]:
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(count, length)).round())]


def _index(stream: Any, t: float) -> int:
    times = stream.t[~np.isnan(stream.t)]
    inside = len(times) and times.min() <= t <= times.max()
    found = stream.index_at(t, "nearest") if inside else None
    if found is None:
        extent = (
            f"it is from {times.min()} to {times.max()} s" if len(times) else "none of its times is known"
        )
        raise OptionError(
            f"--at {t}: stream {stream.name!r} has no frame there; {extent}", "choose one within"
        )
    return int(found)


def _bytes(frames: list[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """Frames of one byte per channel: deeper ones from black, the least value on the sheet, to white."""
    if frames[0].dtype == np.uint8:
        return frames
    low = min(int(f.min()) for f in frames)
    high = max(max(int(f.max()) for f in frames), low + 1)
    return [((f.astype(np.float64) - low) * 255 / (high - low)).astype(np.uint8) for f in frames]


def _columns(frame: NDArray[Any], count: int) -> int:
    """So many that the sheet is about as wide as high."""
    height, width = frame.shape[:2]
    return max(1, min(count, round(math.sqrt(count * height / width))))


def _label(t: float) -> str:
    """A time: seconds, from a minute on minutes as well."""
    if math.isnan(t):
        return "?"
    sign, ms = "-" if t < 0 else "", round(abs(t) * 1000)
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:06.3f}" if minutes else f"{ms / 1000:.3f}"
    return f"{sign}{minutes}:{seconds}" if minutes else f"{sign}{seconds} s"


def _draw(frames: list[NDArray[np.uint8]], labels: list[str], columns: int, width: int) -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as e:
        raise MissingLibraryError(f"Pillow cannot be loaded: {e}", "pip install 'recd[ui]'") from None

    high, wide = frames[0].shape[:2]
    width = min(width, 4 * wide)
    height = max(1, round(high * width / wide))
    text = max(10, min(18, width // 12))
    rows = math.ceil(len(frames) / columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + text + 3 * _GAP) + _GAP)
    if size[0] * size[1] > _MOST_PIXELS:
        raise OptionError(
            f"a sheet of {size[0]} x {size[1]} pixels", "ask for fewer frames, or a smaller --width"
        )
    try:
        font: Any = ImageFont.load_default(size=text)
    except (TypeError, OSError):  # Pillow was built without FreeType: one size
        font = ImageFont.load_default()
    sheet = Image.new("RGB", size, _BACK)
    pen = ImageDraw.Draw(sheet)
    smooth = Image.Resampling.LANCZOS if width < wide else Image.Resampling.NEAREST
    for i, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        x = _GAP + i % columns * (width + _GAP)
        y = _GAP + i // columns * (height + text + 3 * _GAP)
        thumb = Image.fromarray(np.ascontiguousarray(frame)).convert("RGB").resize((width, height), smooth)
        sheet.paste(thumb, (x, y))
        pen.text((x + 2, y + height + _GAP), label, fill=_INK, font=font)
    return sheet


def _save(image: Any, out: Path, provenance: str, *, overwrite: bool) -> None:
    """The picture is there as a whole, or not at all."""
    from PIL.PngImagePlugin import PngInfo

    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.{os.getpid()}.part{out.suffix}")
    try:
        if out.suffix.lower() == ".png":
            info = PngInfo()
            info.add_itxt("recd_provenance", provenance)
            image.save(part, "PNG", pnginfo=info)
        else:
            image.save(part, "JPEG", quality=90)
        if overwrite:
            os.replace(part, out)
        else:
            rename_new(part, out)
    except FileExistsError:
        raise OutputExistsError(
            f"{out} came to be in the meantime", "move it away, or add --overwrite"
        ) from None
    finally:
        part.unlink(missing_ok=True)
