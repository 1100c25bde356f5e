from __future__ import annotations

import json

from recd.strict_json import finite, text


def test_json_has_no_numbers_that_parsers_refuse() -> None:
    """NaN and infinities, which JSON does not know, become null at any depth."""
    data = {"a": [1.5, float("nan")], "b": {"c": (float("inf"), None)}}
    assert finite(data) == {"a": [1.5, None], "b": {"c": [None, None]}}


def test_lists_of_numbers_stand_on_one_line() -> None:
    """A table of thousands of frames is not as many lines; what is read back is the same, strings too."""
    data = {
        "frames": [1, -2.5e-7, None, True],
        "nested": [[1, 2], {"a": []}, {}],
        "text": ["[ 1,  2 ]", "a\n[\n 1\n]", '"[\n'],
    }
    shown = text(data)
    assert '"frames": [1, -2.5e-07, null, true]' in shown
    assert json.loads(shown) == data
