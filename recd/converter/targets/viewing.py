"""What viewers are shown of a recording, whatever the format: which fields are pictures, and what happened."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recd_client.schema import FIXED, Field

from ...batch import RESET
from ...foxglove.texts import text_of
from ...ui.fields import PICTURE, kind_of, labels
from ..selection import Samples, Selected

if TYPE_CHECKING:
    from ...reader.data import Gap, Mark

#: Numbers that are seconds for sure.
_MOST_S: Final = 9e9
_PIXELS: Final = ("|u1", "<u2", "<f2", "<f4")


def is_picture(field: Field) -> bool:
    """Whether a field is shown as a picture; a matrix of float64 or of bools is none, its numbers are kept."""
    return kind_of(field) == PICTURE and field.dtype in _PIXELS


def nanoseconds(t: NDArray[np.float64]) -> NDArray[np.int64]:
    """Stream times in whole nanoseconds; what is no time has that of the sample before, or 0."""
    known = np.maximum.accumulate(np.where(np.isnan(t), 0, np.arange(len(t))))
    filled = np.nan_to_num(t[known], nan=0.0, posinf=_MOST_S, neginf=-_MOST_S)
    return np.rint(np.clip(filled, -_MOST_S, _MOST_S) * 1e9).astype(np.int64)


class Happening(NamedTuple):
    """A mark, a reset or a loss.

    Parameters
    ----------
    t : float, s
        Stream time.
    mono_ns : int
        Monotonic clock; -1 where unknown.
    text : str
    stream : str
        Whose it is; empty: of the whole recording.
    is_loss : bool
    episode : int
        The one that it lies in; a reset lies in that which it begins.
    """

    t: float
    mono_ns: int
    text: str
    stream: str = ""
    is_loss: bool = False
    episode: int = 0


def events_name(streams: Sequence[Samples]) -> str:
    """What the log of :func:`happenings` is called beside these streams."""
    return "recd_events" if any(s.name == "events" for s in streams) else "events"


def happenings(streams: Sequence[Samples]) -> list[Happening]:
    """What happened among the samples that are written."""
    selected = [s for s in streams if isinstance(s, Selected)]
    run = selected[0].run
    episodes = run.episodes()
    of_mark = {_key(mark): e.index for e in episodes for mark in (e.opened_by, *e.marks) if mark is not None}
    found = [
        Happening(m.t, m.mono_ns, text_of(m.label, m.fields), episode=of_mark.get(_key(m), 0))
        for m in run.marks
        if any(_holds(s, m) for s in selected)
    ]
    for samples in selected:
        begins = [e[samples.name].start for e in episodes]
        for gap in samples.stream.gaps:
            if _holds_gap(samples, gap):
                at = _at(samples, gap)
                found.append(_loss(samples, gap, at, max(bisect_right(begins, at) - 1, 0)))
    return found


def _key(mark: Mark) -> tuple[str, int]:
    return mark.label, mark.mono_ns


def _at(samples: Selected, gap: Gap) -> int:
    """The sample behind a gap, or else the last one; the first one where nobody knows."""
    known = "seq" in samples.stream.known
    return min(samples.stream.index_of_seq(gap.first_seq), len(samples.stream) - 1) if known else 0


def _holds_gap(samples: Selected, gap: Gap) -> bool:
    at = _at(samples, gap)
    return len(samples) == len(samples.stream) > 0 or any(s.start <= at < s.stop for s in samples.spans)


def _loss(samples: Selected, gap: Gap, at: int, episode: int) -> Happening:
    text = f"{samples.name}: {gap.count} samples lost ({gap.cause}), of {gap.first_seq} to {gap.last_seq}"
    stream = samples.stream
    return Happening(float(stream.t[at]), int(stream.mono_ns[at]), text, samples.name, True, episode)


def _holds(samples: Selected, mark: Mark) -> bool:
    """Whether a mark lies among the wanted samples; all do where all samples are wanted."""
    stream = samples.stream
    if len(samples) == len(stream):
        return True
    if samples.name in mark.seq and "seq" in stream.known:
        at = stream.index_of_seq(mark.seq[samples.name])  # the sample behind it: what a reset begins with
        before = 0 if mark.label == RESET else 1
        return any(s.start + before <= at < s.stop + before for s in samples.spans)
    return any(len(s) and stream.t[s.start] <= mark.t <= stream.t[s.stop - 1] for s in samples.spans)


def labels_of(field: Field, most: int) -> list[str]:
    """Names of a field's elements with its unit; empty where they are more than that, or nobody knows how many."""
    if field.kind != FIXED or int(np.prod(field.shape, dtype=int)) > most:
        return []
    unit = f" ({field.unit})" if field.unit else ""
    return [f"{label}{unit}" for label in labels(field)]


def plain(told: Any) -> str:
    """Metadata as text."""
    return told if isinstance(told, str) else json.dumps(told, default=str)
