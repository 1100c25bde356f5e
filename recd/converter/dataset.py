"""Episodes of all features on one time axis: planned first, then read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from . import guess as guessing
from .alignment import METHODS, Alignment, constant_rate, usual_rate
from .choosing import Chosen, streams_of
from .episodes import EpisodeData
from .features import ACTION, Feature
from .mapping import Map
from .resolving import same
from .windows import Windows

if TYPE_CHECKING:
    from ..reader import Run

#: Rates that differ by no more than this share are one.
_SAME_RATE: Final = 1e-4
_MOST_FPS: Final = 1e6


@dataclass(frozen=True)
class Dataset:
    """What an episode target is given.

    Parameters
    ----------
    map : Map
    features : tuple of Feature
    alignment : Alignment
    fps : float or None
        Of the rows; None where they have no constant rate.
    episodes : list of Chosen
        Those with rows.
    lengths : list of int
        Rows of each.
    problems : list of str
    """

    map: Map
    features: tuple[Feature, ...]
    alignment: Alignment
    fps: float | None
    episodes: list[Chosen]
    lengths: list[int]
    problems: list[str]
    windows: Windows = field(default_factory=Windows, repr=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What was to be done, each once."""
        return tuple(dict.fromkeys(self.task(c) for c in self.episodes))

    def task(self, chosen: Chosen) -> str:
        """What was to be done in an episode."""
        return (chosen.told(self.map.task_from) if self.map.task_from else "") or self.map.task

    def read(self, index: int, reached: Callable[[int], None]) -> EpisodeData:
        """One of the episodes."""
        chosen = self.episodes[index]
        rows = self.alignment.rows(chosen.run, chosen.episode, self.features)
        assert rows is not None  # it was planned
        return EpisodeData(
            index=index, run=chosen.run, number=chosen.episode.index, features=self.features,
            t=rows.t - rows.t[0], t0=float(rows.t[0]), placed=rows.placed, fps=self.fps, seed=chosen.seed,
            success=chosen.success, task=self.task(chosen), metadata=chosen.metadata, problems=rows.problems,
            reached=reached, windows=self.windows,
        )  # fmt: skip


def plan(
    runs: Sequence[Run],
    episodes: list[Chosen],
    *,
    map: Map | None = None,
    fps: float | None = None,
    align: str | None = None,
    streams: Sequence[str] | None = None,
    constant: bool = False,
) -> Dataset:
    """What will be written, with every error that can be known before.

    Parameters
    ----------
    runs : sequence of Run
    episodes : list of Chosen
    map : Map, optional
        Default: guessed from the first recording.
    fps, align : optional
        As of the command line; they go before those of the map.
    streams : sequence of str, optional
        Guess from these.
    constant : bool
        The target wants a constant rate.

    Raises
    ------
    OptionError
        The map does not fit a recording, it has no feature, or its streams do not overlap in time.
    """
    found = map or Map(())
    if found.features and streams is not None:
        raise OptionError(
            "--streams: the map says which streams are meant", "leave --streams out, or the map"
        )
    if fps is not None and not 0 < fps < _MOST_FPS:
        raise OptionError(f"--fps {fps:g}: expected rows per second, above 0", "write --fps 50")
    if not found.features:
        guessed = guessing.guess(runs[0], None if streams is None else streams_of(runs[0], streams))
        found = replace(found, features=guessed.features, left_out=guessed.left_out)
    if not found.features:
        raise OptionError(f"{runs[0].path} has nothing to make features of", "see: recd info")
    features = same([(run, found.resolve(run)) for run in runs], found.where)
    fps = fps if fps is not None else found.fps
    method = align or found.align or "previous"
    if method not in METHODS:
        raise OptionError(f"align {method!r}: expected one of {', '.join(METHODS)}", "choose one of these")
    alignment = Alignment(_lead(found, features, runs[0], fps), fps, method)
    planned = _planned(found, features, alignment, episodes)
    planned.problems.extend(_lost(runs, alignment))
    if constant and planned.fps is None:
        rate = next(
            filter(None, (usual_rate(_times(alignment, c, features)) for c in planned.episodes)), None
        )
        if rate is None:
            raise OptionError("the rate of the rows cannot be told from a single sample", "say it: --fps N")
        planned = _planned(found, features, replace(alignment, fps=rate), episodes)
        note = f"samples of stream {alignment.lead!r} have no constant rate: rows were put at {rate:g} per second"
        planned.problems.insert(0, note)
    return planned


def _times(alignment: Alignment, chosen: Chosen, features: Sequence[Feature]) -> NDArray[np.float64]:
    rows = alignment.rows(chosen.run, chosen.episode, features)
    assert rows is not None
    return rows.t


def _lead(found: Map, features: Sequence[Feature], run: Run, fps: float | None) -> str:
    """The stream whose samples are the rows."""
    streams = [*dict.fromkeys(piece.stream for f in features for piece in f.pieces)]
    if found.lead:
        if found.lead not in streams:
            raise OptionError(
                f"{found.where}: lead = {found.lead!r} is no stream of a feature, only {', '.join(streams)}",
                "choose one of these",
            )
        return found.lead
    acting = [f.stream for f in features if f.role == ACTION]
    if acting or len(streams) == 1:
        return (acting or streams)[0]
    if fps is not None:
        return ""
    raise OptionError(
        f"the rate of the rows: none of the streams {', '.join(streams)} has actions",
        'say --fps N, or lead = "STREAM" in the map',
    )


def _planned(
    found: Map, features: tuple[Feature, ...], alignment: Alignment, episodes: list[Chosen]
) -> Dataset:
    kept, apart, lengths, problems = [], [], [], []
    rates: list[float | None] = []
    for chosen in episodes:
        rows = alignment.rows(chosen.run, chosen.episode, features)
        if rows is None:
            apart.append(chosen)
            continue
        kept.append(chosen)
        lengths.append(len(rows.t))
        problems += rows.problems
        if len(rows.t) > 1:
            rates.append(constant_rate(rows.t))
    if not kept:
        raise OptionError(
            f"no episode has a row: {_apart(episodes[0], features)}",
            "record them on one time base, or leave out the features of one of these streams",
        )
    if apart:
        which = ", ".join(str(c.number) for c in apart[:5]) + (", ..." if len(apart) > 5 else "")
        problems.insert(
            0,
            f"{len(apart)} of {len(episodes)} episodes are left out ({which}): {_apart(apart[0], features)}",
        )
    fps = alignment.fps
    if fps is None and rates and rates[0] is not None:
        first = rates[0]
        if all(rate is not None and abs(rate - first) <= _SAME_RATE * first for rate in rates):
            fps = first
    return Dataset(found, features, alignment, fps, kept, lengths, problems)


def _lost(runs: Sequence[Run], alignment: Alignment) -> list[str]:
    """Losses of the leading stream, whose samples are the rows; those of others are told where rows show them."""
    if alignment.fps is not None:
        return []
    gaps = [(run, sum(gap.count for gap in run[alignment.lead].gaps)) for run in runs]
    return [
        f"{run.path}: {n} samples of stream {alignment.lead!r} were lost: rows jump there"
        for run, n in gaps
        if n
    ]


def _apart(chosen: Chosen, features: Sequence[Feature]) -> str:
    """Why an episode has no row."""
    told = []
    for name in dict.fromkeys(piece.stream for f in features for piece in f.pieces):
        t = chosen.run[name].t[chosen.episode[name]]
        told.append(f"stream {name!r} has {f'{t[0]:g} to {t[-1]:g} s' if len(t) else 'no sample'}")
    return ", ".join(told)
