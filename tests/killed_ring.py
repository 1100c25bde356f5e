"""What a producer may be about when it is killed, and what must be true of the memory that it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backends import Ends
from recd_client import layout
from recd_client.ring import RingConsumer
from rings import DATA, MIN_CAPACITY, Record, new_memory, payload_of, published, put, taken

Act = Callable[["Scene"], object]
KIB_PAYLOAD = 1024 - layout.HEADER_BYTES


class Scene:
    """A ring with both its ends, and all that was read from it and freed."""

    def __init__(self, ends: Ends) -> None:
        self.memory = new_memory()
        self.producer = ends.producer(self.memory)
        self.consumer = ends.consumer(self.memory)
        self.found: list[Record] = []

    def write(self, size: int) -> bool:
        return put(self.producer, payload_of(self.producer.next_seq, size), 5.0, 5, 5)

    def take(self) -> None:
        self.found += taken(self.consumer)


def fresh(_: Scene) -> None:
    """A new ring."""


def used(scene: Scene) -> None:
    """Some records published, most of them freed."""
    for n in range(5):
        scene.write(100 * n)
    scene.take()
    scene.write(300)


def at_the_end_of_a_lap(scene: Scene) -> None:
    """One and a half KiB are left of the lap, and leftovers of the lap before lie everywhere."""
    for _ in range(30):
        scene.write(KIB_PAYLOAD)
        scene.take()
    scene.write(512 - layout.HEADER_BYTES)


def after_losses(scene: Scene) -> None:
    """At the end of a lap, with losses of two causes to tell."""
    at_the_end_of_a_lap(scene)
    scene.producer.lose("too_large", 10**6, 1.0, 1)
    scene.producer.lose("interrupted", 10, 2.0, 2)
    scene.producer.lose("too_large", 10**6, 3.0, 3)


def lap_filled_and_a_loss(scene: Scene) -> None:
    """The lap is filled exactly, and a loss is to be told at the beginning of the next."""
    for _ in range(16):
        scene.write(KIB_PAYLOAD)
        scene.take()
    scene.producer.lose("interrupted", 10, 2.0, 2)


def full(scene: Scene) -> None:
    """No room, and losses to tell."""
    at_the_end_of_a_lap(scene)
    while scene.write(1000):
        pass


def write(size: int) -> Act:
    """A write of ``size`` payload bytes."""

    def act(scene: Scene) -> None:
        scene.write(size)

    act.__name__ = f"write_{size}"
    return act


def mark(scene: Scene) -> None:
    """A mark."""
    scene.producer.mark("m" * 900, {"n": 1}, 6.0, 6, 6)


def close(scene: Scene) -> None:
    """The end."""
    scene.producer.close(7.0, 7, 7)


def lose(scene: Scene) -> None:
    """An attempt that does not go in."""
    scene.producer.lose("too_large", 10**6, 8.0, 8)


def abort(scene: Scene) -> None:
    """A reservation, given back."""
    if scene.producer.reserve(1024) >= 0:
        scene.producer.abort()


SITUATIONS: list[Act] = [fresh, used, at_the_end_of_a_lap, after_losses, lap_filled_and_a_loss, full]
in_each_situation = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda f: f.__name__)
ACTS: list[Act] = [write(0), write(100), write(2000), mark, close, lose, abort]
for_each_act = pytest.mark.parametrize("act", ACTS, ids=lambda f: f.__name__)


def word(memory: bytes | bytearray, name: str) -> int:
    """A producer's word by its name."""
    at = layout.PRODUCER[name]
    return int.from_bytes(memory[at : at + 8], "little")


class Images:
    """What is in memory before, during and after an act, and where a consumer goes on.

    Parameters
    ----------
    scene : Scene
        Before the act.
    consumer : type
        Reads what a killed producer left.
    """

    def __init__(self, scene: Scene, consumer: type[RingConsumer]) -> None:
        self.position = scene.consumer.free_position
        self.found = [bytes(scene.memory)]
        self._memory = scene.memory
        self._consumer = consumer

    def look(self) -> None:
        """Keep what is in memory now."""
        if self._memory != self.found[-1]:
            self.found.append(bytes(self._memory))

    def check(self) -> None:
        """Everything that must hold of what a kill leaves, wherever it comes."""
        survived = [self._survivors(image) for image in self.found]
        self._only_whole_records(survived)
        self._only_what_was_announced()
        self._at_most_one_in_flight(survived)

    def _survivors(self, image: bytes) -> list[Record]:
        """What a consumer finds after the kill, with garbage where the dead producer was still writing."""
        memory = bytearray(image)
        for at in range(word(image, "head"), word(image, "intent_end")):
            memory[layout.DATA_OFFSET + at % MIN_CAPACITY] = 0xA5
        return published(self._consumer(memory, self.position))

    def _only_whole_records(self, survived: list[list[Record]]) -> None:
        """Head is old or new: the consumer finds a whole prefix, and never less than before."""
        whole = survived[-1]
        assert all(records == whole[: len(records)] for records in survived)
        lengths = [len(records) for records in survived]
        assert lengths == sorted(lengths)

    def _only_what_was_announced(self) -> None:
        """Every byte of the data area that has changed lies below the highest intent."""
        before = self.found[0][layout.DATA_OFFSET :]
        intent = begin = word(self.found[0], "head")
        for image in self.found:
            intent = max(intent, word(image, "intent_end"))
            announced = {at % MIN_CAPACITY for at in range(begin, intent)}
            changed = {at for at, byte in enumerate(image[layout.DATA_OFFSET :]) if byte != before[at]}
            assert changed <= announced

    def _at_most_one_in_flight(self, survived: list[list[Record]]) -> None:
        """Attempts are samples published, losses by cause and at most one more; no number comes twice."""
        in_flight = []
        freed = None
        for image, records in zip(self.found, survived, strict=True):
            numbers = [r.seq for r in records if r.kind == DATA]
            assert numbers == sorted(set(numbers))
            assert all(seq < word(image, "next_seq") for seq in numbers)
            lost = sum(word(image, f"lost_{cause}_count") for cause in layout.CAUSES)
            open_attempts = word(image, "next_seq") - lost - len(numbers)
            freed = open_attempts if freed is None else freed
            in_flight.append(open_attempts - freed)
        assert set(in_flight) <= {0, 1}
        assert in_flight[-1] == 0
