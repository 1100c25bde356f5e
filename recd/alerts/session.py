"""All conditions over one recording: which streams they look at, and when they begin to hold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recd_client.errors import NoSuchSessionError, OptionError, RecdError

from ..batch import Batch
from ..taps.stream import Live
from .eye import Eye
from .gate import Gate
from .rule import Firing, Rule
from .sight import Sight, zeros

Tell = Callable[[str], object]


class SessionWatch:
    """Looks at one recording for some rules.

    Parameters
    ----------
    session : dict
        As the daemon's answer to ``status`` tells of it.
    rules : sequence of Rule
    tell : callable
        Is given a line for people, of what is not as it should be.
    from_start : bool
        Whether samples that were written before count, as far as they are still there.
    memory : mapping
        Of the :attr:`memory` of a watcher that died: what it has told is not told again.
    """

    def __init__(
        self,
        session: Mapping[str, Any],
        rules: Sequence[Rule],
        tell: Tell,
        *,
        from_start: bool,
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        self.session = str(session["session"])
        self.run = str(session["name"])
        self._directory = Path(session["directory"])
        self._tell = tell
        self._from_start = from_start
        self.eyes: dict[str, Eye] = {}
        #: Those that the recording has, as far as the daemon has told.
        self.streams: list[str] = []
        #: How often the daemon has told of it.
        self.updates = 0
        self._done: set[str] = set()
        self._seen: dict[str, int] = {str(k): int(v) for k, v in (memory or {}).get("seen", {}).items()}
        self._past = dict(self._seen)
        self._last: dict[str, Batch] = {}
        self._told_skipped: dict[str, int] = {}
        self._timed = any(rule.condition.timed for rule in rules)
        self._whole = any(rule.condition.whole_session for rule in rules)
        self.watches = [_Watch(rule, i) for i, rule in enumerate(rules)]
        for watch, open_ns in zip(self.watches, (memory or {}).get("open_ns", ()), strict=False):
            watch.gate.open_ns = int(open_ns)

    # --- streams -----------------------------------------------------------------------------------
    def update(self, told: Mapping[str, Any]) -> None:
        """The daemon tells how the recording stands: streams that have begun are looked at from now on."""
        for stream in told["streams"]:
            name = str(stream["stream"])
            eye = self.eyes.get(name)
            if eye is not None:
                eye.cannot_store = stream["state"] == "stalled"
            elif name not in self._done and self._wants(name):
                self._open(name)
        self.updates += 1
        self._from_start = True  # those that begin from now on are looked at from their beginning
        self.streams = [str(stream["stream"]) for stream in told["streams"]]

    def _wants(self, stream: str) -> bool:
        return self._whole or any(stream in watch.rule.condition.streams for watch in self.watches)

    def _open(self, name: str) -> None:
        readers = [w for w in self.watches if w.rule.condition.stream == name]
        live = Live(self.run, self.session, self._directory, name)
        try:
            eye = Eye(live, reads_all=bool(readers), from_start=self._from_start)
        except NoSuchSessionError:
            self._done.add(name)  # it has just ended
            return
        except (RecdError, OSError) as e:
            self._done.add(name)
            self._tell(f"{live.name} cannot be looked at: {e}")
            return
        for watch in readers:
            try:
                watch.rule.condition.truth(Sight(zeros(eye.tap.schema), {}, 0))
            except OptionError as e:
                watch.error = e
        self.eyes[name] = eye
        self._tell(f"watching {live.name}")

    @property
    def waits_for(self) -> list[str]:
        """The streams that conditions name, and that have not begun."""
        named = sorted({s for w in self.watches for s in w.rule.condition.streams})
        return [s for s in named if s not in self.eyes and s not in self._done]

    # --- looking -----------------------------------------------------------------------------------
    def look(self) -> list[Firing]:
        """Look at all that has come since the last look; what has begun to hold, in order."""
        now_ns = time.monotonic_ns()
        come = {name: eye.look() for name, eye in self.eyes.items()}
        fired = []
        for watch in self.watches:
            if watch.error is None:
                try:
                    fired += self._look(watch, come, now_ns)
                except OptionError as e:
                    watch.error = e
        for name, batches in come.items():
            if batches:
                self._seen[name] = int(batches[-1].seq[-1])
                if self._timed:
                    self._last[name] = batches[-1][len(batches[-1]) - 1 :]
        for name, eye in list(self.eyes.items()):
            self._tell_skipped(name, eye)
            if eye.over and not come[name]:
                eye.close()
                del self.eyes[name]
                self._done.add(name)
        return fired

    def _look(self, watch: _Watch, come: Mapping[str, list[Batch]], now_ns: int) -> list[Firing]:
        condition = watch.rule.condition
        if condition.stream is None:
            truth = condition.truth(Sight(None, self.eyes, now_ns))
            return [
                self._firing(watch, None, 0, held, now_ns)
                for _, held in watch.gate.fires(truth, np.array([now_ns], np.uint64))
            ]
        batches = come.get(condition.stream, [])
        fired = []
        for batch in batches:
            truth = np.broadcast_to(condition.truth(Sight(batch, self.eyes, now_ns)), (len(batch),))
            past = int((batch.seq <= self._past.get(condition.stream, -1)).sum()) if self._past else 0
            watch.gate.pass_over(truth[:past])
            for i, held in watch.gate.fires(truth[past:], batch.mono_ns[past:]):
                fired.append(self._firing(watch, batch, past + i, held, now_ns))
        last = self._last.get(condition.stream)
        if condition.timed and not batches and last is not None:  # time goes on without samples
            truth = condition.truth(Sight(last, self.eyes, now_ns))
            for _, held in watch.gate.fires(truth, np.array([now_ns], np.uint64)):
                fired.append(self._firing(watch, last, 0, held, now_ns))
        return fired

    def _firing(self, watch: _Watch, batch: Batch | None, i: int, held_back: int, now_ns: int) -> Firing:
        condition = watch.rule.condition
        one = None if batch is None else batch[i : i + 1]
        sight = Sight(one, self.eyes, now_ns)
        t = None if one is None else float(one.t[0])
        named = next(iter(condition.streams)) if len(condition.streams) == 1 else None
        watch.fired += 1
        return Firing(
            rule=watch.rule,
            session=self.session,
            run=self.run,
            directory=self._directory,
            stream=condition.stream or named,
            t=t if t is not None and math.isfinite(t) else None,
            seq=None if one is None else int(one.seq[0]),
            value=condition.measured(sight),
            seen=condition.seen(sight),
            held_back=held_back,
            place=watch.place,
        )

    def _tell_skipped(self, name: str, eye: Eye) -> None:
        # Each time that the number has doubled: a line that comes again and again is not read.
        if eye.skipped > 2 * self._told_skipped.get(name, 0):
            self._told_skipped[name] = eye.skipped
            self._tell(f"{eye.live.name}: {eye.skipped} samples passed by unseen so far; the files have them")

    @property
    def memory(self) -> dict[str, Any]:
        """What a successor must know."""
        return {"seen": self._seen, "open_ns": [watch.gate.open_ns for watch in self.watches]}

    def close(self) -> None:
        """Let go of all streams."""
        for eye in self.eyes.values():
            eye.close()
        self.eyes.clear()


class _Watch:
    """A rule over one recording.

    Attributes
    ----------
    error : OptionError or None
        Why it is not looked at here.
    fired : int
    """

    def __init__(self, rule: Rule, place: int) -> None:
        self.rule = rule
        self.place = place
        self.gate = Gate(rule.every_s)
        self.error: OptionError | None = None
        self.fired = 0
