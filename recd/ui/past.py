"""Past recordings: the list, what one holds, its numbers as plots, and its files.

A request names a session of the index and a file by its number in the manifest. No path is made from what it says, so
none can lead elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from aiohttp import web

from recd_client.errors import OptionError, OutputError, RecdError
from recd_client.schema import Schema

from .. import index, reader
from ..cli._recordings import describe_manifest, describe_unfinished
from ..cli.ls import described as described_entry
from ..recordings import kept_sessions, manifests, read_manifest
from ..strict_json import finite
from .decimate import decimate
from .fields import LINES, described
from .messages import MAX_PIXELS, plot_message
from .reading import Points, Reader, plotted

_NEWEST: Final = 200
#: Files that are sent at all, whatever a manifest says: how a browser gets them.
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".csv": "text/csv",
    ".npz": "application/octet-stream",
    ".h5": "application/x-hdf5",
    ".hdf5": "application/x-hdf5",
}


def add_routes(app: web.Application) -> None:
    """Serve past recordings below ``/past``."""
    past = _Past()
    app.router.add_get("/past", past.list)
    app.router.add_get("/past/{session}", past.one)
    app.router.add_get("/past/{session}/plot", past.plot)
    app.router.add_get("/past/{session}/file/{number:[0-9]+}", past.file)


class _Past:
    def __init__(self) -> None:
        self._reader = Reader()

    async def list(self, request: web.Request) -> web.Response:
        """The newest sessions of the index."""
        return await _answer(_listed)

    async def one(self, request: web.Request) -> web.Response:
        """What a recording holds."""
        return await _answer(lambda: _told(request.match_info["session"]))

    async def plot(self, request: web.Request) -> web.Response:
        """A field's points between two times, decimated to the pixels of the plot, as a binary message."""

        def points() -> bytes:
            asked = _PlotAsked(request)
            session = request.match_info["session"]
            with reader.open(_entry(session)["directory"], session=session) as run:
                return asked.message(self._reader.read(run[asked.stream], asked.field))

        return await _answer(points)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file of a recording; ranges of it are sent alone, so that a video can be sought in."""
        number = int(request.match_info["number"])

        def find() -> Path:
            files = _files(_recording(request.match_info["session"]))
            if number >= len(files):
                raise OptionError(f"this recording has {len(files)} files, and no number {number}", "reload")
            path = Path(files[number]["path"]).resolve()
            if path.suffix.lower() not in _TYPES or not path.is_file():
                raise OutputError(f"{path.name} is not there, or no file of recd's", "see: recd info")
            return path

        try:
            path = await asyncio.to_thread(find)
        except RecdError as e:
            return _refusal(e)
        kind = _TYPES[path.suffix.lower()]
        name = json.dumps(path.name.encode("ascii", "replace").decode())
        show = "inline" if kind.startswith("video/") else "attachment"
        return web.FileResponse(
            path, headers={"Content-Type": kind, "Content-Disposition": f"{show}; filename={name}"}
        )


class _PlotAsked:
    """What a plot of a past recording asks for."""

    def __init__(self, request: web.Request) -> None:
        query = request.query
        try:
            self.id = str(query.get("id", ""))
            self.stream, self.field = str(query["stream"]), str(query["field"])
            self.lines = [int(n) for n in query["lines"].split(",") if n]
            self.width = min(max(int(query["width"]), 1), MAX_PIXELS)
            self.begin, self.end = float(query.get("from", "-inf")), float(query.get("to", "inf"))
            if not self.begin < self.end or min(self.lines, default=0) < 0:
                raise ValueError("from, to, lines")
        except (KeyError, ValueError) as e:
            raise OptionError(f"malformed plot: {e!r}", "reload the page") from None

    def message(self, points: Points) -> bytes:
        t, y, problems = points
        first = max(int(np.searchsorted(t, self.begin, "left")) - 1, 0)
        last = int(np.searchsorted(t, self.end, "right")) + 1
        ends = [float(t[0]), float(t[-1])] if len(t) else [0.0, 1.0]
        x = t[first:last]
        span = min(self.end, ends[1]) - max(self.begin, ends[0])
        y = y[first:last][:, [n for n in self.lines if n < y.shape[1]]]
        x, y = decimate(x, y, max(span, 0.0) / self.width)
        head = {"kind": "plot", "id": self.id, "from": None, "newest": ends[1], "oldest": ends[0], "epoch": 0}
        return plot_message({**head, "problems": problems}, x, y)


# --- in a thread: disks may be slow ---------------------------------------------------------------


async def _answer(ask: Any) -> web.Response:
    try:
        found = await asyncio.to_thread(ask)
    except RecdError as e:
        return _refusal(e)
    if isinstance(found, bytes):
        return web.Response(body=found, content_type="application/octet-stream")
    return web.Response(body=orjson.dumps(found), content_type="application/json")


def _refusal(e: RecdError) -> web.Response:
    return web.Response(
        status=404, body=orjson.dumps({"what": e.what, "do": e.do}), content_type="application/json"
    )


def _listed() -> dict[str, Any]:
    entries = index.read_all()
    sessions = [finite(described_entry(e)) for e in entries[:_NEWEST]]
    return {"sessions": sessions, "omitted": max(len(entries) - _NEWEST, 0)}


def _entry(session: str) -> dict[str, Any]:
    """A session of the index."""
    index.path_of(session)  # refuses what is no session's name
    entry = next((e for e in index.read_all() if e["session"] == session), None)
    if entry is None:
        raise OptionError(f"no session {session!r} in the list", "see: recd ls --all")
    return entry


def _recording(session: str) -> dict[str, Any]:
    """The description of a session of the index, by its manifest; of one that was killed, by its logs."""
    entry = _entry(session)
    directory = Path(entry["directory"])
    for path in manifests(directory):
        if read_manifest(path).get("session") == session:
            return describe_manifest(path)
    if session in kept_sessions(directory):
        found = describe_unfinished(directory, session)
        found["recording"] = {"started_unix_s": entry.get("started_unix_s"), **found["recording"]}
        return found
    raise OutputError(f"session {session!r} is not in {directory} any more", "see: recd ls")


def _files(recording: dict[str, Any]) -> list[dict[str, Any]]:
    return [f for stream in recording["streams"] for f in stream["files"]]


def _told(session: str) -> dict[str, Any]:
    """What the page is told: files by their numbers, fields as they are shown."""
    recording = _recording(session)
    with reader.open(recording["path"], session=session) as run:
        plots = {name for name, stream in run.streams.items() if plotted(stream) is not None}
        problems = run.problems
    number = 0
    streams = []
    for stream in recording["streams"]:
        fields = described(Schema.from_json({"fields": stream["fields"]})) if stream["fields"] else []
        files = []
        for file in stream["files"]:
            path = Path(file["path"])
            files.append(
                {
                    "number": number,
                    "name": path.name,
                    **{key: file.get(key) for key in ("kind", "part", "samples", "bytes", "presence")},
                    "video": _TYPES.get(path.suffix.lower(), "").startswith("video/"),
                    "codec": (file.get("video") or {}).get("codec"),
                    "fps": (file.get("video") or {}).get("fps"),
                }
            )
            number += 1
        keys = ("name", "samples", "t_first", "t_last", "state", "reason", "lost", "gaps")
        streams.append(
            {
                **{key: stream.get(key) for key in keys},
                "fields": [f for f in fields if stream["name"] in plots and f["kind"] == LINES],
                "files": files,
            }
        )
    told = {
        **{key: recording[key] for key in ("path", "state", "complete")},
        "marks": _placed(recording),
        "problems": problems,
        **{
            key: recording["recording"].get(key)
            for key in ("session", "name", "started_unix_s", "duration_s")
        },
        "streams": streams,
    }
    return dict(finite(told))


def _placed(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """The marks, each with its stream time; ``about`` where that is only known from marks and ends around it.

    A mark from outside knows the time on the clock of the machine, and files hold no such time.
    """
    marks = [{**mark, "about": mark.get("t") is None} for mark in recording["marks"]]
    if not any(mark["about"] for mark in marks):
        return marks
    known = {int(mark["mono_ns"]): float(mark["t"]) for mark in marks if not mark["about"]}
    ends = [
        (s["t_first"], s["t_last"]) for s in recording["streams"] if None not in (s["t_first"], s["t_last"])
    ]
    ahead_ns = next((m["wall_ns"] - m["mono_ns"] for m in marks if m.get("wall_ns")), None)
    started_s, took_s = (recording["recording"].get(key) for key in ("started_unix_s", "duration_s"))
    if ends and None not in (ahead_ns, started_s, took_s):
        begin_ns = int(started_s * 1e9) - int(ahead_ns or 0)
        known = {
            begin_ns: min(e[0] for e in ends),
            **known,
            begin_ns + int(took_s * 1e9): max(e[1] for e in ends),
        }
    at = np.array(sorted(known.items()), float).reshape(-1, 2)
    for mark in marks:
        if mark["about"] and len(at):
            mark["t"] = float(np.interp(mark["mono_ns"], at[:, 0], at[:, 1]))
    return marks
