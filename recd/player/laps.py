"""One axis for all streams of a recording, on which time never goes back: the laps one behind the other."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from ..reader import ArrayStream, Mark, Run, VideoStream
from ..reader.episodes import is_whole
from .times import Times


@dataclass
class Laps:
    """The laps of a recording; see :mod:`recd.player.times`.

    A *position* is a place on the axis: stream time as long as that goes on, and where it begins anew, seconds
    behind the end of the lap before.

    Parameters
    ----------
    times : dict
        By stream.
    begins, ends : list of float, s
        Stream time at which each lap begins and ends.
    shifts : list of float, s
        What a lap's stream times are moved by.
    resets : list of int
        ``mono_ns`` of the resets that part them; empty where nothing but time itself tells.
    gap_s : float, s
        From the end of a lap to the begin of the next one, where time begins anew: a step.
    """

    times: dict[str, Times]
    begins: list[float]
    ends: list[float]
    resets: list[int]
    gap_s: float = 0.0
    shifts: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.shifts = [0.0]
        for lap in range(1, len(self.begins)):
            shift, jump = self.shifts[-1], self.ends[lap - 1] - self.begins[lap]
            self.shifts.append(shift if jump <= 0 else shift + jump + self.gap_s)

    @property
    def start(self) -> float:
        """Position of the first sample."""
        return self.begins[0]

    @property
    def end(self) -> float:
        """Position of the last sample."""
        return self.ends[-1] + self.shifts[-1]

    def position(self, lap: int, key: float) -> float:
        """Where a sample or a mark stands."""
        return min(max(key, self.begins[lap]), self.ends[lap]) + self.shifts[lap]

    def place(self, position: float) -> tuple[int, float]:
        """Lap and key of a position, less what may be rounded: what stands there or behind is from them on."""
        last = len(self.begins) - 1
        lap = bisect_left(range(last), position, key=lambda n: self.ends[n] + self.shifts[n])
        if lap == last and position > self.end:
            return last + 1, -math.inf
        rounding = 2 * math.ulp(max(abs(position), abs(self.shifts[lap])))
        return lap, position - self.shifts[lap] - rounding

    def lap_of(self, mark: Mark, before: int) -> int:
        """The lap that a mark stands in, of which the mark before it stood in ``before``."""
        if self.resets:
            return min(bisect_left(self.resets, mark.mono_ns), len(self.begins) - 1)
        behind = ((times, mark_index(times, mark)) for times in self.times.values())
        laps = [times.lap_of(index) for times, index in behind if index is not None]
        return min(laps, default=before)

    def key_of(self, mark: Mark, lap: int) -> float:
        """The key of a mark: its time, but not before the samples that it stands behind, nor behind those to come."""
        if ends_lap(self, mark):
            return math.inf
        low, high = self.begins[lap], math.inf
        for times in self.times.values():
            index = mark_index(times, mark)
            if index is None:
                continue
            if index > 0 and times.lap_of(index - 1) == lap:
                low = max(low, times.at(index - 1, low))
            if index < times.count and times.lap_of(index) == lap:
                high = min(high, times.at(index, high))
        return max(low, min(mark.t if math.isfinite(mark.t) else low, high))


def mark_index(times: Times, mark: Mark) -> int | None:
    """Index of the sample of a stream that follows a mark; None where the recording does not tell."""
    stream = times.stream
    if stream.name not in mark.seq or "seq" not in stream.known:
        return None
    return stream.index_of_seq(mark.seq[stream.name])


def laps_of(run: Run, streams: dict[str, ArrayStream | VideoStream]) -> Laps:
    """The laps of some streams of a recording: its episodes, or, where it has no resets, where time begins anew."""
    told: dict[str, Any] = run.manifest.get("streams", {})
    episodes = run.episodes()
    if len(episodes) > 1:
        cuts = {name: [*(e.ranges[name].start for e in episodes), len(s)] for name, s in streams.items()}
        resets = [e.opened_by.mono_ns for e in episodes[1:] if e.opened_by is not None]
    else:
        cuts, resets = {}, []
    times = {name: Times(s, cuts.get(name), told.get(name, {})) for name, s in streams.items()}
    count = max((len(t.low) for t in times.values()), default=1)
    for each in times.values():  # those that saw fewer laps are at their end
        missing = count - len(each.low)
        each.begins += [each.count] * missing
        each.low += [math.inf] * missing
        each.high += [-math.inf] * missing
    begins = [min((t.low[lap] for t in times.values()), default=0.0) for lap in range(count)]
    ends = [max((t.high[lap] for t in times.values()), default=0.0) for lap in range(count)]
    for lap in range(count):  # without any time at all
        if begins[lap] > ends[lap]:
            begins[lap] = ends[lap] = ends[lap - 1] if lap else 0.0
    return Laps(times, begins, ends, sorted(resets), run.dt or 0.0)


def ends_lap(laps: Laps, mark: Mark) -> bool:
    """Whether a mark is a reset that parts two laps."""
    return is_whole(mark) and mark.mono_ns in laps.resets
