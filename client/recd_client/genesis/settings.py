"""What can be said about all recordings of Genesis scenes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .. import checks
from ..errors import OptionError
from ..pull import ON_ERROR


@dataclass(frozen=True)
class Settings:
    """See :func:`recd_client.genesis.configure`."""

    dir: str | None = None
    overwrite: str = "replace"
    on_error: str = "raise"
    durability: str = "process"
    metadata: Mapping[str, Any] | None = None
    spool_limit: int | str | None = None

    def changed(self, given: Mapping[str, Any]) -> Settings:
        """These settings with those of the names that are given; checked.

        Raises
        ------
        OptionError
            One is unknown, or not allowed.
        """
        names = [f.name for f in fields(self)]
        for name in given:
            if name not in names:
                raise OptionError(f"recd_client.genesis has no setting {name!r}", f"use {', '.join(names)}")
        return replace(self, **given)

    def __post_init__(self) -> None:
        checks.one_of("on_error", self.on_error, ON_ERROR)
        checks.one_of("overwrite", self.overwrite, ("replace", "error", "number"))
        checks.one_of("durability", self.durability, ("process", "interval", "strict"))
        if self.dir is not None:  # it is frozen; this is its construction
            object.__setattr__(self, "dir", os.path.abspath(checks.path_text("dir", self.dir)))

    def path(self, filename: str | os.PathLike[str]) -> str:
        """Where a file of that name lands."""
        return os.path.abspath(os.path.join(self.dir or "", filename))
