"""LeRobot's dataset, version 3.0.

::

    meta/info.json                              features, rate, sizes, names of files
    meta/stats.json                             of each feature over all episodes
    meta/tasks.parquet                          the tasks, which are the index of the pandas table
    meta/episodes/chunk-000/file-000.parquet    of each episode: where its rows and frames are, its statistics
    meta/recd.json                              what LeRobot has no place for: seed, success, origin
    data/chunk-000/file-000.parquet             the rows of many episodes
    videos/<feature>/chunk-000/file-000.mp4     the frames of many episodes

Episodes are kept in directories of their own until all are there: files of several are written at the end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ....reader.decoding import Film
from ....video import files
from ...episodes import EpisodeData
from ...features import IMAGE, TEXT, Feature
from ..base import DatasetInfo, EpisodeTarget
from . import films, rows, stats
from .gathering import Gathering
from .looking import Looker

_DTYPES: Final = frozenset(
    [
        "bool",
        *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
        "float16",
        "float32",
        "float64",
    ]
)
_ROWS: Final = 4096
#: Rows that hold pictures are so many bytes at a time, before compression.
_BYTES: Final = 32 << 20
_ABOUT: Final = "about.json"
_DATA: Final = "rows.arrow"


class LeRobotTarget(EpisodeTarget):
    """A directory that ``LeRobotDataset(repo_id, root=directory)`` reads."""

    name = "lerobot"
    extra = "lerobot"
    libraries = ("pyarrow", "PIL")
    constant_rate = True
    options: ClassVar = {
        "images": ("video", "image"),
        "rewrap": ("yes", "no"),
        "codec": ("h264", "hevc", "av1"),
        "crf": int,
        "data_files_size_in_mb": int,
        "video_files_size_in_mb": int,
    }

    def __init__(self, info: DatasetInfo) -> None:
        super().__init__(info)
        self._keyframes: dict[Path, list[int]] = {}
        self._lookers: dict[str, Looker] = {}

    # --- what it can hold ------------------------------------------------------------------------
    def check(self, features: Sequence[Feature], fps: float | None) -> None:
        """See :class:`EpisodeTarget`."""
        if fps is None:
            raise OptionError("LeRobot needs a constant rate of rows", "say it: --fps N")
        for name in ("data_files_size_in_mb", "video_files_size_in_mb"):
            if (size := self.option(name)) is not None and size < 1:
                raise OptionError(f"{name} = {size}: expected at least 1", "leave it out for LeRobot's own")
        for f in features:
            _check(f)

    # --- writing ---------------------------------------------------------------------------------
    def open(self, path: Path, features: Sequence[Feature], fps: float | None, done: int) -> None:
        """See :class:`EpisodeTarget`."""
        assert fps is not None
        self._path, self._features = path, features
        self._fps = Fraction(fps).limit_denominator(100_000)
        as_films = self.option("images") == "video"
        self._films = [f for f in features if f.kind == IMAGE and as_films]
        self._in_rows = [f for f in features if f not in self._films]
        self._schema = rows.schema_of(self._in_rows)
        self._scratch = path.with_name(f"{path.name}.episodes")
        path.mkdir(exist_ok=True)
        self._scratch.mkdir(exist_ok=True)
        self._about: list[dict[str, Any]] = []
        for index in range(done):
            self._about.append(json.loads((self._directory(index) / _ABOUT).read_text()))
        kept = {self._directory(index) for index in range(done)}
        for left in set(self._scratch.iterdir()) - kept:
            shutil.rmtree(left)
        self._tasks = list(dict.fromkeys(about["task"] for about in self._about))

    def _directory(self, index: int) -> Path:
        return self._scratch / f"{index:06d}"

    def write_episode(self, episode: EpisodeData) -> None:
        """See :class:`EpisodeTarget`."""
        half = self._scratch / "half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        task = episode.task or self.info.task or self.info.name or "recorded"
        if task not in self._tasks:
            self._tasks.append(task)
        found: dict[str, stats.Stats] = {}
        told = {f.name: self._write_film(f, episode, half, found) for f in self._films}
        self._write_rows(episode, half / _DATA, self._tasks.index(task), found)
        about = {
            "length": episode.length, "task": task, "films": told, "stats": found, "seed": episode.seed,
            "success": episode.success, "metadata": dict(episode.metadata), "problems": list(episode.problems),
            "source": str(episode.run.path), "number": episode.number,
        }  # fmt: skip
        (half / _ABOUT).write_text(json.dumps(about, default=str))
        os.rename(half, self._directory(episode.index))
        self._about.append(about)

    def _write_rows(self, episode: EpisodeData, path: Path, task: int, found: dict[str, stats.Stats]) -> None:
        begin = sum(about["length"] for about in self._about)
        pictures = {f.name: stats.ImageStats(episode.length) for f in self._in_rows if f.kind == IMAGE}
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, self._schema) as out:
            for columns in self._columns(episode, begin, task, pictures):
                out.write_batch(rows.batch_of(self._schema, columns))
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file)
            for field in self._schema:
                feature = next((f for f in self._in_rows if f.name == field.name), None)
                if feature is None or feature.kind not in (TEXT, IMAGE):
                    shape = () if feature is None else feature.shape

                    def parts(field: pa.Field = field, shape: tuple[int, ...] = shape) -> Iterator[Any]:
                        batches = (table.get_batch(i) for i in range(table.num_record_batches))
                        return iter(rows.arrays_in(field, shape, batches))

                    found[field.name] = stats.array_stats(parts, episode.length)
        found.update({name: each.result() for name, each in pictures.items()})

    def _columns(
        self, episode: EpisodeData, begin: int, task: int, pictures: Mapping[str, stats.ImageStats]
    ) -> Iterator[dict[str, Any]]:
        """Some rows at a time: every column of the data files."""
        images = {name: episode.images(name) for name in pictures}
        row_bytes = sum(episode.feature(name).size for name in pictures)
        count = max(1, min(_ROWS, _BYTES // max(1, row_bytes)))
        arrays = [f.name for f in self._in_rows if f.kind != IMAGE]
        chunks = episode.chunks(count, arrays) if arrays else iter(({},) * -(-episode.length // count))
        for start, chunk in zip(range(0, episode.length, count), chunks, strict=True):
            index = np.arange(start, min(start + count, episode.length))
            columns: dict[str, Any] = dict(chunk)
            for name, source in images.items():
                columns[name] = []
                for _ in index:
                    image = _rgb(next(source))
                    pictures[name].see(image)
                    columns[name].append(rows.png(image))
            columns["timestamp"] = (index / float(self._fps)).astype(np.float32)
            columns["frame_index"] = index
            columns["episode_index"] = np.full(len(index), episode.index)
            columns["index"] = index + begin
            columns["task_index"] = np.full(len(index), task)
            yield columns

    def _write_film(
        self, f: Feature, episode: EpisodeData, directory: Path, found: dict[str, stats.Stats]
    ) -> dict[str, Any]:
        """What tells of the episode's frames: the stretch of a film that is there, or a film that is made."""
        counted = stats.ImageStats(episode.length)
        if (copied := self._copied(f, episode)) is not None:
            stretch, film = copied
            for picture in self._lookers.setdefault(f.name, Looker()).pictures(stretch, film):
                counted.take(picture)
            episode.reached(episode.length)
            told = {key: getattr(stretch, key) for key in ("first", "keyframe", "rate", "film_frames")}
            told["path"] = str(stretch.path)
        else:
            name = f"{self._films.index(f)}.mp4"
            height, width, _ = f.shape
            codec, crf = self.option("codec"), self.option("crf")
            with films.FilmWriter(directory / name, width, height, self._fps, codec, crf) as writer:
                for image in map(_rgb, episode.images(f.name)):
                    counted.see(image)
                    writer.write(image)
                writer.finish()
            told = {"file": name}
        found[f.name] = counted.result()
        return told

    def _copied(self, f: Feature, episode: EpisodeData) -> tuple[films.Stretch, Film] | None:
        """The stretch of a film that can be copied, if there is one."""
        clip = episode.clip(f.name) if self.option("rewrap") == "yes" else None
        if clip is None or not films.can_be_copied(clip.film):
            return None
        if clip.path not in self._keyframes:
            self._keyframes[clip.path] = files.keyframes(clip.path, clip.fps)
        stretch = films.stretch_of(clip, self._keyframes[clip.path], self._fps)
        return None if stretch is None else (stretch, clip.film)

    def close(self) -> None:
        """See :class:`EpisodeTarget`."""
        self.abandon()
        shutil.rmtree(self._path, ignore_errors=True)
        Gathering(self._path, self._features, self._schema, self._fps, self._about, self._tasks).write(
            {f.name: self._stretches(f.name) for f in self._films},
            [self._directory(index) / _DATA for index in range(len(self._about))],
            data_mb=self.option("data_files_size_in_mb"),
            video_mb=self.option("video_files_size_in_mb"),
            robot=self.info.robot,
        )

    def abandon(self) -> None:
        """See :class:`EpisodeTarget`."""
        for looker in self._lookers.values():
            looker.close()

    def _stretches(self, name: str) -> list[films.Stretch]:
        found = []
        for index, about in enumerate(self._about):
            told, n = dict(about["films"][name]), about["length"]
            if "file" in told:
                path = self._directory(index) / told["file"]
                found.append(films.Stretch(path, 0, n, 0, str(self._fps), n))
            else:
                found.append(films.Stretch(frames=n, **{**told, "path": Path(told["path"])}))
        return found


def _rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Three channels, whatever there were."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _check(f: Feature) -> None:
    """Raise :class:`OptionError` if LeRobot cannot hold a feature."""
    where = f"feature {f.name!r}"
    if "/" in f.name or f.name in rows.OWN or f.name in ("task", "subtask"):
        raise OptionError(
            f"{where}: LeRobot takes no '/' in a name, and has {', '.join(rows.OWN)} and task itself",
            "rename it in the map",
        )
    if f.kind == IMAGE:
        if f.dtype != np.uint8 or f.shape[2] not in (1, 3):
            raise OptionError(
                f"{where}: LeRobot's images are uint8 with 1 or 3 channels, this is {f.dtype} {f.shape}",
                'take three channels, such as "stream/field[:, :, 0:3]", or write kind = "array"',
            )
    elif f.kind != TEXT:
        if f.dtype.name not in _DTYPES:
            raise OptionError(f"{where}: LeRobot has no {f.dtype.name}", "give it another dtype in the map")
        if len(f.shape) > 5 or f.size == 0:
            raise OptionError(
                f"{where}: LeRobot's arrays have up to 5 axes and at least one element, not shape {f.shape}",
                "take a part of it in the map, or leave it out",
            )
