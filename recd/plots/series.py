"""What a line plot shows: which field goes into which subplot, under which names; checked, and nothing drawn yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recd_client.errors import OptionError, SchemaError
from recd_client.options import LinePlot
from recd_client.schema import FIXED, Field, Schema

MOST_SUBPLOTS: Final = 24
MOST_LINES: Final = 128


@dataclass(frozen=True)
class Subplot:
    """One pair of axes.

    Parameters
    ----------
    field : str
        Where its numbers come from.
    title : str
        Empty where there is nothing to tell apart.
    labels : tuple of str
        One per line, in C order of the field's array.
    named : bool
        Whether the labels are the user's: then a single line has a legend, too.
    y_label : str
    log : bool
        Whether the vertical axis is logarithmic.
    """

    field: str
    title: str
    labels: tuple[str, ...]
    named: bool
    y_label: str
    log: bool


def subplots_of(options: LinePlot, schema: Schema) -> tuple[Subplot, ...]:
    """A subplot for each field of samples that are dicts, one in all for others.

    Raises
    ------
    SchemaError
        A field cannot be drawn as lines.
    OptionError
        Labels, or the keys of logarithmic axes, do not fit the samples.
    """
    for field in schema.fields:
        _check_field(field, type(options).__name__)
    if len(schema.fields) > MOST_SUBPLOTS:
        raise SchemaError(
            f"{type(options).__name__}: {len(schema.fields)} fields, and so many subplots; at most {MOST_SUBPLOTS}",
            "plot a stream with fewer fields, or one array instead of many numbers",
        )
    names = _labels_of(options, schema)
    keys = () if isinstance(options.y_log_scale, bool) else tuple(options.y_log_scale)
    unknown = sorted(set(keys) - {f.name for f in schema.fields})
    if unknown:
        raise OptionError(
            f"y_log_scale={keys!r}: the samples have no {', '.join(map(repr, unknown))}, "
            f"expected some of {_names(schema)}",
            "give keys of the samples, or True for all subplots",
        )
    return tuple(
        Subplot(
            field.name,
            "" if schema.bare else field.name,
            names.get(field.name) or _default_labels(field),
            field.name in names,
            with_unit(options.y_label, field.unit),
            options.y_log_scale if isinstance(options.y_log_scale, bool) else field.name in keys,
        )
        for field in schema.fields
    )


def with_unit(label: str, unit: str) -> str:
    """A label of an axis, with the physical unit unless it names one already."""
    return f"{label} [{unit}]".strip() if unit and "[" not in label else label


def lines_in(field: Field) -> int:
    """How many lines a field is drawn as."""
    return math.prod(field.shape)


def _check_field(field: Field, plot: str) -> None:
    if field.kind != FIXED:
        raise SchemaError(
            f"{plot}: field {field.name!r} is a {field}, which is no number of lines",
            "plot numbers or arrays of them",
        )
    if not 1 <= lines_in(field) <= MOST_LINES:
        raise SchemaError(
            f"{plot}: field {field.name!r} is {field}, that is {lines_in(field)} lines; expected 1 to {MOST_LINES}",
            "write the values of interest to a stream of their own, or use MPLImagePlot",
        )


def _labels_of(options: LinePlot, schema: Schema) -> Mapping[str, tuple[str, ...]]:
    """The user's labels by field."""
    labels, plot = options.labels, type(options).__name__
    if labels is None:
        return {}
    if schema.bare and isinstance(labels, Mapping):
        raise OptionError(
            f"{plot}(labels={labels!r}): the samples are no dicts, expected a list of names",
            "give a list of names",
        )
    if not schema.bare and not isinstance(labels, Mapping):
        if len(schema.fields) > 1:
            raise OptionError(
                f"{plot}(labels={labels!r}): the samples are dicts, expected a dict with the keys {_names(schema)}",
                "give a dict from key to names",
            )
        labels = {schema.fields[0].name: labels}
    given: Mapping[str, Sequence[str]] = (
        labels if isinstance(labels, Mapping) else {schema.fields[0].name: labels}
    )
    if set(given) != {f.name for f in schema.fields}:
        raise OptionError(
            f"{plot}: labels are given for {', '.join(map(repr, given))}, the samples have {_names(schema)}",
            "give labels for the keys of the samples, for all of them and no other",
        )
    for field in schema.fields:
        if len(given[field.name]) != lines_in(field):
            where = "" if schema.bare else f" of {field.name!r}"
            raise OptionError(
                f"{plot}: {len(given[field.name])} labels{where} for {lines_in(field)} values {field}",
                "give one label per value, in C order",
            )
    return {name: tuple(texts) for name, texts in given.items()}


def _default_labels(field: Field) -> tuple[str, ...]:
    """As the columns of a CSV are named."""
    count = lines_in(field)
    return (field.name,) if not field.shape else tuple(f"{field.name}_{i}" for i in range(count))


def _names(schema: Schema) -> str:
    return ", ".join(repr(f.name) for f in schema.fields)
