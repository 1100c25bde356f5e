"""The file of marks from outside: what stands in it survives, and it has an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recd import marks
from recd.marks import Marks
from recd_client.errors import LimitError

PUSHED: dict[str, Any] = {
    "label": "pushed", "fields": {}, "stream": None, "t": None, "seq": None, "source": "outside"
}  # fmt: skip


def test_a_request_that_is_asked_again_sets_one_mark(tmp_path: Path) -> None:
    """The successor of a worker that died before it answered gives the answer that was due."""
    first = Marks(tmp_path).add(PUSHED, "k1")
    successor = Marks(tmp_path)
    assert successor.add(PUSHED, "k1") == first
    assert successor.add(PUSHED, "k2")["n"] == 1
    assert [m["n"] for m in marks.read(tmp_path)] == [0, 1]


def test_marks_beyond_the_most_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused with a reason; a successor knows the number, and so does the manifest."""
    monkeypatch.setattr(marks, "MOST", 2)
    kept = Marks(tmp_path)
    for key in "ab":
        kept.add(PUSHED, key)
    for key in "cd":
        with pytest.raises(LimitError, match="counted, not stored"):
            kept.add(PUSHED, key)
    for one in (kept, Marks(tmp_path)):
        assert (one.stored, one.refused, one.status()["marks_total"]) == (2, 2, 4)
    assert marks.read_refused(tmp_path) == 2


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_line_costs_no_other(tmp_path: Path, cut: int) -> None:
    """What a kill left of the last line is no mark, and the next one stands behind it."""
    kept = Marks(tmp_path)
    kept.add(PUSHED, "a")
    kept.add(PUSHED, "b")
    path = tmp_path / "marks.jsonl"
    path.write_bytes(path.read_bytes()[: -1 - cut])
    successor = Marks(tmp_path)
    assert successor.stored == 1
    successor.add(PUSHED, "c")
    assert [m["n"] for m in marks.read(tmp_path)] == [0, 1]


@pytest.mark.parametrize(
    "line", [b"[]", b"1", b'{"n": 0}', b'{"n": "0", "mono_ns": 1, "label": "a"}', b"\xff"]
)
def test_foreign_lines_are_passed_over(tmp_path: Path, line: bytes) -> None:
    """Whatever stands in the file, it can be read."""
    (tmp_path / "marks.jsonl").write_bytes(line + b"\n")
    assert Marks(tmp_path).stored == 0


def test_an_answer_holds_the_newest_marks_that_fit(tmp_path: Path) -> None:
    """With many sessions each has less room, and gives up its oldest."""
    kept = Marks(tmp_path)
    told = [kept.add(PUSHED, str(i)) for i in range(120)]
    assert kept.status()["marks"] == told[-100:]
    few = marks.that_fit(told, 1000)
    assert few == told[-len(few) :]
    assert 0 < len(few) < 10
    assert marks.that_fit(told, 1) == []
    assert marks.that_fit(told, 1 << 20) == told
