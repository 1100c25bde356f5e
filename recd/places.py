"""Where output files go: names checked before anything is recorded, and taken, so that nobody else writes there."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from pathlib import Path

from recd_client.errors import OutputError, OutputExistsError
from recd_client.options import SinkOptions

from .durable import make_directories, sync_directory
from .parts import Naming


def name(directory: Path, stream: str, option: SinkOptions) -> Naming:
    """The names of a sink's files, as they were asked for."""
    path = option.path or Path(f"{stream}{option.suffixes[0] if option.suffixes else '.null'}")
    return Naming.of(option, Path(os.path.normpath(directory / path)))


def choose(
    directory: Path, stream: str, option: SinkOptions, overwrite: str, taken: Container[str] = ()
) -> Naming:
    """The names of a sink's files, whose directory exists and can be written.

    Of those that overwrite="number" gives none is ``taken``.

    Raises
    ------
    OutputError
        The directory cannot be made or written.
    OutputExistsError
        A file is there that may not be replaced, or is being written.
    """
    naming = name(directory, stream, option)
    if not option.suffixes:  # no file at all
        return naming
    _make_directory(naming.final)
    if overwrite == "number":
        return naming.free(taken)
    _check_absent(naming, overwrite)
    part = naming.part_path(0)
    if part.exists():
        raise _being_written(part)
    return naming


def change(naming: Naming, final: Path, overwrite: str) -> Path:
    """The name for files that are being written under another one, checked like the first.

    Raises
    ------
    OutputError, OutputExistsError
        As for :func:`choose`; or it lies on another file system, where a finished file cannot be moved at once.
    """
    _make_directory(final)
    if final.parent.stat().st_dev != naming.final.parent.stat().st_dev:
        raise OutputError(
            f"{final} lies on another file system than {naming.final}", "choose a name beside it, or copy it"
        )
    renamed = naming.renamed(final)
    if overwrite == "number":
        return renamed.free().final
    _check_absent(renamed, overwrite)
    return final


def take(parts: Iterable[Path]) -> None:
    """All these files are there, made by this call; or none of them is.

    Raises
    ------
    OutputExistsError
        One was there: another recording was quicker.
    OutputError
        One cannot be made.
    """
    made: list[Path] = []
    path = Path()
    try:
        for path in parts:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            made.append(path)
        for path in {path.parent: path for path in made}.values():
            sync_directory(path.parent)
    except OSError as e:
        for other in made:
            other.unlink(missing_ok=True)
        if isinstance(e, FileExistsError):
            raise _being_written(path) from None
        raise OutputError(f"cannot make {path}: {e.strerror}", "choose another directory") from None


def _make_directory(final: Path) -> None:
    try:
        make_directories(final.parent)
    except OSError as e:
        raise OutputError(
            f"cannot make the directory of {final}: {e.strerror}", "choose another filename"
        ) from None
    if not os.access(final.parent, os.W_OK | os.X_OK):
        raise OutputError(f"directory {final.parent} is not writable", "choose another directory")


def _check_absent(naming: Naming, overwrite: str) -> None:
    first = naming.final_path(0)
    if overwrite == "error" and first.exists():
        raise OutputExistsError(
            f"{first} exists", "record into another directory, or pass overwrite='replace' or 'number'"
        )


def _being_written(part: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{part} exists: another recording is writing it, or did not finish it",
        "run: recd status; an unfinished file is completed by: recd start",
    )
