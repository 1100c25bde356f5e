"""What the one who serves may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ENCODINGS: Final = ("ros2", "json")
CLOCKS: Final = ("wall", "sim")
HZ: Final = 60.0
#: More pictures than that are not shown by any screen, and each costs an encoder.
MAX_PICTURE_HZ: Final = 30.0


@dataclass(frozen=True)
class Options:
    """What is sent, and how.

    Parameters
    ----------
    encoding : {"ros2", "json"}
        Of numbers.
    clock : {"wall", "sim"}
        The time of a message: when its sample was written, or stream time.
    hz : float
        Samples per second and stream, at most; of pictures, no more than 30.
    raw : bool
        Pictures as they are, instead of JPEG.
    """

    encoding: str = ENCODINGS[0]
    clock: str = CLOCKS[0]
    hz: float = HZ
    raw: bool = False

    @property
    def picture_hz(self) -> float:
        """Pictures per second and field, at most."""
        return min(self.hz, MAX_PICTURE_HZ)

    def time_ns(self, t: float, mono_ns: int, offset_ns: int) -> int:
        """The time of a message, whole ns from 0 on; ``offset_ns`` makes Unix time of the monotonic clock."""
        if self.clock == "wall":
            return mono_ns + offset_ns
        return max(round(t * 1e9), 0) if abs(t) < 9e9 else 0
