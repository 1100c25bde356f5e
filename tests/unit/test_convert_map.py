"""map.toml: what a guess says, what a file may say, and every mistake in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recd
from recd.converter import guess, mapping, resolving
from recd.converter.features import Piece
from recd.reader import Run
from recd_client.errors import OptionError, OutputError


def run_of(tmp_path: Path, **streams: dict[str, Any]) -> Run:
    """A recording of files alone: by stream the arrays of its fields."""
    paths = []
    for name, arrays in streams.items():
        paths.append(tmp_path / f"{name}.npz")
        count = len(next(iter(arrays.values())))
        np.savez(paths[-1], timestamp=np.arange(count) * 0.1, **arrays)
    return recd.open(paths)


def zeros(*shape: int, dtype: str = "f8") -> np.ndarray:
    """Four samples."""
    return np.zeros((4, *shape), dtype)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Names as simulations use them."""
    return run_of(
        tmp_path,
        state={"qpos": zeros(7), "qvel": zeros(6), "ctrl": zeros(3, dtype="f4"), "heat": zeros()},
        reward={"data": zeros()},
        done={"data": zeros(dtype="?")},
        success={"data": zeros(dtype="?")},
        front={"data": zeros(24, 32, 3, dtype="u1")},
        depth={"data": zeros(24, 32, dtype="f4")},
    )


def test_a_guess_goes_by_names(run: Run) -> None:
    """Positions, actions, rewards, ends and cameras find their places; what says nothing is in its stream's role."""
    found = guess.guess(run).resolve(run)
    assert {f.name: (f.role, f.kind, str(f.pieces[0])) for f in found} == {
        "observation.qpos": ("observation", "array", "state/qpos"),
        "observation.qvel": ("observation", "array", "state/qvel"),
        "action": ("action", "array", "state/ctrl"),
        "observation.heat": ("observation", "array", "state/heat"),
        "reward": ("reward", "array", "reward/data"),
        "terminated": ("terminated", "array", "done/data"),
        "success": ("success", "array", "success/data"),
        "observation.images.front": ("observation", "image", "front/data"),
        "observation.depth": ("observation", "array", "depth/data"),
    }


def test_gymnasiums_actions_are_those_that_led_to_a_row(tmp_path: Path) -> None:
    """In RecordEpisode's rows action, reward and ends are taken one row later; number and seed are no features."""
    run = run_of(
        tmp_path,
        episode={
            "observation.arm": zeros(3), "observation.hand": zeros(2), "action.0": zeros(2), "action.1": zeros(),
            "reward": zeros(), "terminated": zeros(dtype="?"), "truncated": zeros(dtype="?"),
            "episode": zeros(dtype="i8"), "seed": zeros(dtype="i8"), "info.x": zeros(),
        },
    )  # fmt: skip
    found = guess.guess(run)
    assert {f.name: (f.shift, f.shape) for f in found.resolve(run)} == {
        "observation.arm": (0, (3,)), "observation.hand": (0, (2,)), "action": (1, (3,)), "reward": (1, ()),
        "terminated": (1, ()), "truncated": (1, ()), "info.x": (1, ()),
    }  # fmt: skip
    assert len(found.left_out) == 2


def test_fields_of_one_name_are_told_apart_by_their_streams(tmp_path: Path) -> None:
    """Two robots with the same fields: no feature is lost."""
    run = run_of(tmp_path, left={"qpos": zeros(2)}, right={"qpos": zeros(2)})
    assert [f.name for f in guess.guess(run).features] == ["observation.qpos", "observation.right.qpos"]


def test_what_a_guess_writes_reads_back_as_the_same(run: Run) -> None:
    """The file that --map-out writes is a map that means what the guess meant."""
    found = guess.guess(run)
    again = mapping.parse(mapping.to_toml(found, found.resolve(run)))
    assert mapping.plain(again) == mapping.plain(found)


def test_pieces_are_sliced_joined_cast_and_named(tmp_path: Path) -> None:
    """Several fields, parts of them and single elements become one vector of another dtype."""
    values = np.arange(4 * 6.0).reshape(4, 2, 3)
    run = run_of(tmp_path, s={"a": values, "b": np.arange(4)})
    text = """
        task = "walk"
        [target]
        arrays = "list"
        [features."observation.state"]
        from = ["s/a[:, 0:2]", "s/b", "s/a[1, 2]"]
        dtype = "float32"
        names = ["p", "q", "r", "t", "b", "z"]
        units = "m"
    """
    found = mapping.parse(text)
    assert (found.task, found.target) == ("walk", {"arrays": "list"})
    (feature,) = found.resolve(run)
    assert feature.pieces[0] == Piece("s", "a", (slice(None), slice(0, 2)))
    assert (feature.dtype, feature.shape, feature.units) == (np.dtype("f4"), (6,), "m")
    assert feature.element_names == ("p", "q", "r", "t", "b", "z")
    rows = feature.assembled([values, np.arange(4), values])
    assert rows.dtype == np.float32
    assert rows[2].tolist() == [12, 13, 15, 16, 2, 17]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = 1\ny = = 2", "no TOML: .*line 2"),
        ("", "no feature"),
        ("[fetures.a]", "unknown key 'fetures'"),
        ("fps = -1\n[features.a]\nfrom = 's'", "fps = -1"),
        ("align = 3\n[features.a]\nfrom = 's'", "align = 3: expected a string"),
        ("[features.a]\nform = 's'", r"m:1: feature 'a': unknown key 'form'"),
        ("\n[features.a]\nrole = 'observation'", r"m:2: feature 'a': no 'from'"),
        ("[features.a]\nfrom = 3", "from = 3: expected a string"),
        ("[features]\na = 3", "feature 'a': expected a table, got 3"),
        ("[features.a]\nfrom = 's'\nrole = 'x'", "role = 'x': expected one of observation"),
        ("[features.a]\nfrom = 's'\nshift = 2", "shift = 2: expected 0 or 1"),
        ("[features.'a/b']\nfrom = 's'", "expected a name"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(text: str, what: str) -> None:
    """TOML's own errors, unknown keys, wrong types and values that are not allowed."""
    with pytest.raises(OptionError, match=what):
        mapping.parse(text, "m")


@pytest.mark.parametrize(
    ("feature", "what", "do"),
    [
        ("from = 'stat/qpos'", "no stream 'stat', only state, reward", "did you mean 'state'"),
        ("from = 'state/qpoz'", "no field 'qpoz', only qpos, qvel", "did you mean 'qpos'"),
        ("from = 'state'", "has the fields qpos, qvel, ctrl, heat; which one", "state/qpos"),
        ("from = 'state/qpos[9]'", r"out of bounds.*shape is \(7,\)", "index"),
        ("from = 'state/qpos[7:]'", r"takes no element", "index"),
        ("from = 'state/qpos[a]'", r"index \[a\] is none", "numbers and slices"),
        ("from = 'state/qpos'\ndtype = 'int8'", "would be cut to whole numbers", "float"),
        ("from = 'state/qpos'\ndtype = 'flot'", "expected a numpy dtype", "change"),
        ("from = 'state/qpos'\nkind = 'image'", "no picture", "array"),
        ("from = 'state/qpos'\nkind = 'text'", "holds numbers", "kind"),
        ("from = 'state/qpos'\nnames = ['a']", r"1 names for 7 elements", "each"),
    ],
)
def test_what_does_not_fit_the_recording_is_named(run: Run, feature: str, what: str, do: str) -> None:
    """Line and feature, what was found, and what to do."""
    with pytest.raises(OptionError, match=what) as error:
        mapping.parse(f"\n[features.a]\n{feature}", "m.toml").resolve(run)
    assert error.value.what.startswith("m.toml:2: feature 'a': ")
    assert do in error.value.do


def test_a_ragged_field_is_no_feature(tmp_path: Path) -> None:
    """A guess leaves it out and says so; a map that names it is refused."""
    np.savez(
        tmp_path / "s.npz",
        timestamp=np.zeros(2),
        hits=np.zeros(3),
        hits_offsets=np.array([0, 1, 3]),
        pos=np.zeros(2),
    )
    run = recd.open(tmp_path / "s.npz")
    found = guess.guess(run)
    assert [f.name for f in found.features] == ["observation.pos"]
    assert found.left_out == ("s/hits, which varies in size",)
    with pytest.raises(OptionError, match="varies in size from sample to sample"):
        mapping.parse("[features.a]\nfrom = 's/hits'").resolve(run)


def test_recordings_that_differ_are_told_apart(tmp_path: Path) -> None:
    """Of several sources each must have the features alike: shape and both recordings are named."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    runs = [run_of(tmp_path / "a", s={"pos": zeros(3)}), run_of(tmp_path / "b", s={"pos": zeros(4)})]
    found = guess.guess(runs[0])
    with pytest.raises(OptionError, match=r"'observation.pos' is \(3,\) float64 in .* but \(4,\) float64"):
        resolving.same([(run, found.resolve(run)) for run in runs], "map")


def test_a_map_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The path, and how to make one."""
    with pytest.raises(OutputError, match=r"m\.toml cannot be read"):
        mapping.read(tmp_path / "m.toml")
