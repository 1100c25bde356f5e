"""The wire between a worker and its guest: every batch survives it, and what is no message is refused."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recd.batch import Batch, Varying, batch_of_run
from recd.guests.wire import Message, Wire, decode_batch, encode_batch
from recd_client.errors import ProtocolError
from recd_client.schema import FIXED, RAGGED, STRING, Field, Schema
from streams import PLAIN

DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")


@pytest.fixture
def pair() -> Iterator[tuple[Wire, Wire]]:
    """Both ends of a wire."""
    a, b = map(Wire, socket.socketpair())
    with closing(a), closing(b):
        yield a, b


def through(message: tuple[dict[str, Any], list[memoryview]]) -> Message:
    """What the other side receives; sent from a thread, as it may not fit into the system's buffers."""
    a, b = map(Wire, socket.socketpair())
    with closing(a), closing(b):
        sender = threading.Thread(target=a.send, args=message)
        sender.start()
        received = b.receive()
        sender.join()
    assert received is not None
    return received


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in dtype, shape and bytes (NaN is NaN)."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()


def assert_same(found: Batch, batch: Batch) -> None:
    """The batches hold the same, byte for byte."""
    for name in ("seq", "t", "step", "mono_ns"):
        assert same(getattr(found, name), getattr(batch, name)), name
    assert list(found.columns) == list(batch.columns)
    for name, column in batch.columns.items():
        other = found.columns[name]
        if isinstance(column, Varying):
            assert isinstance(other, Varying), name
            assert same(other.values, column.values), name
            assert same(other.lengths, column.lengths), name
        else:
            assert isinstance(other, np.ndarray), name
            assert same(other, column), name


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any batch: any fields, any number of samples, empty shapes, views with strides."""
    n = draw(st.integers(0, 5))
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True))
    fields, columns = [], {}
    for name in names:
        kind = draw(st.sampled_from([FIXED, FIXED, RAGGED, STRING]))
        dtype = "|u1" if kind == STRING else draw(st.sampled_from(DTYPES))
        shape = (
            () if kind == STRING else draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        )
        fields.append(Field(name, dtype, shape, kind))
        if kind == FIXED:
            columns[name] = draw(hnp.arrays(dtype, (2 * n, *shape)))[::2]
        else:
            lengths = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), np.int64)
            columns[name] = Varying(draw(hnp.arrays(dtype, (int(lengths.sum()), *shape))), lengths)
    clocks = [draw(hnp.arrays(d, n)) for d in ("<u8", "<f8", "<i8", "<u8")]
    return Batch(Schema(tuple(fields)), *clocks, columns)


@settings(max_examples=150, deadline=None)
@given(batch=batches())
def test_any_batch_survives_the_wire(batch: Batch) -> None:
    """Whatever its fields, shapes and lengths are, what comes out is what went in, byte for byte."""
    header, raw = through(encode_batch(batch))
    assert_same(decode_batch(header, raw, batch.schema), batch)


def test_records_as_they_lie_in_a_log_survive_the_wire() -> None:
    """A batch of views into records, whose columns are not contiguous, comes out the same."""
    records = np.zeros(1000, PLAIN.record_dtype)
    records["seq"] = np.arange(1000)
    records["payload"]["x"] = np.random.default_rng(1).normal(size=(1000, 8))
    batch = batch_of_run(PLAIN, memoryview(records.tobytes()), 0, 1000)
    header, raw = through(encode_batch(batch))
    assert_same(decode_batch(header, raw, PLAIN), batch)


def test_received_arrays_are_views_of_what_was_received() -> None:
    """Nothing is copied a second time."""
    records = np.zeros(10, PLAIN.record_dtype)
    header, raw = through(encode_batch(batch_of_run(PLAIN, memoryview(records.tobytes()), 0, 10)))
    found = decode_batch(header, raw, PLAIN)
    whole = np.frombuffer(raw, np.uint8)
    assert np.shares_memory(found.seq, whole)
    assert np.shares_memory(found.fixed("x"), whole)


def test_a_message_larger_than_any_buffer_arrives_whole() -> None:
    """Partial writes of the system are continued."""
    data = np.random.default_rng(2).integers(0, 256, 5 << 20).astype(np.uint8)
    header, raw = through(({"x": 1}, [memoryview(b"abc"), data.data, memoryview(b"")]))
    assert header == {"x": 1}
    assert raw[:3] == b"abc"
    assert np.array_equal(np.frombuffer(raw[3:], np.uint8), data)


def test_many_buffers_arrive_in_order() -> None:
    """More than the system takes at once."""
    buffers = [memoryview(bytes([i % 256])) for i in range(3000)]
    _, raw = through(({}, buffers))
    assert bytes(raw) == b"".join(buffers)


def test_a_closed_end_reads_as_none(pair: tuple[Wire, Wire]) -> None:
    """Also in the middle of a message."""
    a, b = pair
    sent = socket.socket(fileno=a.fileno())
    sent.sendall(struct.pack("<IQ", 10, 0) + b"{}")
    sent.shutdown(socket.SHUT_WR)
    sent.detach()
    assert b.receive() is None


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<IQ", 4, 0) + b"nope",
        struct.pack("<IQ", 2, 0) + b"[]",
        struct.pack("<IQ", 1 << 31, 0),
        struct.pack("<IQ", 2, 1 << 50) + b"{}",
        struct.pack("<IQ", 3, 0) + b"\xff\xfe\xfd",
    ],
)
def test_what_is_no_message_is_refused(pair: tuple[Wire, Wire], sent: bytes) -> None:
    """Bytes that user code wrote to the descriptor are told apart from messages, and cost no memory."""
    a, b = pair
    os_socket = socket.socket(fileno=a.fileno())
    os_socket.sendall(sent)
    os_socket.detach()
    with pytest.raises(ProtocolError):
        b.receive()


@pytest.mark.parametrize("change", ["short", "long", "few", "many", "shape", "dtype"])
def test_a_batch_that_contradicts_itself_is_refused(change: str) -> None:
    """Description, bytes and schema must fit together."""
    records = np.zeros(3, PLAIN.record_dtype)
    header, buffers = encode_batch(batch_of_run(PLAIN, memoryview(records.tobytes()), 0, 3))
    raw = b"".join(buffers)
    arrays = header["arrays"]
    if change == "short":
        raw = raw[:-8]
    elif change == "long":
        raw += bytes(8)
    elif change == "few":
        arrays.pop()
    elif change == "many":
        arrays.append(["<f8", [0]])
    elif change == "shape":
        arrays[-1][1] = [3, 9]
    else:
        arrays[-1][0] = "no dtype"
    with pytest.raises(ProtocolError):
        decode_batch(header, memoryview(raw), PLAIN)
