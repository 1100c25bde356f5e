"""Which samples of each stream make the rows of an episode.

Rows are the samples of a leading stream, or lie ``1 / fps`` apart. Nothing is extrapolated: rows begin where every
stream has a sample, and end where the first of them ends. A stream of one sample holds for the whole episode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from .episodes import Placed
from .features import Feature

if TYPE_CHECKING:
    from ..reader import Episode, Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
METHODS: Final = ("previous", "nearest", "linear")
#: Times that are so close, as a share of the period, are the same time.
_SLACK: Final = 1e-3
#: A sample is held for so many periods before that is told.
_HELD: Final = 1.5


@dataclass(frozen=True)
class Rows:
    """The rows of one episode.

    Parameters
    ----------
    t : ndarray, (length,) float64, s
        Stream time.
    placed : dict
        By stream, which samples they are.
    problems : list of str
        Rows that show a sample of long ago, because those in between were lost.
    """

    t: Floats
    placed: Mapping[str, Placed]
    problems: list[str]


@dataclass(frozen=True)
class Alignment:
    """How rows are found.

    Parameters
    ----------
    lead : str
        The stream whose samples are the rows, where there is no ``fps``; ``""``: none.
    fps : float or None, 1/s
    method : {"previous", "nearest", "linear"}
    """

    lead: str
    fps: float | None = None
    method: str = "previous"

    def rows(self, run: Run, episode: Episode, features: Sequence[Feature]) -> Rows | None:
        """The rows of an episode; None where its streams do not overlap in time.

        Raises
        ------
        OptionError
            Time goes back, or is no number, within the episode, and several streams are to be aligned.
        """
        ahead = _ahead(features)
        spans = {name: episode[name] for name in ahead}
        if any(span.stop - span.start - ahead[name] <= 0 for name, span in spans.items()):
            return None
        if self.fps is None and list(spans) == [self.lead]:
            span = spans[self.lead]
            first = np.arange(span.start, span.stop - ahead[self.lead])
            return Rows(run[self.lead].t[first[0] : first[-1] + 1], {self.lead: Placed(first)}, [])
        tracks = {n: _Track.of(run, n, span, ahead[n], self.method) for n, span in spans.items()}
        begin = max(track.begin for track in tracks.values())
        last = (
            tracks[self.lead].times[-1] if self.lead in tracks else max(k.times[-1] for k in tracks.values())
        )
        end = min(float(last), *(track.end for track in tracks.values()))
        t = self._times(tracks, begin, end)
        if not len(t):
            return None
        return Rows(
            t,
            {name: track.placed(t, self.method) for name, track in tracks.items()},
            [problem for name, track in tracks.items() if (problem := track.held(t, name, episode.index))],
        )

    def _times(self, tracks: Mapping[str, _Track], begin: float, end: float) -> Floats:
        if self.fps is not None:
            count = math.floor((end - begin) * self.fps + _SLACK) + 1
            return begin + np.arange(max(count, 0)) / self.fps
        lead = tracks[self.lead]
        slack = _SLACK * (lead.period if math.isfinite(lead.period) else 0.0)
        return lead.times[(lead.times >= begin - slack) & (lead.times <= end + slack)]


@dataclass(frozen=True)
class _Track:
    """A stream's samples within an episode.

    Parameters
    ----------
    start : int
        Index of the first.
    times : ndarray, s
    period : float, s
        Between two of them; infinite for a single one.
    method : str
    """

    start: int
    times: Floats
    period: float
    method: str

    @classmethod
    def of(cls, run: Run, name: str, span: slice, ahead: int, method: str) -> _Track:
        times = np.asarray(run[name].t[span.start : span.stop - ahead])
        steps = np.diff(times)
        if np.isnan(times).any() or (steps < 0).any():
            at = span.start + int(np.argmax(np.isnan(times) | np.concatenate([[False], steps < 0])))
            raise OptionError(
                f"stream {name!r} of {run.path}: at sample {at} time is no number, or goes back without a reset",
                "so it cannot be aligned with other streams: leave it out, or take it alone",
            )
        return cls(span.start, times, float(np.median(steps)) if len(steps) else math.inf, method)

    @property
    def begin(self) -> float:
        """From here on it has a value."""
        early = self.period / 2 if self.method == "nearest" else 0.0
        return float(self.times[0]) - early

    @property
    def end(self) -> float:
        """Up to here it has one: its last sample holds for one period."""
        late = {"previous": self.period, "nearest": self.period / 2}.get(self.method, 0.0)
        return float(self.times[-1]) + (math.inf if math.isinf(self.period) else late)

    @property
    def _slack(self) -> float:
        return 0.0 if math.isinf(self.period) else _SLACK * self.period

    def placed(self, t: Floats, method: str) -> Placed:
        """The samples for rows at these times."""
        before = np.clip(np.searchsorted(self.times, t + self._slack, "right") - 1, 0, len(self.times) - 1)
        behind = np.minimum(before + 1, len(self.times) - 1)
        if method == "nearest":
            closer = self.times[behind] - t < t - self.times[before] - self._slack
            before = np.where(closer, behind, before)
        if method != "linear":
            return Placed(self.start + before)
        length = self.times[behind] - self.times[before]
        share = np.clip((t - self.times[before]) / np.where(length > 0, length, 1.0), 0.0, 1.0)
        share[(share * length <= self._slack) | (length <= 0)] = 0.0
        return Placed(self.start + before, share if share.any() else None)

    def held(self, t: Floats, name: str, episode: int) -> str:
        """What is to be told of rows far from any sample: some in between were lost. Empty: nothing."""
        before = np.clip(np.searchsorted(self.times, t + self._slack, "right") - 1, 0, len(self.times) - 1)
        behind = np.minimum(before + 1, len(self.times) - 1)
        wide = self.times[behind] - self.times[before] > _HELD * self.period
        far = int((wide & (t - self.times[before] > self._slack)).sum())
        if not far:
            return ""
        return f"stream {name!r}, episode {episode}: {far} of {len(t)} rows lie in gaps of it, and hold what was before"


def _ahead(features: Sequence[Feature]) -> dict[str, int]:
    """The streams of the features, and how many rows behind a row each is asked for."""
    ahead: dict[str, int] = {}
    for f in features:
        for piece in f.pieces:
            ahead[piece.stream] = max(ahead.get(piece.stream, 0), f.shift)
    return ahead


def constant_rate(t: Floats) -> float | None:
    """Rows per second, if they lie at a constant rate: a whole number where it is meant to be one; else None."""
    steps = np.diff(t)
    if not len(steps):
        return None
    period = float(np.median(steps))
    if not period > 0 or np.abs(steps - period).max() > _SLACK * period:
        return None
    rate = (len(t) - 1) / float(t[-1] - t[0])
    return float(round(rate)) if abs(rate - round(rate)) < 1e-4 * rate else rate


def usual_rate(t: Floats) -> float | None:
    """Rows per second, of most of them; None if they have no two times."""
    steps = np.diff(t)
    steps = steps[steps > 0]
    if not len(steps):
        return None
    rate = 1 / float(np.median(steps))
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate
