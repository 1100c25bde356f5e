"""Samples for a simulation: which stream has them, and where one does not follow from the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from recd_client.errors import OptionError

from ..reader import ArrayStream, Lists, Run


@dataclass(frozen=True)
class Stretch:
    """Samples that follow each other without a reset or a loss.

    Parameters
    ----------
    start, stop : int
        From this sample on, up to that one.
    lost : int
        Samples that are missing right before it.
    """

    start: int
    stop: int
    lost: int = 0


@dataclass(frozen=True)
class Row:
    """One sample.

    Parameters
    ----------
    index : int
        In its stream.
    t : float, s
    values : dict
        Of each field.
    """

    index: int
    t: float
    values: Mapping[str, Any]


def find_stream(run: Run, name: str | None, fits: Callable[[ArrayStream], bool], needed: str) -> ArrayStream:
    """The stream that a simulation can be set to: the named one, or the only one that fits.

    Raises
    ------
    OptionError
        None fits, or several do; says which streams and fields there are, and what is needed.
    """
    arrays = {key: s for key, s in run.streams.items() if isinstance(s, ArrayStream)}
    there = "; ".join(f"{key}: {', '.join(s.fields)}" for key, s in arrays.items()) or "no streams of arrays"
    if name is not None:
        if name not in arrays:
            raise OptionError(
                f"stream={name!r}: the recording has no such stream of arrays", f"there is {there}"
            )
        fitting = {name: arrays[name]} if fits(arrays[name]) else {}
    else:
        fitting = {key: s for key, s in arrays.items() if fits(s)}
    if not fitting:
        raise OptionError(f"nothing to replay: needed is {needed}", f"the recording has {there}")
    if len(fitting) > 1:
        raise OptionError(
            f"several streams can be replayed: {', '.join(fitting)}", "choose one with stream=..."
        )
    (found,) = fitting.values()
    return found


def stretches(run: Run, stream: ArrayStream, episodes: Sequence[int] | None = None) -> list[Stretch]:
    """Where samples follow each other: cut at resets, where time goes back, and where samples are missing.

    Raises
    ------
    OptionError
        There is no such episode, or no sample.
    """
    found = run.episodes(stream.name)
    if episodes is not None:
        for k in episodes:
            if not isinstance(k, (int, np.integer)) or not 0 <= k < len(found):
                raise OptionError(
                    f"episodes: there is no episode {k!r}, the recording has {len(found)}",
                    f"use 0 to {len(found) - 1}" if found else "leave it out",
                )
        found = [found[int(k)] for k in episodes]
    spans = [episode[stream.name] for episode in found if episode.count(stream.name)]
    if not spans:
        raise OptionError(f"stream {stream.name!r} has no samples", "record some")
    seq = stream.seq if "seq" in stream.known else None
    out = []
    for span in spans:
        t = stream.t[span]
        lost = np.zeros(len(t), np.int64)
        if seq is not None:
            here = seq[span]
            lost[1:] = np.diff(here) - 1
            before = 0 if span.start == 0 else int(seq[span.start - 1]) + 1
            lost[0] = here[0] - before
        cuts = [0, *(np.flatnonzero((np.diff(t) < 0) | (lost[1:] > 0)) + 1).tolist(), len(t)]
        out += [Stretch(span.start + a, span.start + b, int(lost[a])) for a, b in pairwise(cuts)]
    return out


def rows(stream: ArrayStream, start: int, stop: int, fields: Sequence[str]) -> Iterator[Row]:
    """Samples in order, in constant memory."""
    for block in stream.batches(fields=list(fields), start=start, stop=stop):
        t = block.t.tolist()
        columns = [(name, _items(values)) for name, values in block.items()]
        for i in range(block.count):
            yield Row(block.start + i, t[i], {name: values[i] for name, values in columns})


def _items(values: Any) -> Any:
    return values if isinstance(values, Lists) else np.asarray(values)
