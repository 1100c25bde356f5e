"""Cut and merged recordings are slices and concatenations of what was recorded; an injected difference is found."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recd
from reading import Readable, numbers_of
from recd.tools import compare, cut, merge
from recd.verify import DAMAGE, Verification
from recd_client.errors import OptionError
from recd_client.options import CSVFile, HDF5File, NPZFile, SinkOptions
from streams import PLAIN, VARYING

KINDS: list[type[SinkOptions]] = [CSVFile, NPZFile, HDF5File]
NAMES = {CSVFile: "r.csv", NPZFile: "r.npz", HDF5File: "r.h5"}
HOW = st.sampled_from([{}, {"save_on_reset": True}, {"split": 7}])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 12)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["reset", "mark", "turn", "discard"]), st.just(0)),
    ),
    min_size=1,
    max_size=15,
)
SINKS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True)


def recorded(
    top: Path, operations: list[tuple[str, int]], kinds: list[type[SinkOptions]], how: Any, varying: bool
) -> Readable:
    """A recording that has been through these operations; its first sample is there in any case."""
    sinks = [kind(NAMES[kind], **how) for kind in kinds]
    recording = Readable(top, *sinks, schema=VARYING if varying else PLAIN)
    recording.feed.write(1)
    for name, count in operations:
        if name == "turn":
            recording.turn()
        elif name == "mark":
            recording.feed.mark("m", number=recording.feed.producer.next_seq)
        else:
            getattr(recording.feed, name)(*([count] if count else []))
    recording.settle()
    return recording


def undamaged(directory: Path) -> None:
    """``recd verify`` finds nothing but the losses that there were."""
    assert [f for f in Verification(directory).findings() if f.level == DAMAGE] == []


@settings(deadline=None, max_examples=15)
@given(OPERATIONS, SINKS, HOW, st.booleans(), st.booleans(), st.integers(0, 80), st.integers(1, 60))
def test_a_cut_is_a_slice_and_cuts_make_the_whole(
    operations: list[tuple[str, int]],
    kinds: list[type[SinkOptions]],
    how: dict[str, object],
    varying: bool,
    ended: bool,
    low: int,
    length: int,
) -> None:
    """Of a recording, finished or killed: each wanted sample, its value, time and number."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        recording = recorded(top / "all", operations, kinds, how, varying)
        if ended:
            recording.ended()
        with recd.open(top / "all") as run:
            whole = run["rows"].seq.tolist()
        wanted = [n for n in whole if low <= n < low + length]
        if not wanted:
            with pytest.raises(OptionError, match="no sample lies"):
                cut(top / "all", top / "some", start=low / 8, stop=(low + length) / 8)
            assert not (top / "some").exists()
            return
        cut(top / "all", top / "some", start=low / 8, stop=(low + length) / 8)
        undamaged(top / "some")
        with recd.open(top / "some") as run:
            stream = run["rows"]
            assert stream.seq.tolist() == wanted
            assert sorted(stream.sources) == sorted(kind(NAMES[kind]).kind for kind in kinds)
            for source in stream.sources:
                assert numbers_of(stream.read_from(source)) == wanted
        pieces = [top / "some"]
        for name, ends in (("before", {"stop": low / 8}), ("behind", {"start": (low + length) / 8})):
            if any(n < low if name == "before" else n >= low + length for n in whole):
                cut(top / "all", top / name, **ends)
                pieces.append(top / name)
        if len(pieces) > 1:
            merge(pieces, top / "again")
            undamaged(top / "again")
            found = compare(top / "all", top / "again")
            assert found.equal, found.differences
            assert found.samples == {"rows": len(whole)}


@settings(deadline=None, max_examples=8)
@given(st.lists(OPERATIONS, min_size=2, max_size=3), SINKS, st.booleans())
def test_a_merge_is_a_concatenation(
    runs: list[list[tuple[str, int]]], kinds: list[type[SinkOptions]], varying: bool
) -> None:
    """Recordings one after the other by the clock on the wall, whatever their order: values in time, losses counted."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        expected, lost = [], 0
        for k, operations in enumerate(runs):
            recorded(top / str(k), operations, kinds, {}, varying).ended()
            path = top / str(k) / "manifest.json"
            told = json.loads(path.read_text())
            told["session"] = (
                f"2027010{k + 1}T000000-reads"  # newer than its working files, which are still there
            )
            told["clocks"]["start_mono_ns"] += k * 10**12
            told["clocks"]["start_wall_ns"] += k * 10**12
            path.write_text(json.dumps(told))
            lost += sum(told["streams"]["rows"]["lost"].values())
            with recd.open(top / str(k)) as run:
                expected += [
                    (t + 1000.0 * k, str(x)) for t, x in zip(run["rows"].t, run["rows"]["x"], strict=True)
                ]
        if not expected:
            with pytest.raises(OptionError, match="no sample that can be read"):
                merge([top / str(k) for k in range(len(runs))], top / "all")
            return
        merge([top / str(k) for k in reversed(range(len(runs)))], top / "all", clock="wall")
        undamaged(top / "all")
        with recd.open(top / "all") as run:
            stream = run["rows"]
            assert [(t, str(x)) for t, x in zip(stream.t, stream["x"], strict=True)] == expected
            assert "seq" in stream.known
            assert (np.diff(stream.seq) > 0).all()
            assert sum(gap.count for gap in stream.gaps) == lost


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 60), st.data(), st.sampled_from([0.5, -3.0, float("nan"), float("inf")]))
def test_an_injected_difference_is_found_where_it_is(count: int, data: Any, change: float) -> None:
    """One element of one sample was changed in another format: its place, its number, and how far it is apart."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        for name, kind in (("a", NPZFile), ("b", HDF5File)):
            recorded(
                top / name, [("write", count), ("lose", 2), ("write", 3)], [kind], {}, varying=False
            ).ended()
        assert compare(top / "a", top / "b").equal
        index, element = data.draw(st.integers(0, count)), data.draw(st.integers(0, 7))
        (path,) = (top / "b").rglob("*.h5")
        with h5py.File(path, "r+") as file:
            before = float(file["x"][index, element])
            file["x"][index, element] = before + change
        (found,) = compare(top / "a", top / "b").differences
        assert (found.what, found.stream, found.field, found.count) == ("values", "rows", "x", 1)
        assert (found.index, found.seq, found.t, found.element) == (index, index, index / 8, [element])
        assert found.a == before
        assert np.isfinite(change) == compare(top / "a", top / "b", atol=3).equal
        if np.isfinite(change):
            assert found.max_abs == abs(change)
            assert found.max_rel == pytest.approx(
                abs(change / (before + change)) if before + change else np.inf
            )
