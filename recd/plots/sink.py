"""A plot as a sink: its animation is built from the log when its part is complete, by a guest."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OutputError, from_wire
from recd_client.options import MPLImagePlot, Plot
from recd_client.settings import DEFAULT_FPS

from ..batch import Batch, Source
from ..guests.host import Guest, GuestDiedError, GuestFailedError
from ..guests.wire import encode_batch
from ..parts import hash_file
from ..sinks.base import BuildSink
from ..sinks.building import Passes
from ..sinks.null import NullSink
from ..sinks.settling import Digest
from . import check
from .film import raw_path
from .pictures import Extent, picture_of

#: Drawing is what may wait most.
_NICE: Final = 10
#: Qt draws into memory, wherever a display is.
_UNSEEN: Final = {"QT_QPA_PLATFORM": "offscreen", "MPLBACKEND": "agg"}
#: Samples that are drawn per request: progress is told after each, and none takes long.
_SAMPLES: Final = 32
#: A guest that draws nothing for so long has hung.
_PATIENCE_S: Final = 120.0
#: When all is drawn, its film is copied and read once more: no disk is slower.
_BYTES_PER_S: Final = 1e6


class PlotSink(BuildSink):
    """A video with one frame per sample."""

    suffixes = (".mp4", ".mov", ".mkv")
    options: Plot

    def check(self) -> None:
        """See :class:`~recd.sinks.base.SinkBase`."""
        check(self.options, self.schema)

    def retime(self, fps: float) -> None:
        """What is built from now on has another frame rate."""
        self.options = replace(self.options, fps=fps)

    def build(self, source: Source, path: Path, progress: Callable[[int], None]) -> Digest:
        """See :class:`~recd.sinks.base.BuildSink`.

        Raises
        ------
        OutputError
            The guest that draws has failed, died or hung.
        """
        passes, size_bytes = Passes(_Slices(source), progress), 0
        extent = self._extent(passes)
        guest = Guest("recd.plots.film:FilmGuest", f"plot {path.name}", nice=_NICE, environment=_UNSEEN)
        try:
            begin: dict[str, Any] = {
                "options": self.options.to_json(),
                "schema": self.schema.to_json(),
                "path": str(path),
                "fps": str(self.options.frame_rate or Fraction(DEFAULT_FPS)),
                "extent": extent,
            }
            _ask(guest, "begin", **begin)
            for batch in passes.batches():
                header, buffers = encode_batch(batch)
                _ask(guest, "draw", buffers, **header)
            with suppress(FileNotFoundError):
                size_bytes = raw_path(path).stat().st_size
            _ask(guest, "finish", patience_s=_PATIENCE_S + size_bytes / _BYTES_PER_S)
        finally:
            guest.close()
            raw_path(path).unlink(missing_ok=True)
        return Digest(*hash_file(path))

    def _extent(self, passes: Passes) -> tuple[float, float] | None:
        """Least and greatest value of all images, so that colours mean the same from the first frame to the last."""
        if not isinstance(self.options, MPLImagePlot):
            return None
        picture = picture_of(self.options, self.schema)
        if picture.limits is not None:
            return None
        passes.plan(2)
        extent = Extent()
        for batch in passes.batches():
            extent.take(batch.fixed(picture.field))
        return extent.limits


class WindowOnlySink(NullSink):
    """A plot that is not saved: samples are passed over, its window reads the log by itself."""

    def check(self) -> None:
        """See :class:`~recd.sinks.base.SinkBase`."""
        check(self.options, self.schema)  # type: ignore[arg-type]


class _Slices:
    """A source in smaller batches."""

    def __init__(self, source: Source) -> None:
        self.schema = source.schema
        self.count = source.count
        self._source = source

    def batches(self) -> Iterator[Batch]:
        """See :class:`~recd.batch.Source`."""
        for batch in self._source.batches():
            for i in range(0, len(batch), _SAMPLES):
                yield batch[i : i + _SAMPLES]


def _ask(
    guest: Guest, op: str, buffers: Any = (), patience_s: float = _PATIENCE_S, **fields: Any
) -> dict[str, Any]:
    """The guest's answer; its errors become ours."""
    watch = threading.Timer(patience_s, guest.kill)
    watch.daemon = True
    watch.start()
    try:
        answer = guest.ask(op, buffers, **fields)
    except GuestFailedError as e:
        raise OutputError(
            f"the plot cannot be drawn: {e.what}", "the daemon's log has more; then: recd recover"
        ) from e
    except GuestDiedError as e:
        raise OutputError(
            f"the plot cannot be drawn: {e}", "its samples are kept; run: recd recover"
        ) from None
    finally:
        watch.cancel()
    if refused := answer.get("refused"):
        raise from_wire(refused)
    if found := answer.get("os_error"):
        number, text, filename = found
        raise OSError(number, text or os.strerror(number or 0), filename)
    return answer
