"""A video whose frames had gone to the log, and the log was damaged: repeated frames, exact counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ffmpeg import FakeFfmpeg
from filming import FRAME_BYTES, Filming, pixels
from recd.chunks import HEADER_BYTES, ChunkInfo
from recd.journal import DAMAGED
from recd.log import segment_path, segments
from recd.manifest import stream_result


@pytest.fixture
def ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFfmpeg]:
    """An ffmpeg that encodes when the test says so."""
    world = FakeFfmpeg(FRAME_BYTES)
    world.install(monkeypatch)
    yield world
    world.close()


def chunks_of(filming: Filming) -> tuple[Path, list[tuple[int, ChunkInfo]]]:
    """The log's segment, offsets and headers of its chunks."""
    log = filming.work_directory / "log"
    path = segment_path(log, segments(log)[0])
    content, at, out = path.read_bytes(), 0, []
    while (info := ChunkInfo.unpack(content[at : at + HEADER_BYTES])) is not None:
        out.append((at, info))
        at += HEADER_BYTES + info.body_bytes
    return path, out


@pytest.mark.parametrize("alone", [True, False], ids=["from the ring", "from the log"])
@pytest.mark.parametrize("at", [40, HEADER_BYTES + 200], ids=["header", "body"])
@pytest.mark.parametrize("which", [0, 2, 3])
def test_frames_that_the_log_has_lost_are_repeated_and_counted(
    tmp_path: Path, ffmpeg: FakeFfmpeg, alone: bool, at: int, which: int
) -> None:
    """Each frame stands where it must, the lost ones are filled in, and attempts = samples + lost."""
    filming = Filming(tmp_path, ffmpeg, alone=alone)
    for _ in range(6):  # ffmpeg does not get on: what fills half the ring goes to the log
        filming.write(3)
        filming.drain()
    path, chunks = chunks_of(filming)
    offset, info = chunks[which]
    gone = [*range(info.first_seq, info.next_seq)]
    assert gone
    assert len(chunks) > which + 1
    content = bytearray(path.read_bytes())
    content[offset + at] ^= 4
    path.write_bytes(content)
    filming.die()
    filming.write(2)
    filming.close()
    filming.run_until(filming.track.finish)
    result = stream_result(filming.track)
    total = filming.feed.producer.next_seq
    written = [n for n in filming.feed.written if n not in gone]
    assert result["attempted"] == total
    assert result["samples"] == len(written)
    assert result["lost"].get(DAMAGED) == len(gone)
    assert total == result["samples"] + sum(result["lost"].values())
    assert (result["state"], result["complete"]) == ("damaged", False)
    (file,) = result["files"]
    table = file["video"]["frames"]
    repeated = set(table["repeated"])
    assert [n for i, n in enumerate(table["seq"]) if i not in repeated] == written
    assert all(b == a + 1 for a, b in itertools.pairwise(table["seq"]))
    contents = ffmpeg.read(Path(file["path"]))
    for i, number in enumerate(table["seq"]):
        if i not in repeated:
            assert contents[i] == pixels(number)
    filming.track.save()
    filming.track.close()
