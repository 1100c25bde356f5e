"""The report's numbers as pictures, for a page 800 pixels wide: drawn from JSON, so of any run.

Colours are of Okabe and Ito's set, which people who see colours differently can tell apart; what is recd is
told by position and weight, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

OURS, PEER, LIMIT = "#0072B2", "#B9B9B9", "#E69F00"
_LINES: Final = (OURS, "#56B4E9", LIMIT, "#CC79A7", "#009E73")
_MARKERS: Final = "osD^v"
_INK, _FAINT = "#222222", "#D8D8D8"
_STYLE: Final = {
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#888888",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
#: Inches and dots per inch: twice 800 pixels, for screens with fine dots.
_WIDTH_IN, _DPI = 8.0, 200


def draw(report: dict[str, Any], directory: Path) -> list[Path]:
    """Write ``bench-*.png`` for all that the report has numbers for; their paths."""
    tables = {table["key"]: table for table in report["tables"]}
    directory.mkdir(parents=True, exist_ok=True)
    done = []
    with plt.rc_context(_STYLE):
        figures = {
            "calls": _calls(tables.get("calls.state")),
            "curve": _curve(tables.get("curve")),
            "loop": _loops([tables[key] for key in ("loop.state", "loop.vga") if key in tables]),
        }
        for name, figure in figures.items():
            if figure is not None:
                path = directory / f"bench-{name}.png"
                figure.savefig(path, dpi=_DPI, facecolor="white", metadata={"Software": None})
                plt.close(figure)
                done.append(path)
    return done


def _is_ours(label: str) -> bool:
    return label.startswith("recd")


def _calls(table: dict[str, Any] | None) -> Figure | None:
    """Bars of medians, with a line to the 99.9th percentile, in the order of the medians."""
    if table is None:
        return None
    rows = sorted(table["rows"], key=lambda row: row["p50 µs"], reverse=True)
    figure, ax = plt.subplots(figsize=(_WIDTH_IN, 0.36 * len(rows) + 1.5), layout="constrained")
    ends = [row["p99.9 µs"] or row["max µs"] for row in rows]
    for y, (row, end) in enumerate(zip(rows, ends, strict=True)):
        p50, colour = row["p50 µs"], _colour(row["label"])
        ax.barh(y, p50, color=colour, height=0.66)
        ax.plot([p50, end], [y, y], color=_INK, linewidth=1.2)
        ax.plot([end, end], [y - 0.2, y + 0.2], color=_INK, linewidth=1.2)
        ax.text(end * 1.2, y, f"{_us(p50)} – {_us(end)}", va="center", fontsize=9.5)
    ax.set_xscale("log")
    ax.set_xlim(0.1, max(ends) * 40)
    ax.set_xticks([10.0**n for n in range(-1, 5) if 10.0**n <= max(ends)])
    ax.minorticks_off()
    _names(ax, [row["label"] for row in rows])
    _microseconds(ax.xaxis)
    ax.grid(axis="x", color=_FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_xlabel("bar: median; line: up to the 99.9th percentile; logarithmic")
    _headline(figure, "What one call takes from the simulation: 50 float64")
    return figure


def _curve(table: dict[str, Any] | None) -> Figure | None:
    """Microseconds against bytes, both logarithmic."""
    if table is None:
        return None
    sizes = [_bytes(row["label"]) for row in table["rows"]]
    columns = [c for c in table["rows"][0] if c.endswith(" µs")]
    figure, ax = plt.subplots(figsize=(_WIDTH_IN, 4.6), layout="constrained")
    for n, column in enumerate(columns):
        limit = column.startswith("np.copyto")
        name = _short(column.removesuffix(" µs")) + (": the limit" if limit else "")
        values = [row[column] for row in table["rows"]]
        ax.plot(
            sizes,
            values,
            color=LIMIT if limit else [c for c in _LINES if c != LIMIT][n % 4],
            linestyle="--" if limit else "-",
            marker=_MARKERS[n % len(_MARKERS)],
            markersize=5,
            linewidth=2,
            label=name,
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sizes, [row["label"] for row in table["rows"]])
    ax.set_ylim(bottom=0.1)
    ax.minorticks_off()
    _microseconds(ax.yaxis)
    ax.grid(color=_FAINT, linewidth=0.7)
    ax.legend(frameon=False, loc="upper left")
    ax.set_xlabel("size of one sample; medians, both axes logarithmic")
    _headline(figure, "What one call takes from the simulation, by the size of the sample")
    return figure


def _loops(tables: list[dict[str, Any]]) -> Figure | None:
    """Share of the steps per second that is left, one panel per loop."""
    if not tables:
        return None
    heights = [len(table["rows"]) for table in tables]
    figure, panels = plt.subplots(
        len(tables),
        figsize=(_WIDTH_IN, 0.36 * sum(heights) + 1.1 * len(tables) + 0.3),
        layout="constrained",
        height_ratios=heights,
        sharex=True,
        squeeze=False,
    )
    for ax, table in zip(panels[:, 0], tables, strict=True):
        rows = sorted(table["rows"], key=lambda row: row["recorded / unrecorded"])
        for y, row in enumerate(rows):
            share = 100 * row["recorded / unrecorded"]
            ax.barh(y, share, color=_colour(row["label"]), height=0.66)
            ink = "white" if _is_ours(row["label"]) else _INK
            ax.text(1, y, f"{share:.0f} %", va="center", fontsize=9.5, color=ink)
        ax.axvline(100, color=LIMIT, linestyle="--", linewidth=1.5)
        ax.set_xlim(0, max(104, *(103 * row["recorded / unrecorded"] for row in rows)))
        _names(ax, [row["label"] for row in rows])
        ax.tick_params(axis="x", length=0)
        ax.set_title(table["title"].partition(": ")[2], loc="left", fontsize=11)
    panels[-1, 0].set_xlabel("steps per second, in % of those without recording")
    _headline(figure, "What recording leaves of a simulation's speed")
    return figure


def _colour(label: str) -> str:
    return OURS if _is_ours(label) else LIMIT if label.startswith("np.copyto") else PEER


def _names(ax: Axes, labels: list[str]) -> None:
    """Labels of bars, ours in bold."""
    ax.set_yticks(range(len(labels)), [_short(label) for label in labels])
    ax.tick_params(axis="y", length=0)
    for text in ax.get_yticklabels():
        text.set_fontweight("bold" if _is_ours(text.get_text()) else "normal")


def _headline(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontweight="bold", fontsize=12)


def _short(label: str) -> str:
    """A label for a picture."""
    return "bare np.copyto" if label.startswith("np.copyto") else label


def _microseconds(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda us, _: _us(us)))


def _us(us: float) -> str:
    """A time in the unit that suits it."""
    value, unit = (us, "µs") if us < 1000 else (us / 1e3, "ms")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def _bytes(label: str) -> int:
    number, unit = re.fullmatch(r"(\d+) (\w+)", label).groups()  # type: ignore[union-attr]
    return int(number) * {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]
