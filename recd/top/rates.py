"""Rates: what the daemon's answers to ``status`` say of how fast everything goes, from one to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..cli._common import duration, size
from ..cli._troubles import Trouble, troubles
from .disks import Disk, Disks

#: Rates are over so long, or over two answers if those are further apart.
WINDOW_S: Final = 3.0
#: A loss older than that is told calmly: it is over.
_RECENT_S: Final = 10.0
#: A disk that is full so soon is a matter for somebody.
_SOON_FULL_S: Final = 30 * 60
_LITTLE_FREE: Final = 0.01
#: Before a disk was watched for so long, its pace is no reason to alarm anybody.
_WATCHED_S: Final = 20.0


@dataclass(frozen=True)
class StreamView:
    """One stream as it is now.

    Parameters
    ----------
    session : str
        Id of its session.
    run, name : str
    directory : str
        Of its session.
    told : dict
        What the daemon says of it, as in ``recd status --json``.
    samples_per_s, bytes_per_s, lost_per_s : float or None
        None before there are two answers to compare.
    encoded_per_s : float or None
        Frames that its encoder has put into the file; None if it has no video, too.
    losing : bool
        Whether anything was lost in the last seconds.
    """

    session: str
    run: str
    name: str
    directory: str
    told: Mapping[str, Any]
    samples_per_s: float | None = None
    bytes_per_s: float | None = None
    lost_per_s: float | None = None
    encoded_per_s: float | None = None
    losing: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by, from one look to the next."""
        return self.session, self.name

    @property
    def lost(self) -> int:
        """Samples lost, of all causes."""
        return sum(self.told["lost"].values())

    @property
    def fill(self) -> float:
        """How full its shared memory is, 0 to 1."""
        return (
            self.told["buffered_bytes"] / self.told["capacity_bytes"] if self.told["capacity_bytes"] else 0.0
        )

    @property
    def has_video(self) -> bool:
        """Whether a video is encoded of it."""
        return any(sink["kind"] == "video" for sink in self.told["sinks"])


@dataclass(frozen=True)
class SessionView:
    """One recording as it is now; ``told`` as in ``recd status --json``."""

    told: Mapping[str, Any]
    streams: list[StreamView]

    @property
    def session(self) -> str:
        """Its id."""
        return str(self.told["session"])

    @property
    def name(self) -> str:
        """Its name, which others may have as well."""
        return str(self.told["name"])


@dataclass(frozen=True)
class View:
    """Everything at one moment.

    Parameters
    ----------
    daemon : dict or None
        What the daemon says of itself; None before the first answer.
    sessions : list of SessionView
        The last ones known, while no daemon answers.
    disks : list of Disk
    troubles : list of Trouble
        What is worst comes first.
    gone : str
        Why no daemon answers; empty if one does.
    gone_s : float
        For how long.
    """

    daemon: Mapping[str, Any] | None = None
    sessions: list[SessionView] = field(default_factory=list)
    disks: list[Disk] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    gone: str = ""
    gone_s: float = 0.0

    @property
    def streams(self) -> list[StreamView]:
        """The streams of all sessions."""
        return [stream for session in self.sessions for stream in session.streams]

    def total(self, name: str) -> float | None:
        """A rate of all streams together; None if it is known of none."""
        known = [value for s in self.streams if (value := getattr(s, name)) is not None]
        return sum(known) if known else None

    def told_total(self, name: str) -> int:
        """Bytes of all streams together."""
        return sum(int(s.told[name]) for s in self.streams)


class _Counter:
    """Remembers a few counters of one thing, for as long as a rate needs them."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, dict[str, int]]] = deque()
        self.lost_s = -float("inf")

    def rates(self, now_s: float, counts: dict[str, int]) -> dict[str, float | None]:
        """Per second, since the oldest counts that are remembered; None where that tells nothing."""
        past = self._past
        if past and counts["lost"] > past[-1][1]["lost"]:
            self.lost_s = now_s
        while len(past) > 1 and past[1][0] <= now_s - WINDOW_S:
            past.popleft()
        found: dict[str, float | None] = dict.fromkeys(counts)
        if past and now_s > past[0][0]:
            then_s, before = past[0]
            for name, count in counts.items():
                grown = count - before.get(name, count)
                found[name] = grown / (now_s - then_s) if grown >= 0 else None
        past.append((now_s, counts))
        return found


class Watch:
    """Turns one answer after the other into views.

    Parameters
    ----------
    disks : Disks
    """

    def __init__(self, disks: Disks) -> None:
        self._disks = disks
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._last = View()
        self._answered_s: float | None = None

    def answered(self, answer: Mapping[str, Any], now_s: float) -> View:
        """What an answer that came at ``now_s`` (of a monotonic clock) shows."""
        sessions = [
            SessionView(told, [self._stream(told, stream, now_s) for stream in told["streams"]])
            for told in answer["sessions"]
        ]
        known = {stream.key for session in sessions for stream in session.streams}
        self._counters = {key: counter for key, counter in self._counters.items() if key in known}
        disks = self._disks.look([str(s.told["directory"]) for s in sessions], now_s)
        found = sorted(_all_troubles(answer["sessions"], sessions, disks), key=lambda one: one[0])
        self._answered_s = now_s
        self._last = View(answer["daemon"], sessions, disks, [trouble for _, trouble in found])
        return self._last

    def silent(self, why: str, now_s: float) -> View:
        """What is left to show while no daemon answers."""
        last = self._last
        since_s = now_s if self._answered_s is None else self._answered_s
        if self._answered_s is None:
            self._answered_s = now_s
        return View(last.daemon, last.sessions, last.disks, [], why, now_s - since_s)

    def _stream(self, session: Mapping[str, Any], told: Mapping[str, Any], now_s: float) -> StreamView:
        sid, name = str(session["session"]), str(told["stream"])
        counts = {
            "samples": int(told["written"]),
            "bytes": int(told["bytes"]),
            "lost": sum(told["lost"].values()),
        }
        if videos := [sink for sink in told["sinks"] if sink["kind"] == "video"]:
            counts["encoded"] = int(videos[0]["samples"])
        counter = self._counters.setdefault((sid, name), _Counter())
        rates = counter.rates(now_s, counts)
        return StreamView(
            sid,
            str(session["name"]),
            name,
            str(session["directory"]),
            told,
            rates["samples"],
            rates["bytes"],
            rates["lost"],
            rates.get("encoded"),
            now_s - counter.lost_s < _RECENT_S,
        )


def _all_troubles(
    told: list[dict[str, Any]], sessions: list[SessionView], disks: Iterable[Disk]
) -> Iterator[tuple[int, Trouble]]:
    """Troubles, each with its place: what goes wrong now before what went wrong once."""
    for disk in disks:
        if (trouble := _of_disk(disk)) is not None:
            yield 0, trouble
    streams = {s.key: s for session in sessions for s in session.streams}
    for trouble in troubles(told):
        stream = streams.get((trouble.session, trouble.stream))
        losing = trouble.is_loss and stream is not None and stream.losing
        if losing and stream is not None and stream.lost_per_s:
            trouble = trouble._replace(what=f"{trouble.what}; now {stream.lost_per_s:,.0f} per second")
        yield (1 if not trouble.is_loss else 2 if losing else 3), trouble


def _of_disk(disk: Disk) -> Trouble | None:
    do = "make room there, or end recordings; when it is full, samples wait in shared memory, then are lost"
    if disk.watched_s >= _WATCHED_S and disk.full_in_s is not None and disk.full_in_s < _SOON_FULL_S:
        return Trouble(f"disk of {disk.path}: full in {duration(disk.full_in_s)} at this pace", do)
    if disk.free_bytes < disk.total_bytes * _LITTLE_FREE:
        return Trouble(f"disk of {disk.path}: only {size(disk.free_bytes)} left", do)
    return None
