"""One conversion, from its arguments to the finished output."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recd_client.errors import OptionError

from .. import __version__
from ..recordings import manifests, read_manifest
from . import mapping, outputs, targets
from .choosing import Chosen, chosen_episodes, names_of, opened
from .dataset import Dataset, plan
from .mapping import Map
from .targets.base import DatasetInfo, EpisodeTarget, StreamTarget
from .work import Workplace, check_destination, sha256_of, told_of_room

if TYPE_CHECKING:
    from ..reader import Run

#: Told what is done, how much there is to do (both in samples), and what is being done.
Told = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Converted:
    """What came of a conversion.

    Parameters
    ----------
    destination : Path
    format : str
    files : list of str
        Below the destination; empty names are the destination itself.
    samples : int
        Samples, or rows of episodes.
    episodes : int
        0 where streams were written as they are.
    bytes : int
    resumed : int
        Units that an earlier, interrupted conversion had done.
    seconds : float
    problems : list of str
        What is left out, held over gaps, or missing in the recordings.
    """

    destination: Path
    format: str
    files: list[str]
    samples: int
    episodes: int
    bytes: int
    resumed: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def convert(
    sources: Any,
    destination: Any,
    *,
    to: str,
    map: Any = None,
    fps: float | None = None,
    align: str | None = None,
    episodes: str | Iterable[int] | None = None,
    success: bool = False,
    streams: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Told | None = None,
    command: str = "",
) -> Converted:
    """Recordings in another format.

    Interrupted, it leaves ``<destination>.part``; the same call goes on from there.

    Parameters
    ----------
    sources : path, Run, or list of them
        As for :func:`recd.open`.
    destination : path
    to : str
        One of :data:`recd.converter.targets.NAMES`.
    map : path or Map, optional
        Which stream and field becomes which feature; default: guessed, or (formats that keep each stream's own
        rate) all streams as they are.
    fps : float, optional
        Rows per second; default: the rate of the stream that has the actions, or of the only one.
    align : {"previous", "nearest", "linear"}, optional
        Which value holds between two samples.
    episodes : str or list of int, optional
        Only these, counted over all sources: ``"0,3-7"``.
    success : bool
        Only those that succeeded.
    streams : sequence of str, optional
        Only these.
    overwrite : bool
        Replace the destination, once the new one is complete.
    progress : callable, optional
        Called with samples done, samples to do, and what is being done.
    command : str
        Goes into the provenance.

    Raises
    ------
    OptionError
        An argument, the map, or what the format cannot hold: before anything is written.
    OutputExistsError
        The destination exists.
    MissingLibraryError
        The format's library is not installed.
    OutputError
        A recording cannot be read, or there is no room; what is done is kept.
    """
    began = time.monotonic()
    target = targets.get(to)
    runs = opened([sources] if _is_one(sources) else sources)
    place = Path(destination).absolute()
    check_destination(place, [path for run in runs for path in _files(run)], overwrite=overwrite)
    wanted = _Wanted(
        runs, map if isinstance(map, Map) or map is None else mapping.read(Path(map)), fps, align,
        episodes if isinstance(episodes, str) or episodes is None else sorted({*episodes}), success,
        None if streams is None else list(streams),
    )  # fmt: skip
    request = {
        "format": to, "recd": __version__, "sources": [_source(run) for run in runs],
        "map": None if wanted.map is None else mapping.plain(wanted.map), "fps": fps, "align": align,
        "episodes": wanted.episodes, "success": success, "streams": wanted.streams,
    }  # fmt: skip
    provenance = {"recd": __version__, "command": command, "sources": request["sources"]}
    job: outputs.StreamJob | outputs.EpisodeJob
    if issubclass(target, EpisodeTarget):
        job = _episodes(target, wanted, place, provenance)
    else:
        job = _streams(target, wanted, place, provenance)
    job.check()
    with Workplace(place, request, overwrite=overwrite) as work, told_of_room(work):
        resumed = job.run(work, progress or (lambda done, total, what: None))
        problems = list(dict.fromkeys([*job.problems, *(p for run in runs for p in run.problems)]))
        told = {**provenance, "outputs": job.told(work), "problems": problems}
        size_bytes = _size(work.output)
        work.complete(told, beside=not target.holds_provenance)
    return Converted(
        place,
        to,
        job.files,
        job.samples,
        job.episodes,
        size_bytes,
        resumed,
        time.monotonic() - began,
        problems,
    )


@dataclass(frozen=True)
class _Wanted:
    """What was asked for, see :func:`convert`."""

    runs: list[Run]
    map: Map | None
    fps: float | None
    align: str | None
    episodes: str | list[int] | None
    success: bool
    streams: list[str] | None

    @property
    def one_table(self) -> bool:
        """Whether features of several streams are meant, rather than streams as they are."""
        told = self.map is not None and (self.map.features or self.map.fps is not None)
        return bool(told) or self.fps is not None

    def chosen(self) -> list[Chosen]:
        """The episodes: of the only stream that is meant its own, so that it may have been recorded beside others."""
        named = {*self.map.streams} if self.map is not None else set()
        named = named or {*(self.runs[0] if self.streams is None else self.streams)}
        only = named.pop() if len(named) == 1 else None
        return chosen_episodes(self.runs, self.episodes, self.success, only)

    def plan(self, *, constant: bool = False) -> Dataset:
        """All features on one time axis."""
        return plan(
            self.runs, self.chosen(), map=self.map, fps=self.fps, align=self.align, streams=self.streams,
            constant=constant,
        )  # fmt: skip


def _episodes(
    target: type[EpisodeTarget], wanted: _Wanted, place: Path, provenance: Mapping[str, Any]
) -> outputs.EpisodeJob:
    options = _options(target, wanted.map)
    dataset = wanted.plan(constant=target.constant_rate)
    info = _info(wanted.runs, place, options, provenance, dataset)
    return outputs.EpisodeJob(target(info), dataset, place)


def _streams(
    target: type[StreamTarget], wanted: _Wanted, place: Path, provenance: Mapping[str, Any]
) -> outputs.StreamJob:
    made = target(_info(wanted.runs, place, _options(target, wanted.map), provenance, None))
    names = names_of(wanted.runs)
    if wanted.one_table:
        picked = outputs.aligned(made, wanted.runs, names, wanted.plan)
    else:
        if wanted.align is not None:
            raise OptionError("--align: streams keep their own times", "say --fps N as well, or leave it out")
        some = wanted.chosen() if wanted.episodes is not None or wanted.success else None
        picked = outputs.selected(made, wanted.runs, names, wanted.streams, some)
    return outputs.StreamJob(made, picked, place, several_runs=len(wanted.runs) > 1)


def _is_one(sources: Any) -> bool:
    return isinstance(sources, (str, os.PathLike)) or hasattr(sources, "streams")


def _files(run: Run) -> list[Path]:
    """What a recording consists of."""
    told = [file for stream in run.manifest.get("streams", {}).values() for file in stream.get("files", ())]
    return [run.path, *(run.path / file["path"] for file in told)]


def _options(target: type[StreamTarget] | type[EpisodeTarget], found: Map | None) -> Mapping[str, Any]:
    """The choices of the format in a map."""
    options = found.target if found is not None else {}
    for key, value in options.items():
        allowed = target.options.get(key)
        if allowed is None:
            known = ", ".join(target.options) or "no choices"
            raise OptionError(
                f"{found.where if found else 'map'}: [target] {key}: {target.name} knows {known}",
                "leave it out",
            )
        fits = value in allowed if isinstance(allowed, tuple) else isinstance(value, allowed)
        if not fits:
            expected = ", ".join(map(repr, allowed)) if isinstance(allowed, tuple) else allowed.__name__
            raise OptionError(f"[target] {key} = {value!r}: expected {expected}", "choose one of these")
    return options


def _source(run: Run) -> dict[str, Any]:
    """What the provenance says of a recording; of a lone file, without a manifest, its size and age."""
    told = {"path": str(run.path), "session": run.session, "state": run.state}
    if run.manifest:
        for path in manifests(run.path):
            if read_manifest(path)["session"] == run.session:
                return {**told, "manifest": path.name, "manifest_sha256": sha256_of(path)}
    if run.path.is_file():
        about = run.path.stat()
        return {**told, "bytes": about.st_size, "modified_unix_ns": about.st_mtime_ns}
    return told


def _info(
    runs: Sequence[Run],
    place: Path,
    options: Mapping[str, Any],
    provenance: Mapping[str, Any],
    dataset: Dataset | None,
) -> DatasetInfo:
    names = {run.name for run in runs}
    metadata = {
        key: value
        for key, value in runs[0].metadata.items()
        if all(run.metadata.get(key) == value for run in runs)
    }
    env = metadata.get("env") or metadata.get("env_id") or {}
    return DatasetInfo(
        name=names.pop() if len(names) == 1 else place.stem,
        task=dataset.map.task if dataset else "",
        tasks=dataset.tasks if dataset else (),
        episodes=len(dataset.episodes) if dataset else 0,
        robot=(dataset.map.robot if dataset else "") or str(metadata.get("robot", "")),
        env=env if isinstance(env, Mapping) else {"id": str(env)},
        metadata=metadata, provenance=provenance, options=options,
    )  # fmt: skip


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
