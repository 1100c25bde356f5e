"""Tools on recordings: what they make is a recording like any other, and tells what it was made of.

===========  ====================================================================================
cutting      :func:`cut`: a stretch of time, or some episodes, of a recording
merging      :func:`merge`: several recordings as one, on one time axis
comparing    :func:`compare`: where two recordings differ
sheets       :func:`thumbs`: a film as one picture
stretches    samples that lie one behind the other: what cut and merged recordings are made of
gaps         which losses belong to them
derived      a recording that is made of stretches of others: files, manifest, provenance
===========  ====================================================================================
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .comparing import Comparison as Comparison
    from .comparing import compare as compare
    from .cutting import cut as cut
    from .derived import Made as Made
    from .merging import merge as merge
    from .sheets import thumbs as thumbs

_PLACES: Final = {
    "Comparison": "comparing", "Made": "derived", "compare": "comparing", "cut": "cutting", "merge": "merging",
    "thumbs": "sheets",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
