from __future__ import annotations

import errno
import hashlib
import itertools
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recd import plots
from recd.batch import Batch
from recd.sinks import KINDS, make_sink, npz, settling, sink_class
from recd.sinks.base import AppendSink, BuildSink
from recd_client.errors import LogDamagedError, OptionError, RecdError
from recd_client.options import (
    CSVFile,
    HDF5File,
    MPLImagePlot,
    MPLLinePlot,
    MPLVectorFieldPlot,
    NPZFile,
    NullSink,
    Plot,
    PyQtLinePlot,
    SinkOptions,
)
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema
from sink_samples import Samples, Values, fields, of_extremes, read, read_csv, record, same

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
SINKS: dict[str, SinkOptions] = {
    "csv": CSVFile("x.csv"),
    "npz": NPZFile("x.npz"),
    "npz, stored": NPZFile("x.npz", compressed=False),
    "hdf5": HDF5File("x.h5"),
    "hdf5, small chunks": HDF5File("x.h5", chunk_bytes=4096),
    "hdf5, gzip": HDF5File("x.h5", compression="gzip"),
    "hdf5, lzf": HDF5File("x.h5", compression="lzf"),
}
BUILT = {name: options for name, options in SINKS.items() if options.kind != "csv"}
every_sink = pytest.mark.parametrize("options", SINKS.values(), ids=SINKS)
every_built_sink = pytest.mark.parametrize("options", BUILT.values(), ids=BUILT)

SCHEMAS = {
    "scalars of every dtype": fields(**{f"x{d[1:]}": (FIXED, d, ()) for d in DTYPES}),
    "vectors of every dtype": fields(**{f"x{d[1:]}": (FIXED, d, (3,)) for d in DTYPES}),
    "matrices": fields(a=(FIXED, "<f8", (2, 3)), b=(FIXED, "|u1", (4, 1, 2)), c=(FIXED, "<f4", (1,))),
    "a bare scalar": Schema((Field("data", "<f4"),), bare=True),
    "a bare vector": Schema((Field("data", "<f8", (7,)),), bare=True),
    "names with dots": fields(**{"a.b": (FIXED, "<f8", ()), "é [m]": (FIXED, "<i4", (2,))}),
    "axes of length zero": fields(
        a=(FIXED, "<f8", (0,)), b=(FIXED, "<i2", (2, 0, 3)), c=(FIXED, "<f4", ()), d=(RAGGED, "<f8", (0,))
    ),
    "nothing but axes of length zero": fields(a=(FIXED, "<f8", (0,))),
    "ragged arrays of every dtype": fields(**{f"x{d[1:]}": (RAGGED, d, ()) for d in DTYPES}),
    "ragged arrays of vectors and matrices": fields(
        a=(RAGGED, "<f8", (7,)), b=(FIXED, "<i4", ()), c=(RAGGED, "<f4", (2, 3)), d=(RAGGED, "|b1", (1,))
    ),
    "strings": fields(a=(STRING, "|u1", ()), b=(FIXED, "<f8", ()), c=(STRING, "|u1", ())),
    "everything at once": fields(
        a=(FIXED, "<f8", (3,)), b=(STRING, "|u1", ()), c=(RAGGED, "<f8", (2,)), d=(FIXED, "|b1", ())
    ),
}
every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond this: what a full disk does, for one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(count: int) -> Samples:
    """Samples of 400 bytes that no compression makes smaller by much."""
    schema = fields(a=(FIXED, "<f8", (49,)), b=(FIXED, "<i8", ()))
    rng = np.random.default_rng(1)
    values: Values = {
        "a": [*rng.standard_normal((count, 49))],
        "b": [*rng.integers(0, 1 << 60, count)],
    }
    return Samples(schema, values, cuts=range(20, count, 20))


def built(options: SinkOptions, schema: Schema) -> BuildSink:
    """A sink that is built."""
    sink = make_sink(options, schema, {})
    assert isinstance(sink, BuildSink)
    return sink


def appended(options: SinkOptions, schema: Schema) -> AppendSink:
    """A sink that is appended to."""
    sink = make_sink(options, schema, {})
    assert isinstance(sink, AppendSink)
    return sink


# --- what was written is what is read -------------------------------------------------------------


@every_sink
@every_schema
@pytest.mark.parametrize("count", [0, 1, 40], ids=["no samples", "one sample", "40 samples"])
def test_every_value_reads_back_as_it_was_written(
    options: SinkOptions, schema: Schema, count: int, tmp_path: Path
) -> None:
    """The format's own reader finds each value with its dtype, shape and bits, in order, and its time."""
    samples = of_extremes(schema, count).cut(range(7, count, 11))
    found, t = read(record(options, samples, tmp_path / str(options.filename)), schema)
    assert same(found, samples.values)
    assert t == list(samples.t)


@every_sink
def test_times_are_kept_to_the_last_bit(options: SinkOptions, tmp_path: Path) -> None:
    """Times that go back, repeat, are infinite, NaN or have 17 digits stand in the file as they came."""
    times = [0.1 + 0.2, 1e300, -5e-324, np.inf, -np.inf, np.nan, 0.0, -0.0, 0.0]
    samples = Samples(fields(a=(FIXED, "<i4", ())), {"a": [np.array(i, "<i4") for i in range(9)]}, times)
    _, t = read(record(options, samples, tmp_path / str(options.filename)), samples.schema)
    assert same({"t": [np.array(v) for v in t]}, {"t": [np.array(v) for v in times]})


@st.composite
def any_samples(draw: st.DrawFn) -> Samples:
    """Samples of any schema, with any bits, in any batches (empty ones too)."""
    count = draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    described: dict[str, tuple[str, str, tuple[int, ...]]] = {}
    values: Values = {}
    for i in range(draw(st.integers(1, 5))):
        name, kind = f"f{i}", draw(st.sampled_from([FIXED, FIXED, RAGGED, STRING]))
        if kind == STRING:
            described[name] = (kind, "|u1", ())
            text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
            values[name] = [draw(text) for _ in range(count)]
            continue
        dtype = draw(st.sampled_from(DTYPES))
        shape = draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
        described[name] = (kind, dtype, shape)
        values[name] = [_any_bits(rng, kind, dtype, shape) for _ in range(count)]
    cuts = draw(st.lists(st.integers(0, count), max_size=5).map(sorted))
    return Samples(fields(**described), values, cuts=cuts)


def _any_bits(rng: np.random.Generator, kind: str, dtype: str, shape: tuple[int, ...]) -> Any:
    full = shape if kind == FIXED else (int(rng.integers(0, 4)), *shape)
    size_bytes = int(np.prod(full, dtype=int)) * np.dtype(dtype).itemsize
    raw = rng.integers(0, 2 if dtype == "|b1" else 256, size_bytes, np.uint8)
    return raw.view(dtype).reshape(full)


@every_sink
@given(samples=any_samples())
@settings(max_examples=25, deadline=None)
def test_any_samples_in_any_batches_read_back(options: SinkOptions, samples: Samples) -> None:
    """Whatever the schema, the bits and the sizes of the batches, the file holds the samples."""
    with tempfile.TemporaryDirectory() as directory:
        found, t = read(record(options, samples, Path(directory, str(options.filename))), samples.schema)
    assert same(found, samples.values)
    assert t == list(samples.t)


@every_sink
def test_a_finished_file_was_synced_whole(
    options: SinkOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last thing that happens to a file is an fsync of all its bytes: it gets its final name next."""
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    samples = of_extremes(SCHEMAS["everything at once"], 40)
    path = record(options, samples, tmp_path / str(options.filename))
    assert synced == [(str(path), path.stat().st_size)]


# --- files that grow ------------------------------------------------------------------------------


@given(samples=any_samples(), other_cuts=st.lists(st.integers(0, 12), max_size=4), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_back_to_any_state_goes_on_to_the_same_bytes(
    samples: Samples, other_cuts: list[int], data: st.DataObject
) -> None:
    """A sink that goes on from a former state, in other batches, leaves what a run without fault leaves."""
    options = CSVFile("x.csv")
    with tempfile.TemporaryDirectory() as directory:
        whole = record(options, samples, Path(directory, "whole.csv")).read_bytes()
        path = Path(directory, "x.part.csv")
        sink = appended(options, samples.schema)
        sink.open(path, None)
        states = [(0, sink.state())]
        for batch in samples.batches():
            sink.write(batch)
            states.append((states[-1][0] + len(batch), sink.state()))
        sink.abandon()
        path.write_bytes(path.read_bytes() + b"1.5,half a r")
        done, state = data.draw(st.sampled_from(states))
        successor = appended(options, samples.schema)
        successor.open(path, state)
        cuts = [done, *sorted(c for c in other_cuts if done < c < samples.count), samples.count]
        for begin, end in itertools.pairwise(cuts):
            successor.write(samples.batch(begin, end))
        successor.finish()
        assert path.read_bytes() == whole


def test_a_growing_file_is_readable_after_every_batch(tmp_path: Path) -> None:
    """Whoever opens the file while it is written finds whole rows: those that the state counts."""
    samples = of_extremes(SCHEMAS["everything at once"], 40).cut([1, 2, 9, 9, 30])
    sink = appended(CSVFile("x.csv"), samples.schema)
    sink.open(tmp_path / "x.csv", None)
    for batch in samples.batches():
        sink.write(batch)
        _, t = read_csv(tmp_path / "x.csv", samples.schema)
        assert len(t) == sink.state()["rows"]
        assert (tmp_path / "x.csv").stat().st_size == sink.state()["bytes"]
    sink.finish()


def test_a_full_disk_leaves_a_growing_file_whole_and_it_goes_on_later(tmp_path: Path) -> None:
    """A write without room raises and cuts its half row; opened with its last state, the sink goes on."""
    samples = noise(100)
    whole = record(CSVFile("x.csv"), samples, tmp_path / "whole.csv").read_bytes()
    sink = appended(CSVFile("x.csv"), samples.schema)
    path = tmp_path / "x.part.csv"
    sink.open(path, None)
    batches = list(samples.batches())
    for batch in batches[:2]:
        sink.write(batch)
    room = sink.state()["bytes"] + 100
    with files_of_at_most(room), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        sink.write(batches[2])
    assert path.read_bytes() == whole[: sink.state()["bytes"]]
    assert path.read_bytes().endswith(b"\n")
    sink.open(path, sink.state())
    for batch in batches[2:]:
        sink.write(batch)
    sink.finish()
    assert path.read_bytes() == whole


def test_the_null_sink_counts_and_makes_no_file(tmp_path: Path) -> None:
    """It takes any samples, counts from the state it is opened with, and touches no file."""
    samples = of_extremes(SCHEMAS["everything at once"], 10)
    sink = appended(NullSink(), samples.schema)
    sink.open(tmp_path / "x", None)
    sink.write(samples.batch(0, 7))
    state = sink.state()
    sink.write(samples.batch(7, 10))
    assert sink.state() == {"rows": 10}
    sink.open(tmp_path / "x", state)
    assert sink.state() == {"rows": 7}
    sink.sync()
    sink.finish()
    assert list(tmp_path.iterdir()) == []


# --- files that are built -------------------------------------------------------------------------


class Restless(Samples):
    """A source that cuts its batches differently each time it is read."""

    passes = 0

    def batches(self) -> Iterator[Batch]:
        """One more pass."""
        self.passes += 1
        yield from self.cut(range(self.passes, self.count, 3 * self.passes)).batches()


@every_built_sink
@pytest.mark.parametrize("gather_bytes", [0, 64 << 20], ids=["a pass per array", "shared passes"])
def test_a_source_may_be_read_several_times(
    options: SinkOptions, gather_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often they are read, and batched however each time, each array holds all samples once."""
    monkeypatch.setattr(npz, "GATHER_BYTES", gather_bytes)
    plain = of_extremes(SCHEMAS["everything at once"], 40)
    source = Restless(plain.schema, plain.values)
    found, _ = read(record(options, source, tmp_path / str(options.filename)), source.schema)
    assert same(found, plain.values)
    assert source.passes == {"npz": 2 if gather_bytes else 7, "hdf5": 1}[options.kind]


@every_built_sink
@every_schema
def test_progress_grows_to_the_number_of_samples(
    options: SinkOptions, schema: Schema, tmp_path: Path
) -> None:
    """However many passes there are, progress never falls, and ends at the count and not before."""
    samples = of_extremes(schema, 40).cut(range(4, 40, 4))
    reports: list[int] = []
    built(options, schema).build(samples, tmp_path / "x", reports.append)
    assert reports == sorted(reports)
    assert reports[-1] == 40
    assert reports.index(40) == len(reports) - 1


@every_built_sink
@every_schema
@pytest.mark.parametrize("step_bytes", [1, 1 << 30], ids=["while it is written", "at the end"])
def test_a_built_file_has_the_digest_that_its_sink_tells(
    options: SinkOptions, schema: Schema, step_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is hashed before it has its final bytes, however early hashing and syncing begin."""
    monkeypatch.setattr(settling, "_HASH_BYTES", step_bytes)
    monkeypatch.setattr(settling, "_SYNC_BYTES", step_bytes)
    samples = of_extremes(schema, 40).cut(range(3, 40, 3))
    path = tmp_path / str(options.filename)
    digest = built(options, schema).build(samples, path, lambda done: None)
    content = path.read_bytes()
    assert digest == (hashlib.sha256(content).hexdigest(), len(content))
    assert same(read(path, schema)[0], samples.values)


@pytest.mark.parametrize(
    "options", [NPZFile("x.npz"), HDF5File("x.h5", chunk_bytes=4096)], ids=["npz", "hdf5"]
)
def test_a_sync_that_fails_on_the_way_fails_the_build(
    options: SinkOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of what it could not write only once: the last fsync may succeed."""
    left = [OSError(errno.EIO, os.strerror(errno.EIO))]
    fdatasync = os.fdatasync

    def fail_once(fd: int) -> None:
        if left:
            raise left.pop()
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    monkeypatch.setattr(settling, "_SYNC_BYTES", 1)
    samples = noise(205).cut(range(0, 205, 5))
    sink = built(options, samples.schema)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sink.build(samples, tmp_path / "x", lambda done: None)
    assert not left


class CancelledError(Exception):
    """What a progress callback raises to cancel."""


@every_built_sink
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_cancelled_build_leaves_the_part_file_and_can_be_done_again(
    options: SinkOptions, at: int, tmp_path: Path
) -> None:
    """The canceller's own error comes out, nothing else is left or open, and the next build is whole."""
    samples = of_extremes(SCHEMAS["everything at once"], 40).cut([10, 20, 30])
    part = tmp_path / f"part{Path(str(options.filename)).suffix}"
    sink = built(options, samples.schema)
    reports: list[int] = []

    def cancel(done: int) -> None:
        reports.append(done)
        if len(reports) > at:
            raise CancelledError

    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CancelledError):
        sink.build(samples, part, cancel)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert [*tmp_path.iterdir()] in ([], [part])
    sink.build(samples, part, lambda done: None)
    assert same(read(part, samples.schema)[0], samples.values)


@every_built_sink
def test_a_build_on_a_full_disk_raises_the_system_s_error_and_can_be_done_again(
    options: SinkOptions, tmp_path: Path
) -> None:
    """No room anywhere is a plain OSError, which the runner waits on; nothing stays open; later it works."""
    samples = noise(205)
    part = tmp_path / f"part{Path(str(options.filename)).suffix}"
    sink = built(options, samples.schema)
    sink.build(samples, part, lambda done: None)
    size_bytes = part.stat().st_size
    descriptors = len(os.listdir("/proc/self/fd"))
    for room_bytes in (0, 50, *range(400, size_bytes, 9001), size_bytes - 1):
        with files_of_at_most(room_bytes), pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
            sink.build(samples, part, lambda done: None)
        assert caught.value.errno == errno.EFBIG
        assert not isinstance(caught.value, RecdError)
        assert len(os.listdir("/proc/self/fd")) == descriptors
    sink.build(samples, part, lambda done: None)
    assert same(read(part, samples.schema)[0], samples.values)


def test_a_full_disk_ends_a_build_before_the_log_is_read_to_its_end(tmp_path: Path) -> None:
    """HDF5 is told that its writes succeed; the sink knows better and does not go on for hours."""
    samples = noise(205)
    reports: list[int] = []
    sink = built(HDF5File("x.h5", chunk_bytes=4096), samples.schema)
    with files_of_at_most(20_000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        sink.build(samples, tmp_path / "x", reports.append)
    assert max(reports, default=0) < 100


@every_built_sink
@pytest.mark.parametrize("claimed", [39, 41])
def test_a_log_with_another_number_of_samples_is_never_taken_for_whole(
    options: SinkOptions, claimed: int, tmp_path: Path
) -> None:
    """A source that gives fewer or more samples than it says is damage, told with both numbers."""
    samples = of_extremes(SCHEMAS["a bare vector"], 40).cut([15])
    samples.count = claimed
    samples.batches = lambda: iter([samples.batch(0, 15), samples.batch(15, 40)])  # type: ignore[method-assign]
    with pytest.raises(LogDamagedError, match=f"than the {claimed} "):
        built(options, samples.schema).build(samples, tmp_path / "x", lambda done: None)


# --- memory ---------------------------------------------------------------------------------------


class Zeros:
    """A large source of fixed size that takes no memory itself."""

    def __init__(self, times: int) -> None:
        self.schema = fields(a=(FIXED, "<f8", (2000,)), b=(FIXED, "<f8", (40,)), c=(RAGGED, "<f4", (2,)))
        self._batch = of_extremes(self.schema, 64).batch(0, 64)
        self._batch.fixed("a")[:] = 0
        self._times = times
        self.count = 64 * times

    def batches(self) -> Iterator[Batch]:
        """The same batch, over and over."""
        for _ in range(self._times):
            yield self._batch


@every_sink
def test_memory_stays_flat_however_much_is_recorded(
    options: SinkOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing 128 MB raises the most memory that the process ever held by less than a quarter of that."""
    monkeypatch.setattr(npz, "GATHER_BYTES", 8 << 20)
    record(options, of_extremes(SCHEMAS["everything at once"], 40), tmp_path / "warm-up")
    source = Zeros(times=125)
    size_bytes = source.count * source.schema.payload_bytes
    before = _most_resident_bytes(reset=True)
    record(options, source, tmp_path / "x")  # type: ignore[arg-type]  # any source will do
    assert size_bytes > 128e6
    assert _most_resident_bytes() - before < size_bytes / 4


def _most_resident_bytes(*, reset: bool = False) -> int:
    """The high-water mark of this process's memory; with ``reset``, it starts again from what is held now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# --- looking them up ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted({*KINDS} - {*plots.KINDS}))
def test_every_kind_is_found_by_its_name(kind: str) -> None:
    """Each sink takes the suffixes that its options take."""
    options: dict[str, type[SinkOptions]] = {
        "csv": CSVFile,
        "npz": NPZFile,
        "hdf5": HDF5File,
        "null": NullSink,
    }
    assert sink_class(kind).suffixes == options[kind].suffixes


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (MPLLinePlot, {}),
        (PyQtLinePlot, {}),
        (MPLImagePlot, {}),
        (MPLVectorFieldPlot, {"positions": [[0, 0]]}),
    ],
)
def test_a_plot_takes_a_video_s_suffixes_when_it_is_saved(make: type[Plot], more: dict[str, Any]) -> None:
    """Without a file it has none, as samples are passed over; with one it is built like an NPZ."""
    saved = make(save_to_filename="p.mp4", show_window=False, **more)
    assert sink_class(saved.kind).suffixes == saved.suffixes
    assert make(show_window=False, **more).suffixes == ()


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    """The message lists what there is."""
    with pytest.raises(OptionError, match="'parquet': expected one of csv, npz, hdf5, null"):
        sink_class("parquet")
