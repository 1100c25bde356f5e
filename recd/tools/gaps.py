"""Which of a stream's losses belong to some of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..reader import Stream
from .stretches import Stretch


def told(stream: Stream) -> list[dict[str, Any]]:
    """A stream's gaps as a manifest tells them, in the order of their numbers."""
    found = stream._data.told.get("gaps") or [vars(gap) for gap in stream.gaps]
    unknown = dict.fromkeys(("bytes", "t_first", "t_last"))
    return sorted(({**unknown, **gap} for gap in found), key=lambda g: (g["first_seq"], g["last_seq"]))


def within(
    gaps: Sequence[dict[str, Any]],
    stretches: Sequence[Stretch],
    length: int,
    belongs: Callable[[dict[str, Any]], bool | None],
) -> list[dict[str, Any]]:
    """The gaps that belong to some stretches of a stream.

    Parameters
    ----------
    gaps : sequence of dict
        As :func:`told` gives them.
    stretches : sequence of Stretch
        In order, with the stream's own numbers.
    length : int
        Samples of the stream.
    belongs : callable
        Whether a gap at the edge of a stretch is meant as well; None: nobody knows, then it belongs to the sample
        before it.
    """
    kept: list[dict[str, Any]] = []
    for group in _joined(stretches):
        first, last = group[0].first_seq, group[-1].next_seq - 1
        before = first
        for gap in sorted(gaps, key=lambda g: -int(g["last_seq"])):
            if gap["last_seq"] < first and gap["last_seq"] >= before - 1:
                before = min(before, gap["first_seq"])
                found = belongs(gap)
                if found or (found is None and group[0].start == 0):
                    kept.append(gap)
        kept += [gap for gap in gaps if first <= gap["first_seq"] <= last]
        behind = last
        for gap in gaps:
            if gap["first_seq"] > last and gap["first_seq"] <= behind + 1:
                behind = max(behind, gap["last_seq"])
                if belongs(gap) is not False:
                    kept.append(gap)
    unique = {(g["first_seq"], g["last_seq"], g["cause"]): g for g in kept}
    return [unique[key] for key in sorted(unique)]


def _joined(stretches: Sequence[Stretch]) -> Iterator[list[Stretch]]:
    """Stretches without a sample between them."""
    group: list[Stretch] = []
    for stretch in stretches:
        if group and group[-1].stop != stretch.start:
            yield group
            group = []
        group.append(stretch)
    if group:
        yield group


def shifted(gap: dict[str, Any], seq: int, t: float) -> dict[str, Any]:
    """A gap with other numbers and times."""
    moved = {key: None if gap[key] is None else gap[key] + t for key in ("t_first", "t_last")}
    return {**gap, "first_seq": gap["first_seq"] + seq, "last_seq": gap["last_seq"] + seq, **moved}


def lost(gaps: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Losses by cause."""
    counts: dict[str, int] = {}
    for gap in gaps:
        counts[gap["cause"]] = counts.get(gap["cause"], 0) + int(gap["count"])
    return counts
