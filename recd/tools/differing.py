"""Where the samples of two streams differ: read side by side, some at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..reader import ArrayStream, VideoStream
from ..reader.column import Lists
from .pairing import Pairing, Places

_CLOCKS: Final = {"timestamp": "t", "seq": "seq", "step": "step"}
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal: see :func:`recd.tools.compare`."""

    rtol: float = 0.0
    atol: float = 0.0
    psnr: float | None = None


class Column:
    """What was found of one field.

    Parameters
    ----------
    name : str
    tolerance : Tolerance
    """

    def __init__(self, name: str, tolerance: Tolerance) -> None:
        self.name = name
        self._tolerance = tolerance
        self.count = 0
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self.first: dict[str, Any] | None = None

    def add(self, a: Any, b: Any, places: Places) -> None:
        """Compare the values of some samples, which are at these places."""
        if isinstance(a, Lists):
            for i in range(len(a)):
                self._value(i, a[i], b[i], places)
            return
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype == object:
            self._note(np.array(a != b, np.bool_), a, b, places)
            return
        differs = self._differs(a, b)
        samples: Mask = np.any(differs, axis=tuple(range(1, a.ndim)))
        self._note(samples, a, b, places, differs)

    def _value(self, i: int, a: NDArray[Any], b: NDArray[Any], places: Places) -> None:
        """One sample of a ragged field."""
        if a.shape != b.shape:
            self._found(i, 1, places, a=f"{len(a)} elements", b=f"{len(b)} elements")
            return
        differs = self._differs(a, b)
        if differs.any():
            at = np.argwhere(differs)[0].tolist()
            self._found(i, 1, places, element=at, a=_plain(a[tuple(at)]), b=_plain(b[tuple(at)]))

    def _note(self, samples: Mask, a: Any, b: Any, places: Places, differs: Mask | None = None) -> None:
        """Some samples differ."""
        if not samples.any():
            return
        i = int(np.argmax(samples))
        at: list[int] | None = None
        if differs is not None and differs.ndim > 1:
            at = np.argwhere(differs[i])[0].tolist()
        where = (i, *(at or ()))
        self._found(
            i, int(np.count_nonzero(samples)), places, element=at, a=_plain(a[where]), b=_plain(b[where])
        )

    def _found(self, i: int, count: int, places: Places, **told: Any) -> None:
        self.count += count
        if self.first is None:
            seq = int(places.seq[i])
            self.first = {
                "index": int(places.index[i]), "seq": None if seq < 0 else seq, "t": _plain(places.t[i]),
                "element": None, **told,
            }  # fmt: skip

    def _differs(self, a: NDArray[Any], b: NDArray[Any]) -> Mask:
        """Which elements differ; the largest difference is kept."""
        same: Mask = a == b
        if a.dtype.kind == b.dtype.kind == "f":
            same |= np.isnan(a) & np.isnan(b)
        if same.all():
            return ~same
        # Wide enough for every integer; what is infinite or NaN on one side only stays different.
        x, y = a[~same].astype(np.longdouble), b[~same].astype(np.longdouble)
        with np.errstate(all="ignore"):
            apart = np.abs(x - y)
            relative = np.where(y == 0, np.inf, apart / np.abs(y))
            near = apart <= self._tolerance.atol + self._tolerance.rtol * np.abs(y)
        near &= np.isfinite(apart)
        self.max_abs = _largest(self.max_abs, apart)
        self.max_rel = _largest(self.max_rel, relative)
        same[~same] = near
        return ~same

    def told(self) -> dict[str, Any] | None:
        """As a difference; None if there is none."""
        if self.first is None:
            return None
        at, element = self.first, self.first["element"]
        number = "" if at["seq"] is None else f"number {at['seq']}, "
        text = f"{self.count} samples differ, the first is sample {at['index']} ({number}t {at['t']} s)"
        text += f", element {element}" if element else ""
        text += f": {at['a']} against {at['b']}"
        if self.max_abs is not None:
            text += f"; at most {self.max_abs:.6g} apart"
        if self.max_rel is not None:
            text += f", relative {self.max_rel:.6g}"
        return {
            "what": "values", "text": text, "field": self.name, "count": self.count, "max_abs": self.max_abs,
            "max_rel": self.max_rel, **at,
        }  # fmt: skip


def arrays(
    a: ArrayStream, b: ArrayStream, tolerance: Tolerance, pairing: Pairing
) -> Iterator[dict[str, Any]]:
    """Where the samples of two array streams differ, of those that both have."""
    shared = [
        f.name
        for f in a.schema.fields
        for g in b.schema.fields
        if f.name == g.name and f.kind == g.kind and (f.shape == g.shape)
    ]
    clocks = ["timestamp", *(name for name in ("seq", "step") if name in a.known & b.known)]
    columns = {name: Column(name, tolerance if name == "timestamp" else Tolerance()) for name in clocks}
    values = {name: Column(name, tolerance) for name in shared}
    for one, two, places in pairing.blocks(a, b, shared):
        for name, column in columns.items():
            column.add(getattr(one, _CLOCKS[name]), getattr(two, _CLOCKS[name]), places)
        for name, column in values.items():
            column.add(one[name], two[name], places)
    for column in (*columns.values(), *values.values()):
        if (told := column.told()) is not None:
            yield told


def films(
    a: VideoStream, b: VideoStream, tolerance: Tolerance, pairings: list[Pairing]
) -> Iterator[dict[str, Any]]:
    """Where the frames of two streams' videos differ, each of their samples decoded."""
    for one, two, pairing in zip(a.videos, b.videos, pairings, strict=True):
        p, q = pairing.match(one.seq, two.seq)
        yield from _clocks(one, two, p, q, tolerance)
        if len(p) and (told := _frames(one, two, p, q, tolerance)) is not None:
            yield told


def _clocks(
    a: VideoStream, b: VideoStream, p: Ints, q: Ints, tolerance: Tolerance
) -> Iterator[dict[str, Any]]:
    places = Places(p, a.seq[p], a.t[p])
    for name in ("timestamp", *(name for name in ("seq", "step") if name in a.known & b.known)):
        column = Column(name, tolerance if name == "timestamp" else Tolerance())
        column.add(getattr(a, _CLOCKS[name])[p], getattr(b, _CLOCKS[name])[q], places)
        if (told := column.told()) is not None:
            yield told


def _frames_at(stream: VideoStream, index: Ints) -> Iterator[NDArray[Any]]:
    """The frames of these samples, at least one, which ascend."""
    begin, end = int(index[0]), int(index[-1]) + 1
    wanted = np.zeros(end - begin, np.bool_)
    wanted[index - begin] = True
    return itertools.compress(stream.frames_between(begin, end), wanted)


def _frames(a: VideoStream, b: VideoStream, p: Ints, q: Ints, tolerance: Tolerance) -> dict[str, Any] | None:
    if a.shape != b.shape or a.dtype != b.dtype:
        shapes = [f"{s.shape} {s.dtype}" for s in (a, b)]
        return {
            "what": "schema",
            "text": f"frames {shapes[0]} against {shapes[1]}",
            "a": shapes[0],
            "b": shapes[1],
        }
    count, worst, apart, first = 0, math.inf, 0, None
    top = float(np.iinfo(a.dtype).max)
    for i, one, two in zip(p.tolist(), _frames_at(a, p), _frames_at(b, q), strict=True):
        if np.array_equal(one, two):
            continue
        difference = one.astype(np.int32) - two
        level = 10 * math.log10(top * top / float(np.mean(np.square(difference, dtype=np.float64))))
        worst, apart = min(worst, level), max(apart, int(np.abs(difference).max()))
        if tolerance.psnr is None or level < tolerance.psnr:
            count += 1
            first = i if first is None else first
    if first is None:
        return None
    seq, t = int(a.seq[first]), _plain(a.t[first])
    number = "" if seq < 0 else f"number {seq}, "
    text = f"{count} frames differ, the first is that of sample {first} ({number}t {t} s); "
    text += f"the least alike has {worst:.1f} dB, at most {apart} levels apart"
    return {
        "what": "frames", "text": text, "index": first, "seq": None if seq < 0 else seq, "t": t, "count": count,
        "max_abs": float(apart), "min_psnr": worst,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Plain data of a number or text."""
    return value.item() if isinstance(value, np.generic) else value


def _largest(known: float | None, found: Any) -> float | None:
    """The largest of all that are no NaN."""
    numbers = found[~np.isnan(found)]
    if not len(numbers):
        return known
    return max(float(numbers.max()), known if known is not None else 0.0)
