"""Measure what recording costs, beside other ways of doing it: ``make bench``.

::

    python scripts/bench.py                     all of it, a few minutes
    python scripts/bench.py --quick             a minute
    python scripts/bench.py calls drain         some of it
    python scripts/bench.py --json bench.json   the numbers for a program, too

It starts a daemon of its own, in a temporary directory, and prints Markdown. Nothing is asserted: the bars
are what recd sets out to reach, and each number says whether it did. What else the machine does shows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import calls, drain, latency, loop, memory, recovery, safety
from benchmarks.daemon import Bench, own_daemon
from benchmarks.results import Table, machine

GROUPS: dict[str, Callable[[Bench], list[Table]]] = {
    "calls": calls.measure,
    "drain": drain.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "loop": loop.measure,
    "safety": safety.measure,
    "recovery": recovery.measure,
}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Measure what recording costs, beside other ways.")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a minute rather than a few")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--dir", type=Path, help="where to record, some GB (default: a temporary one)")
    args = parser.parse_args()
    if unknown := set(args.groups) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    began_s = time.monotonic()
    tables: list[Table] = []
    with own_daemon(args.dir, quick=args.quick) as bench:
        head = machine(bench.directory)
        print("\n".join(f"- {name}: {what}" for name, what in head.items()), flush=True)
        for name in args.groups or GROUPS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            for table in GROUPS[name](bench):
                tables.append(table)
                print(f"\n{table.markdown()}", flush=True)
    print(f"\nMeasured in {time.monotonic() - began_s:.0f} s.")
    if args.json is not None:
        report = {"quick": args.quick, "machine": head, "tables": [t.to_json() for t in tables]}
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
