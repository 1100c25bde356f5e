"""When events are due, by a clock that only goes when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from played import run_of
from recd.player.pacer import SLIP_S, Lateness, Pacer
from recd.player.playback import Playback
from recd.player.timeline import Timeline
from recd.reader import Mark
from recd_client.errors import OptionError


class FakeTime:
    """A clock, and the waiting for it: time passes only there, and where a test lets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float | None] = []
        self.commands: list[object] = []

    def __call__(self) -> float:
        return self.now_s

    def wait(self, timeout_s: float | None) -> None:
        """Time passes up to then; where nothing is due, the next command comes."""
        self.waits.append(timeout_s)
        if timeout_s is not None:
            self.now_s += timeout_s
        elif self.commands:
            self.commands.pop(0)()  # type: ignore[operator]
        else:
            raise AssertionError("it waits for ever")

    def wake(self) -> None:
        """Nobody waits elsewhere."""


def playback(time: FakeTime, rate: float = 1.0, n: int = 10, **options: object) -> Playback:
    """Samples at 0, 1, 2, ... s."""
    run = run_of({"a": [float(i) for i in range(n)]})
    return Playback(Timeline(run, dict(run.streams)), Pacer(rate, time), waiting=time, **options)  # type: ignore[arg-type]


# --- pace ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.25, 1.0, 3.0])
def test_each_event_comes_when_it_is_due(rate: float) -> None:
    """At so many seconds of the recording per second, from the first event on."""
    time = FakeTime()
    came = [(e.t, time.now_s) for e in playback(time, rate)]
    assert came == [(t, pytest.approx(1000.0 + t / rate)) for t in range(10)]


@given(st.lists(st.floats(0.0, 0.01), min_size=50, max_size=50))
def test_small_delays_do_not_add_up(delays: list[float]) -> None:
    """Whatever each event is late by, the last one is late by its own delay alone."""
    time, came = FakeTime(), []
    for event, delay_s in zip(playback(time, n=50), delays, strict=True):
        came.append(time.now_s - 1000.0 - event.t)
        time.now_s += delay_s
    assert max(map(abs, came)) < 1e-9


def test_rate_0_waits_for_nothing() -> None:
    """All events come at once, and none is late."""
    time = FakeTime()
    player = playback(time, 0)
    assert len(list(player)) == 10
    assert time.now_s == 1000.0
    assert player.pacing.events == 0


def test_time_begins_with_the_first_event_that_is_asked_for() -> None:
    """What happens between making a playback and iterating makes nothing late."""
    time = FakeTime()
    player = playback(time)
    time.now_s += 50.0
    assert next(player).t == 0
    assert time.now_s == 1050.0
    assert player.pacing.late_max_s == 0.0


def test_a_delay_comes_before_the_first_event_only() -> None:
    """The others follow at their distance."""
    time = FakeTime()
    came = [time.now_s - 1000.0 for _ in playback(time, n=3, delay_s=5.0)]
    assert came == pytest.approx([5.0, 6.0, 7.0])


# --- changes ------------------------------------------------------------------------------------------


def test_after_a_pause_it_goes_on_where_it_was() -> None:
    """No event is skipped, and none comes in a burst: the rest of the distance is waited for."""
    time = FakeTime()
    player = playback(time)
    assert [next(player).t for _ in range(3)] == [0, 1, 2]
    time.now_s += 0.25
    player.pause()
    assert player.position == pytest.approx(2.25)
    time.now_s += 100.0
    assert player.position == pytest.approx(2.25)
    player.resume()
    before_s = time.now_s
    assert next(player).t == 3
    assert time.now_s - before_s == pytest.approx(0.75)
    assert player.pacing.late_max_s < 1e-9


def test_while_paused_nothing_comes_until_a_command_does() -> None:
    """The wait has no end of its own."""
    time = FakeTime()
    player = playback(time)
    player.pause()
    time.commands = [player.resume]
    assert next(player).t == 0
    assert time.waits[0] is None


def test_another_rate_goes_on_from_where_playing_is() -> None:
    """Half a second before the next event at rate 1 is a quarter at rate 2."""
    time = FakeTime()
    player = playback(time)
    next(player)
    time.now_s += 0.5
    player.rate = 2.0
    assert player.position == pytest.approx(0.5)
    before_s = time.now_s
    assert next(player).t == 1
    assert time.now_s - before_s == pytest.approx(0.25)


def test_steps_give_one_event_each_and_stand_still() -> None:
    """Forward and back; after a step back the same event follows again."""
    time = FakeTime()
    player = playback(time)
    next(player)
    next(player)
    for command, expected in (
        (player.step, 2),
        (player.step, 3),
        (player.back, 2),
        (player.back, 1),
        (player.step, 2),
    ):
        command()
        assert next(player).t == expected
        assert player.paused
        assert player.position == expected
    assert time.now_s == 1001.0


def test_no_step_leads_before_the_first_event_or_behind_the_last() -> None:
    """The first one is given again; behind the last one nothing follows until another command."""
    time = FakeTime()
    player = playback(time, n=2)
    next(player)
    for _ in range(3):
        player.back()
        assert next(player).t == 0
    player.step()
    assert next(player).t == 1
    player.step()
    time.commands = [player.back]
    assert next(player).t == 0


@pytest.mark.parametrize(("to", "expected"), [(7.5, 8), (3.0, 3), (-5.0, 0), (50.0, 9)])
def test_after_seeking_the_next_event_is_as_far_away_as_it_stands(to: float, expected: int) -> None:
    """Both ways; what is outside counts as the begin or the end."""
    time = FakeTime()
    player = playback(time)
    for _ in range(6):
        next(player)
    player.seek(to)
    before_s = time.now_s
    assert next(player).t == expected
    assert time.now_s - before_s == pytest.approx(expected - min(max(to, 0), 9))


def test_steps_pass_over_marks_that_nobody_wants() -> None:
    """Each step gives a sample, both ways."""
    time = FakeTime()
    marks = [Mark("m", {}, 0.5 + n, -1, seq={"a": n + 1}, mono_ns=n) for n in range(3)]
    run = run_of({"a": [0.0, 1.0, 2.0, 3.0]}, marks)
    player = Playback(Timeline(run, dict(run.streams)), Pacer(1, time), waiting=time, marks=False)
    commands = (
        player.step,
        player.step,
        player.step,
        player.back,
        player.step,
        player.back,
        player.back,
        player.back,
    )
    came = []
    for command in commands:
        command()
        came.append(next(player).t)
    assert came == [0, 1, 2, 1, 2, 1, 0, 0]


def test_no_step_back_leaves_what_is_played() -> None:
    """A start in the middle is the begin."""
    player = playback(FakeTime(), start=4.0)
    assert next(player).t == 4
    for expected in (4, 4):
        player.back()
        assert next(player).t == expected


def test_a_loop_begins_anew_at_once() -> None:
    """The first event follows the last one without a wait, and the pace is as before."""
    time = FakeTime()
    player = playback(time, n=3, loop=True)
    came = [(next(player).t, time.now_s - 1000.0) for _ in range(7)]
    assert came == [
        (t, pytest.approx(at)) for t, at in [(0, 0), (1, 1), (2, 2), (0, 2), (1, 3), (2, 4), (0, 4)]
    ]


def test_where_it_holds_the_end_is_a_pause() -> None:
    """It can be gone back from."""
    time = FakeTime()
    player = playback(time, n=2)
    player.holds = True
    time.commands = [player.back, player.close]
    assert [e.t for e in player] == [0, 1, 0]


# --- lateness -----------------------------------------------------------------------------------------


def test_who_was_away_is_not_run_after() -> None:
    """One event is late by that time, the next ones come at their distance, and the summary tells."""
    time = FakeTime()
    player = playback(time)
    next(player)
    time.now_s += 5.0
    assert [next(player).t for _ in range(2)] == [1, 2]
    assert time.now_s == pytest.approx(1006.0)
    assert player.pacing.late_max_s == pytest.approx(4.0)
    assert player.pacing.slipped_s == pytest.approx(4.0)


def test_a_little_late_is_made_up_for() -> None:
    """Less than what counts as being away."""
    time = FakeTime()
    player = playback(time)
    next(player)
    time.now_s += 1.0 + SLIP_S / 2
    assert [next(player).t for _ in range(2)] == [1, 2]
    assert time.now_s == pytest.approx(1002.0)
    assert player.pacing.slipped_s == 0.0


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_close_from_above(values: list[float], share: float) -> None:
    """Never below the exact one, and at most an eighth above it."""
    late = Lateness()
    for value in values:
        late.add(value)
    rank = max(-(-share * len(values) // 1), 1)
    exact = sorted(values)[int(rank) - 1]
    assert exact * (1 - 1e-9) <= late.quantile_s(share) <= exact * 1.125
    assert late.max_s == max(values)


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "fast", None])
def test_a_rate_that_is_none_is_an_error(rate: object) -> None:
    """It names what came."""
    with pytest.raises(OptionError, match="rate="):
        Pacer(rate)  # type: ignore[arg-type]
