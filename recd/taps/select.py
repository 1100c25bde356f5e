"""Some of a stream's fields, or single elements of them: ``qpos``, ``qpos[2]``, ``image[0,3]``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final

from recd_client.errors import OptionError
from recd_client.schema import FIXED, Field, Schema

from ..batch import Batch

_ITEM: Final = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<index>-?\d+(?:\s*,\s*-?\d+)*)\])?")


class Selection:
    """Takes the chosen columns out of batches.

    Parameters
    ----------
    schema : Schema
        Of the batches.
    fields : sequence of str
        What to take, in this order; all fields if there is none.

    Raises
    ------
    OptionError
        There is no such field or element.
    """

    def __init__(self, schema: Schema, fields: Sequence[str] = ()) -> None:
        chosen = [_chosen(schema, text.strip()) for text in fields]
        self._chosen = chosen or [(f, f.name, ()) for f in schema.fields]
        #: Of the batches that are returned.
        self.schema = Schema(tuple(dict.fromkeys(f for f, _, _ in self._chosen)))

    def __call__(self, batch: Batch) -> Batch:
        """The same samples with the chosen columns; views."""
        columns: dict[str, Any] = {}
        for f, name, index in self._chosen:
            at: Any = (slice(None), *index)
            columns[f.name] = batch.fixed(name)[at] if index else batch.columns[name]
        return dataclasses.replace(batch, schema=self.schema, columns=columns)


def _chosen(schema: Schema, text: str) -> tuple[Field, str, tuple[int, ...]]:
    """A field of the selection, the name of the one that it is taken from, and where in it."""
    by_name = {f.name: f for f in schema.fields}
    if text in by_name:  # whatever brackets it has
        return by_name[text], text, ()
    found = _ITEM.fullmatch(text)
    whole = by_name.get(found["name"]) if found else None
    if found is None or whole is None:
        raise OptionError(f"no field {text!r}", f"the stream's fields: {', '.join(map(str, by_name))}")
    index = tuple(int(i) for i in found["index"].split(","))
    fits = len(index) <= len(whole.shape) and all(
        -n <= i < n for i, n in zip(index, whole.shape, strict=False)
    )
    if whole.kind != FIXED or not fits:
        raise OptionError(f"no element {text!r}", f"{whole.name} is {whole}")
    name = f"{whole.name}_{'_'.join(str(i % n) for i, n in zip(index, whole.shape, strict=False))}"
    return Field(name, whole.dtype, whole.shape[len(index) :], FIXED, whole.unit), whole.name, index
