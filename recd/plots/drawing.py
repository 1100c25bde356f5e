"""What all drawings have in common, whatever draws them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch

#: Colours that colour-blind people tell apart (Okabe and Ito, 2008; black for the grey, yellow left out: it is
#: too light for a line on white), and the dashes of lines beyond the first seven.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: Final = ("-", "--", ":", "-.")
#: Pixels per inch: sizes in points are what they are in a window of 800x600.
DPI: Final = 100


class Drawing(ABC):
    """A plot of one stream, drawn into memory or a window; no process, no file, no log is known here.

    Attributes
    ----------
    wants : int
        So many samples are shown at a time: whoever has more may leave out the older ones.
    """

    wants: int = 1

    @abstractmethod
    def take(self, batch: Batch) -> None:
        """Take samples, in order; nothing is drawn yet."""

    def expect(self, low: float, high: float) -> None:  # noqa: B027  - only images have colours to keep
        """All values to come are within these."""

    @abstractmethod
    def draw(self) -> None:
        """Draw what was taken."""

    @abstractmethod
    def pixels(self) -> NDArray[np.uint8]:
        """What was drawn, ``(height, width, 4)`` RGBA; the memory is used again by the next :meth:`draw`."""


def colour_of(line: int) -> str:
    """The colour of the i-th line."""
    return COLOURS[line % len(COLOURS)]


def dash_of(line: int) -> str:
    """The dashes of the i-th line, as matplotlib names them."""
    return DASHES[line // len(COLOURS) % len(DASHES)]


def grid_of(count: int, height: int, least_height: int) -> tuple[int, int]:
    """Rows and columns for so many subplots, in as few columns as their least height allows."""
    rows = max(1, height // least_height)
    columns = -(-count // rows)
    return -(-count // columns), columns


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
