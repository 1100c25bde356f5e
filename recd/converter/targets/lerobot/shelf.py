"""Where files of a LeRobot dataset lie: numbered within numbered directories, none much larger than was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Files in a directory, as LeRobot has it.
CHUNKS_SIZE: Final = 1000
MB: Final = 1 << 20
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


@dataclass(frozen=True)
class Place:
    """A file by its numbers."""

    chunk: int = 0
    file: int = 0

    @property
    def behind(self) -> Place:
        """The next one."""
        if self.file == CHUNKS_SIZE - 1:
            return Place(self.chunk + 1, 0)
        return Place(self.chunk, self.file + 1)

    def path(self, pattern: str, key: str = "") -> str:
        """Its name below the dataset, by one of the patterns above."""
        return pattern.format(video_key=key, chunk_index=self.chunk, file_index=self.file)
