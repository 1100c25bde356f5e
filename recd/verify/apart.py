"""Reads an HDF5 file in a process of its own: over a damaged one its library can loop for ever, or crash.

The process writes frames: a letter, a length and so many bytes. ``t``: times of samples; ``e``: what is wrong;
``q``: everything was read.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.errors import OutputError, RecdError
from recd_client.schema import Schema

from . import outputs

#: What the reading of a megabyte may take.
PATIENCE_S: Final = 60.0
_HEAD: Final = struct.Struct("<cI")


def read_through(path: Path, schema: Schema | None) -> Iterator[outputs.Times]:
    """See :func:`recd.verify.outputs.read_through`; ends also if the library does not.

    Raises
    ------
    OutputError
        The file is damaged, or cannot be read in time.
    """
    described = "null" if schema is None else json.dumps(schema.to_json())
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(path), described],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert child.stdout is not None
    try:
        while True:
            kind, size = _HEAD.unpack(_take(child.stdout, _HEAD.size))
            body = _take(child.stdout, size)
            if kind == b"q":
                return
            if kind == b"e":
                raise OutputError(body.decode("utf-8", "replace"))
            yield np.frombuffer(body, np.float64)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _take(pipe: Any, size: int) -> bytes:
    """So many bytes, if the process goes on to say something."""
    taken = bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while len(taken) < size:
        if not poll.poll(PATIENCE_S * 1000):
            raise OutputError(f"not readable in {PATIENCE_S:g} s: HDF5's library does not come to an end")
        if not (got := os.read(pipe.fileno(), size - len(taken))):
            raise OutputError("not readable: HDF5's library ends the process that reads it")
        taken += got
    return bytes(taken)


def main(path: str, described: str) -> None:
    """Body of the process."""

    def tell(kind: bytes, body: bytes = b"") -> None:
        sys.stdout.buffer.write(_HEAD.pack(kind, len(body)) + body)
        sys.stdout.buffer.flush()

    schema = json.loads(described)
    try:
        for block in outputs.read_here(Path(path), "hdf5", schema and Schema.from_json(schema)):
            tell(b"t", np.ascontiguousarray(block, np.float64).tobytes())
    except RecdError as e:
        tell(b"e", e.what.encode())
    else:
        tell(b"q")


if __name__ == "__main__":
    main(*sys.argv[1:])
