"""When a worker looks at its rings."""

from __future__ import annotations

import pytest

from recd.pace import LONGEST_S, Pace


class Clock:
    """Time as the test has it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test moves it."""
    return Clock()


def looked(pace: Pace, clock: Clock, share: float, times: int = 1) -> float:
    """The pause after so many looks, each when it was due, that found this much."""
    for _ in range(times):
        clock.now_s += pace.wait_s()
        pace.looked(share)
    return pace.wait_s()


def test_the_first_look_is_due_at_once(clock: Clock) -> None:
    """A worker that begins does not wait for what an earlier one left in the ring."""
    assert Pace(clock).wait_s() == 0


def test_pauses_grow_to_their_longest_while_little_comes(clock: Clock) -> None:
    """A slow stream is looked at a hundred times per second, and no more."""
    pace = Pace(clock)
    pauses = [looked(pace, clock, 0.001) for _ in range(20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST_S)


@pytest.mark.parametrize("fills_in_s", [0.004, 0.02, 0.05])
def test_an_eighth_of_the_ring_gathers_between_looks(clock: Clock, fills_in_s: float) -> None:
    """Whatever the speed of the producer, the pause settles where the ring is far from full."""
    pace = Pace(clock)
    pause_s = LONGEST_S
    for _ in range(50):
        pause_s = looked(pace, clock, min(pause_s / fills_in_s, 1.0))
    assert pause_s == pytest.approx(fills_in_s / 8, rel=0.01)


def test_a_full_ring_shortens_the_pause_at_once(clock: Clock) -> None:
    """A producer that starts to hurry is answered at the next look."""
    pace = Pace(clock)
    before = looked(pace, clock, 0.0, times=20)
    assert looked(pace, clock, 1.0) == pytest.approx(before / 8)


def test_somebody_who_waits_makes_the_look_due(clock: Clock) -> None:
    """A flush does not wait for the pause to end."""
    pace = Pace(clock)
    assert looked(pace, clock, 0.0, times=20) > 0
    pace.hurry()
    assert pace.wait_s() == 0


def test_it_is_quiet_only_when_nothing_has_come_for_a_while(clock: Clock) -> None:
    """A worker sleeps deeply between recordings, not between two samples."""
    pace = Pace(clock)
    looked(pace, clock, 0.5)
    assert not pace.is_quiet
    looked(pace, clock, 0.0, times=100)
    assert pace.is_quiet
    looked(pace, clock, 0.001)
    assert not pace.is_quiet
