"""What a recording came to: the result of :meth:`recd_client.Recorder.close`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DataLossWarning
from .stats import STOPPED

if TYPE_CHECKING:
    from pathlib import Path


class StreamSummary(NamedTuple):
    """What one stream came to.

    Parameters
    ----------
    attempted, written, durable, skipped : int
        Samples: writes tried, published, safe on disk, and left out because they were not due.
    lost : dict
        Samples lost, by cause.
    bytes, buffered_bytes, spooled_bytes : int
        Payload in all; of it still in shared memory, and in the log.
    blocked_s : float, s
        How long writes waited for room.
    state, reason : str
    files : tuple of Path
        Final names; each file is there, and complete, if the summary is.
    """

    attempted: int
    written: int
    durable: int
    skipped: int
    lost: Mapping[str, int]
    bytes: int
    buffered_bytes: int
    spooled_bytes: int
    blocked_s: float
    state: str
    reason: str
    files: tuple[Path, ...]

    @property
    def lost_total(self) -> int:
        """Samples lost, of all causes."""
        return sum(self.lost.values())


@dataclass(frozen=True, eq=False)
class Summary:
    """What a recording came to.

    Parameters
    ----------
    session : str
    directory : Path
    complete : bool
        Every file is finished. False: the daemon goes on with it alone (``recd status`` shows it).
    streams : dict
        Name to :class:`StreamSummary`, streams without a single sample included.
    manifest : Path or None
        ``manifest.json``, once everything is complete.
    reason : str
        Why it is not complete.
    """

    session: str
    directory: Path
    complete: bool
    streams: Mapping[str, StreamSummary]
    manifest: Path | None = None
    reason: str = ""

    def __getitem__(self, stream: str) -> StreamSummary:
        return self.streams[stream]

    @property
    def files(self) -> list[Path]:
        """The files of all streams."""
        return [f for s in self.streams.values() for f in s.files]

    @property
    def lost_total(self) -> int:
        """Samples lost, of all streams and causes."""
        return sum(s.lost_total for s in self.streams.values())

    def __str__(self) -> str:
        head = f"recording {self.session}: {'complete' if self.complete else 'not complete: ' + self.reason}"
        lines = [head, f"  in {self.directory}"]
        for name, s in self.streams.items():
            lost = f", {s.lost_total} lost" if s.lost_total else ""
            names = ", ".join(f.name for f in s.files) or "no file"
            lines.append(f"  {name}: {s.written} samples{lost} -> {names}")
        return "\n".join(lines)


def make_summary(
    session: str,
    directory: Path,
    own: Mapping[str, dict[str, Any]],
    told: Mapping[str, Any] | None,
    reason: str,
) -> Summary:
    """The summary, from what the client counted itself and what the daemon told, if it did.

    Parameters
    ----------
    own : dict
        Stream to its stats and ``files``.
    told : dict or None
        The daemon's summary; None if it is not finished.
    """
    from pathlib import Path

    streams = {}
    known = {} if told is None else told["streams"]
    for name, counted in own.items():
        values = {**counted, **known.get(name, {})}
        # Of what came behind a stop the daemon knows nothing.
        if name in known and counted["lost"].get(STOPPED):
            own_lost, lost = counted["lost"], known[name]["lost"]
            most = {c: max(lost.get(c, 0), own_lost.get(c, 0)) for c in {**lost, **own_lost}}
            values["attempted"] = max(counted["attempted"], values["attempted"])
            values["lost"] = {c: n for c, n in most.items() if n}
        values["files"] = tuple(Path(f) for f in values["files"])
        streams[name] = StreamSummary(**{k: v for k, v in values.items() if k in StreamSummary._fields})
    if told is None:
        return Summary(session, directory, False, streams, None, reason)
    manifest = Path(told["manifest"]) if told.get("manifest") else None
    complete = bool(told.get("complete"))
    failed = "; ".join(f"stream {name!r}: {s.reason}" for name, s in streams.items() if s.reason)
    reason = "" if complete else failed or "see the manifest"
    return Summary(session, directory, complete, streams, manifest, reason)


def warn_of_losses(summary: Summary, stacklevel: int) -> None:
    """One :class:`DataLossWarning` that names each stream with a loss, if there is any."""
    parts = []
    for name, s in summary.streams.items():
        if s.lost_total:
            causes = ", ".join(f"{cause} {n}" for cause, n in s.lost.items() if n)
            parts.append(f"stream {name!r}: {s.lost_total} of {s.attempted} samples ({causes})")
    if parts:
        text = f"samples were lost: {'; '.join(parts)}; the manifest tells which"
        warnings.warn(text, DataLossWarning, stacklevel=stacklevel + 1)
