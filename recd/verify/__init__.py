"""Is a recording what was recorded? Reads everything, writes nothing, needs no daemon and little memory.

A finished recording is compared with its manifest (:mod:`recording`), working files with themselves
(:mod:`logs`), and both with each other where both exist (:mod:`session`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recd_client.errors import OutputError, RecdError

from ..recordings import DEPTH, HIDDEN, is_manifest, kept_sessions, lock_holder, manifests, read_manifest
from ..registry import MAIN_GROUP
from . import outputs
from .finding import DAMAGE, FROM_COPY, LOSS, NOTE, OK, Finding
from .recording import Advance, check_contents, check_streams
from .session import SessionCheck, is_session

__all__ = ["DAMAGE", "LOSS", "NOTE", "OK", "Finding", "Verification"]

_KINDS = {".csv": "csv", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}
_VIDEOS = (".mp4", ".mov", ".mkv")


class _Told(NamedTuple):
    """A manifest, and the file that it is asked about, or None for all of them."""

    path: Path
    manifest: dict[str, Any]
    only: Path | None


class Verification:
    """What is to be looked at for a path.

    Parameters
    ----------
    path : Path
        A run directory, a manifest, a session's directory below ``.recd``, or a data file.

    Raises
    ------
    OutputError
        There is nothing of recd's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told: list[_Told] = []
        self._sessions: list[SessionCheck] = []
        self._alone = False
        try:
            self._choose(path)
            #: How much there is to read, about: files are read twice, for their hash and for their contents.
            self.size_bytes = self._size_bytes()
        except RecdError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise OutputError(
                f"{path} is damaged: {type(e).__name__}: {e}", "keep it, and see: recd recover"
            ) from e

    def _choose(self, path: Path) -> None:
        if is_session(path):
            self._add_session(path.parent.parent, path.name)
        elif path.is_dir():
            for manifest in manifests(path):
                self._told.append(_Told(manifest, read_manifest(manifest), None))
            for session in kept_sessions(path):
                self._add_session(path, session)
            if not self._told and not self._sessions:
                raise OutputError(
                    f"{path} holds no recording: neither a manifest.json nor a .recd directory",
                    "list them: recd ls",
                )
        elif not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise OutputError(f"{path} {what}", "check the path; recordings are listed by: recd ls")
        elif is_manifest(path):
            told = _Told(path, read_manifest(path), None)
            self._told.append(told)
            if told.manifest.get("session") in kept_sessions(path.parent):
                self._add_session(path.parent, told.manifest["session"])
        else:
            self._add_file(path)

    def _add_session(self, directory: Path, session: str) -> None:
        live = lock_holder(directory / HIDDEN / session / f"{MAIN_GROUP}.lock") is not None
        told = any(t.manifest.get("session") == session for t in self._told)
        self._sessions.append(SessionCheck(directory, session, live=live, told=told))

    def _add_file(self, path: Path) -> None:
        """The manifest that names a data file; without one only its format is checked."""
        resolved = path.resolve()
        for directory in resolved.parents[:DEPTH]:
            for manifest_path in manifests(directory):
                try:
                    manifest = read_manifest(manifest_path)
                except RecdError:
                    continue
                named = [f["path"] for s in manifest["streams"].values() for f in s.get("files", ())]
                if resolved in [(directory / name).resolve() for name in named]:
                    self._told.append(_Told(manifest_path, manifest, resolved))
                    return
        if path.suffix.lower() not in (*_KINDS, *_VIDEOS):
            raise OutputError(
                f"{path}: recd writes no {path.suffix or 'such'} files",
                "give a data file, a manifest.json, or a recording's directory",
            )
        self._alone = True

    def _size_bytes(self) -> int:
        files = [
            2 * int(file["bytes"])
            for told in self._told
            for stream in told.manifest["streams"].values()
            for file in stream.get("files", ())
            if told.only is None or (told.path.parent / file["path"]).resolve() == told.only
        ]
        return sum(files) + sum(session.size_bytes for session in self._sessions)

    def findings(self, advance: Advance = lambda n: None) -> Iterator[Finding]:
        """Everything that is found, as it is found.

        Parameters
        ----------
        advance : callable
            Called now and then with the number of bytes read since the last call.
        """
        for told in self._told:
            try:
                yield from check_streams(told.manifest, told.path.parent, told.only, advance)
            except (KeyError, TypeError, AttributeError, ValueError, IndexError) as e:
                what = f"it contradicts itself: {type(e).__name__}: {e}"
                yield Finding(DAMAGE, told.path, what, FROM_COPY)
        for session in self._sessions:
            try:
                yield from session.run(advance)
            except (RecdError, KeyError, TypeError, AttributeError, ValueError, IndexError) as e:
                what = f"its working files are damaged: {type(e).__name__}: {e}"
                yield Finding(DAMAGE, session.store.path, what, "keep it, and see: recd recover")
        if self._alone:
            yield self._file_alone()

    def _file_alone(self) -> Finding:
        """A file that no manifest names: whether its format's reader takes it."""
        path, kind = self.path, _KINDS.get(self.path.suffix.lower())
        try:
            if kind is None:
                outputs.count_frames(path)
            else:
                wrong = check_contents(path, kind, None, None)
                if wrong is not None:
                    return Finding(DAMAGE, path, wrong, FROM_COPY)
        except RecdError as e:
            return Finding(DAMAGE, path, e.what, FROM_COPY)
        return Finding(
            NOTE, path, "it can be read from the first to the last byte; no manifest tells more of it"
        )
