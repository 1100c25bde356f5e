"""A stretch of time, or some episodes, of a recording, as a recording of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError, RecdError

from ..batch import RESET
from ..converter.choosing import numbers_of, streams_of
from ..reader import ArrayStream, Episode, Mark, Run, Stream, VideoStream
from ..reader import open as open_run
from . import derived, gaps
from .derived import Made, Plan, Series
from .stretches import Look, Stretch, looks, readable, stretches, views

SIM: Final = "sim"
WALL: Final = "wall"
CLOCKS: Final = (SIM, WALL)
Mask = NDArray[np.bool_]


def cut(
    source: Any,
    destination: Any,
    *,
    start: float | str | None = None,
    stop: float | str | None = None,
    episodes: str | Iterable[int] | None = None,
    streams: Sequence[str] | None = None,
    clock: str = SIM,
    overwrite: bool = False,
    progress: derived.Told | None = None,
    command: str = "",
) -> Made:
    """A stretch of a recording as a recording of its own, in the same formats; times and numbers stay.

    Parameters
    ----------
    source : path or Run
    destination : path
        Its directory.
    start, stop : float or str, optional
        From ``start`` on, up to ``stop``, which is not in it any more. Seconds of stream time; with the clock on the
        wall Unix seconds, or a text like ``2026-11-23T10:30:05.5`` (local time where it names no zone).
    episodes : str or list of int, optional
        Only these, as in ``"0,3-7"``.
    streams : sequence of str, optional
        Only these.
    clock : {"sim", "wall"}
        Which clock ``start`` and ``stop`` are of.
    overwrite : bool
        Replace the destination, once the new one is complete.
    progress : callable, optional
        Called with samples done, samples to do, and the stream.
    command : str
        Goes into the provenance.

    Raises
    ------
    OptionError
        An argument, or no sample lies there: tells from when to when the recording is.
    OutputExistsError
        The destination exists.
    OutputError
        The recording cannot be read, or there is no room.
    """
    run = source if isinstance(source, Run) else open_run(source)
    derived.check_sources([run])
    if clock not in CLOCKS:
        raise OptionError(f"clock={clock!r}: expected sim or wall", "choose one of these")
    window = _Window(run, _time(start, clock, "--from"), _time(stop, clock, "--to"), clock, episodes)
    problems: list[str] = []
    plans = []
    for name in streams_of(run, streams):
        try:
            plans.append(_plan(run, name, window, problems))
        except RecdError as e:
            if isinstance(e, OptionError) or streams is not None:
                raise
            problems.append(f"left out: {e.what}")
    if not any(map(len, plans)):
        raise OptionError(
            f"{run.path}: no sample lies {window}; " + _extent(run, clock, [p.name for p in plans]),
            "choose a time within",
        )
    manifest = {
        "name": run.name,
        **{key: run.manifest.get(key, {}) for key in ("host", "code")},
        "metadata": run.metadata, "dt": run.dt, "durability": run.manifest.get("durability", "process"),
        "clocks": clocks_of(run), "marks": _marks(run, window, plans),
    }  # fmt: skip
    asked = {
        "from": window.start, "to": window.stop, "clock": clock,
        "episodes": None if window.chosen is None else [e.index for e in window.chosen],
        "streams": None if streams is None else list(streams),
    }  # fmt: skip
    provenance = {
        "command": command, "asked": asked, "numbers_of": numbers_of_run(run), "sources": [{}], "problems": problems,
    }  # fmt: skip
    return derived.write(
        Path(destination), "cut", [run], plans, manifest, provenance, overwrite=overwrite, progress=progress
    )


def numbers_of_run(run: Run) -> str:
    """The session in which samples got their numbers: a cut keeps those of its source."""
    return str((run.manifest.get("provenance") or {}).get("numbers_of") or run.session)


def clocks_of(run: Run) -> dict[str, Any]:
    """The clocks of a recording as a manifest tells them."""
    told = run.manifest.get("clocks") or {}
    begin = {"start_wall_ns": run.start_wall_ns, "start_mono_ns": run.start_mono_ns}
    ends = [s._data.told.get("mono_last_ns") for s in run.streams.values()]
    last = max((int(ns) for ns in ends if ns is not None), default=run.start_mono_ns or 0)
    offset = (run.start_wall_ns or 0) - (run.start_mono_ns or 0)
    return {"end_wall_ns": last + offset, "end_mono_ns": last, **told, **begin}


def plan_of(
    name: str, stream: Any, series: list[Series], kept: list[dict[str, Any]], problems: list[str]
) -> Plan:
    """A stream of a new recording; formats that have other samples than the first are left out."""
    best = max(series, key=len)
    for other in series:
        if len(other) != len(best):
            problems.append(
                f"left out: stream {name!r} as {', '.join(other.kinds)}, with {len(other)} of {len(best)} samples"
            )
    return Plan(name, stream.schema, stream.hz, [s for s in series if len(s) == len(best)], kept)


def _plan(run: Run, name: str, window: _Window, problems: list[str]) -> Plan:
    stream = run[name]
    series: list[Series] = []
    kept: list[dict[str, Any]] = []
    for view in views(stream):
        len(view)  # an error, where nothing of it can be read
        found = readable(stretches(run, view, window.wanted(view)), problems)
        if "seq" in view.known:
            kept = kept or gaps.within(gaps.told(stream), found, len(view), window.belongs(name))
        else:
            found = numbered_anew(found)
            problems.append(f"stream {name!r}: nobody knows the numbers of its samples: they begin at 0")
        if not found and isinstance(view, ArrayStream):
            found = [Stretch(run, view, 0, 0, 0)]
        series.append(Series(derived.kinds_of(run, view), found))
    return plan_of(name, stream, series, kept, problems)


def numbered_anew(found: list[Stretch]) -> list[Stretch]:
    """The same stretches, their samples numbered from 0 on."""
    out, at = [], 0
    for stretch in found:
        first, last = stretch.tally.first, stretch.tally.last
        assert first is not None
        assert last is not None
        tally = replace(stretch.tally, first=(*first[:3], at), last=(*last[:3], at + len(stretch) - 1))
        out.append(replace(stretch, tally=tally))
        at += len(stretch)
    return out


def _time(value: float | str | None, clock: str, option: str) -> float | None:
    """A time as seconds."""
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        if clock != WALL:
            raise OptionError(
                f"{option} {value!r}: expected seconds of stream time", "for a date add --clock wall"
            ) from None
        try:
            found = datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
        except ValueError:
            raise OptionError(
                f"{option} {value!r}: expected Unix seconds, or a time like 2026-11-23T10:30:05.5",
                "the recording's own begin is told by: recd info",
            ) from None
    if not math.isfinite(found):
        raise OptionError(f"{option} {value!r}: expected a finite time", "leave it out for all there is")
    return found


class _Window:
    """What is wanted of a recording."""

    def __init__(
        self,
        run: Run,
        start: float | None,
        stop: float | None,
        clock: str,
        episodes: str | Iterable[int] | None,
    ) -> None:
        self.start, self.stop, self.clock = start, stop, clock
        if start is not None and stop is not None and not start < stop:
            raise OptionError(
                f"--from {start} --to {stop}: nothing lies between", "give the earlier time first"
            )
        self._run = run
        self.chosen: list[Episode] | None = None
        if episodes is not None:
            self._all = run.episodes()
            wanted = numbers_of(episodes) if isinstance(episodes, str) else {int(n) for n in episodes}
            beyond = sorted(wanted - {e.index for e in self._all})
            if beyond or not wanted:
                raise OptionError(
                    f"--episodes: there is no episode {beyond[0] if beyond else '[]'}; there are {len(self._all)}, "
                    "numbered from 0 on",
                    "see what a recording has: recd info",
                )
            self.chosen = [e for e in self._all if e.index in wanted]

    def __str__(self) -> str:
        text = "in it" if self.start is None and self.stop is None else ""
        text += f"from {self.start} s on" if self.start is not None else ""
        text += f"{' ' if text else ''}before {self.stop} s" if self.stop is not None else ""
        return text + (f" in episodes {[e.index for e in self.chosen]}" if self.chosen is not None else "")

    def contains(self, at: float | None) -> bool:
        """Whether a time lies in it; one that is unknown does not, unless all do."""
        if at is None or math.isnan(at):
            return self.start is None and self.stop is None
        return (self.start is None or at >= self.start) and (self.stop is None or at < self.stop)

    def wanted(self, stream: Stream) -> Callable[[Look], Mask]:
        """Which samples of a stream lie in it."""
        timed = self.start is not None or self.stop is not None
        if timed and self.clock == WALL and not stream.tells_wall and len(stream):
            raise OptionError(
                f"stream {stream.name!r}: nobody knows when on the wall its samples were written",
                "cut by stream time (--clock sim), or leave it out with --streams",
            )
        spans = None if self.chosen is None else [e[stream.name] for e in self.chosen]

        def mask(look: Look) -> Mask:
            at = look.wall if self.clock == WALL else look.t
            found = np.ones(len(look), np.bool_)
            if self.start is not None:
                found &= at >= self.start
            if self.stop is not None:
                found &= at < self.stop
            if spans is not None:
                index = np.arange(look.start, look.start + len(look))
                found &= np.any([(index >= s.start) & (index < s.stop) for s in spans], axis=0)
            return found

        return mask

    def belongs(self, stream: str) -> Callable[[dict[str, Any]], bool | None]:
        """Whether a gap of a stream at an edge of what lies in it lies in it, too; None: nobody knows."""

        def found(gap: dict[str, Any]) -> bool | None:
            if self.chosen is not None and not any(
                low <= gap["first_seq"] < high for low, high in self._numbers(stream)
            ):
                return False
            if self.start is None and self.stop is None:
                return True
            if self.clock == WALL or gap["t_first"] is None:
                return None
            return self.contains(gap["t_first"])

        return found

    def _numbers(self, stream: str) -> list[tuple[float, float]]:
        """Between which numbers of a stream the chosen episodes lie."""
        assert self.chosen is not None
        out = []
        for episode in self.chosen:
            after = self._all[episode.index + 1 :]
            low, high = (
                None if mark is None else mark.seq.get(stream)
                for mark in (episode.opened_by, after[0].opened_by if after else None)
            )
            out.append((-math.inf if low is None else low, math.inf if high is None else high))
        return out

    def has(self, mark: Mark) -> bool:
        """Whether a mark lies in it."""
        if self.chosen is not None and not any(
            (low is None or mark.mono_ns >= low) and (high is None or mark.mono_ns < high)
            for low, high in (e.mono_ns for e in self.chosen)
        ):
            return False
        if self.clock == WALL:
            offset = (self._run.start_wall_ns or 0) - (self._run.start_mono_ns or 0)
            return self.contains((mark.mono_ns + offset) / 1e9)
        return self.contains(mark.t)


def _marks(run: Run, window: _Window, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """The marks within; and resets, too, where samples on both sides of one are, or it stands before the first."""
    ends = {
        plan.name: (plan.series[0].stretches[0].first_seq, plan.series[0].stretches[-1].next_seq)
        for plan in plans
        if len(plan)
    }
    out = []
    for mark in run.marks:
        between = any(
            name in mark.seq and first <= mark.seq[name] < behind for name, (first, behind) in ends.items()
        )
        if window.has(mark) or (mark.label == RESET and between):
            out.append(
                mark_told(mark, {n: s for n, s in mark.seq.items() if any(p.name == n for p in plans)})
            )
    return out


def mark_told(mark: Mark, seq: dict[str, int], t: float = 0.0, mono_ns: int = 0) -> dict[str, Any]:
    """A mark as a manifest tells it, moved in time."""
    return {
        "label": mark.label, "fields": dict(mark.fields), "seq": seq,
        "t": None if mark.t is None else mark.t + t, "step": mark.step, "mono_ns": mark.mono_ns + mono_ns,
    }  # fmt: skip


def extent(stream: ArrayStream | VideoStream, clock: str = SIM) -> tuple[float, float] | None:
    """From when to when a stream's samples are; None if none of them has a time."""
    low, high = math.inf, -math.inf
    for look in looks(stream):
        at = look.wall if clock == WALL else look.t
        at = at[~np.isnan(at)]
        if len(at):
            low, high = min(low, float(at.min())), max(high, float(at.max()))
    return None if low > high else (low, high)


def _extent(run: Run, clock: str, names: Sequence[str]) -> str:
    found = []
    for name in names:
        span = extent(run[name], clock)
        found.append(f"stream {name!r} " + (f"is from {span[0]} to {span[1]} s" if span else "is empty"))
    return "; ".join(found) or "it has no stream that can be read"
