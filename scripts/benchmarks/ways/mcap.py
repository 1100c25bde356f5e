"""Foxglove's SDK: messages in an MCAP file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..kinds import ARRAYS, FIELDS, FRAMES, ROWS, Kind, Sample
from .base import Way

#: A little-endian CDR message begins so.
_CDR: Final = b"\0\1\0\0"


class _Foxglove(Way):
    """A channel of its own, and a file of its own."""

    def __init__(self, directory: Path, kind: Kind) -> None:
        import foxglove
        import mcap  # noqa: F401 - reads the file again

        super().__init__(directory, kind)
        self._path = directory / "inline.mcap"
        self._context = foxglove.Context()
        # zstd, the default, makes large samples five to ten times as dear as writing them as they are
        large = kind.family in (ARRAYS, FRAMES)
        options: Any = foxglove.mcap.MCAPWriteOptions(compression=None) if large else None
        self._file = foxglove.open_mcap(self._path, context=self._context, writer_options=options)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def found(self) -> int | None:
        """Messages."""
        from mcap.reader import make_reader

        with self._path.open("rb") as file:
            summary = make_reader(file).get_summary()
        return summary.statistics.message_count if summary and summary.statistics else 0


class FoxgloveBytes(_Foxglove):
    """Messages that the caller has made bytes of: CDR with a ROS 2 schema, and RawImage for frames."""

    name = "Foxglove MCAP, CDR bytes"
    families = frozenset({ROWS, FIELDS, ARRAYS, FRAMES})

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        from foxglove import Channel, Schema
        from foxglove.channels import RawImageChannel
        from foxglove.messages import RawImage

        self._raw_image = RawImage
        if kind.family == FRAMES:
            self._channel: Any = RawImageChannel("/data", context=self._context)
            return
        if kind.family == FIELDS:
            definition = "".join(f"float64[{kind.shape[0]}] field{i}\n" for i in range(8))
        else:
            item = "float64" if kind.family == ROWS else "float32"
            definition = f"{item}[{kind.bytes() // (8 if kind.family == ROWS else 4)}] data\n"
        schema = Schema(name="bench/Sample", encoding="ros2msg", data=definition.encode())
        self._channel = Channel("/data", schema=schema, message_encoding="cdr", context=self._context)

    def write(self, data: Sample, t: float) -> object:
        """Make bytes of it, and log them."""
        now_ns = int(t * 1e9)
        if self.kind.family == FRAMES:
            height, width, _ = data.shape
            message = self._raw_image(
                width=width, height=height, encoding="rgb8", step=3 * width, data=data.tobytes()
            )
            return self._channel.log(message, log_time=now_ns)
        if self.kind.family == FIELDS:
            return self._channel.log(_CDR + b"".join([v.tobytes() for v in data.values()]), log_time=now_ns)
        return self._channel.log(_CDR + data.tobytes(), log_time=now_ns)


class FoxgloveJSON(_Foxglove):
    """Messages as dicts, which the SDK makes JSON of."""

    name = "Foxglove MCAP, JSON"
    families = frozenset({ROWS, FIELDS})

    def __init__(self, directory: Path, kind: Kind) -> None:
        super().__init__(directory, kind)
        from foxglove import Channel

        numbers = {"type": "array", "items": {"type": "number"}}
        names = [f"field{i}" for i in range(8)] if kind.family == FIELDS else ["data"]
        schema = {"type": "object", "properties": {"t": {"type": "number"}, **dict.fromkeys(names, numbers)}}
        self._channel = Channel("/data", schema=schema, context=self._context)

    def write(self, data: Sample, t: float) -> object:
        """Make lists of it, and log them."""
        if self.kind.family == FIELDS:
            message = {"t": t, **{name: v.tolist() for name, v in data.items()}}
        else:
            message = {"t": t, "data": data.tolist()}
        return self._channel.log(message, log_time=int(t * 1e9))
