"""One stream that is being recorded, as channels: its numbers in one, each of its pictures in another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from foxglove import Context
from numpy.typing import NDArray

from recd_client import shm
from recd_client.errors import NoSuchSessionError
from recd_client.schema import Field, Schema

from ..batch import Batch, Event
from ..session import SessionStore, read_json
from ..taps.stream import Live, StreamTap
from . import channels, images
from .as_json import Json
from .as_ros2 import Ros2
from .channels import Output, Topics
from .columns import Encoding, left_out, pictures, sent
from .options import Options
from .rate import Rate

#: What one look takes at most.
_LIMIT_BYTES: Final = 8 << 20
#: Larger samples are not read for the marks between them.
_SMALL_BYTES: Final = 64 << 10
_ENCODINGS: Final[dict[str, Callable[[list[Field], str], Encoding]]] = {"ros2": Ros2, "json": Json}


class Stream:
    """Looks at a ring while anybody subscribes to it, and at nothing otherwise.

    Parameters
    ----------
    live : Live
    run : str
        First part of its topics.
    context : Context
        Of the SDK; its channels are advertised by the server.
    topics : Topics
    options : Options
    offset_ns : int
        What to add to the monotonic clock for Unix time.

    Attributes
    ----------
    looks : int
        How often the ring was read.
    t : float, s
        Stream time of the newest sample that was looked at.

    Raises
    ------
    NoSuchSessionError
        It is only beginning, or has just ended.
    """

    def __init__(
        self, live: Live, run: str, context: Context, topics: Topics, options: Options, offset_ns: int
    ) -> None:
        spec = read_json(SessionStore(live.directory, live.session).stream_path(live.stream) / "stream.json")
        if spec is None:
            raise NoSuchSessionError(f"stream {live.name!r} is not there", "see: recd ls")
        self.live = live
        self.looks = 0
        self.t = 0.0
        self._ring = shm.SHM_DIR / str(spec["ring"]).lstrip("/")
        if not self._ring.exists():
            raise NoSuchSessionError(f"stream {live.name!r} has just ended", "see: recd ls")
        self._schema = Schema.from_json(spec["schema"])
        self._options, self._offset_ns, self._topics = options, offset_ns, topics
        self._tap: StreamTap | None = None
        self._numbers: _Numbers | None = None
        self._pictures: list[_Picture] = []
        self._open(context, run)

    def _open(self, context: Context, run: str) -> None:
        about = {"session": self.live.session, "directory": str(self.live.directory)}
        top = f"/{run}/{self.live.stream}"
        fields, images_of = sent(self._schema), pictures(self._schema)
        if fields:
            missing = left_out(self._schema)
            metadata = {**about, **({"left_out": "; ".join(missing)} if missing else {})}
            encoding = _ENCODINGS[self._options.encoding](fields, self.live.stream)
            output = channels.numbers(context, self._topics.take(top), encoding, metadata)
            self._numbers = _Numbers(output, encoding, self._options, self._offset_ns)
        for field in images_of:
            topic = self._topics.take(top if self._schema.bare else f"{top}/{field.name}")
            jpeg = images.is_jpeg(field, self._options.raw)
            output = channels.pictures(context, topic, jpeg, about)
            self._pictures.append(_Picture(output, field, jpeg, self._options, self._offset_ns))

    @property
    def outputs(self) -> Iterable[Output]:
        """Its channels."""
        return [part.output for part in self._parts]

    @property
    def _parts(self) -> list[_Numbers | _Picture]:
        return [*([self._numbers] if self._numbers else []), *self._pictures]

    @property
    def ended(self) -> bool:
        """Whether its ring is gone: it was closed, or its producer died, and all was taken out of it."""
        return not self._ring.exists()

    @property
    def small(self) -> bool:
        """Whether looking at every one of its samples costs next to nothing."""
        return self._schema.payload_bytes <= _SMALL_BYTES

    def look(self, *, for_events: bool) -> tuple[list[Event], list[Callable[[], None]]]:
        """Send what is new to those who want it.

        Parameters
        ----------
        for_events : bool
            Every mark is wanted.

        Returns
        -------
        events : list of Event
            What stood between the samples.
        work : list of callable
            Pictures that are still to be made and sent, from any thread.

        Raises
        ------
        NoSuchSessionError, RingDamagedError
            See :class:`~recd.taps.stream.StreamTap`.
        """
        wanted = [part for part in self._parts if part.output.wanted]
        if not wanted and not for_events:
            self._hang_up()
            return [], []
        now_s = time.monotonic()
        able = [part for part in wanted if part.ready(now_s)]
        first = self._tap is None
        tap = self._tap = self._tap or StreamTap(self.live)
        still = not tap.moved
        if not (able or for_events) or (still and not first and not any(part.output.owed for part in able)):
            return [], []
        self.looks += 1
        only_newest = first or still or not (for_events or self._numbers in wanted)
        taken = tap.newest(1) if only_newest else tap.take(_LIMIT_BYTES)
        if taken.batches:
            self.t = float(taken.batches[-1].t[-1])
        work: list[Callable[[], None]] = []
        for part in wanted:
            work += part.take(taken.batches, now_s)
        return ([] if only_newest else taken.events), work  # what stands before the newest sample is old

    def _hang_up(self) -> None:
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def close(self) -> None:
        """Unadvertise its channels and let go of the ring."""
        self._hang_up()
        for output in self.outputs:
            output.close()
            self._topics.give_back(output.topic)


class _Numbers:
    """The samples' numbers, in one message each."""

    def __init__(self, output: Output, encoding: Encoding, options: Options, offset_ns: int) -> None:
        self.output = output
        self._encoding, self._options, self._offset_ns = encoding, options, offset_ns
        self._rate = Rate(options.hz)
        self._seq = -1

    def ready(self, now_s: float) -> bool:
        """Whether anything could be sent now."""
        return self._rate.ready(now_s)

    def take(self, batches: list[Batch], now_s: float) -> list[Callable[[], None]]:
        """Send of these what the rate allows."""
        if not self.output.owed:
            batches = [b for b in batches if int(b.seq[-1]) > self._seq]
        if not batches:
            return []
        chosen = self._rate.choose(sum(map(len, batches)), now_s)
        self.output.owed = not len(chosen)
        begin = 0
        for batch in batches:
            rows = chosen[(chosen >= begin) & (chosen < begin + len(batch))] - begin
            begin += len(batch)
            if len(rows):
                for row, message in zip(rows.tolist(), self._encoding.encode(batch, rows), strict=True):
                    self.output.send(message, _time_ns(batch, row, self._options, self._offset_ns))
                self._seq = int(batch.seq[rows[-1]])
        return []


class _Picture:
    """A field's newest picture."""

    def __init__(self, output: Output, field: Field, jpeg: bool, options: Options, offset_ns: int) -> None:
        self.output = output
        self._name, self._jpeg = field.name, jpeg
        self._options, self._offset_ns = options, offset_ns
        self._rate = Rate(options.picture_hz)
        self._seq = -1
        self._busy = False

    def ready(self, now_s: float) -> bool:
        """Whether a picture could be sent now: none is being made, and the rate is not reached."""
        return not self._busy and self._rate.ready(now_s)

    def take(self, batches: list[Batch], now_s: float) -> list[Callable[[], None]]:
        """The work of sending the newest of these."""
        if not batches or not (int(batches[-1].seq[-1]) > self._seq or self.output.owed):
            return []
        batch = batches[-1]
        self.output.owed = self._busy or not len(self._rate.choose(1, now_s))
        if self.output.owed:
            return []
        self._busy = True
        self._seq = int(batch.seq[-1])
        time_ns = _time_ns(batch, -1, self._options, self._offset_ns)
        frame = batch.fixed(self._name)[-1]
        return [lambda: self._send(frame, time_ns)]

    def _send(self, frame: NDArray[Any], time_ns: int) -> None:
        try:
            raw = self._options.raw
            message = images.message(frame, time_ns, self.output.topic, jpeg=self._jpeg, raw=raw)
            self.output.send(message, time_ns)
        finally:
            self._busy = False


def _time_ns(batch: Batch, row: int, options: Options, offset_ns: int) -> int:
    return options.time_ns(float(batch.t[row]), int(np.uint64(batch.mono_ns[row])), offset_ns)
