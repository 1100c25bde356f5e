"""Limits: what can be set, and what is said when one is reached."""

from __future__ import annotations

import os
import resource

import pytest

from recd import limits
from recd.limits import Limits
from recd_client import layout
from recd_client.errors import LimitError, OptionError
from recd_client.origin import MAX_METADATA_BYTES
from recd_client.shm import Segment, runtime_tag


def test_each_limit_is_set_by_its_variable() -> None:
    """Sizes may have units; what is not set has its default, the metadata's being the client's."""
    environ = {"RECD_MAX_SESSIONS": "3", "RECD_MAX_SESSION_RING_BYTES": "64MiB", "RECD_MAX_STREAMS": ""}
    assert Limits.of(environ) == Limits(sessions=3, session_ring_bytes=64 << 20)
    assert Limits.of({}).metadata_bytes == MAX_METADATA_BYTES


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "9" * 30])
def test_a_limit_that_is_none_is_refused(value: str) -> None:
    """A typing error does not become 'no limit'; the message names the variable."""
    with pytest.raises(OptionError, match="RECD_MAX_SESSIONS"):
        Limits.of({"RECD_MAX_SESSIONS": value})


def test_a_refusal_has_the_name_the_numbers_and_what_to_do() -> None:
    """Whoever is refused can act without a look at the documentation."""
    Limits(sessions=2).check("sessions", 1, 1, "recordings", "end some")
    with pytest.raises(LimitError) as caught:
        Limits(sessions=2).check("sessions", 2, 1, "recordings", "end some")
    assert caught.value.what == "RECD_MAX_SESSIONS allows 2 recordings: 2 are there, 1 more were asked for"
    assert caught.value.do == "end some, or raise it for the daemon: RECD_MAX_SESSIONS=3 recd restart"


def test_rings_count_for_their_daemon_and_their_session(runtime: os.PathLike[str]) -> None:
    """The sum is that of the real segments: it is right after any restart; others' segments do not count."""
    tag = runtime_tag(runtime)  # type: ignore[arg-type]
    segment = Segment.create(f"/recd-{tag}-a-0", layout.MIN_CAPACITY_BYTES, {})
    try:
        size = layout.segment_bytes(layout.MIN_CAPACITY_BYTES)
        tight = Limits(ring_bytes=2 * size, session_ring_bytes=size)
        tight.check_rings(tag, "b", size)
        tight.check_rings("00000000", "b", 2 * size - size)
        with pytest.raises(LimitError, match=f"SESSION_RING_BYTES allows {size} .* {size} are there, 1 more"):
            tight.check_rings(tag, "a", 1)
        with pytest.raises(LimitError, match="RECD_MAX_RING_BYTES"):
            tight.check_rings(tag, "b", size + 1)
    finally:
        segment.unlink()
        segment.close()


def test_open_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has open counts against the system's limit, before something fails half way."""
    limits.check_descriptors(8, "a recording")
    there = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (there + 4, there + 4))
    with pytest.raises(LimitError, match=f"{there + 4} open files per process.*a recording needs 8 more"):
        limits.check_descriptors(8, "a recording")
