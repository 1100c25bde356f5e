"""Recordings that several formats are made of: recorded once for the tests of a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from converting import Written, record_everything, record_walk


@pytest.fixture(scope="module")
def written(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A recording of everything."""
    return record_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def walk(shared_runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with a camera: three episodes of 20 frames."""
    directory = tmp_path_factory.mktemp("walk")
    record_walk(directory)
    return directory
