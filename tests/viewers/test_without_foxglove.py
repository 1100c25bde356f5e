"""``recd ui --foxglove`` without its extra."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from click.testing import CliRunner

from recd.cli import main
from recd_client.errors import MissingLibraryError


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which library, and how to get it; nothing else was loaded."""
    real = importlib.util.find_spec

    def without(name: str, *args: Any) -> Any:
        return None if name == "foxglove" else real(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    done = CliRunner().invoke(main, ["ui", "--foxglove"], standalone_mode=False)
    assert isinstance(done.exception, MissingLibraryError)
    assert done.exception.what == "recd ui --foxglove needs foxglove, which is not installed"
    assert "pip install 'recd[foxglove]'" in done.exception.do
