"""Finishes recordings that nobody works on any more, without a daemon: after a crash, or elsewhere.

Nothing here knows how to recover: a worker always begins by reading what is on disk, so recovering is
running workers for a session whose process is gone, one for each group, until its files are finished.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import multiprocess

from recd_client import process, shm
from recd_client.errors import RecdError, RingDamagedError
from recd_client.segment import read_word

from . import index, manifest
from .durable import sync_directory, sync_file
from .guests import consent
from .recordings import logged
from .registry import EXIT_LOCKED, MAIN_GROUP
from .session import SessionStore, clear_begun, read_json, write_json
from .shots import ShotIndex

#: A worker that dies is started again so often in all.
#: The fourth leaves a ring alone that killed three, see recd.caution.
_MAX_STARTS: Final = 5
_LOOK_S: Final = 0.2
HIDDEN: Final = ".recd"


@dataclass
class StreamRemains:
    """What is left of a stream before its recovery.

    Parameters
    ----------
    name : str
    samples : int
        In its log, or counted out of it already.
    log_bytes : int
    frames_fed : int
        Given to an encoder; those that its files hold are kept.
    ring_bytes : int or None
        Published, and not yet taken out of the ring; None when the ring is gone.
    ring_gone : str
        Why it is gone.
    state : str
        ``unfinished``; or how it ended: ``complete``, ``failed``, ``damaged``, ``truncated``.
    """

    name: str
    samples: int = 0
    log_bytes: int = 0
    frames_fed: int = 0
    ring_bytes: int | None = None
    ring_gone: str = ""
    state: str = "unfinished"


@dataclass
class Remains:
    """A recording that has no finished end.

    Parameters
    ----------
    directory : Path
        The run directory.
    session : str
    name : str
    held_by : str
        Who works on it, ``""`` if nobody does; then it is left alone.
    problem : str
        Why it cannot be read.
    streams : list of StreamRemains
    """

    directory: Path
    session: str
    name: str = "?"
    held_by: str = ""
    problem: str = ""
    streams: list[StreamRemains] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For ``recd recover --json``."""
        return {
            "session": self.session,
            "name": self.name,
            "directory": str(self.directory),
            "held_by": self.held_by,
            "problem": self.problem,
            "found": [asdict(s) for s in self.streams],
        }


def find(directory: Path | None) -> list[Remains]:
    """The unfinished recordings below a directory, or all that this user's index knows."""
    if directory is None:
        entries = index.read_all()
        stores = {(Path(e["directory"]), str(e["session"])) for e in entries if e.get("state") != "finished"}
        stores = {(d, s) for d, s in stores if (d / HIDDEN / s / "session.json").exists()}
    else:
        stores = set(_below(directory))
    return [_remains(*s) for s in sorted(stores, key=lambda s: s[1])]


def clear(directory: Path | None) -> None:
    """Remove what workers have left that were killed before they had written anything."""
    if directory is not None:
        tops = [Path(top) for top, names, _ in os.walk(directory.resolve()) if HIDDEN in names]
    else:
        tops = list({Path(e["directory"]) for e in index.read_all()})
    for top in tops:
        clear_begun(top)


def _below(directory: Path) -> Iterator[tuple[Path, str]]:
    for top, names, _ in os.walk(directory.resolve()):
        if HIDDEN in names:
            names.remove(HIDDEN)
            for path in (Path(top) / HIDDEN).glob("[!.]*/session.json"):
                yield Path(top), path.parent.name


def _remains(directory: Path, session: str) -> Remains:
    remains = Remains(directory, session)
    try:
        store = SessionStore(directory, session)
        remains.name = str(store.spec["name"])
        remains.held_by = _holder(store)
        remains.streams = [_stream(store, spec) for spec in store.streams()]
    except (OSError, KeyError, TypeError, ValueError, RecdError) as e:
        remains.problem = f"{directory / HIDDEN / session} is damaged: {type(e).__name__}: {e}"
    return remains


def _holder(store: SessionStore) -> str:
    """Who works on a session, or will: a worker, or its simulation."""
    for group in {MAIN_GROUP, *(str(s["group"]) for s in store.streams())}:
        try:
            store.lock(group).release()
        except BlockingIOError:
            return "a daemon works on it (see: recd status)"
    spec = store.spec
    here = spec["boot_id"] == process.boot_id().hex()
    if here and process.is_alive(int(spec["client_pid"]), int(spec["client_ticks"])):
        return f"its simulation, pid {spec['client_pid']}, still runs (go on recording: recd start)"
    return ""


def _stream(store: SessionStore, spec: dict[str, Any]) -> StreamRemains:
    path = store.stream_path(spec["stream"])
    out = StreamRemains(str(spec["stream"]))
    result = store.result(out.name)
    if result is not None:
        out.state, out.samples = str(result["state"]), int(result["samples"])
        return out
    out.samples = logged(path, spec).tally.samples
    out.log_bytes = sum(p.stat().st_size for p in (path / "log").glob("*.log"))
    out.frames_fed = sum(len(ShotIndex(p).lines()) for p in path.glob("sink*.frames*"))
    if spec["boot_id"] != process.boot_id().hex():
        out.ring_gone = "the machine has restarted since"
        return out
    try:
        segment = shm.Segment.open(spec["ring"])
    except FileNotFoundError:
        out.ring_gone = "it is gone from /dev/shm"
    except RingDamagedError as e:
        out.ring_gone = e.what
    else:
        with memoryview(segment.memory).cast("Q") as words:
            out.ring_bytes = max(read_word(words, "head") - read_word(words, "free_pos"), 0)
        segment.close()
    return out


def finish(remains: Remains, tell: Callable[[int, int], object]) -> dict[str, Any]:
    """Finish a recording's files; returns its manifest.

    Runs one worker process per group. Streams whose file failed before are tried again from their logs.

    Parameters
    ----------
    tell : callable
        Called now and then with the number of streams that are finished, and of all.

    Raises
    ------
    RecdError
        Its workers die again and again, or another one came first.
    """
    store = SessionStore(remains.directory, remains.session)
    ours = _is_ours(remains)
    _relocate(store)
    for stream in remains.streams:
        if stream.state == "failed":
            (store.stream_path(stream.name) / "result.json").unlink(missing_ok=True)
    groups = {str(s["group"]) for s in store.streams() if not store.has_result(s["stream"])} | {MAIN_GROUP}
    # The main worker ends the session once the others are done.
    workers = [_GroupWorker(store, group, ours) for group in sorted(groups, key=lambda g: g == MAIN_GROUP)]
    try:
        while any(not w.finished() for w in workers):
            done = sum(store.has_result(s.name) for s in remains.streams)
            tell(done, len(remains.streams))
            workers[-1].process.join(_LOOK_S)
    finally:
        for worker in workers:
            worker.end()
    return read_json(manifest.manifest_path(store.directory, store.session)) or {}


class _GroupWorker:
    """A worker process for one group, started again when it dies."""

    def __init__(self, store: SessionStore, group: str, ours: bool) -> None:
        self._store = store
        self._group = group
        self._ours = ours
        self._starts = 0
        # Forked: what it needs is imported here already, and whoever recovers has no threads.
        self._context: Any = multiprocess.get_context("fork")
        self._start(crashed=False)

    def _start(self, *, crashed: bool) -> None:
        self._starts += 1
        store = self._store
        self.process = self._context.Process(
            target=_work,
            args=(
                str(store.spec["runtime_dir"]),
                str(store.directory),
                store.session,
                self._group,
                crashed,
                self._ours,
            ),
            name=f"recover {self._group}",
        )
        self.process.start()

    def finished(self) -> bool:
        """Whether it has done its work; starts it again if it died.

        Raises
        ------
        RecdError
            It is of no use.
        """
        code = self.process.exitcode
        if code is None:
            return False
        if code == 0:
            return True
        if code == EXIT_LOCKED:
            raise RecdError("another worker took it up meanwhile", "see: recd status")
        if self._starts == _MAX_STARTS:
            raise RecdError(
                f"the worker of group {self._group} died {_MAX_STARTS} times (exit code {code})",
                "what it said stands above; the logs are as they were",
            )
        self._start(crashed=code != -signal.SIGKILL)
        return False

    def end(self) -> None:
        """Let it put everything away, if it still works."""
        if self.process.exitcode is None:
            self.process.terminate()
        self.process.join()


def _work(runtime: str, directory: str, session: str, group: str, crashed: bool, ours: bool) -> None:
    """Body of a worker process."""
    if not ours:
        consent.distrust()
    os.environ.setdefault("RECD_LOG_LEVEL", "WARNING")
    from .worker import main

    main(runtime, directory, session, group, alone=True, crashed=crashed)


def _is_ours(remains: Remains) -> bool:
    """Whether this user's index tells that he recorded it here: what a directory brings along does not count."""
    return any(
        e["session"] == remains.session and not e.get("foreign") and _same(e["directory"], remains.directory)
        for e in index.read_all()
    )


def _same(directory: str, other: Path) -> bool:
    return os.path.realpath(directory) == os.path.realpath(other)


def _relocate(store: SessionStore) -> None:
    """Make what the session's files say of paths true again, if its directory was moved.

    The session's own file is written last: after a kill in between all is done again.
    """
    old, new = str(store.spec.get("directory") or store.directory), str(store.directory)
    if old == new:
        return

    def moved(data: Any) -> Any:
        if isinstance(data, dict):
            return {k: moved(v) for k, v in data.items()}
        if isinstance(data, list):
            return [moved(v) for v in data]
        is_path = isinstance(data, str) and (data == old or data.startswith(f"{old}/"))
        return new + data[len(old) :] if is_path else data

    for path in sorted(store.path.glob("s-*/*.json")):
        data = read_json(path)
        if data is not None:
            write_json(path, moved(data))
    for path in sorted(store.path.glob("s-*/sink*.parts")):
        lines = []
        for line in path.read_bytes().splitlines():
            try:
                lines.append(json.dumps(moved(json.loads(line))).encode())
            except ValueError:  # cut short by a kill: left to who reads it
                lines.append(line)
        temporary = path.with_suffix(".moved")
        temporary.write_bytes(b"\n".join([*lines, b""]))
        sync_file(temporary)
        temporary.replace(path)
        sync_directory(path.parent)
    store.spec = {**store.spec, "directory": new}
    write_json(store.path / "session.json", store.spec)


def is_lossless(summary: dict[str, Any]) -> bool:
    """Whether a manifest tells of a recording in whose files nothing is missing."""
    streams = summary.get("streams", {}).values()
    return bool(summary) and all(s.get("complete") and not sum(s["lost"].values()) for s in streams)
