"""One tree of errors. Each says what happened and ends with what to do about it.

An error crosses the control socket as ``{"code", "what", "do"}`` and is raised on the
other side as the same class, so a mistake that only the daemon can see (a file that
exists, an encoder that is missing) reads the same as one that the client sees itself.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RecdError(Exception):
    """Base of every error that recd raises.

    Parameters
    ----------
    what : str
        What happened: the thing's name, what was expected, what came.
    do : str
        What the reader can do about it.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, do: str = "") -> None:
        self.what = what
        self.do = do
        super().__init__(f"{what}\n  -> {do}" if do else what)

    def __reduce__(self) -> tuple[type[RecdError], tuple[str, str]]:
        return type(self), (self.what, self.do)


class OptionError(RecdError, ValueError):
    """An option or argument has a value that is not allowed."""

    code = "option"
    exit_code = 2


class SchemaError(RecdError, TypeError):
    """A sample does not look like the stream's first one, or cannot be recorded at all."""

    code = "schema"


class RecordTooLargeError(RecdError, ValueError):
    """A sample is larger than a record of this stream's ring may be."""

    code = "record_too_large"


class ClosedError(RecdError, ValueError):
    """A recorder or stream was used after it was closed."""

    code = "closed"


class ForkedHandleError(RecdError):
    """A handle was used in a process that inherited it through ``fork``."""

    code = "forked"


class ReentrantWriteError(RecdError):
    """``write`` was called on a stream by a signal handler that interrupted a ``write``."""

    code = "reentrant"


class StreamExistsError(RecdError, ValueError):
    """The session already has a stream of that name, or a stream already writes that file."""

    code = "stream_exists"


class DataFunctionError(RecdError):
    """The function that ``start_recording`` was given raised; its error is the cause of this one."""

    code = "data_function"


class OutputExistsError(RecdError, FileExistsError):
    """An output file exists already and ``overwrite`` is ``"error"``."""

    code = "output_exists"


class OutputError(RecdError, OSError):
    """A directory or file for outputs cannot be made or written."""

    code = "output"


class CodecError(RecdError, ValueError):
    """The asked-for video codec is unknown or does not work on this machine."""

    code = "codec"


class CodeNotAllowedError(RecdError, PermissionError):
    """A sink's code would have to travel, and the recorder or the daemon does not allow that."""

    code = "code_not_allowed"


class CustomSinkError(RecdError):
    """A user's recorder raised, died, or did not answer; only its own output suffers from it."""

    code = "custom_sink"


class MissingLibraryError(RecdError, ImportError):
    """What was asked for needs a library that is missing where it would run, or has a version that is not known."""

    code = "missing_library"


class SharedMemoryFullError(RecdError, MemoryError):
    """/dev/shm has no room for a ring."""

    code = "shared_memory_full"


class LimitError(RecdError):
    """A limit of the daemon or the session is reached."""

    code = "limit"


class DaemonNotRunningError(RecdError, ConnectionError):
    """No daemon answers, and none may be started."""

    code = "not_running"
    exit_code = 3


class DaemonStartError(RecdError, ConnectionError):
    """A daemon was started but did not become ready."""

    code = "start_failed"
    exit_code = 3


class VersionMismatchError(RecdError):
    """Client and daemon, or a stored layout and this code, do not fit together."""

    code = "version"


class ProtocolError(RecdError, ValueError):
    """A control message is malformed, too large or unknown."""

    code = "protocol"


class NoSuchSessionError(RecdError, LookupError):
    """The daemon knows no session or stream of that name."""

    code = "no_such_session"


class WorkerError(RecdError):
    """The worker that should answer is dead, failed or does not answer."""

    code = "worker"


class RingDamagedError(RecdError):
    """Shared memory holds something that the protocol does not allow; the ring is set aside."""

    code = "ring_damaged"


class LogDamagedError(RecdError):
    """A log holds bytes whose checksum does not hold."""

    code = "log_damaged"


class NoSuchNameError(RecdError, KeyError):
    """A recording has no stream, or a stream no field, of that name."""

    code = "no_such_name"

    __str__ = Exception.__str__  # a KeyError would show it in quotes


class OutOfRangeError(RecdError, IndexError):
    """An index lies outside of what was recorded."""

    code = "out_of_range"


class FlushTimeout(RecdError, TimeoutError):
    """``flush`` did not finish in time; the daemon goes on with it."""

    code = "flush_timeout"


class StoppedError(RecdError):
    """Long work was interrupted; what is done is kept."""

    code = "stopped"
    exit_code = 130


class UnsupportedPlatformError(RecdError, OSError):
    """The operating system lacks something that recording needs."""

    code = "platform"


class DataLossWarning(UserWarning):
    """Samples were lost; the counts by cause are in the message, the gaps in the manifest."""


class IncompleteRecordingWarning(UserWarning):
    """Something of a recording that is being read is missing or damaged; what can be read is read."""


class ReplayWarning(UserWarning):
    """What a recording is replayed in is not what it was recorded in: another version, or a model with other names."""


def _tree(root: type[RecdError]) -> dict[str, type[RecdError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def to_wire(error: BaseException) -> dict[str, Any]:
    """The form in which an error crosses the control socket."""
    if isinstance(error, RecdError):
        return {"code": error.code, "what": error.what, "do": error.do}
    return {"code": "error", "what": f"{type(error).__name__}: {error}", "do": "see the daemon's log"}


def from_wire(wire: Any) -> RecdError:
    """The error that :func:`to_wire` described; an unknown code gives a plain :class:`RecdError`."""
    if not isinstance(wire, dict):
        wire = {}
    known = _tree(RecdError).get(str(wire.get("code")), RecdError)
    return known(str(wire.get("what", "unknown error")), str(wire.get("do", "")))
