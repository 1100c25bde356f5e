"""What a recording holds: from its manifest once it is complete, from its logs before that.

A description, for people and (as it stands) for ``recd info --json``; its keys are documented in
docs/cli.md. Manifests come from disk: whatever is wrong with one is a clear error, never a crash.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from recd_client.errors import OutputError, VersionMismatchError

from ..recordings import DEPTH, HIDDEN, logged, manifests, read_manifest
from ._common import lock_holder
from ._files import kind_of

#: States of recordings that have no manifest yet.
LIVE: Final = "live"
UNFINISHED: Final = "unfinished"
WITHOUT_MANIFEST: Final = frozenset({LIVE, UNFINISHED})


# --- finished: the manifest -----------------------------------------------------------------------


def describe_manifest(path: Path) -> dict[str, Any]:
    """The recording that a manifest tells of."""
    manifest = read_manifest(path)
    try:
        return _described(manifest, path.parent)
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise OutputError(
            f"{path} is damaged: {type(e).__name__}: {e}", "the data files are described by: recd info FILE"
        ) from e


def _described(manifest: dict[str, Any], directory: Path) -> dict[str, Any]:
    clocks = manifest["clocks"]
    return {
        "path": str(directory),
        "kind": "recording",
        "state": manifest["state"],
        "complete": bool(manifest["complete"]),
        "recording": {
            **{key: manifest[key] for key in ("session", "name", "recd", "host", "code", "metadata")},
            **{key: manifest[key] for key in ("dt", "durability")},
            "stopped": manifest.get("stopped"),  # older ones do not have it
            "started_unix_s": clocks["start_wall_ns"] / 1e9,
            "duration_s": (clocks["end_mono_ns"] - clocks["start_mono_ns"]) / 1e9,
        },
        "streams": [_stream(name, data, directory) for name, data in manifest["streams"].items()],
        "marks": manifest["marks"],
        "provenance": manifest.get("provenance"),
    }


def _stream(name: str, data: dict[str, Any], directory: Path) -> dict[str, Any]:
    """A stream's share; one that never finished has a schema neither nor counts."""
    keys = ("hz", "attempted", "skipped", "t_first", "t_last", "state", "reason")
    return {
        "name": name,
        "samples": data.get("samples", 0),
        **{key: data.get(key) for key in keys},
        "lost": data.get("lost", {}),
        "gaps": data.get("gaps", []),
        "stalls": data.get("stalls") or {"count": 0, "newest": []},
        "backward_times": data.get("backward_times", 0),
        "nan_times": data.get("nan_times", 0),
        "fields": [dict(field) for field in data.get("schema", {}).get("fields", ())],
        "files": [_file(f, directory) for f in data.get("files", ())],
    }


def _file(data: dict[str, Any], directory: Path) -> dict[str, Any]:
    path = directory / data["path"]  # an absolute path stays as it is
    found = {key: data[key] for key in ("kind", "part", "samples", "bytes", "sha256")}
    video = data.get("video")
    if video is not None:
        repeated = len(video.get("frames", {}).get("repeated", ()))
        video = {k: v for k, v in video.items() if k != "frames"} | {"repeated_frames": repeated}
    try:
        presence = "ok" if path.stat().st_size == data["bytes"] else "size differs"
    except OSError:
        presence = "missing"
    return {"path": str(path), **found, "video": video, "presence": presence, "check": None}


def find_file(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None:
    """The recording, stream and file entry that a data file belongs to; None if no manifest names it."""
    path = path.resolve()
    for directory in path.parents[:DEPTH]:
        for manifest in manifests(directory):
            try:
                recording = describe_manifest(manifest)
            except (OutputError, VersionMismatchError):
                continue  # the file itself still tells its part
            for stream in recording["streams"]:
                for file in stream["files"]:
                    if Path(file["path"]).resolve() == path:
                        return recording, stream, file
    return None


def check_files(
    recording: dict[str, Any], advance: Callable[[int], None], only: Path | None = None
) -> list[str]:
    """Compare files with their SHA-256, set each one's ``check``; the paths of those that differ or are gone.

    Parameters
    ----------
    advance : callable
        Called now and then with the number of bytes read since the last call.
    only : Path, optional
        Check only this file.
    """
    from ..verify.outputs import check_hash

    wrong = []
    for file in files_of(recording, only):
        file["check"] = check_hash(Path(file["path"]), file["sha256"], advance)
        if file["check"] != "ok":
            wrong.append(f"{file['path']}: {file['check']}")
    return wrong


def files_of(recording: dict[str, Any], only: Path | None = None) -> Iterator[dict[str, Any]]:
    """The recording's files, or only the given one."""
    for stream in recording["streams"]:
        for file in stream["files"]:
            if only is None or Path(file["path"]).resolve() == only.resolve():
                yield file


# --- unfinished: the logs -------------------------------------------------------------------------


def describe_unfinished(directory: Path, session: str) -> dict[str, Any]:
    """A recording without a manifest yet, as its logs tell it; of samples only the headers are read.

    Raises
    ------
    OutputError
        What is kept of it cannot be read.
    """
    from ..journal import merged_marks
    from ..marks import for_manifest
    from ..registry import MAIN_GROUP
    from ..session import SessionStore

    try:
        store = SessionStore(directory, session)
        live = lock_holder(store.path / f"{MAIN_GROUP}.lock") is not None
        streams = [_logged(store.stream_path(spec["stream"]), spec) for spec in store.streams()]
        marks = merged_marks({stream["name"]: told for stream, told in streams})
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise OutputError(
            f"{directory / HIDDEN / session} cannot be read: {e}", "finish what can be finished: recd start"
        ) from e
    return {
        "path": str(directory),
        "kind": "recording",
        "state": LIVE if live else UNFINISHED,
        "complete": False,
        "recording": {"session": session, "name": str(store.spec.get("name", "?"))},
        "streams": [stream for stream, _ in streams],
        "marks": sorted([*marks, *for_manifest(store.path)], key=lambda m: int(m["mono_ns"])),
    }


def _logged(path: Path, spec: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a stream's journal and the rest of its log tell, and its marks."""
    from ..journal import gaps, lost, marks

    journal = logged(path, spec)
    tally, events = journal.tally, journal.events()
    keys = ("samples", "t_first", "t_last", "backward_times", "nan_times")
    described = {
        "name": spec["stream"],
        **{key: getattr(tally, key) for key in keys},
        "lost": lost(events),
        "fields": [dict(field) for field in spec["schema"]["fields"]],
        "gaps": gaps(events),
        "stalls": {"count": 0, "newest": []},
        "files": [file for final in spec["finals"] for file in _part_files(Path(final))],
    }
    return described, marks(events)


def _part_files(final: Path) -> Iterator[dict[str, Any]]:
    """The files of a sink that are there so far: finished parts and the open one."""
    stem, suffix = glob.escape(final.stem), glob.escape(final.suffix)
    for path in sorted({*final.parent.glob(f"{stem}{suffix}"), *final.parent.glob(f"{stem}[._]*{suffix}")}):
        with suppress(OSError):
            yield {"path": str(path), "kind": kind_of(path), "bytes": path.stat().st_size}
