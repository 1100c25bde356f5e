"""A LeRobot dataset of episodes that are done: files of many rows, files of many frames, and what tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ...features import Feature
from . import films, rows, stats
from .shelf import CHUNKS_SIZE, DATA_PATH, EPISODES_PATH, MB, VIDEO_PATH, Place

_DATA_MB: Final = 100
_VIDEO_MB: Final = 200
#: What is known of so many episodes is written at once.
_EPISODES: Final = 100
#: What `pandas` is told of tasks.parquet, so that the tasks are its index.
_TASKS_INDEX: Final = "__index_level_0__"


@dataclass(frozen=True)
class Gathering:
    """What the files are made of.

    Parameters
    ----------
    root : Path
        Of the dataset.
    features : sequence of Feature
    schema : pyarrow.Schema
        Of the data files.
    fps : Fraction
    about : sequence of dict
        What is known of each episode.
    tasks : sequence of str
    """

    root: Path
    features: Sequence[Feature]
    schema: pa.Schema
    fps: Fraction
    about: Sequence[Mapping[str, Any]]
    tasks: Sequence[str]

    def write(
        self,
        stretches: Mapping[str, Sequence[films.Stretch]],
        data: Sequence[Path],
        *,
        data_mb: int | None,
        video_mb: int | None,
        robot: str,
    ) -> None:
        """Write the whole dataset.

        Parameters
        ----------
        stretches : dict
            By feature, where the frames of each episode are.
        data : sequence of Path
            The rows of each episode.
        data_mb, video_mb : int, optional
            A file is full from here on.
        robot : str
        """
        data_mb, video_mb = data_mb or _DATA_MB, video_mb or _VIDEO_MB
        (self.root / "meta").mkdir(parents=True)
        scratch = self.root / "cut"
        shown: dict[str, list[films.Shown]] = {}
        for key, found in stretches.items():
            scratch.mkdir()
            shown[key] = list(
                films.write_films(found, self.root, VIDEO_PATH, key, self.fps, video_mb, scratch)
            )
            for cut in scratch.iterdir():
                cut.unlink()
            scratch.rmdir()
        places = self._write_data(data, data_mb)
        self._write_episodes(places, shown, data_mb)
        self._write_tasks()
        self._write_json("stats", stats.of_all([about["stats"] for about in self.about]))
        self._write_json("info", self._info(list(stretches), data_mb, video_mb, robot))
        kept = ("source", "number", "seed", "success", "metadata", "problems")
        self._write_json("recd", {"episodes": [{key: about[key] for key in kept} for about in self.about]})

    # --- rows ------------------------------------------------------------------------------------
    def _write_data(self, data: Sequence[Path], file_mb: float) -> list[Place]:
        """The data files; in which of them each episode is."""
        texts = [f.name for f in self.schema if pa.types.is_string(f.type)]
        writer = _Files(self.root, DATA_PATH, self.schema, file_mb, ["episode_index", "task_index", *texts])
        with writer:
            return [writer.add(_batches(path), about["length"]) for path, about in self._episodes(data)]

    def _episodes(self, data: Sequence[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        return zip(data, self.about, strict=True)

    # --- what is known of episodes -----------------------------------------------------------------
    def _write_episodes(
        self, places: Sequence[Place], shown: Mapping[str, Sequence[films.Shown]], file_mb: float
    ) -> None:
        writer: _Files | None = None
        begin, place = 0, Place()
        for start in range(0, len(self.about), _EPISODES):
            found = []
            for index in range(start, min(start + _EPISODES, len(self.about))):
                found.append(self._told_of(index, begin, places[index], shown))
                begin += self.about[index]["length"]
            columns: dict[str, Any] = {key: [row[key] for row in found] for key in found[0]}
            if writer is None:
                schema = pa.Table.from_pydict({**columns, **_where(place, len(found))}).schema
                writer = _Files(self.root, EPISODES_PATH, schema, file_mb, True)
            place = writer.place_for(len(found))
            table = pa.Table.from_pydict({**columns, **_where(place, len(found))}, writer.schema)
            writer.add(iter(table.to_batches()), len(found))
        assert writer is not None
        writer.close()

    def _told_of(
        self, index: int, begin: int, place: Place, shown: Mapping[str, Sequence[films.Shown]]
    ) -> dict[str, Any]:
        about = self.about[index]
        told: dict[str, Any] = {
            "episode_index": index, "tasks": [about["task"]], "length": about["length"],
            "data/chunk_index": place.chunk, "data/file_index": place.file,
            "dataset_from_index": begin, "dataset_to_index": begin + about["length"],
        }  # fmt: skip
        for key, found in shown.items():
            at = found[index]
            told[f"videos/{key}/chunk_index"] = at.place.chunk
            told[f"videos/{key}/file_index"] = at.place.file
            told[f"videos/{key}/from_timestamp"] = float(at.offset / self.fps)
            told[f"videos/{key}/to_timestamp"] = float((at.offset + at.frames) / self.fps)
        for key, values in about["stats"].items():
            told |= {f"stats/{key}/{name}": value for name, value in values.items()}
        return told

    # --- the rest ----------------------------------------------------------------------------------
    def _write_tasks(self) -> None:
        told = {
            "index_columns": [_TASKS_INDEX],
            "column_indexes": [],
            "columns": [
                {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
                 "metadata": None},
                {"name": None, "field_name": _TASKS_INDEX, "pandas_type": "unicode", "numpy_type": "object",
                 "metadata": None},
            ],
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.0.0",
        }  # fmt: skip
        schema = pa.schema(
            [("task_index", pa.int64()), (_TASKS_INDEX, pa.string())], {"pandas": json.dumps(told)}
        )
        numbers = list(range(len(self.tasks)))
        table = pa.table([pa.array(numbers, pa.int64()), pa.array(self.tasks, pa.string())], schema=schema)
        pq.write_table(table, self.root / "meta/tasks.parquet")

    def _info(self, video_keys: Sequence[str], data_mb: int, video_mb: int, robot: str) -> dict[str, Any]:
        whole = self.fps.denominator == 1
        told = {
            key: films.told_of(self.root / Place().path(VIDEO_PATH, key)) if self.about else None
            for key in video_keys
        }
        return {
            "codebase_version": "v3.0",
            "robot_type": robot or None,
            "total_episodes": len(self.about),
            "total_frames": sum(about["length"] for about in self.about),
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNKS_SIZE,
            "data_files_size_in_mb": data_mb,
            "video_files_size_in_mb": video_mb,
            "fps": int(self.fps) if whole else float(self.fps),
            "splits": {"train": f"0:{len(self.about)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if video_keys else None,
            "features": rows.described(self.features, told),
        }

    def _write_json(self, name: str, data: Mapping[str, Any]) -> None:
        text = json.dumps(data, indent=4, ensure_ascii=False)
        (self.root / f"meta/{name}.json").write_text(text, encoding="utf-8")


class _Files:
    """Parquet files of one kind, filled one after the other.

    Parameters
    ----------
    root : Path
    pattern : str
    schema : pyarrow.Schema
    file_mb : float
    dictionaries : bool or list of str
        Columns in which values occur again and again.
    """

    def __init__(
        self, root: Path, pattern: str, schema: pa.Schema, file_mb: float, dictionaries: bool | list[str]
    ) -> None:
        self.schema = schema
        self._root, self._pattern, self._full = root, pattern, file_mb * MB
        self._dictionaries = dictionaries
        self._place = Place()
        self._rows = 0
        self._file: Any = None
        self._writer: Any = None

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def place_for(self, count: int) -> Place:
        """Where so many rows will go that are added together: behind what is there, or into a new file."""
        if self._rows:
            size = self._file.tell()
            if size + size / self._rows * count >= self._full:
                self.close()
                self._place, self._rows = self._place.behind, 0
        return self._place

    def add(self, batches: Iterator[pa.RecordBatch], count: int) -> Place:
        """Rows that are not to be torn apart; where they went."""
        place = self.place_for(count)
        if self._writer is None:
            path = self._root / place.path(self._pattern)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pa.OSFile(str(path), "wb")
            self._writer = pq.ParquetWriter(
                self._file, self.schema, compression="snappy", use_dictionary=self._dictionaries
            )
        for batch in batches:
            self._writer.write_batch(batch)
        self._rows += count
        return place

    def close(self) -> None:
        """The file is complete."""
        if self._writer is not None:
            self._writer.close()
            self._file.close()
            self._writer = self._file = None


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file)
        for i in range(table.num_record_batches):
            yield table.get_batch(i)


def _where(place: Place, count: int) -> dict[str, list[int]]:
    return {
        "meta/episodes/chunk_index": [place.chunk] * count,
        "meta/episodes/file_index": [place.file] * count,
    }
