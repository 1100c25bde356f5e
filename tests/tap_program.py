"""A tap in a process of its own: ``tap_program.py RING KIND HOW``, beside ``lapping_program.py``, until its input ends.

It proves each sample that it is given whole, and in its place. HOW is ``looks``, or what happens to it in the middle of
reading: ``stops`` (SIGSTOP, now and then; whoever started it lets it go on), ``dies`` (SIGKILL, at its tenth look). It
prints ``enough`` when it has seen a fair number of samples, and the number at the end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from lapping_program import sample_of
from recd.batch import Batch
from recd.taps.ring import RingTap
from recd_client.sample import infer
from recd_client.shm import Segment

ENOUGH_SAMPLES, ENOUGH_LOOKS, ENOUGH_STOPS = 500, 100, 5
LAST_LOOK = 10


class DisturbedTap(RingTap):
    """One that stops, or dies, when half of the bytes are copied, or all of them and nothing is checked."""

    how = "looks"
    looks = stops = 0

    def _copy(self, begin: int, head: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        middle = begin + (head - begin) // 2
        first = super()._copy(begin, middle)
        self.disturb(self.looks % 2 == 0)
        second = super()._copy(middle, head)
        self.disturb(self.looks % 2 == 1)
        self.looks += 1
        return np.concatenate([first, second])

    def disturb(self, here: bool) -> None:
        """Stop or die, if it is time to."""
        if here and self.how == "dies" and self.looks >= LAST_LOOK:
            os.kill(os.getpid(), signal.SIGKILL)
        if here and self.how == "stops" and self.looks % 20 < 2:
            self.stops += 1
            os.kill(os.getpid(), signal.SIGSTOP)


def prove(kind: str, batch: Batch) -> None:
    """Every sample is the one of its number, and they follow each other."""
    numbers = batch.seq.astype(np.int64)
    assert (np.diff(numbers) == 1).all(), numbers
    assert (batch.t == numbers / 8).all()
    assert (batch.step == numbers).all()
    if kind == "fixed":
        assert (batch.fixed("data") == [sample_of(kind, n) for n in numbers.tolist()]).all()
        return
    expected = [sample_of(kind, n) for n in numbers.tolist()]
    assert batch.fixed("n").tolist() == [e["n"] for e in expected]
    assert batch.varying("text").strings() == [e["text"] for e in expected]


def main(ring: str, kind: str, how: str) -> None:
    """Look until the input ends."""
    segment = Segment.open(ring, read_only=True)
    tap = DisturbedTap(segment.memory, infer(sample_of(kind, 0)))
    tap.how = how
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    chance, next_seq, samples, said = random.Random(os.getpid()), 0, 0, False
    while not over.is_set():
        again = chance.random() < 0.3  # the newest ones, whether they were given before or not
        taken = tap.newest(chance.randint(1, 30)) if again else tap.take(chance.choice([None, 1000, 4000]))
        for batch in taken.batches:
            prove(kind, batch)
            assert again or batch.seq[0] >= next_seq, "a sample came twice, or late"
            again = False
            next_seq = int(batch.seq[-1]) + 1
            samples += len(batch)
        enough = samples >= ENOUGH_SAMPLES and tap.looks >= ENOUGH_LOOKS
        if enough and not said and (how != "stops" or tap.stops >= ENOUGH_STOPS):
            print("enough", flush=True)
            said = True
        time.sleep(chance.choice([0, 0, 0.001]))
    tap.close()
    assert segment.close()
    print(samples)


if __name__ == "__main__":
    main(*sys.argv[1:])
