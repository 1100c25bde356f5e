"""What the page keeps, bounds and leaves out when it reads past recordings for their plots."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from reading import Readable
from recd.reader.csv import CSVTable
from recd.reader.hdf5 import HDF5Table
from recd.reader.npz import NPZTable
from recd.reader.tables import Table
from recd.ui import reading
from recd.ui.reading import Points, Reader, plotted
from recd_client import CSVFile, HDF5File, NPZFile
from recd_client.errors import IncompleteRecordingWarning, OptionError, OutputError
from recd_client.options import SinkOptions
from recd_client.schema import FIXED, RAGGED, STRING
from sink_samples import fields
from support import wait_until

SCHEMA = fields(
    q=(FIXED, "<f8", (3,)),
    n=(FIXED, "<i4", ()),
    image=(FIXED, "|u1", (10, 10)),
    r=(RAGGED, "<i4", (2,)),
    s=(STRING, "|u1", ()),
)
COUNT = 60
NUMBERS = np.arange(COUNT)
Q = NUMBERS[:, None] + np.arange(3.0)
SINKS = [CSVFile("r.csv"), NPZFile("r.npz", compressed=False), NPZFile("z.npz"), HDF5File("r.h5")]


def running(top: Path, *sinks: SinkOptions) -> Readable:
    """A recording of :data:`COUNT` samples whose files are not finished."""
    recording = Readable(top, *sinks, schema=SCHEMA)
    for _ in range(COUNT // 5):
        assert recording.feed.write(5) == 5
        recording.track.drain()
    return recording


def ended(top: Path, *sinks: SinkOptions) -> Path:
    """A finished recording of :data:`COUNT` samples."""
    return running(top, *sinks).ended()


def read(reader: Reader, top: Path, field: str) -> Points:
    """A field's points, as a page's request reads them."""
    with recd.open(top) as run:
        return reader.read(run["rows"], field)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What files are read for: names of columns."""
    found: list[tuple[str, ...]] = []

    def spy(table: type[Table]) -> None:
        scan = table.scan

        def spied(self: Table, names: Any, *where: int) -> Any:
            found.append(tuple(names))
            return scan(self, names, *where)

        monkeypatch.setattr(table, "scan", spied)

    for table in (CSVTable, NPZTable, HDF5Table):
        spy(table)
    return found


# --- what is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sink", SINKS, ids=lambda s: str(s.path))
def test_each_format_gives_what_was_written(tmp_path: Path, sink: SinkOptions) -> None:
    """Numbers of every kind are floats, a row per sample; blocks are joined without a seam."""
    top, reader = ended(tmp_path, sink), Reader()
    q, n = read(reader, top, "q"), read(reader, top, "n")
    assert np.array_equal(q.y, Q)
    assert np.array_equal(n.y, NUMBERS[:, None])
    assert np.array_equal(q.t, NUMBERS / 8)
    assert (q.problems, n.y.dtype) == ((), np.float64)


@pytest.mark.parametrize("sink", [*SINKS, None], ids=str)
def test_blocks_follow_each_other(
    tmp_path: Path, sink: SinkOptions | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is read at once, nothing is missing between one block and the next, nor between parts."""
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 400)
    top = running(tmp_path, NPZFile("r.npz")).top if sink is None else ended(tmp_path, sink)
    assert np.array_equal(read(Reader(), top, "q").y, Q)


@pytest.mark.parametrize("sink", SINKS[1:], ids=lambda s: str(s.path))
def test_one_field_of_many_is_read_alone(
    tmp_path: Path, sink: SinkOptions, asked: list[tuple[str, ...]]
) -> None:
    """A plot of a scalar beside images does not read the images."""
    assert np.array_equal(read(Reader(), ended(tmp_path, sink), "n").y[:, 0], NUMBERS)
    assert asked == [("timestamp", "n")]


def test_text_is_parsed_once_for_all_its_fields(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """The plots of a page ask for them one after the other; those that are no lines are not kept."""
    top, reader = ended(tmp_path, CSVFile("r.csv")), Reader()
    for field, values in (("n", NUMBERS[:, None]), ("q", Q), ("n", NUMBERS[:, None])):
        assert np.array_equal(read(reader, top, field).y, values)
    assert asked == [("timestamp", "q", "n")]


@pytest.mark.parametrize("field", ["image", "r", "s", "nothing"])
def test_a_field_that_is_no_set_of_lines_is_refused_by_name(tmp_path: Path, field: str) -> None:
    """Images, ragged fields and strings are no plots, whatever a page asks for."""
    with pytest.raises(OptionError, match=f"no field '{field}' that is drawn"):
        read(Reader(), ended(tmp_path, NPZFile("r.npz")), field)


def test_stream_time_that_goes_back_is_put_in_order(tmp_path: Path) -> None:
    """What was written at the same time keeps its order; a sample without a time has no place and is left out."""
    recording = Readable(tmp_path, NPZFile("r.npz"), schema=SCHEMA)
    for t in (0.0, 1.0, 2.0, 0.0, 1.0, np.nan, 3.0):
        recording.feed.write(t=t)
    points = read(Reader(), recording.ended(), "n")
    assert points.t.tolist() == [0, 0, 1, 1, 2, 3]
    assert points.y[:, 0].tolist() == [0, 3, 1, 4, 2, 6]


# --- what is kept -------------------------------------------------------------------------------------


def test_what_was_read_is_kept_until_the_file_changes(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Zooming reads no file again; another file under the same name is read."""
    top, reader = ended(tmp_path, NPZFile("r.npz")), Reader()
    for _ in range(3):
        read(reader, top, "n")
    assert len(asked) == 1
    (path,) = top.rglob("r.npz")
    os.utime(path, ns=(1, 1))
    assert np.array_equal(read(reader, top, "n").y[:, 0], NUMBERS)
    assert len(asked) == 2


def test_what_is_kept_is_bounded(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not asked for longest goes first; the newest stays, however large it is."""
    monkeypatch.setattr(reading, "_KEPT_BYTES", 2 * COUNT * 16)  # two recordings' n
    reader = Reader()
    first, second, third = (ended(tmp_path / name, NPZFile("r.npz")) for name in "abc")
    for top in (first, second, first, third, first):
        read(reader, top, "n")
    assert len(asked) == 3
    read(reader, second, "n")
    assert len(asked) == 4
    monkeypatch.setattr(reading, "_KEPT_BYTES", 10)
    for _ in range(2):
        read(reader, first, "q")
    assert len(asked) == 5


def test_of_text_with_too_many_fields_one_is_read(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be kept together is not read together."""
    monkeypatch.setattr(reading, "_KEPT_BYTES", COUNT * 8 * (2 + 4) - 1)
    read(Reader(), ended(tmp_path, CSVFile("r.csv")), "q")
    assert asked == [("timestamp", "q")]


def test_threads_that_ask_at_once_have_it_read_once(
    tmp_path: Path, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's plots are asked for together: one thread reads, the others find what it found."""
    top, reader = ended(tmp_path, CSVFile("r.csv")), Reader()
    missed: list[str] = []
    find = reader._find

    def counted(key: tuple[Any, ...]) -> Points | None:
        found = find(key)
        missed.extend([] if found else [key[0]])
        return found

    points = reading._points

    def once_all_wait(*what: Any) -> dict[str, Points]:
        wait_until(lambda: len(missed) == 8 + 1)  # all of them, and the one that has its turn again
        return points(*what)

    monkeypatch.setattr(reader, "_find", counted)
    monkeypatch.setattr(reading, "_points", once_all_wait)
    found: dict[int, Points] = {}

    def ask(i: int) -> None:
        with recd.open(top) as run:
            found[i] = reader.read(run["rows"], ("q", "n")[i % 2])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert all(np.array_equal(found[i].y, NUMBERS[:, None] if i % 2 else Q) for i in range(8))


# --- what is left out ---------------------------------------------------------------------------------


def test_large_text_is_left_to_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another format is taken, though the text has more; where there is no other one, nothing is plotted."""
    both = ended(tmp_path / "both", CSVFile("r.csv"), HDF5File("r.h5"), NPZFile("r.npz"))
    path = both / "manifest.json"
    told = json.loads(path.read_text())
    for file in told["streams"]["rows"]["files"]:
        file["samples"] += file["kind"] == "csv"
    path.write_text(json.dumps(told))
    alone = ended(tmp_path / "alone", CSVFile("r.csv"))
    with recd.open(both) as run, recd.open(alone) as other:
        (chosen, only) = plotted(run["rows"]), plotted(other["rows"])
        assert chosen is not None
        assert only is not None
        assert (chosen.source, only.source) == ("csv", "csv")
    (csv,) = alone.rglob("r.csv")
    monkeypatch.setitem(reading.MOST_BYTES, "csv", csv.stat().st_size - 1)
    with recd.open(both) as run, recd.open(alone) as other:
        chosen = plotted(run["rows"])
        assert chosen is not None
        assert chosen.source == "hdf5"
        assert plotted(other["rows"]) is None
        with pytest.raises(OutputError, match="no file that can be plotted"):
            Reader().read(other["rows"], "n")


def test_a_large_log_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a recording that was killed nothing is plotted above the bound; below it, all that is in the log."""
    top = running(tmp_path, NPZFile("r.npz")).top
    assert np.array_equal(read(Reader(), top, "q").y, Q)
    size = sum(path.stat().st_size for path in (top / ".recd").rglob("*.log"))
    for most, is_plotted in ((size, True), (size - 1, False)):
        monkeypatch.setitem(reading.MOST_BYTES, "log", most)
        with recd.open(top) as run:
            assert (plotted(run["rows"]) is not None) == is_plotted


# --- what is damaged ----------------------------------------------------------------------------------


def test_damaged_parts_are_named_and_the_others_are_plotted(tmp_path: Path) -> None:
    """Each time, also when the points were kept."""
    top, reader = ended(tmp_path, NPZFile("r.npz", split=20)), Reader()
    (path,) = top.rglob("*1.npz")
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.warns(IncompleteRecordingWarning, match=path.name):
        first = read(reader, top, "n")
    for points in (first, read(reader, top, "n")):
        assert points.y[:, 0].tolist() == [*range(20), *range(40, 60)]
        assert [path.name in problem for problem in points.problems] == [True]


def test_a_file_that_contradicts_the_manifest_is_an_error_of_recd(tmp_path: Path) -> None:
    """Arrays of another shape than the manifest tells are no crash: the page can show what is wrong."""
    top = ended(tmp_path, NPZFile("r.npz"))
    (path,) = top.rglob("r.npz")
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "q": arrays["q"][:, :2]})
    with pytest.warns(IncompleteRecordingWarning), pytest.raises(OutputError, match="cannot be read"):
        read(Reader(), top, "q")
