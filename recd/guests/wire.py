"""What a worker and its guest say to each other, over a pair of sockets: JSON and raw bytes, nothing pickled.

A message::

    | bytes of JSON u32 | bytes of raw u64 | JSON, an object | raw |

A batch of samples travels as raw: its arrays one behind the other, each 8-aligned, in the order seq, t, step,
mono_ns, then the fields; a varying field is two, its elements and their lengths. Their dtypes and shapes are in the
message's JSON. Who receives it gets views of the received bytes.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import ProtocolError
from recd_client.schema import FIXED, Schema

from ..batch import Batch, Varying

#: The JSON of a message; raw bytes are bounded by who sends them.
MAX_JSON_BYTES: Final = 64 << 20
_HEAD: Final = struct.Struct("<IQ")
_ALIGN: Final = 8
#: The system takes at most 1024 buffers at once.
_MAX_BUFFERS: Final = 512

Message = tuple[dict[str, Any], memoryview]


class Wire:
    """One end of the pair; one thread at a time may send, and one may receive.

    Parameters
    ----------
    sock : socket.socket
        A connected stream socket that blocks; closed with the wire.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, header: dict[str, Any], buffers: Sequence[memoryview] = ()) -> None:
        """The message is on its way; waits for the other side to take what the system does not hold.

        Raises
        ------
        OSError
            The other side is gone.
        """
        text = json.dumps(header, separators=(",", ":")).encode()
        size = sum(len(b) for b in buffers)
        rest = [b for b in (memoryview(_HEAD.pack(len(text), size) + text), *buffers) if len(b)]
        while rest:
            sent = self._socket.sendmsg(rest[:_MAX_BUFFERS])
            while rest and sent >= len(rest[0]):
                sent -= len(rest.pop(0))
            if sent:
                rest[0] = rest[0][sent:]

    def receive(self, max_raw_bytes: int = 1 << 40) -> Message | None:
        """The next message, None when the other side has closed its end.

        Raises
        ------
        ProtocolError
            It is no message, or too large a one.
        OSError
            The other side is gone.
        """
        head = self._read(_HEAD.size)
        if head is None:
            return None
        json_bytes, raw_bytes = _HEAD.unpack(head)
        if json_bytes > MAX_JSON_BYTES or raw_bytes > max_raw_bytes:
            raise ProtocolError(
                f"a message of {json_bytes} + {raw_bytes} bytes", "this is no guest's message"
            )
        text, raw = self._read(json_bytes), self._read(raw_bytes)
        if text is None or raw is None:
            return None
        try:
            header = json.loads(bytes(text))
        except (ValueError, RecursionError) as e:
            raise ProtocolError(f"a message that is no JSON: {e}", "this is no guest's message") from None
        if not isinstance(header, dict):
            raise ProtocolError(f"a message that is no object: {header!r:.60}", "this is no guest's message")
        return header, raw

    def _read(self, size: int) -> memoryview | None:
        """So many bytes; None if the other side closes its end before."""
        room: NDArray[np.uint8] = np.empty(size, np.uint8)  # not zeroed first, and aligned for any dtype
        got = 0
        while got < size:
            n = self._socket.recv_into(room.data[got:])
            if not n:
                return None
            got += n
        return room.data

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


# --- batches -------------------------------------------------------------------------------------


def encode_batch(batch: Batch) -> tuple[dict[str, Any], list[memoryview]]:
    """A batch as what goes into a message's JSON, and the buffers behind it; views where memory allows it."""
    arrays: list[NDArray[Any]] = [batch.seq, batch.t, batch.step, batch.mono_ns]
    for f in batch.schema.fields:
        column = batch.columns[f.name]
        arrays += [column.values, column.lengths] if isinstance(column, Varying) else [column]
    buffers: list[memoryview] = []
    for array in arrays:
        raw = _bytes_of(array)
        buffers += [raw, memoryview(bytes(-len(raw) % _ALIGN))]
    return {"arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}, buffers


def decode_batch(header: dict[str, Any], raw: memoryview, schema: Schema) -> Batch:
    """The batch that :func:`encode_batch` described; its arrays are views of ``raw``.

    Raises
    ------
    ProtocolError
        Description, bytes and schema do not fit together.
    """
    try:
        arrays = _arrays(header["arrays"], raw)
        seq, t, step, mono_ns, *rest = arrays
        columns: dict[str, NDArray[Any] | Varying] = {}
        at = iter(rest)
        for f in schema.fields:
            columns[f.name] = next(at) if f.kind == FIXED else Varying(next(at), next(at))
        if next(at, None) is not None:
            raise ValueError("more arrays than the schema has fields")
    except (KeyError, TypeError, ValueError, StopIteration) as e:
        raise ProtocolError(
            f"a batch that cannot be read: {e!r}", "worker and guest differ: recd restart"
        ) from None
    return Batch(schema, seq, t, step, mono_ns, columns)


def _arrays(described: Sequence[tuple[str, Sequence[int]]], raw: memoryview) -> list[NDArray[Any]]:
    out, at = [], 0
    for dtype, shape in described:
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if size > len(raw) - at:
            raise ValueError(f"{len(raw)} bytes are too few")
        array: NDArray[Any] = np.frombuffer(raw[at : at + size], dtype) if size else np.empty(count, dtype)
        out.append(array.reshape(shape))
        at += (size + _ALIGN - 1) // _ALIGN * _ALIGN
    if at != len(raw):
        raise ValueError(f"{len(raw)} bytes, expected {at}")
    return out


def _bytes_of(array: NDArray[Any]) -> memoryview:
    if not array.size:  # memoryviews of nothing cannot be cast
        return memoryview(b"")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
