"""What an image plot shows: which field, as gray, colours or a colour scale, between which values. Nothing is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recd_client.errors import SchemaError
from recd_client.options import MPLImagePlot
from recd_client.schema import Schema

Limits = tuple[float, float]
_SHAPES: Final = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
#: Finite numbers beyond are as good as infinite.
_HUGE: Final = 1e300


@dataclass(frozen=True)
class Picture:
    """How images are shown.

    Parameters
    ----------
    field : str
    height, width : int
    channels : {1, 3, 4}
    scaled : bool
        By a colour scale with a bar beside it, instead of as a photograph.
    limits : (float, float), optional
        Values at both ends; None: as the data need it.
    unit : str
    """

    field: str
    height: int
    width: int
    channels: int
    scaled: bool
    limits: Limits | None
    unit: str


def picture_of(options: MPLImagePlot, schema: Schema) -> Picture:
    """How such samples are shown.

    Raises
    ------
    SchemaError
        They are no images.
    """
    field = schema.fields[0]
    if len(schema.fields) > 1 or not schema.is_image():
        got = str(field) if len(schema.fields) == 1 else f"a dict with {len(schema.fields)} fields"
        raise SchemaError(
            f"MPLImagePlot: expected one image {_SHAPES}, got {got}",
            "write one image per call, in a stream of its own",
        )
    height, width, channels = (*field.shape, 1)[:3]
    kind = np.dtype(field.dtype).kind
    photograph = channels > 1 or (options.value_range is None and field.dtype in ("|u1", "|b1"))
    limits = options.value_range
    if limits is None and photograph:
        limits = (0.0, 1.0) if kind in "bf" else (0.0, float(np.iinfo(field.dtype).max))
    return Picture(field.name, height, width, channels, not photograph, limits, field.unit)


class Extent:
    """The least and the greatest finite number of all images that it has seen."""

    def __init__(self) -> None:
        self.limits: Limits | None = None

    def take(self, images: NDArray[Any]) -> bool:
        """See some more; whether the limits changed."""
        if images.dtype.kind == "f":
            good = images[np.isfinite(images)]
            if good.dtype.itemsize > 4:
                good = good[np.abs(good) < _HUGE]
        else:
            good = images
        if not good.size:
            return False
        low, high = float(good.min()), float(good.max())
        before = self.limits
        if before is not None:
            low, high = min(low, before[0]), max(high, before[1])
        self.limits = low, high
        return self.limits != before


def shown_limits(limits: Limits | None) -> Limits:
    """Limits of a colour scale that hold these values, and are not the same."""
    if limits is None:
        return 0.0, 1.0
    low, high = limits
    if high - low <= 1e-9 * max(abs(low), abs(high)) or high - low < 1e-280:
        room = 0.1 * max(abs(low), abs(high)) or 1.0
        return low - room, high + room
    return low, high
