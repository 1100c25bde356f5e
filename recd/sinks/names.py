"""Names of the columns and arrays in files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from recd_client.errors import SchemaError

#: Stream time, first in every file; no field may be called so.
TIMESTAMP: Final = "timestamp"
#: What to do about a field that has the name of another one's offsets.
RENAME_OFFSETS: Final = "rename the field: NAME_offsets belongs to the ragged or string field NAME"


def offsets_name(field: str) -> str:
    """Name of the array of a ragged field's offsets."""
    return f"{field}_offsets"


def check_names(names: Iterable[str], where: str, do: str) -> None:
    """Raise :class:`SchemaError` if a name repeats: a reader would find one thing only under it."""
    for name, times in Counter(names).items():
        if times > 1:
            raise SchemaError(f"{where}: expected names that differ, got {name!r} twice", do)
