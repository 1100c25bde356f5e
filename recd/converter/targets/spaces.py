"""Spaces of Gymnasium as Minari writes them (``minari.serialization``), made of what was recorded.

A recording tells shapes and dtypes but no bounds. Numbers become a ``Box`` over all that the dtype holds; a
single integer per step a ``Discrete`` over the values that occurred. A map can tell the true space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import OptionError

from ..features import Feature
from .episode_files import own_name


@dataclass
class Leaf:
    """A feature in a space, and the range of its values so far.

    Parameters
    ----------
    feature : Feature
    path : str
        Of its dataset below ``observations`` or ``actions``; empty if it is the whole space.
    is_action : bool
    """

    feature: Feature
    path: str
    is_action: bool = False
    low: int = 0
    high: int = 0

    @property
    def is_choice(self) -> bool:
        """Whether it is one of some things that were to choose from."""
        return self.is_action and self.feature.shape == () and self.feature.dtype.kind in "iu"

    def see(self, values: NDArray[Any]) -> None:
        """These values occurred."""
        if self.is_choice and values.size:
            self.low, self.high = min(self.low, int(values.min())), max(self.high, int(values.max()))

    def space(self) -> dict[str, Any]:
        """As Minari writes it."""
        f = self.feature
        if self.is_choice:
            return {"type": "Discrete", "dtype": "int64", "start": self.low, "n": self.high - self.low + 1}
        low, high = _range(f.dtype)
        if f.dtype == np.uint8 and f.kind == "image":
            low, high = 0, 255
        return {
            "type": "Box",
            "dtype": f.dtype.name,
            "shape": list(f.shape),
            "low": np.full(f.shape, low, f.dtype).tolist(),
            "high": np.full(f.shape, high, f.dtype).tolist(),
        }


@dataclass
class Tree:
    """The space of several features: one of them, or a ``Dict`` or ``Tuple`` of such.

    Parameters
    ----------
    leaf : Leaf, optional
        It is this feature.
    parts : dict
        Else: by the key in the ``Dict``, or number in the ``Tuple``.
    """

    leaf: Leaf | None = None
    parts: dict[str, Tree] = field(default_factory=dict)

    @property
    def is_tuple(self) -> bool:
        """Whether the keys are the numbers from 0 on."""
        return bool(self.parts) and sorted(self.parts) == sorted(map(str, range(len(self.parts))))

    def space(self) -> dict[str, Any]:
        """As Minari writes it."""
        if self.leaf is not None:
            return self.leaf.space()
        if self.is_tuple:
            return {
                "type": "Tuple",
                "subspaces": [self.parts[str(k)].space() for k in range(len(self.parts))],
            }
        return {"type": "Dict", "subspaces": {key: part.space() for key, part in sorted(self.parts.items())}}

    def leaves(self, path: str = "") -> list[Leaf]:
        """All features in it, with the paths of their datasets."""
        if self.leaf is not None:
            self.leaf.path = path
            return [self.leaf]
        found = []
        for key, part in self.parts.items():
            found += part.leaves(f"{path}/{f'_index_{key}' if self.is_tuple else key}".lstrip("/"))
        return found


def tree_of(features: Sequence[Feature], is_action: bool) -> Tree:
    """The space of these features: of one, its own; of several, a dot or a slash in a name leads into a space within.

    Parameters
    ----------
    features : sequence of Feature
    is_action : bool

    Raises
    ------
    OptionError
        A feature's name is the beginning of another one's.
    """
    tree = Tree()
    if len(features) == 1:
        tree.leaf = Leaf(features[0], "", is_action)
        return tree
    for f in features:
        at = tree
        for key in own_name(f).replace("/", ".").split("."):
            at = at.parts.setdefault(key, Tree())
        if at.leaf is not None or at.parts:
            raise _clash(f.name)
        at.leaf = Leaf(f, "", is_action)
    for part in _all(tree):
        if part.leaf is not None and part.parts:
            raise _clash(part.leaf.feature.name)
    return tree


def told(text: str, option: str) -> str:
    """A space that a map tells, checked to be one.

    Raises
    ------
    OptionError
        It is none.
    """
    try:
        space = json.loads(text)
    except ValueError:
        space = None
    if not isinstance(space, Mapping) or "type" not in space:
        raise OptionError(
            f"{option}: expected a space as minari.serialization writes it, got {text!r:.60}",
            'write \'{"type": "Discrete", "dtype": "int64", "start": 0, "n": 3}\' or leave it out',
        )
    return text


def _range(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    if dtype.kind == "b":
        return False, True
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return -np.inf, np.inf


def _all(tree: Tree) -> list[Tree]:
    return [tree, *(found for part in tree.parts.values() for found in _all(part))]


def _clash(name: str) -> OptionError:
    return OptionError(
        f"feature {name!r}: its name is also the beginning of another one's", "rename one in the map"
    )
