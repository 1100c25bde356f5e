"""Tables of numbers, the bars they are held to, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from recd_client import BACKEND

from . import calibration

_PACKAGES: Final = ("recd", "recd-client", "numpy", "h5py", "orjson", "imageio-ffmpeg")
_PEERS: Final = ("rerun-sdk", "foxglove-sdk", "mcap", "av")


@dataclass(frozen=True)
class Bar:
    """What a number is held to: ``at_most`` or ``at_least``, in the unit of the number."""

    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is on the right side."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:,g}{self.unit}: {'met' if self.met else 'MISSED'} ({number(self.value)})"


def aim(native: float, python: float) -> float:
    """A limit: what the project aims at with the native core of the ring, and what Python can do."""
    return native if BACKEND == "native" else python


@dataclass(frozen=True)
class Row:
    """One line of a table: a label, a number or a word per column, and a bar."""

    label: str
    cells: Sequence[float | str | None]
    bar: Bar | None = None


@dataclass
class Table:
    """Numbers of one kind.

    Parameters
    ----------
    title : str
    columns : sequence of str
        Headings of the cells, with units.
    key : str
        What programs find it by.
    notes : list of str
        How it was measured, and what could not be.
    """

    title: str
    columns: Sequence[str]
    key: str = ""
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    #: Of the calibration loop, while this was measured.
    loop_us: float = 0.0

    def add(self, label: str, *cells: float | str | None, bar: Bar | None = None) -> None:
        """One more row."""
        self.rows.append(Row(label, cells, bar))

    def markdown(self) -> str:
        """As Markdown; with a column of bars if there are any."""
        barred = any(row.bar for row in self.rows)
        head = ["", *self.columns, *(["bar"] if barred else [])]
        lines = [head, ["---", *("---:" for _ in self.columns), *(["---"] if barred else [])]]
        for row in self.rows:
            bar = [str(row.bar or "")] if barred else []
            lines.append([row.label, *map(_cell, row.cells), *bar])
        text = [f"### {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)]
        if self.notes:
            text += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(text)

    def _relative(self, row: Row) -> dict[str, float]:
        """Times and rates in units of the calibration loop."""
        numbers = {c: v for c, v in zip(self.columns, row.cells, strict=True) if isinstance(v, float | int)}
        relative = {c: calibration.relative(c, v, self.loop_us) for c, v in numbers.items() if self.loop_us}
        return {column: value for column, value in relative.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "key": self.key,
            "title": self.title,
            "loop_us": self.loop_us,
            "notes": self.notes,
            "rows": [
                {
                    "label": row.label,
                    **dict(zip(self.columns, row.cells, strict=True)),
                    "relative": self._relative(row),
                    "bar": None if row.bar is None else {**vars(row.bar), "met": row.bar.met},
                }
                for row in self.rows
            ],
        }


def number(value: float) -> str:
    """With three digits that matter, thousands apart."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else number(value)


def machine(directory: Path) -> dict[str, str]:
    """What the numbers depend on."""
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "peers": ", ".join(f"{name} {_version(name)}" for name in _PEERS),
        "ring core": BACKEND,
        "files on": _filesystem(directory),
        "load before": load,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _filesystem(directory: Path) -> str:
    """Kind of the file system that holds a directory."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if directory.is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best[1]
