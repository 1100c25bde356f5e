"""Statistics as LeRobot computes them: of each episode, and of all.

Over the last axis of an array; of images by channel, in parts of 255, over some frames, of which only each so many
pixels are looked at. Quantiles are read from histograms of 5000 bins, in between by interpolation.
``lerobot.datasets.compute_stats`` is the model. Its numbers are reproduced but for two faults: squares of small
integer types wrap there, which spoils the deviation of images, and differences of large squares cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: By name of the statistic: its values, in lists as deep as the array that they are of.
Stats = dict[str, Any]
Rows = Iterable[NDArray[Any]]

_QUANTILES: Final = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_BINS: Final = 5000
_MARGIN: Final = 1e-10
#: Of images that are larger, only each so many pixels are looked at, so that about 150 remain.
_LARGE: Final = 300
_LARGE_BECOMES: Final = 150


def array_stats(rows: Callable[[], Rows], count: int) -> Stats:
    """Of an episode's rows of one feature.

    Parameters
    ----------
    rows : callable
        Gives the rows, ``(n, *shape)``, some at a time; asked for twice.
    count : int
        Their number.
    """
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None
    elements, mean, squares = 0, np.zeros(()), np.zeros(())
    for part in rows():
        flat = _flat(part)
        low = flat.min(axis=0) if low is None else np.minimum(low, flat.min(axis=0))
        high = flat.max(axis=0) if high is None else np.maximum(high, flat.max(axis=0))
        wide = flat.astype(np.float64)
        shift = wide.mean(axis=0) - mean
        total = elements + len(wide)
        squares = squares + ((wide - wide.mean(axis=0)) ** 2).sum(axis=0)
        squares = squares + shift**2 * (elements * len(wide) / total)
        mean = mean + shift * (len(wide) / total)
        elements = total
    assert low is not None
    assert high is not None
    stats: Stats = {
        "min": low.tolist(), "max": high.tolist(), "mean": mean.tolist(), "std": np.sqrt(squares / elements).tolist(),
        "count": [count],
    }  # fmt: skip
    if elements == 1:
        return {**stats, **{name: mean.tolist() for name in _QUANTILES}}
    edges = [_edges(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    bins = np.zeros((len(edges), _BINS))
    for part in rows():
        flat = _flat(part).astype(np.float64)
        for i, each in enumerate(edges):
            bins[i] += _histogram(flat[:, i], each)
    columns = [_quantiles(row, each, elements) for row, each in zip(bins, edges, strict=True)]
    return {**stats, **{name: [column[name] for column in columns] for name in _QUANTILES}}


class ImageStats:
    """Of an episode's images of one feature: counts how often each value occurs, so nothing is kept of them.

    Parameters
    ----------
    length : int
        Images of the episode.
    """

    def __init__(self, length: int) -> None:
        self._wanted = set(sampled(length))
        self._counts = np.zeros((3, 256), np.int64)
        self._taken = 0
        self._at = 0

    def see(self, image: NDArray[np.uint8]) -> None:
        """The next image, ``(H, W, 3)``; it is looked at if it is one of :func:`sampled`."""
        if self._at in self._wanted:
            apart = stride(*image.shape[:2])
            self.take(image[::apart, ::apart])
        self._at += 1

    def take(self, picture: NDArray[np.uint8]) -> None:
        """What is looked at of an image: every so many of its pixels, by :func:`stride`."""
        for channel in range(3):
            self._counts[channel] += np.bincount(picture[..., channel].ravel(), minlength=256)
        self._taken += 1

    def result(self) -> Stats:
        """The statistics, each ``(3, 1, 1)``."""
        found = [_of_counts(counts) for counts in self._counts]
        stats: Stats = {name: [[[channel[name] / 255.0]] for channel in found] for name in found[0]}
        return {**stats, "count": [self._taken]}


def sampled(length: int) -> list[int]:
    """Which images of an episode are looked at: all of a short one, of longer ones fewer and fewer."""
    count = max(min(100, length), min(int(length**0.75), 10_000))
    found: list[int] = np.round(np.linspace(0, length - 1, count)).astype(int).tolist()
    return found


def stride(height: int, width: int) -> int:
    """Of an image each so many rows and columns are looked at: all of a small one, about 150 of a larger one."""
    if max(width, height) < _LARGE:
        return 1
    return (width if width > height else height) // _LARGE_BECOMES


def of_all(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """The statistics of the dataset, from those of its episodes: quantiles are means of theirs."""
    return {key: _joined([stats[key] for stats in episodes]) for key in episodes[0]}


def _joined(found: Sequence[Stats]) -> Stats:
    stacked = {name: np.array([stats[name] for stats in found]) for name in found[0]}
    counts = stacked["count"].astype(np.float64)
    weights = counts.reshape(-1, *(1 for _ in stacked["mean"].shape[1:])) / counts.sum()
    mean = (stacked["mean"] * weights).sum(axis=0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weights).sum(axis=0)
    return {
        "min": stacked["min"].min(axis=0).tolist(),
        "max": stacked["max"].max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": stacked["count"].sum(axis=0).tolist(),
        **{name: (stacked[name] * weights).sum(axis=0).tolist() for name in _QUANTILES},
    }


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.reshape(-1, rows.shape[-1] if rows.ndim > 1 else 1)


def _edges(low: float, high: float) -> NDArray[np.float64]:
    return np.linspace(low - _MARGIN, high + _MARGIN, _BINS + 1)


def _histogram(
    values: NDArray[np.float64], edges: NDArray[np.float64], weights: NDArray[Any] | None = None
) -> NDArray[Any]:
    if not np.isfinite(edges).all():  # NaN or an infinity among the values: their quantiles are none
        return np.full(_BINS, np.nan)
    if edges[0] == edges[-1]:  # the margin is nothing beside values so large
        return np.histogram(values, bins=edges, weights=weights)[0]
    # As many bins of one width, which numpy fills much faster than any bins.
    return np.histogram(values, bins=_BINS, range=(edges[0], edges[-1]), weights=weights)[0]


def _quantiles(counts: NDArray[Any], edges: NDArray[np.float64], total: float) -> dict[str, float]:
    """Read from a histogram; below the first bin's end its begin, as LeRobot has it."""
    if np.isnan(counts).any():
        return dict.fromkeys(_QUANTILES, float("nan"))
    sums = np.cumsum(counts)
    found = {}
    for name, share in _QUANTILES.items():
        at = int(np.searchsorted(sums, share * total))
        if at == 0:
            found[name] = float(edges[0])
        elif at >= len(sums):
            found[name] = float(edges[-1])
        else:
            within = sums[at] - sums[at - 1]
            part = (share * total - sums[at - 1]) / within if within else 0.0
            found[name] = float(edges[at] + part * (edges[at + 1] - edges[at]))
    return found


def _of_counts(counts: NDArray[np.int64]) -> dict[str, float]:
    """Of one channel, how often each of its 256 values occurred."""
    values = np.arange(256.0)
    occurring = np.flatnonzero(counts)
    total = int(counts.sum())
    mean = float((values * counts).sum() / total)
    edges = _edges(float(occurring[0]), float(occurring[-1]))
    histogram = _histogram(values[occurring], edges, counts[occurring])
    return {
        "min": float(occurring[0]),
        "max": float(occurring[-1]),
        "mean": mean,
        "std": float(np.sqrt((counts * (values - mean) ** 2).sum() / total)),
        **_quantiles(histogram, edges, total),
    }
