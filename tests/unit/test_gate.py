"""When a condition is told: at edges, and not too often."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recd.alerts.gate import Gate


@given(
    truths=st.lists(st.booleans(), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    every=st.integers(0, 20),
)
def test_it_fires_as_sample_by_sample_would_however_they_come(
    truths: list[bool], cuts: list[int], every: int
) -> None:
    """A plain loop over single samples finds the same, with the same number held back, for any batches."""
    expected, held, open_at, before = [], 0, 0, False
    for i, truth in enumerate(truths):
        if truth and not before:
            if i >= open_at:
                expected.append((i, held))
                held, open_at = 0, i + every
            else:
                held += 1
        before = truth
    gate, found = Gate(float(every)), []
    ends = sorted({0, len(truths), *(c for c in cuts if c < len(truths))})
    mono_ns = np.arange(len(truths), dtype=np.uint64) * np.uint64(1_000_000_000)
    for begin, end in pairwise(ends):
        fired = gate.fires(np.array(truths[begin:end], bool), mono_ns[begin:end])
        found += [(begin + i, held_back) for i, held_back in fired]
    assert found == expected
    assert gate.held_back == held


def test_samples_that_are_passed_over_only_set_the_state() -> None:
    """A successor does not fire for what was told, nor for what only goes on."""
    gate = Gate(0.0)
    gate.pass_over(np.array([False, True]))
    assert gate.fires(np.array([True, False, True]), np.arange(3, dtype=np.uint64)) == [(2, 0)]
