"""What a map tells of a feature, and what a recording then tells of its shape and dtype."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recd_client.errors import OptionError
from recd_client.schema import BARE, FIXED, RAGGED, STRING
from recd_client.schema import Field as SchemaField

from .features import ARRAY, IMAGE, OBSERVATION, TEXT, Feature, Piece

if TYPE_CHECKING:
    from ..reader import Run

_INDEX: Final = re.compile(r"(.+?)\s*\[([^\[\]]*)\]")
_SLICE: Final = re.compile(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(?::\s*(-?\d+)?\s*)?")


@dataclass(frozen=True)
class FeatureSpec:
    """A feature as a map tells it, before any recording was looked into.

    Parameters
    ----------
    name : str
    sources : tuple of str
        ``stream``, ``stream/field`` or ``stream/field[index]``.
    role : str
    dtype, kind, units : str
        Empty: as recorded.
    names : tuple of str
    shift : int
    """

    name: str
    sources: tuple[str, ...]
    role: str = OBSERVATION
    dtype: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    units: str = ""
    shift: int = 0


def resolved(spec: FeatureSpec, run: Run) -> Feature:
    """The feature, as a recording has it.

    Raises
    ------
    OptionError
        A stream, a field or an element is not there, or a feature cannot be made of what is.
    """
    found = [_piece(source, run) for source in spec.sources]
    pieces = tuple(piece for piece, _ in found)
    fields = [f for _, f in found]
    if len(found) > 1:
        for source, f in zip(spec.sources, fields, strict=True):
            if f.kind != FIXED or run[stream_of(source)].kind == "video":
                raise OptionError(
                    f"{source!r} is no array, and cannot be joined with others", "take it alone"
                )
    first = fields[0]
    units = spec.units or (first.unit if len({f.unit for f in fields}) == 1 else "")
    if first.kind == STRING:
        if spec.kind not in ("", TEXT) or spec.dtype or pieces[0].index:
            raise OptionError(f"{spec.sources[0]!r} holds strings", "leave kind, dtype and index of it out")
        return Feature(spec.name, TEXT, np.dtype(object), (), spec.role, (), units, pieces, spec.shift)
    shapes = [_indexed(piece, f) for piece, f in found]
    shape = shapes[0] if len(found) == 1 else (sum(math.prod(s) for s in shapes),)
    dtype = _dtype(spec, np.result_type(*(np.dtype(f.dtype) for f in fields)))
    kind = spec.kind or (IMAGE if run[pieces[0].stream].kind == "video" else ARRAY)
    if kind == TEXT:
        raise OptionError(f"{spec.sources[0]!r} holds numbers, not strings", "leave kind out")
    if kind == IMAGE:
        if len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) != 3 or shape[2] not in (1, 3, 4):
            raise OptionError(
                f"{spec.sources[0]!r} has shape {shape}: no picture, which is (H, W) or (H, W, 1, 3 or 4)",
                'write kind = "array"',
            )
    size = math.prod(shape)
    if spec.names and len(spec.names) not in {size, *shape[-1:]}:
        raise OptionError(
            f"{len(spec.names)} names for {size} elements of shape {shape}", "give a name for each, or none"
        )
    return Feature(spec.name, kind, dtype, shape, spec.role, spec.names, units, pieces, spec.shift)


def _dtype(spec: FeatureSpec, recorded: np.dtype[Any]) -> np.dtype[Any]:
    if not spec.dtype:
        return recorded
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise OptionError(f"dtype = {spec.dtype!r}: expected a numpy dtype such as float32", "change it")
    if recorded.kind == "f" and dtype.kind != "f":
        raise OptionError(
            f"dtype = {spec.dtype!r}: {recorded} values would be cut to whole numbers", "use a float dtype"
        )
    return dtype


def stream_of(source: str) -> str:
    """The stream that a ``from`` names."""
    return source.partition("/")[0].partition("[")[0].strip()


def _piece(source: str, run: Run) -> tuple[Piece, SchemaField]:
    """What a ``from`` names."""
    name = stream_of(source)
    if name not in run:
        raise OptionError(
            f"{run.path} has no stream {name!r}, only {', '.join(run) or 'none'}", _near(name, [*run])
        )
    stream = run[name]
    rest = source[source.index(name) + len(name) :].strip()
    if stream.kind == "video":
        if rest.startswith("/"):
            raise OptionError(
                f"stream {name!r} is a video, without fields, got {source!r}", f"write {name!r}"
            )
        frames = SchemaField(BARE, stream.dtype.newbyteorder("<").str, stream.shape)
        return Piece(name, "", _index(rest, source)), frames
    text = rest.removeprefix("/").strip() if rest.startswith("/") else ""
    index = rest if not rest.startswith("/") else ""
    fields = {f.name: f for f in stream.schema.fields}
    if text and text not in fields and (match := _INDEX.fullmatch(text)):
        text, index = match[1], f"[{match[2]}]"
    if not text:
        if len(fields) != 1:
            raise OptionError(
                f"stream {name!r} has the fields {', '.join(fields)}; which one?",
                f"write {name}/{next(iter(fields))}",
            )
        text = next(iter(fields))
    if text not in fields:
        raise OptionError(
            f"stream {name!r} has no field {text!r}, only {', '.join(fields)}", _near(text, [*fields])
        )
    if fields[text].kind == RAGGED:
        raise OptionError(
            f"{name}/{text} varies in size from sample to sample: {fields[text]}",
            "leave it out; npz, hdf5, parquet and csv hold it with the stream as it is",
        )
    return Piece(name, text, _index(index, source)), fields[text]


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else "use one of these"


def _index(text: str, source: str) -> tuple[slice | int, ...]:
    """An index such as ``[0:7]`` or ``[:, 2]``."""
    if not text:
        return ()
    found: list[slice | int] = []
    for part in text.removeprefix("[").removesuffix("]").split(","):
        if re.fullmatch(r"\s*-?\d+\s*", part):
            found.append(int(part))
        elif match := _SLICE.fullmatch(part):
            start, stop, step = (None if n is None else int(n) for n in match.groups())
            found.append(slice(start, stop, step))
        else:
            raise OptionError(
                f"{source!r}: index {text} is none", "write numbers and slices: [0], [0:7], [:, 2]"
            )
    return tuple(found)


def _indexed(piece: Piece, f: SchemaField) -> tuple[int, ...]:
    """The shape of what a piece takes of one sample."""
    try:
        probe = np.broadcast_to(np.zeros((), np.uint8), f.shape)[piece.index]
    except IndexError as e:
        raise OptionError(f"{str(piece)!r}: {e}; its shape is {f.shape}", "change the index") from None
    if probe.size == 0 and 0 not in f.shape:
        raise OptionError(f"{str(piece)!r} takes no element; the shape is {f.shape}", "change the index")
    return tuple(probe.shape)


def same(found: Sequence[tuple[Run, tuple[Feature, ...]]], where: str) -> tuple[Feature, ...]:
    """The features of all recordings, which must look alike in each.

    Raises
    ------
    OptionError
        Shape or dtype of one differs.
    """
    (first_run, first), *others = found
    for run, features in others:
        for a, b in zip(first, features, strict=True):
            if (a.shape, a.kind, a.dtype) != (b.shape, b.kind, b.dtype):
                raise OptionError(
                    f"{where}: feature {a.name!r} is {a.shape} {a.dtype} in {first_run.path}, but {b.shape} {b.dtype} "
                    f"in {run.path}",
                    "give it a dtype, take the part that is the same, or convert them one by one",
                )
    return first
