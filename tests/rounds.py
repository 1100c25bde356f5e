"""How long fault tests try: a few rounds every day, all of them in ``make soak``."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

#: Of each random fault; a sweep takes about so many of its points (all of them, if it has no more).
ROUNDS = int(os.environ.get("RECD_ROUNDS", "10"))
#: Another one every time; a failure says which, to have it again.
SEED = int(os.environ.get("RECD_SEED", "0")) or int.from_bytes(os.urandom(4), "little")


def dice(*of_what: object) -> random.Random:
    """Chance of its own for each test, repeated by setting ``RECD_SEED``."""
    print(f"to have this again: RECD_SEED={SEED} RECD_ROUNDS={ROUNDS}")
    return random.Random(f"{SEED} {of_what}")


def points(total: int, chance: random.Random, wanted: int = ROUNDS) -> Iterator[int]:
    """About ``wanted`` of the numbers from 1 to ``total``, evenly apart, from a random one on."""
    stride = max(1, total // wanted)
    yield from range(1 + chance.randrange(stride), total + 1, stride)


def share(kinds: int) -> int:
    """Rounds of each of so many kinds, which are :data:`ROUNDS` together, and at least one."""
    return max(1, ROUNDS // kinds)
