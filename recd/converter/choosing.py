"""Which recordings, streams and episodes are meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recd_client.errors import OptionError

from ..reader import ArrayStream
from ..reader import open as open_run

if TYPE_CHECKING:
    from ..reader import Episode, Run

_RANGE: Final = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
_SUCCESS: Final = ("success", "is_success")


@dataclass(frozen=True)
class Chosen:
    """An episode of one of the recordings.

    Parameters
    ----------
    number : int
        Counted over all recordings, in their order, from 0 on.
    run : Run
    episode : Episode
    several : bool
        Whether the recordings have others.
    """

    number: int
    run: Run
    episode: Episode
    several: bool = False

    @property
    def label(self) -> int | None:
        """What tables call it: its number; None where there is only one."""
        return self.number if self.several else None

    @property
    def metadata(self) -> dict[str, Any]:
        """Fields of its reset, and of the marks within."""
        return dict(self.episode.metadata)

    @property
    def seed(self) -> int | None:
        """What its reset, or else the recording, says."""
        found = self.metadata.get("seed", self.run.metadata.get("seed"))
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

    @property
    def success(self) -> bool | None:
        """What its marks say, or a field ``success`` that became true at any time; None: nothing tells."""
        if self.episode.success is not None:
            return self.episode.success
        for name in self.episode.ranges:
            stream = self.run[name]
            if not isinstance(stream, ArrayStream) or not self.episode.count(name):
                continue
            for field in stream.fields:
                if (name if field == "data" else field) in _SUCCESS:
                    return bool(np.any(stream[field][self.episode[name]]))
        return None

    def told(self, key: str) -> str:
        """A text of its marks or of the recording's metadata; empty if there is none."""
        return str({**self.run.metadata, **self.metadata}.get(key, ""))


def opened(sources: Iterable[Any]) -> list[Run]:
    """The recordings, each of them once.

    Raises
    ------
    OptionError
        One is given twice, or none at all.
    """
    runs: list[Run] = []
    for source in sources:
        run = source if hasattr(source, "streams") else open_run(source)
        if any(run.session == other.session and run.path == other.path for other in runs):
            raise OptionError(f"source {run.path} is given twice", "leave one of them out")
        runs.append(run)
    if not runs:
        raise OptionError("no source", "give the directory of a recording")
    return runs


def names_of(runs: Sequence[Run]) -> list[str]:
    """A name for each recording, no two alike: as its directory or file is called."""
    found: list[str] = []
    for run in runs:
        stem = run.path.stem if run.path.is_file() else Path(run.path).name or run.name
        name, n = stem, 2
        while name in found:
            name, n = f"{stem}_{n}", n + 1
        found.append(name)
    return found


def streams_of(run: Run, wanted: Sequence[str] | None) -> list[str]:
    """The names of the streams that are meant.

    Raises
    ------
    OptionError
        One of them is not there.
    """
    if wanted is None:
        return [*run]
    for name in wanted:
        if name not in run:
            near = difflib.get_close_matches(name, [*run], 1)
            raise OptionError(
                f"--streams: {run.path} has no stream {name!r}, only {', '.join(run) or 'none'}",
                f"did you mean {near[0]!r}?" if near else "use one of these",
            )
    return [name for name in run if name in wanted]


def numbers_of(text: str) -> set[int]:
    """The numbers in ``0,3-7``.

    Raises
    ------
    OptionError
        It is no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last > 1 << 31:
            raise OptionError(f"--episodes {text!r}: {part.strip()!r} is no number or range", "write 0,3-7")
        found.update(range(first, last + 1))
    return found


def all_episodes(runs: Sequence[Run], stream: str | None = None) -> list[Chosen]:
    """Every episode with a sample in it; of one stream alone, if there is only that: it may have its own resets."""
    found = [
        (run, episode)
        for run in runs
        for episode in run.episodes(stream if stream is not None and stream in run else None)
    ]
    return [Chosen(i, run, episode, len(found) > 1) for i, (run, episode) in enumerate(found)]


def chosen_episodes(
    runs: Sequence[Run],
    episodes: str | Iterable[int] | None,
    success: bool,
    stream: str | None = None,
) -> list[Chosen]:
    """The episodes that are meant; see :func:`all_episodes` for ``stream``.

    Raises
    ------
    OptionError
        One is not there, none is left, or ``success`` was asked for and nothing tells of it.
    """
    found = all_episodes(runs, stream)
    if episodes is not None:
        wanted = numbers_of(episodes) if isinstance(episodes, str) else {int(n) for n in episodes}
        beyond = sorted(wanted - {c.number for c in found})
        if beyond:
            raise OptionError(
                f"--episodes: there is no episode {beyond[0]}; there are {len(found)}, numbered from 0 on",
                "see what a recording has: recd info",
            )
        found = [c for c in found if c.number in wanted]
    if success:
        told = [(c, c.success) for c in found]
        if found and all(s is None for _, s in told):
            raise OptionError(
                "--success: neither a mark nor a field of these recordings tells whether an episode was a success",
                'record it: rec.mark("end", success=True), or a field named success',
            )
        found = [c for c, s in told if s]
        if not found:
            raise OptionError(f"--success: none of {len(told)} episodes was a success", "leave --success out")
    if not found:
        raise OptionError("the recordings have no sample", "see: recd info")
    return found
