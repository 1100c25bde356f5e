"""Whether two recordings are equal, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recd_client.errors import OptionError, RecdError

from ..reader import ArrayStream, Run, VideoStream
from ..reader import open as open_run
from .differing import Tolerance, arrays, films
from .pairing import ALIGNMENTS, NUMBER, Pairing, pairing_of

_SHAPE: Final = ("kind", "dtype", "shape", "unit")


@dataclass(frozen=True)
class Difference:
    """One thing in which two recordings differ.

    Parameters
    ----------
    what : {"missing", "unreadable", "kind", "schema", "count", "values", "frames", "gaps", "marks"}
    text : str
        For people.
    stream, field : str
        Where; empty for what is no stream's, or no field's. ``timestamp``, ``seq`` and ``step`` are fields, too.
    index, seq : int or None
        The first sample that differs, and its number in the first recording.
    t : float or None, s
        Its stream time there.
    element : list of int or None
        Where in that sample.
    a, b
        What stands there.
    count : int or None
        How many samples differ.
    max_abs, max_rel : float or None
        The largest differences of all samples; relative to the second recording.
    min_psnr : float or None, dB
        Of the frame that is least alike.
    """

    what: str
    text: str
    stream: str = ""
    field: str = ""
    index: int | None = None
    seq: int | None = None
    t: float | None = None
    element: list[int] | None = None
    a: Any = None
    b: Any = None
    count: int | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    min_psnr: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Parameters
    ----------
    a, b : str
        The recordings' paths.
    samples : dict
        Stream to number of samples that were compared.
    differences : list of Difference
    """

    a: str
    b: str
    samples: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.equal


def compare(
    a: Any,
    b: Any,
    *,
    streams: Sequence[str] | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    psnr: float | None = None,
    align: str = NUMBER,
) -> Comparison:
    """Whether two recordings are equal, and where not: samples one by one, in constant memory.

    Formats may differ. NaN equals NaN. Clocks of the machine and metadata are not compared.

    Parameters
    ----------
    a, b : path or Run
    streams : sequence of str, optional
        Only these (then marks are not compared).
    rtol, atol : float
        Numbers are equal whose difference is at most ``atol + rtol * |b|``; stream times as well.
    psnr : float, dB, optional
        Frames are equal that are so much alike; default: every pixel counts.
    align : {"number", "place"}
        Which samples belong together. ``number``: those of one number, so that one that was lost, or cut off, shifts
        nothing; where a stream's numbers are not known, or have none in common, ``place``: the first with the first.

    Raises
    ------
    OptionError
        An argument; or the recordings have nothing in common.
    OutputError
        One cannot be opened.
    """
    for name, value in (("rtol", rtol), ("atol", atol), ("psnr", 0.0 if psnr is None else psnr)):
        if not value >= 0:
            raise OptionError(f"{name}={value!r}: expected a number >= 0", "leave it out")
    if align not in ALIGNMENTS:
        raise OptionError(f"align={align!r}: expected one of {', '.join(ALIGNMENTS)}", "leave it out")
    first, second = (run if isinstance(run, Run) else open_run(run) for run in (a, b))
    found = Comparison(str(first.path), str(second.path))
    tolerance = Tolerance(rtol, atol, psnr)
    for name, other in _pairs(first, second, streams):
        if name not in first or other not in second:
            where = "first" if name not in first else "second"
            text = f"it is not in the {where} recording"
            found.differences.append(Difference("missing", text, name))
            continue
        one, two = first[name], second[other]
        try:
            found.samples[name], differences = _streams(name, one, two, tolerance, align)
            found.differences.extend(differences)
        except RecdError as e:
            found.differences.append(Difference("unreadable", e.what, name))
    if streams is None:
        found.differences.extend(_marks(first, second))
    return found


def _pairs(first: Run, second: Run, wanted: Sequence[str] | None) -> list[tuple[str, str]]:
    """Names of the streams to compare, in both."""
    alone = first.path.is_file() and second.path.is_file() and len(first) == len(second) == 1
    if alone and wanted is None:
        return [(next(iter(first)), next(iter(second)))]
    if wanted is not None:
        for name in wanted:
            if name not in first and name not in second:
                names = ", ".join(dict.fromkeys([*first, *second])) or "none"
                raise OptionError(f"--streams: neither has a stream {name!r}, only {names}", "use these")
        return [(name, name) for name in wanted]
    if not any(name in second for name in first):
        raise OptionError(
            f"{first.path} has the streams {', '.join(first) or 'none'}, {second.path} "
            f"{', '.join(second) or 'none'}: none of one name",
            "two files are compared whatever their streams are called: recd compare A.npz B.h5",
        )
    return [(name, name) for name in dict.fromkeys([*first, *second])]


def _streams(name: str, one: Any, two: Any, tolerance: Tolerance, align: str) -> tuple[int, list[Difference]]:
    """How many samples of two streams were compared, and where they differ."""
    out: list[Difference] = []
    fields = {s: {f.name: f for f in stream.schema.fields} for s, stream in enumerate((one, two))}
    for key in dict.fromkeys([*fields[0], *fields[1]]):
        a, b = fields[0].get(key), fields[1].get(key)
        if a is None or b is None:
            text = f"it is not in the {'first' if a is None else 'second'} recording"
            out.append(Difference("missing", text, name, key))
            continue
        for what in _SHAPE:
            if getattr(a, what) != getattr(b, what):
                text = f"{what} {getattr(a, what)!r} against {getattr(b, what)!r}"
                out.append(Difference("schema", text, name, key, a=getattr(a, what), b=getattr(b, what)))
    tables = [s if isinstance(s, ArrayStream) else s.arrays for s in (one, two)]
    both_films = isinstance(one, VideoStream) and isinstance(two, VideoStream)
    seen: list[dict[str, Any]] = []
    pairings: list[Pairing] = []
    if both_films and len(one.videos) != len(two.videos):
        text = f"{len(one.videos)} videos against {len(two.videos)}"
        out.append(Difference("count", text, name, a=len(one.videos), b=len(two.videos)))
    elif both_films:
        pairings += [pairing_of(*each, align) for each in zip(one.videos, two.videos, strict=True)]
        seen += films(one, two, tolerance, pairings)
    if tables[0] is not None and tables[1] is not None:
        pairings.append(pairing_of(tables[0], tables[1], align))
        seen += arrays(tables[0], tables[1], tolerance, pairings[-1])
    elif not both_films:
        out.append(Difference("kind", f"{one.kind} against {two.kind}", name, a=one.kind, b=two.kind))
    for text, (a, b) in {pairing.told: pairing.lengths for pairing in pairings}.items():
        if text:
            out.append(Difference("count", text, name, a=a, b=b))
    out += [Difference(stream=name, **told) for told in seen]
    gaps = [[(g.first_seq, g.last_seq, g.count, g.cause) for g in s.gaps] for s in (one, two)]
    if sorted(gaps[0]) != sorted(gaps[1]):
        only = [[gap for gap in gaps[k] if gap not in gaps[1 - k]] for k in (0, 1)]
        text = "; ".join(
            f"only in the {w}: {_gaps(g)}" for w, g in zip(("first", "second"), only, strict=True) if g
        )
        out.append(Difference("gaps", text or "another number of them", name, a=gaps[0], b=gaps[1]))
    return max((pairing.common for pairing in pairings), default=0), out


def _gaps(gaps: Sequence[tuple[int, int, int, str]]) -> str:
    return ", ".join(f"{count} {cause} from {low} to {high}" for low, high, count, cause in gaps[:4])


def _marks(first: Run, second: Run) -> list[Difference]:
    """The first mark that differs."""
    one, two = (
        [(m.label, dict(m.fields), m.t, m.step, dict(m.seq)) for m in run.marks] for run in (first, second)
    )
    if one == two:
        return []
    same = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    a, b = (m[same] if same < len(m) else None for m in (one, two))
    if same < min(len(one), len(two)):
        text = f"mark {same}: {_mark(a)} against {_mark(b)}"
    else:
        text = f"{len(one)} marks against {len(two)}: the first that only one has is {_mark(a or b)}"
    t = (a or b or ("", {}, None))[2]
    return [Difference("marks", text, index=same, t=t, a=a, b=b)]


def _mark(mark: Any) -> str:
    label, fields, t, step, seq = mark
    return f"{label} {fields} at {t} s, step {step}, before samples {seq}"
