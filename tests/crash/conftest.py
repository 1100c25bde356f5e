"""What kill sweeps share: who kills, and one recording after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest

from sweeping import Executioner, InTurn, Take


@pytest.fixture(scope="module")
def executioner() -> Iterator[Executioner]:
    """A process that forks workers and kills them."""
    process = Executioner()
    yield process
    process.close()


@pytest.fixture
def in_turn(tmp_path: Path) -> Iterator[InTurn[Take]]:
    """Makes one recording after the other, each in a directory of its own; it is closed when the next is made."""
    numbers = count()
    with ExitStack() as open_now:

        def new(make: Callable[[Path], Take]) -> Take:
            open_now.close()
            return open_now.enter_context(closing(make(tmp_path / f"{next(numbers)}")))

        yield new
