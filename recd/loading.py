"""A stream's track, made from what the session's files say of it: a new one and one that was interrupted alike."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from recd_client import process, shm
from recd_client.errors import RingDamagedError
from recd_client.options import CustomSink, Plot, SinkOptions, VideoFile
from recd_client.schema import Schema

from . import sinks
from .caution import Caution, why
from .direct import DirectTrack
from .finisher import Finisher
from .room import Store
from .runner import FrameRunner, Runner, SinkContext
from .samples import LogRunner
from .session import SessionStore
from .syncing import Rounds
from .track import Track

log = logging.getLogger(__name__)


class Loader:
    """Makes the tracks of one worker.

    Parameters
    ----------
    store : SessionStore
    caution : Caution
    finisher, syncer : Finisher
        The worker's threads for files that are built, and for what is synced now and then.
    painter : Finisher
        The thread for plots, which take longest: no other file waits for them.
    """

    def __init__(
        self,
        store: SessionStore,
        caution: Caution,
        finisher: Finisher,
        syncer: Finisher,
        painter: Finisher,
    ) -> None:
        self._store = store
        self._caution = caution
        self._finisher = finisher
        self._syncer = syncer
        self._painter = painter
        limit = store.spec.get("spool_limit_bytes")
        self._rules = Store(str(store.spec["durability"]), int(limit) if limit else None)

    def load(self, spec: dict[str, Any], *, live: bool) -> Track:
        """Take up a stream as its files describe it; without its ring if that is blamed for crashes.

        ``live`` tells whether its simulation is there: else nobody looks at its plots.
        """
        name = str(spec["stream"])
        directory = self._store.stream_path(name)
        schema = Schema.from_json(spec["schema"])
        runners = self._runners(self._context(spec, directory, schema), spec, live)
        where, now_ns = (directory, name, schema, self._rules), time.monotonic_ns
        self._caution.hold(name)
        blamed = name in self._caution.blamed
        segment, ring_gone = (None, "") if blamed else _open_ring(spec)
        if len(runners) == 1 and isinstance(runners[0], FrameRunner):
            track: Track = DirectTrack(*where, runners[0], segment, now_ns)
        else:
            track = Track(*where, runners, segment, now_ns)
        if self._rules.durability == "interval":
            Rounds(track, self._syncer, now_ns)
        track.ring_gone = ring_gone
        if blamed:
            track.state, track.reason = "damaged", why(name)
            log.error("stream %s: %s", name, track.reason)
        track.drops_oldest = spec["overflow"] == "drop_oldest"
        return track

    def _context(self, spec: dict[str, Any], directory: Path, schema: Schema) -> SinkContext:
        session = self._store.spec
        return SinkContext(
            directory,
            schema,
            {
                "name": str(spec["stream"]),
                "metadata": session.get("metadata") or {},
                "clocks": session["clocks"],
            },
            self._finisher,
            time.monotonic_ns,
            session["overwrite"] == "replace",
            self._rules.durability != "process",
            spec["boot_id"] != process.boot_id().hex(),
            self._finisher.wake,
            self._store.directory,
        )

    def _runners(self, context: SinkContext, spec: dict[str, Any], live: bool) -> list[Runner]:
        """One for each of the stream's sinks."""
        out: list[Runner] = []
        for i, (given, final) in enumerate(zip(spec["sinks"], map(Path, spec["finals"]), strict=True)):
            options = SinkOptions.from_json(given)
            if isinstance(options, VideoFile):
                from .frames import VideoRunner

                out.append(VideoRunner(context, i, options, final))
            elif isinstance(options, CustomSink):
                from .guests.custom import CustomRunner

                allowed = self._store.allows_code
                out.append(CustomRunner(context, i, options, final, allowed=allowed))
            elif isinstance(options, Plot):
                from .plots.runner import PlotRunner

                own = replace(context, finisher=self._painter)
                sink = sinks.make_sink(options, context.schema, context.info)
                out.append(PlotRunner(own, i, options, final, sink, live=live))
            else:
                sink = sinks.make_sink(options, context.schema, context.info)
                out.append(LogRunner(context, i, options, final, sink))
        return out


def _open_ring(spec: dict[str, Any]) -> tuple[shm.Segment | None, str]:
    """A stream's ring; None, and why, when it is gone."""
    if spec["boot_id"] != process.boot_id().hex():
        return None, "the machine has restarted since"
    try:
        return shm.Segment.open(spec["ring"]), ""
    except FileNotFoundError:
        return None, f"its ring {spec['ring']} is gone from /dev/shm"
    except RingDamagedError as e:
        return None, e.what
