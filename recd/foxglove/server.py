"""The server: which streams there are, who looks at which of them, and a round of looks many times per second."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import foxglove
from foxglove.websocket import Capability

from recd_client.errors import NoSuchSessionError, OutputError, RecdError

from ..taps.stream import live_streams
from . import channels
from .channels import Output, Topics
from .daemon import Daemon
from .events import Events
from .options import Options
from .stream import Stream

NAME: Final = "recd"
#: Messages that wait for one viewer, at most; then its oldest ones are dropped. It is the bound of its memory as well.
BACKLOG: Final = 128
_STATE_S: Final = 0.5
#: Channels that are opened or closed at once: each is a message to every viewer, and more than the backlog of those
#: would end its connection.
_AT_ONCE: Final = BACKLOG // 4
#: The backlog is drained by a thread of its own: it gets its turn after so many messages.
_BURST: Final = BACKLOG // 4
_BREATH_S: Final = 0.002
_CHANGES_S: Final = 0.02
_CLOCK_S: Final = 0.1
#: A viewer that does not read holds the server up no longer than this when it ends.
_GRACE_S: Final = 1.0

log = logging.getLogger(__name__)


class Server:
    """Serves every stream that is being recorded; runs in one event loop, and in the SDK's threads.

    Parameters
    ----------
    host : str
    port : int
        0: a free one.
    options : Options

    Raises
    ------
    OutputError
        It cannot listen there.
    """

    def __init__(self, host: str, port: int, options: Options) -> None:
        self._options = options
        self._context = foxglove.Context()
        self._loop = asyncio.get_running_loop()
        self._daemon = Daemon()
        self._topics = Topics()
        self._runs: dict[str, str] = {}
        self.streams: dict[str, Stream] = {}
        self.events: dict[str, Events] = {}
        self._outputs: dict[int, Output] = {}
        self._broken: set[str] = set()
        self._wanted = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._clock_ns = -1
        self._clock_told_s = 0.0
        self._sent = self._changes = 0
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        try:
            self._server = foxglove.start_server(
                name=NAME,
                host=f"[{host}]" if ":" in host else host,
                port=port,
                context=self._context,
                server_listener=self,
                message_backlog_size=BACKLOG,
                capabilities=[Capability.Time] if options.clock == "sim" else [],
            )
        except RuntimeError as e:
            reason = str(e).removeprefix("FoxgloveError: ")
            raise OutputError(
                f"nothing can be served at {host}, port {port}: {reason}", "choose with --host and --port"
            ) from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.port)

    def app_url(self) -> str:
        """The address of Foxglove's web app with this server opened in it."""
        return str(self._server.app_url())

    async def run(self, ended: asyncio.Event) -> None:
        """Serve until ``ended`` is set."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._rounds())]
        waiting = asyncio.create_task(ended.wait())
        try:
            done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # an error in one of them ends the server, and is seen
        finally:
            for task in (*tasks, waiting):
                task.cancel()
            await asyncio.gather(*tasks, waiting, *self._work, return_exceptions=True)
            for name in list(self.streams):
                self.streams.pop(name).close()
            self._daemon.close()

    def stop(self) -> bool:
        """Hang up; whether that is done. The SDK waits for each viewer to take its leave, a stopped one forever."""
        thread = threading.Thread(target=self._server.stop, daemon=True)
        thread.start()
        thread.join(_GRACE_S)
        return not thread.is_alive()

    # --- who looks, told by the SDK's threads -----------------------------------------------------
    def on_subscribe(self, client: Any, channel: Any) -> None:
        """A viewer wants a channel."""
        self._call(self._subscribed, int(client.id), int(channel.id))

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        """A viewer does not want it any more, or is gone."""
        self._call(self._unsubscribed, int(client.id), int(channel.id))

    def _call(self, do: Callable[[int, int], None], client: int, channel: int) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(do, client, channel)

    def _subscribed(self, client: int, channel: int) -> None:
        output = self._outputs.get(channel)
        if output is not None:
            output.viewers.add(client)
            output.owed = True
            self._wanted.set()

    def _unsubscribed(self, client: int, channel: int) -> None:
        output = self._outputs.get(channel)
        if output is not None:
            output.viewers.discard(client)

    # --- what there is ----------------------------------------------------------------------------
    async def _follow(self) -> None:
        while True:
            sessions = await asyncio.to_thread(self._daemon.sessions)
            for name in [name for name, stream in self.streams.items() if stream.ended]:
                self._forget(self.streams.pop(name))
                await self._breathe()
            if sessions is not None:  # else a daemon that begins anew: what is being recorded goes on
                await self._open(sessions)
                await self._close_runs(sessions)
                for session in sessions:
                    self._tell(session)
            await asyncio.sleep(_STATE_S)

    async def _open(self, sessions: list[dict[str, Any]]) -> None:
        for session in sessions:
            name = str(session["session"])
            if name not in self._runs and session["streams"]:
                run = self._runs[name] = self._run_of(str(session["name"]), name)
                output = channels.log(self._context, self._topics.take(f"/{run}/events"))
                self.events[name] = Events(output, run, self._options, self._offset_ns)
                self._outputs[output.id] = output
        for live in live_streams(sessions):
            key = f"{live.session}/{live.stream}"
            if key in self.streams or key in self._broken:
                continue
            args = self._context, self._topics, self._options, self._offset_ns
            with suppress(NoSuchSessionError):
                stream = self.streams[key] = Stream(live, self._runs[live.session], *args)
                self._outputs |= {output.id: output for output in stream.outputs}
                await self._breathe()

    def _run_of(self, name: str, session: str) -> str:
        """What a session is called in topics: by its run, unless another one of that name is recorded, too."""
        return f"{name}-{session}" if name in self._runs.values() else name

    async def _close_runs(self, sessions: list[dict[str, Any]]) -> None:
        there = {str(s["session"]) for s in sessions} | {s.live.session for s in self.streams.values()}
        self._broken = {key for key in self._broken if key.partition("/")[0] in there}
        for name in [name for name in self._runs if name not in there]:
            del self._runs[name]
            output = self.events.pop(name).output
            self._outputs.pop(output.id, None)
            output.close()
            self._topics.give_back(output.topic)
            await self._breathe()

    def _forget(self, stream: Stream) -> None:
        for output in stream.outputs:
            self._outputs.pop(output.id, None)
        stream.close()

    def _tell(self, session: dict[str, Any]) -> None:
        events = self.events.get(str(session["session"]))
        if events is not None:
            events.t = max((s.t for s in self._of(str(session["session"]))), default=0.0)
            events.status(session)

    def _of(self, session: str) -> list[Stream]:
        return [s for s in self.streams.values() if s.live.session == session]

    # --- rounds -----------------------------------------------------------------------------------
    async def _rounds(self) -> None:
        period_s = 1 / self._options.hz
        due_s = self._loop.time()
        while True:
            if not any(output.viewers for output in self._outputs.values()):
                self._wanted.clear()
                for stream in self.streams.values():
                    stream.look(for_events=False)  # lets go of its ring
                await self._wanted.wait()
            for key, stream in list(self.streams.items()):
                await self._look(key, stream)
            self._tell_time()
            due_s = max(due_s + period_s, self._loop.time() - period_s)
            await asyncio.sleep(max(due_s - self._loop.time(), 0))

    async def _look(self, key: str, stream: Stream) -> None:
        events = self.events.get(stream.live.session)
        carries = events is not None and events.output.wanted and self._carries(stream)
        before = sum(output.sent for output in stream.outputs)
        try:
            told, work = stream.look(for_events=carries)
        except NoSuchSessionError:
            return  # it has just ended
        except RecdError as e:  # its ring cannot be read; its worker says so as well
            log.warning("%s: %s", stream.live.name, e)
            self._broken.add(key)
            self._forget(self.streams.pop(key))
            return
        if events is not None:
            for event in told:
                events.ring(event)
        for do in work:
            task = asyncio.create_task(asyncio.to_thread(do))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        self._sent += sum(output.sent for output in stream.outputs) - before
        if self._sent >= _BURST:
            self._sent = 0
            await asyncio.sleep(_BREATH_S)

    def _carries(self, stream: Stream) -> bool:
        """Whether marks are looked for in this stream: in large ones only where there are no others."""
        return stream.small or not any(s.small for s in self._of(stream.live.session))

    async def _breathe(self) -> None:
        """A channel was opened or closed: what is told of it goes out before more than fits is to be told."""
        self._changes += 1
        if self._changes % _AT_ONCE == 0:
            await asyncio.sleep(_CHANGES_S)

    def _tell_time(self) -> None:
        """With stream time: viewers follow the clock of the newest run that anybody looks at."""
        now_s = self._loop.time()
        if self._options.clock != "sim" or now_s - self._clock_told_s < _CLOCK_S:
            return
        looked = [s for s in self.streams.values() if any(output.viewers for output in s.outputs)]
        newest = max((s.live.session for s in looked), default="")
        clock_ns = max(
            (self._options.time_ns(s.t, 0, 0) for s in looked if s.live.session == newest), default=0
        )
        if clock_ns != self._clock_ns:
            self._clock_ns, self._clock_told_s = clock_ns, now_s
            self._server.broadcast_time(clock_ns)
