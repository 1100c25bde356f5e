"""What streams of every kind have: their timeline, and finding samples on it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError, OutOfRangeError, RecdError
from recd_client.schema import Schema

from .data import Gap, StreamData

METHODS: Final = ("previous", "nearest", "linear")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Stream(ABC):
    """One stream of a recording; nothing of its samples is read before it is asked for.

    Of each sample a recording holds its time. Number, step and monotonic time are in logs and in the table of
    a video's frames; a data file holds none of them. Then the number follows from the counts and gaps of the
    manifest; step and wall time where the time base tells them (``t = step * dt``, or monotonic seconds), and else
    wall time from the manifest's line through some samples, to some milliseconds.
    :attr:`known` says which of ``seq``, ``step`` and ``wall`` are exact; what is not known at all is -1 or NaN.
    """

    #: ``"array"`` or ``"video"``.
    kind: ClassVar[str]

    def __init__(self, data: StreamData) -> None:
        self._data = data
        #: What cannot be read, or contradicts the manifest.
        self.problems: list[str] = data.problems

    # --- what it is ------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """Its name."""
        return self._data.name

    @property
    def hz(self) -> float | None:
        """Samples per second that were kept, if that was asked for."""
        return self._data.hz

    @property
    def state(self) -> str:
        """``complete``, ``truncated``, ``damaged``, ``failed``, ``live``, ``unfinished``; ``unknown`` of lone files."""
        return self._data.state

    @property
    def reason(self) -> str:
        """Why it is not complete."""
        return self._data.reason

    @property
    def complete(self) -> bool:
        """Whether it has ended, and nothing of it is missing but what :attr:`gaps` tells."""
        return self._data.complete and not self.problems

    @property
    def gaps(self) -> list[Gap]:
        """Every gap, by first number."""
        return list(self._data.gaps)

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """Names, dtypes, shapes and units of a sample's fields."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields; one, ``data``, where samples were no dicts."""
        return tuple(f.name for f in self.schema.fields)

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """By field; of the elements of a ragged one, uint8 for strings."""
        return {f.name: np.dtype(f.dtype) for f in self.schema.fields}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample's value by field; of one element of a ragged one."""
        return {f.name: f.shape for f in self.schema.fields}

    @property
    def units(self) -> dict[str, str]:
        """Physical units by field, of those that have one."""
        return {f.name: f.unit for f in self.schema.fields if f.unit}

    @property
    def readable(self) -> bool:
        """Whether there is a file (or log) that it can be read from: not, if it was only drawn, say."""
        try:
            len(self)
        except RecdError:
            return False
        return True

    # --- its timeline ------------------------------------------------------------------------------
    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @property
    @abstractmethod
    def t(self) -> Floats:
        """Stream time of each sample, ``(n,) float64``, s."""

    @property
    @abstractmethod
    def seq(self) -> Ints:
        """Number of each sample, ``(n,) int64``; a jump is a loss. -1 where unknown."""

    @property
    @abstractmethod
    def step(self) -> Ints:
        """Step of the simulation at each sample, ``(n,) int64``; -1 where unknown."""

    @property
    @abstractmethod
    def mono_ns(self) -> Ints:
        """Monotonic clock at the write of each sample, ``(n,) int64``, ns; as :attr:`wall`, -1 where unknown."""

    @property
    def wall(self) -> Floats:
        """The clock on the wall at the write of each sample, ``(n,) float64``, Unix seconds; NaN where unknown.

        Exact if :attr:`known` has ``wall``. Else a line through some samples: off by at most 1 ms at those where the
        daemon looked (every few milliseconds), or what the manifest's ``clock`` has as its tolerance in long
        recordings; in between by at most the time from one look to the next.
        """
        return self._wall_of(self.mono_ns)

    def _wall_of(self, mono_ns: Ints) -> Floats:
        clocks = self._data.clocks
        if clocks.start_wall_ns is None or clocks.start_mono_ns is None:
            return np.full(len(mono_ns), np.nan)
        offset = clocks.start_wall_ns - clocks.start_mono_ns
        return np.where(mono_ns < 0, np.nan, (mono_ns + offset) / 1e9)

    @property
    @abstractmethod
    def known(self) -> frozenset[str]:
        """Which of ``seq``, ``step`` and ``wall`` (and ``mono_ns`` with it) are those that were recorded."""

    @property
    def tells_wall(self) -> bool:
        """Whether :attr:`wall` is told of every sample, exactly or about."""
        return "wall" in self.known

    @property
    @abstractmethod
    def parts(self) -> list[slice]:
        """The samples of each part that was read (``split``, ``save_on_reset``); one slice where there is one file."""

    # --- finding samples -----------------------------------------------------------------------------
    def index_at(
        self, t: float, method: str = "previous", tolerance: float | None = None, within: slice | None = None
    ) -> int | None:
        """The sample that holds at a time; None if there is none.

        Parameters
        ----------
        t : float, s
            Stream time.
        method : {"previous", "nearest", "linear"}
            ``previous``: the newest sample that is not behind ``t``. ``nearest``: the closest one, of two the
            earlier one. ``linear``: as ``previous``, but None also behind the last sample.
        tolerance : float, s, optional
            None if the sample is further away (``linear``: if either neighbour is).
        within : slice, optional
            Only these samples: an episode's. Needed where time begins anew in between.

        Raises
        ------
        OptionError
            The method is unknown; or time goes back among the samples.
        """
        found = self._around(t, method, tolerance, within)
        return None if found is None else found[0]

    def _around(
        self, t: float, method: str, tolerance: float | None, within: slice | None
    ) -> tuple[int, int, float] | None:
        """The sample before ``t``, the one behind it, and how far from the one to the other ``t`` is, 0 to 1."""
        if method not in METHODS:
            raise OptionError(
                f"method={method!r}: expected one of {', '.join(METHODS)}", "choose one of these"
            )
        if tolerance is not None and not tolerance >= 0:
            raise OptionError(f"tolerance={tolerance!r}: expected seconds >= 0, or None", "leave it out")
        start, stop, _ = (within or slice(None)).indices(len(self))
        times = self._ascending(start, stop)
        at = int(np.searchsorted(times, t, "right")) - 1
        if method == "nearest":
            if at + 1 < len(times) and (at < 0 or times[at + 1] - t < t - times[at]):
                at += 1
        elif method == "linear" and at >= 0 and times[at] != t and at + 1 >= len(times):
            return None
        if at < 0 or math.isnan(t):
            return None
        behind = at + 1 if method == "linear" and times[at] != t else at
        if tolerance is not None and max(abs(t - times[at]), abs(times[behind] - t)) > tolerance:
            return None
        share = (t - times[at]) / (times[behind] - times[at]) if behind > at else 0.0
        first = self._timed_index(start, at), self._timed_index(start, behind)
        return first[0], first[1], float(share)

    def _timed_index(self, start: int, at: int) -> int:
        """The index of the sample whose time is number ``at`` of those behind ``start`` that are not NaN."""
        if self._untimed is None:
            return start + at
        return int(self._untimed[np.searchsorted(self._untimed, start) + at])

    @cached_property
    def _untimed(self) -> Ints | None:
        """Indices of the samples whose time is a number; None if that is all."""
        nan = np.isnan(self.t)
        return np.flatnonzero(~nan) if nan.any() else None

    @cached_property
    def _backward(self) -> Ints:
        """Where time goes back, among the samples whose time is a number: index of the one behind."""
        timed = self._untimed
        times = self.t if timed is None else self.t[timed]
        at = np.flatnonzero(np.diff(times) < 0) + 1
        return at if timed is None else np.asarray(timed[at], np.int64)

    def _ascending(self, start: int, stop: int) -> Floats:
        """The times from ``start`` to ``stop`` that are numbers."""
        at = int(np.searchsorted(self._backward, start, "right"))
        if at < len(self._backward) and self._backward[at] < stop:
            raise OptionError(
                f"stream {self.name!r}: time goes back at sample {self._backward[at]}: a time is not enough",
                "ask within an episode: run.episodes()[k].at(t)",
            )
        times = self.t[start:stop]
        return times if self._untimed is None else times[~np.isnan(times)]

    def index_of_seq(self, seq: int) -> int:
        """Index of the first sample whose number is ``seq`` or above; their count if there is none.

        Raises
        ------
        OptionError
            It is not known which numbers the samples have.
        """
        if "seq" not in self.known:
            raise OptionError(
                f"stream {self.name!r}: nobody knows the numbers of its samples",
                "find them by their times: index_at",
            )
        return int(np.searchsorted(self.seq, seq))

    def _index(self, i: Any) -> int:
        """A sample's index from 0 on."""
        n = len(self)
        index = int(i.__index__())
        if not -n <= index < n:
            raise OutOfRangeError(
                f"stream {self.name!r}: sample {index} of {n}", f"use -{n} to {n - 1}" if n else "it is empty"
            )
        return index % n

    @abstractmethod
    def at(
        self, t: float, method: str = "previous", tolerance: float | None = None, within: slice | None = None
    ) -> Mapping[str, Any] | NDArray[Any] | None:
        """The sample that holds at a time, see :meth:`index_at`; None if there is none."""

    def close(self) -> None:  # noqa: B027  - not every stream holds a file open
        """Let go of its files; what is asked for afterwards opens them again."""

    def __repr__(self) -> str:
        kinds = ", ".join(f"{f.name} {f}" for f in self.schema.fields)
        return f"<recd {self.kind} stream {self.name!r}: {len(self)} samples of {kinds}>"
