"""``scripts/bench.py`` measures, prints its table, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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


def test_a_group_that_does_not_exist_is_refused() -> None:
    """The error names what there is."""
    ran = bench("speed")
    assert ran.returncode == 2
    assert "no such group: speed" in ran.stderr
    assert "calls, drain, latency, memory, loop" in ran.stderr
