"""Output files by name and number: where a part is written, and how it becomes a finished file.

A final name means a finished file. While it is open or being built, part ``k`` of ``state.npz`` is
``state.part.npz`` (``state_k.part.npz`` when parts are numbered).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from recd_client.options import SinkOptions

from .ahead import Helpers
from .durable import Syncer, rename_new, sync_directory
from .finisher import Job

_BLOCK_BYTES: Final = 1 << 20
_LARGE_BYTES: Final = 16 << 20


@dataclass
class Part:
    """One output file of one sink, from its first record to its finished file.

    ``state``: ``open`` → ``sealing`` (complete in the log; being built, hashed, renamed) → ``done``.
    """

    number: int
    begin: int
    end: int = -1
    #: Number that a sample at its begin would have, and the one behind its last; a video keeps its own.
    first_seq: int = 0
    next_seq: int = 0
    samples: int = 0
    mono_first_ns: int = 0
    bytes_logged: int = 0
    state: str = "open"
    path: str = ""
    bytes: int = 0
    sha256: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class PartsFile:
    """The parts of one sink, as lines of a file: the last line of a number counts.

    Parameters
    ----------
    path : Path
        Made with the first part.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.syncer = Syncer(path)
        #: A sync that puts a copy in the file's place must not leave behind what another thread appends.
        self._changing = threading.Lock()
        #: What makes the files of complete parts durable: by number, the one that did while they were written.
        self.syncers: dict[int, Syncer] = {}
        self.parts: dict[int, Part] = {}
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                part = Part(**json.loads(line))
            except (ValueError, TypeError):
                continue  # cut short by a kill; the step it tells of is done again
            self.parts[part.number] = part

    def put(self, part: Part, *, sync: bool = False) -> None:
        """Write a part's new state down.

        Raises
        ------
        OSError
            It could not be written whole (disk full, ...): what was known before still counts.
        """
        line = b"\n" + json.dumps(asdict(part), separators=(",", ":")).encode() + b"\n"
        with self._changing:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.write(fd, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            finally:
                os.close(fd)
        if sync:
            self.sync()
        self.parts[part.number] = part

    def sync(self) -> None:
        """Make all lines durable."""
        with self._changing:
            self.syncer.sync()


@dataclass(frozen=True)
class Naming:
    """Names of a sink's parts.

    Parameters
    ----------
    final : Path
        The user's file name, absolute.
    digits : int
        0: one part, under that very name; else parts are numbered with at least so many digits.
    first : Path, optional
        The user's name before he changed it: unfinished files keep it.
    """

    final: Path
    digits: int = 0
    first: Path | None = None

    @classmethod
    def of(cls, options: SinkOptions, final: Path) -> Naming:
        """The names that a sink with these options gives to its files."""
        return cls(final, 4 if options.part_limit else 1 if options.new_part_on_reset else 0)

    def renamed(self, final: Path) -> Naming:
        """The same for another name: what is finished from now on takes it."""
        return Naming(final, self.digits, self.first or self.final)

    def final_path(self, number: int) -> Path:
        """Name of the finished part."""
        return self._numbered(self.final, number)

    def part_path(self, number: int) -> Path:
        """Name of the part while it is open; its suffix is lower-case, as programs want it."""
        path = self._numbered(self.first or self.final, number)
        return path.with_name(f"{path.stem}.part{path.suffix.lower()}")

    def _numbered(self, path: Path, number: int) -> Path:
        if not self.digits:
            return path
        return path.with_name(f"{path.stem}_{number:0{self.digits}d}{path.suffix}")

    def free(self, taken: Container[str] = ()) -> Naming:
        """These names, or the first of ``stem_1``, ``stem_2``, ... that neither exist nor are being written.

        Names that are ``taken`` are somebody's, too.
        """
        candidate, n = self, 0
        while (
            str(candidate.final) in taken
            or os.path.lexists(candidate.final_path(0))
            or candidate.part_path(0).exists()
        ):
            n += 1
            path = self.final.with_name(f"{self.final.stem}_{n}{self.final.suffix}")
            candidate = Naming(path, self.digits)
        return candidate


def seal(
    part: Part,
    part_path: Path,
    final: Path,
    parts: PartsFile,
    *,
    replace: bool,
    job: Job,
    digest: tuple[str, int] | None = None,
) -> None:
    """Hash, sync and rename a complete part file, and write it down as done.

    With ``digest``, SHA-256 and size, it was hashed and synced already.

    A file that stands under the final name by now is replaced only if that was asked for; otherwise
    the part takes the next free number. The name is written down before the rename, so that doing it
    again after a kill at any point in between finds what was done.
    """
    if not part.path or part_path.exists():
        syncer = parts.syncers.setdefault(part.number, Syncer(part_path))
        # With its name: a rename of one that was never durable may come to nothing.
        if digest is None:
            digest = hash_file(part_path, job.advance, sync=syncer.sync)
        else:
            sync_directory(part_path.parent)
        part.sha256, part.bytes = digest
        name = final
        while not _rename(part, part_path, name, parts, replace=replace):
            name = Naming(final).free().final
    sync_directory(Path(part.path).parent)
    part.state = "done"
    parts.put(part, sync=True)
    parts.syncers.pop(part.number, None)


def _rename(part: Part, part_path: Path, final: Path, parts: PartsFile, *, replace: bool) -> bool:
    """Give a part its final name, which is written down before; False if it is somebody else's, by now or before."""
    if not replace and os.path.lexists(final):
        return False
    part.path = str(final)
    parts.put(part, sync=True)
    if replace:
        os.rename(part_path, final)
        return True
    try:
        rename_new(part_path, final)
    except FileExistsError:
        return False
    return True


def hash_file(
    path: Path, advance: Callable[[int], None] = lambda n: None, *, sync: Callable[[], object] | None = None
) -> tuple[str, int]:
    """SHA-256 (hex) and size of a file; while it is hashed, or before, ``sync`` makes it durable."""
    sha, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as f, Helpers(1) as syncer:
        # A large file is hashed while the disk is busy with it.
        large = os.fstat(f.fileno()).st_size >= _LARGE_BYTES
        syncing = syncer.submit(sync) if sync is not None and large else None
        if sync is not None and syncing is None:
            sync()
        while block := f.read(_BLOCK_BYTES):
            sha.update(block)
            size += len(block)
            advance(size)
        if syncing is not None:
            syncing.result()
    return sha.hexdigest(), size
