"""Two runs, compared by what they cost in units of the calibration loop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .results import Table

#: Tails come and go with the machine's moods.
_TAILS = re.compile(r"p99|max|least|most")
#: What is worth a look: more than this from one.
_NOISE = 0.1


def table(old: dict[str, Any], new: dict[str, Any]) -> Table:
    """Numbers that both runs have; nothing passes or fails by them."""
    result = Table("Compared with an earlier run", ("then", "now", "now / then", ""), key="compare")
    before = {name: value for name, _, value in _numbers(old)}
    for name, column, value in _numbers(new):
        then = before.get(name)
        if not then:
            continue
        ratio = value / then
        gain = ratio if "/s" in column else 1 / ratio if ratio else 1.0
        word = "better" if gain > 1 + _NOISE else "worse" if gain < 1 - _NOISE else ""
        result.add(name, then, value, ratio, word)
    result.notes.append(
        "In units of a fixed loop that was timed beside them: times divided by its time, rates times its time. "
        f"Medians only. A word where they differ by more than {_NOISE:.0%}; noise may be more than that."
    )
    return result


def _numbers(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Name, column and value of each number that is no tail."""
    for one in report["tables"]:
        for row in one["rows"]:
            for column, value in row["relative"].items():
                if not _TAILS.search(column):
                    yield f"{one['title']}: {row['label']}: {column}", column, value
