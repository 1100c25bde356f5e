"""The guide to playback names everything that the reader offers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recd.reader import ArrayStream, Episode, Run, Stream, VideoStream

GUIDE = (Path(__file__).parents[2] / "docs" / "playback.md").read_text()


@pytest.mark.parametrize("of", [Run, Stream, ArrayStream, VideoStream, Episode], ids=lambda of: of.__name__)
def test_everything_public_is_in_the_guide(of: type) -> None:
    """Each method and property by its name, in code; each with a docstring."""
    public = [name for name in vars(of) if not name.startswith("_")]
    assert public
    for name in public:
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", GUIDE), name
        assert name in getattr(of, "__dataclass_fields__", {}) or getattr(of, name).__doc__, name
