"""rerun: logged to a file, which its own threads write."""

from __future__ import annotations

from pathlib import Path

from ..kinds import ARRAYS, FIELDS, FRAMES, ROWS, Kind, Sample
from .base import Way


class Rerun(Way):
    """``log`` on a recording stream that saves to an .rrd file, with the archetype that is meant for the sample."""

    name = "rerun, file sink"
    families = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import rerun

        # reads the file again; in rerun-sdk since 0.41
        import rerun.chunk

        super().__init__(directory, kind)
        self._path = directory / "inline.rrd"
        self._stream = rerun.RecordingStream("recd_bench")
        self._stream.save(self._path)
        if kind.family == FIELDS:
            # one call for all fields; without the copies it keeps references, and writes later values
            self._of = lambda data: rerun.AnyValues(**{name: v.copy() for name, v in data.items()})
        else:
            self._of = {ROWS: rerun.Scalars, ARRAYS: rerun.Tensor, FRAMES: rerun.Image}[kind.family]

    def write(self, data: Sample, t: float) -> object:
        """Set the time, and log."""
        self._stream.set_time("sim", duration=t)
        return self._stream.log("data", self._of(data))

    def settle(self) -> None:
        """Its batcher has nothing left."""
        self._stream.flush()

    def close(self) -> None:
        """Complete the file."""
        self._stream.flush()
        self._stream.disconnect()

    def found(self) -> int | None:
        """Rows of the entity, in all chunks."""
        from rerun.chunk import RrdReader

        chunks = RrdReader(str(self._path)).stream()
        return sum(chunk.num_rows for chunk in chunks if str(chunk.entity_path) == "/data")
