"""A recording as its manifest tells it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recd_client.errors import OutputError, SchemaError
from recd_client.schema import Schema

from ..recordings import read_manifest
from .data import Clocks, Gap, Mark, PartData, RunData, StreamData
from .files import KINDS, opener


def run_of(path: Path, manifest: dict[str, Any] | None = None) -> RunData:
    """The recording of a manifest, which may have been read before; files are looked for, but none is opened.

    Raises
    ------
    OutputError
        The manifest cannot be read, or is damaged.
    """
    manifest = read_manifest(path) if manifest is None else manifest
    try:
        clocks = Clocks(
            manifest.get("dt"), manifest["clocks"]["start_mono_ns"], manifest["clocks"]["start_wall_ns"]
        )
        return RunData(
            path=path.parent,
            streams=[
                stream_of_manifest(name, told, path.parent, clocks)
                for name, told in manifest["streams"].items()
            ],
            manifest=manifest,
            name=manifest["name"],
            session=manifest["session"],
            state=manifest["state"],
            complete=bool(manifest["complete"]),
            metadata=manifest["metadata"],
            clocks=clocks,
            marks=[mark_of(m) for m in manifest["marks"]],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        if isinstance(e, OutputError):
            raise
        raise OutputError(
            f"{path} is damaged: {type(e).__name__}: {e}",
            "its data files can be opened one by one: recd.open(FILE)",
        ) from e


def mark_of(told: dict[str, Any]) -> Mark:
    """A mark as a manifest tells it."""
    return Mark(
        str(told["label"]),
        dict(told["fields"]),
        math.nan if told["t"] is None else float(told["t"]),
        -1 if told["step"] is None else int(told["step"]),
        {str(k): int(v) for k, v in (told.get("seq") or {}).items()},
        int(told["mono_ns"]),
        str(told.get("source", "recorder")),
    )


def gaps_of(told: Iterable[dict[str, Any]]) -> list[Gap]:
    """Gaps as a manifest, or a journal, tells them."""
    return [Gap(int(g["first_seq"]), int(g["last_seq"]), int(g["count"]), str(g["cause"])) for g in told]


def stream_of_manifest(name: str, told: dict[str, Any], directory: Path, clocks: Clocks) -> StreamData:
    """A stream by its share of the manifest."""
    problems: list[str] = []
    schema = None
    if "schema" in told:
        try:
            schema = Schema.from_json(told["schema"])
        except SchemaError as e:
            problems.append(f"stream {name!r}: the manifest's schema is damaged: {e.what}")
    data = StreamData(
        name=name,
        schema=schema,
        sources=_sources(name, told.get("files", ()), directory, problems),
        hz=told.get("hz"),
        state=str(told.get("state", "unknown")),
        reason=str(told.get("reason") or ""),
        complete=bool(told.get("complete")),
        gaps=gaps_of(told.get("gaps", ())),
        told={key: value for key, value in told.items() if key not in ("files", "schema")},
        clocks=clocks,
        problems=problems,
    )
    kinds = {str(sink.get("kind")) for sink in told.get("sinks", ())}
    data.is_video = "video" in data.sources or (kinds == {"video"} and not data.sources)
    return data


def _sources(
    name: str, files: Iterable[dict[str, Any]], directory: Path, problems: list[str]
) -> dict[str, list[PartData]]:
    """The files that are there, by what wrote them: its kind, with a number from the second one on."""
    sources: dict[str, list[PartData]] = {}
    counts: dict[str, int] = {}
    before: tuple[str, int] = ("", -1)
    key = ""
    for told in files:
        kind, number = str(told["kind"]), int(told["part"])
        if kind not in KINDS:  # what a recorder of the user's wrote
            continue
        if before[0] != kind or number <= before[1]:  # another sink: the parts of one ascend
            counts[kind] = counts.get(kind, 0) + 1
            key = kind if counts[kind] == 1 else f"{kind}:{counts[kind]}"
        before = kind, number
        path = directory / told["path"]
        try:
            size_bytes = path.stat().st_size
        except OSError as e:
            problems.append(f"stream {name!r}: {path} is missing ({e.strerror})")
            continue
        if size_bytes != told["bytes"]:
            problems.append(
                f"stream {name!r}: {path} has {size_bytes} bytes, the manifest says {told['bytes']}: it was changed"
            )
        part = PartData(
            path, kind, number, int(told["samples"]), told.get("first_seq"), told.get("next_seq"), opener(path, kind),
            told.get("video") or {}, size_bytes == told["bytes"],
        )  # fmt: skip
        sources.setdefault(key, []).append(part)
    return sources
