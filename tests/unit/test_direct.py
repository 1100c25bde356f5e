from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_ffmpeg import FakeFfmpeg
from filming import FRAME_BYTES, Filming


@pytest.fixture
def ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFfmpeg]:
    """An ffmpeg that holds three frames, behind a pipe of two."""
    world = FakeFfmpeg(FRAME_BYTES)
    world.install(monkeypatch)
    yield world
    world.close()


def test_a_film_has_every_frame_in_order(tmp_path: Path, ffmpeg: FakeFfmpeg) -> None:
    """Without trouble, the file is the frames."""
    filming = Filming(tmp_path, ffmpeg)
    for _ in range(20):
        filming.write(4)
        filming.run_until(lambda: filming.runner.position >= filming.feed.head)
    filming.check()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 8)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["mark", "reset", "discard"])),
        st.tuples(st.just("drain")),
        st.tuples(st.just("work")),
        st.tuples(st.just("finish_job")),
        st.tuples(st.just("encode"), st.integers(1, 6)),
        st.tuples(st.sampled_from(["kill_encoder", "quit_encoder"])),
        st.tuples(st.just("die")),
        st.tuples(st.just("stop")),
        st.tuples(st.just("die_at"), st.integers(1, 25), st.booleans()),
        st.tuples(st.just("trouble"), st.integers(1, 25), st.booleans(), st.booleans()),
        st.tuples(st.just("go_on"), st.integers(1, 6)),
    ),
    max_size=40,
)
OPTIONS = st.sampled_from([{}, {"save_on_reset": True}, {"split": 3}, {"split": 5, "save_on_reset": True}])


def act(filming: Filming, action: tuple[Any, ...]) -> None:
    """Do one step of a schedule."""
    name, *arguments = action
    if name == "encode":
        filming.ffmpeg.encode(*arguments)
    elif name == "kill_encoder":
        filming.ffmpeg.kill()
    elif name == "quit_encoder":
        filming.ffmpeg.quit()
    elif name == "trouble":
        filming.trouble(arguments[0], torn=arguments[1], lasts=arguments[2])
    elif name == "die_at":
        filming.die_at(arguments[0], torn=arguments[1])
    elif name == "go_on":
        for _ in range(arguments[0]):
            filming.drain()
            filming.work()
            filming.finish_job()
            filming.ffmpeg.encode(1)
    else:
        getattr(filming, name)(*arguments)


@settings(
    max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    actions=ACTIONS,
    options=OPTIONS,
    alone=st.booleans(),
    delay=st.integers(0, 5),
    pipe=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_whatever_happens_each_frame_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[Any, ...]],
    options: dict[str, Any],
    alone: bool,
    delay: int,
    pipe: float,
) -> None:
    """Workers and encoders die anywhere, frames are lost, parts begin and are thrown away: the files are exact."""
    world = FakeFfmpeg(FRAME_BYTES, pipe, delay)
    with pytest.MonkeyPatch.context() as patch:
        world.install(patch)
        filming = Filming(tmp_path_factory.mktemp("film"), world, alone=alone, **options)
        for action in actions:
            act(filming, action)
        filming.check()
    world.close()
