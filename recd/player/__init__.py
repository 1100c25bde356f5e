"""Playing recordings: ``for t, name, value in recd.play("recordings/walk/...")``, at the rate they were made.

=========  ============================================================================
times      where a stream's samples stand: blocks, laps, keys
laps       one axis for all streams, on which time never goes back
lanes      one stream, or the marks, as a cursor
timeline   all of them merged
pacer      when each event is due
playback   :class:`Playback`: events as they are due; pause, step, seek
selection  which streams
keys       a terminal's keys; outputs: what becomes of the events, for ``recd play``
=========  ============================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ..reader import Run
from ..reader import open as open_run
from .event import MARK, Event
from .pacer import Pacer, Pacing
from .playback import Playback
from .selection import chosen
from .timeline import Timeline

__all__ = ["MARK", "Event", "Pacing", "Playback", "play"]


def play(
    run: Run | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    rate: float = 1.0,
    *,
    streams: Sequence[str] | str | None = None,
    start: float | None = None,
    stop: float | None = None,
    loop: bool = False,
    marks: bool = True,
) -> Playback:
    """The samples and marks of a recording in the order of their times, each given when it is due.

    Parameters
    ----------
    run : Run or path
        As for :func:`recd.open`.
    rate : float
        Seconds of the recording per second; 0: as fast as they are taken.
    streams : list of str, optional
        Only these.
    start, stop : float, s, optional
        Stream time from and up to which is played. Where it began anew with a reset, seconds that follow the
        episode before.
    loop : bool
        Begin anew at the end.
    marks : bool
        Give marks, too: their name is :data:`MARK`.

    Returns
    -------
    Playback
        An iterator of ``(t, name, value)``: a dict of fields, or the bare value where samples are no dicts; a
        decoded frame; a mark. With ``pause``, ``resume``, ``step``, ``back``, ``seek``, ``rate``, ``close``.

    Raises
    ------
    OptionError
        A stream that is not there, a rate below 0, nothing between ``start`` and ``stop``.
    OutputError
        There is no recording, or no sample in it.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    timeline = Timeline(opened, chosen(opened, streams))
    return Playback(timeline, Pacer(rate), start=start, stop=stop, loop=loop, marks=marks)
