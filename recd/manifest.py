"""What each recording leaves beside its files: ``manifest.json``; and a stream's share of it."""

from __future__ import annotations

import fcntl
import getpass
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, dropping, index, journal, marks, strict_json
from .guests import consent
from .session import SessionStore, read_json, write_text

if TYPE_CHECKING:
    from .track import Track

MANIFEST_VERSION = 1


def stream_result(track: Track) -> dict[str, Any]:
    """A finished stream's share of the manifest.

    Losses at the end, of which a dead producer could not tell, are computed from its words: every
    attempt took a number, so what is neither stored nor told is in flight (at most one) or lost.
    """
    events = track.journal.events()
    counters = track.counters()
    counters["lost"].pop(journal.DAMAGED, None)  # it is in the events
    tally = dict(vars(track.journal.tally))
    if track.frames is not None:
        tally.update(track.frames.tally(journal.resets(events)))
        if track.frames.state != "failed":  # else what its video has not is in the log
            events += [asdict(journal.missed(m)) for m in track.frames.missing()]
    # A loss may be told that lies behind the log's end: of the two, a loss of power may take the log alone.
    told = max((int(gap["last_seq"]) + 1 for gap in journal.gaps(events)), default=0)
    attempted = max(counters["attempted"], tally["next_seq"], told)
    gaps, lost = _losses(track, events, counters["lost"], tally, attempted)
    state, reason = _outcome(track, events, tally, attempted, gaps, lost)
    return {
        "state": state,
        "reason": reason,
        "complete": state == "complete",
        "finished": state in ("complete", "truncated"),
        "schema": track.schema.to_json(),
        "attempted": attempted,
        "skipped": counters["skipped"],
        "marks_lost": counters["marks_lost"],
        "blocked_s": counters["blocked_s"],
        "lost": lost,
        **{k: tally[k] for k in (
            "samples", "bytes", "t_first", "t_last", "step_first", "step_last", "mono_first_ns", "mono_last_ns",
            "backward_times", "nan_times",
        )},
        "clock": track.journal.clock.to_json(),
        "gaps": gaps,
        "stalls": stalls(track),
        "marks": journal.marks(events),
        "files": [f for r in track.runners for f in r.files()],
        "sinks": [{k: v for k, v in r.status().items() if k != "pid"} for r in track.runners],
    }  # fmt: skip


def _losses(
    track: Track, events: list[dict[str, Any]], counted: dict[str, int], tally: dict[str, Any], attempted: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Gaps, and losses by cause; takes off the totals what was counted and is lost.

    Parameters
    ----------
    counted : dict
        Losses by cause as the producer counted them.
    """
    gaps = journal.gaps(events)
    told = journal.lost(events)
    untold = max([tally["next_seq"], *(int(gap["last_seq"]) + 1 for gap in gaps)])
    if told.get(journal.DAMAGED):  # what had been counted may be among it
        _recount(track, tally, untold - sum(told.values()))
    elif track.frames is None:
        _take_off(tally, gaps)
    rest = {c: n - told.get(c, 0) for c, n in counted.items() if n > told.get(c, 0)}
    # More than can be missing at the end: their LOSS records were in the damage.
    hidden = min(max(sum(rest.values()) - (attempted - untold), 0), told.get(journal.DAMAGED, 0))
    for gap in gaps:
        if gap["cause"] == journal.DAMAGED:
            known = min(hidden, gap["count"])
            gap["count"], hidden = gap["count"] - known, hidden - known
            told[journal.DAMAGED] -= known
    for cause, count in rest.items():
        gaps.append(_gap(cause, count, min(untold, attempted - count), attempted - 1))
    lost = {c: max(counted.get(c, 0), told.get(c, 0)) for c in {*counted, *told}}
    return [gap for gap in gaps if gap["count"]], {c: n for c, n in lost.items() if n}


def _outcome(
    track: Track,
    events: list[dict[str, Any]],
    tally: dict[str, Any],
    attempted: int,
    gaps: list[dict[str, Any]],
    lost: dict[str, int],
) -> tuple[str, str]:
    """How the stream ended, and why; notes what went with its ring."""
    state, reason = "complete", ""
    failed = [r for r in track.runners if r.state == "failed"]
    closed = any(e["kind"] == "close" for e in events) and attempted <= tally["samples"] + sum(lost.values())
    if track.ring_gone and not closed:
        # What the ring held is gone. Only of frames that were fed to ffmpeg is known that they were there.
        state = "truncated"
        reason = (
            f"{track.ring_gone}: what was published after sample {tally['next_seq']}, if anything, is lost"
        )
        unknown = attempted - int(tally["samples"]) - sum(lost.values())
        if unknown > 0:
            lost["ring_gone"] = unknown
            gaps.append(_gap("ring_gone", unknown, attempted - unknown, attempted - 1))
    if track.state == "damaged":
        return "damaged", track.reason
    if failed:
        if track.frames is not None and not track.ring_gone:  # what its video has not is in the log
            _recount(track, tally, attempted - sum(lost.values()))
        return "failed", failed[0].reason
    if lost.get(journal.DAMAGED) or journal.damage(events):
        return "damaged", f"its log was damaged, {lost.get(journal.DAMAGED, 0)} samples of it are lost"
    if state == "complete" and not 0 <= attempted - int(tally["samples"]) - sum(lost.values()) <= 1:
        # one may have been in flight when its simulation died
        return "damaged", "the counters in its ring contradict what was in it"
    return state, reason


def _recount(track: Track, tally: dict[str, Any], samples: int) -> None:
    """There are so many samples, whatever was counted."""
    tally["samples"] = samples
    if track.schema.fixed_size:
        tally["bytes"] = samples * track.schema.payload_bytes


def stream_status(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """What ``recd status`` says of a stream that has ended, from its result."""
    lost = sum(result["lost"].values())
    keys = ("state", "reason", "attempted", "lost", "skipped", "marks_lost", "blocked_s", "bytes")
    return {
        "stream": name,
        **{k: result[k] for k in keys},
        "written": result["attempted"] - lost,
        "durable": result["samples"],
        "buffered_bytes": 0,
        "spooled_bytes": 0,
        "capacity_bytes": 0,
        "sinks": [],
    }


def _take_off(tally: dict[str, Any], gaps: list[dict[str, Any]]) -> None:
    """Take samples that were counted and then given up off the totals."""
    dropped = [g for g in gaps if g["cause"] == dropping.CAUSE]
    tally["samples"] -= sum(int(g["count"]) for g in dropped)
    tally["bytes"] -= sum(int(g["bytes"]) for g in dropped)


def stalls(track: Track) -> dict[str, Any]:
    """When the stream could not be stored; if it could not up to its end, that is over now."""
    track.stalls.end()
    return track.stalls.to_json()


def _gap(cause: str, count: int, first_seq: int, last_seq: int) -> dict[str, Any]:
    """A gap of which only the numbers are known."""
    return {
        "cause": cause,
        "count": count,
        "first_seq": first_seq,
        "last_seq": last_seq,
        **dict.fromkeys(("bytes", "t_first", "t_last")),
    }


def end_session(store: SessionStore, *, client_gone: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the manifest, clear the working files; returns the client's summary, and the index entry.

    The entry is to be written last: as long as the index says "live", somebody looks whether anything is left.
    """
    spec = store.spec
    streams: dict[str, Any] = {}
    finished = True
    own_marks: dict[str, list[dict[str, Any]]] = {}
    for stream in store.streams():
        result = store.result(stream["stream"]) or {}
        finished &= bool(result.pop("finished", False))
        own_marks[stream["stream"]] = result.pop("marks", [])
        for file in (*result.get("files", []), *result.get("sinks", [])):
            file["path"] = _relative(file["path"], store.directory)
        streams[stream["stream"]] = {"hz": stream["hz"], **result}
    _forget_replaced(streams)
    complete = all(s.get("complete") for s in streams.values())
    state = "client died" if client_gone else "complete" if complete else "failed"
    manifest = {
        "manifest_version": MANIFEST_VERSION,
        "recd": __version__,
        "session": store.session,
        "name": spec["name"],
        "state": state,
        "complete": complete,
        "stopped": store.stopped,
        "host": {
            "hostname": socket.gethostname(),
            "user": _user(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
        },
        "code": {**(spec.get("code") or {}), **_git((spec.get("code") or {}).get("main"), spec.get("cwd"))},
        "metadata": spec.get("metadata") or {},
        "dt": spec.get("dt"),
        "durability": spec["durability"],
        "clocks": {
            "start_wall_ns": spec["clocks"]["wall_ns"],
            "start_mono_ns": spec["clocks"]["mono_ns"],
            "end_wall_ns": time.time_ns(),
            "end_mono_ns": time.monotonic_ns(),
        },
        "marks": sorted(
            [*journal.merged_marks(own_marks), *marks.for_manifest(store.path)],
            key=lambda m: int(m["mono_ns"]),
        ),
        "marks_refused": marks.read_refused(store.path),
        "streams": streams,
    }
    with _alone_in(store.directory):  # of two recordings that end at once only one is the first
        path = manifest_path(store.directory, store.session)
        if spec["overwrite"] == "replace":
            path = _take_place(path, manifest)
        write_text(path, strict_json.text(manifest))
    entry = index_entry(store, "finished" if finished else "failed", ended_unix_s=time.time())
    if finished:
        store.remove()
    return summary_of(manifest, path), entry


def _forget_replaced(streams: dict[str, Any]) -> None:
    """No stream is told to have a file that a later one has replaced."""
    later: set[str] = set()
    for stream in reversed(streams.values()):
        files = stream.get("files", [])
        stream["files"] = [f for f in files if f["path"] not in later]
        later.update(f["path"] for f in files)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """No other worker is in such a block for this directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _take_place(path: Path, manifest: dict[str, Any]) -> Path:
    """Where the manifest stands of a recording that has replaced files of others: under the first name.

    An older one that stands there is told of no file that is not its own any more: with the files that are left
    to it, it moves aside; without any it is replaced as they were. Until now it stood there, as they did.
    """
    first = path.with_name("manifest.json")
    try:
        older = read_json(first)
        if older is None or path == first:
            return path
        ours = {f["path"] for s in manifest["streams"].values() for f in s.get("files", ())}
        for stream in older["streams"].values():
            stream["files"] = [f for f in stream["files"] if f["path"] not in ours]
        if any(stream["files"] for stream in older["streams"].values()):
            write_text(first.with_stem(f"manifest.{older['session']}"), strict_json.text(older))
    except (ValueError, KeyError, TypeError, AttributeError):
        return path  # none of ours: it stays
    return first


def manifest_path(directory: Path, session: str) -> Path:
    """Where a session's manifest stands: what is under its first name already, whosever it is, stays."""
    path = directory / "manifest.json"
    try:
        found = read_json(path) or {}
    except ValueError:
        found = {}
    return (
        path
        if found.get("session") == session or not path.exists()
        else path.with_stem(f"manifest.{session}")
    )


def summary_of(manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """What ``Recorder.close`` returns, from a manifest."""
    streams = {}
    for name, s in manifest["streams"].items():
        lost = sum(s["lost"].values())
        streams[name] = {
            "attempted": s["attempted"],
            "written": s["attempted"] - lost,
            "durable": s["samples"],
            "skipped": s["skipped"],
            "lost": s["lost"],
            "bytes": s["bytes"],
            "state": s["state"],
            "reason": s["reason"],
            "files": [str(path.parent / f["path"]) for f in s["files"]],
        }
    return {"streams": streams, "manifest": str(path), "complete": manifest["complete"]}


def index_entry(store: SessionStore, state: str, ended_unix_s: float | None = None) -> dict[str, Any]:
    """The session's entry in the index."""
    return {
        "session": store.session,
        "name": store.spec["name"],
        "directory": str(store.directory),
        "started_unix_s": store.spec["clocks"]["wall_ns"] / 1e9,
        "ended_unix_s": ended_unix_s,
        "state": state,
        "runtime_dir": store.spec["runtime_dir"],
        "streams": len(store.streams()) if ended_unix_s is not None else 0,
        **({"foreign": True} if consent.foreign() else {}),
    }


def has_ended(store: SessionStore) -> bool:
    """Whether a session without working files has a manifest; then what its last worker died of doing is done."""
    found = read_json(manifest_path(store.directory, store.session)) or {}
    if found.get("session") != store.session:
        return False
    store.remove()
    for entry in index.read_all():
        if entry["session"] == store.session and entry.get("state") == "live":
            index.write({**entry, "state": "finished", "ended_unix_s": found["clocks"]["end_wall_ns"] / 1e9})
    return True


def _relative(path: str, directory: Path) -> str:
    try:
        return str(Path(path).relative_to(directory))
    except ValueError:
        return path


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _git(main: str | None, cwd: str | None) -> dict[str, Any]:
    """Commit and dirty flag of the simulation's code, None where it is in no repository."""
    directory = os.path.dirname(main) if main else cwd
    none = {"git_commit": None, "git_dirty": None}
    if not directory or not os.path.isdir(directory):
        return none

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", directory, *args],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return none
