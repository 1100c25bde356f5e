"""``recd info``: what a file or a recording holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import OptionError, OutputError

from ..recordings import is_manifest, kept_sessions
from ..recordings import manifests as manifests_in
from . import _files, _recordings
from ._common import console, count, duration, json_option, line, local_time, losses, print_json, size

if TYPE_CHECKING:
    from rich.console import Console

#: Longer lists are cut in the text, never in the JSON.
MOST_SHOWN: Final = 12


@click.command(
    epilog="Example: recd info recordings/walk/20261122T134005 --check",
    short_help="Describe a file or a recording.",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Compare the files with their SHA-256 in the manifest.")
@json_option
def command(path: Path, check: bool, as_json: bool) -> int:
    """Tell what a file or a recording holds: when, how many samples, fields, gaps, files, marks.

    PATH is a recording's directory, its manifest.json, or a data file (CSV, NPZ, HDF5, video), also
    one that recd did not write. With --check the exit code is 1 if a file is not what was recorded.
    """
    path = path.absolute()
    wrong: list[str] = []
    if path.is_dir() or is_manifest(path):
        found = describe_recording(path)
        if check:
            wrong = check_recordings([found, *found["others"]])
    else:
        found = describe_data_file(path, check=check)
        if check:
            wrong = [f"{path}: {found['check']}"] if found["check"] != "ok" else []
    if as_json:
        print_json(found)
    elif found["kind"] == "recording":
        _show_recording(console(), found)
    else:
        _show_file(console(), found)
    if wrong:
        raise OutputError(
            f"{count(len(wrong), 'file is', 'files are')} not what was recorded:\n    "
            + "\n    ".join(wrong),
            "restore from a copy; what is there is described by: recd info FILE",
        )
    return 0


# --- describing -----------------------------------------------------------------------------------


def describe_recording(path: Path) -> dict[str, Any]:
    """The recording in a directory (or of a manifest); further ones in the same directory under ``others``.

    Raises
    ------
    OutputError
        There is none, or it cannot be read.
    """
    directory = path if path.is_dir() else path.parent
    manifests = manifests_in(directory) if path.is_dir() else [path]
    found = [_recordings.describe_manifest(manifest) for manifest in manifests]
    found.sort(key=lambda d: float(d["recording"]["started_unix_s"]), reverse=True)
    if path.is_dir():
        ended = {d["recording"]["session"] for d in found}
        rest = [s for s in kept_sessions(directory) if s not in ended]
        found = [_recordings.describe_unfinished(directory, session) for session in rest] + found
    if not found:
        raise OutputError(
            f"{path} holds no recording: neither a manifest.json nor a .recd directory", "list them: recd ls"
        )
    return {**found[0], "others": found[1:]}


def describe_data_file(path: Path, *, check: bool = False) -> dict[str, Any]:
    """What a data file holds, as its format tells it and, where there is one, the manifest.

    Raises
    ------
    OutputError
        It is missing or damaged.
    OptionError
        It is to be checked, but no manifest names it.
    """
    if not path.is_file():
        raise OutputError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}",
            "check the path; recordings are listed by: recd ls",
        )
    belongs = _recordings.find_file(path)
    if check and belongs is None:
        raise OptionError(f"no manifest tells what {path} should be", "leave --check out")
    unfinished = path.stem.endswith(".part")
    try:
        found = _files.describe_file(path)
    except OutputError as e:
        if not unfinished or _files.kind_of(path) is None:
            raise
        raise OutputError(
            f"{path} is not finished: it is built when its stream is closed",
            "what is recorded so far: recd info on its directory",
        ) from e
    out: dict[str, Any] = {
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "state": "unfinished" if unfinished else "complete" if belongs else "unknown",
        **found,
        "stream": None,
        "gaps": [],
        "recording": None,
        "check": None,
    }
    if belongs is None:
        return out
    recording, stream, file = belongs
    if check:
        _check(recording, path)
    out |= {key: stream[key] for key in ("fields", "gaps")}
    out |= {"stream": stream["name"], "samples": file["samples"], "check": file["check"]}
    out["recording"] = {key: recording["recording"][key] for key in ("session", "name", "started_unix_s")}
    return out


def check_recordings(found: list[dict[str, Any]]) -> list[str]:
    """Compare the files of all finished recordings with their manifests; what is wrong with which.

    Raises
    ------
    OptionError
        None of them is finished.
    """
    finished = [recording for recording in found if recording["state"] not in _recordings.WITHOUT_MANIFEST]
    if not finished:
        raise OptionError(f"{found[0]['path']} has no manifest to check it against yet", "leave --check out")
    return [text for recording in finished for text in _check(recording, None)]


def _check(recording: dict[str, Any], only: Path | None) -> list[str]:
    with _progress(sum(file["bytes"] for file in _recordings.files_of(recording, only))) as advance:
        return _recordings.check_files(recording, advance, only)


@contextmanager
def _progress(total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr, nothing elsewhere."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda n: None
        return
    from rich.progress import Progress

    with Progress(console=out, transient=True) as bar:
        task = bar.add_task("checking", total=total_bytes)
        yield lambda n: bar.advance(task, n)


# --- text -----------------------------------------------------------------------------------------


def _show_recording(out: Console, found: dict[str, Any]) -> None:
    told = found["recording"]
    line(out, f"{told['name']}: {found['state']}, session {told['session']}", "bold")
    line(out, f"  {found['path']}")
    if found["state"] == _recordings.LIVE:
        line(out, "  it is being recorded right now: recd status")
    elif found["state"] == _recordings.UNFINISHED:
        line(out, "  it was interrupted; to finish its files: recd start", "red")
    if "code" in told:
        _show_origin(out, told)
    if found.get("provenance"):
        _show_provenance(out, found["provenance"])
    for stream in found["streams"]:
        line(out)
        _show_stream(out, stream, found["path"])
    if found["marks"]:
        line(out)
        _show_marks(out, found["marks"])
    for other in found["others"]:
        line(out)
        _show_recording(out, {**other, "others": []})


def _show_origin(out: Console, told: dict[str, Any]) -> None:
    code, host = told["code"], told["host"]
    line(out, f"  recorded {local_time(told['started_unix_s'])} for {duration(told['duration_s'])}")
    if stopped := told["stopped"]:
        line(out, f"  stopped from outside by {stopped['by']}, {local_time(stopped['wall_ns'] / 1e9)}")
    if code.get("argv"):
        line(out, f"  by {' '.join(map(str, code['argv']))}, Python {code.get('python', '?')}")
    if code.get("git_commit"):
        dirty = " with uncommitted changes" if code.get("git_dirty") else ""
        line(out, f"  code: git {code['git_commit']}{dirty}")
    if host:
        line(out, "  host: " + _pairs(host))
    if told["metadata"]:
        line(out, "  metadata: " + _pairs(told["metadata"]))


def _show_provenance(out: Console, told: dict[str, Any]) -> None:
    """What a recording was made of: it comes from a manifest, and may be anything."""
    line(out, f"  made by {told.get('command') or told.get('tool')} of:")
    for source in told.get("sources", ()):
        sha256 = f", manifest {source['manifest_sha256'][:12]}" if source.get("manifest_sha256") else ""
        moved = f", stream time {source['offset_s']:+.9g} s" if source.get("offset_s") else ""
        line(out, f"    {source.get('path')}: session {source.get('session')}{sha256}{moved}")
    for problem in told.get("problems", ()):
        line(out, f"    {problem}", "yellow")


def _pairs(data: Any) -> str:
    items = data.items() if isinstance(data, dict) else [("", data)]
    return ", ".join(f"{k}={v}" if k else str(v) for k, v in items)


def _show_stream(out: Console, stream: dict[str, Any], directory: str) -> None:
    state = stream.get("state") or ""
    reason = f": {stream['reason']}" if stream.get("reason") else ""
    line(
        out,
        f"{stream['name']}: {count(stream['samples'], 'sample')}{_times(stream)}"
        + (f", {state}{reason}" if state not in ("", "complete") else ""),
        "bold",
    )
    _show_fields(out, stream["fields"])
    if any(stream["lost"].values()):
        line(out, f"  lost: {losses(stream['lost'])}", "bold red")
    for key, text in (("backward_times", "time went backwards"), ("nan_times", "time was NaN")):
        if stream.get(key):
            line(out, f"  {text} {count(stream[key], 'time')}", "yellow")
    _show_gaps(out, stream["gaps"])
    _show_stalls(out, stream["stalls"])
    for file in stream["files"]:
        _show_entry(out, file, directory)


def _show_entry(out: Console, file: dict[str, Any], directory: str) -> None:
    path = file["path"].removeprefix(f"{directory}/")
    told = [] if file.get("samples") is None else [count(file["samples"], "sample")]
    told.append(size(file["bytes"]))
    if video := file.get("video"):
        told.append(_video_text(video))
    wrong = [file[k] for k in ("presence", "check") if file.get(k) not in (None, "ok")]
    if file.get("check") == "ok":
        told.append("SHA-256 ok")
    line(out, f"  {path}: {', '.join(told + wrong)}", "bold red" if wrong else "")


def _video_text(video: dict[str, Any]) -> str:
    fps = video["fps"]
    rate = f"{fps:g}" if isinstance(fps, (int, float)) else fps
    text = f"{video['codec']} {video['width']}x{video['height']} at {rate} fps"
    if batch := video.get("batch"):
        of = (
            f"image {batch['image']} of"
            if "image" in batch
            else f"{batch['rows']}x{batch['columns']} tiles of"
        )
        text += f", {of} {count(batch['images'], 'image')}"
    if scale := video.get("scale"):
        text += f", {scale['low']:g} to {scale['high']:g} in {scale['levels']} levels"
    if video.get("colormap"):
        text += f" of {video['colormap']}" if scale else f", {video['colormap']}"
    repeated = video.get("repeated_frames")
    return text + (f", {count(repeated, 'frame')} repeated for lost ones" if repeated else "")


def _show_fields(out: Console, fields: list[dict[str, Any]]) -> None:
    for field in fields[:MOST_SHOWN]:
        line(out, f"  {field['name']}{_type_text(field)}{_unit_text(field)}")
    if len(fields) > MOST_SHOWN:
        line(out, f"  ... and {count(len(fields) - MOST_SHOWN, 'field')} more: --json shows all")


def _type_text(field: dict[str, Any]) -> str:
    """A field's shape and type: ``(7,) float64``, ``(n, 3) int32`` if ragged, ``string``."""
    dtype = field["dtype"]
    if dtype is None:
        return ""
    if field.get("kind") == "string" or dtype.lstrip("<>|=")[:1] in ("U", "S") or dtype == "string":
        return " string"
    import numpy as np

    dims = [*(["n"] if field.get("kind") == "ragged" else []), *map(str, field["shape"])]
    shape = f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"
    try:
        return f" {shape} {np.dtype(dtype).name}"
    except TypeError:
        return f" {shape} {dtype}"


def _unit_text(field: dict[str, Any]) -> str:
    return f" [{field['unit']}]" if field.get("unit") else ""


def _show_gaps(out: Console, gaps: list[dict[str, Any]]) -> None:
    for gap in gaps[:MOST_SHOWN]:
        line(
            out,
            f"  gap: {count(gap['count'], 'sample')} lost ({gap['cause']}), "
            f"number {gap['first_seq']:,} to {gap['last_seq']:,}{_times(gap)}",
        )
    if len(gaps) > MOST_SHOWN:
        line(out, f"  ... and {count(len(gaps) - MOST_SHOWN, 'gap')} more: --json shows all")


def _show_stalls(out: Console, stalls: dict[str, Any]) -> None:
    if not stalls["count"]:
        return
    line(
        out,
        f"  could not be stored {count(stalls['count'], 'time')}; what was lost then is in the gaps",
        "yellow",
    )
    for stall in stalls["newest"][-MOST_SHOWN:]:
        begin, end = stall["begin_wall_ns"] / 1e9, stall["end_wall_ns"]
        lasted = "" if end is None else f" for {duration(end / 1e9 - begin)}"
        line(out, f"    {local_time(begin)}{lasted}: {stall['reason']}")


def _show_marks(out: Console, marks: list[dict[str, Any]]) -> None:
    line(out, f"{count(len(marks), 'mark')}:", "bold")
    for mark in marks[:MOST_SHOWN]:
        fields = f" ({_pairs(mark['fields'])})" if mark["fields"] else ""
        # One from outside may be of no time of the simulation's.
        known = mark["t"] is not None or "wall_ns" not in mark
        at = f"{_second(mark['t'])} s" if known else local_time(mark["wall_ns"] / 1e9)
        line(out, f"  {at}  {mark['label']}{fields}")
    if len(marks) > MOST_SHOWN:
        line(out, f"  ... and {len(marks) - MOST_SHOWN:,} more: --json shows all")


def _show_file(out: Console, found: dict[str, Any]) -> None:
    samples = "" if found["samples"] is None else f", {count(found['samples'], 'sample')}"
    line(out, f"{found['kind']}, {size(found['size_bytes'])}{samples}{_times(found)}", "bold")
    line(out, f"  {found['path']}")
    if found["state"] == "unfinished":
        line(out, "  it is not finished; to see whether it is still being recorded: recd status", "red")
    if told := found["recording"]:
        line(
            out,
            f"  stream {found['stream']} of {told['name']}, session {told['session']}, "
            f"recorded {local_time(told['started_unix_s'])}",
        )
    _show_fields(out, found["fields"])
    _show_gaps(out, found["gaps"])
    for key, value in found["details"].items():
        if key != "arrays" and value not in (None, {}, [], True):
            line(out, f"  {key}: {_pairs(value)}")
    if found["check"]:
        line(out, f"  SHA-256: {found['check']}", "" if found["check"] == "ok" else "bold red")


def _times(described: dict[str, Any]) -> str:
    first, last = described.get("t_first"), described.get("t_last")
    if first is None or last is None:
        return ""
    return f", t {_second(first)} to {_second(last)} s"


def _second(t: Any) -> str:
    return f"{t:.6g}" if isinstance(t, (int, float)) and math.isfinite(t) else "?"
