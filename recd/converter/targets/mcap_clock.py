"""The time of messages: of one kind in all of a file, so that streams stay beside each other.

``wall``
    The clock on the wall at each write. ``auto`` takes it where the recording knows it exactly of all streams.
``stream``
    Stream time, from 1970 on.
``auto``
    If not ``wall``: stream time; where it begins anew with each episode, episodes lie one behind the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ..selection import Samples, Selected
from .viewing import Happening, nanoseconds

if TYPE_CHECKING:
    from ...reader import Run

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Clock:
    """See above.

    Parameters
    ----------
    wall : bool
        The clock on the wall; else stream time.
    offset_ns : int
        What to add to the monotonic clock for Unix time.
    shifts_ns : ndarray, (episodes,) int64
        What to add to the stream time of each episode; empty: nothing.
    begins : dict
        By stream, the first sample of each episode.
    """

    wall: bool
    offset_ns: int = 0
    shifts_ns: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    begins: Mapping[str, Ints] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """What it is, for people."""
        if self.wall:
            return "wall: Unix time of each write"
        return f"stream time{', episodes one behind the other' if len(self.shifts_ns) else ''}"

    def times_ns(self, stream: str, index: Ints, t: NDArray[np.float64], mono_ns: Ints) -> list[int]:
        """Of some samples; what is no time has that of the sample before, and nothing is before 0."""
        if self.wall:
            return list((mono_ns + self.offset_ns).tolist())
        times = nanoseconds(t)
        if len(self.shifts_ns):
            times = times + self.shifts_ns[np.searchsorted(self.begins[stream], index, "right") - 1]
        return list(np.maximum(times, 0).tolist())

    def time_ns(self, event: Happening) -> int:
        """Of what happened."""
        if self.wall and event.mono_ns >= 0:
            return event.mono_ns + self.offset_ns
        shift = int(self.shifts_ns[event.episode]) if len(self.shifts_ns) else 0
        return max(int(nanoseconds(np.array([event.t]))[0]) + shift, 0)


def clock_of(streams: Sequence[Samples], choice: str) -> Clock:
    """The clock of a file.

    Raises
    ------
    OptionError
        The clock on the wall is asked for, but the recording does not tell it of all streams.
    """
    run: Run = streams[0].run
    selected = [s for s in streams if isinstance(s, Selected)]
    exact = all("wall" in s.stream.known for s in selected)
    untold = [s.name for s in selected if not s.stream.tells_wall]
    told = run.start_wall_ns is not None and run.start_mono_ns is not None
    if choice == "wall" and (untold or not told):
        raise OptionError(
            f"[target] clock = 'wall': nobody knows when samples of {', '.join(untold) or 'it'} were written",
            "use clock = 'stream'",
        )
    if told and (choice == "wall" or (choice != "stream" and exact)):
        assert run.start_wall_ns is not None
        assert run.start_mono_ns is not None
        return Clock(wall=True, offset_ns=run.start_wall_ns - run.start_mono_ns)
    return Clock(wall=False) if choice == "stream" else _laid_out(run, [s.name for s in streams])


def _laid_out(run: Run, names: list[str]) -> Clock:
    """Stream time; where an episode would begin before the one ahead of it has ended, it is shifted behind that."""
    episodes = run.episodes()
    shifts = np.zeros(len(episodes), np.int64)
    apart_ns = round((run.dt or 1e-3) * 1e9)
    end_ns: int | None = None
    for k, episode in enumerate(episodes):
        if episode.t0 is None or episode.t1 is None:
            shifts[k] = shifts[k - 1] if k else 0
            continue
        first_ns, last_ns = nanoseconds(np.array([episode.t0, episode.t1])).tolist()
        if end_ns is not None and first_ns <= end_ns:
            shifts[k] = end_ns + apart_ns - first_ns
        end_ns = last_ns + int(shifts[k])
    if not shifts.any():
        return Clock(wall=False)
    begins = {name: np.array([episode[name].start for episode in episodes], np.int64) for name in names}
    return Clock(wall=False, shifts_ns=shifts, begins=begins)
