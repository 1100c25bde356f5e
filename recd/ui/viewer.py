"""One page that looks: what it wants to see, and what it must be sent for that.

Nothing waits in a queue. Every round asks what is newest now, and the next round begins when the page has drawn one of
the last two: a slow page, or a slow line, gets newer data, less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson

from .decimate import decimate
from .feed import Channel, Channels
from .messages import PictureWanted, PlotWanted, View, pack, plot_message
from .pictures import to_jpeg


class Viewer:
    """What one page has been sent.

    Parameters
    ----------
    channels : Channels
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self.view = View()
        self._plots: list[_Plot] = []
        self._pictures: list[_Picture] = []
        self._events: dict[Channel, int] = {}

    def show(self, view: View) -> None:
        """The page shows this from now on; what it has already is not sent again."""
        same = (view.clock, view.span, view.range) == (self.view.clock, self.view.span, self.view.range)
        plots = {p.wanted: p for p in self._plots} if same else {}
        pictures = {p.wanted: p for p in self._pictures}
        self.view = view
        self._plots = [plots.get(w) or _Plot(w, view) for w in view.plots]
        self._pictures = [pictures.get(w) or _Picture(w) for w in view.pictures]

    async def messages(self) -> AsyncIterator[bytes | str]:
        """What is new for this page now: text for events, else binary."""
        for plot in self._plots:
            channel = self._channels.get(plot.wanted.stream)
            if channel is not None:
                if (text := self._new_events(plot.wanted.stream, channel)) is not None:
                    yield text
                if (message := plot.message(channel)) is not None:
                    yield message
        for picture in self._pictures:
            channel = self._channels.get(picture.wanted.stream)
            if channel is not None and (message := await picture.message(channel)) is not None:
                yield message

    def _new_events(self, stream: str, channel: Channel) -> str | None:
        seen = self._events.get(channel, 0)
        if channel.told == seen:
            return None
        self._events[channel] = channel.told
        new = [e for e in channel.events if e["n"] > seen]
        return orjson.dumps({"type": "events", "stream": stream, "events": new}).decode()


class _Plot:
    """One plot: where its lines end on the page."""

    def __init__(self, wanted: PlotWanted, view: View) -> None:
        self.wanted = wanted
        self._view = view
        begin, end = view.range or (0.0, view.span)
        self._column = (end - begin) / wanted.width
        self._channel: Channel | None = None
        self._added = self._epoch = self._grown = -1
        self._oldest = np.inf
        self._sent_to: float | None = None
        self._complete = False
        self._before = ""

    def _before_oldest(self, channel: Channel) -> str:
        """What of samples before the oldest: they may come (``reading``), were trimmed (``gone``), or never were."""
        if channel.reads_back:
            return "reading"
        first = channel.trail.epoch_seq if self._view.clock == "sim" else 0
        oldest = channel.trail.oldest("wall")
        return "gone" if oldest is not None and oldest[1] > first else "none"

    def message(self, channel: Channel) -> bytes | None:
        """The points that the page does not have yet; the last column is sent again as it grows."""
        trail, clock = channel.trail, self._view.clock
        place = channel.columns.places.get(self.wanted.field)
        newest = trail.newest(clock)
        if place is None or newest is None:
            return None
        begin, end = self._view.range or (newest - self._view.span, np.inf)
        before = self._before_oldest(channel)
        deeper = trail.grown != self._grown and begin < self._oldest
        moved = trail.added != self._added and not self._complete
        if not moved and not deeper and before == self._before:
            return None
        if self._channel is not channel or self._epoch != trail.epoch_seq or deeper:
            self._sent_to = None
        self._channel, self._before = channel, before
        self._added, self._epoch, self._grown = trail.added, trail.epoch_seq, trail.grown
        self._oldest = (trail.oldest(clock) or (newest,))[0]
        self._complete = newest > end
        since = None
        if self._view.range is None and self._sent_to is not None and self._sent_to > begin:
            begin = since = self._sent_to
        self._sent_to = np.floor(newest / self._column) * self._column
        x, y = trail.between(clock, begin, end)
        if since is not None:  # not the neighbour before: the page has it
            first = int(np.searchsorted(x, begin))
            x, y = x[first:], y[first:]
        lines = [place[n] for n in self.wanted.lines if n < len(place)]
        x, y = decimate(x, y[:, lines], self._column)
        head = {
            "kind": "plot",
            "id": self.wanted.id,
            "from": since,
            "newest": newest,
            "epoch": trail.epoch_seq,
            "oldest": self._oldest,
            "before": before,
        }
        return plot_message(head, x, y)


class _Picture:
    """One camera: which frame its page has."""

    def __init__(self, wanted: PictureWanted) -> None:
        self.wanted = wanted
        self._seq = -1

    async def message(self, channel: Channel) -> bytes | None:
        """The newest frame, if the page does not have it."""
        frame = channel.frames.get(self.wanted.field)
        if frame is None or frame.seq == self._seq:
            return None
        self._seq = frame.seq
        want = self.wanted
        jpeg, scale = await asyncio.to_thread(to_jpeg, frame.pixels, want.width, want.map, want.scale)
        height, width = frame.pixels.shape[:2]
        head: dict[str, Any] = {
            "kind": "picture",
            "id": want.id,
            "seq": frame.seq,
            "t": frame.t,
            "width": width,
            "height": height,
            "scale": scale,
        }
        return pack(head, jpeg)
