"""What may be taken of this machine: each limit has a name, a setting in the daemon's environment, and numbers.

A limit ``session_streams`` is set by ``RECD_MAX_SESSION_STREAMS``. Whoever is refused hears which limit it
was, what is there, what was asked for, and what to do; nothing is left behind.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from recd_client import checks, shm
from recd_client.errors import LimitError

#: What a session costs the supervisor, and what a stream costs a worker, without and for each of its sinks.
SESSION_DESCRIPTORS: Final = 8
_STREAM_DESCRIPTORS: Final = 8
_SINK_DESCRIPTORS: Final = 6


@dataclass(frozen=True)
class Limits:
    """The limits of one daemon.

    Parameters
    ----------
    sessions : int
        Recordings at a time.
    streams : int
        Streams of all of them.
    session_streams : int
        Streams of one.
    ring_bytes : int
        Shared memory of all rings; by default only what /dev/shm has.
    session_ring_bytes : int
        Shared memory of one recording's rings.
    metadata_bytes : int
        A recording's metadata, as JSON; no more than the client allows.
    connections : int
        Open connections to the daemon's socket.
    """

    sessions: int = 1024
    streams: int = 4096
    session_streams: int = 1024
    ring_bytes: int = 1 << 62
    session_ring_bytes: int = 1 << 62
    metadata_bytes: int = 256 << 10  # as the client has it
    connections: int = 4096

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """The limits that the environment sets.

        Raises
        ------
        OptionError
            One is no number, or none that is possible.
        """
        found = {}
        for name in (f.name for f in fields(cls)):
            value = environ.get(setting(name))
            if value:
                number: Any = int(value) if value.isdecimal() else value
                found[name] = (
                    checks.size_bytes(setting(name), number)
                    if name.endswith("_bytes")
                    else checks.whole(setting(name), number, 1, 1 << 20)
                )
        return cls(**found)

    def check(self, name: str, there: int, asked: int, what: str, do: str) -> None:
        """There is room for so many more.

        Raises
        ------
        LimitError
            There is not; ends with ``do``, or how to raise the limit.
        """
        limit = getattr(self, name)
        if there + asked > limit:
            raise LimitError(
                f"{setting(name)} allows {limit} {what}: {there} are there, {asked} more were asked for",
                f"{do}, or raise it for the daemon: {setting(name)}={there + asked} recd restart",
            )

    def check_metadata(self, metadata: Any) -> None:
        """The metadata is not too large."""
        size = len(json.dumps(metadata))
        self.check("metadata_bytes", 0, size, "bytes of metadata", "record large values as a stream")

    def check_rings(self, tag: str, session: str, asked_bytes: int) -> None:
        """There is room for a ring of so many bytes, among the daemon's and among the session's."""
        for name, prefix, whose in (
            ("ring_bytes", f"{shm.PREFIX}-{tag}-", "all recordings"),
            ("session_ring_bytes", f"{shm.PREFIX}-{tag}-{session}-", "one recording"),
        ):
            self.check(
                name,
                shm.taken_bytes(prefix),
                asked_bytes,
                f"bytes of shared memory for the rings of {whose}",
                "pass a smaller buffer_bytes, or close streams",
            )


def setting(name: str) -> str:
    """The variable that sets a limit."""
    return f"RECD_MAX_{name.upper()}"


def check_descriptors(needed: int, what: str) -> None:
    """So many more files may be opened by this process.

    Raises
    ------
    LimitError
        It may not.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    there = len(os.listdir("/proc/self/fd"))
    if limit != resource.RLIM_INFINITY and there + needed > limit:
        raise LimitError(
            f"the system allows recd {limit} open files per process: {there} are open, {what} needs {needed} more",
            f"close streams, or raise the hard limit to {max(4096, 2 * (there + needed))} "
            "(limits.conf, or systemd: LimitNOFILE=), then recd restart",
        )


def stream_descriptors(sinks: int) -> int:
    """Files that a stream with so many sinks may open."""
    return _STREAM_DESCRIPTORS + _SINK_DESCRIPTORS * sinks


def raise_descriptors() -> None:
    """Let this process and its children open as many files as the system allows them at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
