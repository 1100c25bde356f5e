"""Recordings for tests of the reader, made in one process: while they run, when they were killed, finished."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import recd
from recd import index
from recd.journal import merged_marks
from recd.reader import ArrayStream
from recd_client.options import SinkOptions
from recd_client.schema import FIXED, RAGGED, Schema
from rows import Recording
from streams import PLAIN, value_of

SESSION = "20260101T000000-reads"
CLOCKS = {"wall_ns": 1_000_000_000_000, "mono_ns": 0}


class Readable(Recording):
    """A stream ``rows`` of a recording that :func:`recd.open` finds in :attr:`top`, at any time."""

    def __init__(self, top: Path, *sinks: SinkOptions, schema: Schema = PLAIN, **how: Any) -> None:
        self.top = top
        super().__init__(top / ".recd" / SESSION, *sinks, schema=schema, **how)
        spec = {"name": "test", "clocks": CLOCKS, "dt": None, "metadata": {"seed": 7}}
        (self.directory.parent / "session.json").write_text(json.dumps(spec))
        stream = {
            "stream": "rows",
            "index": 0,
            "hz": None,
            "schema": schema.to_json(),
            "sinks": [option.to_json() for option in self.sinks],
            "finals": [str(self.out / str(option.path)) for option in self.sinks],
        }
        (self.directory / "stream.json").write_text(json.dumps(stream))

    def ended(self) -> Path:
        """The directory of the finished recording, with its manifest."""
        result = self.result()
        marks = merged_marks({"rows": result.pop("marks")})
        return manifest(self.top, {"rows": {"hz": None, **result}}, marks)


def manifest(top: Path, streams: dict[str, Any], marks: list[dict[str, Any]] | None = None) -> Path:
    """The directory, with a manifest of these streams."""
    clocks = {"start_wall_ns": CLOCKS["wall_ns"], "start_mono_ns": CLOCKS["mono_ns"], "end_mono_ns": 10**9}
    made = {"recd": "", "host": {}, "code": {}, "durability": "flush"}
    (top / "manifest.json").write_text(
        json.dumps(
            {
                "manifest_version": 1, "session": SESSION, "name": "test", "state": "complete", "complete": True,
                "metadata": {"seed": 7}, "dt": None, "clocks": clocks, "marks": marks or [], "streams": streams, **made,
            }
        )
    )  # fmt: skip
    return top


def listed(top: Path, session: str = SESSION) -> None:
    """A session of this user is in that directory, and did not end as far as anybody knows."""
    index.write(
        {"session": session, "name": session, "directory": str(top), "state": "live", "started_unix_s": 5.0}
    )


def numbers_of(stream: ArrayStream) -> list[int]:
    """The numbers of a stream's samples by its times, every value of each one proved."""
    numbers = [round(t * 8) for t in stream.t.tolist()]
    expected = [value_of(stream.schema, number) for number in numbers]
    for f in stream.schema.fields:
        same(stream[f.name][:], [value[f.name] for value in expected], f.kind)
    return numbers


def same(found: Any, expected: list[Any], kind: str) -> None:
    """Rows of a column are these."""
    assert len(found) == len(expected)
    if kind == FIXED:
        assert not expected or np.array_equal(found, np.array(expected))
    elif kind == RAGGED:
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    else:
        assert list(found) == expected


def listing(directory: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a directory, and what would show a change of it."""
    paths: Iterable[Path] = [directory, *directory.rglob("*")]
    stats = {str(p): p.stat() for p in paths}
    return {name: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats.items()}


def opened(path: Path) -> recd.Run:
    """The recording there."""
    return recd.open(path)
