"""``scripts/bench.py`` measures, prints its tables, compares runs, and leaves nothing behind."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench.py"


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as ``make bench`` does."""
    command = [sys.executable, str(BENCH), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_group_is_measured_printed_and_written_as_json(tmp_path: Path) -> None:
    """Every row of the table is in the JSON, with its bar; nothing is left of the daemon and the files."""
    room, report = tmp_path / "room", tmp_path / "bench.json"
    room.mkdir()
    ran = bench("--quick", "--dir", room, "--json", report, "memory")
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(report.read_text())["tables"]
    rows = {row["label"]: row for row in table["rows"]}
    assert {"samples: simulation", "samples: supervisor", "samples: worker", "frames: worker"} <= rows.keys()
    for label, row in rows.items():
        assert f"| {label} |" in ran.stdout
        assert set(row["bar"]) == {"value", "limit", "unit", "at_least", "met"}
    assert not any(room.iterdir())


def test_each_way_that_is_here_makes_a_whole_recording_and_the_others_are_named(tmp_path: Path) -> None:
    """Whatever is installed fills its file, or the run would fail; whatever is not is named under the table."""
    room, report = tmp_path / "room", tmp_path / "bench.json"
    room.mkdir()
    ran = bench("--quick", "--dir", room, "--json", report, "files")
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(report.read_text())["tables"]
    rows = {row["label"]: row for row in table["rows"]}
    always = {
        "recd write",
        "recd write, to NPZ",
        "recd write, to HDF5",
        "queue + thread",
        "csv.writer, inline",
    }
    assert always <= rows.keys()
    for name, peer in (("rerun", "rerun, file sink"), ("foxglove", "Foxglove MCAP, JSON")):
        assert (peer in rows) != any(
            note == f"not compared: {name} is not installed" for note in table["notes"]
        )
    for row in rows.values():
        assert row["bytes/sample on disk"] > 50
        assert row["relative"]["samples/s"] == pytest.approx(row["samples/s"] * table["loop_us"] / 1e6)
    assert not any(room.iterdir())


def report_of(p50_us: float, rows_per_s: float, loop_us: float = 100.0) -> dict[str, Any]:
    """A report with one row of each kind, as ``--json`` writes it."""
    rows = [
        {"label": "recd write", "p50 µs": p50_us, "p99 µs": 9.0, "bar": None},
        {"label": "recd drain", "thousand rows/s": rows_per_s, "bar": None},
    ]
    rows[0]["relative"] = {"p50 µs": p50_us / loop_us, "p99 µs": 9.0 / loop_us}
    rows[1]["relative"] = {"thousand rows/s": rows_per_s * loop_us / 1e6}
    table = {"key": "calls", "title": "Calls", "loop_us": loop_us, "notes": [], "rows": rows}
    return {"quick": True, "machine": {}, "tables": [table]}


def compared(tmp_path: Path, old: dict[str, Any], new: dict[str, Any]) -> list[list[str]]:
    """The cells of the table that ``--compare`` prints, line by line."""
    for name, report in (("old", old), ("new", new)):
        (tmp_path / name).write_text(json.dumps(report))
    ran = bench("--from", tmp_path / "new", "--compare", tmp_path / "old")
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("| Calls")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_runs_are_compared_by_ratio_to_the_loop_and_tails_are_left_out(tmp_path: Path) -> None:
    """A machine twice as slow in everything changes nothing; a call that is twice as slow alone is worse."""
    old = report_of(2.0, 500.0)
    slower_machine = compared(tmp_path, old, report_of(4.0, 250.0, loop_us=200.0))
    assert [(line[3], line[4]) for line in slower_machine] == [("1.00", ""), ("1.00", "")]
    slower_code = compared(tmp_path, old, report_of(4.0, 250.0))
    assert [(line[0], line[3], line[4]) for line in slower_code] == [
        ("Calls: recd write: p50 µs", "2.00", "worse"),
        ("Calls: recd drain: thousand rows/s", "0.50", "worse"),
    ]
    faster_code = compared(tmp_path, old, report_of(1.0, 1000.0))
    assert [line[4] for line in faster_code] == ["better", "better"]


def test_numbers_that_only_one_run_has_are_left_out(tmp_path: Path) -> None:
    """A row that is new has nothing to be compared with."""
    old = report_of(2.0, 500.0)
    new = copy.deepcopy(old)
    new["tables"][0]["rows"][0]["label"] = "recd write (native core)"
    assert [line[0] for line in compared(tmp_path, old, new)] == ["Calls: recd drain: thousand rows/s"]


@pytest.mark.requires("matplotlib")
def test_plots_are_drawn_of_what_a_report_has(tmp_path: Path) -> None:
    """A picture per table that is there, none for the others."""
    report = report_of(2.0, 500.0)
    (table,) = report["tables"]
    row = {"label": "recd write", "p50 µs": 2.0, "p99.9 µs": None, "max µs": 9.0, "relative": {}, "bar": None}
    table.update(key="calls.state", rows=[row])
    (tmp_path / "report").write_text(json.dumps(report))
    ran = bench("--from", tmp_path / "report", "--plots", tmp_path / "images")
    assert ran.returncode == 0, ran.stderr
    (image,) = (tmp_path / "images").iterdir()
    assert image.name == "bench-calls.png"
    assert image.read_bytes().startswith(b"\x89PNG")


def test_a_group_that_does_not_exist_is_refused() -> None:
    """The error names what there is."""
    ran = bench("speed")
    assert ran.returncode == 2
    assert "no such group: speed" in ran.stderr
    assert "calls, frames, curve, files, drain, latency, memory, loop, scale, syscalls, safety" in ran.stderr
