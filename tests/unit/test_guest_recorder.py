"""A user's recorder in its guest: what its methods are given, and what it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recd.batch import Batch
from recd.guests.recorder import MAX_STATE_BYTES, RecorderHost, batch_dtype, recorder_of, structured
from recd_client import Schema, SchemaError, Sink
from recd_client.errors import CustomSinkError
from recd_client.schema import FIXED, RAGGED, STRING, Field
from sink_samples import fields as described
from sink_samples import of_extremes

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
SCHEMAS = {
    "numbers of every dtype": described(**{f"x{d[1:]}": (FIXED, d, ()) for d in DTYPES}),
    "arrays of every dtype": described(**{f"x{d[1:]}": (FIXED, d, (2, 3)) for d in DTYPES}),
    "axes of length zero": described(a=(FIXED, "<f8", (0,)), b=(FIXED, "<i2", (2, 0, 3))),
    "ragged ones": described(a=(RAGGED, "<f8", ()), b=(RAGGED, "<i4", (2, 3)), c=(RAGGED, "<f8", (0,))),
    "strings": described(a=(STRING, "|u1", ()), b=(FIXED, "<f8", ())),
    "a bare vector": Schema((Field("data", "<f8", (7,)),), bare=True),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_batch_has_every_value_as_it_was_written(schema: Schema, count: int) -> None:
    """Numbers, times, steps and fields: equal in dtype, shape and bits; with memory of its own."""
    samples = of_extremes(schema, count)
    batch = samples.batch(0, count)
    array = structured(batch, batch_dtype(schema))
    assert array.dtype.names == ("seq", "t", "step", *(f.name for f in schema.fields))
    assert array.shape == (count,)
    for name in ("seq", "t", "step"):
        assert array[name].tolist() == getattr(batch, name).tolist()
    for f in schema.fields:
        for found, expected in zip(array[f.name], samples.values[f.name], strict=True):
            if f.kind == STRING:
                assert found == expected
            else:
                assert found.dtype == np.dtype(f.dtype)
                assert found.shape == np.shape(expected)
                assert found.tobytes() == np.asarray(expected, f.dtype).tobytes()
    array["seq"] = 7  # it is the recorder's to change
    assert batch.seq.tolist() == [*range(count)]


@pytest.mark.parametrize("name", ["seq", "t", "step"])
def test_a_field_named_like_a_column_of_every_batch_is_an_error(name: str) -> None:
    """The message says what to do; single samples have no such trouble."""
    schema = described(**{name: (FIXED, "<f8", ())})
    with pytest.raises(SchemaError, match=r"process\(data, t\)"):
        batch_dtype(schema)
    seen: list[Any] = []
    recorder = recorder_of(lambda data, t: seen.append((data, t)), {}, None)
    recorder.open(schema, {})
    recorder.write(of_extremes(schema, 1).batch(0, 1))
    assert seen[0][1] == 0.0
    assert [*seen[0][0]] == [name]


@pytest.mark.parametrize("target", [5, Path, None])
def test_what_is_no_recorder_is_refused(target: Any) -> None:
    """With what it lacks."""
    with pytest.raises(CustomSinkError):
        recorder_of(target, {}, None)


def test_a_class_with_write_need_not_derive_from_sink() -> None:
    """What it does not have is not called; its attributes are set all the same."""

    class Bare:
        def __init__(self, gain: int) -> None:
            self.batches: list[Any] = []

        def open(self, schema: Schema) -> None:
            self.stream_at_open = self.stream  # type: ignore[attr-defined]

        def write(self, batch: Any) -> None:
            self.batches.append(batch)

    schema = SCHEMAS["a bare vector"]
    recorder = recorder_of(Bare, {"gain": 2}, "/x.bin")
    recorder.open(schema, {"stream": "s", "part": 1, "metadata": {}, "state": 3, "directory": "/d"})
    recorder.write(of_extremes(schema, 2).batch(0, 2))
    recorder.mark({"label": "recd.reset", "fields": {"envs_idx": None}})
    recorder.mark({"label": "here", "t": 0.0, "step": 1, "fields": {}})
    assert recorder.sync() is None
    recorder.discard()
    recorder.close()
    made = recorder.target
    assert (made.stream_at_open, made.part, made.state) == ("s", 1, 3)
    assert (made.filename, made.directory) == (Path("/x.bin"), Path("/d"))
    assert len(made.batches[0]) == 2


def test_the_base_class_says_what_is_missing() -> None:
    """A recorder without `write` fails at its first samples, by name."""

    class Empty(Sink):
        pass

    recorder = recorder_of(Empty, {}, None)
    schema = SCHEMAS["a bare vector"]
    recorder.open(schema, {"stream": "s", "part": 0, "metadata": {}, "state": None, "directory": "/"})
    with pytest.raises(NotImplementedError, match="Empty has no write"):
        recorder.write(of_extremes(schema, 1).batch(0, 1))


class Remembers(Sink):
    state_to_keep: Any = None

    def write(self, batch: Any) -> None:
        """Nothing."""

    def sync(self) -> Any:
        """What the test wants to be kept."""
        return Remembers.state_to_keep


def opened(filename: str | None = None) -> RecorderHost:
    """A host whose recorder is open."""
    host = RecorderHost()
    host._schema = SCHEMAS["a bare vector"]
    host._info = {"directory": "/", "stream": "s", "metadata": {}}
    host._make = lambda filename: recorder_of(Remembers, {}, filename)
    host.handle("open", {"filename": filename, "part": 0, "state": None}, memoryview(b""))
    return host


@pytest.mark.parametrize("state", ["x" * MAX_STATE_BYTES, {1, 2}, b"x", object()])
def test_a_state_that_cannot_be_kept_is_an_error(state: Any) -> None:
    """Too large for a checkpoint, or nothing that JSON can hold."""
    Remembers.state_to_keep = state
    with pytest.raises((CustomSinkError, TypeError)):
        opened().handle("sync", {}, memoryview(b""))


def test_a_state_comes_back_as_it_was_returned() -> None:
    """And that of a host without a recorder is none."""
    Remembers.state_to_keep = {"bytes": 5, "seen": [1, 2.5, None]}
    assert opened().handle("sync", {}, memoryview(b"")) == {"state": Remembers.state_to_keep}
    assert RecorderHost().handle("sync", {}, memoryview(b"")) == {"state": None}


def test_single_samples_of_a_bare_stream_are_no_dicts() -> None:
    """As they were written."""
    seen: list[Any] = []
    schema = SCHEMAS["a bare vector"]
    recorder = recorder_of(lambda data, t: seen.append(data), {}, None)
    recorder.open(schema, {})
    batch: Batch = of_extremes(schema, 2).batch(0, 2)
    recorder.write(batch)
    assert [d.tobytes() for d in seen] == [row.tobytes() for row in batch.fixed("data")]


def test_a_discarded_file_is_emptied_by_the_open_behind_it_only(tmp_path: Path) -> None:
    """Until then whoever goes on from before the discard finds what stood there."""
    path = tmp_path / "x.part.txt"
    path.write_text("discarded")
    host = opened(str(path))
    host.handle("discard", {}, memoryview(b""))
    assert path.read_text() == "discarded"
    again = {"filename": str(path), "part": 0, "state": None}
    host.handle("open", again, memoryview(b""))
    assert path.read_text() == "discarded"
    host.handle("open", {**again, "anew": True}, memoryview(b""))
    assert path.read_text() == ""


@pytest.mark.parametrize("durable", [True, False])
def test_what_close_writes_is_synced_too_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """The file's last sync comes behind the recorder's `close`."""
    path, synced = tmp_path / "x.part.txt", []
    path.touch()
    monkeypatch.setattr(Remembers, "close", lambda self: path.write_text("the end"))
    monkeypatch.setattr("recd.guests.recorder.sync_file", lambda path: synced.append(path.read_text()))
    Remembers.state_to_keep = None
    host = opened(str(path))
    host._durable = durable
    host.handle("close", {}, memoryview(b""))
    assert synced == (["", "the end"] if durable else [])
