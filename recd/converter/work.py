"""Units of work: done one by one, into a directory beside the destination, so that whatever interrupts is gone on from.

::

    out.part/               while it is made; a final name means a complete output
      lock                  held by the process that works
      request.json          what is being made, to be sure that it is gone on with
      progress.json         which units are done
      complete              all are: what is left to do is to rename it
      output                renamed when the last unit is done
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from recd_client.errors import OptionError, OutputError, OutputExistsError

from .. import strict_json
from ..durable import make_directories, rename_new, sync_directory, sync_file

PROGRESS: Final = "progress.json"
REQUEST: Final = "request.json"
LOCK: Final = "lock"
COMPLETE: Final = "complete"
PROVENANCE: Final = "recd-provenance.json"


class Workplace:
    """The directory in which an output is made.

    Parameters
    ----------
    destination : Path
        Absolute.
    request : dict
        Plain data that tells what is being made: an unfinished output of another request is not gone on with.
    overwrite : bool
        A destination that exists is replaced, at the end; an unfinished one of another request now.
    """

    def __init__(self, destination: Path, request: Mapping[str, Any], *, overwrite: bool) -> None:
        self.destination = destination
        self.directory = destination.with_name(f"{destination.name}.part")
        #: Where the output is made: no name of a destination is in the way of the files beside it.
        self.output = self.directory / f"output{destination.suffix}"
        self._request = json.loads(strict_json.text(request))
        self._overwrite = overwrite
        self._lock: IO[bytes] | None = None
        #: By unit what is to be known of it, of all that are done.
        self.done: dict[str, Any] = {}

    def __enter__(self) -> Workplace:
        self._tidy()
        if os.path.lexists(self.destination) and not self._overwrite:
            raise _exists(self.destination)
        if os.path.lexists(self.directory) and not self.directory.is_dir():
            raise OutputExistsError(f"{self.directory} is in the way: it is no directory", "remove it")
        make_directories(self.directory)
        self._lock = (self.directory / LOCK).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise OutputError(
                f"{self.destination} is being made by another process",
                "wait for that, or choose another name",
            ) from None
        try:
            self._take_up()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _tidy(self) -> None:
        """What a process left that was killed behind the last step of all is removed."""
        if (self.directory / COMPLETE).exists() and not self.output.exists() and self.destination.exists():
            shutil.rmtree(self.directory)

    def _take_up(self) -> None:
        """Go on with what is there, or begin anew."""
        found = _json_of(self.directory / REQUEST)
        if found is not None and found != self._request:
            if not self._overwrite:
                other = [key for key in self._request if found.get(key) != self._request[key]]
                what = ", ".join(other) or "choices"
                raise OutputExistsError(
                    f"{self.directory} is what an interrupted conversion left, with other {what}",
                    "repeat that command to go on with it, remove it, or begin anew with --overwrite",
                )
            found = None
        if found is None:
            self.clear()
            _write(self.directory / REQUEST, self._request)
        self.done = _json_of(self.directory / PROGRESS) or {}

    def clear(self) -> None:
        """Nothing is done."""
        for path in self.directory.iterdir():
            if path.name != LOCK:
                _remove(path)
        self.done = {}

    def begin_anew(self) -> None:
        """Nothing is done, of the same request."""
        self.clear()
        _write(self.directory / REQUEST, self._request)

    def finish(self, unit: str, told: Any) -> None:
        """A unit is done, for good: this is what is to be known of it."""
        self.done[unit] = told
        _write(self.directory / PROGRESS, self.done)

    @contextmanager
    def making(self, path: Path) -> Iterator[Path]:
        """A path for a file or directory, which gets its own name at the end of the block, and is on the disk."""
        temporary = path.with_name(f"unfinished-{path.name}")
        _remove(temporary)
        _remove(path)
        make_directories(path.parent)
        yield temporary
        _sync(temporary)
        os.rename(temporary, path)
        sync_directory(path.parent)

    def complete(self, provenance: Mapping[str, Any] | None, *, beside: bool) -> None:
        """The output is at its destination. ``beside``: a file has its provenance in a file of its own.

        Without ``provenance`` the output tells its own.
        """
        destination = self.destination
        if provenance is not None and self.output.is_dir():
            _write(self.output / PROVENANCE, provenance)
        if beside and self.output.is_file():
            _write(provenance_path(destination), provenance)
        if os.path.lexists(destination):
            if not self._overwrite:
                raise OutputExistsError(
                    f"{destination} came to be in the meantime",
                    "move it away, and run the same command again",
                )
            _write(self.directory / COMPLETE, True)
            old = self.directory / "replaced"
            _remove(old)
            os.rename(destination, old)
            os.rename(self.output, destination)
        else:
            _write(self.directory / COMPLETE, True)
            rename_new(self.output, destination)
        sync_directory(destination.parent)
        shutil.rmtree(self.directory)


def _exists(destination: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{destination} exists already", "choose another name, or replace it with --overwrite"
    )


def provenance_path(destination: Path) -> Path:
    """Where the provenance of an output stands that is one file."""
    return destination.with_name(f"{destination.name}.{PROVENANCE}")


def sha256_of(path: Path) -> str | None:
    """Of a file's content; None if there is none."""
    sha = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    except OSError:
        return None
    return sha.hexdigest()


@contextmanager
def told_of_room(workplace: Workplace) -> Iterator[None]:
    """A full disk is told as such, with how to go on."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(e):
            raise
        raise OutputError(
            f"there is no room left on the disk of {workplace.destination}",
            f"make room, then run the same command again: what is done is kept in {workplace.directory}",
        ) from e


def check_destination(destination: Path, sources: list[Path], *, overwrite: bool) -> None:
    """Whether it may be made, before anything is read.

    Raises
    ------
    OptionError
        Writing or replacing it would touch what it is made from.
    OutputExistsError
        It exists.
    """
    where = destination.resolve()
    for source in sources:
        found = source.resolve()
        if where == found or where in found.parents:
            raise OptionError(
                f"{destination} holds the source {source}, which it would replace",
                "choose another destination",
            )
    if (
        os.path.lexists(destination)
        and not overwrite
        and not destination.with_name(f"{destination.name}.part").exists()
    ):
        raise _exists(destination)
    if not destination.parent.is_dir() and any(p.is_file() for p in destination.parents):
        raise OutputError(f"{destination} lies below a file", "choose another destination")


def _sync(path: Path) -> None:
    if path.is_dir():
        for directory, _, files in os.walk(path, topdown=False):
            for name in files:
                sync_file(Path(directory, name))
            sync_directory(Path(directory))
    else:
        sync_file(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, data: Any) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(strict_json.text(data))
    sync_file(temporary)
    os.rename(temporary, path)
