"""Measure what recording costs, beside other ways of doing it: ``make bench``.

::

    python scripts/bench.py                          all of it, some twenty minutes
    python scripts/bench.py --quick                  three minutes
    python scripts/bench.py calls drain              some of it
    python scripts/bench.py --json bench.json        the numbers for a program, too
    python scripts/bench.py --plots docs/images      pictures of them
    python scripts/bench.py --compare old.json       what has become slower, by ratio to a calibration loop
    python scripts/bench.py --from bench.json ...    no measurement: numbers of an earlier run

It starts a daemon of its own, in a temporary directory, and prints Markdown. Nothing is asserted: the bars
are what recd sets out to reach, and each number says whether it did. What else the machine does shows.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks import calibration, compare
from benchmarks.daemon import own_daemon
from benchmarks.results import Table, machine

#: Modules of ``benchmarks`` with a ``measure(bench)``, each imported when it is wanted: hosts import this file, too.
GROUPS: Final = (
    "calls", "frames", "curve", "files", "drain", "latency", "memory", "loop", "scale", "syscalls", "safety",
    "recovery", "play", "genesis", "live", "convert",
)  # fmt: skip


def main() -> None:
    """Measure, and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the daemon is to be stopped
    parser = argparse.ArgumentParser(description="Measure what recording costs, beside other ways.")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="three minutes rather than twenty")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--dir", type=Path, help="where to record, some GB (default: a temporary one)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw them, as DIR/bench-*.png")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD", help="also print ratios to an earlier run's JSON"
    )
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="measure nothing: read JSON")
    args = parser.parse_args()
    if unknown := set(args.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    report = json.loads(args.source.read_text()) if args.source else _measure(args)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if args.compare is not None:
        print(f"\n{compare.table(json.loads(args.compare.read_text()), report).markdown()}")
    if args.plots is not None:
        from benchmarks import plots  # needs matplotlib

        for path in plots.draw(report, args.plots):
            print(f"drawn: {path}", file=sys.stderr)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """All the groups' tables, printed as they come."""
    began_s = time.monotonic()
    tables: list[Table] = []
    with own_daemon(args.dir, quick=args.quick) as bench:
        head = machine(bench.directory)
        print("\n".join(f"- {name}: {what}" for name, what in head.items()), flush=True)
        for name in args.groups or GROUPS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            calibration.look()
            for table in import_module(f"benchmarks.{name}").measure(bench):
                table.loop_us = calibration.take_us()
                tables.append(table)
                print(f"\n{table.markdown()}", flush=True)
                bench.clear()
    print(f"\nMeasured in {time.monotonic() - began_s:.0f} s.")
    return {"quick": args.quick, "machine": head, "tables": [t.to_json() for t in tables]}


if __name__ == "__main__":
    main()
