"""What came of a check: where a simulation that was fed the recorded actions left the recording, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Divergence:
    """One number that is not what was recorded.

    Parameters
    ----------
    index : int
        Of the sample in its stream.
    t : float, s
        Its stream time.
    field : str
    element : tuple of int
        Which number of the field; ``()`` of a field that is one.
    recorded, replayed : Any
        What it was, and what came instead.
    """

    index: int
    t: float
    field: str
    element: tuple[int, ...]
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        at = "".join(f"[{i}]" for i in self.element)
        return (
            f"sample {self.index} (t = {self.t:.9g} s): {self.field}{at} was {_shown(self.recorded)}, "
            f"the replay has {_shown(self.replayed)}"
        )


def _shown(value: Any) -> str:
    return f"{float(value):.17g}" if isinstance(value, (float, np.floating)) else f"{value!r:.60}"


@dataclass
class Difference:
    """How far one field was off, over all samples that were compared.

    Parameters
    ----------
    samples : int
        That were compared.
    differing : int
        Those with a difference beyond the tolerance.
    max_abs, max_rel : float
        The largest difference, and the largest one in proportion to the larger of both numbers. Of what is no
        number: 1 where it differs. NaN or an infinity on one side alone is an infinite difference.
    at : int
        The sample of the largest; -1 where there is none.
    """

    samples: int = 0
    differing: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    at: int = -1


@dataclass(frozen=True)
class Skipped:
    """Samples that could not be checked.

    Parameters
    ----------
    start, stop : int
        From this sample on, up to that one.
    reason : str
    """

    start: int
    stop: int
    reason: str


@dataclass
class Report:
    """What :func:`recd.replay` found with ``check=True``.

    Parameters
    ----------
    stream : str
    tolerance : float
        Largest difference that counts as none; 0: equal bit for bit.
    samples : int
        That were compared with what the simulation did.
    starts : int
        That the simulation was set to, because nothing leads to them: the first one, those behind resets and gaps.
    fields : dict
        Name to :class:`Difference`.
    first : Divergence or None
        The first number beyond the tolerance.
    skipped : list of Skipped
    notes : list of str
        What the simulation has and the recording does not, other versions: where to look first.
    """

    stream: str
    tolerance: float = 0.0
    samples: int = 0
    starts: int = 0
    fields: dict[str, Difference] = field(default_factory=dict)
    first: Divergence | None = None
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything was compared, and nothing differs beyond the tolerance."""
        return self.first is None and self.samples > 0 and not self.skipped

    def compare(self, index: int, t: float, recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> bool:
        """Whether a sample is the same; notes where it is not.

        Parameters
        ----------
        index : int
        t : float, s
        recorded, replayed : mapping of str to array, number or str
            Fields of ``recorded`` alone are looked at.
        """
        self.samples += 1
        same = True
        for name, was in recorded.items():
            told = self.fields.setdefault(name, Difference())
            told.samples += 1
            same &= self._compare(told, index, t, name, was, replayed[name])
        return same

    def _compare(self, told: Difference, index: int, t: float, name: str, was: Any, now: Any) -> bool:
        a, b = np.asarray(was), np.asarray(now)
        if a.dtype.kind == b.dtype.kind == "f" and a.itemsize > b.itemsize:
            a = a.astype(b.dtype)  # a CSV alone does not tell how wide its numbers were
        if a.dtype == b.dtype and a.shape == b.shape and a.dtype != object and a.tobytes() == b.tobytes():
            return True
        if a.shape != b.shape or a.dtype.kind in "OUS" or b.dtype.kind in "OUS":
            beyond = a.shape != b.shape or bool((a != b).any())
            gap, share = np.full((), float(beyond)), np.full((), float(beyond))
            off = np.full((), beyond)
            a, b = np.array(was, object), np.array(now, object)
        else:
            gap, share = differences(a, b)
            # -0.0 and 0.0 are other bits, and no difference: only where bits count is that one.
            off = gap > self.tolerance if self.tolerance else (gap > 0) | (_negative(a) != _negative(b))
        largest = float(gap.max(initial=0.0))
        if largest > told.max_abs:
            told.max_abs, told.at = largest, index
        told.max_rel = max(told.max_rel, float(share.max(initial=0.0)))
        if not off.any():
            return True
        told.differing += 1
        if self.first is None:
            element = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
            pair = (a[element], b[element]) if off.shape == a.shape else (was, now)
            self.first = Divergence(index, t, name, element, *pair)
        return False

    def __str__(self) -> str:
        bound = f"beyond {self.tolerance:g}" if self.tolerance else "in any bit"
        if self.first is None:
            lines = [f"{self.stream}: {self.samples} samples compared, none differs {bound}"]
        else:
            lines = [f"{self.stream}: diverges {bound} at {self.first}"]
            lines += [
                f"  {name}: {d.differing} of {d.samples} samples differ, by at most {d.max_abs:.3g} "
                f"(relative {d.max_rel:.3g}), at sample {d.at}"
                for name, d in self.fields.items() if d.differing
            ]  # fmt: skip
        lines += [f"  not checked: samples {s.start} to {s.stop - 1}: {s.reason}" for s in self.skipped]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def differences(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By how much two arrays of one shape differ, number by number: absolute, and relative to the larger one.

    NaN equals NaN; NaN or an infinity against anything else is infinitely far.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        gap = np.abs(x - y)
        gap = np.where((a == b) | (np.isnan(x) & np.isnan(y)), 0.0, np.where(np.isnan(gap), np.inf, gap))
        # Whole numbers above 2**53 may differ and be the same as floats.
        gap = np.where((gap == 0) & (a != b) & ~np.isnan(x), np.finfo(np.float64).tiny, gap)
        share = gap / np.maximum(np.abs(x), np.abs(y))
    return gap, np.where(gap == 0, 0.0, np.where(np.isnan(share), 1.0, share))


def _negative(a: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers have a sign; NaN has none that counts."""
    return np.signbit(a) & ~np.isnan(a) if a.dtype.kind == "f" else np.zeros(a.shape, np.bool_)
