"""Marks, resets and what else stands on the timeline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fake_daemon import FakeDaemon
from recd_client import (
    DataLossWarning,
    Recorder,
    layout,
)
from recd_client.errors import (
    OptionError,
    RecordTooLargeError,
)

pytestmark = pytest.mark.usefixtures("each_writer")


def marks(daemon: FakeDaemon, stream: str) -> list[tuple[str, Any, float, int]]:
    """The marks in a stream's ring that were not read yet: label, fields, t, step."""
    found = []
    for event in daemon.rings[stream].take()[1]:
        if event.kind == layout.MARK:
            told = json.loads(event.payload)
            found.append((told["label"], told["fields"], event.t, event.step))
    return found


def test_marks_stand_in_every_stream_where_they_happened(daemon: FakeDaemon) -> None:
    """Those before the first sample come first in each stream; later ones have the latest sample's time."""
    with Recorder("walk", dt=0.5, autostart=False) as rec:
        rec.mark("begin", seed=np.int32(3))
        a = rec.stream("a", like=0.0)
        for _ in range(3):
            a.write(0.0)
        rec.mark("push", force=[1, 2])
        rec.reset()
        rec.reset(np.array([False, True, True]))
        rec.discard()
        rec.log("b", 1.0)
        assert marks(daemon, "a") == [
            ("begin", {"seed": 3}, 0.0, 0),
            ("push", {"force": [1, 2]}, 1.0, 2),
            ("recd.reset", {"envs_idx": None}, 1.0, 2),
            ("recd.reset", {"envs_idx": [1, 2]}, 1.0, 2),
            ("recd.discard", {}, 1.0, 2),
        ]
        assert marks(daemon, "b") == [("begin", {"seed": 3}, 0.0, 0)]


def test_a_reset_of_many_environments_is_told_in_pieces(rec: Recorder, daemon: FakeDaemon) -> None:
    """However many they are, every index arrives."""
    rec.stream("a", like=0.0)
    rec.reset(envs_idx=range(0, 5000, 7))
    told = marks(daemon, "a")
    assert [i for _, fields, _, _ in told for i in fields["envs_idx"]] == list(range(0, 5000, 7))
    rec.reset(3)
    rec.reset([])
    assert [fields for _, fields, _, _ in marks(daemon, "a")] == [{"envs_idx": [3]}]


@pytest.mark.parametrize(
    ("label", "fields", "error"),
    [
        ("", {}, OptionError),
        (3, {}, OptionError),
        ("recd.reset", {}, OptionError),
        ("a", {"x": object()}, OptionError),
        ("a", {"x": "y" * 2000}, RecordTooLargeError),
    ],
)
def test_a_mark_that_cannot_be_told_is_refused(
    rec: Recorder, label: Any, fields: dict[str, Any], error: type[Exception]
) -> None:
    """At once, and before the first sample too."""
    with pytest.raises(error):
        rec.mark(label, **fields)


def test_marks_before_any_sample_are_bounded(rec: Recorder, daemon: FakeDaemon) -> None:
    """A program that only marks does not grow; it is told what is dropped."""
    for i in range(64):
        rec.mark(f"m{i}")
    with pytest.warns(DataLossWarning, match="m64"):
        rec.mark("m64")
    rec.log("a", 1.0)
    assert len(marks(daemon, "a")) == 64


@pytest.mark.parametrize("envs_idx", ["abc", [1.5], [[1]], None])
def test_environments_are_indices_or_a_mask(rec: Recorder, envs_idx: Any) -> None:
    """Anything else is refused by name."""
    if envs_idx is None:
        rec.reset(envs_idx)
        return
    with pytest.raises(OptionError, match="envs_idx"):
        rec.reset(envs_idx)
