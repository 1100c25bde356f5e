"""That looking costs the recording nothing; what it costs the one who looks, and how soon one sees."""

from __future__ import annotations

from collections.abc import Iterator

from .daemon import Bench
from .results import Table
from .watching import load, page, peers, serving, taps


def measure(bench: Bench) -> Iterator[Table]:
    """The writer first."""
    yield taps.table(bench)
    yield from load.tables(bench)
    yield serving.table(bench)
    yield page.table(bench)
    yield peers.table(bench)
