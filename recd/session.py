"""A session on disk: what a worker needs to begin, and a later one to go on. One writer, the session's worker.

::

    <directory>/.recd/<session>/session.json           who records what, how
                                closing                the client has closed its recorder
                                stopped.json           somebody else has ended the session, and when
                                <group>.lock           held by the one worker of that group
                                <stream>/stream.json   schema, sinks, ring, final names
                                         log/          the stream's log
                                         result.json   the stream's outcome, once all its files are finished
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

from recd_client import layout, shm
from recd_client.errors import (
    LimitError,
    OptionError,
    OutputError,
    SchemaError,
    SharedMemoryFullError,
    StreamExistsError,
)
from recd_client.options import CustomSink, SinkOptions, VideoFile
from recd_client.process import boot_id
from recd_client.schema import Schema

from . import fit, places
from .durable import make_directories, sync_directory
from .guests import admission
from .limits import Limits, check_descriptors, stream_descriptors
from .registry import MAIN_GROUP

#: A ring holds some milliseconds of a loop that does nothing but write, seconds of any simulation: room
#: for the pauses that a busy machine imposes on the worker. With many streams each gets less.
ARRAY_RING_BYTES: Final = 8 << 20
LEAST_ARRAY_RING_BYTES: Final = 1 << 20
SESSION_RING_BYTES: Final = 128 << 20
ARRAY_RING_RECORDS: Final = 64
#: More than twice the frames that ffmpeg holds undecodable when it is saturated (up to 28 were seen): they
#: are logged from half a ring on.
FRAME_RING_RECORDS: Final = 64
#: Small frames: room for what a loop without physics writes while the worker logs what ffmpeg cannot take.
FRAME_RING_BYTES: Final = 32 << 20
#: Of what several videos are made, each of its part.
BATCH_RING_RECORDS: Final = 16
_LEAST_RECORDS: Final = 8
#: Beginning a session takes some milliseconds.
_BEGINNING_S: Final = 60.0


class GroupLock:
    """The right to consume the rings of one group; freed by the kernel when its holder dies.

    Raises
    ------
    BlockingIOError
        Another worker holds it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give the right up."""
        os.close(self._fd)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a JSON file as a whole, durably."""
    write_text(path, json.dumps(data, indent=1, allow_nan=True))


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole, durably.

    The same temporary name for all, as a file has one writer: what a kill leaves there, its successor takes.
    """
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.rename(temporary, path)
    sync_directory(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None if there is no such file."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return data if isinstance(data, dict) else None


def clear_begun(directory: Path, session: str | None = None) -> None:
    """No session directory is left below ``directory`` whose worker was killed before it had written anything.

    Only directories are removed in which nothing is; young ones, whose worker may live, only by their name.
    """
    for path in (directory / ".recd").glob(session or "[!.]*"):
        with contextlib.suppress(OSError):
            if (path / "session.json").exists() or (
                session is None and time.time() - path.stat().st_mtime < _BEGINNING_S
            ):
                continue
            for name in (".session.json.new", f"{MAIN_GROUP}.lock"):
                (path / name).unlink(missing_ok=True)
            path.rmdir()
            path.parent.rmdir()  # unless another session works there


class SessionStore:
    """The files of one session under ``<directory>/.recd``.

    Parameters
    ----------
    directory : Path
        The run directory.
    session : str
    """

    def __init__(self, directory: Path, session: str) -> None:
        self.directory = directory
        self.session = session
        self.path = directory / ".recd" / session
        self.spec: dict[str, Any] = read_json(self.path / "session.json") or {}
        self._specs: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}

    def create(self, spec: dict[str, Any]) -> None:
        """Make the run directory and write the session down.

        One that is written down already stays as it is: a worker of a supervisor that died has begun it.

        Raises
        ------
        OutputError
            The directory cannot be made or written.
        BlockingIOError
            Another worker has begun, or begins it.
        """
        try:
            clear_begun(self.directory)
            make_directories(self.path, 0o755)
            lock = self.lock(MAIN_GROUP)
            try:
                self.spec = read_json(self.path / "session.json") or {}
                if not self.spec:
                    write_json(self.path / "session.json", spec)
                    self.spec = spec
            except OSError:
                self.remove()  # half a session is none
                raise
            finally:
                lock.release()
        except BlockingIOError:
            raise
        except OSError as e:
            clear_begun(self.directory, self.session)
            raise OutputError(
                f"cannot record into {self.directory}: {e.strerror}",
                "choose a directory that can be written: Recorder(dir=...)",
            ) from None

    @property
    def allows_code(self) -> bool:
        """Whether its recorder allows users' code to travel."""
        return self.spec.get("allow_code") is True

    @property
    def closing(self) -> bool:
        """Whether no stream begins any more: the client, which may live on, has closed its recorder, or was stopped."""
        return (self.path / "closing").exists() or self.stopped is not None

    def put_closing(self) -> None:
        """Write down that it has: whoever goes on with this session waits for no more streams."""
        (self.path / "closing").touch()

    @property
    def stopped(self) -> dict[str, Any] | None:
        """Who ended the session from outside (``by``) and when (``wall_ns``); None if nobody did."""
        return read_json(self.path / "stopped.json")

    def put_stopped(self, by: str) -> None:
        """Write down, for all workers of the session and their successors, that it is to end; the first one stays."""
        if self.stopped is None:
            write_json(self.path / "stopped.json", {"by": by, "wall_ns": time.time_ns()})

    def lock(self, group: str) -> GroupLock:
        """Take a group's lock."""
        return GroupLock(self.path / f"{group}.lock")

    def streams(self) -> list[dict[str, Any]]:
        """Specs of all streams, in the order in which they were attached."""
        found = [self._spec(p) for p in self.path.glob("*/stream.json")]
        return sorted((s for s in found if s), key=lambda s: int(s["index"]))

    def _spec(self, path: Path) -> dict[str, Any] | None:
        """A stream's spec, read once: each stream that is attached looks at all the others."""
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        version = stat.st_ino, stat.st_mtime_ns
        known = self._specs.get(path)
        if known is None or known[0] != version:
            spec = read_json(path)
            if spec is None:
                return None
            known = self._specs[path] = version, spec
        return known[1]

    def stream_path(self, name: str) -> Path:
        """A stream's directory."""
        return self.path / f"s-{name}"

    def result(self, name: str) -> dict[str, Any] | None:
        """A stream's outcome, None while it is not finished."""
        return read_json(self.stream_path(name) / "result.json")

    def has_result(self, name: str) -> bool:
        """Whether a stream is finished."""
        return (self.stream_path(name) / "result.json").exists()

    def put_result(self, name: str, result: dict[str, Any]) -> None:
        """Write a stream's outcome down."""
        write_json(self.stream_path(name) / "result.json", result)

    def tidy(self, name: str, result: dict[str, Any]) -> None:
        """Delete the log of a stream whose outcome is written down and whose files are finished."""
        if result["finished"]:
            shutil.rmtree(self.stream_path(name) / "log", ignore_errors=True)

    def put_rename(self, name: str, change: dict[str, Any]) -> None:
        """Write down the filename and frame rate that ``Stream.close`` asked for."""
        write_json(self.stream_path(name) / "rename.json", change)

    def rename_of(self, name: str) -> dict[str, Any] | None:
        """What ``Stream.close`` asked for, if anything."""
        return read_json(self.stream_path(name) / "rename.json")

    def remove(self) -> None:
        """Delete the session's working files, once the manifest tells everything.

        Moved away first: a successor of a worker that dies here must not find half of them, nor shall anybody finish
        what a loss of power brings back.
        """
        old = self.path.with_name(f".{self.session}")
        with contextlib.suppress(OSError):
            os.rename(self.path, old)
            sync_directory(old.parent)
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()  # unless another session works there
        with contextlib.suppress(OSError):
            sync_directory(self.path.parent if self.path.parent.exists() else self.directory)

    # --- attaching -----------------------------------------------------------------------------
    def attach(self, request: dict[str, Any], tag: str) -> dict[str, Any]:
        """Check a new stream, make its ring, write it down; returns its spec.

        Attaching the same stream again (a client that reconnected) returns what there is.

        Raises
        ------
        RecdError
            What is wrong with the request; nothing is left behind.
        """
        name = _stream_name(request.get("stream"))
        schema = Schema.from_json(request.get("schema"))
        options = [SinkOptions.from_json(s) for s in request.get("sinks") or []]
        known = read_json(self.stream_path(name) / "stream.json")
        if known is not None:
            if known["schema"] == schema.to_json() and known["sinks"] == [o.to_json() for o in options]:
                return known
            raise StreamExistsError(
                f"stream {name!r} exists in this session with another schema or other sinks",
                "choose another name",
            )
        others = self.streams()
        limits = Limits.of()
        limits.check(
            "session_streams", len(others), 1, "streams per recording", "put values into one stream's fields"
        )
        check_descriptors(stream_descriptors(len(options)), f"stream {name!r}")
        taken = {f for s in others for f in s["finals"]}
        if self.spec["overwrite"] == "replace":  # also what this session wrote before, once it is finished
            taken -= {f for s in others if self.has_result(s["stream"]) for f in s["finals"]}
        overwrite = self.spec["overwrite"]
        namings = [places.choose(self.directory, name, o, overwrite, taken) for o in options]
        for option, naming in zip(options, namings, strict=True):
            if option.suffixes and str(naming.final) in taken:
                raise StreamExistsError(
                    f"two sinks of this session write {naming.final}", "give each sink a file of its own"
                )
            taken.add(str(naming.final))
            fit.check(option, schema, name)
            if isinstance(option, CustomSink):
                admission.check(option, session_allows=self.allows_code)
        group = f"video-{name}" if any(isinstance(o, VideoFile) for o in options) else MAIN_GROUP
        spec: dict[str, Any] = {
            "stream": name,
            "index": len(others),
            "schema": schema.to_json(),
            "sinks": [o.to_json() for o in options],
            "finals": [str(n.final) for n in namings],
            "hz": request.get("hz"),
            "overflow": str(request.get("overflow", "drop_newest")),
            "group": group,
            "ring": f"/{shm.PREFIX}-{tag}-{self.session}-{len(others)}",
            "boot_id": boot_id().hex(),
        }
        spec["doorbell"] = doorbell_name(tag, self.session, group)
        segment = self._make_ring(spec, schema, request.get("buffer_bytes"), len(others), limits, tag)
        try:
            self._put_stream(spec)
            # Last: a worker that dies before finds the stream as its successor does, and takes them over.
            places.take(n.part_path(0) for o, n in zip(options, namings, strict=True) if o.suffixes)
        except BaseException:
            shutil.rmtree(self.stream_path(name), ignore_errors=True)
            segment.unlink()
            raise
        finally:
            segment.close()
        return spec

    def ending(self, request: dict[str, Any]) -> list[str]:
        """The streams that are to be finished before this one is attached: it replaces files of theirs."""
        name = str(request.get("stream"))
        if self.spec["overwrite"] != "replace" or (self.stream_path(name) / "stream.json").exists():
            return []
        options = [SinkOptions.from_json(s) for s in request.get("sinks") or []]
        finals = {str(places.name(self.directory, name, o).final) for o in options if o.suffixes}
        others = [s["stream"] for s in self.streams() if finals.intersection(s["finals"])]
        return [stream for stream in others if not self.has_result(stream)]

    def _put_stream(self, spec: dict[str, Any]) -> None:
        path = self.stream_path(spec["stream"])
        try:
            make_directories(path / "log")
            write_json(path / "stream.json", spec)
        except OSError as e:
            raise OutputError(f"cannot write into {self.path}: {e.strerror}", "see: recd doctor") from None

    def _make_ring(
        self, spec: dict[str, Any], schema: Schema, buffer_bytes: Any, others: int, limits: Limits, tag: str
    ) -> shm.Segment:
        """Create the ring's segment; a default size shrinks to what there is, an asked-for one does not."""
        record = layout.record_bytes(schema.payload_bytes)
        frames = spec["group"] != MAIN_GROUP or (schema.is_image() and record > LEAST_ARRAY_RING_BYTES // 16)
        records = FRAME_RING_RECORDS if frames else ARRAY_RING_RECORDS
        if any(
            sink.get("batch") is not None for sink in spec["sinks"][1:]
        ):  # a record is many frames, and is logged
            records = BATCH_RING_RECORDS
        if buffer_bytes is not None:
            if not isinstance(buffer_bytes, int) or buffer_bytes <= 0:
                raise OptionError(
                    f"buffer_bytes={buffer_bytes!r}: expected a number of bytes > 0", "correct it"
                )
            capacity = buffer_bytes
        else:
            usual = FRAME_RING_BYTES if frames else ARRAY_RING_BYTES
            many = (others + 1) * usual > SESSION_RING_BYTES
            least = LEAST_ARRAY_RING_BYTES if many else usual
            capacity = max(least, record * records)
        while True:
            # room for the reserve beside the records, in whole cache lines
            size = max(capacity + layout.CONTROL_RESERVE_BYTES, layout.MIN_CAPACITY_BYTES)
            size = (size + layout.ALIGN_BYTES - 1) // layout.ALIGN_BYTES * layout.ALIGN_BYTES
            try:
                limits.check_rings(tag, self.session, layout.segment_bytes(size))
                segment = shm.Segment.create(
                    spec["ring"],
                    size,
                    {
                        "policy": layout.POLICIES.index(spec["overflow"]),
                        "producer_pid": int(self.spec["client_pid"]),
                        "producer_start_ticks": int(self.spec["client_ticks"]),
                        "boot_id": boot_id(),
                    },
                )
                try:
                    limits.check_rings(tag, self.session, 0)  # again: others made rings at the same time
                except LimitError:
                    segment.unlink()
                    segment.close()
                    raise
                return segment
            except (SharedMemoryFullError, LimitError):
                if buffer_bytes is not None or capacity // 2 < _LEAST_RECORDS * record:
                    raise
                capacity //= 2
            except FileExistsError:  # of a worker that died before it wrote the stream down: nobody uses it
                shm.unlink_segment(spec["ring"])


def is_direct(spec: dict[str, Any]) -> bool:
    """Whether a stream's frames go straight from the ring to its one video: not all of them are in its log."""
    return spec.get("group", MAIN_GROUP) != MAIN_GROUP and len(spec["sinks"]) == 1


def doorbell_name(tag: str, session: str, group: str) -> str:
    """Name of the semaphore that wakes a group's worker."""
    return f"/{shm.PREFIX}-{tag}-{session}-{group}"


def _stream_name(name: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 64 or "/" in name or name.startswith("."):
        raise SchemaError(f"stream name {name!r}", "use 1 to 64 letters, digits, '.', '_' or '-'")
    return name
