"""What a path stands for: a recording's directory, a manifest, data files, parts of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recd_client.errors import OutputError, RecdError

from ..recordings import DEPTH, is_manifest, kept_sessions, manifests, read_manifest
from .data import RunData, StreamData
from .files import kind_of, stream_of
from .manifested import run_of
from .run import Run

Path_ = str | os.PathLike[str]
#: Of a session's id, when it began: sorted as text.
_TIME = len("20260101T000000")
_PART = re.compile(r"(.*?)(?:_\d+)?")


def open(path: Path_ | Iterable[Path_], *, session: str | None = None) -> Run:
    """A recording, to be read; nothing but its manifest is read now.

    Parameters
    ----------
    path : path, or list of them
        The directory of a recording, a ``manifest.json``, one recorded file (CSV, NPZ, HDF5, MP4, MOV, MKV;
        with its manifest beside it or without), or a list of parts or files: those of one name, numbered, are
        the parts of one stream, in the given order.
    session : str, optional
        Which recording, where a directory has several; default: the newest.

    Raises
    ------
    OutputError
        There is no recording, or it cannot be read.
    VersionMismatchError
        A later recd wrote it.

    Warns
    -----
    IncompleteRecordingWarning
        A file is missing, or contradicts the manifest; also in :attr:`Run.problems`.
    """
    if not isinstance(path, (str, os.PathLike)):
        return Run(_files([Path(p).absolute() for p in path]))
    where = Path(path).absolute()
    if where.is_dir():
        return Run(_directory(where, session))
    if is_manifest(where):
        return Run(run_of(where))
    return Run(_files([where]))


def _directory(directory: Path, session: str | None) -> RunData:
    """The newest recording in a directory, or that session."""
    found: dict[str, tuple[int, Path, dict[str, Any]]] = {}
    errors: list[RecdError] = []
    for path in manifests(directory):
        try:
            manifest = read_manifest(path)
            found[str(manifest["session"])] = int(manifest["clocks"]["start_wall_ns"]), path, manifest
        except RecdError as e:
            errors.append(e)
        except (KeyError, TypeError, ValueError) as e:
            errors.append(OutputError(f"{path} is damaged: {e!r}", "its data files can be opened one by one"))
    kept = [s for s in kept_sessions(directory) if s not in found]
    if session is not None and session not in found and session not in kept:
        raise OutputError(
            f"{directory} has no recording {session!r}, only {', '.join([*found, *kept]) or 'none'}",
            "see: recd ls",
        )
    if session in found:
        return run_of(*found[session][1:])
    newest = max(found, key=lambda one: found[one][:2], default="")
    if session is None and found and max(kept, default="")[:_TIME] < newest[:_TIME]:
        return run_of(*found[newest][1:])
    if kept:
        return _unfinished(directory, session or max(kept))
    if errors:
        raise errors[0]
    raise OutputError(
        f"{directory} holds no recording: neither a manifest.json nor a .recd directory", "list them: recd ls"
    )


def _unfinished(directory: Path, session: str, tries: int = 5) -> RunData:
    """A recording without a manifest; or with one, if it ended while it was looked at."""
    from .unfinished import run_of_session

    try:
        return run_of_session(directory, session)
    except OutputError:
        if tries == 1:
            raise
    if session in kept_sessions(directory):
        return _unfinished(directory, session, tries - 1)
    return _directory(directory, session)


def _files(paths: list[Path]) -> RunData:
    """A recording of these files alone, told by their manifests as far as there are any."""
    if not paths:
        raise OutputError("no path at all: []", "give a recording's directory, or files of one")
    for path in paths:
        kind_of(path)
    told = _told(paths)
    if told is not None:
        return told
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        match = _PART.fullmatch(path.stem)
        stem = match[1] if match and len(paths) > 1 else path.stem
        groups.setdefault((stem, path.suffix), []).append(path)
    streams: list[StreamData] = []
    for (stem, suffix), parts in groups.items():
        taken = {s.name for s in streams}
        streams.append(stream_of(stem if stem not in taken else f"{stem}{suffix}", parts))
    return RunData(paths[0] if len(paths) == 1 else paths[0].parent, streams, {}, name=paths[0].stem)


def _told(paths: list[Path]) -> RunData | None:
    """What a manifest that names all these files tells, of them alone; None if there is none."""
    wanted = {path.resolve() for path in paths}
    for directory in [*paths[0].resolve().parents][:DEPTH]:
        for manifest in manifests(directory):
            try:
                run = run_of(manifest)
            except RecdError:
                continue  # the files themselves tell their part
            for stream in run.streams:
                kept = {
                    kind: [p for p in parts if p.path.resolve() in wanted]
                    for kind, parts in stream.sources.items()
                }
                stream.sources = {kind: parts for kind, parts in kept.items() if parts}
                stream.problems = [p for p in stream.problems if any(str(path) in p for path in paths)]
            run.streams = [stream for stream in run.streams if stream.sources]
            named = {p.path.resolve() for s in run.streams for parts in s.sources.values() for p in parts}
            if named == wanted:
                return run
    return None
