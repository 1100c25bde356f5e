"""What a disk may hold after a loss of power, by the system calls that a program made.

The model is that of ALICE (Pillai et al., OSDI 2014): until an ``fsync``, each block of a file may be as it was
before, as any write left it, or torn at a sector; the size may be old or new; each new, removed or renamed name
may have reached the disk or not, whatever became of the others and of the file itself. An ``fsync`` of a file
makes its content durable, not its name; one of a directory its names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
TRACED = (
    "open,openat,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,copy_file_range,sendfile,"
    "access,faccessat,faccessat2"
)
#: What a program passes to ``os.access`` to leave a note in the trace.
NOTE = "/recd-note/"

_O_CREAT, _O_TRUNC, _O_APPEND, _O_DIRECTORY = 0o100, 0o1000, 0o2000, 0o200000
_AT_REMOVEDIR = 0x200
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"(-?\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")


@dataclass
class Node:
    """A file or a directory."""

    number: int
    is_directory: bool
    #: (event, offset, bytes) of a write, (event, size, None) of a truncation.
    changes: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    #: (event, first event that it did not wait for) of each sync.
    syncs: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0

    def synced_before(self, event: int) -> int:
        """Everything older than the returned event was durable at that event."""
        return max((began for done, began in self.syncs if done < event), default=0)


@dataclass
class Naming:
    """Names that came or went at once."""

    event: int
    #: (directory, name, node or None)
    names: list[tuple[int, str, int | None]]


class CrashDisk:
    """All that a program did below ``root``, from the trace that strace wrote of it.

    Events are counted from 1: one per call that changed something, or left a note.
    """

    def __init__(self, root: Path, trace: Path) -> None:
        self.root = root
        self.nodes: list[Node] = [Node(0, True)]
        self.names: dict[tuple[int, str], int] = {}
        self.namings: list[Naming] = []
        self.notes: list[tuple[int, str]] = []
        self.events = 0
        self._files: dict[tuple[int, int], tuple[int, bool]] = {}  # (fd, node): position, whether it appends
        self._began = 0
        self._read(trace)

    # --- from calls to events ------------------------------------------------------------------------
    def _read(self, trace: Path) -> None:
        """Take every call in the order in which they ended."""
        begun: dict[str, tuple[str, int]] = {}
        with trace.open(encoding="ascii") as lines:
            for line in lines:
                thread, _, text = line.rstrip("\n").partition(" ")
                text = text.lstrip()
                if text.endswith("<unfinished ...>"):
                    begun[thread] = (text.removesuffix("<unfinished ...>"), self.events + 1)
                    continue
                self._began = self.events + 1
                if text.startswith("<... "):
                    first, self._began = begun.pop(thread)
                    text = first + text[text.index(" resumed>") + len(" resumed>") :]
                found = _CALL.match(text)
                if found is not None:
                    self._take(found[1], [a.strip() for a in found[2].split(", ")], int(found[3]))

    def _event(self) -> int:
        self.events += 1
        return self.events

    def _find(self, path: str) -> tuple[int, str, int | None] | None:
        """Directory, name and node of a path below the root; None if it lies elsewhere."""
        try:
            parts = Path(path).relative_to(self.root).parts
        except ValueError:
            return None
        at = 0
        for part in parts[:-1]:
            found = self.names.get((at, part))
            if found is None:
                return None
            at = found
        if not parts:
            return 0, "", 0
        return at, parts[-1], self.names.get((at, parts[-1]))

    def _node(self, argument: str) -> tuple[int, Node] | None:
        """The file that a descriptor in a call stands for."""
        fd, path = _descriptor(argument)
        found = self._find(path)
        return None if found is None or found[2] is None else (fd, self.nodes[found[2]])

    def _take(self, call: str, a: list[str], result: int) -> None:
        if call in ("access", "faccessat", "faccessat2"):
            path = next(t for t in map(_text, a) if t is not None)
            if path.startswith(NOTE):
                self.notes.append((self._event(), path.removeprefix(NOTE)))
            return
        if result < 0:
            return
        getattr(self, f"_{call}")(a, result)

    def _openat(self, a: list[str], fd: int) -> None:
        path = _at(a[0], a[1])
        flags = int(a[2], 0)
        found = self._find(path)
        if found is None or flags & _O_DIRECTORY:
            return
        directory, name, number = found
        if number is None:
            number = self._new(directory, name, is_directory=False)
        elif flags & _O_TRUNC:
            self._resize(self.nodes[number], 0)
        self._files[fd, number] = (0, bool(flags & _O_APPEND))

    def _open(self, a: list[str], fd: int) -> None:
        self._openat(["-100", *a], fd)

    def _creat(self, a: list[str], fd: int) -> None:
        self._openat(["-100", a[0], str(_O_CREAT | _O_TRUNC)], fd)

    def _new(self, directory: int, name: str, *, is_directory: bool) -> int:
        node = Node(len(self.nodes), is_directory)
        self.nodes.append(node)
        self._rename_all([(directory, name, node.number)])
        return node.number

    def _rename_all(self, names: list[tuple[int, str, int | None]]) -> None:
        self.namings.append(Naming(self._event(), names))
        for directory, name, number in names:
            if number is None:
                del self.names[directory, name]
            else:
                self.names[directory, name] = number

    def _lseek(self, a: list[str], result: int) -> None:
        if (found := self._node(a[0])) is not None and not found[1].is_directory:
            fd, node = found
            self._files[fd, node.number] = (result, self._files.get((fd, node.number), (0, False))[1])

    def _write(self, a: list[str], done: int) -> None:
        self._put(a[0], _bytes(a[1])[:done], None)

    def _pwrite64(self, a: list[str], done: int) -> None:
        self._put(a[0], _bytes(a[1])[:done], int(a[3], 0))

    def _writev(self, a: list[str], done: int) -> None:
        self._put(a[0], _bytes(",".join(a[1:-1]))[:done], None)

    def _pwritev(self, a: list[str], done: int) -> None:
        self._put(a[0], _bytes(",".join(a[1:-2]))[:done], int(a[-1], 0))

    def _pwritev2(self, a: list[str], done: int) -> None:
        self._put(a[0], _bytes(",".join(a[1:-3]))[:done], int(a[-2], 0))

    def _put(self, descriptor: str, data: bytes, offset: int | None) -> None:
        found = self._node(descriptor)
        if found is None:
            return
        fd, node = found
        at, appends = self._files.get((fd, node.number), (0, False))
        if offset is None:
            offset = node.size if appends else at
            self._files[fd, node.number] = (offset + len(data), appends)
        node.changes.append((self._event(), offset, data))
        node.size = max(node.size, offset + len(data))

    def _ftruncate(self, a: list[str], result: int) -> None:
        if (found := self._node(a[0])) is not None:
            self._resize(found[1], int(a[1], 0))

    def _truncate(self, a: list[str], result: int) -> None:
        found = self._find(_text(a[0]) or "")
        if found is not None and found[2] is not None:
            self._resize(self.nodes[found[2]], int(a[1], 0))

    def _resize(self, node: Node, size: int) -> None:
        if size != node.size:
            node.changes.append((self._event(), size, None))
            node.size = size

    def _fsync(self, a: list[str], result: int) -> None:
        if (found := self._node(a[0])) is not None:
            found[1].syncs.append((self._event(), self._began))

    _fdatasync = _fsync

    def _renameat2(self, a: list[str], result: int) -> None:
        self._move(_at(a[0], a[1]), _at(a[2], a[3]))

    _renameat = _renameat2

    def _rename(self, a: list[str], result: int) -> None:
        self._move(_text(a[0]) or "", _text(a[1]) or "")

    def _move(self, old: str, new: str) -> None:
        source, target = self._find(old), self._find(new)
        assert (source is None) == (target is None), f"{old} -> {new}"
        if source is not None and target is not None:
            self._rename_all([(target[0], target[1], source[2]), (source[0], source[1], None)])

    def _unlinkat(self, a: list[str], result: int) -> None:
        self._unlink_path(_at(a[0], a[1]))

    def _unlink(self, a: list[str], result: int) -> None:
        self._unlink_path(_text(a[0]) or "")

    _rmdir = _unlink

    def _unlink_path(self, path: str) -> None:
        if (found := self._find(path)) is not None:
            self._rename_all([(found[0], found[1], None)])

    def _mkdirat(self, a: list[str], result: int) -> None:
        self._mkdir(a[1:], result)

    def _mkdir(self, a: list[str], result: int) -> None:
        if (found := self._find(_text(a[0]) or "")) is not None:
            self._new(found[0], found[1], is_directory=True)

    def _refuse(self, a: list[str], result: int) -> None:
        """Calls of which the model knows nothing: none may concern the disk."""
        paths = [_text(x) or _descriptor(x)[1] if _FD.match(x) else _text(x) for x in a]
        assert all(self._find(p) is None for p in paths if p), a

    _link = _linkat = _copy_file_range = _sendfile = _fallocate = _refuse

    # --- from events to states -----------------------------------------------------------------------
    def tree(self) -> dict[str, bytes | None]:
        """Everything as the program saw it at the end: the content by path, None for a directory."""
        last = self.events + 1
        return self._tree(dict(self.names), lambda node: _content(node.changes, node.size, last))

    def crash(self, event: int, random: Random) -> dict[str, bytes | None]:
        """One of the states that the disk may be in when power fails right after this event."""
        keep = random.choice([0.0, 0.3, 0.7, 1.0])
        names: dict[tuple[int, str], int] = {}
        for naming in self.namings:
            if naming.event > event:
                break
            durable = all(naming.event < self.nodes[d].synced_before(event + 1) for d, _, _ in naming.names)
            if not durable and random.random() >= keep:
                continue
            for directory, name, number in naming.names:
                if number is None:
                    names.pop((directory, name), None)
                else:
                    names[directory, name] = number
        how = random.choice(["old", "new", "mixed", "mixed"])
        return self._tree(names, lambda node: _crashed(node, event, how, random))

    def _tree(self, names: dict[tuple[int, str], int], content: object) -> dict[str, bytes | None]:
        assert callable(content)
        below: dict[int, list[tuple[str, int]]] = {}
        for (directory, name), number in names.items():
            below.setdefault(directory, []).append((name, number))
        found: dict[str, bytes | None] = {}
        ways = [("", 0)]
        while ways:
            path, at = ways.pop()
            for name, number in sorted(below.get(at, ())):
                node = self.nodes[number]
                where = f"{path}/{name}" if path else name
                found[where] = None if node.is_directory else content(node)
                if node.is_directory:
                    ways.append((where, number))
        return found


def _content(changes: list[tuple[int, int, bytes | None]], size: int, before: int) -> bytes:
    data = bytearray()
    for event, at, new in changes:
        if event >= before:
            break
        if new is None:
            del data[at:]
            data += bytes(at - len(data))
        else:
            data += bytes(max(at + len(new) - len(data), 0))
            data[at : at + len(new)] = new
    return bytes(data)


def _crashed(node: Node, event: int, how: str, random: Random) -> bytes:
    """A file's content after the loss of power: what was synced, and of the rest some blocks in some state."""
    synced = node.synced_before(event + 1)
    data = bytearray(_content(node.changes, 0, synced))
    pending = [c for c in node.changes if synced <= c[0] <= event]
    if not pending or how == "old":
        return bytes(data)
    sizes, size = [len(data)], len(data)
    for _, at, new in pending:
        size = at if new is None else max(size, at + len(new))
        sizes.append(size)
    data += bytes(max(sizes) - len(data))
    chosen: dict[int, int] = {}
    for number, (_, at, new) in enumerate(pending):
        end = len(data) if new is None else at + len(new)
        while at < end:
            block = at // BLOCK_BYTES
            stop = min((block + 1) * BLOCK_BYTES, end)
            # up to which of the pending changes this block has reached the disk
            reached = chosen.setdefault(
                block,
                len(pending)
                if how == "new"
                else random.choice([0, len(pending), random.randrange(len(pending) + 1)]),
            )
            if number < reached:
                if how == "mixed" and number == reached - 1 and random.random() < 0.3:  # torn
                    stop_now = max(at, min(stop, block * BLOCK_BYTES + random.randrange(1, 8) * SECTOR_BYTES))
                else:
                    stop_now = stop
                data[at:stop_now] = (
                    bytes(stop_now - at)
                    if new is None
                    else new[at - pending[number][1] : stop_now - pending[number][1]]
                )
            at = stop
    return bytes(data[: sizes[-1] if how == "new" else random.choice(sizes)])


def materialise(root: Path, tree: dict[str, bytes | None]) -> None:
    """The (empty) root holds exactly this."""
    for path, content in tree.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


# --- reading a trace ------------------------------------------------------------------------------


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _bytes(argument: str) -> bytes:
    """All strings in an argument, one behind the other."""
    return b"".join(_raw(text) for text in _TEXT.findall(argument))


def _text(argument: str) -> str | None:
    """The string that an argument is; None if it is none."""
    found = _TEXT.fullmatch(argument)
    return None if found is None else _raw(found[1]).decode()


def _descriptor(argument: str) -> tuple[int, str]:
    """A descriptor and the path of its file."""
    found = _FD.match(argument)
    assert found is not None, argument
    return int(found[1]), _raw(found[2] or "").decode()


def _at(directory: str, path: str) -> str:
    """The path of a call that takes a directory's descriptor and a name."""
    return str(Path(_descriptor(directory)[1], _text(path) or ""))
