"""Rows on one time axis: which sample of each stream they show, and what is told of those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recd
from recd.converter.alignment import constant_rate
from recd.converter.choosing import all_episodes, chosen_episodes
from recd.converter.dataset import Dataset, plan
from recd.converter.episodes import EpisodeData
from recd.converter.mapping import parse
from recd_client.errors import OptionError


def planned(
    tmp_path: Path, streams: dict[str, tuple[Sequence[float], dict[str, Any]]], **how: Any
) -> Dataset:
    """The plan for files alone: by stream its times, and the arrays of its fields."""
    paths = []
    for name, (t, arrays) in streams.items():
        paths.append(tmp_path / f"{name}.npz")
        np.savez(paths[-1], timestamp=np.array(t, float), **arrays)
    run = recd.open(paths)
    return plan([run], all_episodes([run]), **how)


def read(found: Dataset) -> EpisodeData:
    """Its only episode."""
    return found.read(0, lambda rows: None)


TIMES = np.arange(10) * 0.1


def fast_and_slow(count: int = 10) -> dict[str, tuple[Sequence[float], dict[str, Any]]]:
    """Actions at 10 Hz; positions at 5 Hz, from 0.1 s on; both tell their time."""
    slow = 0.1 + np.arange(count // 2) * 0.2
    return {"fast": (TIMES, {"action": TIMES}), "slow": (slow, {"pos": slow, "n": np.arange(len(slow))})}


def test_the_stream_with_the_actions_leads(tmp_path: Path) -> None:
    """Rows are its samples, from where all streams have one; of the slower stream the one before holds."""
    found = planned(tmp_path, fast_and_slow())
    episode = read(found)
    np.testing.assert_allclose(episode.column("action"), TIMES[1:])
    np.testing.assert_allclose(
        episode.column("observation.pos"), [0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.7, 0.7, 0.9]
    )
    assert (episode.fps, episode.length, found.lengths) == (10.0, 9, [9])
    np.testing.assert_allclose(episode.t, np.arange(9) * 0.1, atol=1e-12)


def test_the_nearest_sample_is_taken(tmp_path: Path) -> None:
    """Of two neighbours the closer one; of two that are equally close the earlier one."""
    times = [0.0, 0.06, 0.2, 0.3]
    streams = {
        "s": ([0.0, 0.1, 0.2, 0.3], {"pos": np.arange(4.0)}),
        "a": (times, {"action": np.array(times)}),
    }
    found = planned(tmp_path, streams, align="nearest")
    assert read(found).column("observation.pos").tolist() == [0, 1, 2, 3]


def test_floats_are_interpolated_and_whole_numbers_hold(tmp_path: Path) -> None:
    """linear: positions lie on the line between two samples, an int is that of the sample before; nothing beyond."""
    found = planned(tmp_path, fast_and_slow(), align="linear")
    episode = read(found)
    np.testing.assert_allclose(episode.column("observation.pos"), TIMES[1:])
    assert episode.column("info.n").tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_fps_makes_rows_of_its_own(tmp_path: Path) -> None:
    """Each row is at a multiple of 1 / fps from the first; values come from the streams as they were."""
    found = planned(tmp_path, fast_and_slow(), fps=20.0)
    episode = read(found)
    np.testing.assert_allclose(np.diff(episode.t), 0.05)
    np.testing.assert_allclose(episode.column("action")[:4], [0.1, 0.1, 0.2, 0.2])
    assert (episode.fps, episode.length) == (20.0, 17)


@given(st.integers(1, 240), st.integers(2, 500), st.floats(0, 1e6))
def test_a_grid_at_the_streams_own_rate_takes_each_sample_once(fps: int, count: int, begin: float) -> None:
    """However floats round: at the rate at which a stream was recorded, row k is sample k."""
    from recd.converter.alignment import _Track

    times = begin + np.arange(count) / fps
    track = _Track(0, times, float(np.median(np.diff(times))), "previous")
    grid = times[0] + np.arange(count) / fps
    for method in ("previous", "nearest", "linear"):
        assert track.placed(grid, method).first.tolist() == [*range(count)]


def test_rows_in_a_gap_are_told(tmp_path: Path) -> None:
    """Where samples of a stream were lost, rows hold the one before, and how many do so is a problem."""
    slow = [0.0, 0.1, 0.2, 0.3, 0.8, 0.9]
    streams = {"fast": (TIMES, {"action": TIMES}), "slow": (slow, {"pos": np.array(slow)})}
    found = planned(tmp_path, streams)
    assert read(found).column("observation.pos")[4:8].tolist() == [0.3] * 4
    assert found.problems == [
        "stream 'slow', episode 0: 4 of 10 rows lie in gaps of it, and hold what was before"
    ]


def test_a_target_with_a_constant_rate_gets_one(tmp_path: Path) -> None:
    """A stream with a gap in time is put on a grid at its usual rate, and that is told."""
    times = np.delete(np.arange(20) * 0.1, [7, 8])
    streams = {"s": (times, {"action": np.arange(18.0)})}
    assert planned(tmp_path, streams).fps is None
    found = planned(tmp_path, streams, constant=True)
    assert (found.fps, found.lengths) == (10.0, [20])
    assert "no constant rate: rows were put at 10 per second" in found.problems[0]
    assert read(found).column("action")[5:10].tolist() == [5, 6, 6, 6, 7]


def test_streams_that_do_not_overlap_are_told(tmp_path: Path) -> None:
    """No row could be made: each stream is named with its times."""
    streams = {"a": ([0.0, 1.0], {"action": np.zeros(2)}), "b": ([5.0, 6.0], {"pos": np.zeros(2)})}
    with pytest.raises(OptionError, match=r"'b' has 5 to 6 s|'a' has 0 to 1 s.*'b' has 5 to 6 s"):
        planned(tmp_path, streams)


def test_time_that_goes_back_is_told(tmp_path: Path) -> None:
    """Within an episode there is no telling which samples belong together: stream and sample are named."""
    streams = {"a": ([0.0, 1.0, 0.5], {"action": np.zeros(3)}), "b": ([0.0, 1.0], {"pos": np.zeros(2)})}
    with pytest.raises(OptionError, match=r"stream 'a' .* at sample 2 time is no number, or goes back"):
        planned(tmp_path, streams)


def test_without_actions_and_fps_the_rate_must_be_said(tmp_path: Path) -> None:
    """Several streams, none of which leads: --fps, or lead in the map."""
    streams = {"a": (TIMES, {"pos": TIMES}), "b": (TIMES, {"vel": TIMES})}
    with pytest.raises(OptionError, match="none of the streams a, b has actions"):
        planned(tmp_path, streams)
    text = "lead = 'b'\n[features.x]\nfrom = 'a/pos'\n[features.y]\nfrom = 'b/vel'"
    assert planned(tmp_path, streams, map=parse(text)).alignment.lead == "b"
    with pytest.raises(OptionError, match="lead = 'c' is no stream of a feature"):
        planned(tmp_path, streams, map=parse(text.replace("lead = 'b'", "lead = 'c'")))
    with pytest.raises(OptionError, match="align 'next': expected one of previous"):
        planned(tmp_path, streams, map=parse(text), align="next")


def test_a_stream_of_one_sample_holds_throughout(tmp_path: Path) -> None:
    """A constant, recorded once at the beginning, is there in each row."""
    streams = {"a": (TIMES, {"action": TIMES}), "mass": ([0.0], {"pos": np.array([3.0])})}
    assert read(planned(tmp_path, streams)).column("observation.pos").tolist() == [3.0] * 10


def test_actions_that_led_to_a_row_come_from_the_next_one(tmp_path: Path) -> None:
    """Rows of Gymnasium: observation k goes with the action of row k + 1, and the last observation is left over."""
    n = np.arange(5)
    arrays: dict[str, Any] = {"observation": n * 1.0, "action": n * 10.0, "reward": n * 100.0}
    arrays |= {name: np.zeros(5, bool) for name in ("terminated", "truncated")}
    arrays |= {name: np.zeros(5, int) for name in ("episode", "seed")}
    episode = read(planned(tmp_path, {"ep": (n, arrays)}))
    assert episode.column("observation.state").tolist() == [0, 1, 2, 3]
    assert episode.column("action").tolist() == [10, 20, 30, 40]
    assert episode.column("reward").tolist() == [100, 200, 300, 400]
    final = episode.final()
    assert final is not None
    assert {name: value.tolist() for name, value in final.items()} == {"observation.state": 4.0}


@given(rows=st.integers(1, 30), block=st.integers(1, 50))
def test_chunks_are_the_column_however_they_are_cut(rows: int, block: int) -> None:
    """Any number of rows at a time, from any batches of the reader, with samples repeated and left out."""
    from recd.converter.windows import Window

    class Stub:
        """Gives numbers, so many at a time."""

        source = "log"

        def batches(self, fields: list[str], start: int) -> Any:
            from recd.reader import Block

            stop = 120
            for at in range(start, stop, block):
                found = Block({name: np.arange(at, min(at + block, stop)) for name in fields})
                found.start, found.t = at, np.zeros(min(at + block, stop) - at)
                yield found

    rng = np.random.default_rng(rows * 100 + block)
    wanted = np.sort(rng.integers(3, 120, 80))
    window = Window(Stub(), ["a", "b"], 3)  # type: ignore[arg-type]
    for at in range(0, len(wanted), rows):
        some = wanted[at : at + rows]
        assert window.take("a", some).tolist() == some.tolist()
        assert window.take("b", some).tolist() == some.tolist()


def test_a_part_of_a_block_has_its_ragged_rows() -> None:
    """Elements and offsets are those of its samples alone."""
    from recd.converter.windows import cut
    from recd.reader import Block, Lists

    block = Block({"r": Lists(np.arange(6), np.array([0, 1, 3, 6])), "x": np.arange(3)})
    block.start, block.t = 10, np.arange(3.0)
    block.seq = block.step = block.mono_ns = np.arange(3)
    block.wall = np.arange(3.0)
    made = cut(block, 11, 13)
    assert [row.tolist() for row in made["r"]] == [[1, 2], [3, 4, 5]]
    assert (made.start, made.count, made["x"].tolist(), made.seq.tolist()) == (11, 2, [1, 2], [1, 2])


def test_a_rate_is_known_only_where_it_is_constant() -> None:
    """Whole rates are whole numbers; one step that is off makes it none."""
    assert constant_rate(np.arange(100) * 0.02) == 50.0
    assert constant_rate(np.arange(100) / 29.97) == pytest.approx(29.97)
    assert constant_rate(np.delete(np.arange(100) * 0.02, 50)) is None
    assert constant_rate(np.zeros(1)) is None


def test_a_recording_without_a_sample_is_refused(tmp_path: Path) -> None:
    """Nothing to make episodes of: said, not crashed."""
    np.savez(tmp_path / "s.npz", timestamp=np.zeros(0), pos=np.zeros(0))
    with pytest.raises(OptionError, match="no sample"):
        chosen_episodes([recd.open(tmp_path / "s.npz")], None, success=False)
