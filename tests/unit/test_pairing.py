"""Which samples of two streams belong together: by number over losses on either side, or by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recd.reader import Block
from recd.reader.column import Lists
from recd.tools.pairing import NUMBER, PLACE, pairing_of

NUMBERS = st.lists(st.integers(0, 60), unique=True, max_size=40).map(sorted)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


class Numbered:
    """Stands for a stream of samples with these numbers, which it gives in blocks of these sizes, again and again."""

    def __init__(self, numbers: list[int], sizes: list[int], *, known: bool = True) -> None:
        self.numbers = np.array(numbers, np.int64)
        self.sizes = sizes
        self.known = frozenset({"seq"} if known else ())

    def __len__(self) -> int:
        return len(self.numbers)

    def batches(
        self,
        rows: int | None = None,
        fields: list[str] | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Block]:
        """As :meth:`recd.reader.ArrayStream.batches`: twice its number, and as many sevens as it."""
        stop = len(self) if stop is None else stop
        at = 0
        while start < stop:
            size = min(rows or self.sizes[at % len(self.sizes)], stop - start)
            numbers = self.numbers[start : start + size]
            block = Block()
            block["twice"] = 2 * numbers
            block["sevens"] = Lists(
                np.repeat(numbers, numbers % 5),
                np.concatenate([[0], np.cumsum(numbers % 5)]).astype(np.int64),
            )
            block.start, block.seq, block.t = start, numbers, numbers * 0.5
            block.step = block.mono_ns = numbers
            block.wall = block.t
            yield block
            start, at = start + size, at + 1


def gone_through(pairing: Any, a: Numbered, b: Numbered) -> tuple[list[int], list[int]]:
    """Indices of what was paired, in each; every block proves itself."""
    left, right = [], []
    for one, two, places in pairing.blocks(a, b, ["twice", "sevens"]):
        assert one.count == two.count == len(places.index) > 0
        for block in (one, two):
            assert block["twice"].tolist() == (2 * block.seq).tolist()
            sevens = [values.tolist() for values in (block["sevens"][i] for i in range(block.count))]
            assert sevens == [[n] * (n % 5) for n in block.seq.tolist()]
        assert places.seq.tolist() == one.seq.tolist() == a.numbers[places.index].tolist()
        assert places.t.tolist() == one.t.tolist()
        left += places.index.tolist()
        right += np.searchsorted(b.numbers, two.seq).tolist()
    return left, right


@given(a=NUMBERS, b=NUMBERS, sizes_a=SIZES, sizes_b=SIZES)
def test_by_number_exactly_what_both_have_is_paired(
    a: list[int], b: list[int], sizes_a: list[int], sizes_b: list[int]
) -> None:
    """However the blocks lie; and the first sample that only one has is known, on both sides."""
    one, two = Numbered(a, sizes_a), Numbered(b, sizes_b)
    pairing = pairing_of(one, two, NUMBER)
    left, right = gone_through(pairing, one, two)
    if not pairing.by_number:  # nothing in common
        assert not {*a} & {*b}
        return
    both = sorted({*a} & {*b})
    assert [a[i] for i in left] == [b[i] for i in right] == both
    assert pairing.common == len(both)
    assert pairing.lone == [min({*a} - {*b}, default=None), min({*b} - {*a}, default=None)]
    assert bool(pairing.told) == (a != b)


@given(a=NUMBERS, b=NUMBERS, sizes_a=SIZES, sizes_b=SIZES, known=st.booleans())
def test_by_place_the_first_is_paired_with_the_first(
    a: list[int], b: list[int], sizes_a: list[int], sizes_b: list[int], known: bool
) -> None:
    """Asked for, or where one does not know its numbers."""
    one, two = Numbered(a, sizes_a), Numbered(b, sizes_b, known=known)
    pairing = pairing_of(one, two, PLACE if known else NUMBER)
    left, right = gone_through(pairing, one, two)
    count = min(len(a), len(b))
    assert left == right == [*range(count)]
    assert pairing.common == count
    assert bool(pairing.told) == (len(a) != len(b))


def test_what_only_one_has_is_told_with_its_first_number() -> None:
    """For people: how many, in which, from where on."""
    one, two = Numbered([*range(10)], [4]), Numbered([0, 1, 2, 6, 7, 12], [3])
    pairing = pairing_of(one, two, NUMBER)
    gone_through(pairing, one, two)
    assert pairing.told == (
        "10 samples against 6: 5 only in the first, from number 3 on; 1 only in the second, from number 12 on"
    )
