from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reading import Readable, numbers_of, opened
from recd import log_writer
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from streams import PLAIN, VARYING

KINDS: list[type[SinkOptions]] = [CSVFile, NPZFile, HDF5File]
NAMES = {CSVFile: "r.csv", NPZFile: "r.npz", HDF5File: "r.h5"}
HOW = st.sampled_from([{}, {"save_on_reset": True}, {"split": 7}])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 12)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(
            st.sampled_from(["reset", "discard", "mark", "partial", "turn", "die", "stop", "look"]),
            st.just(0),
        ),
    ),
    max_size=25,
)


class Model:
    """Which samples files must have."""

    def __init__(self, how: dict[str, object]) -> None:
        self.how = how
        self.parts: list[list[int]] = []
        self.open: list[int] = []
        #: Number of the sample behind each whole reset.
        self.resets: list[int] = []

    def write(self, number: int) -> None:
        self.open.append(number)
        if len(self.open) == self.how.get("split"):
            self.roll()

    def roll(self) -> None:
        if self.open:
            self.parts.append(self.open)
        self.open = []

    def reset(self, number: int) -> None:
        self.resets = sorted({*self.resets, number})
        if self.how.get("save_on_reset"):
            self.roll()

    @property
    def numbers(self) -> list[int]:
        return [number for part in [*self.parts, self.open] for number in part]


def act(recording: Readable, model: Model, name: str, count: int) -> None:
    """Do it to both."""
    feed = recording.feed
    if name == "write":
        before = len(feed.written)
        feed.write(count)
        for number in feed.written[before:]:
            model.write(number)
    elif name == "lose":
        feed.lose(count)
    elif name == "reset":
        feed.reset()
        model.reset(feed.producer.next_seq)
    elif name == "discard":
        feed.discard()
        model.open = []
    elif name == "mark":
        feed.mark("m", number=feed.producer.next_seq)
    elif name == "partial":
        feed.reset([1])
    elif name == "turn":
        recording.clock.pass_(0.3)
        recording.turn()
    elif name == "look":
        while recording.track.drain():
            pass
        check_unfinished(recording.top, model, 5)
    else:
        getattr(recording, name)()


@settings(deadline=None, max_examples=60)
@given(
    OPERATIONS,
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True),
    HOW,
    st.booleans(),
    st.integers(1, 9),
)
def test_what_is_read_is_what_the_files_are_to_have(
    operations: list[tuple[str, int]],
    kinds: list[type[SinkOptions]],
    how: dict[str, object],
    varying: bool,
    rows: int,
) -> None:
    """While it runs, whatever died, and when it has ended: every kept sample once, with its number and clocks."""
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_writer, "SEGMENT_BYTES", 2000)  # so that the log is trimmed as files grow
        sinks = [kind(NAMES[kind], **how) for kind in kinds]
        recording = Readable(Path(top), *sinks, schema=VARYING if varying else PLAIN)
        model = Model(how)
        for operation in operations:
            act(recording, model, *operation)
        recording.settle()
        check_unfinished(Path(top), model, rows)
        recording.ended()
        check_finished(Path(top), model, rows, [kind(NAMES[kind]).kind for kind in kinds])


def check_unfinished(top: Path, model: Model, rows: int) -> None:
    """What is read of a recording that runs."""
    with opened(top) as run:
        stream = run["rows"]
        assert (run.state, stream.state, run.complete, run.problems) == (
            "unfinished",
            "unfinished",
            False,
            [],
        )
        assert numbers_of(stream) == model.numbers
        if "wall" in stream.known:
            assert stream.mono_ns.tolist() == [n * 1_000_000 for n in model.numbers]
            assert stream.step.tolist() == [n * 10 for n in model.numbers]
        blocks = [n for block in stream.batches(rows=rows) for n in (block.t * 8).tolist()]
        assert blocks == model.numbers
        assert stream.seq.tolist() == model.numbers
        parts = [*model.parts, *([model.open] if model.open else [])]
        found = [stream.seq[part].tolist() for part in stream.parts if part.start < part.stop]
        assert found == parts or "split" in model.how  # where it splits is known once the file is


def check_finished(top: Path, model: Model, rows: int, kinds: list[str]) -> None:
    """What is read of one that has ended, in each format."""
    with opened(top) as run:
        assert (run.state, run.problems) == ("complete", [])
        assert sorted(run["rows"].sources) == sorted(kinds)
        for kind in kinds:
            stream = run["rows"].read_from(kind)
            assert numbers_of(stream) == model.numbers
            assert stream.known >= {"seq"}
            assert stream.seq.tolist() == model.numbers
            model.roll()
            assert [stream.seq[part].tolist() for part in stream.parts] == (model.parts or [[]])
            for size in (rows, 1000):
                blocks = list(stream.batches(rows=size))
                assert [n for block in blocks for n in block.seq.tolist()] == model.numbers
                assert all(block.count <= size for block in blocks)
                assert [n for block in blocks for n in (block.t * 8).tolist()] == model.numbers
        lost = [n for gap in run["rows"].gaps for n in range(gap.first_seq, gap.last_seq + 1)]
        assert not set(lost) & set(model.numbers)
        ends = [*model.resets, 1 << 60]
        expected, begin = [], 0
        for end in ends:
            expected.append([n for n in model.numbers if begin <= n < end])
            begin = end
        found = [run["rows"].seq[e["rows"]].tolist() for e in run.episodes()]
        assert found == [numbers for numbers in expected if numbers]
        assert all(m.seq["rows"] == m.fields["number"] for m in run.marks if m.label == "m")
