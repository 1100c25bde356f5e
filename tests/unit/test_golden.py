"""Rings and logs of each layout that was released are read for ever.

``python tests/unit/test_golden.py`` makes the images of the current version; those of earlier ones stay.
"""

from __future__ import annotations

import mmap
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from recd.chunks import VERSION
from recd.log import LogReader
from recd.room import Store
from recd.samples import LogRunner
from recd.track import Track
from recd_client import layout
from recd_client.schema import Schema
from recd_client.shm import Segment
from streams import PLAIN, VARYING, Feed, numbers_in

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEMAS = {"fixed": PLAIN, "varying": VARYING}
#: What every image holds: samples 0 to 9, a mark, 2 losses, samples 12 to 19, a reset, samples 20 to 24, the close.
NUMBERS = [*range(10), *range(12, 25)]


def story(schema: Schema) -> Feed:
    """A ring in which all of that happened."""
    feed = Feed(schema)
    feed.write(10)
    feed.mark("golden", what="mark")
    feed.lose(2)
    feed.write(8)
    feed.reset()
    feed.write(5)
    feed.close()
    return feed


def track_of(directory: Path, schema: Schema, memory: mmap.mmap) -> Track:
    """A worker's track of a ring, without sinks."""
    runners: list[LogRunner] = []
    where = (directory, "golden", schema, Store(reserve_bytes=0), runners)
    return Track(*where, Segment("/recd-golden", memory), lambda: 0)


def check(log: Path, schema: Schema) -> None:
    """The log holds the story."""
    reader = LogReader(log)
    found: list[int] = []
    events: list[tuple[str, Any]] = []
    while (chunk := reader.next()) is not None:
        for item in chunk.items(schema):
            if hasattr(item.what, "columns"):
                found += numbers_in([item.what])
            else:
                events.append((item.what.kind, item.what.data.get("label")))
    reader.close()
    assert found == NUMBERS
    assert events == [("mark", "golden"), ("loss", None), ("mark", "recd.reset"), ("close", None)]


@pytest.mark.parametrize("image", sorted(GOLDEN.glob("ring-*.z")), ids=lambda p: p.stem)
def test_a_ring_of_an_earlier_version_is_drained(tmp_path: Path, image: Path) -> None:
    """What an earlier client left in shared memory is read by this worker: samples, mark, loss, reset, close."""
    raw = zlib.decompress(image.read_bytes())
    memory = mmap.mmap(-1, len(raw))
    memory[:] = raw
    schema = SCHEMAS[image.stem.split("-")[2]]
    track = track_of(tmp_path, schema, memory)
    track.drain()
    assert track.drained
    assert track.state == "recording"
    track.log.close()
    check(tmp_path / "log", schema)


@pytest.mark.parametrize("image", sorted(GOLDEN.glob("log-*")), ids=lambda p: p.name)
def test_a_log_of_an_earlier_version_is_read(tmp_path: Path, image: Path) -> None:
    """What an earlier worker left on disk is read by this one."""
    shutil.copytree(image, tmp_path / "log")
    check(tmp_path / "log", SCHEMAS[image.name.split("-")[2]])


def test_the_current_versions_have_images() -> None:
    """A new layout comes with its images."""
    ring = f"ring-{layout.VERSION_MAJOR}.{layout.VERSION_MINOR}"
    for name in SCHEMAS:
        assert (GOLDEN / f"{ring}-{name}.z").exists()
        assert (GOLDEN / f"log-{VERSION}-{name}").is_dir()


def make() -> None:
    """The images of the current version."""
    GOLDEN.mkdir(exist_ok=True)
    for name, schema in SCHEMAS.items():
        feed = story(schema)
        ring = f"ring-{layout.VERSION_MAJOR}.{layout.VERSION_MINOR}-{name}.z"
        (GOLDEN / ring).write_bytes(zlib.compress(bytes(feed.memory), 9))
        directory = GOLDEN / "making"
        track = track_of(directory, schema, feed.memory)
        track.drain()
        track.log.close()
        (directory / "log").rename(GOLDEN / f"log-{VERSION}-{name}")
        shutil.rmtree(directory)


if __name__ == "__main__":
    make()
