"""Whether a recording is what its manifest says: files, counts, gaps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.errors import RecdError
from recd_client.schema import Schema

from .. import plots
from ..batch import DISCARD, RESET
from ..journal import DAMAGED
from . import outputs
from .finding import DAMAGE, FROM_COPY, LOSS, OK, Finding

Advance = Callable[[int], None]
_NO_COPY: Final = "the gaps are in the manifest: recd info"


def check_streams(
    manifest: dict[str, Any], directory: Path, only: Path | None, advance: Advance
) -> Iterator[Finding]:
    """Every finding about the streams of a manifest and their files, or about one of these files."""
    labels = {mark["label"] for mark in manifest["marks"]}
    for name, stream in manifest["streams"].items():
        if only is None:
            yield from _counts(name, stream, manifest, directory)
        for sink in _by_sink(stream.get("files", [])):
            paths = [directory / file["path"] for file in sink]
            if only is not None and only not in [path.resolve() for path in paths]:
                continue
            if only is None:
                yield from _parts(name, stream, sink, labels, directory)
            times = _Times(stream, labels, whole=only is None)
            for file, path in zip(sink, paths, strict=True):
                if only is None or path.resolve() == only:
                    yield from _file(file, path, stream, times, advance)
            if (wrong := times.wrong()) is not None:
                yield Finding(DAMAGE, paths[0], wrong, FROM_COPY)


# --- counts ---------------------------------------------------------------------------------------


def _counts(
    name: str, stream: dict[str, Any], manifest: dict[str, Any], directory: Path
) -> Iterator[Finding]:
    """Attempted = stored + lost, by cause, and each loss has its gap."""
    if "attempted" not in stream:
        yield Finding(DAMAGE, directory, f"stream {name}: it was never finished", "see: recd status")
        return
    lost = {cause: n for cause, n in stream["lost"].items() if n}
    in_flight = stream["attempted"] - stream["samples"] - sum(lost.values())
    if not 0 <= in_flight <= (manifest["state"] == "client died"):
        yield Finding(
            DAMAGE,
            directory,
            f"stream {name}: {stream['attempted']} attempts are not {stream['samples']} samples and "
            f"{sum(lost.values())} losses",
            FROM_COPY,
        )
    told: dict[str, int] = {}
    for gap in stream["gaps"]:
        told[gap["cause"]] = told.get(gap["cause"], 0) + gap["count"]
    if told != lost:
        yield Finding(DAMAGE, directory, f"stream {name}: gaps of {told}, losses of {lost}", FROM_COPY)
    if lost:
        causes = ", ".join(f"{n} {cause}" for cause, n in lost.items())
        yield Finding(
            LOSS, directory, f"stream {name}: {sum(lost.values())} samples are lost: {causes}", _NO_COPY
        )
    if not stream["complete"]:
        yield Finding(
            DAMAGE, directory, f"stream {name} is {stream['state']}: {stream['reason']}", "see: recd recover"
        )


def _by_sink(files: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The files of each sink, which follow each other by their parts' numbers."""
    sink: list[dict[str, Any]] = []
    for file in files:
        if sink and (file["kind"] != sink[-1]["kind"] or file["part"] <= sink[-1]["part"]):
            yield sink
            sink = []
        sink.append(file)
    if sink:
        yield sink


def _parts(
    name: str, stream: dict[str, Any], sink: list[dict[str, Any]], labels: set[str], directory: Path
) -> Iterator[Finding]:
    """No part is missing, and together they have the stream's samples."""
    numbers = [file["part"] for file in sink]
    if numbers != [*range(len(numbers))]:
        yield Finding(
            DAMAGE, directory, f"stream {name}: its {sink[0]['kind']} parts are {numbers}", FROM_COPY
        )
    total, samples = sum(file["samples"] for file in sink), stream["samples"]
    most = samples + stream["lost"].get(DAMAGED, 0)  # a file may have had what the log has lost since
    least = 0 if DISCARD in labels or stream["state"] == "failed" else samples
    if not least <= total <= most:
        yield Finding(
            DAMAGE,
            directory / sink[0]["path"],
            f"stream {name}: {samples} samples, and {total} in its {sink[0]['kind']} files",
            FROM_COPY,
        )


# --- files ----------------------------------------------------------------------------------------


class _Times:
    """Looks at the times of all samples of a sink, as they pass.

    What the manifest says of them holds only where time does nothing but grow.
    """

    def __init__(self, stream: dict[str, Any], labels: set[str], *, whole: bool) -> None:
        grows = not stream.get("backward_times") and not stream.get("nan_times") and RESET not in labels
        self._ends = (stream.get("t_first"), stream.get("t_last"))
        if not whole or not grows or DISCARD in labels or not stream.get("complete"):
            self._ends = (None, None)
        spans = [
            (g["t_first"], g["t_last"]) for g in stream.get("gaps", []) if grows and g["t_first"] is not None
        ]
        self._gaps = np.array([s for s in spans if s[0] < s[1]], np.float64).reshape(-1, 2)
        self._first: float | None = None
        self._last: float | None = None
        self._wrong: str | None = None

    def add(self, block: outputs.Times) -> None:
        """The times of the next samples."""
        if not len(block):
            return
        self._first = float(block[0]) if self._first is None else self._first
        self._last = float(block[-1])
        inside = np.searchsorted(block, self._gaps[:, 1], "left") - np.searchsorted(
            block, self._gaps[:, 0], "right"
        )
        for i in np.flatnonzero(inside > 0)[:1]:
            t_first, t_last = self._gaps[i]
            self._wrong = f"it has samples between {t_first} and {t_last} s, where the manifest has a gap"

    def wrong(self) -> str | None:
        """What contradicts the manifest, once all has passed."""
        for what, expected, found in zip(
            ("first", "last"), self._ends, (self._first, self._last), strict=True
        ):
            if None not in (expected, found) and expected != found:
                self._wrong = f"its {what} time is {found} s, that of the stream is {expected} s"
        return self._wrong


def _file(
    file: dict[str, Any], path: Path, stream: dict[str, Any], times: _Times, advance: Advance
) -> Iterator[Finding]:
    """One file: its bytes, and what its format's reader finds in it."""
    before = [*check_bytes(path, file["bytes"], file["sha256"], advance)]
    yield from before
    if not path.is_file():
        return
    if before and file["kind"] == "hdf5":  # its library can loop for ever over damaged strings
        advance(path.stat().st_size)
        return
    schema = Schema.from_json(stream["schema"]) if "schema" in stream else None
    what = check_contents(path, file["kind"], schema, file["samples"], times.add)
    if what is None and file["kind"] == "video":
        what = _video(path, file, stream)
    elif what is None and file["kind"] in plots.KINDS:
        what = _film(path, file["samples"])
    advance(path.stat().st_size)
    if what is not None:
        yield Finding(DAMAGE, path, what, FROM_COPY)
    elif not before:
        yield Finding(OK, path, f"{file['samples']} samples, as they were recorded")


def check_bytes(path: Path, size_bytes: int, sha256: str, advance: Advance) -> Iterator[Finding]:
    """Whether the file is there, of the right size, and has the right hash."""
    found = outputs.check_hash(path, sha256, advance)
    if found == "differs":
        size = path.stat().st_size
        what = "its SHA-256 is not the recorded one"
        if size != size_bytes:
            what = f"it has {size} bytes instead of {size_bytes}"
        yield Finding(DAMAGE, path, what, FROM_COPY)
    elif found != "ok":
        yield Finding(DAMAGE, path, f"it is {found}", FROM_COPY)


def check_contents(
    path: Path,
    kind: str,
    schema: Schema | None,
    samples: int | None,
    add: Callable[[outputs.Times], None] = lambda block: None,
) -> str | None:
    """What is wrong with what a tabular file holds; None if nothing is."""
    if kind not in outputs.KINDS:
        return None
    count = 0
    try:
        for block in outputs.read_through(path, kind, schema):
            count += len(block)
            add(block)
    except RecdError as e:
        return e.what
    return None if samples in (None, count) else f"it has {count} samples instead of {samples}"


def _film(path: Path, samples: int) -> str | None:
    """What is wrong with the animation of a plot: without samples it shows the empty plot."""
    try:
        frames = outputs.count_frames(path)
    except RecdError as e:
        return e.what
    wanted = max(samples, 1)
    return None if frames == wanted else f"it has {frames} frames instead of {wanted}"


def _video(path: Path, file: dict[str, Any], stream: dict[str, Any]) -> str | None:
    """What is wrong with a video and its table of frames."""
    try:
        frames = outputs.count_frames(path)
    except RecdError as e:
        return e.what
    table = file["video"]["frames"]
    numbers, repeated = np.array(table["seq"], np.int64), [int(i) for i in table["repeated"]]
    if frames != len(numbers):
        return f"it has {frames} frames instead of {len(numbers)}"
    if any(len(table[key]) != frames for key in ("t", "step", "wall_ns")):
        return "its table of frames in the manifest is not complete"
    if np.any(np.diff(numbers) != 1):
        return "its frames are not one for each number"
    if frames - len(repeated) != file["samples"] or not all(0 <= i < frames for i in repeated):
        return f"{len(repeated)} of {frames} frames are repetitions, and it has {file['samples']} samples"
    lost = [range(g["first_seq"], g["last_seq"] + 1) for g in stream["gaps"]]
    for i in repeated:
        if not any(int(numbers[i]) in gap for gap in lost):
            return f"frame {i} stands for sample {numbers[i]}, which the manifest has not as lost"
    again = {int(numbers[i]) for i in repeated}
    certain = (g for g in stream["gaps"] if g["count"] == g["last_seq"] - g["first_seq"] + 1)
    for number in itertools.chain.from_iterable(range(g["first_seq"], g["last_seq"] + 1) for g in certain):
        if len(numbers) and numbers[0] <= number <= numbers[-1] and number not in again:
            return f"sample {number} is lost, and its frame is no repetition"
    return None
