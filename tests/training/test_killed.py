"""A conversion that is killed at any point is gone on with, and comes to the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from takes import LENGTHS, PATIENCE_S, record

from recd.converter import convert

POINTS = 5
FORMATS = [
    pytest.param("lerobot", marks=pytest.mark.requires("pyarrow", "PIL")),
    "robomimic",
    "minari",
]


@pytest.fixture(scope="module")
def take(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of three episodes."""
    return record(tmp_path_factory.mktemp("take") / "walk")


def conversion(source: Path, out: Path, form: str, at: int) -> subprocess.CompletedProcess[str]:
    """A process that converts, and dies at a point."""
    program = Path(__file__).with_name("killed_conversion.py")
    return subprocess.run(
        [sys.executable, str(program), str(source), str(out), form, str(at)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def content(out: Path) -> dict[str, Any]:
    """All that an output holds, by name."""
    paths = [out] if out.is_file() else sorted(p for p in out.rglob("*") if p.is_file())
    found: dict[str, Any] = {}
    for path in paths:
        if path.suffix == ".hdf5":
            with h5py.File(path) as file:
                file.visititems(lambda name, item: found.__setitem__(name, _held(item)))
        elif path.name != "recd-provenance.json" and path.name != "metadata.json":
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


def _held(item: Any) -> tuple[Any, ...]:
    attributes = {key: np.array(value).tolist() for key, value in item.attrs.items() if key != "recd"}
    return (attributes, item[()].tolist()) if isinstance(item, h5py.Dataset) else (attributes,)


@pytest.mark.parametrize("form", FORMATS)
def test_killed_anywhere(take: Path, tmp_path: Path, form: str) -> None:
    """At some points from the first to the last: the same call goes on with whole episodes, and nothing differs."""
    name = "walk.hdf5" if form == "robomimic" else "walk"
    whole = tmp_path / "whole"
    whole.mkdir()
    done = conversion(take, whole / name, form, -1)
    assert done.returncode == 0, done.stderr
    resumed = []
    for point in range(POINTS):
        at = round((point + 0.5) / POINTS * int(done.stdout))
        part = tmp_path / str(point)
        part.mkdir()
        killed = conversion(take, part / name, form, at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (part / name).exists()
        resumed.append(convert(take, part / name, to=form, streams=["state", "side"]).resumed)
        assert content(part / name) == content(whole / name), at
        assert [p.name for p in part.iterdir() if p.name.endswith(".part")] == []
    assert resumed == sorted(resumed)
    assert 0 < resumed[-1] <= len(LENGTHS)
