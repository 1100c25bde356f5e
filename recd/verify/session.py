"""Whether the working files of a session that is not finished, or was kept, are whole, and its files equal its logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recd_client.errors import RecdError
from recd_client.options import SinkOptions

from ..checkpoint import Checkpoint
from ..log import LogSource
from ..parts import Naming, Part, PartsFile
from ..recordings import HIDDEN
from ..session import SessionStore
from ..video.counting import count_listed
from . import equal
from .finding import DAMAGE, FROM_LOG, NOTE, OK, Finding
from .logs import LogCheck
from .recording import Advance, check_bytes, check_contents


class SessionCheck:
    """One session's directory below ``.recd``.

    Parameters
    ----------
    directory : Path
        The run directory, wherever it is by now.
    session : str
    live : bool
        Whether it is being recorded: then only its logs are looked at.
    told : bool
        Whether a manifest tells of its finished files, which are checked there.
    """

    def __init__(self, directory: Path, session: str, *, live: bool, told: bool) -> None:
        self.store = SessionStore(directory, session)
        self.live = live
        self.told = told
        self.logs = [
            LogCheck(self.store.stream_path(spec["stream"]), spec, live=live) for spec in self.store.streams()
        ]

    @property
    def size_bytes(self) -> int:
        """How much there is to read, about."""
        return sum(log.size_bytes * (1 if self.live else 1 + len(log.spec["sinks"])) for log in self.logs)

    def run(self, advance: Advance) -> Iterator[Finding]:
        """Every finding."""
        if self.live:
            yield Finding(NOTE, self.store.path, "it is being recorded right now: only its logs are checked")
        elif not self.told:
            yield Finding(NOTE, self.store.path, "it was interrupted", "finish its files: recd recover")
        for log in self.logs:
            yield from log.run(advance)
            if not self.live:
                for index, (option, final) in enumerate(
                    zip(log.spec["sinks"], log.spec["finals"], strict=True)
                ):
                    sink = _Sink(self, log, index, SinkOptions.from_json(option), Path(final))
                    yield from sink.run(advance)

    def is_replaced(self, log: LogCheck, part: Part) -> bool:
        """Whether a later stream has put a file of its own in the place of this one."""
        later = self.logs[self.logs.index(log) + 1 :] if self.store.spec.get("overwrite") == "replace" else []
        parts = (PartsFile(path).parts for other in later for path in other.directory.glob("sink*.parts"))
        return any(p.path == part.path for of_sink in parts for p in of_sink.values())

    def locate(self, path: Path) -> Path:
        """The file, also if the directory was moved since."""
        home = Path(self.store.spec.get("directory", self.store.directory))
        return self.store.directory / path.relative_to(home) if path.is_relative_to(home) else path


class _Sink:
    """The files of one sink."""

    def __init__(
        self, session: SessionCheck, log: LogCheck, index: int, options: SinkOptions, final: Path
    ) -> None:
        self._session = session
        self._log = log
        self._index = index
        self._options = options
        self._naming = Naming.of(options, final)
        self._parts = PartsFile(log.directory / f"sink{index}.parts").parts

    def run(self, advance: Advance) -> Iterator[Finding]:
        """Every finding."""
        for part in self._parts.values():
            if part.state == "done" and part.path and not self._session.is_replaced(self._log, part):
                yield from self._done(part, self._session.locate(Path(part.path)), advance)
        if self._options.kind == "csv":
            yield from self._open_rows(advance)
        elif self._options.kind == "video":
            yield from self._open_frames()

    def _done(self, part: Part, path: Path, advance: Advance) -> Iterator[Finding]:
        """A finished part."""
        if not self._session.told:
            wrong = [*check_bytes(path, part.bytes, part.sha256, lambda n: None)]
            if path.is_file() and (
                what := check_contents(path, self._options.kind, self._log.schema, part.samples)
            ):
                wrong.append(Finding(DAMAGE, path, what, FROM_LOG))
                if self._options.kind == "hdf5":  # its library can loop over what is damaged
                    yield from wrong
                    return
            yield from wrong
        if path.is_file() and self._options.kind in equal.KINDS:
            yield from self._equal(part, path, advance)

    def _open_rows(self, advance: Advance) -> Iterator[Finding]:
        """A CSV that is not complete: as much of it as the checkpoint says is safe."""
        state = Checkpoint(self._log.directory / f"sink{self._index}.ckpt").load()
        if not state or not state["sink"] or state["part"]["number"] in self._parts:
            return
        part = Part(**{**state["part"], "end": state["position"], "next_seq": state["next_seq"]})
        path = self._session.locate(self._naming.part_path(part.number))
        size = int(state["sink"]["bytes"])
        if not path.is_file() or path.stat().st_size < size:
            yield Finding(DAMAGE, path, f"its first {size} bytes were safe, and are not all there", FROM_LOG)
        else:
            yield from self._equal(part, path, advance, size)

    def _open_frames(self) -> Iterator[Finding]:
        """A video that is not complete: no frame of it without its line in the index."""
        for part in self._parts.values():
            if part.state == "done":
                continue
            pieces = [self._session.locate(Path(p["path"])) for p in part.details.get("pieces", ())]
            index = self._log.directory / f"sink{self._index}.frames{part.number}"
            lines = index.stat().st_size // 56 if index.exists() else 0
            frames = sum(count_listed(piece) for piece in pieces if piece.exists())
            if frames > lines:
                yield Finding(
                    DAMAGE, index, f"it tells of {lines} frames, and {frames} are in the file", FROM_LOG
                )

    def _equal(
        self, part: Part, path: Path, advance: Advance, size_bytes: int | None = None
    ) -> Iterator[Finding]:
        """Whether a file says what the log says."""
        log = self._log
        if log.begin is None or part.begin < log.begin:
            return  # that part of the log was needed no more, and is deleted
        source = LogSource(log.path, log.schema, part.begin, part.end, part.samples)
        if log.damaged:
            source.prove(part.first_seq, part.next_seq)
            if source.count != part.samples:
                yield Finding(
                    NOTE, path, f"it has {part.samples} samples, of which the log has {source.count} left"
                )
                return
        try:
            what = equal.compare(path, self._options, source, advance, size_bytes)
        except (RecdError, OSError, ValueError, KeyError) as e:
            what = f"it cannot be compared with the log: {e.what if isinstance(e, RecdError) else e}"
        if what:
            yield Finding(DAMAGE, path, what, FROM_LOG)
        else:
            yield Finding(OK, path, f"its {part.samples} samples are those of the log")


def is_session(path: Path) -> bool:
    """Whether the directory is that of a session, below ``.recd``."""
    return (path / "session.json").is_file() and path.parent.name == HIDDEN
