"""What a conversion writes, unit by unit: files of streams, or episodes of a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recd_client.errors import OptionError, OutputError

from ..batch import RESET
from ..reader import ArrayStream, VideoStream
from .choosing import Chosen, all_episodes, streams_of
from .dataset import Dataset
from .selection import AlignedRows, Samples, Selected, Span
from .targets.base import EpisodeTarget, StreamTarget
from .work import Workplace

if TYPE_CHECKING:
    from ..reader import Run
    from .converting import Told


@dataclass
class Picked:
    """What is to be written of each recording.

    Parameters
    ----------
    runs : list of (str, list of Samples)
        Name of a recording, and its streams.
    problems : list of str
        What is left out.
    """

    runs: list[tuple[str, list[Samples]]]
    problems: list[str] = field(default_factory=list)


def selected(
    target: StreamTarget,
    runs: Sequence[Run],
    names: Sequence[str],
    streams: Sequence[str] | None,
    episodes: list[Chosen] | None,
) -> Picked:
    """The streams as they were recorded; of some episodes, if these are given.

    Raises
    ------
    OptionError
        A stream that was asked for by name does not fit the format; or none does.
    """
    picked = Picked([])
    everything = episodes is None
    if episodes is None and any(mark.label == RESET for run in runs for mark in run.marks):
        episodes = all_episodes(runs)
    for run, name in zip(runs, names, strict=True):
        left_out: dict[str, list[str]] = {}
        found: list[Samples] = []
        for stream in streams_of(run, streams):
            try:
                _require(run[stream])
                one = Selected(run, run[stream], _spans(run, stream, episodes, everything))
                reason = target.refuses(one)
            except OutputError as e:
                if streams is not None:
                    raise
                reason = e.what
            if not reason:
                found.append(one)
            elif streams is not None:
                raise OptionError(f"stream {stream!r}: {reason}", "choose another format, or leave it out")
            else:
                left_out.setdefault(reason, []).append(stream)
        where = f"{name}: " if len(runs) > 1 else ""
        picked.problems += [
            f"{where}left out: {'stream' if len(some) == 1 else 'streams'} {', '.join(some)}: {reason}"
            for reason, some in left_out.items()
        ]
        if found:
            picked.runs.append((name, found))
    if not picked.runs:
        raise OptionError(
            f"nothing to write as {target.name}: " + ("; ".join(picked.problems) or "there is no stream"),
            "choose another format",
        )
    return picked


def _require(stream: ArrayStream | VideoStream) -> None:
    """Raise :class:`OutputError` if nothing is there to read it from."""
    if isinstance(stream, ArrayStream):
        _ = stream.source


def _spans(run: Run, stream: str, episodes: list[Chosen] | None, everything: bool) -> list[Span]:
    """The wanted samples of a stream, by episode."""
    if episodes is None:
        return [Span(0, len(run[stream]))]
    mine = [c for c in episodes if c.run is run]
    if everything and len(mine) == 1:  # perhaps recorded beside others, each with resets of its own
        mine = all_episodes([run], stream)
    found = [(c.episode[stream], c.label) for c in mine]
    return [Span(span.start, span.stop, label) for span, label in found if span.stop > span.start]


def aligned(
    target: StreamTarget, runs: Sequence[Run], names: Sequence[str], plan: Callable[[], Dataset]
) -> Picked:
    """One table of all features for each recording.

    Raises
    ------
    OptionError
        The format has no tables.
    """
    if not target.tables:
        raise OptionError(
            f"{target.name} keeps each stream at its own rate, without a map or --fps",
            "choose streams with --streams",
        )
    dataset = plan()
    picked = Picked([], list(dataset.problems))
    for f in dataset.features:
        if f.kind == "image":
            picked.problems.append(f"feature {f.name!r} is left out: a table holds no images")
    if all(f.kind == "image" for f in dataset.features):
        raise OptionError(f"{target.name} holds no images", "use --to mp4 or --to png, without a map")
    for run, name in zip(runs, names, strict=True):
        rows = AlignedRows(run, name, dataset)
        if rows.spans:
            picked.runs.append((name, [rows]))
    return picked


# --- streams -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """One output of a stream target."""

    #: Below the destination; empty: the destination itself.
    name: str
    streams: list[Samples]

    @property
    def samples(self) -> int:
        return sum(map(len, self.streams))


class StreamJob:
    """Files of streams.

    Parameters
    ----------
    target : StreamTarget
    picked : Picked
    place : Path
        The destination.
    several_runs : bool

    Raises
    ------
    OptionError
        The destination is one file, and there are several outputs.
    """

    episodes = 0

    def __init__(self, target: StreamTarget, picked: Picked, place: Path, *, several_runs: bool) -> None:
        self._target = target
        self.problems = picked.problems
        suffixes = (target.suffix, *target.suffixes)
        if target.whole_run:
            files = [_File(f"{run}{target.suffix}", streams) for run, streams in picked.runs]
        else:
            files = [
                _File(f"{run}/{s.name}{target.suffix}" if several_runs else f"{s.name}{target.suffix}", [s])
                for run, streams in picked.runs
                for s in streams
            ]
        if place.suffix.lower() in suffixes and target.suffix:
            if len(files) > 1:
                kind = "recordings" if target.whole_run else "streams"
                known = ", ".join(file.name.removesuffix(target.suffix) for file in files)
                raise OptionError(
                    f"{place.name} is one file, but there are {len(files)} {kind}: {known}",
                    "name a directory, or choose one with --streams",
                )
            files = [_File("", files[0].streams)]
        elif place.suffix.lower() in _known_suffixes() - {*suffixes}:
            raise OptionError(
                f"{place.name} ends with {place.suffix}, but {target.name} is {' or '.join(suffixes)}",
                "change the name, or --to",
            )
        self._files = files

    @property
    def files(self) -> list[str]:
        """Names below the destination."""
        return [file.name for file in self._files]

    @property
    def samples(self) -> int:
        """Of all files."""
        return sum(file.samples for file in self._files)

    def check(self) -> None:
        """Raise for what the format cannot hold."""
        for file in self._files:
            self._target.check(file.streams)

    def run(self, work: Workplace, progress: Told) -> int:
        """Write what is not done yet; how many units were."""
        total, at, resumed = self.samples, 0, 0
        for file in self._files:
            path = work.output / file.name if file.name else work.output
            if file.name in work.done and path.exists():
                resumed += 1
            else:
                counter = _Counter(progress, at, total, ", ".join(s.name for s in file.streams))
                with work.making(path) as temporary:
                    self._target.write(temporary, file.streams, counter.add)
                work.finish(file.name, [{**_told(s), **self._target.told(s)} for s in file.streams])
            at += file.samples
            progress(at, total, "")
        return resumed

    def told(self, work: Workplace) -> list[dict[str, Any]]:
        """What the provenance says of each file."""
        return [{"file": file.name, "streams": work.done[file.name]} for file in self._files]


class _Counter:
    """Passes on how far a unit is, as part of the whole."""

    def __init__(self, progress: Told, begun: int, total: int, what: str) -> None:
        self._progress, self._begun, self._total, self._what = progress, begun, total, what
        self._done = 0
        self.reach(0)

    def add(self, samples: int) -> None:
        """So many more are done."""
        self.reach(self._done + samples)

    def reach(self, done: int) -> None:
        """So many are done, unless it was further before."""
        self._done = max(self._done, done)
        self._progress(min(self._begun + self._done, self._total), self._total, self._what)


def _told(samples: Samples) -> dict[str, Any]:
    """What is to be known of a stream in an output."""
    told: dict[str, Any] = {
        "stream": samples.name, "run": str(samples.run.path), "samples": len(samples),
        "fields": {f.name: f"{f}, {f.unit}" if f.unit else str(f) for f in samples.schema.fields},
    }  # fmt: skip
    if samples.has_episodes:
        told["episodes"] = [[s.episode, len(s)] for s in samples.spans]
    if samples.gaps:
        told["gaps"] = samples.gaps
    return told


def _known_suffixes() -> set[str]:
    return {
        ".csv",
        ".npz",
        ".h5",
        ".hdf5",
        ".parquet",
        ".zarr",
        ".mcap",
        ".rrd",
        ".mp4",
        ".mkv",
        ".mov",
        ".png",
    }


# --- episodes ----------------------------------------------------------------------------------------


class EpisodeJob:
    """A set of episodes.

    Parameters
    ----------
    target : EpisodeTarget
    dataset : Dataset
    place : Path
        The destination.

    Raises
    ------
    OptionError
        The destination does not end as the format's files do.
    """

    def __init__(self, target: EpisodeTarget, dataset: Dataset, place: Path) -> None:
        self._target = target
        self._dataset = dataset
        self.problems = list(dataset.problems)
        suffixes = (target.suffix, *target.suffixes)
        if target.suffix and place.suffix.lower() not in suffixes:
            raise OptionError(
                f"{place.name}: a {target.name} set is a file that ends with {' or '.join(suffixes)}",
                f"name it {place.name}{target.suffix}",
            )
        if not target.suffix and place.suffix.lower() in _known_suffixes():
            raise OptionError(f"{place.name}: a {target.name} set is a directory", f"name it {place.stem}")
        self.files = [""]

    @property
    def samples(self) -> int:
        """Rows of all episodes."""
        return sum(self._dataset.lengths)

    @property
    def episodes(self) -> int:
        """Number of them."""
        return len(self._dataset.episodes)

    def check(self) -> None:
        """Raise for what the format cannot hold."""
        self._target.check(self._dataset.features, self._dataset.fps)

    def run(self, work: Workplace, progress: Told) -> int:
        """Write what is not done yet; how many episodes were."""
        done = len(work.done)
        if done and not (self._target.resumes and work.output.exists()):
            work.begin_anew()
            done = 0
        total, at = self.samples, sum(self._dataset.lengths[:done])
        try:
            self._target.open(work.output, self._dataset.features, self._dataset.fps, done)
            for index in range(done, self.episodes):
                counter = _Counter(progress, at, total, f"episode {index + 1} of {self.episodes}")
                self._target.write_episode(self._dataset.read(index, counter.reach))
                work.finish(str(index), self._told(index))
                at += self._dataset.lengths[index]
            self._target.close()
        except BaseException:
            self._target.abandon()
            raise
        progress(total, total, "")
        return done

    def _told(self, index: int) -> dict[str, Any]:
        chosen = self._dataset.episodes[index]
        return {"run": str(chosen.run.path), "episode": chosen.number, "rows": self._dataset.lengths[index]}

    def told(self, work: Workplace) -> list[dict[str, Any]]:
        """What the provenance says of each episode."""
        return [work.done[str(index)] for index in range(self.episodes)]
