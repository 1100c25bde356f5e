"""The pictures of a film that statistics are made of, decoded: as little leaves ffmpeg as can be.

ffmpeg passes over the rows that are not looked at, as far as halving goes, and in a long episode over the frames that
are not, before their colours are computed: what is left is exactly those pixels of those frames. Short episodes of one
film, of which nearly all frames are looked at, are decoded by one ffmpeg that goes on from each to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ....reader.decoding import Decoder, Film, undecoded
from . import stats
from .films import Stretch

#: An episode is long if no more than one frame of so many is looked at.
_FEW: Final = 4
#: Frames between two episodes that are passed over rather than sought: on average, a seek decodes as many.
_NEAR: Final = 50


class Looker:
    """Looks at one episode after the other of one feature."""

    def __init__(self) -> None:
        self._running: tuple[Path, Decoder] | None = None

    def pictures(self, stretch: Stretch, film: Film) -> Iterator[NDArray[np.uint8]]:
        """Of a stretch the frames that :func:`stats.sampled` tells, ``(h, w, 3)``, of each every so many pixels.

        Raises
        ------
        OutputError
            One of them does not decode.
        """
        chosen, apart = stats.sampled(stretch.frames), stats.stride(film.height, film.width)
        halvings = (apart & -apart).bit_length() - 1
        few = len(chosen) * _FEW <= stretch.frames
        if few:
            self.close()
            select = _select(stretch.frames, len(chosen))
            decoder = Decoder(film, stretch.first, len(chosen), select=select, halvings=halvings)
            self._running = film.path, decoder
        else:
            decoder = self._at(stretch.first, film, halvings)
        for number in chosen:
            if not few:
                decoder.skip(stretch.first + number - decoder.next)
            if (picture := decoder.read()) is None:
                reason = decoder.reason
                self.close()
                raise undecoded(film, stretch.first + number, reason)
            yield picture[:: apart >> halvings, ::apart]
        if few:
            self.close()

    def _at(self, first: int, film: Film, halvings: int) -> Decoder:
        """A decoder that has come to this frame, or nearly."""
        if self._running is not None:
            path, decoder = self._running
            if path == film.path and 0 <= first - decoder.next <= _NEAR:
                return decoder
            self.close()
        decoder = Decoder(film, first, halvings=halvings)
        self._running = film.path, decoder
        return decoder

    def close(self) -> None:
        """End ffmpeg."""
        if self._running is not None:
            self._running[1].close()
            self._running = None


def _select(frames: int, count: int) -> str:
    """Which frames ``n`` ffmpeg picks: :func:`stats.sampled` in the same arithmetic, halves to even numbers too."""
    step = (frames - 1) / (count - 1)
    return f"st(0,abs(floor(n/{step!r}+0.5)*{step!r}-n));lt(ld(0),0.5)+eq(ld(0),0.5)*not(mod(n,2))"
